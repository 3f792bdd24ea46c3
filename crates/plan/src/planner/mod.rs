//! `desired × observed → plan`. Pure: the same inputs give the same plan, byte by byte.
//!
//! Order of a deploy: bridges and names, then nodes, then the links between them, then what runs in the
//! nodes (so that it sees its interfaces), then `exec`. Nodes whose namespace comes with their start take their links
//! after that. Nodes that wait for others come in between (`stages`). Images that are missing are fetched before all of it. A
//! removal goes the other way.

mod host;
mod images;
mod inner;
mod links;
mod networks;
mod nodes;
mod order;
mod shared;
mod stages;

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{End, Endpoint, InterfaceName, Lab, LabName, Link, LinkId, Node, NodeName, RuntimeKind};

use self::stages::Waits;
use crate::fingerprint::Effect;
use crate::left_out::LeftOut;
use crate::state::{Desired, Observed, ObservedNode, Side};
use crate::step::{Action, Plan, Step, StepId};

/// Makes the plan that leads from `observed` to `desired`.
pub fn plan(name: &LabName, desired: &Desired<'_>, observed: &Observed) -> Plan {
    let mut planner = Planner::new(desired, observed);
    planner.nodes();
    planner.hosts();
    planner.links();
    planner.names();
    planner.entries();
    planner.bridges();
    planner.inner_bridges();
    planner.networks();
    planner.images();
    let left_out = planner.left_out.omissions();
    Plan { lab: name.clone(), steps: order::ordered(planner.steps), left_out }
}

/// What a node has to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Keep,
    Create,
    /// Its place is reserved, with the links that are in it; all else is made.
    Complete,
    Recreate,
    Delete,
}

/// A node that is there and stays.
#[derive(Debug, Clone, Copy)]
struct Kept<'a> {
    there: &'a ObservedNode,
    /// What its change means, if it changed.
    change: Option<Effect>,
    /// Why the plan starts it, if it does.
    start: Option<&'static str>,
}

/// What the life of a node means for its ends of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    /// They are on.
    On,
    /// They are off, for this reason.
    Off(&'static str),
    /// It is started: they are on before.
    Comes,
    /// It ends and is started again: they go off and on between, and what it had learnt over them is gone.
    Cycled,
}

struct Planner<'a> {
    lab: Option<&'a Lab>,
    desired: Desired<'a>,
    observed: &'a Observed,
    fates: BTreeMap<&'a NodeName, Fate>,
    /// Made anew for the sake of another one alone.
    followers: BTreeSet<&'a NodeName>,
    /// Of the nodes whose fate is to be kept.
    kept: BTreeMap<&'a NodeName, Kept<'a>>,
    /// The desired links that are made on this host.
    wanted: BTreeMap<LinkId, &'a Link>,
    /// Those of them that the plan makes (anew).
    made: BTreeSet<LinkId>,
    /// Those that are to be made (anew) and cannot be yet: an end has no namespace before its node is started.
    put_off: BTreeSet<LinkId>,
    /// The links that the plan makes, by the nodes they end on.
    made_on: BTreeMap<&'a NodeName, Vec<LinkId>>,
    /// The ends of the links that it keeps, likewise.
    kept_on: BTreeMap<&'a NodeName, Vec<(LinkId, Side)>>,
    /// The bridges that the plan makes in nodes.
    added_to: BTreeMap<&'a NodeName, Vec<InterfaceName>>,
    /// The links that are removed by a step of their own, by where they end.
    removed_from: BTreeMap<Place<'a>, Vec<LinkId>>,
    /// Whether the names file is to be written; found out once, since it takes as long as the lab is large.
    names_change: bool,
    /// Who waits for whom.
    waits: Waits<'a>,
    /// What of the lab cannot be made.
    left_out: LeftOut,
    steps: BTreeMap<StepId, Step>,
}

/// A network namespace: that of a node or that of the host, where the ports of bridges live too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    Node(&'a NodeName),
    Host,
}

fn place(end: &Endpoint) -> Place<'_> {
    match end {
        Endpoint::Node(node) => Place::Node(node),
        // What leads to another host is an interface here.
        Endpoint::Host | Endpoint::Bridge(_) | Endpoint::Remote(_) => Place::Host,
    }
}

/// The nodes that an end concerns: the one that runs at it, and the one whose namespace that shares.
fn nodes_of(end: &End) -> impl Iterator<Item = &NodeName> {
    let shared = end.shared.iter();
    std::iter::once(&end.at).chain(shared).filter_map(|at| match at {
        Endpoint::Node(node) => Some(node),
        Endpoint::Host | Endpoint::Bridge(_) | Endpoint::Remote(_) => None,
    })
}

/// When a node has the namespace that its ends of new links need.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Readiness {
    /// It has it.
    Now,
    /// When this step has been done.
    After(StepId),
    /// Not by this plan: it has never run, and is not started.
    Later,
}

impl<'a> Planner<'a> {
    fn new(desired: &Desired<'a>, observed: &'a Observed) -> Self {
        let left_out = desired.lab.map(LeftOut::of).unwrap_or_default();
        let made = desired.lab.into_iter().flat_map(|lab| left_out.made(lab));
        let wanted = made.map(|link| (link.id(), link)).collect();
        let names_wanted = desired.names();
        let mut planner = Self {
            lab: desired.lab,
            desired: *desired,
            observed,
            fates: BTreeMap::new(),
            followers: BTreeSet::new(),
            kept: BTreeMap::new(),
            wanted,
            made: BTreeSet::new(),
            put_off: BTreeSet::new(),
            made_on: BTreeMap::new(),
            kept_on: BTreeMap::new(),
            added_to: BTreeMap::new(),
            removed_from: BTreeMap::new(),
            names_change: names_wanted.is_some() && names_wanted != observed.names,
            waits: Waits::default(),
            left_out,
            steps: BTreeMap::new(),
        };
        planner.decide();
        planner.index_links();
        planner.index_inner_bridges();
        planner.find_waits();
        planner.find_turns();
        planner
    }

