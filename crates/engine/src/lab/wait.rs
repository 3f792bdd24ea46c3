//! Waiting until the world says that a node has left a stage.
//!
//! A wait takes no place of any bulkhead and asks no driver: it looks at the snapshots that come anyway.

use netloom_model::{LabName, NodeName, Stage};
use netloom_plan::{Effect, NodeFingerprint, NodeState};
use tokio::time::Instant;

use super::step::{cancelled, engine_error};
use crate::driver::{Context, DriverError, ErrorClass};
use crate::fact::{Health, NodeFact};
use crate::inventory::Inventory;
use crate::snapshot::Snapshot;

/// Who waits for which stage of which node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) lab: LabName,
    pub(crate) waiter: NodeName,
    pub(crate) node: NodeName,
    pub(crate) stage: Stage,
}

impl Wait {
    /// Returns when the node has left the stage in the life that has this fingerprint; at the deadline the error says who
    /// waits for whom. What is seen later than that is not missed: a plan made then waits no more.
    pub(crate) async fn is_over(
        &self,
        wanted: &NodeFingerprint,
        inventory: &Inventory,
        context: &Context,
    ) -> Result<(), DriverError> {
        let (mut changes, since) = (inventory.changes(), Instant::now());
        let has_left = || {
            let snapshot = inventory.snapshot();
            self.fact(&snapshot).is_some_and(|fact| is_life(fact, wanted) && has_left(fact, self.stage))
        };
        let object = format!("node {}", self.waiter);
        loop {
            if has_left() {
                return Ok(());
            }
            tokio::select! {
                changed = changes.changed() => changed.map_err(|_| cancelled(&object))?,
                // It may have come true at this very moment, which is why nobody waits any more.
                () = context.cancel.cancelled() => return if has_left() { Ok(()) } else { Err(cancelled(&object)) },
                () = tokio::time::sleep_until(context.deadline.into()) => {
                    let cause = format!("after {} s {}", since.elapsed().as_secs(), self.text(&inventory.snapshot()));
                    let hint = format!("look at `netloom logs {}/{}`; it goes on by itself when that comes true", self.lab, self.node);
                    return Err(DriverError {
                        class: ErrorClass::Permanent,
                        hint: Some(hint),
                        ..engine_error("wait on", &object, cause)
                    });
                }
            }
        }
    }

    fn fact<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s NodeFact> {
        snapshot.node(&self.lab, &self.node)
    }

    /// Who waits for whom, and how that one is.
    pub(crate) fn text(&self, snapshot: &Snapshot) -> String {
        let Self { waiter, node, stage, .. } = self;
        let fact = self.fact(snapshot);
        let state = fact.map_or_else(|| NodeState::Absent.to_string(), |fact| fact.state.to_string());
        let health = match fact.and_then(|fact| fact.health) {
            Some(health) => format!(", and its health check says `{}`", health.word()),
            None if *stage == Stage::Healthy => ", and it has no health check".to_owned(),
            None => String::new(),
        };
        let stage = stage.as_str();
        format!("{waiter} waits until {node} has left the stage `{stage}`: {node} is {state}{health}")
    }
}

/// Whether what is seen is the node as it is wanted, and not one that makes way for it.
fn is_life(fact: &NodeFact, wanted: &NodeFingerprint) -> bool {
    fact.fingerprint.change_to(wanted) <= Some(Effect::Live)
}

fn has_left(fact: &NodeFact, stage: Stage) -> bool {
    match stage {
        Stage::Healthy | Stage::Exit => passed(fact) == Some(stage),
        // The rest is done by the plan that is made then.
        Stage::Create | Stage::CreateLinks | Stage::Configure => fact.state == NodeState::Running,
    }
}

/// The stage that a node is seen to have left, of those that nobody but the world leads it through.
pub(super) fn passed(fact: &NodeFact) -> Option<Stage> {
    match (&fact.state, fact.health) {
        (NodeState::Exited { .. }, _) => Some(Stage::Exit),
        (NodeState::Running, Some(Health::Healthy)) => Some(Stage::Healthy),
        _ => None,
    }
}
