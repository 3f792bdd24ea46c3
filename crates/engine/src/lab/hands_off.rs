//! Whose run state it is: of a lab of a controller we keep the wiring right for what runs, and start, restart or make again no node
//! that nobody asks us to. What is there of a node is what is wanted of it, unless an operation is about it.

use std::collections::BTreeSet;

use netloom_model::{Lab, LabParts, Link, NodeName};
use netloom_plan::NodeState;

use crate::desired::Wish;
use crate::fact::NodeFact;
use crate::snapshot::LabFacts;

/// What is wanted of a controller's lab now.
#[derive(Debug)]
pub(super) struct HandsOff {
    /// The lab without the nodes that are not there and the tunnels of another life of the host, which nobody asks for; nothing if
    /// that is all of it.
    pub(super) lab: Option<Lab>,
    /// The nodes that are not to be started.
    pub(super) stopped: BTreeSet<NodeName>,
}

/// Looks at what is there of a lab, beside the nodes that an operation is about.
pub(super) fn hands_off(
    wish: &Wish,
    facts: Option<&LabFacts>,
    boot: &str,
    is_asked_for: impl Fn(&NodeName) -> bool,
) -> HandsOff {
    let mut stopped = wish.stopped.clone();
    let mut absent = BTreeSet::new();
    for name in wish.lab.nodes().keys() {
        if is_asked_for(name) {
            continue;
        }
        match facts.and_then(|facts| facts.nodes.get(name)).map(|fact| &fact.state) {
            None | Some(NodeState::Absent) => drop(absent.insert(name)),
            Some(NodeState::Running) => drop(stopped.remove(name)),
            Some(_) => drop(stopped.insert(name.clone())),
        }
    }
    let is_old = |link: &Link| {
        let asked_in = link.access_port().and_then(|port| port.boot.as_deref());
        asked_in.is_some_and(|then| then != boot)
    };
    let is_less = !absent.is_empty() || wish.lab.links().iter().any(is_old);
    let lab = is_less.then(|| without(wish, &absent, is_old));
    HandsOff { lab, stopped }
}

/// The life of a node that is over, as it ended by itself.
pub(super) fn ended_life(fact: &NodeFact) -> Option<&str> {
    match fact.state {
        NodeState::Exited { .. } | NodeState::Failed { .. } => fact.incarnation.as_deref(),
        NodeState::Absent
        | NodeState::Creating
        | NodeState::Created
        | NodeState::Starting
        | NodeState::Running
        | NodeState::Stopping
        | NodeState::Stopped => None,
    }
}

fn without(wish: &Wish, absent: &BTreeSet<&NodeName>, is_old: impl Fn(&Link) -> bool) -> Lab {
    let mut parts: LabParts = (**wish.whole()).clone().into_parts();
    parts.nodes.retain(|name, _| !absent.contains(name));
    parts
        .links
        .retain(|link| !is_old(link) && link.ends().all(|end| end.at.node().is_none_or(|node| !absent.contains(node))));
    Lab::new(parts).expect("what is left of a lab without waits fits together")
}
