//! Which of all things with our mark are leftovers: a set difference, pure.
//!
//! ```text
//!   all with our mark
//!     less what a wanted lab has: the lab's own things, and those of nodes that it wants or that are there
//!     less all of a lab that is on its way out, or has an operation under way or ended less than the grace period ago
//!     less all of a lab that nobody wants but of which a node lives: it is unknown, and may be adopted
//!     less what is younger than the grace period
//!     less what only a source knows that does not answer
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use netloom_model::{InterfaceName, LabName, LinkId, NodeName, RuntimeKind};

use super::trace::Trace;
use super::{Leftover, Thing};
use crate::fact::Source;

/// What is wanted on this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The nodes of each lab that is to run.
    pub labs: BTreeMap<LabName, BTreeSet<NodeName>>,
    /// Labs of which nothing is judged now: they are being removed, or an operation is under way or has just ended.
    pub busy: BTreeSet<LabName>,
    /// The bridges that labs ask the host for.
    pub bridges: BTreeSet<InterfaceName>,
    /// The management networks that they ask for.
    pub networks: BTreeSet<String>,
}

/// What is there with our mark.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The nodes in any form.
    pub nodes: BTreeMap<(LabName, NodeName), FoundNode>,
    /// The links, with the names of the interfaces that carry their mark.
    pub links: BTreeMap<(LabName, LinkId), Vec<String>>,
    /// The bridges of the host that have no port.
    pub bridges: BTreeSet<InterfaceName>,
    /// The management networks that nobody is on.
    pub networks: BTreeSet<String>,
    /// Everything else.
    pub traces: Vec<Trace>,
    /// The sources that do not answer and that something may be known of only by.
    pub silent: BTreeSet<Source>,
    /// Those that have never answered, and on which no lab has a node: they hold up only what is theirs alone.
    pub absent: BTreeSet<Source>,
}

/// A node that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundNode {
    /// What it runs on.
    pub runtime: RuntimeKind,
    /// Whether something runs in it, or is about to.
    pub lives: Lives,
}

/// Whether something runs in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lives {
    /// It does, or is about to, or that cannot be told.
    Yes,
    /// Nothing does.
    No,
}

/// When it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub now: SystemTime,
    /// What counts as the age of what has none.
    pub began: SystemTime,
    /// What is younger is left alone.
    pub grace: Duration,
}

impl Moment {
    fn is_young(self, changed: Option<SystemTime>) -> bool {
        // What lies in the future is new, as far as is known.
        self.now.duration_since(changed.unwrap_or(self.began)).unwrap_or_default() < self.grace
    }
}

/// Who has a lab's things.
enum Hold<'a> {
    /// All of it stays.
    Whole,
    /// What is of the lab itself stays, and what is of these nodes.
    Nodes(&'a BTreeSet<NodeName>),
    /// Nobody does.
    Nobody,
}

/// What is left and nobody's, in the order in which it is to be removed.
pub fn leftovers(wanted: &Wanted, found: &Found, moment: Moment) -> Vec<Leftover> {
    let living: BTreeSet<&LabName> = found
        .nodes
        .iter()
        .filter(|((lab, _), node)| node.lives == Lives::Yes && !wanted.labs.contains_key(lab))
        .map(|((lab, _), _)| lab)
        .collect();
    let hold = |lab: &LabName| match wanted.labs.get(lab) {
        _ if wanted.busy.contains(lab) || living.contains(lab) => Hold::Whole,
        Some(nodes) => Hold::Nodes(nodes),
        None => Hold::Nobody,
    };
    let is_nobodys = |lab: &LabName| matches!(hold(lab), Hold::Nobody);
    let answers = |of: Option<RuntimeKind>| match of {
        Some(runtime) => {
            let source = Source::Runtime(runtime);
            !found.silent.contains(&source) && !found.absent.contains(&source)
        }
        None => found.silent.is_empty(),
    };
    let mut all = Vec::new();
    // What has no age is as old as what is known of it.
    if answers(None) && !moment.is_young(None) {
        let nodes = found.nodes.iter().filter(|((lab, _), _)| is_nobodys(lab));
        all.extend(nodes.map(|((lab, node), _)| Leftover::dead(Thing::Node(lab.clone(), node.clone()))));
        let links = found.links.iter().filter(|((lab, _), _)| is_nobodys(lab));
        let thing =
            |lab: &LabName, link: &LinkId, names: &Vec<String>| Thing::Link(lab.clone(), link.clone(), names.clone());
        all.extend(links.map(|((lab, link), names)| Leftover::dead(thing(lab, link, names))));
    }
    let traces = found.traces.iter().filter(|trace| {
        let is_held = match (hold(&trace.lab), &trace.node) {
            (Hold::Whole, _) | (Hold::Nodes(_), None) => true,
            // It goes with its node, whoever wants that or not.
            (_, Some(node)) if found.nodes.contains_key(&(trace.lab.clone(), node.clone())) => true,
            (Hold::Nodes(nodes), Some(node)) => nodes.contains(node),
            (Hold::Nobody, _) => false,
        };
        !is_held && answers(trace.of) && !moment.is_young(trace.changed)
    });
    let mut traces: Vec<&Trace> = traces.collect();
    // By kind first: a mount goes before what it is in.
    traces.sort();
    let leftover = |trace: &Trace| {
        let of = if wanted.labs.contains_key(&trace.lab) { Leftover::of_node } else { Leftover::of_lab };
        of(Thing::Trace(trace.clone()))
    };
    all.extend(traces.into_iter().map(leftover));
    // A lab that nobody wants may have asked for any of them, and want it again.
    if answers(None) && !moment.is_young(None) && living.is_empty() && wanted.busy.is_empty() {
        let bridges = found.bridges.difference(&wanted.bridges);
        all.extend(bridges.map(|bridge| Leftover::of_lab(Thing::Bridge(bridge.clone()))));
        let networks = found.networks.difference(&wanted.networks);
        all.extend(networks.map(|network| Leftover::of_lab(Thing::Network(network.clone()))));
    }
    all
}
