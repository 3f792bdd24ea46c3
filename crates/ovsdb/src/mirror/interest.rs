//! Who is woken by which change.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::change::RowChange;
use crate::value::Uuid;

/// Changes that somebody wants to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interest {
    table: Arc<str>,
    row: Option<Uuid>,
    /// `None`: any.
    columns: Option<BTreeSet<Arc<str>>>,
}

impl Interest {
    /// All changes of a table.
    pub fn table(table: impl Into<Arc<str>>) -> Self {
        Self { table: table.into(), row: None, columns: None }
    }

    /// All changes of a row; that it comes and goes, too.
    pub fn row(table: impl Into<Arc<str>>, uuid: Uuid) -> Self {
        Self { table: table.into(), row: Some(uuid), columns: None }
    }

    /// Only changes of these columns, and rows that come and go.
    #[must_use]
    pub fn columns<C: Into<Arc<str>>>(mut self, columns: impl IntoIterator<Item = C>) -> Self {
        self.columns = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    fn is_met_by(&self, change: &RowChange) -> bool {
        self.columns.as_ref().is_none_or(|columns| columns.iter().any(|column| change.touches(column)))
    }
}

/// All interests, by table and row. A change costs as much as there are interests in its row and its table.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    interests: HashMap<(Arc<str>, Option<Uuid>), Vec<Entry>>,
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    waiter: u64,
    interest: Interest,
    wake: Arc<Notify>,
}

/// Somebody who waits for changes. One that comes while nobody waits is kept, as one.
#[derive(Debug)]
pub(super) struct Waiter {
    registry: Arc<Registry>,
    id: u64,
    keys: Vec<(Arc<str>, Option<Uuid>)>,
    wake: Arc<Notify>,
}

impl Registry {
    pub(super) fn register(self: &Arc<Self>, interests: impl IntoIterator<Item = Interest>) -> Waiter {
        let wake = Arc::new(Notify::new());
        let mut inner = self.lock();
        let id = inner.next;
        inner.next += 1;
        let mut keys = Vec::new();
        for interest in interests {
            let key = (interest.table.clone(), interest.row);
            let entry = Entry { waiter: id, interest, wake: wake.clone() };
            inner.interests.entry(key.clone()).or_default().push(entry);
            keys.push(key);
        }
        drop(inner);
        Waiter { registry: self.clone(), id, keys, wake }
    }

    /// Wakes those who want to know of these changes.
    pub(super) fn wake(&self, changes: &[RowChange]) {
        let inner = self.lock();
        if inner.interests.is_empty() {
            return;
        }
        for change in changes {
            for row in [None, Some(change.uuid)] {
                let entries = inner.interests.get(&(change.table.clone(), row)).into_iter().flatten();
                for entry in entries.filter(|entry| entry.interest.is_met_by(change)) {
                    entry.wake.notify_one();
                }
            }
        }
    }

    /// There will be no more changes.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        inner.interests.values().flatten().for_each(|entry| entry.wake.notify_one());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().interests.values().map(|entries| 1 + entries.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Waits for a change; says whether there can be another one. Cancel-safe.
    pub(super) async fn woken(&self) -> bool {
        if self.registry.lock().closed {
            return false;
        }
        self.wake.notified().await;
        !self.registry.lock().closed
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut inner = self.registry.lock();
        for key in &self.keys {
            if let Some(entries) = inner.interests.get_mut(key) {
                entries.retain(|entry| entry.waiter != self.id);
                if entries.is_empty() {
                    inner.interests.remove(key);
                }
            }
        }
    }
}
