//! Labs on a switch that the store has lost: taken back with the tags that their ports have, or left alone with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{Config, OperationState, Place, Refusal, Source};
use netloom_model::{FabricKind, Lab, Link, LinkId, LinkKind, SwitchPort, Vxlan};
use serde_json::{Value, json};

use crate::adopt::{forgetful, inside, is_adopted_only_when_the_store_answers, refused};
use crate::bench::{Bench, config, lab_name, pass, until};
use crate::switch::on_switch;

async fn bench() -> Bench {
    Bench::prepared(config(), |world, _| world.add_switch()).await
}

/// Two links between two nodes.
fn twice() -> Arc<Lab> {
    on_switch(&Sketch::pair("lab").link("r1:eth2", "r2:eth2").lab())
}

const ONE: &str = "r1:eth1-r2:eth1";

/// The port behind an end of a link of the lab.
fn port(end: &str) -> String {
    SwitchPort::cable_to(&lab_name("lab"), end).to_string()
}

fn tunnel(end: &str) -> String {
    SwitchPort::tunnel_of(&lab_name("lab"), &LinkId::from_text(end)).to_string()
}

/// A link of its end on the first node only, to a tunnel.
fn to_tunnel(link: &mut Link) {
    link.b = None;
    let (src_port, parent) = (Some(4000), Some("uplink".parse().unwrap()));
    link.kind = LinkKind::VxlanStitch(Vxlan {
        remote: "192.0.2.7".into(),
        vni: 7,
        dst_port: 4789,
        src_port,
        parent,
        local: None,
    });
}

fn vars(link: &mut Link, vars: Value) {
    link.b.as_mut().unwrap().vars = serde_json::from_value(vars).unwrap();
}

/// Of everything that there is on a switch something, and of what is beside it.
fn rich() -> Arc<Lab> {
    let addresses = |link: &mut Link| {
        link.a.ipv4 = Some("10.0.0.1/24".parse().unwrap());
        link.b.as_mut().unwrap().ipv6 = Some("2001:db8::2/64".parse().unwrap());
    };
    let lab = Sketch::new("lab")
        .node("r1")
        .node("r-2")
        .bridge("br-0")
        .still("ovs-bridge", "sw")
        .link("r-2:eth1-x", "r1:eth1-x")
        .with_link(addresses)
        .link("r1:uplink-to-the-core-router", "r-2:eth2")
        .link("r1:eth3", "br-0:p-1")
        .link("r-2:eth3", "host:h-1")
        .link("r1:eth4", "sw:p1")
        .link("r1:eth5", "sw:p2")
        .with_link(|link| vars(link, json!({ "vlan": 10 })))
        .link("r1:eth6", "sw:p3")
        .with_link(|link| vars(link, json!({ "trunks": [30, 20, 30], "vlan": 10 })))
        .link("r1:eth7", "host:none")
        .with_link(to_tunnel)
        .link("r-2:eth8", "host:none")
        .with_link(to_tunnel)
        .with_link(|link| {
            link.mtu = 1400.try_into().unwrap();
            link.kind.tunnel_mut().unwrap().vni = 8;
        });
    on_switch(&lab.lab())
}

