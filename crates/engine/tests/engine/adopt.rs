//! Labs that the store has lost: found by their marks, and taken back just as they run.

use std::sync::Arc;

use netloom_engine::testing::{FakeStore, Sketch};
use netloom_engine::{Applied, Document, NodeOrder, OperationState, Place, PortFact, Refusal};
use netloom_model::{Lab, Mac, Mtu, Node, NodeName};
use netloom_plan::NodeFingerprint;
use serde_json::json;

use crate::bench::{Bench, config, end, grows_with_the_size, lab_name, pair, pass, until};

/// The next engine, with an empty store.
pub(crate) async fn forgetful(bench: Bench) -> Bench {
    let Bench { engine, world, .. } = bench;
    let bench = Bench { engine, world, store: FakeStore::default() }.restart().await;
    bench.ready().await;
    bench
}

/// The lab is refused while the store is frozen, leaves nothing there, and is adopted afterwards without a call.
pub(crate) async fn is_adopted_only_when_the_store_answers(bench: &Bench) {
    bench.store.freeze();
    assert!(matches!(bench.engine.adopt(&lab_name("lab")).await, Err(Refusal::Store(_))));
    assert_eq!(bench.engine.wishes().get(&lab_name("lab")), None);
    bench.store.thaw();
    pass(10).await;
    assert_eq!(bench.store.keys(), [""; 0], "what it noted all the same is taken back");
    bench.engine.adopt(&lab_name("lab")).await.unwrap();
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
}

pub(crate) fn inside(node: &str) -> Place {
    Place::Node(lab_name("lab"), node.parse().unwrap())
}

/// As a router does.
fn many_more(port: &mut PortFact) {
    port.addresses.extend((0..100).flat_map(|n| [format!("10.9.9.{n}/32"), format!("fd00::{n}/128")]));
}

/// The calls but for ends of links that go off and on with their nodes.
fn without_ends(bench: &Bench) -> Vec<String> {
    bench.world.take_calls().into_iter().filter(|call| !call.starts_with("set ")).collect()
}

/// Of everything something.
fn rich() -> Arc<Lab> {
    let addresses = |link: &mut netloom_model::Link| {
        link.mtu = Mtu::try_from(1400).unwrap();
        link.a.ipv4 = Some("10.0.0.1/24".parse().unwrap());
        link.b.as_mut().unwrap().ipv4 = Some("10.0.0.2/24".parse().unwrap());
        link.b.as_mut().unwrap().ipv6 = Some("2001:db8::2/64".parse().unwrap());
    };
    Sketch::new("lab")
        .from_file("/labs/x.clab.yml")
        .node("r1")
        .node("r-2")
        .with("r1", |node| node.labels = [("site".to_owned(), "x".to_owned())].into())
        .runs("r1", &["sleep", "1000"])
        .execs("r1", &["echo", "a"])
        .execs("r1", &["echo", "b"])
        .bridge("br-0")
        .bridge("br-idle")
        .still("host", "pc")
        .execs("pc", &["echo", "c"])
        .link("r-2:eth1-x", "r1:eth1-x")
        .with_link(addresses)
        .link("r1:uplink-to-the-core-router", "r-2:eth2")
        .link("r1:eth3", "br-0:p-1")
        .link("r-2:eth3", "host:h-1")
        .lab()
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_the_store_has_lost_is_adopted_without_a_call() {
    let bench = Bench::new().await;
    let lab = rich();
    bench.made(&lab).await;
    bench
        .edited(json!({ "links": { "r-2:eth1-x r1:eth1-x": { "ends": { "r1:eth1-x": { "state": "down" } } } } }))
        .await;
    // What daemons and people add is not what the topology gave.
    let add = |port: &mut PortFact| {
        port.addresses.extend(["10.9.9.9/32".into(), "fd00::9/64".into()]);
        // As on kernels that do not mark addresses.
        port.given.clear();
    };
    bench.world.change_port(&inside("r1"), "eth1-x", add);
    bench.world.change_port(&inside("r-2"), "eth1-x", many_more);
    let before = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    let document = Document::of(&before);

    let bench = forgetful(bench).await;
    assert_eq!(bench.engine.wishes().get(&lab_name("lab")), None);
    let operation = bench.engine.adopt(&lab_name("lab")).await.unwrap().view();
    assert_eq!(operation.state, OperationState::Succeeded);
    let text = operation.message.unwrap();
    assert!(text.contains("5 nodes, 4 links") && text.contains("3 `exec` commands"), "{text}");
    let wish = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    assert_eq!(wish.lab, before.lab);
    assert_eq!(wish.down, before.down);
    assert_eq!(wish.bridges, before.bridges);
    assert_eq!(Document { generation: 0, ..Document::of(&wish) }, Document { generation: 0, ..document });
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0], "also no command is run again");
    assert!(matches!(bench.engine.adopt(&lab_name("lab")).await, Err(Refusal::Known(_))));
    assert_eq!(bench.deploy(&lab).await.message.as_deref(), Some("nothing to change"));

    // It is the engine's again: over restarts, for restart policies, to the end.
    let bench = bench.restart().await;
    bench.ready().await;
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    bench.world.exit("lab", "r1", 1, "");
    until("it runs again", || bench.world.nodes().contains(&"lab/r1 running".to_owned())).await;
    pass(10).await;
    assert_eq!(without_ends(&bench), ["start lab/r1", "exec lab/r1: echo a", "exec lab/r1: echo b"]);
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
    assert_eq!(bench.store.keys(), [""; 0]);
}

