//! Bridges inside of nodes: made in the namespace of their node before any link ends on them, and gone with it.

use std::collections::BTreeSet;

use netloom_model::{InterfaceName, Lab, NodeName};

use super::{Fate, Place, Planner, Readiness};
use crate::step::{Action, StepId};

impl<'a> Planner<'a> {
    fn wanted_inside(&self) -> BTreeSet<(&'a NodeName, InterfaceName)> {
        let bridges = self.lab.into_iter().flat_map(Lab::inner_bridges);
        let bridges = bridges.filter(|bridge| self.left_out.node(bridge.name).is_none());
        bridges.filter_map(|bridge| Some((bridge.node, bridge.interface()?))).collect()
    }

    /// Finds out which of them the plan makes.
    pub(super) fn index_inner_bridges(&mut self) {
        for (node, bridge) in self.wanted_inside() {
            let dies = matches!(self.fate(node), Fate::Create | Fate::Recreate);
            let is_there = || self.observed.inner_bridges.contains(&(node.clone(), bridge.clone()));
            if (dies || !is_there()) && self.readiness(node) != Readiness::Later {
                self.added_to.entry(node).or_default().push(bridge);
            }
        }
    }

    /// The steps that make bridges in a node.
    pub(super) fn bridges_added_to(&self, node: &NodeName) -> impl Iterator<Item = StepId> {
        let added = self.added_to.get_key_value(node).into_iter();
        added.flat_map(|(node, bridges)| bridges.iter().map(|bridge| add(node, bridge).id()))
    }

    pub(super) fn inner_bridges(&mut self) {
        for (node, bridges) in self.added_to.clone() {
            for bridge in bridges {
                let mut after = self.removed_from(Place::Node(node));
                if let Readiness::After(step) = self.readiness_of_place(node) {
                    after.push(step);
                }
                self.add(add(node, &bridge), "a bridge of the lab is in this node", after);
            }
        }
        let wanted = self.wanted_inside();
        for (node, bridge) in &self.observed.inner_bridges {
            let stays = matches!(self.fate(node), Fate::Keep | Fate::Complete);
            if stays && !wanted.iter().any(|(of, name)| (*of, name) == (node, bridge)) {
                let action = Action::RemoveBridge { node: node.clone(), bridge: bridge.clone() };
                let after = self.removed_from(Place::Node(node));
                self.add(action, "not in the topology", after);
            }
        }
    }
}

fn add(node: &NodeName, bridge: &InterfaceName) -> Action {
    Action::AddBridge { node: node.clone(), bridge: bridge.clone() }
}
