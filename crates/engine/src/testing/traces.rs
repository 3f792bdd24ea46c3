//! What labs leave behind on a host, as a list.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use netloom_model::{LabName, NodeName};

use crate::driver::{Context, DriverError, ErrorClass};
use crate::leftover::{Trace, Traces};

/// The traces on a host; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct FakeTraces(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    all: Vec<Trace>,
    stuck: BTreeSet<String>,
}

impl FakeTraces {
    /// Leaves one.
    pub fn leave(&self, trace: Trace) {
        self.lock().all.push(trace);
    }

    /// Where they are.
    pub fn places(&self) -> Vec<String> {
        self.lock().all.iter().map(|trace| trace.at.clone()).collect()
    }

    /// From now on what is at this place cannot be removed.
    pub fn stick(&self, at: &str) {
        self.lock().stuck.insert(at.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Traces for FakeTraces {
    async fn look(&self, _: BTreeSet<(LabName, NodeName)>) -> Result<Vec<Trace>, DriverError> {
        Ok(self.lock().all.clone())
    }

    async fn remove(&self, trace: &Trace, _: &Context) -> Result<(), DriverError> {
        let mut kept = self.lock();
        if kept.stuck.contains(&trace.at) {
            return Err(DriverError {
                operation: "remove".into(),
                object: trace.at.clone(),
                backend: "fake".into(),
                cause: "device or resource busy".into(),
                hint: None,
                class: ErrorClass::Transient,
            });
        }
        kept.all.retain(|left| left.at != trace.at);
        Ok(())
    }
}
