//! One link read back from its interfaces: the one that has the fingerprint which they carry. Pure.

use std::collections::BTreeSet;
use std::str::FromStr;

use netloom_model::{
    Attachment, End, Endpoint, Interface, InterfaceName, Ipv4Net, Ipv6Net, LabName, Link, LinkId, LinkKind, Management,
    Mtu, NodeName, Switched,
};
use netloom_plan::{LinkFingerprint, Side};

use super::ports::{Board, OnSwitch, Ports, vlan};
use crate::fact::{Place, PortFact};
use crate::lab::observe::is_switched_off;
use crate::snapshot::SeenLink;

/// What is known of a lab before its links are.
pub(super) struct Ground<'a> {
    pub(super) lab: &'a LabName,
    pub(super) rebuild: u64,
    pub(super) network: Option<&'a Management>,
    /// Tells the nodes whose interfaces are in the namespace of another.
    pub(super) shares: &'a dyn Fn(&NodeName) -> bool,
    pub(super) board: &'a Board<'a>,
}

/// A link that was read back.
#[derive(Debug)]
pub(super) struct Found {
    /// As its file has it.
    pub(super) link: Link,
    /// Its sides that are switched off.
    pub(super) down: Vec<Side>,
    /// What it has on the switch, if its lab is on one.
    pub(super) on: Option<OnSwitch>,
}

/// The link that these interfaces are.
pub(super) fn link(id: &LinkId, seen: &SeenLink, ground: &Ground<'_>) -> Result<Found, String> {
    let Ground { lab, rebuild, network, shares, board } = *ground;
    let end = |label: &str, port: &PortFact| end(label, port, shares);
    let ports = Ports::of(lab, id, seen, board);
    let ends: Vec<&PortFact> = seen.ports.iter().map(|port| &**port).filter(|port| !ports.has(port)).collect();
    let found = match ends.as_slice() {
        [only] => {
            if let Some(gone) = ports.ends().into_iter().flatten().find(|label| end(label, only).is_none()) {
                return Err(format!("its end {gone} is gone"));
            }
            end(id.as_str(), only).map(|end| vec![(end, *only)])
        }
        [one, two] => splits(id.as_str()).find_map(|(left, right)| {
            let pair = |a: &str, b: &str| Some(vec![(end(a, one)?, *one), (end(b, two)?, *two)]);
            pair(left, right).or_else(|| pair(right, left))
        }),
        _ => None,
    };
    let mut found = found.ok_or("the interfaces that carry its mark are not its ends")?;
    let on = ports.read(&found.iter().map(|(end, _)| end.label()).collect::<Vec<_>>())?;
    for (end, port) in &mut found {
        // What its port lets pass is what the file said of it.
        end.vars = vlan(end, port, board);
    }
    let attachment = |bridge: &InterfaceName| Attachment { bridge: bridge.clone(), gateways: Vec::new() };
    let to_network = network.and_then(|network| network.bridge.as_ref()).map(attachment).map(LinkKind::Attachment);
    let kinds: Vec<LinkKind> = match &on {
        Some(OnSwitch { bridge, tunnel, .. }) => {
            let tunnel = tunnel.as_ref().map(|mark| mark.tunnel.clone());
            vec![LinkKind::Switched(Switched { bridge: bridge.clone(), tunnel })]
        }
        None => [LinkKind::Plain].into_iter().chain(to_network).collect(),
    };
    let kind_of = |found: &[(End, &PortFact)]| {
        let print = |kind: &LinkKind| {
            LinkFingerprint::of(&Link { kind: kind.clone(), ..joined(found, Mtu::DEFAULT) }, rebuild).identity
        };
        kinds.iter().find(|kind| print(kind) == seen.fingerprint.identity)
    };
    let kind = kind_of(&found).or_else(|| {
        // The order of the ends is that of the file, the order in the id is that of the alphabet.
        found.reverse();
        kind_of(&found)
    });
    let tunnel = on.as_ref().and_then(|on| on.tunnel.as_ref());
    let kind = kind.ok_or_else(|| {
        let what = if tunnel.is_some() { "a MAC address or its tunnel" } else { "a MAC address" };
        format!("{what} is other than the one that it was made with")
    })?;
    let mtus: BTreeSet<u32> = match tunnel {
        // Its interfaces have what the way carries.
        Some(mark) => [mark.mtu.bytes()].into(),
        None => found.iter().map(|(_, port)| port.mtu).collect(),
    };
    let ways: Vec<Vec<End>> = found.iter().map(|(end, port)| addressed(end, port)).collect();
    let (a, b): (&[End], Vec<Option<&End>>) = match ways.as_slice() {
        [only] => (only, vec![None]),
        [a, b] => (a, b.iter().map(Some).collect()),
        _ => unreachable!("a link has one end or two"),
    };
    let mtus = mtus.into_iter().filter_map(|mtu| Mtu::try_from(mtu).ok());
    let ends = || a.iter().flat_map(|a| b.iter().map(move |b| (a.clone(), b.cloned())));
    let mut links = mtus.flat_map(|mtu| ends().map(move |(a, b)| Link { mtu, ..Link::new(a, b) }));
    let fits = |link: &Link| LinkFingerprint::of(link, rebuild).config == seen.fingerprint.config;
    let link = links.by_ref().take(TRIED).find(fits);
    let link = match (link, links.next()) {
        (Some(link), _) => link,
        (None, Some(_)) => {
            return Err("its interfaces have too many addresses to tell which ones it gave them".to_owned());
        }
        (None, None) => {
            let what = if found.iter().any(|(end, _)| !end.vars.is_empty()) {
                ", an address or a VLAN"
            } else {
                " or an address"
            };
            return Err(format!("its MTU{what} is other than it was made with; set it back, by hand"));
        }
    };
    // So the file has it: what bridge that is on the host is known beside it.
    let kind = match kind {
        LinkKind::Plain => LinkKind::Plain,
        LinkKind::Switched(Switched { tunnel, .. }) => tunnel.clone().map_or(LinkKind::Plain, LinkKind::VxlanStitch),
        _ => LinkKind::ManagementNet,
    };
    let link = Link { kind, ..link };
    let sides = [Side::A, Side::B].into_iter().zip(&found);
    let down = sides.filter(|(_, (_, port))| is_switched_off(port)).map(|(side, _)| side).collect();
    Ok(Found { link, down, on })
}

