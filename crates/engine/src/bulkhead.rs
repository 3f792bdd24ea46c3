//! Bulkheads: each owner of work has its own limit, so that a slow one takes nothing from the others.
//!
//! Reconcilers wait in line, first come first served, and bring at most as much as the limit at a time: a lab
//! of a thousand nodes cannot starve a small one. Sessions do not wait: a full bulkhead is `Busy` at once.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit on how much is done at once.
#[derive(Debug, Clone)]
pub struct Bulkhead {
    name: &'static str,
    limit: usize,
    places: Arc<Semaphore>,
}

/// Nothing was free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is busy: {limit} are under way; try again in a moment")]
pub struct Busy {
    /// Whose bulkhead.
    pub name: &'static str,
    /// How much it does at once.
    pub limit: usize,
}

impl Bulkhead {
    /// A bulkhead for `limit` things at once.
    pub fn new(name: &'static str, limit: usize) -> Self {
        Self { name, limit, places: Arc::new(Semaphore::new(limit)) }
    }

    /// How much it does at once.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How much is under way.
    pub fn used(&self) -> usize {
        self.limit - self.places.available_permits()
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Takes a place at once or says that there is none.
    pub fn try_enter(&self) -> Result<OwnedSemaphorePermit, Busy> {
        self.places.clone().try_acquire_owned().map_err(|_| Busy { name: self.name, limit: self.limit })
    }

    /// Waits in line for a place until `deadline`.
    pub async fn enter(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Busy> {
        let place = tokio::time::timeout_at(deadline.into(), self.places.clone().acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or(Busy { name: self.name, limit: self.limit })
    }
}
