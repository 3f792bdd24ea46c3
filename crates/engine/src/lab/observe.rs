//! From the inventory to what the planner compares: one lab's part of a snapshot.

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{
    End, Endpoint, InterfaceName, Lab, LabName, Link, LinkId, LinkKind, Node, NodeName, Seam, Shape, Stage, Stitch,
};
use netloom_plan::{AdminState, LinkFingerprint, Observed, ObservedBridge, ObservedLink, ObservedNode, Side, commands};

use super::pull::Stock;
use super::wait;
use crate::desired::{Done, Wish};
use crate::fact::{NodeFact, Place, PortFact, PortKind, PortMark};
use crate::snapshot::{SeenLink, Snapshot, sides};
use crate::tags::LabTags;

/// What was done and seen once of a lab's nodes, which shows in nothing that is there now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Once<'a> {
    pub(crate) done: &'a BTreeMap<NodeName, Done>,
    /// The life of the host in which commands are run on it.
    pub(crate) host: &'a str,
    /// The stages that nodes were seen to leave.
    pub(crate) passed: &'a BTreeMap<NodeName, BTreeSet<Stage>>,
    /// What is known of images beside the snapshot.
    pub(crate) stock: Stock<'a>,
    /// The hash of what the host was told of the lab.
    pub(crate) told: Option<&'a str>,
    /// What its links were allotted on their switch.
    pub(crate) tags: &'a LabTags,
}

/// What is there of a lab.
pub(crate) fn observe(
    name: &LabName,
    lab: Option<&Lab>,
    wish: Option<&Wish>,
    once: Once<'_>,
    snapshot: &Snapshot,
) -> Observed {
    let facts = snapshot.labs.get(name);
    let nodes = facts.map(|facts| facts.nodes.values()).into_iter().flatten();
    let nodes = nodes
        .map(|fact| {
            let done = once.done.get(&fact.node);
            let mut passed = once.passed.get(&fact.node).cloned().unwrap_or_default();
            passed.extend(wait::passed(fact));
            let all = lab.and_then(|lab| lab.nodes().get(&fact.node)).map(commands).unwrap_or_default();
            let observed = ObservedNode {
                runtime: fact.runtime,
                state: fact.state.clone(),
                fingerprint: fact.fingerprint.clone(),
                execs_done: done.map_or(0, |done| done.execs_in(fact.incarnation.as_ref(), &all)),
                entered: done.and_then(|done| done.entered),
                passed,
                reserved: fact.reserved,
                namespace: fact.namespace,
                left_behind: fact.left_behind,
            };
            (fact.node.clone(), observed)
        })
        .collect();
    Observed {
        nodes,
        hosts: lab.map(|lab| hosts(lab, once)).unwrap_or_default(),
        links: links(name, lab, wish, once.tags, snapshot),
        inner_bridges: snapshot
            .inner_bridges(name)
            .filter_map(|port| Some((port.place.node()?.clone(), port.name.clone())))
            .collect(),
        names: facts.and_then(|facts| facts.names.clone()),
        entries: once.told.map(str::to_owned),
        images: lab.map(|lab| once.stock.of(lab, snapshot)).unwrap_or_default(),
        ..observe_host(name, lab, wish, snapshot)
    }
}

/// How many commands of each node that is the host itself were run in its life.
fn hosts(lab: &Lab, once: Once<'_>) -> BTreeMap<NodeName, usize> {
    let life = once.host.to_owned();
    let hosts = lab.nodes().iter().filter(|(_, node)| node.kind.shape() == Shape::Host);
    let done = |(name, node): (&NodeName, &Node)| {
        let done = once.done.get(name)?.execs_in(Some(&life), &commands(node));
        Some((name.clone(), done))
    };
    hosts.filter_map(done).collect()
}

