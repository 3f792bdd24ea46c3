//! What is noted of a limit that was raised.

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::LabName;
use netloom_plan::{Limit, Need};
use serde::{Deserialize, Serialize};

use super::Records;
use crate::driver::{Store, StoreError};

const PREFIX: &str = "limits/";

/// A limit that was raised: which sysctls, and for which labs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Raised {
    /// The labs that asked for it.
    pub(super) labs: BTreeSet<LabName>,
    /// By the sysctl's name.
    pub(super) settings: BTreeMap<String, Setting>,
}

/// One sysctl that was raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setting {
    /// What it was before.
    pub(super) former: u64,
    /// What we have set it to, or were about to when the process ended.
    pub(super) ours: BTreeSet<u64>,
}

impl Setting {
    pub(super) fn of(former: u64) -> Self {
        Self { former, ours: BTreeSet::new() }
    }

    /// It is raised from its present value to a higher one.
    pub(super) fn raise(&mut self, present: u64, value: u64) {
        if present != self.former && !self.ours.contains(&present) {
            // Somebody else has set it meanwhile: that is what it goes back to.
            *self = Self::of(present);
        }
        self.ours.insert(value);
    }

    /// What we have raised it to.
    pub(super) fn value(&self) -> u64 {
        self.ours.last().copied().unwrap_or(self.former)
    }

    pub(super) fn is_ours(&self, present: u64) -> bool {
        self.ours.contains(&present)
    }
}

impl Raised {
    /// Whether nobody who asked for it is left and those who remain fit the former value.
    pub(super) fn is_unneeded(&self, limit: Limit, remaining: &Need) -> bool {
        let former = limit.sysctl().and_then(|sysctl| self.settings.get(sysctl)).map(|setting| setting.former);
        self.labs.is_empty() && former.is_none_or(|former| remaining.amount(limit) <= former)
    }
}

/// `limits/neighbours-v4`
pub(super) fn key(limit: Limit) -> String {
    let name = serde_json::to_value(limit).ok().and_then(|name| name.as_str().map(str::to_owned));
    format!("{PREFIX}{}", name.expect("a plain enum is a word"))
}

pub(crate) async fn load(store: &dyn Store) -> Result<Records, StoreError> {
    let mut records = Records::new();
    for (key, value) in store.list(PREFIX).await? {
        let name = key.strip_prefix(PREFIX).unwrap_or_default();
        let limit = serde_json::from_value(serde_json::Value::from(name));
        match (limit, serde_json::from_slice(&value)) {
            (Ok(limit), Ok(record)) => {
                records.insert(limit, record);
            }
            // It stays in the store for the version that wrote it.
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(%key, %error, "the note of a raised limit cannot be read; the limit stays as it is");
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_has_set_becomes_the_former_value() {
        let mut setting = Setting::of(1024);
        setting.raise(1024, 4096);
        setting.raise(4096, 8192);
        assert_eq!((setting.former, setting.value()), (1024, 8192));
        assert!(setting.is_ours(4096) && !setting.is_ours(1024));
        setting.raise(16384, 32768);
        assert_eq!(setting, Setting { former: 16384, ours: BTreeSet::from([32768]) });
        // A crash before the change: the value is still the former one.
        setting.raise(16384, 65536);
        assert_eq!((setting.former, setting.value()), (16384, 65536));
    }

    #[test]
    fn the_note_has_a_readable_key() {
        assert_eq!(key(Limit::NeighboursV4), "limits/neighbours-v4");
    }
}
