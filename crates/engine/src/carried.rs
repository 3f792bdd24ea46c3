//! What the interfaces of labs have carried, for whoever asks once and does not watch.
//!
//! ```text
//!   question ──▶ last reading, if it is young ──▶ answer
//!       └──────▶ task, one a lab ──▶ Fabric::counters ──▶ last reading ──▶ the same answer, or the next one
//!   sampler ────────────────────────────────────────────────▶ ▲
//! ```
//!
//! A question starts a reading and waits for it a moment. When the kernel takes longer, it is answered with what was read
//! before, and the reading is there for the next one. Nothing is read that nobody asks for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use netloom_model::LabName;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::driver::{Context, DriverError};
use crate::engine::{Engine, Shared};
use crate::fact::{Place, PortFact};
use crate::lab::within;
use crate::rates::Count;
use crate::sampler;
use crate::task;

/// How old a reading may be to be the answer at once.
const YOUNG: Duration = Duration::from_secs(1);

/// What the interfaces of a lab had carried at a moment.
#[derive(Debug, Default)]
pub struct Carried {
    /// What came in and what went out, by the place and the index of the interface.
    pub(crate) ports: HashMap<(Place, u32), (Count, Count)>,
}

impl Carried {
    /// What came in and what went out by an interface since it was made; `None` if it was not there.
    pub fn by(&self, port: &PortFact) -> Option<(Count, Count)> {
        self.ports.get(&(port.place.clone(), port.ifindex)).copied()
    }
}

/// What was read last of each lab.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    labs: Mutex<BTreeMap<LabName, Tally>>,
}

#[derive(Debug, Default)]
struct Tally {
    last: Option<(Instant, Arc<Carried>)>,
    /// Closed when the reading under way has ended, however it did.
    reading: Option<watch::Receiver<()>>,
}

/// What there is for a question.
enum Found {
    /// A reading that is young.
    Young(Arc<Carried>),
    /// One is under way.
    UnderWay(watch::Receiver<()>),
    /// One has to be begun, which holds this.
    Old(watch::Sender<()>, watch::Receiver<()>),
}

impl Tallies {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LabName, Tally>> {
        self.labs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, lab: &LabName) -> Found {
        let mut labs = self.lock();
        let tally = labs.entry(lab.clone()).or_default();
        if let Some((_, last)) = tally.last.as_ref().filter(|(at, _)| at.elapsed() <= YOUNG) {
            return Found::Young(last.clone());
        }
        if let Some(reading) = tally.reading.as_ref().filter(|reading| reading.has_changed().is_ok()) {
            return Found::UnderWay(reading.clone());
        }
        let (sender, reading) = watch::channel(());
        tally.reading = Some(reading.clone());
        Found::Old(sender, reading)
    }

    fn last(&self, lab: &LabName) -> Option<Arc<Carried>> {
        self.lock().get(lab)?.last.as_ref().map(|(_, last)| last.clone())
    }

    fn put(&self, lab: &LabName, carried: Arc<Carried>) {
        self.lock().entry(lab.clone()).or_default().last = Some((Instant::now(), carried));
    }

    fn forget(&self, is_there: impl Fn(&LabName) -> bool) {
        self.lock().retain(|lab, _| is_there(lab));
    }
}

/// Reads the counters of a lab, and keeps them for who asks next.
pub(crate) async fn read(shared: &Shared, lab: &LabName, context: &Context) -> Result<Arc<Carried>, DriverError> {
    let object = format!("lab {lab}");
    let counters = within(context, &object, shared.fabric.counters(lab, context)).await?;
    let ports = counters.into_iter().map(|port| ((port.place, port.ifindex), (port.rx, port.tx))).collect();
    let carried = Arc::new(Carried { ports });
    shared.tallies.put(lab, carried.clone());
    shared.tallies.forget(|lab| shared.wishes.get(lab).is_some());
    Ok(carried)
}

impl Engine {
    /// What the interfaces of a lab have carried: read within the last second, or as it was read before where the kernel
    /// takes longer than `patience`, or too much else is asked of nodes. `None` if it was never read.
    pub async fn carried(&self, lab: &LabName, patience: Duration) -> Option<Arc<Carried>> {
        let shared = &self.shared;
        shared.wishes.get(lab)?;
        let limit = Instant::now() + patience;
        let mut reading = match shared.tallies.find(lab) {
            Found::Young(last) => return Some(last),
            Found::UnderWay(reading) => reading,
            Found::Old(under_way, reading) => {
                self.begin_reading(lab, under_way);
                reading
            }
        };
        let read = async { while reading.changed().await.is_ok() {} };
        let _ = timeout_at(limit, read).await;
        shared.tallies.last(lab)
    }

    /// Reads in a task of its own, which whoever asked may outlive or not.
    fn begin_reading(&self, lab: &LabName, under_way: watch::Sender<()>) {
        let Ok(place) = self.shared.sessions.try_enter() else { return };
        let (shared, lab) = (self.shared.clone(), lab.clone());
        task::spawn(format!("counters of lab {lab}"), async move {
            if let Err(error) = read(&shared, &lab, &sampler::look_of(&shared)).await {
                tracing::debug!(%lab, %error, "what its interfaces have carried could not be read");
            }
            drop((place, under_way));
        });
    }
}
