//! What a host is told of labs, as a map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use netloom_model::LabName;
use netloom_plan::Entries;

use crate::driver::{Context, DriverError, ErrorClass};
use crate::entries::{HostFiles, Told};

/// The files of a host; clones are the same ones.
#[derive(Debug, Clone, Default)]
pub struct FakeHostFiles(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    labs: BTreeMap<LabName, Entries>,
    read_only: bool,
}

impl FakeHostFiles {
    /// What they say, by lab.
    pub fn labs(&self) -> BTreeMap<LabName, Entries> {
        self.lock().labs.clone()
    }

    /// Somebody else writes them: nothing of ours is in them any more.
    pub fn wipe(&self) {
        self.lock().labs.clear();
    }

    /// From now on they cannot be written.
    pub fn make_read_only(&self) {
        self.lock().read_only = true;
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl HostFiles for FakeHostFiles {
    async fn write(&self, told: Told, _: &Context) -> (BTreeSet<LabName>, Vec<DriverError>) {
        let mut written = self.lock();
        let kept = written.labs.keys().filter(|lab| !told.labs.contains_key(*lab) && told.keeps.has(lab));
        let kept: BTreeSet<LabName> = kept.cloned().collect();
        if written.read_only {
            let wrong = DriverError {
                operation: "write".into(),
                object: "/etc/hosts".into(),
                backend: "fake".into(),
                cause: "read-only file system".into(),
                hint: None,
                class: ErrorClass::Permanent,
            };
            return (kept, vec![wrong]);
        }
        written.labs.retain(|lab, _| kept.contains(lab));
        written.labs.extend(told.labs);
        (kept, Vec::new())
    }
}
