//! From what runs back to what is wanted: a lab that the store no longer knows, read from its marks. Pure.
//!
//! ```text
//!  Applied of each node (its runtime keeps it) ─┐
//!  marked interfaces of the snapshot ───────────┼─▶ adopt() ─▶ the wish of which the plan is empty, or why there is none
//!  fingerprints on both: the proof ─────────────┘
//! ```
//!
//! Links keep no spec, only its hash: the spec is made up from what the interfaces are, and is right when it has that
//! hash. Nothing is guessed, so that nothing changes when the lab is wanted again. The links of nodes to their management
//! network follow from the network and from the addresses of the nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::sync::Arc;

use netloom_model::{
    Attachment, End, Endpoint, ExecTarget, Interface, InterfaceName, Ipv4Net, Ipv6Net, Lab, LabName, LabParts, Link,
    LinkId, LinkKind, Management, Mtu, NetworkMode, Node, NodeAddresses, NodeManagement, NodeName, OnNetwork, Shape,
    Stage,
};
use netloom_plan::{Action, AdminState, LinkFingerprint, NodeState, Side, Step, commands, plan};

use super::observe::{Once, is_switched_off, observe};
use super::pull::Stock;
use crate::applied::Applied;
use crate::desired::{Done, Wish, life_of_host};
use crate::fact::{Place, PortFact, PortKind};
use crate::inventory::{LabFacts, SeenLink, Snapshot, sides};
use crate::tags::LabTags;

/// What runtimes keep of the nodes of a lab; `None` of one that an older version made.
pub(crate) type Kept = BTreeMap<NodeName, Option<Applied>>;

/// A lab that can be wanted again without any change.
#[derive(Debug)]
pub(crate) struct Adoption {
    pub(crate) wish: Wish,
    /// The commands that count as run: all of every life that there is.
    pub(crate) done: BTreeMap<NodeName, Done>,
}

