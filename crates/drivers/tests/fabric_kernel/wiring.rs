//! Links that are made, changed, switched and removed, and what is observed of them.

use std::sync::Arc;
use std::time::Instant;

use netloom_engine::{DriverError, Fabric, LinkOrder, Place, PortFact, PortKind, PortMark};
use netloom_kernel::{Request, unpin};
use netloom_model::Lab;
use netloom_plan::{AdminState, LinkFingerprint, Side};
use serde_json::{Value, json};

use crate::stage::{
    Stage, apply, bulk, context, create, delete, end, lab, node, pair, ports, root, set, until, update,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_link_between_two_nodes_is_marked_addressed_up_and_observed_without_a_relist() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = pair();
    let id = lab.links()[0].id();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let ends = until(&inventory, |snapshot| {
        let ports = ports(snapshot, &id);
        let whole = ports.iter().all(|port| port.carrier && port.admin_up && port.addresses.len() == 2);
        (ports.len() == 2 && whole).then_some(ports)
    })
    .await;
    assert_eq!(ends[0].addresses, ["10.0.0.1/24", "2001:db8::1/64"]);
    assert_eq!((ends[0].mtu, ends[0].kind), (9500, PortKind::Veth));
    assert_eq!(ends[0].mac, Some("02:00:00:00:00:01".parse().unwrap()));
    assert_ne!(ends[0].ifindex, ends[1].ifindex);
    let mark = PortMark::Link {
        lab: "lab".parse().unwrap(),
        link: id.clone(),
        fingerprint: LinkFingerprint::of(&lab.links()[0], 0),
        switched: AdminState::Up,
    };
    assert!(ends.iter().all(|port| port.mark.as_ref() == Some(&mark)));
    assert!(inventory.snapshot().sources.is_empty(), "nothing was relisted");
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.0.0.2");
    bulk(&stage.netns("r2"), &stage.netns("r1"), "2001:db8::1");

    // The same order again finds it as it is.
    let before = (stage.dump("r1"), stage.dump("r2"));
    apply(&fabric, create(&lab, 0)).await.unwrap();
    assert_eq!((stage.dump("r1"), stage.dump("r2")), before);

    // Removed by hand: the event says so, and the order makes it anew.
    let place = stage.place("r2");
    let ifindex = stage.link("r2", "eth1").unwrap().ifindex;
    stage.change(Request::DeleteLink { place, ifindex }).await;
    until(&inventory, |snapshot| ports(snapshot, &id).is_empty().then_some(())).await;
    apply(&fabric, create(&lab, 0)).await.unwrap();
    assert!(stage.link("r1", "eth1").unwrap().ifindex > ifindex);

    apply(&fabric, delete(&lab, 0)).await.unwrap();
    apply(&fabric, delete(&lab, 0)).await.unwrap();
    until(&inventory, |snapshot| ports(snapshot, &id).is_empty().then_some(())).await;
    assert_eq!((stage.dump("r1").links.len(), stage.dump("r2").links.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_to_the_host_and_to_a_bridge_carry_bulk_and_leave_nothing() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    fabric.relist().await.unwrap();
    let lab = lab(json!([
        { "a": end(node("r1"), "eth0", 1, Some("10.1.0.2/24"), None), "b": end(json!("host"), "to-r1", 2, Some("10.1.0.1/24"), None) },
        { "a": end(node("r1"), "eth1", 3, Some("10.2.0.1/24"), None), "b": end(json!({ "bridge": "br-lab" }), "p1", 4, None, None) },
        { "a": end(json!({ "bridge": "br-lab" }), "p2", 5, None, None), "b": end(node("r2"), "eth1", 6, Some("10.2.0.2/24"), None) },
    ]));
    let orders: Vec<LinkOrder> = (0..3).map(|at| create(&lab, at)).collect();
    let early = fabric.apply(orders.clone(), &context()).await;
    let refused: Vec<&DriverError> = early.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|error| error.cause == "there is no bridge `br-lab` on the host"), "{refused:?}");

    let bridge = "br-lab".parse().unwrap();
    fabric.ensure_bridge(&Place::Host, &bridge, &context()).await.unwrap();
    fabric.ensure_bridge(&Place::Host, &bridge, &context()).await.unwrap();
    for answer in fabric.apply(orders, &context()).await {
        answer.unwrap();
    }
    until(&inventory, |snapshot| {
        let port = snapshot.host_port(&"p1".parse().unwrap())?;
        let bridge = snapshot.host_port(&bridge)?;
        assert_eq!(bridge.mark, Some(PortMark::Bridge));
        (port.master == Some(bridge.ifindex) && port.carrier && bridge.admin_up).then_some(())
    })
    .await;
    bulk(&stage.netns("r1"), &stage.host, "10.1.0.1");
    bulk(&stage.host, &stage.netns("r1"), "10.1.0.2");
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.2.0.2");

    let busy = fabric.remove_bridge(&Place::Host, &bridge, &context()).await.unwrap_err();
    assert_eq!(busy.cause, "it still has ports: p1, p2");
    for answer in fabric.apply((0..3).map(|at| delete(&lab, at)).collect(), &context()).await {
        answer.unwrap();
    }
    fabric.remove_bridge(&Place::Host, &bridge, &context()).await.unwrap();
    fabric.remove_bridge(&Place::Host, &bridge, &context()).await.unwrap();
    until(&inventory, |snapshot| (snapshot.host.len() == 1).then_some(())).await;
    assert_eq!(stage.dump("host").links.len(), 1);
    assert_eq!((stage.dump("r1").links.len(), stage.dump("r2").links.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_changes_what_came_with_the_link_and_nothing_else() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let before = pair();
    apply(&fabric, create(&before, 0)).await.unwrap();
    let added = "192.0.2.1/32".parse().map(netloom_kernel::Address::V4).unwrap();
    let ifindex = stage.link("r1", "eth1").unwrap().ifindex;
    stage.change(Request::AddAddress { place: stage.place("r1"), ifindex, address: added, protocol: None }).await;
    let after = lab(json!([{
        "a": end(node("r1"), "eth1", 1, Some("10.9.0.1/24"), Some("2001:db8::1/64")),
        "b": end(node("r2"), "eth1", 2, None, None),
        "mtu": 1400,
    }]));
    apply(&fabric, update(&after, 0)).await.unwrap();
    let id = after.links()[0].id();
    until(&inventory, |snapshot| {
        let ports = ports(snapshot, &id);
        let applied = ports.iter().all(|port| match &port.mark {
            Some(PortMark::Link { fingerprint, .. }) => *fingerprint == LinkFingerprint::of(&after.links()[0], 0),
            _ => false,
        });
        (ports.len() == 2
            && applied
            && ports.iter().all(|port| port.mtu == 1400)
            && ports[0].addresses == ["10.9.0.1/24", "192.0.2.1/32", "2001:db8::1/64"]
            && ports[1].addresses.is_empty())
        .then_some(())
    })
    .await;
    assert_eq!(stage.link("r1", "eth1").unwrap().ifindex, ifindex, "it is the same link");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_switched_off_says_so_and_comes_back_with_its_addresses() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = pair();
    let id = lab.links()[0].id();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let switched = |port: &PortFact| match &port.mark {
        Some(PortMark::Link { switched, .. }) => *switched,
        _ => AdminState::Up,
    };
    apply(&fabric, set(&lab, 0, Side::A, AdminState::Down)).await.unwrap();
    until(&inventory, |snapshot| {
        let ports = ports(snapshot, &id);
        let (a, b) = (ports.first()?, ports.get(1)?);
        (!a.admin_up && switched(a) == AdminState::Down && !b.carrier && switched(b) == AdminState::Up).then_some(())
    })
    .await;
    apply(&fabric, update(&lab, 0)).await.unwrap();
    assert!(!stage.link("r1", "eth1").unwrap().up, "an update switches nothing");
    apply(&fabric, set(&lab, 0, Side::A, AdminState::Up)).await.unwrap();
    until(&inventory, |snapshot| {
        let ports = ports(snapshot, &id);
        let up = |port: &Arc<PortFact>| port.carrier && port.addresses.len() == 2 && switched(port) == AdminState::Up;
        (ports.len() == 2 && ports.iter().all(up)).then_some(())
    })
    .await;
    bulk(&stage.netns("r1"), &stage.netns("r2"), "2001:db8::2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_of_a_hundred_nodes_is_wired_and_observed_in_one_batch() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let name = |n: usize| format!("n{}", n % 100);
    for n in 0..100 {
        stage.make(&name(n));
    }
    let linux = |name: &str| json!({ "kind": "linux", "runtime": "namespace", "hostname": name });
    let nodes: serde_json::Map<String, Value> = (0..100).map(|n| (name(n), linux(&name(n)))).collect();
    let links: Vec<Value> = (0..100)
        .map(|n| {
            let mut a = end(node(&name(n)), "eth1", 0, Some(&format!("10.0.{n}.1/30")), None);
            let mut b = end(node(&name(n + 1)), "eth2", 0, Some(&format!("10.0.{n}.2/30")), None);
            a["mac"] = format!("02:00:00:00:01:{n:02x}").into();
            b["mac"] = format!("02:00:00:00:02:{n:02x}").into();
            json!({ "a": a, "b": b })
        })
        .collect();
    let lab: Arc<Lab> =
        Arc::new(serde_json::from_value(json!({ "name": "lab", "nodes": nodes, "links": links })).unwrap());
    let started = Instant::now();
    for answer in fabric.apply((0..100).map(|at| create(&lab, at)).collect(), &context()).await {
        answer.unwrap();
    }
    let made = started.elapsed();
    until(&inventory, |snapshot| {
        let seen = snapshot.links(lab.name());
        let up = |port: &Arc<PortFact>| port.carrier && port.addresses.len() == 1;
        (seen.len() == 100 && seen.values().all(|link| link.ports.len() == 2 && link.ports.iter().all(up)))
            .then_some(())
    })
    .await;
    println!("100 links made in {made:?}, observed after {:?}", started.elapsed());
    let started = Instant::now();
    fabric.relist().await.unwrap();
    println!("relist of 103 namespaces: {:?}", started.elapsed());
    let started = Instant::now();
    for answer in fabric.apply((0..100).map(|at| delete(&lab, at)).collect(), &context()).await {
        answer.unwrap();
    }
    println!("100 links deleted in {:?}", started.elapsed());
    until(&inventory, |snapshot| snapshot.links(lab.name()).is_empty().then_some(())).await;
    for n in 0..100 {
        unpin(stage.pin(&name(n))).unwrap();
    }
}
