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
//! network follow from the network and from the addresses of the nodes; tags and tunnels are read from the ports of the
//! switch.

mod link;
mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netloom_model::{
    Endpoint, ExecTarget, FabricKind, InterfaceName, Lab, LabName, LabParts, Link, LinkId, NetworkMode, Node,
    NodeAddresses, NodeManagement, NodeName, OnNetwork, Settings, Shape, Stage,
};
use netloom_plan::{Action, AdminState, NodeState, Side, Step, commands, plan};

use super::observe::{Once, is_switched_off, observe};
use super::pull::Stock;
use crate::applied::Applied;
use crate::desired::{Done, Wish, life_of_host};
use crate::driver::TagClaim;
use crate::engine::Config;
use crate::fact::{Place, PortKind, SwitchPortFact};
use crate::snapshot::{LabFacts, SeenLink, Snapshot, sides};
use crate::switchboard::Switchboard;
use crate::tags::LabTags;
use link::{Found, Ground, link};
use ports::{Board, OnSwitch, names};

/// What runtimes keep of the nodes of a lab; `None` of one that an older version made.
pub(crate) type Kept = BTreeMap<NodeName, Option<Applied>>;

/// A lab that can be wanted again without any change.
#[derive(Debug)]
pub(crate) struct Adoption {
    pub(crate) wish: Wish,
    /// The commands that count as run: all of every life that there is.
    pub(crate) done: BTreeMap<NodeName, Done>,
    /// The tags that its links have on the switch.
    pub(crate) tags: LabTags,
    /// The claims of them that are lost: to be made again before anything is stored.
    pub(crate) lost: Vec<TagClaim>,
}

const NONE_LEFT: &str = "no node is left of it";

/// Makes the wish of what is there. `Err` is everything that keeps it from being just that.
pub(crate) fn adopt(
    name: &LabName,
    kept: &Kept,
    snapshot: &Snapshot,
    config: &Config,
) -> Result<Adoption, Vec<String>> {
    let facts = snapshot.labs.get(name).ok_or_else(|| vec![NONE_LEFT.to_owned()])?;
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
            wrong.push(NONE_LEFT.to_owned());
        }
        return Err(wrong);
    };
    let (rebuild, prefix, source) = (latest.rebuild, latest.prefix.clone(), latest.source.clone());
    let on_network = on_network(&applied);
    let management = on_network.as_ref().map(|on| on.network.clone()).unwrap_or_default();
    let bare = LabParts { prefix, source, management, ..LabParts::new(name.clone()) };
    let attached = attached(&bare, &applied, on_network.as_ref());
    let board = Board::of(name, &snapshot.switch);
    let (mut links, mut down, mut switched) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    for (id, seen) in snapshot.links(name) {
        if let Some(link) = attached.as_ref().and_then(|lab| lab.link(&id)) {
            down.extend(switched_off(name, link, &seen).map(|side| (id.clone(), side)));
            continue;
        }
        let shares = |owner: &NodeName| {
            let mode = applied.get(owner).map(|applied| &applied.spec.network_mode);
            owner.inner_bridge().is_some() || matches!(mode, Some(NetworkMode::Container(_) | NetworkMode::Host))
        };
        let network = on_network.as_ref().map(|on| &on.network);
        let ground = Ground { lab: name, rebuild, network, shares: &shares, board: &board };
        match link(&id, &seen, &ground) {
            Ok(Found { link, down: off, on }) => {
                down.extend(off.into_iter().map(|side| (id.clone(), side)));
                switched.extend(on.map(|on| (id, on)));
                links.push(link);
            }
            Err(why) => wrong.push(format!("link {id}: {why}")),
        }
    }
    let bridges: BTreeSet<&InterfaceName> = switched.values().map(|on: &OnSwitch| &on.bridge).collect();
    if bridges.len() > 1 {
        let names: Vec<String> = bridges.iter().map(|bridge| format!("`{bridge}`")).collect();
        wrong.push(format!("its links are on several bridges of Open vSwitch: {}", names.join(", ")));
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let switch = bridges.into_iter().next().cloned();
    let mut nodes = shared(&applied, &links, snapshot);
    nodes.extend(applied.iter().map(|(node, applied)| (node.clone(), applied.spec.clone())));
    let said = fabric(switch.as_ref(), &links, config);
    let settings = Settings { fabric: said, ..Settings::default() };
    let lab = Lab::new(LabParts { nodes, links, settings, ..bare })
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
    let mut wish = Wish {
        rebuild,
        down,
        switch,
        stopped: stopped.map(|(node, _)| node.clone()).collect(),
        restarts: restarts.filter(|(_, restarts)| *restarts > 0).collect(),
        networks: on_network.iter().map(|on| on.network.network.clone()).collect(),
        on_network,
        ..Wish::first(Arc::new(lab))
    };
    wish.put_on_switch(config);
    let tags: LabTags = switched.iter().map(|(id, on)| (id.clone(), on.tag)).collect();
    let steps = changes(&wish, &done, &tags, snapshot);
    if !steps.is_empty() {
        return Err(steps.iter().map(told).collect());
    }
    let lost = switched.into_values().filter_map(|on| on.lost).collect();
    Ok(Adoption { wish, done, tags, lost })
}

