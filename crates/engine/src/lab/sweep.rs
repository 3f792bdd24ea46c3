//! What is left of a lab is removed by its actor: nothing of the lab is made meanwhile.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::accept::Next;
use super::actor::Actor;
use crate::leftover::{Sweep, Swept, sweep};
use crate::operation::Operation;
use crate::refusal::Refusal;
use crate::task;

impl Actor {
    /// Begins it, unless steps are under way: those may be making what looks like a leftover.
    pub(super) fn sweep(
        &mut self,
        operation: Arc<Operation>,
        things: Sweep,
        report: mpsc::Sender<Swept>,
    ) -> Result<Next, Refusal> {
        if self.execution.is_some() {
            return Err(crate::bulkhead::Busy { name: "lab", limit: 1 }.into());
        }
        let (shared, wish) = (self.shared.clone(), self.wish.clone());
        self.sweeping = Some(task::own(format!("sweep of lab {}", self.name), async move {
            let swept = sweep(shared, wish, things).await;
            // Whoever asked may have gone.
            let _ = report.try_send(swept);
        }));
        Ok(Next::Answer(operation))
    }

    pub(super) fn end_sweep(&mut self) {
        self.sweeping = None;
        // Something may have changed meanwhile.
        self.planned = None;
    }
}
