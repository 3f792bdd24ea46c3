//! What a controller asks of labs of its own, and how each of it is answered.

use std::collections::BTreeSet;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{Authority, Controlled, ControlledEdit, ControlledNode, OperationState};
use netloom_model::{Lab, Mtu, Node, NodeName};
use serde_json::{Value, json};

use crate::bench::{Bench, within};

const SECRET: (&str, &str) = ("authorization", "Bearer secret");

/// Has a controller make this edit of the nodes of a lab; it has to work out.
pub(crate) async fn control(bench: &Bench, lab: &Lab, edit: impl FnOnce(Vec<ControlledNode>) -> Controlled) {
    let node = |(name, node): (&NodeName, &Node)| ControlledNode {
        name: name.clone(),
        node: node.clone(),
        interfaces: BTreeSet::new(),
        mtu: Mtu::try_from(9000).unwrap(),
        keep: false,
    };
    let edit = edit(lab.nodes().iter().map(node).collect());
    let request = ControlledEdit { authority: Authority::controller(), edit };
    let mut state = bench.engine.control(lab.name(), request).await.unwrap().state();
    let ended = *within(state.wait_for(|state| state.is_final())).await.unwrap();
    assert_eq!(ended, OperationState::Succeeded);
}

async fn post(bench: &Bench, path: &str, body: &Value) -> Value {
    let reply = bench.tcp().await.send(Method::POST, path, &[SECRET], Bytes::from(body.to_string())).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    reply.json()
}

#[tokio::test]
async fn of_several_nodes_each_has_its_own_outcome() {
    let bench = Bench::with(|config| config.secret = Some("secret".into())).await;
    let off = Sketch::new("lab").node("on1").node("on2").lab();
    let on = Sketch::new("lab").node("off1").node("off2").lab();
    control(&bench, &on, Controlled::Run).await;
    control(&bench, &off, Controlled::Create).await;
    bench.world.trouble("start lab/on2", .., Trouble::Permanent("sh: not found".into()));
    bench.world.trouble("delete lab/off2", .., Trouble::Permanent("it stays".into()));
    let node = |name: &str, desired: &str| json!({ "container_name": name, "desired_state": desired });
    let nodes = [
        node("archetype-lab-on1", "running"),
        node("archetype-lab-on2", "running"),
        node("off1", "stopped"),
        node("off2", "stopped"),
        node("none", "stopped"),
        node("none", "running"),
    ];
    let answer = post(&bench, "/labs/lab/nodes/reconcile", &json!({ "nodes": nodes })).await;
    let results = answer["results"].as_array().unwrap();
    let actions: Vec<_> =
        results.iter().map(|result| (result["action"].as_str().unwrap(), &result["success"])).collect();
    let (yes, no) = (json!(true), json!(false));
    let expected = [
        ("started", &yes),
        ("error", &no),
        ("removed", &yes),
        ("error", &no),
        ("already_stopped", &yes),
        ("error", &no),
    ];
    assert_eq!(actions, expected, "{answer:#}");
    let says = |at: usize| results[at]["error"].as_str().unwrap_or_default().contains("not found");
    // Only of one that is unknown: a controller looks for it elsewhere then.
    assert_eq!([0, 1, 2, 3, 4, 5].map(says), [false, false, false, false, false, true], "{answer:#}");
}

#[tokio::test]
async fn a_limit_of_its_time_is_no_number_of_cores_that_a_node_has() {
    let bench = Bench::with(|config| config.secret = Some("secret".into())).await;
    let lab = Sketch::new("lab").node("r1").with("r1", |node| node.cpu_millis = Some(500)).lab();
    control(&bench, &lab, Controlled::Run).await;
    let path = "/labs/lab/nodes/r1/runtime?provider_type=docker";
    let reply = bench.tcp().await.send(Method::GET, path, &[SECRET], "").await;
    let answer: Value = reply.json();
    assert_eq!((&answer["state"], &answer["runtime"]["cpu"]), (&json!("running"), &Value::Null), "{answer:#}");
}
