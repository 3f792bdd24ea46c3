//! A runtime that is another program, and that does not answer: whom it holds up, and whom not.

use std::sync::Arc;

use netloom_engine::testing::{FakeStore, Sketch, Trouble};
use netloom_engine::{OperationState, Refusal, Source};
use netloom_model::{Lab, RuntimeKind};
use netloom_plan::NodeState;

use crate::bench::{Bench, config, end, lab_name, pair, pass, request, until};

const DOCKER: Source = Source::Runtime(RuntimeKind::Docker);

fn containers(lab: &str) -> Arc<Lab> {
    Sketch::new(lab).container("c1").container("c2").link("c1:eth1", "c2:eth1").lab()
}

/// All but the daemon was looked at.
async fn others_are_seen(bench: &Bench) {
    let seen = || {
        let sources = bench.engine.sources().iter().filter(|source| **source != DOCKER).copied().collect();
        let snapshot = bench.engine.inventory().snapshot();
        snapshot.is_complete(&sources) && snapshot.sources.get(&DOCKER).is_some_and(|state| state.error.is_some())
    };
    until("all but the daemon is seen", seen).await;
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_was_never_listed_holds_up_only_labs_with_nodes_on_it() {
    let bench = Bench::prepared(config(), |world, _| {
        world.add_runtime(RuntimeKind::Docker);
        world.make_unreachable(DOCKER, "no daemon");
    })
    .await;
    others_are_seen(&bench).await;
    let made = end(&bench.engine.deploy(request(&pair())).await.unwrap()).await;
    assert_eq!(made.state, OperationState::Succeeded, "{made:#?}");
    let mixed = Sketch::new("mixed").node("n1").container("c1").link("n1:eth1", "c1:eth1").lab();
    for lab in [containers("boxes"), mixed] {
        let refused = bench.engine.deploy(request(&lab)).await.unwrap_err();
        assert!(matches!(&refused, Refusal::NotReady(why) if why.contains("no daemon")), "{refused:?}");
        assert_eq!(bench.engine.wishes().get(lab.name()), None, "what is refused is not stored");
    }
    let smaller = end(&bench.engine.deploy(request(&Sketch::new("lab").node("r1").lab())).await.unwrap()).await;
    assert_eq!(smaller.state, OperationState::Succeeded, "{smaller:#?}");
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.nodes(), [""; 0]);

    bench.world.calm();
    pass(61).await;
    assert_eq!(bench.deploy(&containers("boxes")).await.state, OperationState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn containers_of_a_daemon_that_is_not_seen_at_the_start_are_left_alone_until_it_is() {
    let bench = Bench::prepared(config(), |world, _| world.add_runtime(RuntimeKind::Docker)).await;
    bench.made(&containers("boxes")).await;
    bench.world.make_unreachable(DOCKER, "no daemon");
    let bench = bench.restart().await;
    others_are_seen(&bench).await;
    pass(300).await;
    assert_eq!(bench.world.calls(), [""; 0], "nothing is concluded from silence");
    let made = end(&bench.engine.deploy(request(&pair())).await.unwrap()).await;
    assert_eq!(made.state, OperationState::Succeeded, "{made:#?}");
    bench.world.take_calls();

    bench.world.calm();
    let running = || {
        let snapshot = bench.engine.inventory().snapshot();
        let nodes = snapshot.labs.get(&lab_name("boxes")).map(|facts| facts.nodes.values());
        nodes.into_iter().flatten().filter(|fact| fact.state == NodeState::Running).count() == 2
    };
    until("they are seen", running).await;
    pass(61).await;
    assert_eq!(bench.world.calls(), [""; 0], "they are as they were");
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_the_store_has_lost_is_adopted_without_a_daemon_that_it_has_no_nodes_on() {
    let bench = Bench::prepared(config(), |world, _| world.add_runtime(RuntimeKind::Docker)).await;
    bench.made(&pair()).await;
    let mixed = Sketch::new("mixed").node("n1").container("c1").link("n1:eth1", "c1:eth1").lab();
    bench.made(&mixed).await;
    bench.world.make_unreachable(DOCKER, "no daemon");
    let Bench { engine, world, .. } = bench;
    let bench = Bench { engine, world, store: FakeStore::default() }.restart().await;
    others_are_seen(&bench).await;
    let adopted = bench.engine.adopt(&lab_name("lab")).await.unwrap().view();
    assert_eq!(adopted.state, OperationState::Succeeded, "{adopted:#?}");
    let refused = bench.engine.adopt(&lab_name("mixed")).await.unwrap_err();
    assert!(matches!(&refused, Refusal::NotReady(why) if why.contains("no daemon")), "{refused:?}");
    let refused = bench.engine.adopt(&lab_name("never")).await.unwrap_err();
    assert!(matches!(&refused, Refusal::NoLab(_)), "{refused:?}");
    bench.world.calm();
    bench.ready().await;
    let adopted = bench.engine.adopt(&lab_name("mixed")).await.unwrap().view();
    assert_eq!(adopted.state, OperationState::Succeeded, "{adopted:#?}");
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_changes_nothing_needs_no_daemon() {
    let bench = Bench::prepared(config(), |world, _| world.add_runtime(RuntimeKind::Docker)).await;
    let lab = containers("lab");
    bench.made(&lab).await;
    bench.world.trouble("check runtime", .., Trouble::Permanent("no daemon".into()));
    assert_eq!(bench.deploy(&lab).await.message.as_deref(), Some("nothing to change"));
    let more = Sketch::new("lab").container("c1").container("c2").container("c3").link("c1:eth1", "c2:eth1").lab();
    let refused = bench.begin(&more).await.unwrap_err();
    assert!(matches!(&refused, Refusal::Unable(why) if why[0].to_string().contains("no daemon")), "{refused:?}");
    bench.world.calm();
    assert_eq!(bench.deploy(&more).await.state, OperationState::Succeeded);
}