/// The nodes that are there of a lab, without what was done and seen once of them.
pub(crate) fn observe_nodes(name: &LabName, snapshot: &Snapshot) -> BTreeMap<NodeName, ObservedNode> {
    let nodes = snapshot.labs.get(name).map(|facts| facts.nodes.values()).into_iter().flatten();
    let observed = |fact: &NodeFact| ObservedNode {
        fingerprint: fact.fingerprint.clone(),
        ..ObservedNode::new(fact.runtime, fact.state.clone())
    };
    nodes.map(|fact| (fact.node.clone(), observed(fact))).collect()
}

/// What is there of the host that a lab meets, without anything of the lab itself.
pub(crate) fn observe_host(name: &LabName, lab: Option<&Lab>, wish: Option<&Wish>, snapshot: &Snapshot) -> Observed {
    Observed {
        bridges: bridges(lab, wish, snapshot),
        networks: networks(wish, snapshot),
        taken: snapshot.taken(name),
        ..Observed::default()
    }
}

fn links(
    name: &LabName,
    lab: Option<&Lab>,
    wish: Option<&Wish>,
    tags: &LabTags,
    snapshot: &Snapshot,
) -> BTreeMap<LinkId, ObservedLink> {
    let mut known: BTreeMap<LinkId, (&Lab, &Link)> = BTreeMap::new();
    // Of a lab that goes each piece has to go that is there, whole or not, also where no end of a link is: a tunnel on the
    // host does not go with its node.
    if lab.is_some() {
        for lab in [wish.map(|wish| &**wish.whole()), lab].into_iter().flatten() {
            known.extend(lab.links().iter().map(|link| (link.id(), (lab, link))));
        }
    }
    let seen = snapshot.links(name);
    let mut observed: BTreeMap<LinkId, ObservedLink> = dangling(name, &known, &seen, tags, snapshot).collect();
    let whole = seen.into_iter().filter_map(|(id, seen)| {
        let there = match known.get(&id) {
            Some((lab, link)) => {
                let fingerprint = switched(lab, link, tags.get(&link.segment()).copied(), &seen, snapshot);
                fingerprint.and_then(|fingerprint| observe_link(lab, link, &seen, fingerprint, snapshot))
            }
            None => Some(left_over(&seen)),
        };
        Some((id, there?))
    });
    observed.extend(whole);
    observed
}

/// Links of which nothing is left but ports of the switch, or a tag that was claimed or noted, and that nobody wants: good only
/// to be removed. What is wanted of them is made anew over them.
fn dangling<'a>(
    name: &'a LabName,
    known: &'a BTreeMap<LinkId, (&Lab, &Link)>,
    seen: &'a BTreeMap<LinkId, SeenLink>,
    tags: &'a LabTags,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = (LinkId, ObservedLink)> + 'a {
    let plugged = snapshot.switch.ports_of(name).map(|port| &port.link);
    let claimed = snapshot.switch.tags_of(name).map(|tag| &tag.link);
    let links = plugged.chain(claimed).chain(tags.keys());
    let segments: BTreeSet<LinkId> = known.values().map(|(_, link)| link.segment()).collect();
    let alone =
        links.filter(move |link| !known.contains_key(*link) && !seen.contains_key(*link) && !segments.contains(*link));
    alone.map(|link| {
        let fingerprint = LinkFingerprint { identity: "".into(), config: "".into() };
        (link.clone(), ObservedLink { ends: vec![Endpoint::Host], ..gone_by(fingerprint) })
    })
}

/// What a link is, with the ports of switches that it should have; `None` if one of them is not there as it should be. Most have
/// none. An access port that lets something else pass is there, to be set.
fn switched(lab: &Lab, link: &Link, tag: Option<u16>, seen: &SeenLink, snapshot: &Snapshot) -> Option<LinkFingerprint> {
    let mut fingerprint = seen.fingerprint.clone();
    for port in lab.switch_ports(link) {
        seen.port(&Place::Host, &port.interface)?;
        let there = snapshot.switch.port(&port.interface)?;
        if there.bridge != port.bridge || there.fault.is_some() {
            return None;
        }
        // One that comes to another segment needs no tag of that yet.
        if port.vlan.on_port(tag).is_some_and(|wanted| there.vlan == wanted) {
            continue;
        }
        if link.access_port().is_some() {
            fingerprint = fingerprint.otherwise();
        } else if LinkFingerprint::of(link, 0).config == seen.fingerprint.config || port.vlan.on_port(tag).is_none() {
            // One that is to be set otherwise has what it had.
            return None;
        }
    }
    Some(fingerprint)
}

