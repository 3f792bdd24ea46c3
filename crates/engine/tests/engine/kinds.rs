//! Kinds other than `linux` and `bridge`: what is left out, and interfaces that devices have names of their own for.

use std::sync::Arc;

use netloom_engine::testing::Sketch;
use netloom_engine::{DeployRequest, Document, LabView, OperationState, Place, Rebuild};
use netloom_model::{Interface, Lab, Link};
use netloom_plan::NodeState;
use serde_json::json;

use crate::bench::{Bench, end, lab_name, request, until};

/// Two routers, and links to what cannot be made.
fn more_than_can_be_made() -> Arc<Lab> {
    Sketch::pair("lab").still("ovs-bridge", "ovs0|r1").link("r1:eth2", "ovs0|r1:p1").lab()
}

fn view(bench: &Bench) -> LabView {
    bench.engine.view(&lab_name("lab")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_is_left_out_and_the_rest_is_ready() {
    let bench = Bench::new().await;
    let operation = bench.deploy(&more_than_can_be_made()).await;
    assert_eq!(operation.state, OperationState::Succeeded, "{operation:?}");
    let said: Vec<String> = operation.left_out.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "node ovs0|r1 is left out: it needs Open vSwitch in a node; its bridges are on the host",
            "link ovs0|r1:p1-r1:eth2 is left out: node ovs0|r1 is not made",
        ]
    );
    assert_eq!(bench.world.links(), ["lab/r1:eth1-r2:eth1"]);
    let lab = view(&bench);
    let states: Vec<(&str, &NodeState, bool)> =
        lab.nodes.iter().map(|node| (node.name.as_str(), &node.state, node.ready)).collect();
    let expected =
        [("ovs0|r1", &NodeState::Absent, false), ("r1", &NodeState::Running, true), ("r2", &NodeState::Running, true)];
    assert_eq!(states, expected);
    let note = lab.nodes.iter().find(|node| node.name.as_str() == "ovs0|r1").unwrap().note.as_deref();
    assert_eq!(note, Some("left out: it needs Open vSwitch in a node; its bridges are on the host"));
    let links: Vec<&str> = lab.links.iter().map(|link| link.state.as_str()).collect();
    assert_eq!(links, ["left-out", "up"]);
    assert_eq!(bench.deploy(&more_than_can_be_made()).await.message.as_deref(), Some("nothing to change"));
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
}

/// A router whose own name for its second interface is in the file.
fn with_an_alias() -> Arc<Lab> {
    let alias = |link: &mut Link| link.a.interface = Interface::aliased("Gi2", "eth1".parse().unwrap()).unwrap();
    Sketch::new("lab").node("csr").node("r2").link("csr:Gi2", "r2:eth1").with_link(alias).lab()
}

