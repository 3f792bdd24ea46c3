//! For which labs something is under way, so that it can be written down before the process may die of it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

use netloom_model::LabName;

/// The labs that are worked for; clones are the same. Nobody waits for anything holding its lock.
#[derive(Debug, Clone, Default)]
pub struct Work(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    labs: BTreeSet<LabName>,
    told: Option<Thread>,
}

impl Work {
    /// The labs that are worked for now.
    pub fn labs(&self) -> BTreeSet<LabName> {
        self.lock().labs.clone()
    }

    /// Has a thread unparked whenever that changes.
    pub fn tell(&self, thread: Thread) {
        self.lock().told = Some(thread);
    }

    /// The part of one lab.
    pub(crate) fn of(&self, lab: &LabName) -> LabWork {
        LabWork { work: self.clone(), lab: lab.clone(), is_under_way: false }
    }

    fn set(&self, lab: &LabName, is_under_way: bool) {
        let mut state = self.lock();
        let changed = if is_under_way { state.labs.insert(lab.clone()) } else { state.labs.remove(lab) };
        if let Some(thread) = state.told.as_ref().filter(|_| changed) {
            thread.unpark();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something is under way for one lab; nothing is any more when this is dropped.
#[derive(Debug)]
pub(crate) struct LabWork {
    work: Work,
    lab: LabName,
    is_under_way: bool,
}

impl LabWork {
    pub(crate) fn begin(&mut self) {
        self.set(true);
    }

    pub(crate) fn end(&mut self) {
        self.set(false);
    }

    fn set(&mut self, is_under_way: bool) {
        if self.is_under_way != is_under_way {
            self.is_under_way = is_under_way;
            self.work.set(&self.lab, is_under_way);
        }
    }
}

impl Drop for LabWork {
    fn drop(&mut self) {
        self.end();
    }
}
