//! Ends of links that follow their node into the namespace of its next life.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use netloom_drivers::fabric::kernel::KernelFabric;
use netloom_engine::{Fabric, Inventory, Place, Snapshot};
use netloom_kernel::{Address, AddressInfo, AdminState, LinkInfo, NamespaceDump, Netns, Request, unpin};
use netloom_model::{Lab, LinkId};
use netloom_plan::{LinkFingerprint, Side};
use serde_json::json;

use crate::stage::{Stage, apply, bulk, context, create, end, lab, node, ports, root, set, until, update};

const LONG: &str = "uplink-to-the-core-router";

/// Two links between `r1` and `r2`: one with addresses, one with long names.
fn two() -> Arc<Lab> {
    lab(json!([
        {
            "a": end(node("r1"), "eth1", 1, Some("10.0.0.1/24"), Some("2001:db8::1/64")),
            "b": end(node("r2"), "eth1", 2, Some("10.0.0.2/24"), Some("2001:db8::2/64")),
            "mtu": 1400,
        },
        { "a": end(node("r1"), LONG, 3, None, None), "b": end(node("r2"), LONG, 4, None, None) },
    ]))
}

/// The namespace of a node's next life, which is not pinned for it yet.
struct Next(Netns, std::path::PathBuf);

impl Next {
    fn of(stage: &Stage) -> Self {
        let path = stage.layout.pins().join("next");
        Self(Netns::create_pinned(&path).unwrap(), path)
    }

    fn place(&self) -> netloom_kernel::Place {
        netloom_kernel::Place::node(self.0.clone(), "r1")
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        unpin(&self.1).unwrap();
    }
}

async fn rehome(fabric: &KernelFabric, next: &Next) -> usize {
    let (lab, node) = ("lab".parse().unwrap(), "r1".parse().unwrap());
    fabric.rehome(&lab, &node, &next.0, context().deadline).await.unwrap()
}

/// What a life of a node must not change of its ends; the carrier is the other end's.
fn lasting(dump: &NamespaceDump) -> Vec<LinkInfo> {
    let links = dump.links.iter().filter(|link| link.name != "lo");
    // The id of the other namespace is this namespace's own.
    links.map(|link| LinkInfo { lower_up: true, peer_nsid: None, ..link.clone() }).collect()
}

fn given(dump: &NamespaceDump) -> Vec<AddressInfo> {
    let mut given: Vec<_> = dump.addresses.iter().filter(|info| !info.link_local).copied().collect();
    given.retain(|info| !info.address.to_string().starts_with("127.") && info.address.to_string() != "::1/128");
    given.sort();
    given
}

/// Waits until all ends of both links are seen, with a carrier if they are to have one.
async fn whole(inventory: &Inventory, ids: &[LinkId]) {
    until(inventory, |snapshot| {
        let whole = |id: &LinkId| {
            let ports = ports(snapshot, id);
            ports.len() == 2 && ports.iter().all(|port| port.carrier)
        };
        ids.iter().all(whole).then_some(())
    })
    .await;
}