/// What is left over from a wish that is no longer known: only good to be removed.
fn left_over(seen: &SeenLink) -> ObservedLink {
    let ends = seen.ports.iter().map(|port| match &port.place {
        Place::Host => Endpoint::Host,
        Place::Node(_, node) => Endpoint::Node(node.clone()),
    });
    ObservedLink { ends: ends.collect(), ..gone_by(seen.fingerprint.clone()) }
}

fn gone_by(fingerprint: LinkFingerprint) -> ObservedLink {
    ObservedLink { fingerprint, ends: Vec::new(), down: BTreeSet::new(), behind: BTreeMap::new() }
}

/// The ends of a link on a switch whose carrier is other than it should be. A cable ends at the switch, so nothing but us has an
/// end see that the far end is off. What counts is the far end itself, in its own namespace: the host's end of its cable has no
/// carrier as soon as we have taken it from the other side, and two ends that follow such would never come back.
///
/// So it is with a link to a tunnel, whatever joins it: its far end is what the other host says, and has to be told.
fn behind(lab: &Lab, link: &Link, seen: &SeenLink) -> BTreeMap<Side, AdminState> {
    if let Some(seam) = lab.seam(link) {
        return behind_tunnel(lab, link, &seam, seen).unwrap_or_default();
    }
    if link.switch().is_none() {
        return BTreeMap::new();
    }
    if let Some(access) = link.access_port() {
        // Nothing is known here of what is in its segment: whoever commands the lab says whether it has a carrier.
        let ports = lab.switch_ports(link);
        let near = ports.iter().filter_map(|port| seen.port(&Place::Host, &port.interface));
        let behind = near.filter(|near| near.admin_up == access.dark);
        return behind.map(|_| (Side::A, AdminState::of(!access.dark))).collect();
    }
    let ends = sides(lab.name(), link);
    let cables = ends.iter().zip(lab.switch_ports(link));
    let behind = cables.filter_map(|((side, ..), cable)| {
        let (_, place, name) = ends.iter().find(|(other, ..)| other != side)?;
        let (far, near) = (seen.port(place, name)?, seen.port(&Place::Host, &cable.interface)?);
        (near.admin_up != far.admin_up).then_some((*side, AdminState::of(far.admin_up)))
    });
    behind.collect()
}

fn behind_tunnel(lab: &Lab, link: &Link, seam: &Seam, seen: &SeenLink) -> Option<BTreeMap<Side, AdminState>> {
    let end = seen.port(&Place::of(lab.name(), &link.a), link.a.interface.kernel())?;
    let on_host = |interface| seen.port(&Place::Host, interface);
    let (cable, tunnel) = (on_host(&seam.cable)?, on_host(&seam.tunnel)?);
    let signals = tunnel.signals;
    let near = (cable.admin_up == signals.heard).then_some((Side::A, AdminState::of(!signals.heard)));
    // The tunnel itself is never off: what tells the far end has it on too.
    let far = (end.admin_up == signals.sent || !tunnel.admin_up).then_some((Side::B, AdminState::of(end.admin_up)));
    Some(near.into_iter().chain(far).collect())
}

