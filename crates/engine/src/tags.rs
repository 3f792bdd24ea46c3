//! The tags that links are allotted on the switch of the host.
//!
//! A tag is claimed on the switch first, so that nobody else on the same bridge has it; then it is noted in the store, so
//! that the link has it again when the switch has forgotten everything; and only then it is used.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netloom_model::{LabName, LinkId};

use crate::desired::put;
use crate::driver::{Store, StoreError, Write};

/// What each link of a lab was allotted.
pub(crate) type LabTags = BTreeMap<LinkId, u16>;

/// The tags of all labs, as the store has them.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    labs: Mutex<BTreeMap<LabName, LabTags>>,
    /// What was proposed for segments that have none; in memory alone, until they are claimed.
    proposed: Mutex<BTreeMap<LabName, LabTags>>,
}

impl Tags {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LabName, LabTags>> {
        self.labs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, lab: &LabName) -> LabTags {
        self.lock().get(lab).cloned().unwrap_or_default()
    }

    /// See [`crate::Engine::propose_tag`].
    pub(crate) fn propose(&self, lab: &LabName, segment: &LinkId, tag: u16) {
        if self.lock().get(lab).is_none_or(|tags| !tags.contains_key(segment)) {
            let mut proposed = self.proposed.lock().unwrap_or_else(PoisonError::into_inner);
            proposed.entry(lab.clone()).or_default().insert(segment.clone(), tag);
        }
    }

    /// What was proposed for a segment, once.
    pub(crate) fn take_proposed(&self, lab: &LabName, segment: &LinkId) -> Option<u16> {
        let mut proposed = self.proposed.lock().unwrap_or_else(PoisonError::into_inner);
        let of_lab = proposed.get_mut(lab)?;
        let tag = of_lab.remove(segment);
        if of_lab.is_empty() {
            proposed.remove(lab);
        }
        tag
    }

    /// Takes over what the store has of a lab now.
    pub(crate) fn set(&self, lab: &LabName, tags: LabTags) {
        if tags.is_empty() {
            self.lock().remove(lab);
        } else {
            self.lock().insert(lab.clone(), tags);
        }
    }
}

/// The write that has the store note the tags of a lab.
pub(crate) fn note(lab: &LabName, tags: &LabTags) -> Write {
    if tags.is_empty() { Write::Delete { key: key(lab) } } else { put(key(lab), tags) }
}

/// What the store has of all labs.
pub(crate) async fn load(store: &dyn Store) -> Result<Tags, StoreError> {
    let tags = Tags::default();
    for (key, value) in store.list(PREFIX).await? {
        let lab = key.strip_prefix(PREFIX).and_then(|lab| lab.parse().ok());
        // What cannot be read is allotted anew, at worst as other tags: the switch knows whose each is.
        if let (Some(lab), Ok(of)) = (lab, serde_json::from_slice(&value)) {
            tags.set(&lab, of);
        }
    }
    Ok(tags)
}

const PREFIX: &str = "tags/";

fn key(lab: &LabName) -> String {
    format!("{PREFIX}{lab}")
}
