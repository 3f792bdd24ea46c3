//! Whose turn it is: what is remembered of each node, and one call at a time on it.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

use netloom_engine::{Context, DriverError, ErrorClass, task};
use netloom_kernel::Identity;

use super::fault::Fault;
use super::{Key, Shared};

/// What is remembered of a node while this agent lives; nothing of it is state of the node.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Held by the call that works on the node.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// How many hold it or wait for it.
    pub(super) places: usize,
    /// The init whose end is waited for.
    pub(super) watched: Option<Identity>,
}

/// A place in the line of those that work on a node. The last one that leaves removes the entry, unless the node is
/// watched.
pub(super) struct Place {
    shared: Arc<Shared>,
    key: Key,
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut entries = self.shared.entries();
        let Some(entry) = entries.get_mut(&self.key) else { return };
        entry.places -= 1;
        if entry.places == 0 && entry.watched.is_none() {
            entries.remove(&self.key);
        }
    }
}

impl Shared {
    pub(super) fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the line; the turn itself is waited for by the lock of the place.
    pub(super) fn place(self: &Arc<Self>, key: &Key) -> Place {
        let mut entries = self.entries();
        let entry = entries.entry(key.clone()).or_default();
        entry.places += 1;
        let turn = Arc::clone(&entry.turn);
        drop(entries);
        Place { shared: Arc::clone(self), key: key.clone(), turn }
    }

    /// Runs a call about a node as a task of its own, after those before it: a caller that gives up does not leave
    /// it half done.
    pub(super) async fn in_turn<F>(
        self: &Arc<Self>,
        what: &'static str,
        key: Key,
        context: &Context,
        call: impl FnOnce(Arc<Self>, Key, Instant) -> F + Send + 'static,
    ) -> Result<(), DriverError>
    where
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let object = format!("node {}", key.1);
        let (deadline, cancel) = (context.deadline, context.cancel.clone());
        let shared = Arc::clone(self);
        let work = task::spawn(format!("{what} {}/{}", key.0, key.1), async move {
            let place = shared.place(&key);
            let Ok(_turn) = tokio::time::timeout_at(deadline.into(), place.turn.lock()).await else {
                return Err(Fault::from(ErrorClass::Deadline));
            };
            if Instant::now() >= deadline {
                return Err(Fault::from(ErrorClass::Deadline));
            }
            if cancel.is_cancelled() {
                return Err(Fault::from(ErrorClass::Cancelled));
            }
            call(shared, key, deadline).await
        });
        // What has begun is waited for also when it is cancelled: whoever plans next must see what came of it.
        let result = tokio::select! {
            result = work => result.unwrap_or_else(|_| Err(Fault::from(ErrorClass::Transient))),
            () = tokio::time::sleep_until(deadline.into()) => Err(ErrorClass::Deadline.into()),
        };
        result.map_err(|fault| fault.of(what, &object))
    }
}
