//! Whether somebody wants the links of this host changed: known to the fabric, and of use to whoever is about to keep
//! the kernel busy.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long after a change the next one is expected: a person or a program at work sends one after the other.
const RECENT: Duration = Duration::from_millis(150);

/// When links were last changed; clones are handles on the same.
#[derive(Debug, Clone, Default)]
pub struct Demand(Arc<Mutex<Option<Instant>>>);

impl Demand {
    /// Notes that links are changed now.
    pub(crate) fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether they are changed now, or were just now.
    pub(crate) fn is_there(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < RECENT)
    }
}
