//! Nodes that a person stops, starts and restarts: only that node, only then, and for good.

use netloom_engine::testing::Sketch;
use netloom_engine::{Document, LabView, NodeView, OperationState, Place, PortFact, Refusal, RunState};
use netloom_model::RestartPolicy;
use netloom_plan::NodeState;
use serde_json::{Value, json};

use crate::bench::{Bench, end, lab_name, pass, request, until};

fn port(bench: &Bench, node: &str) -> PortFact {
    bench.world.port(&Place::Node(lab_name("lab"), node.parse().unwrap()), "eth1").unwrap()
}

fn to(node: &str, change: &Value) -> Value {
    json!({ "nodes": { node: change } })
}

fn view(bench: &Bench) -> LabView {
    bench.engine.view(&lab_name("lab")).unwrap()
}

fn node_view(bench: &Bench, node: &str) -> NodeView {
    view(bench).nodes.into_iter().find(|view| view.name.as_str() == node).unwrap()
}

fn document(bench: &Bench) -> Document {
    Document::of(&bench.engine.wishes().get(&lab_name("lab")).unwrap())
}

fn runner() -> Sketch {
    Sketch::pair("lab").runs("r1", &["sleep", "1000"]).execs("r1", &["echo", "a"])
}

#[tokio::test(start_paused = true)]
async fn a_stopped_node_stays_so_until_it_is_started() {
    let bench = Bench::new().await;
    bench.made(&runner().lab()).await;
    let before = [port(&bench, "r1"), port(&bench, "r2")].map(|port| (port.ifindex, port.mac, port.addresses));
    let stopped = bench.edited(to("r1", &json!({ "state": "stopped" }))).await;
    assert_eq!(stopped.kind, "edit");
    assert_eq!(bench.world.take_calls(), ["stop lab/r1", "set lab/r1:eth1-r2:eth1"]);
    assert_eq!(bench.world.nodes(), ["lab/r1 stopped", "lab/r2 running"]);
    let other = port(&bench, "r2");
    assert!(other.admin_up && !other.carrier && !port(&bench, "r1").admin_up, "{other:?}");
    let r1 = node_view(&bench, "r1");
    assert_eq!((r1.state, r1.stopped, r1.ready), (NodeState::Stopped, true, false));
    // Its neighbour is not to blame.
    assert!(node_view(&bench, "r2").ready);
    assert!(view(&bench).live.is_empty());
    assert_eq!(document(&bench).nodes[&"r1".parse().unwrap()].state, Some(RunState::Stopped));

    // Neither the same file again nor a new life of the engine starts it.
    let deploy = bench.deploy(&runner().lab()).await;
    let says = "nothing to change; stopped until `netloom node start lab/r1`: r1";
    assert_eq!(deploy.message.as_deref(), Some(says));
    let again = bench.edited(to("r1", &json!({ "state": "stopped" }))).await;
    assert_eq!(again.message.as_deref(), Some("nothing to change"));
    let bench = bench.restart().await;
    bench.ready().await;
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    let preview = bench.engine.plan(&request(&runner().lab())).await.unwrap();
    assert_eq!(preview.stopped, ["r1".parse().unwrap()]);

    bench.edited(to("r1", &json!({ "state": "running" }))).await;
    assert_eq!(bench.world.take_calls(), ["set lab/r1:eth1-r2:eth1", "start lab/r1", "exec lab/r1: echo a"]);
    let after = [port(&bench, "r1"), port(&bench, "r2")].map(|port| (port.ifindex, port.mac, port.addresses));
    assert_eq!(after, before);
    assert!(port(&bench, "r2").carrier && node_view(&bench, "r1").ready);
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_one_for_each_time_that_it_is_asked_for() {
    let bench = Bench::new().await;
    bench.made(&runner().lab()).await;
    let mut life = bench.world.incarnation("lab", "r1");
    for count in [1, 2, 3] {
        bench.edited(to("r1", &json!({ "restarts": count }))).await;
        let set = "set lab/r1:eth1-r2:eth1";
        let calls = bench.world.take_calls();
        assert_eq!(calls, ["stop lab/r1", set, set, "start lab/r1", "exec lab/r1: echo a"], "{count}");
        let next = bench.world.incarnation("lab", "r1");
        assert_ne!(next, life);
        life = next;
        let again = bench.edited(to("r1", &json!({ "restarts": count }))).await;
        assert_eq!(again.message.as_deref(), Some("nothing to change"));
    }
    assert_eq!(bench.deploy(&runner().lab()).await.message.as_deref(), Some("nothing to change"));
    let bench = bench.restart().await;
    bench.ready().await;
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(document(&bench).nodes[&"r1".parse().unwrap()].restarts, 3);
    assert!(view(&bench).live.is_empty());
    // A node that is made new has never been restarted.
    bench.edited(json!({ "nodes": { "r1": null }, "links": { "r1:eth1 r2:eth1": null } })).await;
    assert!(bench.engine.wishes().get(&lab_name("lab")).unwrap().restarts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ended_is_stopped_and_no_policy_starts_it() {
    let bench = Bench::new().await;
    bench.made(&runner().lab()).await;
    bench.world.exit("lab", "r1", 3, "no licence\n");
    bench.edited(to("r1", &json!({ "state": "stopped" }))).await;
    pass(300).await;
    assert_eq!(bench.world.nodes()[0], "lab/r1 stopped");
    assert!(!bench.world.calls().iter().any(|call| call.starts_with("start")), "{:?}", bench.world.calls());
    // One that has ended and is not to be started again by itself is started by a restart.
    bench.made(&runner().with("r1", |node| node.restart_policy = RestartPolicy::No).lab()).await;
    bench.edited(to("r1", &json!({ "state": "running" }))).await;
    bench.world.exit("lab", "r1", 3, "");
    pass(300).await;
    assert_eq!(bench.world.nodes()[0], "lab/r1 exited(3)");
    assert!(!port(&bench, "r2").carrier);
    bench.edited(to("r1", &json!({ "restarts": 1 }))).await;
    assert_eq!(bench.world.nodes()[0], "lab/r1 running");
    assert!(port(&bench, "r2").carrier);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_node_takes_over_changes_when_it_starts() {
    let bench = Bench::new().await;
    bench.made(&runner().lab()).await;
    bench.edited(to("r1", &json!({ "state": "stopped" }))).await;
    bench.world.take_calls();
    let changed = runner().execs("r1", &["echo", "b"]).lab();
    bench.made(&changed).await;
    assert_eq!(bench.world.nodes()[0], "lab/r1 stopped");
    // Also one that is made anew is not started, nor one that is put in beside it.
    let mut anew = request(&changed);
    anew.rebuild = netloom_engine::Rebuild::Yes;
    assert_eq!(end(&bench.engine.deploy(anew).await.unwrap()).await.state, OperationState::Succeeded);
    assert_eq!(bench.world.nodes(), ["lab/r1 created", "lab/r2 running"]);
    assert!(!port(&bench, "r2").carrier);
    assert_eq!(node_view(&bench, "r1").state, NodeState::Stopped);
    bench.edited(to("r3", &json!({ "kind": "linux", "runtime": "namespace", "state": "stopped" }))).await;
    assert_eq!(bench.world.nodes()[2], "lab/r3 created");
    bench.world.take_calls();
    bench.edited(to("r1", &json!({ "state": "running" }))).await;
    let calls = ["set lab/r1:eth1-r2:eth1", "start lab/r1", "exec lab/r1: echo a", "exec lab/r1: echo b"];
    assert_eq!(bench.world.take_calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_what_cannot_live_says_so() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").node("r3").lab()).await;
    let patch = to("r3", &json!({ "cmd": ["sh", "-c", "echo no licence; exit 3"], "restarts": 1 }));
    let failed = end(&bench.edit(patch).await.unwrap()).await;
    assert_eq!(failed.state, OperationState::Failed);
    assert!(failed.problems.iter().any(|problem| problem.contains("no licence")), "{failed:#?}");
    // To stop it is a good end.
    bench.edited(to("r3", &json!({ "state": "stopped" }))).await;
    assert_eq!(bench.world.nodes()[2], "lab/r3 stopped");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stopped_or_restarted_is_refused() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").bridge("br0").lab()).await;
    for count in [1, 2, 3] {
        bench.edited(to("r1", &json!({ "restarts": count }))).await;
    }
    bench.world.take_calls();
    for (node, change, says) in [
        ("br0", json!({ "state": "stopped" }), "`br0` is of kind `bridge`: nothing runs in it"),
        ("br0", json!({ "restarts": 1 }), "nothing runs in it"),
        ("r1", json!({ "restarts": 2 }), "`restarts` is 3; to ask for a restart, make it 4"),
        ("r1", json!({ "restarts": 5 }), "`restarts` is 3; to ask for a restart, make it 4"),
        ("r1", json!({ "restarts": u64::MAX }), "`restarts` is 3; to ask for a restart, make it 4"),
        ("r1", json!({ "restarts": null }), "`restarts` is 3"),
        ("r1", json!({ "restarts": -1 }), "-1"),
        ("r1", json!({ "state": "paused" }), "`paused`"),
        ("r9", json!({ "state": "stopped" }), "`r9` is not in the lab"),
    ] {
        let refused = bench.edit(to(node, &change)).await;
        let Err(Refusal::Edit { why, .. }) = refused else { panic!("{change}: {refused:?}") };
        assert!(why.join("\n").contains(says), "{change}: {why:?}");
    }
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_node_restarts_while_its_neighbour_goes_and_both_are_true() {
    let bench = Bench::new().await;
    bench.made(&runner().lab()).await;
    let life = bench.world.incarnation("lab", "r1");
    let restart = bench.edit(to("r1", &json!({ "restarts": 1 }))).await.unwrap();
    let gone = json!({ "nodes": { "r2": null }, "links": { "r1:eth1 r2:eth1": null } });
    let gone = bench.edit(gone).await.unwrap();
    for edit in [restart, gone] {
        let ended = end(&edit).await;
        assert_eq!(ended.state, OperationState::Succeeded, "{ended:#?}");
    }
    until("only it is left", || bench.world.nodes() == ["lab/r1 running"]).await;
    assert_eq!(bench.world.links(), [""; 0]);
    assert_ne!(bench.world.incarnation("lab", "r1"), life);
}
