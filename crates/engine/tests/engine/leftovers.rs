//! What is left of labs: found, told, and removed only when asked.

use std::time::{Duration, SystemTime};

use netloom_engine::testing::{FakeStore, Sketch};
use netloom_engine::{
    GRACE, LeftoversView, OperationState, OperationView, Place, PortKind, Source, Trace, TraceKind, What,
};
use netloom_model::{NodeName, RuntimeKind};
use netloom_plan::NodeState;

use crate::bench::{Bench, end, lab_name, pair, pass, until};

fn trace(kind: TraceKind, lab: &str, node: Option<&str>) -> Trace {
    let node = node.map(|node| node.parse().unwrap());
    let at = format!("{kind}/{lab}/{}", node.as_ref().map_or(String::new(), ToString::to_string));
    let of = matches!(kind, TraceKind::Layer | TraceKind::Group | TraceKind::Names).then_some(RuntimeKind::Namespace);
    Trace { kind, lab: lab_name(lab), node, of, at, changed: Some(SystemTime::now() - Duration::from_secs(3600)) }
}

async fn look(bench: &Bench) -> LeftoversView {
    bench.engine.leftovers(Duration::ZERO).await.unwrap()
}

async fn places(bench: &Bench) -> Vec<String> {
    look(bench).await.leftovers.into_iter().map(|left| left.at).collect()
}

async fn remove(bench: &Bench) -> OperationView {
    end(&bench.engine.remove_leftovers(Duration::ZERO).await.unwrap()).await
}

/// The next engine, with an empty store.
async fn forgetful(bench: Bench) -> Bench {
    let Bench { engine, world, .. } = bench;
    let bench = Bench { engine, world, store: FakeStore::default() }.restart().await;
    bench.ready().await;
    bench
}

