//! A copy of chosen columns that follows the server.
//!
//! ```text
//!   task `ovsdb client` ──▶ Writer: Replica (pure) ──▶ watch: Snapshot ──────────▶ Mirror::snapshot, wait-free
//!                                                  ──▶ Registry: who waits ──────▶ Watch, Mirror::wait_until
//!                                                  ──[bounded broadcast]─────────▶ Subscription (told when it lags)
//! ```
//!
//! One message of the server is one snapshot, so a transaction is seen whole or not at all. While there is no session the
//! last snapshot stays; [`crate::Client::state`] says that it may be old. After it a server that cannot go on where it
//! was (a standalone one never can) tells everything anew; what is seen of that is only what has changed.

mod change;
mod interest;
mod replica;
mod snapshot;
#[cfg(test)]
mod tests;
mod update;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout_at};

pub use change::{Changes, RowChange};
pub use interest::Interest;
use interest::{Registry, Waiter};
pub use replica::{Desync, Replica, Rows};
pub use snapshot::Snapshot;
pub use update::Updates;

use crate::error::{Error, Result};

/// What is mirrored, to read and to wait for. Clones share it.
#[derive(Debug, Clone)]
pub struct Mirror {
    current: watch::Receiver<Snapshot>,
    registry: Arc<Registry>,
    fills: Arc<AtomicU64>,
    changes: broadcast::WeakSender<Arc<Changes>>,
}

/// The side of the mirror that writes. When it is dropped all who wait are told that nothing comes any more.
#[derive(Debug)]
pub(crate) struct Writer {
    replica: Replica,
    current: watch::Sender<Snapshot>,
    registry: Arc<Registry>,
    fills: Arc<AtomicU64>,
    changes: broadcast::Sender<Arc<Changes>>,
}

impl Writer {
    /// An empty mirror; a subscription may lag so many versions behind.
    pub(crate) fn new(lag: usize) -> (Self, Mirror) {
        let (current, snapshots) = watch::channel(Snapshot::new(0, BTreeMap::new()));
        let (changes, _) = broadcast::channel(lag.max(1));
        let registry = Arc::<Registry>::default();
        let fills = Arc::<AtomicU64>::default();
        let mirror = Mirror {
            current: snapshots,
            registry: registry.clone(),
            fills: fills.clone(),
            changes: changes.downgrade(),
        };
        (Self { replica: Replica::new(BTreeMap::new()), current, registry, fills, changes }, mirror)
    }

    /// Applies an update of the server, or nothing of it.
    pub(crate) fn apply(&mut self, updates: Updates) -> Result<(), Desync> {
        let changes = self.replica.apply(updates)?;
        self.publish(changes);
        Ok(())
    }

    /// Takes another replica's rows; those who read and wait see what is different.
    pub(crate) fn replace(&mut self, fresh: Replica) {
        self.fills.fetch_add(1, Ordering::Relaxed);
        let changes = self.replica.become_like(fresh);
        self.publish(changes);
    }

    fn publish(&mut self, rows: Vec<RowChange>) {
        let version = self.current.borrow().version();
        if rows.is_empty() && version > 0 {
            return;
        }
        let version = version + 1;
        // First what can be read, then who reads it.
        self.current.send_replace(Snapshot::new(version, self.replica.tables().clone()));
        self.registry.wake(&rows);
        // Without subscriptions nobody takes it.
        let _ = self.changes.send(Arc::new(Changes { version, rows }));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.registry.close();
    }
}

impl Mirror {
    /// All that is mirrored, as it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.current.borrow().clone()
    }

    /// Waits until the first session has filled the mirror.
    pub async fn filled(&self, deadline: Instant) -> Result<Snapshot> {
        let mut current = self.current.clone();
        let filled = timeout_at(deadline, current.wait_for(|snapshot| snapshot.version() > 0)).await;
        match filled.map_err(|_| Error::Deadline)? {
            Ok(snapshot) => Ok(snapshot.clone()),
            Err(_) => Err(Error::Dropped),
        }
    }

    /// How often the server has told everything anew: once at first, and again in each session that could not go on where
    /// the last one was.
    pub fn fills(&self) -> u64 {
        self.fills.load(Ordering::Relaxed)
    }

    /// Begins to watch for changes.
    pub fn watch(&self, interests: impl IntoIterator<Item = Interest>) -> Watch {
        Watch { current: self.current.clone(), waiter: self.registry.register(interests) }
    }

    /// Waits until something can be made of a snapshot. It is tried with the present one, and again after each change of
    /// interest, and no other. Dropped, nothing stays behind.
    pub async fn wait_until<T>(
        &self,
        interests: impl IntoIterator<Item = Interest>,
        deadline: Instant,
        mut made: impl FnMut(&Snapshot) -> Option<T>,
    ) -> Result<T> {
        let watch = self.watch(interests);
        loop {
            if let Some(made) = made(&self.snapshot()) {
                return Ok(made);
            }
            watch.changed(deadline).await?;
        }
    }

    /// Subscribes to all changes from now on. Read the snapshot after it: changes that it has already may come again.
    pub fn subscribe(&self) -> Subscription {
        Subscription { queue: self.changes.upgrade().map(|changes| changes.subscribe()) }
    }
}

/// Somebody who watches for changes.
#[derive(Debug)]
pub struct Watch {
    current: watch::Receiver<Snapshot>,
    waiter: Waiter,
}

impl Watch {
    /// Waits for a change of interest since it was made, or last returned; gives the present snapshot, which may be of
    /// a later change yet. Cancel-safe.
    pub async fn changed(&self, deadline: Instant) -> Result<Snapshot> {
        match timeout_at(deadline, self.waiter.woken()).await {
            Ok(true) => Ok(self.current.borrow().clone()),
            Ok(false) => Err(Error::Dropped),
            Err(_) => Err(Error::Deadline),
        }
    }
}

/// All changes, one after the other.
#[derive(Debug)]
pub struct Subscription {
    /// `None` where the mirror's client was gone from the beginning.
    queue: Option<broadcast::Receiver<Arc<Changes>>>,
}

/// What comes next in a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Changes.
    Changes(Arc<Changes>),
    /// So many versions were lost because they were not read in time. Read the snapshot; what comes then is whole again,
    /// and may be in that snapshot already.
    Lagged(u64),
}

impl Subscription {
    /// What comes next; `None` when the client was dropped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Next> {
        match self.queue.as_mut()?.recv().await {
            Ok(changes) => Some(Next::Changes(changes)),
            Err(RecvError::Lagged(versions)) => Some(Next::Lagged(versions)),
            Err(RecvError::Closed) => None,
        }
    }
}
