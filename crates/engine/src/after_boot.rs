//! What a device wants done once after each of its boots: whether it was done in the life that a node has now. What that is, and
//! when a device has booted, whoever knows devices says.

use netloom_model::{LabName, NodeName};

use crate::desired::{Done, done_key, put};
use crate::engine::Engine;

impl Engine {
    /// Whether it is noted for this life of a node.
    pub fn is_after_boot(&self, lab: &LabName, node: &NodeName, life: &str) -> bool {
        self.shared.done.of(lab).get(node).is_some_and(|done| done.booted && done.incarnation == life)
    }

    /// Notes it; nothing if the node has another life by now. What the store does not take now it takes later, and if the agent
    /// ends before that, it counts as not done.
    pub async fn note_after_boot(&self, lab: &LabName, node: &NodeName, life: &str) {
        let snapshot = self.shared.inventory.snapshot();
        let lives = snapshot.node(lab, node).is_some_and(|fact| fact.incarnation.as_deref() == Some(life));
        if !lives || self.shared.wishes.get(lab).is_none() {
            return;
        }
        let done = self.shared.done.change(lab, node, |done| {
            let done = done.map_or_else(|| Done::nothing(life.to_owned()), |done| done.in_life(life.to_owned()));
            Done { booted: true, ..done }
        });
        let note = vec![put(done_key(lab, node), &done)];
        if let Err(error) = self.shared.ledger.keep(note).await {
            tracing::warn!(%lab, %node, %error, "what was done after its boot is noted later");
        }
    }
}