#[tokio::test(start_paused = true)]
async fn what_no_lab_wants_is_removed_and_what_one_wants_is_not() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let traces = bench.world.traces();
    for node in ["r1", "gone"] {
        traces.leave(trace(TraceKind::Layer, "lab", Some(node)));
    }
    traces.leave(trace(TraceKind::Names, "lab", None));
    traces.leave(trace(TraceKind::Names, "old", None));
    traces.leave(trace(TraceKind::Namespace, "old", Some("r1")));
    let left = ["network namespace/old/r1", "layer/lab/gone", "names/old/"];
    assert_eq!(places(&bench).await, left);
    assert_eq!(traces.places().len(), 5, "looking removes nothing");
    let removed = remove(&bench).await;
    assert_eq!((removed.state, removed.message.as_deref()), (OperationState::Succeeded, Some("3 of 3 removed")));
    assert_eq!(traces.places(), ["layer/lab/r1", "names/lab/"]);
    assert_eq!(bench.world.calls(), [""; 0], "the lab is not touched");
    assert_eq!(remove(&bench).await.message.as_deref(), Some("0 of 0 removed"));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_lab_is_left_alone_while_a_node_of_it_lives_and_can_be_removed_when_none_does() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let bench = forgetful(bench).await;
    bench.world.traces().leave(trace(TraceKind::Layer, "lab", Some("gone")));
    bench.world.exit("lab", "r1", 0, "");
    let snapshot = || bench.engine.inventory().snapshot();
    let state = |node: &str| snapshot().labs[&lab_name("lab")].nodes[&node.parse::<NodeName>().unwrap()].state.clone();
    until("one has ended", || state("r1") != NodeState::Running).await;
    assert_eq!(places(&bench).await, [""; 0]);
    bench.world.exit("lab", "r2", 0, "");
    until("both have ended", || state("r2") != NodeState::Running).await;
    assert_eq!(places(&bench).await, ["lab/r1", "lab/r2", "r1:eth1-r2:eth1 (eth1, eth1)", "layer/lab/gone"]);
    pass(600).await;
    assert_eq!(bench.world.nodes().len(), 2, "it is only told");
    assert_eq!(remove(&bench).await.state, OperationState::Succeeded);
    assert_eq!((bench.world.nodes(), bench.world.links()), (Vec::new(), Vec::new()));
    assert_eq!((bench.world.traces().places(), places(&bench).await), (Vec::new(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_bridge_of_ours_that_no_lab_wants_goes_and_one_with_a_port_or_of_others_stays() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").bridge("br0").bridge("br1").link("r2:eth2", "br0:p2").lab()).await;
    let bench = forgetful(bench).await;
    bench.world.add_foreign("br9", PortKind::Bridge);
    assert_eq!(places(&bench).await, [""; 0], "the lab may be adopted");
    for node in ["r1", "r2"] {
        bench.world.exit("lab", node, 0, "");
    }
    pass(1).await;
    assert!(places(&bench).await.contains(&"br1".to_owned()));
    assert!(!places(&bench).await.contains(&"br0".to_owned()), "it has a port");
    assert_eq!(remove(&bench).await.state, OperationState::Succeeded);
    assert_eq!(places(&bench).await, [""; 0], "that goes with its port, as with each destroy");
    assert!(bench.world.port(&Place::Host, "br0").is_none() && bench.world.port(&Place::Host, "br9").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_answer_lets_nothing_count_as_left() {
    let bench = Bench::new().await;
    bench.ready().await;
    bench.world.traces().leave(trace(TraceKind::Namespace, "old", Some("r1")));
    bench.world.traces().leave(trace(TraceKind::Layer, "old", Some("r1")));
    bench.world.make_unreachable(Source::Fabric, "no netlink");
    pass(61).await;
    let view = look(&bench).await;
    assert_eq!(view.leftovers.len(), 1, "a layer is known to be nobody's without it");
    assert_eq!(view.silent, ["fabric"]);
    bench.world.make_unreachable(Source::Runtime(RuntimeKind::Namespace), "the disk hangs");
    pass(61).await;
    assert_eq!(look(&bench).await.leftovers, []);
    bench.world.calm();
    pass(70).await;
    assert_eq!(look(&bench).await.leftovers.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_young_or_just_worked_on_is_only_counted() {
    let bench = Bench::new().await;
    bench.ready().await;
    let young = Trace { changed: Some(SystemTime::now()), ..trace(TraceKind::Layer, "new", Some("r1")) };
    bench.world.traces().leave(young);
    bench.world.traces().leave(trace(TraceKind::Layer, "lab", Some("gone")));
    bench.made(&pair()).await;
    let view = bench.engine.leftovers(GRACE).await.unwrap();
    assert_eq!((view.leftovers.len(), view.young), (0, 2));
    let removed = end(&bench.engine.remove_leftovers(GRACE).await.unwrap()).await;
    assert_eq!((removed.state, bench.world.traces().places().len()), (OperationState::Succeeded, 2));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_removed_is_said_and_the_rest_goes() {
    let bench = Bench::new().await;
    bench.ready().await;
    let traces = bench.world.traces();
    for node in ["a", "b", "c"] {
        traces.leave(trace(TraceKind::Layer, "old", Some(node)));
    }
    traces.stick("layer/old/b");
    let ended = remove(&bench).await;
    assert_eq!((ended.state, ended.message.as_deref()), (OperationState::Failed, Some("2 of 3 removed")));
    assert!(ended.problems[0].contains("layer/old/b") && ended.problems[0].contains("busy"), "{:?}", ended.problems);
    assert_eq!(traces.places(), ["layer/old/b"]);
}

#[tokio::test(start_paused = true)]
async fn leftovers_are_told_once_by_themselves_and_stay() {
    let bench = Bench::new().await;
    bench.ready().await;
    let mut old = trace(TraceKind::Layer, "old", Some("r1"));
    old.changed = Some(SystemTime::UNIX_EPOCH);
    bench.world.traces().leave(old);
    let told = || {
        let (events, _) = bench.engine.events().follow(0);
        let told = |what: &What| matches!(what, What::Notice { text, .. } if text.contains("netloom prune"));
        events.iter().filter(|event| told(&event.what)).count()
    };
    until("it is told", || told() == 1).await;
    pass(300).await;
    assert_eq!((told(), bench.engine.leftovers_known()), (1, Some(1)));
    assert_eq!(bench.world.traces().places().len(), 1);
}
