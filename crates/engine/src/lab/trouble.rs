//! What failed of a lab: kept for whoever looks at it, and said when a deadline passes.

use std::time::SystemTime;

use netloom_plan::Plan;
use tokio::time::Instant;

use super::actor::Actor;
use super::edit::Scope;
use super::execute::Summary;
use crate::operation::OperationState;
use crate::standing::Trouble;

impl Actor {
    /// Takes note of what failed in a plan that was carried out, and of what works now.
    pub(super) fn note_failures(&mut self, summary: &Summary) {
        self.failing.retain(|step, _| !summary.done.contains_key(step));
        self.failing.extend(summary.transient.clone());
    }

    /// Forgets failures of steps that nobody plans any more.
    pub(super) fn forget_failures_beside(&mut self, plan: &Plan) {
        if self.failing.is_empty() {
            return;
        }
        self.failing.retain(|failed, _| plan.steps.iter().any(|step| step.id == *failed));
        self.tell_troubles();
    }

    /// Says what fails, and when it is tried again, for whoever looks at the lab.
    pub(super) fn tell_troubles(&self) {
        let again = self.retry.1.map(|at| SystemTime::now() + at.saturating_duration_since(Instant::now()));
        let failing = self.failing.iter().map(|failed| (failed, again));
        let for_good = self.given_up.iter().map(|failed| (failed, None));
        let troubles = failing.chain(for_good);
        let troubles =
            troubles.map(|((step, cause), again)| Trouble { step: step.clone(), cause: cause.clone(), again });
        self.shared.troubles.set(&self.name, troubles.collect());
    }

    /// Ends the operations whose time is over, with all that keeps them from their end.
    pub(super) fn check_deadline(&mut self) {
        let now = Instant::now();
        for active in self.active.extract_if(.., |active| active.deadline <= now).collect::<Vec<_>>() {
            let text = "its deadline passed; the wish stays and is worked on: `netloom inspect` shows how far it is";
            active.operation.end(OperationState::Deadline, text, self.hindrances(&active.scope));
        }
    }

    /// What something waits for, and what fails.
    fn hindrances(&self, scope: &Scope) -> Vec<String> {
        let executions = || self.execution.iter().chain(&self.lingering);
        let snapshot = self.shared.inventory.snapshot();
        let waits = executions().flat_map(|(execution, context)| execution.waits(context));
        let waits = waits.filter(|wait| scope.has_node(&wait.waiter)).map(|wait| wait.text(&snapshot));
        let failed =
            self.given_up.iter().chain(&self.failing).chain(self.complaints.iter().map(|(step, why)| (step, why)));
        let failed = failed.filter(|(step, _)| scope.has_step(step)).map(|(_, why)| why.clone());
        waits.chain(failed).collect()
    }
}
