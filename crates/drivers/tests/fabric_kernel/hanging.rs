//! Links that hang on an interface or an address of the host: macvlans, tunnels, and what is stitched to them.

use std::sync::Arc;

use netloom_engine::{ErrorClass, Fabric, FailSignals, Inventory, LinkOrder};
use netloom_kernel::{Address, AdminState, FarEnd, LinkChange, Request, SignalFail, Tunnel, VethEnd};
use netloom_model::{Lab, LinkKind, Mtu};
use netloom_plan::{AdminState as Carrier, Side};
use serde_json::{Value, json};

use crate::stage::{Stage, apply, bulk, context, create, delete, end, lab, node, ports, root, until, update};

fn host(stage: &Stage) -> netloom_kernel::Place {
    netloom_kernel::Place::host(stage.host.clone())
}

async fn set_up(stage: &Stage, at: &str, name: &str, mtu: Option<Mtu>) {
    let place = if at == "host" { host(stage) } else { stage.place(at) };
    let ifindex = stage.link(at, name).unwrap().ifindex;
    let change = LinkChange { state: Some(AdminState::Up), mtu, ..LinkChange::default() };
    stage.change(Request::SetLink { place, ifindex, change }).await;
}

fn macvlan(name: &str, mac: u8, address: &str, parent: &str) -> Value {
    json!({ "a": end(node(name), "eth1", mac, Some(address), None), "kind": { "macvlan": { "parent": parent } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn macvlans_of_one_parent_reach_each_other_with_its_mtu_and_leave_it_alone() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = lab(json!([macvlan("r1", 1, "10.0.0.1/24", "eno1"), macvlan("r2", 2, "10.0.0.2/24", "eno1")]));
    let early = apply(&fabric, create(&lab, 0)).await.unwrap_err();
    assert_eq!(early.class, ErrorClass::Transient);
    assert!(early.cause.starts_with("there is no interface `eno1` on the host, which it hangs on"), "{early}");
    assert_eq!(stage.dump("r1").links.len(), 1);

    stage.foreign("eno1").await;
    set_up(&stage, "host", "eno1", Some(Mtu::try_from(1400).unwrap())).await;
    set_up(&stage, "host", "eno1-peer", None).await;
    let parent = stage.link("host", "eno1");
    for answer in fabric.apply(vec![create(&lab, 0), create(&lab, 1)], &context()).await {
        answer.unwrap();
    }
    let id = lab.links()[0].id();
    let port = until(&inventory, |snapshot| ports(snapshot, &id).into_iter().find(|port| port.carrier)).await;
    assert_eq!((port.mtu, port.mac), (1400, Some(lab.links()[0].a.mac)));
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.0.0.2");

    let before = stage.dump("r1");
    apply(&fabric, create(&lab, 0)).await.unwrap();
    apply(&fabric, update(&lab, 0)).await.unwrap();
    assert_eq!(stage.dump("r1"), before, "it is found as it is");
    for answer in fabric.apply(vec![delete(&lab, 0), delete(&lab, 1)], &context()).await {
        answer.unwrap();
    }
    assert_eq!((stage.dump("r1").links.len(), stage.link("host", "eno1")), (1, parent));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_that_is_a_port_of_a_bridge_is_refused_with_what_is_wrong() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    stage.foreign("eno1").await;
    let (place, name) = (host(&stage), "br0".parse().unwrap());
    stage.change(Request::CreateBridge { place, name, ifindex: None, mac: None, mtu: None, group: 0 }).await;
    let master = Some(stage.link("host", "br0").unwrap().ifindex);
    let ifindex = stage.link("host", "eno1").unwrap().ifindex;
    let change = LinkChange { master, ..LinkChange::default() };
    stage.change(Request::SetLink { place: host(&stage), ifindex, change }).await;
    let lab = lab(json!([macvlan("r1", 1, "10.0.0.1/24", "eno1")]));
    let error = apply(&fabric, create(&lab, 0)).await.unwrap_err();
    assert!(error.cause.ends_with("its parent is a port of a bridge, or belongs to another macvlan alone"), "{error}");
    assert_eq!(stage.dump("r1").links.len(), 1);
}

/// A lab whose `r2` plays another host, at 192.0.2.2, and a link of `r1` that leads there.
fn far(kind: &str, remote: &str) -> Arc<Lab> {
    let tunnel = json!({ "remote": remote, "vni": 7, "dst_port": 4789, "src_port": 4790 });
    lab(json!([
        { "a": end(node("r1"), "eth1", 1, Some("10.0.0.1/24"), None), "kind": { kind: tunnel }, "mtu": 1450 },
        {
            "a": end(node("r2"), "u0", 2, Some("192.0.2.2/24"), None),
            "b": end(json!("host"), "to-r2", 3, Some("192.0.2.1/24"), None),
            "mtu": 1480,
        },
    ]))
}

/// The order about the tunnel, and the other end of it: a tunnel in `r2` that somebody made by hand.
async fn with_far_end(stage: &Stage, fabric: &impl Fabric, lab: &Arc<Lab>) -> LinkOrder {
    let tunnel = lab.links().iter().position(|link| link.kind != LinkKind::Plain).unwrap();
    fabric.apply(vec![create(lab, 1 - tunnel)], &context()).await.remove(0).unwrap();
    let place = stage.place("r2");
    let end = VethEnd {
        place: place.clone(),
        name: "vx0".parse().unwrap(),
        ifindex: None,
        mac: None,
        mtu: Mtu::try_from(1430).ok(),
        group: 0,
    };
    let tunnel = Tunnel {
        place: place.clone(),
        vni: 7,
        remote: "192.0.2.1".parse().unwrap(),
        dst_port: 4789,
        src_port: None,
        parent: None,
        local: None,
    };
    stage.change(Request::CreateVxlan { end, tunnel }).await;
    let ifindex = stage.link("r2", "vx0").unwrap().ifindex;
    let address = "10.0.0.2/24".parse().map(Address::V4).unwrap();
    stage.change(Request::AddAddress { place, ifindex, address, protocol: None }).await;
    set_up(stage, "r2", "vx0", None).await;
    create(lab, lab.links().iter().position(|link| link.kind != LinkKind::Plain).unwrap())
}

fn counterpart(lab: &Arc<Lab>, of: &LinkOrder) -> LinkOrder {
    let LinkOrder::Create { link, .. } = of else { panic!("{of:?}") };
    LinkOrder::Delete { lab: lab.name().clone(), link: link.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_in_the_node_with_its_socket_on_the_host() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = far("vxlan", "192.0.2.2");
    let order = with_far_end(&stage, &fabric, &lab).await;
    apply(&fabric, order.clone()).await.unwrap();
    let made = stage.link("r1", "eth1").unwrap();
    assert_eq!((made.kind.as_deref(), made.mtu), (Some("vxlan"), 1430), "what its way carries, less 50");
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.0.0.2");

    let before = stage.dump("r1");
    apply(&fabric, order.clone()).await.unwrap();
    assert_eq!(stage.dump("r1"), before);
    // The host has room for one tunnel of an identifier and a port.
    let second = lab_of_same_tunnel();
    let error = apply(&fabric, create(&second, 0)).await.unwrap_err();
    assert!(error.cause.contains("VNI"), "{error}");
    gone(&stage, &inventory, &fabric, counterpart(&lab, &order)).await;
}

fn lab_of_same_tunnel() -> Arc<Lab> {
    let tunnel = json!({ "remote": "192.0.2.9", "vni": 7, "dst_port": 4789 });
    lab(json!([{ "a": end(node("r2"), "eth9", 9, None, None), "kind": { "vxlan": tunnel } }]))
}

/// Deletes a link of `r1` and sees to it that nothing of it is left.
async fn gone(stage: &Stage, inventory: &Inventory, fabric: &impl Fabric, delete: LinkOrder) {
    let LinkOrder::Delete { link, .. } = &delete else { panic!("{delete:?}") };
    let id = link.clone();
    fabric.apply(vec![delete], &context()).await.remove(0).unwrap();
    until(inventory, |snapshot| ports(snapshot, &id).is_empty().then_some(())).await;
    assert_eq!(stage.dump("r1").links.len(), 1);
    let left: Vec<String> = stage.dump("host").links.into_iter().map(|link| link.name).collect();
    assert_eq!(left, ["lo", "to-r2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_as_remote_is_refused_because_nobody_looks_it_up_here() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let lab = far("vxlan", "peer.example.net");
    let at = lab.links().iter().position(|link| link.kind != LinkKind::Plain).unwrap();
    let error = apply(&fabric, create(&lab, at)).await.unwrap_err();
    assert!(error.cause.starts_with("its remote `peer.example.net` is a name"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stitched_link_is_made_whole_again_wherever_it_was_cut_and_leaves_nothing() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = far("vxlan-stitch", "192.0.2.2");
    let order = with_far_end(&stage, &fabric, &lab).await;
    let taken = stage.foreign("vx-r1_eth1").await;
    let error = apply(&fabric, order.clone()).await.unwrap_err();
    assert!(error.cause.contains("interface `vx-r1_eth1` already exists on the host and is not ours"), "{error}");
    assert_eq!((stage.link("host", "vx-r1_eth1"), stage.link("host", "ve-r1_eth1")), (Some(taken.clone()), None));
    stage.change(Request::DeleteLink { place: host(&stage), ifindex: taken.ifindex }).await;

    apply(&fabric, order.clone()).await.unwrap();
    let mtu = |at: &str, name: &str| stage.link(at, name).unwrap().mtu;
    assert_eq!((mtu("r1", "eth1"), mtu("host", "ve-r1_eth1"), mtu("host", "vx-r1_eth1")), (1450, 1450, 1430));
    let LinkOrder::Create { link: id, .. } = &order else { unreachable!() };
    let marked = until(&inventory, |snapshot| {
        let ports = ports(snapshot, id);
        (ports.len() == 3 && ports.iter().all(|port| port.admin_up)).then_some(ports)
    })
    .await;
    assert_eq!(marked.iter().filter(|port| port.name.as_str() == "vx-r1_eth1").count(), 1);
    through(&stage);
    let before = (stage.dump("r1"), stage.dump("host"));
    apply(&fabric, order.clone()).await.unwrap();
    assert_eq!((stage.dump("r1"), stage.dump("host")), before, "it is found as it is");

    // Its tunnel is marked and not moved yet, which is how an agent that dies leaves it.
    let ifindex = stage.link("host", "vx-r1_eth1").unwrap().ifindex;
    let (place, to) = (host(&stage), stage.place("r1"));
    stage.change(Request::MoveLink { place, ifindex, to, state: AdminState::Down }).await;
    apply(&fabric, order.clone()).await.unwrap();
    assert!(stage.link("r1", "vx-r1_eth1").is_none());
    through(&stage);

    // Each of its interfaces is taken away.
    for name in ["vx-r1_eth1", "ve-r1_eth1"] {
        let ifindex = stage.link("host", name).unwrap().ifindex;
        stage.change(Request::DeleteLink { place: host(&stage), ifindex }).await;
        apply(&fabric, order.clone()).await.unwrap();
        through(&stage);
    }
    gone(&stage, &inventory, &fabric, counterpart(&lab, &order)).await;
}

/// The way from `r1` to the other host carries what it should.
fn through(stage: &Stage) {
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.0.0.2");
    bulk(&stage.netns("r2"), &stage.netns("r1"), "10.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_of_a_stitched_link_tell_each_other_of_their_ends_and_its_node_hears_nothing_of_it() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = far("vxlan-stitch", "192.0.2.2");
    let order = with_far_end(&stage, &fabric, &lab).await;
    apply(&fabric, order.clone()).await.unwrap();
    let LinkOrder::Create { link: id, .. } = &order else { unreachable!() };
    let carry = |side, carrier| LinkOrder::Carry { lab: lab.clone(), link: id.clone(), side, carrier };
    let signals = async |wanted: FailSignals| {
        let of = |name: &str, port: &netloom_engine::PortFact| port.name.as_str() == name && port.signals == wanted;
        until(&inventory, |all| ports(all, id).iter().any(|port| of("vx-r1_eth1", port)).then_some(())).await;
    };
    let (there, _there_runs, mut heard_there) = SignalFail::start(&stage.netns("r2")).unwrap();
    let tunnel = stage.link("r2", "vx0").unwrap();
    there.watch(tunnel.ifindex, tunnel.mac.unwrap());
    let (inside, _inside_runs, mut heard_inside) = SignalFail::start(&stage.netns("r1")).unwrap();
    let end = stage.link("r1", "eth1").unwrap();
    inside.watch(end.ifindex, end.mac.unwrap());

    apply(&fabric, carry(Side::B, Carrier::Down)).await.unwrap();
    signals(FailSignals { sent: true, heard: false }).await;
    let off = FarEnd { ifindex: tunnel.ifindex, fails: true };
    assert_eq!(
        tokio::time::timeout(context().deadline - std::time::Instant::now(), heard_there.recv()).await,
        Ok(Some(off))
    );
    there.signal(tunnel.ifindex, true);
    signals(FailSignals { sent: true, heard: true }).await;
    apply(&fabric, carry(Side::B, Carrier::Up)).await.unwrap();
    signals(FailSignals { sent: false, heard: true }).await;
    assert_eq!(heard_there.recv().await, Some(FarEnd { fails: false, ..off }));

    apply(&fabric, carry(Side::A, Carrier::Down)).await.unwrap();
    let has_carrier =
        |all: &netloom_engine::Snapshot| Some(ports(all, id).iter().find(|port| port.name.as_str() == "eth1")?.carrier);
    until(&inventory, |all| (!has_carrier(all)?).then_some(())).await;
    there.signal(tunnel.ifindex, false);
    signals(FailSignals::default()).await;
    apply(&fabric, carry(Side::A, Carrier::Up)).await.unwrap();
    until(&inventory, |all| has_carrier(all)?.then_some(())).await;
    through(&stage);
    assert!(heard_inside.try_recv().is_err(), "what hosts say is not for nodes");
    gone(&stage, &inventory, &fabric, counterpart(&lab, &order)).await;
}
