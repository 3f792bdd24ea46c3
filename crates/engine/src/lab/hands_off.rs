//! Whose run state it is: of a lab of a controller we keep the wiring right for what runs, and start, restart or make again no node
//! that nobody asks us to. What is there of a node is what is wanted of it, unless an operation is about it.

use std::collections::BTreeSet;

use netloom_model::{Lab, LabParts, NodeName};
use netloom_plan::NodeState;

use crate::desired::Wish;
use crate::inventory::LabFacts;

/// What is wanted of a controller's lab now.
#[derive(Debug)]
pub(super) struct HandsOff {
    /// The lab without the nodes that are not there and that nobody asks for; nothing if all of it is.
    pub(super) lab: Option<Lab>,
    /// The nodes that are not to be started.
    pub(super) stopped: BTreeSet<NodeName>,
}

/// Looks at what is there of a lab, beside the nodes that an operation is about.
pub(super) fn hands_off(wish: &Wish, facts: Option<&LabFacts>, is_asked_for: impl Fn(&NodeName) -> bool) -> HandsOff {
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
    let lab = (!absent.is_empty()).then(|| without(wish, &absent));
    HandsOff { lab, stopped }
}

fn without(wish: &Wish, absent: &BTreeSet<&NodeName>) -> Lab {
    let mut parts: LabParts = (**wish.whole()).clone().into_parts();
    parts.nodes.retain(|name, _| !absent.contains(name));
    parts.links.retain(|link| link.ends().all(|end| end.at.node().is_none_or(|node| !absent.contains(node))));
    Lab::new(parts).expect("what is left of a lab without waits fits together")
}
