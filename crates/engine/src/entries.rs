//! What the host is told of labs: `/etc/hosts` and ssh's configuration. Both are files that others write too, so there is
//! one who writes them, and each time all of it: what is in them follows from what is wanted, whatever was there.
//!
//! Nothing hangs on it. A file that cannot be written is said once, tried again with each look at everything, and fails no
//! lab: its nodes have their addresses all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_model::LabName;
use netloom_plan::Entries;

use crate::desired::{Phase, Wish, Wishes};
use crate::driver::{Context, DriverError};
use crate::fact::Source;
use crate::inventory::Inventory;

/// Where a host is told of labs.
#[async_trait]
pub trait HostFiles: Send + Sync + 'static {
    /// What the threads that it works with have not finished, for whoever supervises them.
    fn backlogs(&self) -> Vec<Backlog> {
        Vec::new()
    }

    /// Makes the host's files say this of labs, and nothing else that is marked as ours but what they say of those for
    /// whom `keeps` is. What is right already is not written. Returns the labs of which they say something that was
    /// kept; goes on after what cannot be written, and says all of it.
    async fn write(&self, told: Told, context: &Context) -> (BTreeSet<LabName>, Vec<DriverError>);
}

/// What a host is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Of each lab.
    pub labs: BTreeMap<LabName, Entries>,
    /// Which others keep what is said of them.
    pub keeps: Keeps,
}

/// The labs of which nothing is wanted, as far as is known, and what the host is told stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeps {
    /// All but those of which it is known that nothing is to remain: not everything has been seen yet.
    AllBut(BTreeSet<LabName>),
    /// Those of which something is there, though nobody wants it: it may be adopted.
    Only(BTreeSet<LabName>),
}

impl Keeps {
    /// Whether this one does.
    pub fn has(&self, lab: &LabName) -> bool {
        match self {
            Self::AllBut(labs) => !labs.contains(lab),
            Self::Only(labs) => labs.contains(lab),
        }
    }
}

/// Keeps what the host is told in step with what is wanted.
#[derive(Clone)]
pub(crate) struct Teller {
    files: Arc<dyn HostFiles>,
    wishes: Wishes,
    inventory: Inventory,
    /// All that have to have been seen before it is known that nothing is there of a lab.
    sources: BTreeSet<Source>,
    /// By lab the hash of what the host was told, or was tried to be.
    told: Arc<ArcSwap<BTreeMap<LabName, String>>>,
    /// What was said to be wrong last.
    wrong: Arc<ArcSwap<Vec<DriverError>>>,
}

/// Of a lab that nobody wants it is only known that there is something.
const KEPT: &str = "kept";

impl Teller {
    pub(crate) fn new(
        files: Arc<dyn HostFiles>,
        wishes: Wishes,
        inventory: Inventory,
        sources: BTreeSet<Source>,
    ) -> Self {
        Self { files, wishes, inventory, sources, told: Arc::default(), wrong: Arc::default() }
    }

    /// The hash of what the host was told of a lab.
    pub(crate) fn told(&self, lab: &LabName) -> Option<String> {
        self.told.load().get(lab).cloned()
    }

    /// Tells all of it. Only the host reconciler calls this, one after the other.
    pub(crate) async fn tell(&self, context: &Context) {
        let all = self.wishes.all();
        let (wanted, unwanted): (Vec<_>, Vec<_>) = all.iter().partition(|(_, wish)| wish.phase == Phase::Run);
        let entries = |wish: &Wish| Entries::of(wish.whole());
        let labs: BTreeMap<LabName, Entries> =
            wanted.iter().filter_map(|(lab, wish)| Some(((*lab).clone(), entries(wish)?))).collect();
        let keeps =
            self.keeps(&all.keys().cloned().collect(), unwanted.iter().map(|(lab, _)| (*lab).clone()).collect());
        let mut told: BTreeMap<LabName, String> =
            labs.iter().map(|(lab, entries)| (lab.clone(), entries.hash())).collect();
        let (kept, wrong) = self.files.write(Told { labs, keeps }, context).await;
        told.extend(kept.into_iter().map(|lab| (lab, KEPT.to_owned())));
        self.told.store(Arc::new(told));
        self.say(wrong);
    }

    fn keeps(&self, wished: &BTreeSet<LabName>, unwanted: BTreeSet<LabName>) -> Keeps {
        let snapshot = self.inventory.snapshot();
        let answers = |source| snapshot.sources.get(source).is_some_and(|state| state.error.is_none());
        if !snapshot.is_complete(&self.sources) || !self.sources.iter().all(answers) {
            return Keeps::AllBut(unwanted);
        }
        Keeps::Only(snapshot.labs.keys().filter(|lab| !wished.contains(*lab)).cloned().collect())
    }

    /// Says what is wrong if it is not what was said last.
    fn say(&self, wrong: Vec<DriverError>) {
        if **self.wrong.load() == wrong {
            return;
        }
        for error in &wrong {
            tracing::warn!(%error, "the host is not told of labs");
        }
        self.wrong.store(Arc::new(wrong));
    }
}
