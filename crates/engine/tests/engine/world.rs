//! What the world does by itself: it shows, and comes back.

use netloom_engine::testing::{EventsAre, Sketch};
use netloom_engine::{OperationState, Place, PortKind, Refusal, Source};
use netloom_model::RuntimeKind;

use crate::bench::{Bench, lab_name, pair, pass, request, until};

fn inside(node: &str) -> Place {
    Place::Node(lab_name("lab"), node.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_link_that_somebody_deletes_comes_back() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.world.delete_port(&inside("r1"), "eth1");
    let start = tokio::time::Instant::now();
    until("it is back", || !bench.world.links().is_empty()).await;
    assert!(start.elapsed().as_secs() < 1);
    assert_eq!(bench.world.calls(), ["create lab/r1:eth1-r2:eth1"]);
}

#[tokio::test(start_paused = true)]
async fn what_no_event_tells_shows_and_comes_back_by_the_relist() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").bridge("br0").link("r2:eth2", "br0:p2").lab()).await;
    bench.world.set_events(EventsAre::Lost);
    bench.world.delete_port(&inside("r1"), "eth1");
    bench.world.delete_port(&Place::Host, "p2");
    pass(61).await;
    assert_eq!(bench.world.links().len(), 2, "{:?}", bench.world.calls());
    let mended = bench.engine.inventory().snapshot().sources[&Source::Fabric].mended;
    assert!(mended >= 4, "{mended}");
}

#[tokio::test(start_paused = true)]
async fn a_whole_lab_is_made_and_removed_by_relists_alone() {
    let bench = Bench::new().await;
    bench.ready().await;
    bench.world.set_events(EventsAre::Lost);
    assert_eq!(bench.deploy(&pair()).await.state, OperationState::Succeeded);
    let done = bench.world.calls();
    let once: std::collections::BTreeSet<_> = done.iter().collect();
    assert_eq!(once.len(), done.len(), "nothing is done twice: {done:?}");
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.nodes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_vanishes_is_made_again_with_its_links() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").execs("r1", &["true"]).lab()).await;
    bench.world.lose_node("lab", "r1");
    until("it runs again", || bench.world.nodes() == ["lab/r1 running", "lab/r2 running"]).await;
    pass(1).await;
    let calls = ["create lab/r1", "create lab/r1:eth1-r2:eth1", "start lab/r1", "exec lab/r1: true"];
    assert_eq!(bench.world.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_bridge_that_somebody_deletes_comes_back_with_its_ports() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").bridge("br0").link("r2:eth2", "br0:p2").lab()).await;
    bench.world.delete_port(&Place::Host, "br0");
    pass(10).await;
    let bridge = bench.world.port(&Place::Host, "br0").expect("it is made again");
    assert_eq!(bench.world.port(&Place::Host, "p2").unwrap().master, Some(bridge.ifindex));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_cannot_be_listed_never_means_gone() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.world.make_unreachable(Source::Runtime(RuntimeKind::Namespace), "the daemon hangs");
    bench.world.make_unreachable(Source::Fabric, "no netlink");
    pass(300).await;
    let snapshot = bench.engine.inventory().snapshot();
    assert_eq!(snapshot.labs[&lab_name("lab")].nodes.len(), 2);
    assert_eq!(snapshot.links(&lab_name("lab")).len(), 1);
    assert_eq!(snapshot.sources[&Source::Fabric].error.as_deref(), Some("no netlink"));
    assert_eq!(bench.world.calls(), [""; 0]);
    bench.world.calm();
    pass(70).await;
    assert_eq!(bench.engine.inventory().snapshot().sources[&Source::Fabric].error, None);
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_does_not_keep_the_others_from_being_listed() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.world.set_events(EventsAre::Lost);
    bench.world.trouble("relist runtime", .., netloom_engine::testing::Trouble::Hangs);
    bench.world.delete_port(&inside("r1"), "eth1");
    pass(61).await;
    assert_eq!(bench.world.links().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_planned_before_every_source_was_listed() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let Bench { engine, world, store } = bench;
    world.make_unreachable(Source::Fabric, "no netlink");
    world.lose_node("lab", "r1");
    let bench = Bench { engine, world, store }.restart().await;
    bench.world.make_unreachable(Source::Fabric, "no netlink");
    pass(300).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    bench.world.calm();
    until("the lab runs", || bench.world.nodes() == ["lab/r1 running", "lab/r2 running"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_interface_of_the_host_that_is_taken_is_an_obstacle() {
    let bench = Bench::new().await;
    bench.world.add_foreign("docker0", PortKind::Bridge);
    for taken in ["uplink", "docker0"] {
        let refused = bench.begin(&Sketch::pair("lab").link("r1:eth2", &format!("host:{taken}")).lab()).await;
        assert!(matches!(&refused, Err(Refusal::Obstacles(found)) if found.len() == 1), "{refused:?}");
    }
    let refused = bench.begin(&Sketch::pair("lab").bridge("uplink").lab()).await;
    assert!(matches!(&refused, Err(Refusal::Obstacles(_))), "{refused:?}");
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(bench.store.keys(), [""; 0]);
    // Its own interfaces do not stand in a lab's way.
    bench.made(&Sketch::pair("lab").link("r1:eth2", "host:up0").lab()).await;
    let edited = Sketch::pair("lab").node("r3").link("r1:eth2", "host:up0").lab();
    assert_eq!(bench.deploy(&edited).await.state, OperationState::Succeeded);
    // Those of another lab do.
    let other = bench.engine.deploy(request(&Sketch::new("two").node("r1").link("r1:eth2", "host:up0").lab())).await;
    assert!(matches!(&other, Err(Refusal::Obstacles(_))), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn a_foreign_interface_in_a_node_is_left_alone() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.world.add_foreign_in("lab", "r1", "wg0");
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    assert!(bench.world.port(&inside("r1"), "wg0").is_some());
}
