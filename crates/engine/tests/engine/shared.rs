//! What labs share on a host.

use std::time::Duration;

use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{OperationState, PortKind};

use crate::bench::{Bench, end, lab_name, pass};

fn on_bridge(lab: &str, port: &str) -> std::sync::Arc<netloom_model::Lab> {
    Sketch::new(lab).node("r1").bridge("br0").link("r1:eth1", &format!("br0:{port}")).lab()
}

#[tokio::test(start_paused = true)]
async fn a_bridge_goes_with_the_last_lab_that_wants_it() {
    let bench = Bench::new().await;
    bench.made(&on_bridge("one", "p1")).await;
    bench.made(&on_bridge("two", "p2")).await;
    assert_eq!(bench.destroy("one").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.host(), ["br0", "lo", "p2", "uplink"]);
    assert_eq!(bench.destroy("two").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_leaves_a_bridge_out_gives_it_back() {
    let bench = Bench::new().await;
    bench.made(&on_bridge("one", "p1")).await;
    let view = bench.deploy(&Sketch::new("one").node("r1").lab()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
    assert!(bench.engine.wishes().get(&lab_name("one")).unwrap().bridges.is_empty());
    bench.world.take_calls();
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_bridge_is_used_and_left_alone() {
    let bench = Bench::new().await;
    bench.world.add_foreign("br0", PortKind::Bridge);
    let view = bench.deploy(&on_bridge("one", "p1")).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert_eq!(bench.destroy("one").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.host(), ["br0", "lo", "uplink"]);
}

#[tokio::test(start_paused = true)]
async fn two_labs_at_once_make_one_bridge() {
    let bench = Bench::new().await;
    bench.world.trouble("ensure bridge/br0", .., Trouble::Slow(Duration::from_secs(1)));
    let one = bench.begin(&on_bridge("one", "p1")).await.unwrap();
    let two = bench.begin(&on_bridge("two", "p2")).await.unwrap();
    assert_eq!(end(&one).await.state, OperationState::Succeeded);
    assert_eq!(end(&two).await.state, OperationState::Succeeded);
    let (one, two) = (bench.engine.destroy(&lab_name("one")).await, bench.engine.destroy(&lab_name("two")).await);
    assert_eq!(end(&one.unwrap()).await.state, OperationState::Succeeded);
    assert_eq!(end(&two.unwrap()).await.state, OperationState::Succeeded);
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
}

#[tokio::test(start_paused = true)]
async fn a_bridge_that_hangs_holds_only_labs_that_want_it() {
    let bench = Bench::new().await;
    bench.world.trouble("ensure bridge/br0", .., Trouble::Hangs);
    let stuck = bench.begin(&on_bridge("one", "p1")).await.unwrap();
    let other = Sketch::new("two").node("r1").bridge("br1").link("r1:eth1", "br1:p9").lab();
    let start = tokio::time::Instant::now();
    assert_eq!(bench.deploy(&other).await.state, OperationState::Succeeded);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(!stuck.view().state.is_final());
}

#[tokio::test(start_paused = true)]
async fn many_labs_go_up_and_down_at_once() {
    let bench = Bench::new().await;
    bench.ready().await;
    let labs: Vec<_> = (0..20).map(|n| on_bridge(&format!("lab{n}"), &format!("p{n}"))).collect();
    let mut operations = Vec::new();
    for lab in &labs {
        operations.push(bench.begin(lab).await.unwrap());
    }
    for operation in &operations {
        assert_eq!(end(operation).await.state, OperationState::Succeeded, "{:#?}", operation.view());
    }
    let mut operations = Vec::new();
    for lab in &labs {
        operations.push(bench.engine.destroy(lab.name()).await.unwrap());
    }
    for operation in &operations {
        assert_eq!(end(operation).await.state, OperationState::Succeeded, "{:#?}", operation.view());
    }
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
    assert_eq!(bench.store.keys(), [""; 0]);
}
