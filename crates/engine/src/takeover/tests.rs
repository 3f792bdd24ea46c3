//! What is read of the marks that another agent has left.

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{
    InterfaceName, Kind, LabName, LinkId, Mac, Node, PortVlan, RuntimeKind, controlled_container, tunnel_name,
};

use super::read::{Beside, Heir, labs, read};
use super::*;
use crate::desired::{Authority, Wish};
use crate::driver::Joins;
use crate::lab::Ground;
use crate::snapshot::Snapshot;
use crate::tags::LabTags;

const LAB: &str = "11c55636-995a-43e9-93d5-009dd12a071a";

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// A node with interfaces `eth1` and so on, which are behind ports whose interfaces have numbers from this one.
fn node(lab: &str, node: &str, first: u32, count: u32) -> InheritedNode {
    let mut spec = Node::new(Kind::linux(), node);
    (spec.runtime, spec.image) = (Some(RuntimeKind::Docker), Some("frr".into()));
    let end = |at: u32| InheritedEnd {
        name: name(&format!("eth{at}")),
        number: 100 + at,
        peer: Some(first + at),
        mac: Some(Mac([2, 0, 0, 0, u8::try_from(first).unwrap(), u8::try_from(at).unwrap()])),
        mtu: 9000,
    };
    InheritedNode {
        lab: lab.into(),
        name: node.into(),
        id: format!("id-{node}"),
        container: controlled_container(&name(lab), &name(node)),
        spec,
        ends: Ok((1..=count).map(end).collect()),
        owner: None,
    }
}

fn tagged(tag: u16) -> PortVlan {
    PortVlan { tag: Some(tag), ..PortVlan::default() }
}

/// The port before an interface of such a node.
fn port(of: &InheritedNode, at: u32, first: u32, tag: u16) -> InheritedPort {
    InheritedPort {
        name: name(&format!("vh{}{at}", of.name)),
        bridge: name("arch-ovs"),
        vlan: tagged(tag),
        fault: None,
        lab: of.lab.clone(),
        node: Some(of.name.clone()),
        interface: Some(format!("eth{at}")),
        on_host: Some(InheritedCable { number: first + at, peer: Some(100 + at), is_up: true }),
    }
}

fn tunnel(lab: &str, link: &str, tag: u16) -> InheritedTunnel {
    InheritedTunnel {
        name: tunnel_name(&name(lab), &LinkId::from_text(link)),
        bridge: name("arch-ovs"),
        vlan: tagged(tag),
        fault: None,
        vni: Some((9_598_047, 4789)),
        between: Some(("10.0.0.11".parse().unwrap(), "10.0.0.12".parse().unwrap())),
        mtu: 1450,
    }
}

/// Two nodes that are joined, one of which is also in a tunnel, and each of which has a port that is alone.
fn inherited() -> Inherited {
    let (r1, r2) = (node(LAB, "r1", 10, 3), node(LAB, "r2", 20, 2));
    let ports = vec![
        port(&r1, 1, 10, 2050),
        port(&r2, 1, 20, 2050),
        port(&r1, 2, 10, 2055),
        port(&r1, 3, 10, 100),
        port(&r2, 2, 20, 101),
    ];
    let links: BTreeSet<_> = [(name(LAB), LinkId::from_text("far:eth1-r1:eth2"))].into();
    Inherited { nodes: vec![r1, r2], ports, tunnels: vec![tunnel(LAB, "far:eth1-r1:eth2", 2055)], links }
}

fn heir(inherited: &Inherited, there: Option<&Wish>, tags: &LabTags) -> Heir {
    let (lab, switch): (LabName, InterfaceName) = (name(LAB), name("arch-ovs"));
    let (authority, snapshot) = (Authority::controller(), Snapshot::default());
    let ground = Ground { switch: &switch, boot: "boot-1" };
    read(&lab, inherited, Beside { ground, authority: &authority, there, tags, snapshot: &snapshot })
}

fn fresh(inherited: &Inherited) -> Heir {
    heir(inherited, None, &LabTags::new())
}

fn left_out(heir: &Heir) -> BTreeMap<&str, &str> {
    heir.view.left_out.iter().map(|left| (left.what.as_str(), left.why.as_str())).collect()
}