#[tokio::test(start_paused = true)]
async fn an_interface_has_the_name_of_the_kernel_and_its_link_that_of_the_file() {
    let bench = Bench::new().await;
    bench.made(&with_an_alias()).await;
    assert_eq!(bench.world.links(), ["lab/csr:Gi2-r2:eth1"]);
    let inside = Place::Node(lab_name("lab"), "csr".parse().unwrap());
    assert!(bench.world.port(&inside, "eth1").is_some());
    assert!(bench.world.port(&inside, "Gi2").is_none());
    let end = view(&bench).links[0].ends[0].clone();
    assert_eq!((end.end.as_str(), end.interface.as_str()), ("csr:Gi2", "eth1"));

    let document = Document::of(&bench.engine.wishes().get(&lab_name("lab")).unwrap());
    assert_eq!(document.lab().unwrap(), *with_an_alias());
    let patch = json!({ "links": { "csr:Gi2 r2:eth1": { "mtu": 1400 },
        "csr:Gi3 r2:eth2": { "ends": { "csr:Gi3": { "kernel": "eth2" } } } } });
    bench.edited(patch).await;
    assert_eq!(bench.world.port(&inside, "eth1").unwrap().mtu, 1400);
    assert!(bench.world.port(&inside, "eth2").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_link_with_a_name_of_the_device_is_adopted_with_it() {
    let bench = Bench::new().await;
    bench.made(&with_an_alias()).await;
    let Bench { engine, world, .. } = bench;
    let bench = Bench { engine, world, store: netloom_engine::testing::FakeStore::default() }.restart().await;
    bench.ready().await;
    let operation = bench.engine.adopt(&lab_name("lab")).await.unwrap().view();
    assert_eq!(operation.state, OperationState::Succeeded);
    assert_eq!(bench.engine.wishes().get(&lab_name("lab")).unwrap().lab, with_an_alias());
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn commands_for_the_host_are_run_once_for_each_of_its_boots_and_each_life_of_the_lab() {
    let bench = Bench::new().await;
    let sketch = Sketch::pair("lab").still("host", "pc").link("r1:eth2", "host:up0").execs("pc", &["echo", "one"]);
    let lab = sketch.clone().execs("pc", &["sh", "-c", "echo no; exit 2"]).lab();
    let ran = |bench: &Bench| {
        let calls = bench.world.take_calls().into_iter();
        calls.filter(|call| call.starts_with("exec")).collect::<Vec<_>>()
    };
    let all = ["exec the host: echo one", "exec the host: sh -c echo no; exit 2"];
    bench.ready().await;
    let operation = bench.deploy(&lab).await;
    assert_eq!(operation.problems, ["exec on the host for pc: sh -c echo no; exit 2: exit code 2:\nno"]);
    let calls = bench.world.calls();
    let at = |wanted: &str| calls.iter().position(|call| call == wanted).unwrap();
    assert!(at("create lab/host:up0-r1:eth2") < at(all[0]), "{calls:?}");
    assert_eq!(ran(&bench), all);
    assert!(view(&bench).nodes.iter().all(|node| node.ready), "{:#?}", view(&bench).nodes);
    assert_eq!(bench.deploy(&lab).await.message.as_deref(), Some("nothing to change"));

    // Neither another agent nor a changed list is a new life of the host.
    let bench = bench.restart().await;
    bench.ready().await;
    bench.made(&sketch.clone().execs("pc", &["echo", "two"]).lab()).await;
    assert_eq!(bench.deploy(&lab).await.message.as_deref(), Some("nothing to change"));
    assert_eq!(ran(&bench), [""; 0]);
    bench.world.boot();
    let bench = bench.restart().await;
    until("they are run again", || bench.world.calls().len() == 2).await;
    assert_eq!(ran(&bench), all);

    let again = DeployRequest { rebuild: Rebuild::Yes, ..request(&lab) };
    end(&bench.engine.deploy(again).await.unwrap()).await;
    assert_eq!(ran(&bench), all);
    bench.destroy("lab").await;
    bench.deploy(&lab).await;
    assert_eq!(ran(&bench), all);
}

#[tokio::test(start_paused = true)]
async fn where_a_link_leads_to_outside_of_the_lab_is_shown() {
    let bench = Bench::new().await;
    let tunnel = |link: &mut Link| {
        link.b = None;
        link.kind =
            serde_json::from_value(json!({ "vxlan": { "remote": "192.0.2.7", "vni": 7, "dst_port": 4789 } })).unwrap();
    };
    let macvlan = |link: &mut Link| {
        link.b = None;
        link.kind = serde_json::from_value(json!({ "macvlan": { "parent": "uplink" } })).unwrap();
    };
    let sketch = Sketch::pair("lab").link("r1:eth2", "host:x").with_link(tunnel);
    bench.begin(&sketch.link("r1:eth3", "host:y").with_link(macvlan).lab()).await.unwrap();
    let far: Vec<Option<String>> = view(&bench).links.into_iter().map(|link| link.far).collect();
    assert_eq!(far, [None, Some("remote:192.0.2.7 vni 7".to_owned()), Some("host:uplink".to_owned())]);
}
