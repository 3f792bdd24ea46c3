//! Samplers: they look at counters as long as somebody watches, and not a moment longer.
//!
//! ```text
//!   watcher ─┐                      ┌─▶ Fabric::counters
//!   watcher ─┴◀─watch── task ──look─┤
//!                       (one a lab  └─▶ Runtime::usage
//!                        and period)
//! ```
//!
//! A task ends with its last watcher. Without one there is no task, no timer and no look.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use netloom_model::LabName;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::carried;
use crate::driver::{Context, DriverError};
use crate::engine::Shared;
use crate::lab::within;
use crate::rates::{Rates, Reading};
use crate::task;

/// How often one may look.
pub const FASTEST: Duration = Duration::from_millis(200);
/// How seldom one may look.
pub const SLOWEST: Duration = Duration::from_secs(60);
/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);
/// How many labs are looked at at once, where all are.
const LABS_AT_ONCE: usize = 8;

/// The rates of a lab, or of all when none is named. `None` at first; closed when the lab is gone or the engine stops.
pub type Sampled = Option<Arc<Vec<Rates>>>;

/// Which labs, and how often.
type Key = (Option<LabName>, Duration);

/// Those that run.
#[derive(Debug, Default)]
pub(crate) struct Samplers {
    running: Mutex<BTreeMap<Key, watch::Sender<Sampled>>>,
    looks: AtomicU64,
}

impl Samplers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, watch::Sender<Sampled>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it was looked at a lab since the engine was started.
    pub(crate) fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }

    /// How many run.
    pub(crate) fn running(&self) -> usize {
        self.lock().len()
    }
}

/// Joins the sampler of a lab, or of all; starts it if there is none.
pub(crate) fn join(shared: &Arc<Shared>, lab: Option<LabName>, every: Duration) -> watch::Receiver<Sampled> {
    let key = (lab, every.clamp(FASTEST, SLOWEST));
    let mut running = shared.samplers.lock();
    if let Some(sender) = running.get(&key) {
        return sender.subscribe();
    }
    let (sender, receiver) = watch::channel(None);
    running.insert(key.clone(), sender.clone());
    drop(running);
    let name = key.0.as_ref().map_or("all labs".to_owned(), |lab| format!("lab {lab}"));
    task::spawn(format!("rates of {name}"), run(shared.clone(), key, sender));
    receiver
}

/// A place in the list, which is given up when the task ends, in whatever way.
struct Listed {
    shared: Arc<Shared>,
    /// `None`: it was given up, and may be another one's by now.
    key: Option<Key>,
}

impl Listed {
    /// Gives it up if nobody watches any more; somebody may have joined just now.
    fn leave(&mut self, sender: &watch::Sender<Sampled>) -> bool {
        let mut running = self.shared.samplers.lock();
        let alone = sender.receiver_count() == 0;
        if alone && let Some(key) = self.key.take() {
            running.remove(&key);
        }
        alone
    }

    /// Does something as long as somebody watches and the engine runs; `None` when it was given up.
    async fn while_watched<T>(&mut self, sender: &watch::Sender<Sampled>, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        let stopping = self.shared.stopping.clone();
        loop {
            tokio::select! {
                done = &mut what => return Some(done),
                () = sender.closed() => {
                    if self.leave(sender) {
                        return None;
                    }
                }
                () = stopping.cancelled() => return None,
            }
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.samplers.lock().remove(&key);
        }
    }
}

async fn run(shared: Arc<Shared>, key: Key, sender: watch::Sender<Sampled>) {
    let mut listed = Listed { shared: shared.clone(), key: Some(key.clone()) };
    let mut before: HashMap<LabName, Reading> = HashMap::new();
    let mut next = tokio::time::Instant::now();
    loop {
        let look = look_around(&shared, key.0.as_ref(), &before);
        let Some((all, readings)) = listed.while_watched(&sender, look).await else { return };
        if key.0.is_some() && all.is_empty() {
            // The lab is gone; so is the last sender, with this task and its place in the list.
            return;
        }
        before = readings;
        sender.send_replace(Some(Arc::new(all)));
        next += key.1;
        let now = tokio::time::Instant::now();
        if next <= now {
            // A look that took longer than the period is not made up for: two at once have no time between them.
            next = now + key.1;
        }
        if listed.while_watched(&sender, tokio::time::sleep_until(next)).await.is_none() {
            return;
        }
    }
}

/// Looks at one lab, or at all of them, some at once and all within one deadline: labs that do not answer hold up no
/// other one for long.
async fn look_around(
    shared: &Shared,
    lab: Option<&LabName>,
    before: &HashMap<LabName, Reading>,
) -> (Vec<Rates>, HashMap<LabName, Reading>) {
    let deadline = (tokio::time::Instant::now() + LOOK).into_std();
    let labs = lab.map_or_else(|| shared.lab_names(&shared.inventory.snapshot()), |lab| [lab.clone()].into());
    let looks = labs.into_iter().map(|lab| async move {
        let wish = shared.wishes.get(&lab);
        let view = shared.view(&lab, &shared.inventory.snapshot())?;
        let reading = look(shared, &lab, deadline).await;
        let links = wish.as_ref().map_or(&[][..], |wish| wish.lab.links());
        Some((Rates::of(&view, links, before.get(&lab), &reading), (lab, reading)))
    });
    let looks: Vec<_> = stream::iter(looks).buffered(LABS_AT_ONCE).collect().await;
    looks.into_iter().flatten().unzip()
}

/// One more look begins, which may take so long.
pub(crate) fn look_of(shared: &Shared) -> Context {
    shared.samplers.looks.fetch_add(1, Ordering::Relaxed);
    Context { deadline: (tokio::time::Instant::now() + LOOK).into_std(), cancel: CancellationToken::new() }
}

/// Reads everything; what cannot be read is missing, and why is said.
async fn look(shared: &Shared, lab: &LabName, deadline: Instant) -> Reading {
    let context = Context { deadline, ..look_of(shared) };
    let object = format!("lab {lab}");
    let counters = stamped(carried::read(shared, lab, &context));
    let usages = shared.runtimes.values();
    let usages = usages.map(|runtime| stamped(within(&context, &object, runtime.usage(lab, &context))));
    let ((at, carried), usages) = tokio::join!(counters, futures::future::join_all(usages));
    let mut troubles: Vec<DriverError> = Vec::new();
    let carried = carried.unwrap_or_else(|error| {
        troubles.push(error);
        Arc::default()
    });
    let mut nodes = HashMap::new();
    for (at, usage) in usages {
        match usage {
            Ok(usage) => nodes.extend(usage.into_iter().map(|usage| (usage.node.clone(), (at, usage)))),
            Err(error) => troubles.push(error),
        }
    }
    let said: Vec<String> = troubles.iter().map(ToString::to_string).collect();
    Reading { at, carried, nodes, trouble: (!said.is_empty()).then(|| said.join("; ")) }
}

/// An answer, and when it came: one that is late makes no other one old.
async fn stamped<T>(call: impl Future<Output = T>) -> (Instant, T) {
    let answer = call.await;
    (tokio::time::Instant::now().into_std(), answer)
}
