//! The order in which the steps of a plan are written down.

use std::collections::{BTreeMap, BTreeSet};

use crate::step::{Action, Step, StepId};

/// Orders the steps: each after what it waits for, otherwise by id, so that equal inputs give equal plans.
pub(super) fn ordered(mut steps: BTreeMap<StepId, Step>) -> Vec<Step> {
    let mut waiting: BTreeMap<StepId, usize> = BTreeMap::new();
    let mut waiters: BTreeMap<StepId, Vec<StepId>> = BTreeMap::new();
    let known: BTreeSet<StepId> = steps.keys().cloned().collect();
    for step in steps.values_mut() {
        step.after.retain(|id| known.contains(id));
        step.after.sort();
        step.after.dedup();
        waiting.insert(step.id.clone(), step.after.len());
        for id in &step.after {
            waiters.entry(id.clone()).or_default().push(step.id.clone());
        }
    }
    let mut ready: BTreeSet<(u8, StepId)> =
        waiting.iter().filter(|(_, count)| **count == 0).map(|(id, _)| (rank(&steps[id].action), id.clone())).collect();
    let mut ordered = Vec::with_capacity(steps.len());
    while let Some((_, id)) = ready.pop_first() {
        for waiter in waiters.remove(&id).unwrap_or_default() {
            let count = waiting.get_mut(&waiter).expect("every waiter is a step");
            *count -= 1;
            if *count == 0 {
                ready.insert((rank(&steps[&waiter].action), waiter));
            }
        }
        ordered.push(steps.remove(&id).expect("each step becomes ready once"));
    }
    debug_assert!(steps.is_empty(), "steps wait for each other: {:?}", steps.keys());
    ordered
}

/// What everything else waits for, then removals, which read better first, then what is made in the order of its making.
fn rank(action: &Action) -> u8 {
    match action {
        Action::PullImage { .. } | Action::DeleteLink { .. } => 0,
        Action::StopNode { .. } | Action::DeleteNode { .. } => 1,
        Action::ReleaseBridge { .. }
        | Action::RemoveBridge { .. }
        | Action::ReleaseNetwork { .. }
        | Action::RemoveEntries => 2,
        Action::EnsureBridge { .. } | Action::EnsureNetwork { .. } => 3,
        Action::WriteNames | Action::WriteEntries => 4,
        Action::ReserveNode { .. } | Action::CreateNode { .. } | Action::UpdateNode { .. } => 5,
        Action::AddBridge { .. } | Action::CreateLink { .. } | Action::UpdateLink { .. } => 6,
        Action::SetLink { .. } | Action::CarryLink { .. } => 7,
        Action::StartNode { .. } => 8,
        Action::Exec { .. } | Action::Await { .. } | Action::Enter { .. } => 9,
    }
}
