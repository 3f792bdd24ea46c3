//! The way to the store: in order, with a deadline, and what the store is owed.
//!
//! ```text
//!  actors, steps ──write(…) within a limit──▶ [bounded queue] ─┐
//!                └─owe(…), never waits──────▶ owed, by key ────┴▶ task `ledger` ──one at a time──▶ Store
//!                                                                     └─▶ trouble (ArcSwap) ──▶ health
//! ```
//!
//! The task hands the store one write after the other and waits for each as long as it takes, so the order holds
//! even when the store hangs; whoever asked waits no longer than the limit. A write that was given up before its
//! turn never happens. One that was given up under way may still happen: its asker then *owes* the store what it
//! holds to be true, which is written after it. What is owed is written as soon as the store can, with a back-off
//! of 1–60 s; a later write or debt of the same key takes its place, so there is at most one for each key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::driver::{Store, StoreError, Write};
use crate::event::{Events, What};
use crate::task;

/// How many writes may wait.
const QUEUE: usize = 64;
/// The longest pause between two tries to write what is owed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A key that never is: removing it shows whether the store writes, and changes nothing.
const PROBE: &str = "probe";

/// What is wrong with the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreTrouble {
    /// What it said, or that it says nothing.
    pub why: String,
    /// Since when.
    pub since: SystemTime,
}

/// The way to the store.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    queue: mpsc::Sender<Entry>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    trouble: ArcSwapOption<StoreTrouble>,
    /// There is a new debt.
    owed: Notify,
    events: Events,
    /// How long whoever asks waits.
    limit: Duration,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// Counts writes and debts in the order in which they were asked for.
    last: u64,
    owed: BTreeMap<String, Owed>,
    /// Since when the store has the write that it has now.
    under_way: Option<(Instant, SystemTime)>,
}

#[derive(Debug)]
struct Owed {
    number: u64,
    write: Write,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    writes: Vec<Write>,
    reply: oneshot::Sender<Result<(), StoreError>>,
}