/// The orders for all nodes of a lab that are linked to one bridge.
fn orders_on_a_bridge(count: u16) -> Vec<NodeOrder> {
    let mut sketch = Sketch::new("lab").bridge("br0").bridge("br-idle");
    for n in 0..count {
        sketch = sketch.node(&format!("r{n}"));
    }
    for n in 0..count {
        // Derived ones clash, and a sketch does not look.
        let [high, low] = n.to_be_bytes();
        sketch = sketch.link(&format!("r{n}:eth1"), &format!("br0:p{n}")).with_link(|link| {
            link.a.mac = Mac([2, 0, 0, high, low, 1]);
            link.b.as_mut().unwrap().mac = Mac([2, 0, 0, high, low, 2]);
        });
    }
    let lab = sketch.lab();
    let nodes = lab.nodes().iter().filter(|(_, node)| node.runtime.is_some());
    let order = |(name, node): (&NodeName, &Node)| NodeOrder {
        lab: lab.clone(),
        node: name.clone(),
        fingerprint: NodeFingerprint::of(node, 0, 0),
        rebuild: 0,
        restarts: 0,
    };
    nodes.map(order).collect()
}

#[test]
fn what_is_kept_on_the_nodes_of_a_large_lab_is_told_quickly() {
    let shared = Applied::of(&orders_on_a_bridge(10)[0]).unwrap().shared;
    assert_eq!(shared.keys().map(NodeName::as_str).collect::<Vec<_>>(), ["br-idle", "br0"]);
    let (few, many) = (orders_on_a_bridge(200), orders_on_a_bridge(2000));
    grows_with_the_size(&few, &many, |orders| assert!(orders.iter().all(|order| Applied::of(order).is_some())));
}

#[tokio::test(start_paused = true)]
async fn an_ended_node_is_adopted_as_ended_and_its_policy_works_again() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").runs("r1", &["sleep", "1"]).lab()).await;
    let bench = forgetful(bench).await;
    bench.world.exit("lab", "r1", 1, "");
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0], "nobody wants it");
    bench.engine.adopt(&lab_name("lab")).await.unwrap();
    until("it runs again", || bench.world.nodes() == ["lab/r1 running", "lab/r2 running"]).await;
    assert_eq!(without_ends(&bench), ["start lab/r1"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_person_asked_of_nodes_is_adopted_too() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.edited(json!({ "nodes": { "r1": { "state": "stopped" }, "r2": { "restarts": 1 } } })).await;
    let before = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    let bench = forgetful(bench).await;
    bench.engine.adopt(&lab_name("lab")).await.unwrap();
    let wish = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    assert_eq!((&wish.stopped, &wish.restarts, &wish.down), (&before.stopped, &before.restarts, &before.down));
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    bench.edited(json!({ "nodes": { "r1": { "state": null } } })).await;
    until("it runs again", || bench.world.nodes() == ["lab/r1 running", "lab/r2 running"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_rebuilt_lab_is_adopted_as_it_was_rebuilt() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let again =
        netloom_engine::DeployRequest { rebuild: netloom_engine::Rebuild::Yes, ..crate::bench::request(&pair()) };
    assert_eq!(end(&bench.engine.deploy(again).await.unwrap()).await.state, OperationState::Succeeded);
    let bench = forgetful(bench).await;
    bench.engine.adopt(&lab_name("lab")).await.unwrap();
    assert_eq!(bench.engine.wishes().get(&lab_name("lab")).unwrap().rebuild, 1);
    assert_eq!(bench.deploy(&pair()).await.message.as_deref(), Some("nothing to change"));
}

/// Why a lab is not adopted.
pub(crate) async fn refused(bench: &Bench) -> String {
    let refusal = bench.engine.adopt(&lab_name("lab")).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Unadoptable { .. }), "{refusal}");
    assert_eq!(bench.engine.wishes().get(&lab_name("lab")), None);
    assert_eq!(bench.store.keys(), [""; 0]);
    refusal.to_string()
}

#[tokio::test(start_paused = true)]
async fn what_would_change_something_is_refused_with_every_reason() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").link("r1:eth2", "r2:eth2").link("r1:eth3", "r2:eth3").lab();
    bench.made(&lab).await;
    let bench = forgetful(bench).await;
    bench.world.change_port(&inside("r1"), "eth1", |port| port.mtu = 1280);
    bench.world.change_port(&inside("r2"), "eth1", |port| port.mtu = 1280);
    bench.world.change_port(&inside("r1"), "eth2", |port| port.mac = Some("02:00:00:00:00:01".parse().unwrap()));
    let text = refused(&bench).await;
    assert!(text.contains("link r1:eth1-r2:eth1: its MTU or an address"), "{text}");
    assert!(text.contains("link r1:eth2-r2:eth2: a MAC address"), "{text}");
    assert!(!text.contains("eth3") && text.contains("deploy its file"), "{text}");
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(bench.deploy(&lab).await.state, OperationState::Succeeded, "as the refusal says");
}