/// Whether something of a lab may be on the switch, as far as can be told without asking that.
pub(crate) fn may_be_switched(name: &LabName, kept: &Kept, snapshot: &Snapshot) -> bool {
    let mut told = kept.values().flatten().flat_map(|applied| applied.shared.values());
    let has_seam = |(id, seen): (&LinkId, &SeenLink)| {
        let names = names(name, id);
        seen.ports.iter().any(|port| port.place == Place::Host && names.contains(&port.name))
    };
    told.any(|node| node.kind.shape() == Shape::OvsBridge) || snapshot.links(name).iter().any(has_seam)
}

/// The bridges of the switch that are nodes of a lab, and of no other: of those that its links are ports of, and that we made.
pub(crate) fn own_bridges<'a>(lab: &'a LabName, board: &'a Switchboard) -> impl Iterator<Item = InterfaceName> + 'a {
    let is_end = |port: &&SwitchPortFact| !names(lab, &port.link).contains(&port.name);
    let bridges: BTreeSet<&InterfaceName> = board.ports_of(lab).filter(is_end).map(|port| &port.bridge).collect();
    let is_own = move |bridge: &&InterfaceName| {
        let mut others = board.ports().filter(|port| &port.bridge == *bridge && &port.lab != lab);
        board.bridge(bridge).is_some_and(|bridge| bridge.is_ours) && others.next().is_none()
    };
    bridges.into_iter().filter(is_own).cloned()
}

/// What the lab says of its fabric, so that its links stay on the one they are on; nothing where this host has the same anyway.
fn fabric(switch: Option<&InterfaceName>, links: &[Link], config: &Config) -> Option<FabricKind> {
    let is = if switch.is_some() { FabricKind::Ovs } else { FabricKind::Kernel };
    let is_on_none =
        |link: &Link| link.kind.is_plain() && link.b.is_some() && link.ends().all(|end| !is_bridge(&end.at));
    (is != config.fabric && (switch.is_some() || links.iter().any(is_on_none))).then_some(is)
}

fn is_bridge(at: &Endpoint) -> bool {
    matches!(at, Endpoint::Bridge(_))
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

/// The lab that would be wanted; `Err` as for [`adopt`].
pub(crate) fn read_kept(
    name: &LabName,
    kept: &Kept,
    snapshot: &Snapshot,
    config: &Config,
) -> Result<Arc<Lab>, Vec<String>> {
    adopt(name, kept, snapshot, config).map(|adoption| adoption.wish.lab)
}

/// What would be done for this wish: the proof, if it is nothing.
pub(crate) fn changes(wish: &Wish, done: &BTreeMap<NodeName, Done>, tags: &LabTags, snapshot: &Snapshot) -> Vec<Step> {
    let name = wish.lab.name();
    let passed = BTreeMap::new();
    let once = Once { done, host: "", passed: &passed, stock: Stock::NONE, told: None, tags };
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
    plan.steps.into_iter().filter(|step| !is_no_change(&step.action)).collect()
}

/// A step that would be taken, in words.
pub(crate) fn told(step: &Step) -> String {
    format!("it would {} ({})", step.action, step.reason)
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