    fn index_links(&mut self) {
        for (id, link) in &self.wanted {
            let is_missing = self.link_is_missing(id, link);
            if is_missing
                && link.ends().filter_map(|end| end.home().node()).any(|node| self.readiness(node) == Readiness::Later)
            {
                self.put_off.insert(id.clone());
                continue;
            }
            if is_missing {
                self.made.insert(id.clone());
            }
            for (end, side) in link.ends().zip([Side::A, Side::B]) {
                for node in nodes_of(end) {
                    if is_missing {
                        self.made_on.entry(node).or_default().push(id.clone());
                    } else {
                        self.kept_on.entry(node).or_default().push((id.clone(), side));
                    }
                }
            }
        }
        for (id, there) in &self.observed.links {
            let stays = self.wanted.contains_key(id) && !self.is_replaced(id);
            if !stays && self.outlives_nodes(&there.ends) {
                for place in there.ends.iter().map(place) {
                    self.removed_from.entry(place).or_default().push(id.clone());
                }
            }
        }
    }

    fn decide(&mut self) {
        for (name, node, runtime) in self.running_nodes() {
            let fate = match self.observed.nodes.get(name) {
                None => Fate::Create,
                // What it is to be is told when it is made.
                Some(there) if there.is_begun() && there.reserved && there.runtime == runtime => Fate::Complete,
                Some(there) => match there.fingerprint.change_to(&self.desired.fingerprint(name, node)) {
                    Some(Effect::Recreate) => Fate::Recreate,
                    // Its maker died over it: making it completes what is there.
                    _ if there.is_begun() => Fate::Create,
                    change => {
                        let start = self.start_reason(name, node, there, change);
                        self.kept.insert(name, Kept { there, change, start });
                        Fate::Keep
                    }
                },
            };
            self.fates.insert(name, fate);
        }
        for name in self.observed.nodes.keys() {
            self.fates.entry(name).or_insert(Fate::Delete);
        }
        self.follow();
    }

    /// The desired nodes that run something, with what they run on.
    fn running_nodes(&self) -> impl Iterator<Item = (&'a NodeName, &'a Node, RuntimeKind)> + use<'a> {
        let nodes = self.lab.map(Lab::nodes).into_iter().flatten();
        nodes.filter_map(|(name, node)| node.runtime.map(|runtime| (name, node, runtime)))
    }

    /// Whether a wanted link that is there makes way for itself as it is wanted now.
    fn is_replaced(&self, link: &LinkId) -> bool {
        self.made.contains(link) || self.put_off.contains(link)
    }

    fn fate(&self, node: &NodeName) -> Fate {
        self.fates.get(node).copied().unwrap_or(Fate::Keep)
    }

    fn add(&mut self, action: Action, reason: &str, after: Vec<StepId>) -> StepId {
        let id = action.id();
        let owner = action.owner();
        self.steps.insert(id.clone(), Step { id: id.clone(), action, owner, reason: reason.to_owned(), after });
        id
    }

    fn names(&mut self) {
        if self.names_change {
            self.add(Action::WriteNames, "the lab's nodes or addresses changed", Vec::new());
        }
    }

    fn entries(&mut self) {
        match (self.desired.entries(), &self.observed.entries) {
            (Some(wanted), there) if there.as_ref() != Some(&wanted) => {
                self.add(Action::WriteEntries, "the host is to find the lab's nodes by name", Vec::new());
            }
            (None, Some(_)) => {
                self.add(Action::RemoveEntries, "the host is to reach no node of the lab", Vec::new());
            }
            (Some(_) | None, _) => {}
        }
    }

    /// The steps that remove something.
    fn leaving(&self) -> Vec<StepId> {
        let leaves = |step: &&Step| matches!(step.action, Action::DeleteLink { .. } | Action::DeleteNode { .. });
        self.steps.values().filter(leaves).map(|step| step.id.clone()).collect()
    }

    fn desired_bridges(&self) -> BTreeSet<InterfaceName> {
        let nodes = self.lab.map(Lab::nodes).into_iter().flatten();
        nodes.filter_map(|(name, node)| node.host_bridge(name)).collect()
    }

    fn bridge_is_asked_for(&self, bridge: &InterfaceName) -> bool {
        self.observed.bridges.get(bridge).is_none_or(|there| !there.exists || !there.held)
    }

    fn bridges(&mut self) {
        let wanted = self.desired_bridges();
        for bridge in &wanted {
            if self.bridge_is_asked_for(bridge) {
                // An interface on the host may have had its name.
                let after = self.removed_from(Place::Host);
                self.add(Action::EnsureBridge { bridge: bridge.clone() }, "a node of kind bridge", after);
            }
        }
        let leaving = self.leaving();
        for (bridge, there) in &self.observed.bridges {
            if there.held && !wanted.contains(bridge) {
                let action = Action::ReleaseBridge { bridge: bridge.clone() };
                self.add(action, "the lab needs it no longer", leaving.clone());
            }
        }
    }
}