/// Makes the wish of what is there. `Err` is everything that keeps it from being just that.
pub(crate) fn adopt(
    name: &LabName,
    facts: &LabFacts,
    kept: &Kept,
    snapshot: &Snapshot,
) -> Result<Adoption, Vec<String>> {
    let mut wrong = Vec::new();
    let mut applied = BTreeMap::new();
    for node in facts.nodes.keys() {
        match kept.get(node) {
            Some(Some(spec)) => {
                applied.insert(node.clone(), spec);
            }
            Some(None) | None => {
                wrong.push(format!(
                    "node {node}: what it was made from is not kept beside it (an older netloom made it)"
                ));
            }
        }
    }
    let Some(latest) = applied.values().max_by_key(|applied| applied.rebuild) else {
        if wrong.is_empty() {
            wrong.push("no node is left of it".to_owned());
        }
        return Err(wrong);
    };
    let (rebuild, prefix, source) = (latest.rebuild, latest.prefix.clone(), latest.source.clone());
    let on_network = on_network(&applied);
    let management = on_network.as_ref().map(|on| on.network.clone()).unwrap_or_default();
    let bare = LabParts { prefix, source, management, ..LabParts::new(name.clone()) };
    let attached = attached(&bare, &applied, on_network.as_ref());
    let (mut links, mut down) = (Vec::new(), BTreeSet::new());
    for (id, seen) in snapshot.links(name) {
        if let Some(link) = attached.as_ref().and_then(|lab| lab.link(&id)) {
            down.extend(switched_off(name, link, &seen).map(|side| (id.clone(), side)));
            continue;
        }
        let shares = |owner: &NodeName| {
            let mode = applied.get(owner).map(|applied| &applied.spec.network_mode);
            owner.inner_bridge().is_some() || matches!(mode, Some(NetworkMode::Container(_) | NetworkMode::Host))
        };
        let ground = Ground { rebuild, network: on_network.as_ref().map(|on| &on.network), shares: &shares };
        match link(&id, &seen, &ground) {
            Ok((link, off)) => {
                down.extend(off.into_iter().map(|side| (id.clone(), side)));
                links.push(link);
            }
            Err(why) => wrong.push(format!("link {id}: {why}")),
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut nodes = shared(&applied, &links, snapshot);
    nodes.extend(applied.iter().map(|(node, applied)| (node.clone(), applied.spec.clone())));
    let lab = Lab::new(LabParts { nodes, links, ..bare })
        .map_err(|violations| violations.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let on_network = on_network.filter(|_| lab.is_on_network());
    // What does not run has its ends switched off beside those that a person cut.
    let runs = |node: &NodeName| facts.nodes.get(node).is_some_and(|fact| fact.state == NodeState::Running);
    let whole = on_network.as_ref().map_or_else(|| lab.clone(), |on| lab.on_network(on));
    let is_powered = |(id, side): &(LinkId, Side)| {
        let end = whole.link(id).and_then(|link| link.ends().nth(usize::from(*side == Side::B)));
        end.is_some_and(|end| !matches!(end.home(), Endpoint::Node(node) if !runs(node)))
    };
    down.retain(is_powered);
    let done = done(&lab, facts);
    let restarts = applied.iter().map(|(node, applied)| (node.clone(), applied.restarts));
    let stopped = facts.nodes.iter().filter(|(_, fact)| fact.state == NodeState::Stopped);
    let wish = Wish {
        rebuild,
        down,
        stopped: stopped.map(|(node, _)| node.clone()).collect(),
        restarts: restarts.filter(|(_, restarts)| *restarts > 0).collect(),
        networks: on_network.iter().map(|on| on.network.network.clone()).collect(),
        on_network,
        ..Wish::first(Arc::new(lab))
    };
    unchanged(&wish, &done, snapshot)?;
    Ok(Adoption { wish, done })
}

/// The management network of the lab, if it is on one, with the addresses that its nodes have there.
fn on_network(applied: &BTreeMap<NodeName, &Applied>) -> Option<OnNetwork> {
    let managed = || applied.iter().filter(|(_, applied)| applied.spec.is_managed());
    let mut all = managed().map(|(_, applied)| applied).chain(applied.values());
    let network = all.find_map(|applied| applied.network.clone())?;
    let nodes = managed().map(|(node, applied)| {
        let NodeManagement { ipv4, ipv6, .. } = applied.spec.management;
        (node.clone(), NodeAddresses { ipv4, ipv6 })
    });
    Some(OnNetwork { network, others_ipv4: None, others_ipv6: None, nodes: nodes.collect() })
}

/// The links that nodes have to the management network; the lab has nothing else.
fn attached(bare: &LabParts, applied: &BTreeMap<NodeName, &Applied>, on: Option<&OnNetwork>) -> Option<Lab> {
    let nodes = applied.iter().map(|(node, applied)| (node.clone(), applied.spec.clone())).collect();
    // One that is not right is said when the whole of it is put together.
    let lab = Lab::new(LabParts { nodes, ..bare.clone() }).ok()?;
    Some(lab.on_network(on?))
}

/// The sides of a link that are switched off.
fn switched_off<'a>(lab: &LabName, link: &Link, seen: &'a SeenLink) -> impl Iterator<Item = Side> + use<'a> {
    let sides = sides(lab, link).into_iter();
    sides.filter(|(_, place, name)| seen.port(place, name).is_some_and(is_switched_off)).map(|(side, ..)| side)
}

/// The proof: nothing is to be done for this wish.
fn unchanged(wish: &Wish, done: &BTreeMap<NodeName, Done>, snapshot: &Snapshot) -> Result<(), Vec<String>> {
    let name = wish.lab.name();
    let (passed, tags) = (BTreeMap::new(), LabTags::new());
    let once = Once { done, host: "", passed: &passed, stock: Stock::NONE, told: None, tags: &tags };
    let observed = observe(name, Some(wish.whole()), Some(wish), once, snapshot);
    let due = BTreeSet::new();
    let plan = plan(name, &wish.desired(&due), &observed);
    // An end goes off with its node, also of one that ended while nobody looked after it; what the host is told, or has run, is
    // nothing of the lab itself.
    let is_no_change = |action: &Action| match action {
        Action::SetLink { admin, .. } => *admin == AdminState::Down,
        Action::CarryLink { .. } => true,
        Action::Exec { target, .. } => *target == ExecTarget::Host,
        action => *action == Action::WriteEntries,
    };
    let is_change = |step: &&Step| !is_no_change(&step.action);
    let steps = plan.steps.iter().filter(is_change).map(|step| format!("it would {} ({})", step.action, step.reason));
    let steps: Vec<String> = steps.collect();
    if steps.is_empty() { Ok(()) } else { Err(steps) }
}

fn done(lab: &Lab, facts: &LabFacts) -> BTreeMap<NodeName, Done> {
    let lives = facts.nodes.iter().filter_map(|(node, fact)| {
        let (spec, incarnation) = (lab.nodes().get(node)?, fact.incarnation.clone()?);
        let execs = commands(spec).len();
        // It has come as far as it has.
        let entered = spec.stages.values().any(|rule| !rule.wait_for.is_empty()).then_some(Stage::Exit);
        let done = Done { execs, of: Some(execs), entered, ..Done::nothing(incarnation) };
        (execs > 0 || entered.is_some()).then(|| (node.clone(), done))
    });
    lives.collect()
}

/// What was run on the host: nobody knows any more, and once too few does less harm there than once too many.
pub(crate) fn done_on_host(wish: &Wish, boot: &str) -> impl Iterator<Item = (NodeName, Done)> {
    let hosts = wish.lab.nodes().iter().filter(|(_, node)| node.kind.shape() == Shape::Host && !node.exec.is_empty());
    hosts.map(move |(name, node)| {
        let (execs, life) = (commands(node).len(), life_of_host(boot, wish.rebuild));
        (name.clone(), Done { execs, of: Some(execs), ..Done::nothing(life) })
    })
}

/// The nodes that run nothing: bridges that a link ends on, and those that nodes were told of and that are there.
fn shared(applied: &BTreeMap<NodeName, &Applied>, links: &[Link], snapshot: &Snapshot) -> BTreeMap<NodeName, Node> {
    let linked: BTreeSet<&NodeName> = links.iter().flat_map(Link::ends).filter_map(|end| end.at.node()).collect();
    let is_there = |name: &NodeName| {
        if name.inner_bridge().is_some() {
            return true;
        }
        let port = name.as_str().parse().ok().and_then(|name| snapshot.host_port(&name));
        port.is_some_and(|port| port.kind == PortKind::Bridge)
    };
    let told = applied.values().flat_map(|applied| &applied.shared);
    let told =
        told.filter(|(name, node)| node.kind.shape() != Shape::Bridge || linked.contains(name) || is_there(name));
    let mut shared: BTreeMap<NodeName, Node> = told.map(|(name, node)| (name.clone(), node.clone())).collect();
    for end in links.iter().flat_map(Link::ends) {
        if let Endpoint::Bridge(bridge) = &end.at {
            shared.entry(bridge.clone()).or_insert_with(|| plain_bridge(bridge));
        }
    }
    shared
}

fn plain_bridge(name: &NodeName) -> Node {
    serde_json::from_value(serde_json::json!({ "kind": "bridge", "hostname": name })).expect("a bridge has no more")
}

/// What is known of a lab before its links are.
struct Ground<'a> {
    rebuild: u64,
    network: Option<&'a Management>,
    /// Tells the nodes whose interfaces are in the namespace of another.
    shares: &'a dyn Fn(&NodeName) -> bool,
}

