//! Whose turn it is: one call at a time on each node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use netloom_engine::{Context, DriverError, ErrorClass, task};
use netloom_model::{LabName, NodeName};

use super::fault::{Backend, Fault};

/// A node of a lab.
pub(super) type Key = (LabName, NodeName);

/// The lines of those that work on nodes.
#[derive(Debug, Default)]
pub(super) struct Turns {
    lines: Mutex<HashMap<Key, Line>>,
}

#[derive(Debug, Default)]
struct Line {
    /// Held by the call that works on the node.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// How many hold it or wait for it.
    places: usize,
}

/// A place in the line of those that work on a node. The last one that leaves takes the line away.
pub(super) struct Place {
    turns: Arc<Turns>,
    key: Key,
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.turns.lines();
        let Some(line) = lines.get_mut(&self.key) else { return };
        line.places -= 1;
        if line.places == 0 {
            lines.remove(&self.key);
        }
    }
}

impl Turns {
    fn lines(&self) -> MutexGuard<'_, HashMap<Key, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many work on a node or wait for it.
    pub(super) fn in_line(&self, key: &Key) -> usize {
        self.lines().get(key).map_or(0, |line| line.places)
    }

    /// Joins the line; the turn itself is waited for by the lock of the place.
    pub(super) fn place(self: &Arc<Self>, key: &Key) -> Place {
        let mut lines = self.lines();
        let line = lines.entry(key.clone()).or_default();
        line.places += 1;
        let turn = Arc::clone(&line.turn);
        drop(lines);
        Place { turns: Arc::clone(self), key: key.clone(), turn }
    }

    async fn run<F>(
        self: &Arc<Self>,
        what: &'static str,
        key: Key,
        context: &Context,
        call: impl FnOnce(Key, Instant) -> F + Send + 'static,
    ) -> Result<(), Fault>
    where
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let (deadline, cancel) = (context.deadline, context.cancel.clone());
        let turns = Arc::clone(self);
        let work = task::spawn(format!("{what} {}/{}", key.0, key.1), async move {
            let place = turns.place(&key);
            let Ok(_turn) = tokio::time::timeout_at(deadline.into(), place.turn.lock()).await else {
                return Err(Fault::from(ErrorClass::Deadline));
            };
            if Instant::now() >= deadline {
                return Err(Fault::from(ErrorClass::Deadline));
            }
            if cancel.is_cancelled() {
                return Err(Fault::from(ErrorClass::Cancelled));
            }
            call(key, deadline).await
        });
        // What has begun is waited for also when it is cancelled: whoever plans next must see what came of it.
        tokio::select! {
            result = work => result.unwrap_or_else(|_| Err(Fault::from(ErrorClass::Transient))),
            () = tokio::time::sleep_until(deadline.into()) => Err(ErrorClass::Deadline.into()),
        }
    }
}

/// A runtime in which one call at a time works on each node.
pub(super) trait InTurns: Send + Sync + Sized + 'static {
    /// Its name in errors.
    const BACKEND: Backend;

    /// The lines of its nodes.
    fn turns(&self) -> &Arc<Turns>;

    /// Runs a call about a node as a task of its own, after those before it: a caller that gives up does not leave
    /// it half done.
    async fn in_turn<F>(
        self: &Arc<Self>,
        what: &'static str,
        key: Key,
        context: &Context,
        call: impl FnOnce(Arc<Self>, Key, Instant) -> F + Send + 'static,
    ) -> Result<(), DriverError>
    where
        F: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let (object, shared) = (format!("node {}", key.1), Arc::clone(self));
        let call = move |key, deadline| call(shared, key, deadline);
        self.turns().run(what, key, context, call).await.map_err(|fault| fault.of(Self::BACKEND, what, &object))
    }
}