/// A link of which an end is missing, or is no port of its bridge, or that is not joined to its tunnel, is not there: making it replaces what is left.
fn observe_link(
    of: &Lab,
    link: &Link,
    seen: &SeenLink,
    fingerprint: LinkFingerprint,
    snapshot: &Snapshot,
) -> Option<ObservedLink> {
    let (lab, mut down) = (of.name(), BTreeSet::new());
    for ((side, place, name), end) in sides(lab, link).into_iter().zip(link.ends()) {
        let port = seen.port(&place, &name)?;
        if let Some(bridge) = bridge_of(of, link, end) {
            let bridge = bridge.parse().ok()?;
            let bridge = match &place {
                Place::Host => snapshot.host_port(&bridge)?,
                Place::Node(_, node) => snapshot.inner_bridge(lab, node, &bridge)?,
            };
            if port.master != Some(bridge.ifindex) {
                return None;
            }
        }
        if is_switched_off(port) {
            down.insert(side);
        }
    }
    if let Some(Stitch { veth, vxlan }) = link.stitch() {
        // They get their marks when they are joined.
        for seam in [veth, vxlan] {
            seen.port(&Place::Host, seam.kernel())?;
        }
    }
    // Of a link on a switch something is on the host that does not go with its nodes.
    let on_switch = link.switch().map(|_| Endpoint::Host);
    let ends = link.ends().map(|end| end.home().clone()).chain(on_switch).collect();
    Some(ObservedLink { fingerprint, ends, down, behind: behind(of, link, seen) })
}

/// The name of the kernel's bridge that an end is a port of, if it is one.
pub(crate) fn bridge_of<'a>(lab: &Lab, link: &'a Link, end: &'a End) -> Option<&'a str> {
    match (&end.at, &link.kind) {
        (Endpoint::Bridge(_), _) if lab.ovs_bridge(end).is_some() => None,
        (Endpoint::Bridge(bridge), _) => Some(bridge.inner_bridge().map_or(bridge.as_str(), |(bridge, _)| bridge)),
        (Endpoint::Host, LinkKind::Attachment(attachment)) => Some(attachment.bridge.as_str()),
        (Endpoint::Node(_) | Endpoint::Host | Endpoint::Remote(_), _) => None,
    }
}

/// Switched off through us, and still off.
pub(super) fn is_switched_off(port: &PortFact) -> bool {
    !port.admin_up && matches!(port.mark, Some(PortMark::Link { switched: AdminState::Down, .. }))
}

/// A network shows as its bridge, which its owner removes with it. One that is off is not whole: it is switched on when all
/// else of it is there.
fn networks(wish: Option<&Wish>, snapshot: &Snapshot) -> BTreeMap<String, ObservedBridge> {
    let Some(wish) = wish else { return BTreeMap::new() };
    let bridge = |network: &str| {
        let on = wish.on_network.as_ref().filter(|on| on.network.network == network);
        on.and_then(|on| on.network.bridge.as_ref())
    };
    let exists = |network: &str| {
        bridge(network).is_some_and(|bridge| snapshot.host_port(bridge).is_some_and(|port| port.admin_up))
    };
    // Those noted are asked for, or will be: to ask once more does no harm, and never to ask leaves no bridge.
    wish.networks.iter().map(|name| (name.clone(), ObservedBridge { exists: exists(name), held: true })).collect()
}

fn bridges(lab: Option<&Lab>, wish: Option<&Wish>, snapshot: &Snapshot) -> BTreeMap<InterfaceName, ObservedBridge> {
    let held = wish.map(|wish| wish.bridges.clone()).unwrap_or_default();
    let wanted = lab.map(Wish::bridges_of).unwrap_or_default();
    let names: BTreeSet<_> = held.union(&wanted).cloned().collect();
    names
        .into_iter()
        .map(|name| {
            let node = lab.zip(name.as_str().parse::<NodeName>().ok());
            let shape = node.and_then(|(lab, node)| lab.nodes().get(&node).map(|node| node.kind.shape()));
            let exists = match shape {
                Some(Shape::OvsBridge) => snapshot.switch.bridge(&name).is_some(),
                _ => snapshot.host_port(&name).is_some_and(|port| port.kind == PortKind::Bridge),
            };
            let held = held.contains(&name);
            (name, ObservedBridge { exists, held })
        })
        .collect()
}