#[tokio::test(start_paused = true)]
async fn a_link_with_more_addresses_than_can_be_tried_is_adopted_only_if_they_are_marked() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").with_link(|link| link.a.ipv4 = Some("10.0.0.1/24".parse().unwrap())).lab()).await;
    let bench = forgetful(bench).await;
    for node in ["r1", "r2"] {
        bench.world.change_port(&inside(node), "eth1", many_more);
    }
    bench.world.change_port(&inside("r1"), "eth1", |port| port.given.clear());
    let text = refused(&bench).await;
    assert!(text.contains("link r1:eth1-r2:eth1: its interfaces have too many addresses"), "{text}");
    bench.world.change_port(&inside("r1"), "eth1", |port| port.given = vec!["10.0.0.1/24".into()]);
    bench.engine.adopt(&lab_name("lab")).await.unwrap();
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_half_there_is_refused_with_the_plan() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").bridge("br0").link("r1:eth2", "br0:p1").lab();
    bench.made(&lab).await;
    let bench = forgetful(bench).await;
    bench.world.change_port(&Place::Host, "p1", |port| port.master = None);
    let text = refused(&bench).await;
    assert!(text.contains("it would create link") && text.contains("br0:p1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn nodes_of_an_older_version_are_refused_by_name() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let bench = forgetful(bench).await;
    bench.world.age("lab", "r2");
    let text = refused(&bench).await;
    assert!(text.contains("node r2") && !text.contains("node r1") && text.contains("deploy its file"), "{text}");
    assert_eq!(bench.deploy(&pair()).await.state, OperationState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_refuses_an_adoption_and_keeps_nothing_of_it() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").execs("r1", &["true"]).lab();
    bench.made(&lab).await;
    let bench = forgetful(bench).await;
    bench.store.fail_writes(Some("no space left"));
    assert!(matches!(bench.engine.adopt(&lab_name("lab")).await, Err(Refusal::Store(_))));
    bench.store.fail_writes(None);
    is_adopted_only_when_the_store_answers(&bench).await;
    assert!(matches!(bench.engine.adopt(&lab_name("other")).await, Err(Refusal::NoLab(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lab_on_a_management_network_is_adopted_with_the_addresses_of_its_nodes() {
    let bench = Bench::prepared(config(), |world, _| world.add_networks()).await;
    let lab = Sketch::new("lab").container("r1").container("r2").node("r3");
    let lab = lab.with("r2", |node| node.management.ipv4 = Some("172.20.20.99".parse().unwrap()));
    let lab = lab.link("r1:eth1", "r2:eth1").link("r3:eth1", "host:oob");
    let lab = lab.with_link(|link| link.kind = netloom_model::LinkKind::ManagementNet).lab();
    bench.made(&lab).await;
    let before = bench.engine.wishes().get(&lab_name("lab")).unwrap();

    let bench = forgetful(bench).await;
    // Nobody else is given what its nodes have, while it is not known.
    let mut other = Sketch::new("other").container("r1").lab();
    bench.made(&other).await;
    let wish = bench.engine.wishes().get(&lab_name("other")).unwrap();
    let address = wish.on_network.as_ref().unwrap().nodes[&"r1".parse().unwrap()].ipv4.unwrap();
    assert_eq!(address.to_string(), "172.20.20.3");
    bench.world.take_calls();

    bench.engine.adopt(&lab_name("lab")).await.unwrap();
    let wish = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    assert_eq!(wish.whole().links(), before.whole().links());
    assert_eq!((&wish.on_network, &wish.networks), (&before.on_network, &before.networks));
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(bench.deploy(&lab).await.message.as_deref(), Some("nothing to change"));

    // A node more gets an address that nobody has, and the network goes with the last lab.
    other = Sketch::new("other").container("r1").container("r2").lab();
    bench.made(&other).await;
    let wish = bench.engine.wishes().get(&lab_name("other")).unwrap();
    assert_eq!(
        wish.on_network.as_ref().unwrap().nodes[&"r2".parse().unwrap()].ipv4.unwrap().to_string(),
        "172.20.20.4"
    );
    for lab in ["lab", "other"] {
        assert_eq!(bench.destroy(lab).await.state, OperationState::Succeeded);
    }
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
}
