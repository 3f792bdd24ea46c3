//! The steps of the management network: asked for before somebody is put on it, given back after the last has left.

use netloom_model::{Link, LinkKind, Node};

use super::{Place, Planner};
use crate::step::{Action, StepId};

impl Planner<'_> {
    pub(super) fn networks(&mut self) {
        if let Some(ensure) = self.asks_for_network() {
            // An interface on the host may have had the name of its bridge.
            let after = self.removed_from(Place::Host);
            self.add(ensure, "the lab's nodes are on it", after);
        }
        let leaving = self.leaving();
        for (network, there) in &self.observed.networks {
            if there.held && self.desired.network != Some(network) {
                let action = Action::ReleaseNetwork { network: network.clone() };
                self.add(action, "the lab needs it no longer", leaving.clone());
            }
        }
    }

    /// What asks for the network, unless it is there and asked for.
    fn asks_for_network(&self) -> Option<Action> {
        let network = self.desired.network?;
        let there = self.observed.networks.get(network);
        let asks = there.is_none_or(|there| !there.exists || !there.held);
        asks.then(|| Action::EnsureNetwork { network: network.to_owned() })
    }

    /// The step that a link waits for to have its bridge, if it leads to the network.
    pub(super) fn before_attachment(&self, link: &Link) -> Option<StepId> {
        let ensure = self.asks_for_network().filter(|_| matches!(link.kind, LinkKind::Attachment(_)));
        ensure.map(|ensure| ensure.id())
    }

    /// The step that a node waits for whose container is connected by the owner of the network.
    pub(super) fn before_connected(&self, node: &Node) -> Option<StepId> {
        let ensure = self.asks_for_network().filter(|_| node.is_managed() && node.publishes());
        ensure.map(|ensure| ensure.id())
    }
}