/// Looks without a pause whether an end is missing in what is known, until told to stop.
fn watch(inventory: &Inventory, ids: &[LinkId]) -> impl FnOnce() -> bool + use<> {
    let (stop, inventory, ids) = (Arc::new(AtomicBool::new(false)), inventory.clone(), ids.to_vec());
    let stopped = Arc::clone(&stop);
    let watcher = thread::spawn(move || {
        let mut missed = false;
        while !stopped.load(Ordering::Acquire) {
            let snapshot = inventory.snapshot();
            missed |= ids.iter().any(|id| ports(&snapshot, id).len() < 2);
            thread::yield_now();
        }
        missed
    });
    move || {
        stop.store(true, Ordering::Release);
        watcher.join().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_follow_their_node_and_the_other_ends_see_only_their_carrier() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = two();
    let ids: Vec<LinkId> = lab.links().iter().map(netloom_model::Link::id).collect();
    for at in [0, 1] {
        apply(&fabric, create(&lab, at)).await.unwrap();
    }
    whole(&inventory, &ids).await;
    let (near, far) = (stage.dump("r1"), stage.dump("r2"));
    assert!(near.named(LONG).is_some_and(|link| link.altnames == [LONG]) && near.links.len() == 3, "{near:?}");

    let next = Next::of(&stage);
    let missed = watch(&inventory, &ids);
    assert_eq!(rehome(&fabric, &next).await, 2);
    whole(&inventory, &ids).await;
    assert!(!missed(), "an end was said to be gone while it moved");
    assert_eq!(stage.netns("r1").cookie().unwrap(), next.0.cookie().unwrap(), "what is pinned is the new one");
    let moved = (stage.dump("r1"), stage.dump("r2"));
    assert_eq!((lasting(&moved.0), given(&moved.0)), (lasting(&near), given(&near)));
    assert_eq!((lasting(&moved.1), given(&moved.1)), (lasting(&far), given(&far)));
    assert_eq!(given(&near).len(), 2);
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.0.0.2");
    bulk(&stage.netns("r2"), &stage.netns("r1"), "2001:db8::1");

    // Again nothing moves, and nothing is to be done.
    assert_eq!(rehome(&fabric, &next).await, 0);
    for at in [0, 1] {
        apply(&fabric, create(&lab, at)).await.unwrap();
    }
    assert_eq!((lasting(&stage.dump("r1")), lasting(&stage.dump("r2"))), (lasting(&near), lasting(&far)));

    // What happens there from now on is heard.
    let ifindex = stage.link("r1", "eth1").unwrap().ifindex;
    stage.change(Request::DeleteLink { place: stage.place("r1"), ifindex }).await;
    until(&inventory, |snapshot| ports(snapshot, &ids[0]).is_empty().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_in_a_node_is_there_in_its_next_life_with_its_ports() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = lab(json!([
        { "a": end(json!({ "bridge": "lan|r1" }), "p1", 1, None, None), "b": end(node("r2"), "eth1", 2, Some("10.0.0.2/24"), None) },
        { "a": end(node("r1"), "eth9", 3, None, None), "b": end(node("r2"), "eth9", 4, None, None) },
    ]));
    let ids: Vec<LinkId> = lab.links().iter().map(netloom_model::Link::id).collect();
    let place = Place::Node("lab".parse().unwrap(), "r1".parse().unwrap());
    fabric.ensure_bridge(&place, &"lan".parse().unwrap(), &context()).await.unwrap();
    for at in [0, 1] {
        apply(&fabric, create(&lab, at)).await.unwrap();
    }
    whole(&inventory, &ids).await;
    let far = stage.dump("r2");
    let next = Next::of(&stage);
    assert_eq!(rehome(&fabric, &next).await, 2);
    whole(&inventory, &ids).await;
    let (bridge, port, other) =
        (stage.link("r1", "lan").unwrap(), stage.link("r1", "p1").unwrap(), stage.link("r1", "eth9").unwrap());
    assert!(bridge.up && bridge.kind.as_deref() == Some("bridge"));
    assert_eq!((port.master, other.master), (Some(bridge.ifindex), None));
    assert_eq!(lasting(&stage.dump("r2")), lasting(&far));
    // To the rest of the agent all is as it was.
    fabric.ensure_bridge(&place, &"lan".parse().unwrap(), &context()).await.unwrap();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    assert_eq!(stage.link("r1", "p1").unwrap().ifindex, port.ifindex);
    until(&inventory, |snapshot| {
        let seen = snapshot.inner_bridge(lab.name(), &"r1".parse().unwrap(), &"lan".parse().unwrap());
        seen.is_some_and(|seen| seen.ifindex == bridge.ifindex).then_some(())
    })
    .await;
    let address: Address = "10.0.0.1/24".parse::<netloom_model::Ipv4Net>().map(Address::V4).unwrap();
    let (place, ifindex) = (stage.place("r1"), bridge.ifindex);
    stage.change(Request::AddAddress { place, ifindex, address, protocol: None }).await;
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.0.0.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_switched_off_stays_off_in_the_next_life() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = two();
    let id = lab.links()[0].id();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    apply(&fabric, set(&lab, 0, Side::A, netloom_plan::AdminState::Down)).await.unwrap();
    let next = Next::of(&stage);
    assert_eq!(rehome(&fabric, &next).await, 1);
    assert!(!stage.link("r1", "eth1").unwrap().up);
    apply(&fabric, set(&lab, 0, Side::A, netloom_plan::AdminState::Up)).await.unwrap();
    whole(&inventory, std::slice::from_ref(&id)).await;
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.0.0.2");
    bulk(&stage.netns("r1"), &stage.netns("r2"), "2001:db8::2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_switched_while_it_moves_says_what_it_is() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, _inventory) = stage.start();
    let lab = two();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    // Which of the two is first is left to chance; each way comes about in so many rounds.
    for round in 0..40 {
        let states = [netloom_plan::AdminState::Down, netloom_plan::AdminState::Up];
        let [before, after] = if round % 2 == 0 { states } else { [states[1], states[0]] };
        apply(&fabric, set(&lab, 0, Side::A, before)).await.unwrap();
        let next = Next::of(&stage);
        // The end may be gone from where it was looked for: that is said.
        let (moved, _) = tokio::join!(rehome(&fabric, &next), apply(&fabric, set(&lab, 0, Side::A, after)));
        assert_eq!(moved, 1);
        let link = stage.link("r1", "eth1").unwrap();
        let says_off = link.alias.as_deref().is_some_and(|alias| alias.ends_with("/down"));
        assert_eq!(link.up, !says_off, "round {round}: {link:?}");
    }
    apply(&fabric, set(&lab, 0, Side::A, netloom_plan::AdminState::Up)).await.unwrap();
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.0.0.2");
    bulk(&stage.netns("r1"), &stage.netns("r2"), "2001:db8::2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_was_cut_off_is_completed_by_the_next() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = two();
    let ids: Vec<LinkId> = lab.links().iter().map(netloom_model::Link::id).collect();
    for at in [0, 1] {
        apply(&fabric, create(&lab, at)).await.unwrap();
    }
    whole(&inventory, &ids).await;
    let near = stage.dump("r1");
    let next = Next::of(&stage);
    // One end is there already, and its addresses are nowhere.
    let moved = near.named("eth1").unwrap();
    let (place, to, state) = (stage.place("r1"), next.place(), AdminState::Up);
    stage.change(Request::MoveLink { place, ifindex: moved.ifindex, to, state }).await;
    assert_eq!(rehome(&fabric, &next).await, 1);
    whole(&inventory, &ids).await;
    assert_eq!(lasting(&stage.dump("r1")), lasting(&near));
    apply(&fabric, update(&lab, 0)).await.unwrap();
    assert_eq!(given(&stage.dump("r1")), given(&near), "what is missing is seen, and given again");

    // All were moved and nothing was pinned; and the other way round: nothing is pinned at all.
    let last = Next(Netns::create_pinned(stage.layout.pins().join("last")).unwrap(), stage.layout.pins().join("last"));
    for link in stage.dump("r1").links.iter().filter(|link| link.name != "lo") {
        let (place, to) = (stage.place("r1"), last.place());
        stage.change(Request::MoveLink { place, ifindex: link.ifindex, to, state: AdminState::Up }).await;
    }
    assert_eq!(rehome(&fabric, &last).await, 0);
    whole(&inventory, &ids).await;
    assert_eq!(lasting(&stage.dump("r1")), lasting(&near));
    unpin(stage.pin("r1")).unwrap();
    assert_eq!(rehome(&fabric, &last).await, 0);
    whole(&inventory, &ids).await;
    assert_eq!(lasting(&stage.dump("r1")), lasting(&near));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_refused_its_addresses_follows_and_is_still_to_be_changed() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = two();
    let id = lab.links()[0].id();
    apply(&fabric, create(&lab, 0)).await.unwrap();
    let fingerprint = |snapshot: &Snapshot| Some(snapshot.links(lab.name()).get(&id)?.fingerprint.clone());
    let wanted = LinkFingerprint::of(lab.link(&id).unwrap(), 0);
    let is_whole = |snapshot: &Snapshot| (fingerprint(snapshot).as_ref() == Some(&wanted)).then_some(());
    until(&inventory, is_whole).await;
    let near = given(&stage.dump("r1"));

    let next = Next::of(&stage);
    let switch_ipv6_off = |value: &str| {
        for of in ["default", "all"] {
            let path = format!("/proc/sys/net/ipv6/conf/{of}/disable_ipv6");
            next.0.run(|| std::fs::write(path, value)).unwrap().unwrap();
        }
    };
    switch_ipv6_off("1");
    assert_eq!(rehome(&fabric, &next).await, 1);
    assert_eq!(stage.netns("r1").cookie().unwrap(), next.0.cookie().unwrap(), "what is pinned is the new one");
    bulk(&stage.netns("r1"), &stage.netns("r2"), "10.0.0.2");
    // What it is is as before; only what can be changed of it is said to differ.
    let differs = |now: &LinkFingerprint| now.identity == wanted.identity && now.config != wanted.config;
    until(&inventory, |snapshot| fingerprint(snapshot).filter(differs)).await;

    switch_ipv6_off("0");
    apply(&fabric, update(&lab, 0)).await.unwrap();
    until(&inventory, is_whole).await;
    assert_eq!(given(&stage.dump("r1")), near);
    bulk(&stage.netns("r2"), &stage.netns("r1"), "2001:db8::1");
}

/// What a neighbour knows of an address.
fn neighbour(stage: &Stage, node: &str, address: &str) -> String {
    let netns = Netns::open(stage.pin(node)).unwrap();
    let ask = || std::process::Command::new("ip").args(["neigh", "show", address]).output().unwrap();
    String::from_utf8(netns.run(ask).unwrap().stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_tells_neighbours_of_both_families_where_an_address_is_now() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let (fabric, inventory) = stage.start();
    let lab = two();
    for at in [0, 1] {
        apply(&fabric, create(&lab, at)).await.unwrap();
    }
    whole(&inventory, &lab.links().iter().map(netloom_model::Link::id).collect::<Vec<_>>()).await;
    let old = "02:00:00:00:00:99";
    for address in ["10.0.0.1", "2001:db8::1"] {
        let netns = Netns::open(stage.pin("r2")).unwrap();
        let to = ["neigh", "replace", address, "lladdr", old, "dev", "eth1", "nud", "stale"];
        let set = || std::process::Command::new("ip").args(to).status().unwrap();
        assert!(netns.run(set).unwrap().success());
        assert!(neighbour(&stage, "r2", address).contains(old));
    }
    let place = Place::Node("lab".parse().unwrap(), "r1".parse().unwrap());
    let new = "02:00:00:00:00:01";
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let knows = |address| neighbour(&stage, "r2", address).contains(new);
    while !(knows("10.0.0.1") && knows("2001:db8::1")) {
        assert!(std::time::Instant::now() < until, "{}", neighbour(&stage, "r2", "2001:db8::1"));
        fabric.announce(&place, context().deadline).await;
    }
}
