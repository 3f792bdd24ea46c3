//! Which nodes that run nothing belong to which that do: reckoned for a whole lab at once, when it is first asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use crate::lab::{LabParts, Link, Node};
use crate::name::NodeName;

/// Reckoned from the parts of a lab; no part of its value.
#[derive(Debug, Clone, Default)]
pub(crate) struct Idle(OnceLock<Reckoned>);

#[derive(Debug, Clone)]
struct Reckoned {
    /// Those that a node has links to.
    linked: BTreeMap<NodeName, BTreeSet<NodeName>>,
    /// Those that no link ends on.
    alone: BTreeSet<NodeName>,
}

impl Idle {
    /// Those that this node has links to, and those that no link ends on.
    pub(crate) fn beside(&self, node: &NodeName, parts: &LabParts) -> BTreeMap<NodeName, Node> {
        let Reckoned { linked, alone } = self.0.get_or_init(|| Reckoned::of(parts));
        let names = linked.get(node).into_iter().flatten().chain(alone);
        names.filter_map(|name| Some((name.clone(), parts.nodes.get(name)?.clone()))).collect()
    }
}

impl Reckoned {
    fn of(parts: &LabParts) -> Self {
        let idle = parts.nodes.iter().filter(|(_, node)| node.runtime.is_none());
        let mut alone: BTreeSet<NodeName> = idle.map(|(name, _)| name.clone()).collect();
        let is_idle = |name: &NodeName| parts.nodes.get(name).is_some_and(|node| node.runtime.is_none());
        let mut linked: BTreeMap<NodeName, BTreeSet<NodeName>> = BTreeMap::new();
        for ends in parts.links.iter().map(nodes) {
            for (at, node) in ends.iter().enumerate().filter(|(_, node)| is_idle(node)) {
                alone.remove(*node);
                for other in ends.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| *other) {
                    linked.entry(other.clone()).or_default().insert((*node).clone());
                }
            }
        }
        Self { linked, alone }
    }
}

fn nodes(link: &Link) -> Vec<&NodeName> {
    link.ends().filter_map(|end| end.at.node()).collect()
}