#[test]
fn ports_tags_segments_and_tunnels_are_wanted_just_as_they_are() {
    let heir = fresh(&inherited());
    let wish = heir.wish.as_ref().unwrap();
    assert_eq!((&heir.view.left_out, &heir.view.refused), (&vec![], &vec![]));
    assert_eq!(wish.authority, Authority::controller());
    let said = wish.lab.links().iter().map(|link| {
        let host = wish.lab.switch_ports(link)[0].interface.to_string();
        let (tag, mtu) = (heir.tags[&link.segment()], link.mtu.bytes());
        format!("{host}: {} in {} with {tag}, {mtu}", link.a.interface.kernel(), link.segment())
    });
    let said: BTreeSet<String> = said.collect();
    let far = tunnel(LAB, "far:eth1-r1:eth2", 0).name;
    let wanted = [
        "vhr11: eth1 in r1:eth1-r2:eth1 with 2050, 9000".to_owned(),
        "vhr12: eth2 in far:eth1-r1:eth2 with 2055, 9000".to_owned(),
        "vhr13: eth3 in r1:eth3 with 100, 9000".to_owned(),
        "vhr21: eth1 in r1:eth1-r2:eth1 with 2050, 9000".to_owned(),
        "vhr22: eth2 in r2:eth2 with 101, 9000".to_owned(),
        format!("{far}: {far} in far:eth1-r1:eth2 with 2055, 1450"),
    ];
    assert_eq!(said, wanted.into_iter().collect());
    let tunnel = wish.lab.links().iter().find_map(|link| link.access_port().filter(|port| port.tunnel.is_some()));
    assert_eq!(tunnel.unwrap().boot.as_deref(), Some("boot-1"));
    let claims: Vec<String> = heir
        .claims
        .iter()
        .map(|claim| format!("{} {:?} {:?}", claim.link, claim.known.unwrap(), claim.joins))
        .collect();
    assert_eq!(
        claims,
        ["far:eth1-r1:eth2 2055 Segment", "r1:eth1-r2:eth1 2050 Segment", "r1:eth3 100 Nothing", "r2:eth2 101 Nothing"]
    );
    assert!(heir.claims.iter().all(|claim| claim.joins != Joins::Link));
    assert_eq!(heir.links.len(), 6);
    assert_eq!(labs(&inherited()).into_iter().collect::<Vec<LabName>>(), [name::<LabName>(LAB)]);
}

#[test]
fn what_is_adopted_already_is_read_as_it_is_wanted_by_now() {
    let first = fresh(&inherited());
    let (wish, tags) = (first.wish.unwrap(), first.tags);
    let mut again = inherited();
    for node in &mut again.nodes {
        node.owner = Some((name(LAB), name(&node.name)));
    }
    let second = heir(&again, Some(&wish), &tags);
    assert_eq!((second.wish.as_ref(), &second.nodes, &second.tags), (Some(&wish), &vec![], &tags));
    // Nothing of it is seen with our marks: it was cut off before them.
    assert_eq!(second.links.len(), 6);
    // One that was left out the first time comes beside.
    let third = node(LAB, "r3", 30, 1);
    again.ports.push(port(&third, 1, 30, 102));
    again.nodes.push(third);
    let third = heir(&again, Some(&wish), &tags);
    assert!(third.links.contains(&LinkId::from_text("r3:eth1")));
    assert_eq!(third.nodes, [(name("r3"), "id-r3".to_owned())]);
    assert_eq!(third.wish.unwrap().generation, wish.generation + 1);
}

#[test]
fn what_is_not_sure_is_left_out_with_the_reason() {
    let mut all = inherited();
    let mut stopped = node(LAB, "r4", 40, 0);
    stopped.ends = Err("it does not run".into());
    all.nodes.push(stopped);
    all.nodes.push(InheritedNode { container: "other".into(), ..node(LAB, "r5", 50, 1) });
    let (r1, ghost) = (all.nodes[0].clone(), node(LAB, "ghost", 60, 1));
    let named = |what: &str, of: InheritedPort| InheritedPort { name: name(what), ..of };
    all.ports.push(named("vhghost", port(&ghost, 1, 60, 200)));
    all.ports.push(named("vhgone", InheritedPort { on_host: None, ..port(&r1, 3, 10, 201) }));
    all.ports.push(named("vhopen", InheritedPort { vlan: PortVlan::default(), ..port(&all.nodes[1], 2, 20, 1) }));
    all.ports.push(named("vhelse", InheritedPort { bridge: name("br-x"), ..port(&r1, 3, 10, 202) }));
    all.ports.swap_remove(4);
    all.links.clear();
    let heir = fresh(&all);
    let why = left_out(&heir);
    assert!(why[format!("container {}", controlled_container(&name(LAB), &name("r4"))).as_str()].contains("not run"));
    assert!(why["container other"].contains("called"));
    assert!(why["port vhghost"].contains("in no node"));
    assert!(why["port vhgone"].contains("gone"));
    assert!(why["port vhopen"].contains("no tag"));
    assert!(why["port vhelse"].contains("br-x"));
    assert!(why.iter().any(|(what, why)| what.starts_with("tunnel vxlan-") && why.contains("hash")));
    // The port that the tunnel is joined to keeps its tag all the same.
    assert_eq!(heir.tags[&LinkId::from_text("r1:eth2")], 2055);
}

#[test]
fn a_port_whose_words_are_not_what_it_is_joined_to_is_left_out() {
    let mut all = inherited();
    all.ports[0].interface = Some("eth9".into());
    all.ports[1].node = Some("r1".into());
    let heir = fresh(&all);
    let why = left_out(&heir);
    assert!(why["port vhr11"].contains("eth9"), "{why:?}");
    assert!(why["port vhr21"].contains("in node r2"), "{why:?}");
}

#[test]
fn a_lab_that_is_joined_to_another_or_somebody_elses_is_refused() {
    let mut all = inherited();
    let other = node("other", "x1", 70, 1);
    all.ports.push(port(&other, 1, 70, 2050));
    all.nodes.push(other);
    let joined = fresh(&all);
    assert!(joined.wish.is_none() && joined.view.refused[0].contains("lab other"), "{:?}", joined.view.refused);
    let mut local = crate::lab::nothing(&name(LAB), &Authority::Local);
    local.authority = Authority::Local;
    let taken = heir(&inherited(), Some(&local), &LabTags::new());
    assert!(taken.wish.is_none() && taken.view.refused[0].contains("command line's"), "{:?}", taken.view.refused);
}