fn joined(found: &[(End, &PortFact)], mtu: Mtu) -> Link {
    let mut ends = found.iter().map(|(end, _)| end.clone());
    let a = ends.next().expect("a link has an end");
    Link { mtu, ..Link::new(a, ends.next()) }
}

/// The ways to take an id apart into two ends; names have the dash that joins the ends too.
pub(super) fn splits(id: &str) -> impl Iterator<Item = (&str, &str)> {
    id.match_indices('-').map(|(at, dash)| (&id[..at], &id[at + dash.len()..]))
}

/// The end of this name, if that is what the interface is.
fn end(label: &str, port: &PortFact, shares: &dyn Fn(&NodeName) -> bool) -> Option<End> {
    let (owner, interface) = label.split_once(':')?;
    let interface = match interface.parse::<Interface>() {
        Ok(found) if found.kernel() == &port.name => found,
        // The device's own name for it; that it is this one, the fingerprint proves.
        _ => Interface::aliased(interface, port.name.clone()).ok()?,
    };
    let at = match &port.place {
        Place::Host if owner == "host" => Endpoint::Host,
        Place::Node(_, node) if node.as_str() == owner => Endpoint::Node(node.clone()),
        Place::Host | Place::Node(..) => {
            let owner: NodeName = owner.parse().ok()?;
            match (shares(&owner), owner.inner_bridge(), &port.place) {
                (true, None, _) => Endpoint::Node(owner),
                (true, Some(_), _) | (false, _, Place::Host) => Endpoint::Bridge(owner),
                (false, _, Place::Node(..)) => return None,
            }
        }
    };
    let mac = port.mac?;
    Some(End::new(at, interface, mac))
}

/// So many choices of addresses are tried for one link: a router may have a thousand on one interface.
const TRIED: usize = 256;

/// The end with each choice of its addresses, one more at most than are tried.
fn addressed(end: &End, port: &PortFact) -> Vec<End> {
    let (v4, v6) = (choices::<Ipv4Net>(port), choices::<Ipv6Net>(port));
    let both = v4.into_iter().flat_map(|ipv4| v6.iter().map(move |ipv6| (ipv4, *ipv6)));
    both.take(TRIED + 1).map(|(ipv4, ipv6)| End { ipv4, ipv6, ..end.clone() }).collect()
}

/// What the topology may have given of one kind: what is marked as given. Where nothing is, as on kernels before 5.18
/// and where a person put it back by hand, nothing or any one that is there.
fn choices<T: FromStr>(port: &PortFact) -> Vec<Option<T>> {
    let parsed = |addresses: &[String]| addresses.iter().filter_map(|text| text.parse().ok()).map(Some).collect();
    let given: Vec<Option<T>> = parsed(&port.given);
    if given.is_empty() { [None].into_iter().chain(parsed(&port.addresses)).collect() } else { given }
}