/// The same with lists of VLANs as they are read back.
fn in_order(lab: &Lab) -> Lab {
    let mut parts = lab.clone().into_parts();
    let ends = parts.links.iter_mut().filter_map(|link| link.b.as_mut());
    for trunks in ends.filter_map(|end| end.vars.get_mut("trunks")) {
        *trunks = json!([20, 30]);
    }
    Lab::new(parts).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lab_on_a_switch_is_adopted_with_its_tags_and_without_a_call() {
    let bench = bench().await;
    let lab = rich();
    bench.made(&lab).await;
    bench
        .edited(json!({ "links": { "r-2:eth1-x r1:eth1-x": { "ends": { "r1:eth1-x": { "state": "down" } } } } }))
        .await;
    // A way that carries less: the interfaces of the tunnel are smaller than it was ordered.
    bench.world.change_port(&inside("r1"), "eth7", |port| port.mtu = 1450);
    let before = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    let (ports, tags) = (bench.world.switch_ports(), bench.store.text("tags/lab").unwrap());
    assert_eq!(serde_json::from_str::<BTreeMap<LinkId, u16>>(&tags).unwrap().len(), 5);

    let bench = forgetful(bench).await;
    bench.world.take_calls();
    let operation = bench.engine.adopt(&lab_name("lab")).await.unwrap().view();
    assert_eq!(operation.state, OperationState::Succeeded);
    let text = operation.message.unwrap();
    assert!(text.contains("9 links") && text.contains("5 links keep their tags on bridge `arch-ovs`"), "{text}");
    let wish = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    assert_eq!(*wish.lab, in_order(&before.lab));
    assert_eq!((&wish.down, &wish.bridges, &wish.switch), (&before.down, &before.bridges, &before.switch));
    assert_eq!(bench.store.text("tags/lab").unwrap(), tags);
    pass(120).await;
    assert_eq!((bench.world.calls(), bench.world.switch_ports()), (Vec::new(), ports.clone()));
    assert_eq!(bench.deploy(&lab).await.message.as_deref(), Some("nothing to change"));

    // It is the engine's again: over restarts, when somebody changes something, to the end.
    let bench = bench.restart().await;
    bench.ready().await;
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    bench.world.retag(&port("r-2:eth2"), 7);
    until("it is set back", || bench.world.switch_ports() == ports).await;
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
    assert!(bench.world.switch_ports().is_empty() && bench.world.tags().is_empty());
    until("the store has forgotten it", || bench.store.keys().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn an_adopted_lab_stays_on_its_fabric_whatever_the_host_is_configured_with() {
    let bench = bench().await;
    bench.made(&twice()).await;
    bench.made(&Sketch::pair("plain").lab()).await;
    let ports = bench.world.switch_ports();
    let mut bench = forgetful(bench).await;
    let other = Config { fabric: FabricKind::Ovs, switch: "br-other".parse().unwrap(), ..config() };
    bench = bench.restart_with(other.clone()).await;
    bench.ready().await;
    for lab in ["lab", "plain"] {
        bench.engine.adopt(&lab_name(lab)).await.unwrap();
    }
    bench.edited(json!({ "nodes": { "r1": { "labels": { "site": "x" } } } })).await;
    bench.edit_of(&lab_name("plain"), json!({ "nodes": { "r1": { "labels": { "site": "x" } } } })).await.unwrap();
    pass(120).await;
    assert_eq!(bench.world.switch_ports(), ports);
    let fabric = |lab: &str| bench.engine.wishes().get(&lab_name(lab)).unwrap().lab.settings().fabric;
    assert_eq!((fabric("lab"), fabric("plain")), (None, Some(FabricKind::Kernel)));
}

#[tokio::test(start_paused = true)]
async fn a_port_with_another_tag_than_is_claimed_is_refused_and_left_as_it_is() {
    let bench = bench().await;
    bench.made(&twice()).await;
    let bench = forgetful(bench).await;
    bench.world.retag(&port("r1:eth1"), 7);
    let before = bench.world.switch_ports();
    let text = refused(&bench).await;
    let wanted = format!("link {ONE}: its port `{}` has tag 7, and what is claimed for it is 2050", port("r1:eth1"));
    assert!(text.contains(&wanted) && !text.contains("eth2") && text.contains("deploy its file"), "{text}");
    pass(120).await;
    assert_eq!((bench.world.calls(), bench.world.switch_ports()), (Vec::new(), before));
    bench.made(&twice()).await;
    assert!(bench.world.switch_ports().iter().all(|port| !port.contains(" 7 ")), "as the refusal says");
}

#[tokio::test(start_paused = true)]
async fn a_tag_whose_claim_is_lost_is_that_of_the_ports_and_is_claimed_again() {
    let bench = bench().await;
    bench.made(&twice()).await;
    let (ports, tags) = (bench.world.switch_ports(), bench.store.text("tags/lab"));
    let bench = forgetful(bench).await;
    bench.world.drop_claim(2050);
    bench.world.trouble("reclaim *", ..1, Trouble::Transient("the database is busy".into()));
    let busy = bench.engine.adopt(&lab_name("lab")).await.unwrap_err();
    assert!(matches!(busy, Refusal::Driver(_)) && bench.store.keys().is_empty(), "{busy}");
    bench.world.take_calls();
    bench.engine.adopt(&lab_name("lab")).await.unwrap();
    pass(120).await;
    assert_eq!(bench.world.take_calls(), [format!("reclaim lab/{ONE}")]);
    assert_eq!((bench.world.tags(), bench.world.switch_ports()), (vec![2050, 2051], ports));
    assert_eq!(bench.store.text("tags/lab"), tags);
    assert_eq!(bench.deploy(&twice()).await.message.as_deref(), Some("nothing to change"));
}

#[tokio::test(start_paused = true)]
async fn a_tag_without_a_claim_that_somebody_else_has_too_is_refused() {
    let bench = bench().await;
    bench.made(&twice()).await;
    let bench = forgetful(bench).await;
    let ports = bench.world.switch_ports();
    // Two links of ours.
    bench.world.drop_claim(2050);
    bench.world.drop_claim(2051);
    for end in ["r1:eth2", "r2:eth2"] {
        bench.world.retag(&port(end), 2050);
    }
    let text = refused(&bench).await;
    let that = |one: &str, other: &str| {
        format!("link {one}: its ports have tag 2050, which is that of link {other} of lab lab")
    };
    let two = "r1:eth2-r2:eth2";
    assert!(text.contains(&that(ONE, two)) && text.contains(&that(two, ONE)), "{text}");
    // One, and what another one has claimed.
    for end in ["r1:eth2", "r2:eth2"] {
        bench.world.retag(&port(end), 2051);
    }
    bench.world.leave_claim("other", "a:eth1-b:eth1", 2051);
    let seen = || bench.engine.inventory().snapshot().switch.tags().next().is_some();
    until("the claim is seen", seen).await;
    let text = refused(&bench).await;
    assert!(
        text.contains("tag 2051, which is that of link a:eth1-b:eth1 of lab other") && !text.contains(ONE),
        "{text}"
    );
    bench.world.drop_claim(2051);
    // One of somebody who is not in the inventory.
    bench.world.add_foreign_switch("arch-ovs", "theirs", 2051);
    let text = refused(&bench).await;
    assert!(text.contains("tag 2051 is that of theirs") && text.contains("deploy its file"), "{text}");
    assert_eq!((bench.world.tags(), bench.world.switch_ports()), (Vec::new(), ports), "nothing was claimed either");
}

#[tokio::test(start_paused = true)]
async fn a_port_that_is_gone_or_lets_others_through_is_refused_by_name() {
    let bench = bench().await;
    bench.made(&rich()).await;
    let bench = forgetful(bench).await;
    bench.world.unplug(&port("r-2:eth2"));
    bench.world.unplug("p1");
    bench.world.retag("p2", 11);
    bench.world.unplug(&tunnel("r1:eth7"));
    bench.world.delete_port(&Place::Host, &tunnel("r-2:eth8"));
    let text = refused(&bench).await;
    for why in [
        format!("its port `{}` of Open vSwitch is gone", port("r-2:eth2")),
        "link r1:eth5-sw:p2: its MTU, an address or a VLAN is other".to_owned(),
        format!("link r1:eth7: its port `{}` of Open vSwitch is gone", tunnel("r1:eth7")),
        format!("link r-2:eth8: its interface `{}` on the host is gone", tunnel("r-2:eth8")),
    ] {
        assert!(text.contains(&why), "{why} is not in {text}");
    }
    bench.made(&rich()).await;
    let bench = forgetful(bench).await;
    bench.world.unplug("p1");
    let text = refused(&bench).await;
    assert!(text.contains("it would create link r1:eth4-sw:p1"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_is_half_made_and_a_claim_without_a_link_are_refused() {
    let bench = bench().await;
    bench.made(&twice()).await;
    let bench = forgetful(bench).await;
    bench.world.delete_port(&Place::Host, &port("r2:eth1"));
    bench.world.leave_claim("lab", "r1:eth9-r2:eth9", 2060);
    let text = refused(&bench).await;
    assert!(text.contains(&format!("link {ONE}: its end r2:eth1 is gone")), "{text}");
    bench.made(&twice()).await;

    let bench = forgetful(bench).await;
    bench.world.leave_claim("lab", "r1:eth9-r2:eth9", 2060);
    let bench = bench.restart().await;
    bench.ready().await;
    let text = refused(&bench).await;
    assert!(text.contains("it would delete link r1:eth9-r2:eth9"), "{text}");
    assert_eq!(bench.world.tags(), [2050, 2051, 2060]);
    bench.made(&twice()).await;
    until("it is given back", || bench.world.tags() == [2050, 2051]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lab_of_which_a_part_is_not_on_the_switch_yet_is_refused_with_the_plan() {
    let bench = bench().await;
    let plain = Sketch::pair("lab").link("r1:eth2", "r2:eth2").lab();
    bench.made(&plain).await;
    bench.world.trouble("create lab/r1:eth2*", .., Trouble::Transient("the agent was killed".into()));
    bench.begin(&twice()).await.unwrap();
    until("the first is on it", || bench.world.switch_ports().len() == 2).await;
    let bench = forgetful(bench).await;
    let text = refused(&bench).await;
    assert!(text.contains("r1:eth2-r2:eth2"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn while_the_switch_has_not_been_seen_no_lab_on_it_is_adopted() {
    let bench = bench().await;
    bench.made(&twice()).await;
    bench.made(&Sketch::pair("plain").lab()).await;
    bench.world.make_unreachable(Source::Switch, "ovsdb-server is not there");
    let Bench { engine, world, .. } = bench;
    let bench = Bench { engine, world, store: netloom_engine::testing::FakeStore::default() }.restart().await;
    let is_listed = |source| {
        let snapshot = bench.engine.inventory().snapshot();
        snapshot.sources.get(&source).is_some_and(|state| state.listed.is_some())
    };
    let mut others = bench.engine.sources().iter().filter(|source| **source != Source::Switch);
    until("all others are listed", || others.clone().all(|source| is_listed(*source))).await;
    assert!(others.next().is_some());
    let refusal = bench.engine.adopt(&lab_name("lab")).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::NotReady(why) if why.contains("ovsdb-server is not there")), "{refusal}");
    bench.engine.adopt(&lab_name("plain")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lab_on_a_switch_that_nobody_knows_is_destroyed_with_its_own_bridges() {
    let bench = bench().await;
    bench.made(&rich()).await;
    let own = Sketch::new("other").node("a").still("ovs-bridge", "sw").link("a:eth1", "sw:p9").lab();
    bench.made(&own).await;
    let bench = forgetful(bench).await;
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.switch_bridges(), ["arch-ovs", "sw"], "another lab is on that");
    assert_eq!(bench.destroy("other").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.switch_bridges(), ["arch-ovs"]);
    assert!(bench.world.switch_ports().is_empty() && bench.world.tags().is_empty());
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_refuses_the_adoption_and_keeps_no_tag() {
    let bench = bench().await;
    bench.made(&twice()).await;
    let bench = forgetful(bench).await;
    is_adopted_only_when_the_store_answers(&bench).await;
}
