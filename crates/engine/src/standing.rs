//! How labs stand: what is wanted, what is seen, and what the agent remembers of them, put together for who looks.

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{LabName, NodeName, RuntimeKind};

use crate::desired::Done;
use crate::engine::{Engine, Shared};
use crate::inventory::Snapshot;
use crate::view::LabView;

/// What the agent remembers of a lab, which shows in nothing that is there now.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// What was done once for its nodes.
    pub done: BTreeMap<NodeName, Done>,
    /// Which life the host has ([`crate::Runtime::boot`]).
    pub boot: String,
}

impl Shared {
    /// A lab as it is in one snapshot; `None` when it is neither wanted nor there.
    pub(crate) fn view(&self, lab: &LabName, snapshot: &Snapshot) -> Option<LabView> {
        let standing = Standing { done: self.done.of(lab), boot: self.boot() };
        let view = LabView::of(lab, self.wishes.get(lab).as_deref(), &standing, snapshot);
        view.map(|view| view.with_pause(&self.pauses))
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
