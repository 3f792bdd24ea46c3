//! A change that the agent may not live to end: noted before it begins, forgotten when it has ended, and taken back by the next
//! life of the agent that finds it.

use netloom_failpoint::point;
use tokio::time::Instant;

use super::TransportError;
use super::change::{Change, Host};
use super::kept::{Asked, Undo, write, write_undo};
use super::plan::HostView;
use super::task::{Said, Task};

impl Task {
    /// Takes back the change in the middle of which an earlier life of the agent has ended.
    pub(super) async fn recover(&mut self) {
        let Some(Undo { boot, change: Change { steps, routes }, asked }) = self.undo.take() else { return };
        let mut writes = vec![write_undo(None)];
        let left = if boot == self.boot {
            self.host.undo(&steps.iter().collect::<Vec<_>>(), &routes).await
        } else {
            Vec::new()
        };
        if let Some(Asked { interface, former }) = asked {
            writes.push(write(&interface, former.as_ref()));
            if let Some(record) = self.records.remove(&interface).filter(|_| former.is_none()) {
                // What could not be taken back is cleared away later.
                self.leaving.extend((!left.is_empty()).then(|| (interface.clone(), record.uplink)));
            }
            self.records.extend(former.map(|former| (interface, former)));
        }
        tracing::warn!(?left, "a change of the host's interfaces that the agent did not end was taken back");
        let _ = self.ledger.keep(writes).await;
    }

    /// What takes a change back, should the agent end in the middle of it.
    pub(super) fn undo_of(&self, change: &Change, asked: Option<Asked>) -> Undo {
        Undo { boot: self.boot.clone(), change: change.clone(), asked }
    }

    /// Makes a change for what is wanted anyway, and notes for so long how to take them back. A store that cannot note it does not
    /// keep the host from being as it is wanted.
    pub(super) async fn carry_out(
        &self,
        change: &Change,
        view: &HostView,
        operation: &mut Option<Said>,
        deadline: Instant,
    ) -> Result<(), TransportError> {
        let operation = Said::begin(operation, &self.journal);
        let _ = self.ledger.write(vec![write_undo(Some(&self.undo_of(change, None)))]).await;
        let done = self.host.carry_out(change, view, operation.as_deref(), deadline).await;
        let _ = self.ledger.keep(vec![write_undo(None)]).await;
        done.map(drop)
    }

    /// From now on what was done stays, also when the agent ends. It is taken back if that cannot be stored.
    pub(super) async fn conclude(&self, host: &Host, change: &Change) -> Result<(), TransportError> {
        point!("transport.before-store");
        let stored = self.ledger.write(vec![write_undo(None)]).await;
        let Err(error) = stored else {
            point!("transport.stored");
            return Ok(());
        };
        Err(host.take_back(&change.steps.iter().collect::<Vec<_>>(), &change.routes, error.into()).await)
    }
}
