//! How labs stand: what is wanted, what is seen, and what the agent remembers of them, put together for who looks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use netloom_model::{LabName, NodeName, RuntimeKind};
use netloom_plan::StepId;
use serde::{Deserialize, Serialize};

use crate::desired::Done;
use crate::engine::{Engine, Shared};
use crate::snapshot::Snapshot;
use crate::view::LabView;

/// What the agent remembers of a lab, which shows in nothing that is there now.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// What was done once for its nodes.
    pub done: BTreeMap<NodeName, Done>,
    /// Which life the host has ([`crate::Runtime::boot`]).
    pub boot: String,
    /// What fails of it.
    pub troubles: Vec<Trouble>,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// The step.
    pub step: StepId,
    /// What went wrong with what, why, and what to do.
    pub cause: String,
    /// When it is, or was, tried again. `None`: not before the lab is changed or deployed once more.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::time::option")]
    pub again: Option<SystemTime>,
}

/// What fails of each lab, as its actor says; nothing of labs that are well.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    labs: Mutex<BTreeMap<LabName, Vec<Trouble>>>,
}

impl Troubles {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LabName, Vec<Trouble>>> {
        self.labs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, lab: &LabName) -> Vec<Trouble> {
        self.lock().get(lab).cloned().unwrap_or_default()
    }

    pub(crate) fn set(&self, lab: &LabName, troubles: Vec<Trouble>) {
        if troubles.is_empty() {
            self.lock().remove(lab);
        } else {
            self.lock().insert(lab.clone(), troubles);
        }
    }
}

impl Shared {
    /// A lab as it is in one snapshot; `None` when it is neither wanted nor there.
    pub(crate) fn view(&self, lab: &LabName, snapshot: &Snapshot) -> Option<LabView> {
        let standing = Standing { done: self.done.of(lab), boot: self.boot(), troubles: self.troubles.of(lab) };
        let view = LabView::of(lab, self.wishes.get(lab).as_deref(), &standing, snapshot)?;
        Some(view.with_pause(&self.pauses))
    }

    /// Which life the host has.
    pub(crate) fn boot(&self) -> String {
        self.runtimes.get(&RuntimeKind::Namespace).and_then(|runtime| runtime.boot()).unwrap_or_default()
    }

    /// The labs that are wanted or there.
    pub(crate) fn lab_names(&self, snapshot: &Snapshot) -> BTreeSet<LabName> {
        self.wishes.all().keys().chain(snapshot.labs.keys()).cloned().collect()
    }
}

impl Engine {
    /// A lab as it is now; `None` when it is neither wanted nor there. Never waits.
    pub fn view(&self, lab: &LabName) -> Option<LabView> {
        self.shared.view(lab, &self.shared.inventory.snapshot())
    }

    /// All labs that are wanted or there, by name, from one snapshot. Never waits.
    pub fn views(&self) -> Vec<LabView> {
        let snapshot = self.shared.inventory.snapshot();
        self.shared.lab_names(&snapshot).iter().filter_map(|lab| self.shared.view(lab, &snapshot)).collect()
    }
}