impl Ledger {
    /// Makes the handle and the task's future.
    pub(crate) fn new(store: Arc<dyn Store>, events: Events, limit: Duration) -> (Self, impl Future<Output = ()>) {
        let (queue, entries) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            trouble: ArcSwapOption::empty(),
            owed: Notify::new(),
            events,
            limit,
            closed: CancellationToken::new(),
        });
        let keeper = Keeper { store, shared: shared.clone(), failures: 0, again: None };
        (Self { queue, shared }, keeper.run(entries))
    }

    /// Writes, all or nothing, durable when it returns. Waits no longer than the limit; with
    /// [`StoreError::NoAnswer`] the write may still happen, and the caller owes what is true instead.
    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        if let Some(since) = self.hangs_since() {
            return Err(StoreError::NoAnswer { since });
        }
        let (reply, answer) = oneshot::channel();
        let number = self.shared.number();
        self.queue.try_send(Entry { number, writes, reply }).map_err(|_| StoreError::Busy)?;
        let asked = SystemTime::now();
        match tokio::time::timeout(self.shared.limit, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Unusable("the store was closed".into())),
            Err(_) => {
                let since = self.shared.lock().under_way.map_or(asked, |(_, since)| since);
                self.shared.troubled(&StoreError::NoAnswer { since }, since);
                Err(StoreError::NoAnswer { since })
            }
        }
    }

    /// As [`Self::write`], of what is true already: what could not be written is owed. The error says why it is late.
    pub(crate) async fn keep(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let kept = self.write(writes.clone()).await;
        if kept.is_err() {
            self.owe(writes);
        }
        kept
    }

    /// Has this written as soon as the store can; never waits. What is owed last counts.
    pub(crate) fn owe(&self, writes: Vec<Write>) {
        let mut state = self.shared.lock();
        for write in writes {
            state.last += 1;
            let number = state.last;
            state.owed.insert(write.key().to_owned(), Owed { number, write });
        }
        drop(state);
        self.shared.owed.notify_one();
    }

    /// What is wrong with the store, if anything; never waits.
    pub(crate) fn trouble(&self) -> Option<Arc<StoreTrouble>> {
        self.shared.trouble.load_full()
    }

    /// How many writes the store is owed; never waits.
    pub(crate) fn owed(&self) -> usize {
        self.shared.lock().owed.len()
    }

    /// Waits until nothing is owed or `deadline` has passed, and ends the task.
    pub(crate) async fn close(&self, deadline: Instant) {
        let paid = async {
            while self.owed() > 0 {
                self.shared.owed.notify_one();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout_at(deadline.min(Instant::now() + self.shared.limit), paid).await;
        self.shared.closed.cancel();
    }

    /// Since when the store has not answered, if that is longer than anybody waits.
    fn hangs_since(&self) -> Option<SystemTime> {
        let (begun, since) = self.shared.lock().under_way?;
        (begun.elapsed() >= self.shared.limit).then_some(since)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn number(&self) -> u64 {
        let mut state = self.lock();
        state.last += 1;
        state.last
    }

    fn troubled(&self, error: &StoreError, since: SystemTime) {
        let why = error.to_string();
        let known = self.trouble.load_full();
        if known.as_ref().is_some_and(|known| known.why == why) {
            return;
        }
        let since = known.as_ref().map_or(since, |known| known.since);
        self.trouble.store(Some(Arc::new(StoreTrouble { why: why.clone(), since })));
        tracing::error!(%why, "the store is in trouble");
        let text = format!("{why}; what runs goes on, but nothing can be changed until the store works again");
        self.events.publish(What::Notice { lab: None, text });
    }

    fn well(&self) {
        if self.trouble.swap(None).is_some() {
            tracing::info!("the store works again");
            self.events.publish(What::Notice { lab: None, text: "the store works again".into() });
        }
    }
}

/// The task: the only one that writes.
struct Keeper {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    /// How often in a row the store failed.
    failures: u32,
    /// When to try again what is owed, or whether it works.
    again: Option<Instant>,
}

impl Keeper {
    async fn run(mut self, mut entries: mpsc::Receiver<Entry>) {
        let closed = self.shared.closed.clone();
        let work = async {
            loop {
                tokio::select! {
                    entry = entries.recv() => match entry {
                        Some(entry) => self.enter(entry).await,
                        None => return,
                    },
                    () = self.shared.owed.notified(), if self.again.is_none() => self.pay().await,
                    () = at(self.again) => self.pay().await,
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = closed.cancelled() => {}
        }
    }

    async fn enter(&mut self, entry: Entry) {
        // Nobody waits for it any more: it does not happen.
        if entry.reply.is_closed() {
            return;
        }
        let keys: Vec<String> = entry.writes.iter().map(|write| write.key().to_owned()).collect();
        let answer = self.hand_over(entry.writes).await;
        if answer.is_ok() {
            let mut state = self.shared.lock();
            for key in &keys {
                // A debt that was made after this write was asked for stands.
                if state.owed.get(key).is_some_and(|owed| owed.number < entry.number) {
                    state.owed.remove(key);
                }
            }
        }
        let works = answer.is_ok();
        let _ = entry.reply.send(answer);
        if works {
            self.pay().await;
        }
    }

    /// Writes what is owed, or looks whether the store works again.
    async fn pay(&mut self) {
        let (writes, paid): (Vec<Write>, Vec<(String, u64)>) = {
            let state = self.shared.lock();
            let all = state.owed.iter();
            all.map(|(key, owed)| (owed.write.clone(), (key.clone(), owed.number))).unzip()
        };
        let writes = match writes.is_empty() {
            true if self.shared.trouble.load().is_none() => return,
            true => vec![Write::Delete { key: PROBE.to_owned() }],
            false => writes,
        };
        if self.hand_over(writes).await.is_ok() {
            let mut state = self.shared.lock();
            for (key, number) in paid {
                if state.owed.get(&key).is_some_and(|owed| owed.number == number) {
                    state.owed.remove(&key);
                }
            }
            if !state.owed.is_empty() {
                // More came meanwhile.
                self.shared.owed.notify_one();
            }
        }
    }

    /// One write, for as long as it takes; afterwards it is known whether the store works.
    async fn hand_over(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        let since = SystemTime::now();
        self.shared.lock().under_way = Some((Instant::now(), since));
        let store = self.store.clone();
        let mut call = task::own("store write", async move { store.write(writes).await });
        let limit = self.shared.limit;
        let ended = if let Ok(ended) = tokio::time::timeout(limit, &mut call).await {
            ended
        } else {
            self.shared.troubled(&StoreError::NoAnswer { since }, since);
            call.await
        };
        self.shared.lock().under_way = None;
        let answer =
            ended.unwrap_or_else(|panic| Err(StoreError::Failed { operation: "write", cause: panic.to_string() }));
        match &answer {
            Ok(()) => {
                (self.failures, self.again) = (0, None);
                self.shared.well();
            }
            // A full queue is no trouble; it is tried again soon.
            Err(StoreError::Busy) => self.again = Some(Instant::now() + Duration::from_secs(1)),
            Err(error) => {
                self.shared.troubled(error, since);
                let pause = Duration::from_secs(1 << self.failures.min(6)).min(LONGEST_PAUSE);
                self.failures += 1;
                self.again = Some(Instant::now() + pause);
            }
        }
        answer
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