/// The link that these interfaces are, and which of its sides are switched off.
fn link(id: &LinkId, seen: &SeenLink, ground: &Ground<'_>) -> Result<(Link, Vec<Side>), String> {
    let Ground { rebuild, network, shares } = *ground;
    let end = |label: &str, port: &PortFact| end(label, port, shares);
    let found = match seen.ports.as_slice() {
        [only] => end(id.as_str(), only).map(|end| vec![(end, &**only)]),
        [one, two] => splits(id.as_str()).find_map(|(left, right)| {
            let pair = |a: &str, b: &str| Some(vec![(end(a, one)?, &**one), (end(b, two)?, &**two)]);
            pair(left, right).or_else(|| pair(right, left))
        }),
        _ => None,
    };
    let mut found = found.ok_or("the interfaces that carry its mark are not its ends")?;
    let attachment = |bridge: &InterfaceName| Attachment { bridge: bridge.clone(), gateways: Vec::new() };
    let to_network = network.and_then(|network| network.bridge.as_ref()).map(attachment).map(LinkKind::Attachment);
    let kinds: Vec<LinkKind> = [LinkKind::Plain].into_iter().chain(to_network).collect();
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
    let kind = kind.ok_or("a MAC address is other than the one that it was made with")?;
    let mtus: BTreeSet<u32> = found.iter().map(|(_, port)| port.mtu).collect();
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
            return Err("its MTU or an address is other than it was made with; set it back, by hand".to_owned());
        }
    };
    // So the file has it: what bridge that is on the host is known beside it.
    let kind = if kind.is_plain() { LinkKind::Plain } else { LinkKind::ManagementNet };
    let link = Link { kind, ..link };
    let sides = [Side::A, Side::B].into_iter().zip(&found);
    let down = sides.filter(|(_, (_, port))| is_switched_off(port)).map(|(side, _)| side).collect();
    Ok((link, down))
}

fn joined(found: &[(End, &PortFact)], mtu: Mtu) -> Link {
    let mut ends = found.iter().map(|(end, _)| end.clone());
    let a = ends.next().expect("a link has an end");
    Link { mtu, ..Link::new(a, ends.next()) }
}

/// The ways to take an id apart into two ends; names have the dash that joins the ends too.
fn splits(id: &str) -> impl Iterator<Item = (&str, &str)> {
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
