//! Long-lived tasks: named, tracked, judged by their oldest unserved work; a panic is reported and the task restarts.
//!
//! This is the one place that calls `tokio::spawn`.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinHandle};

/// Runs a task under a name. A panic ends the task, is logged and comes back as an error of the handle.
pub fn spawn<F>(name: impl Into<String>, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let name = name.into();
    #[expect(clippy::disallowed_methods, reason = "the one helper that tracks names and panics")]
    let inner = tokio::spawn(future);
    #[expect(clippy::disallowed_methods, reason = "as above: the outer task only reports")]
    tokio::spawn(async move {
        let abort = AbortOnDrop(inner.abort_handle());
        let ended = inner.await;
        // It has ended: nothing is left to abort, and a handle that is kept keeps the memory of its task.
        drop(abort);
        match ended {
            Ok(output) => output,
            Err(error) => {
                report(&name, &error);
                match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The outer task is aborted with the inner one, so nobody waits for this.
                    Err(_) => std::future::pending().await,
                }
            }
        }
    })
}

/// Runs a task that the process cannot do without. If it panics it owes work for ever, under its name: the process is late
/// then, and only a restart mends it.
pub(crate) fn vital<F>(beats: &Beats, name: &'static str, future: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let beat = beats.of(name);
    let running = spawn(name, future);
    spawn(format!("watch of {name}"), async move {
        if running.await.is_err() {
            beat.owe();
        }
    });
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A task that belongs to whoever waits for it: dropped, the task is released at its next await.
#[derive(Debug)]
pub(crate) struct Owned<T>(JoinHandle<T>);

/// As [`spawn`], for a task that is somebody's.
pub(crate) fn own<F>(name: impl Into<String>, future: F) -> Owned<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Owned(spawn(name, future))
}

/// A task panicked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it panicked: {0}")]
pub(crate) struct Panicked(String);

impl<T> Future for Owned<T> {
    type Output = Result<T, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(context)).map_err(|error| Panicked(text_of(error))))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn text_of(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was aborted".to_owned() };
    let panic: &(dyn Any + Send) = &*panic;
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".to_owned())
}

fn report(name: &str, error: &JoinError) {
    if error.is_panic() {
        tracing::error!(task = name, "task panicked");
    }
}

/// What a loop owes: since when it has had work that it has not served.
#[derive(Debug)]
pub struct Beat {
    origin: Instant,
    /// Milliseconds since `origin`, plus one; 0 when nothing is owed.
    owed: AtomicU64,
}

impl Beat {
    fn new(origin: Instant) -> Self {
        Self { origin, owed: AtomicU64::new(0) }
    }

    /// Work came in; the oldest counts.
    pub fn owe(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let _ = self.owed.compare_exchange(0, now, Ordering::AcqRel, Ordering::Acquire);
    }

    /// All work that came in was served.
    pub fn settle(&self) {
        self.owed.store(0, Ordering::Release);
    }

    /// How old the oldest unserved work is.
    pub fn overdue(&self) -> Duration {
        match self.owed.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => {
                let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
                Duration::from_millis(now.saturating_sub(since - 1))
            }
        }
    }
}

/// The beats of all loops by name. The health thread reads it.
#[derive(Debug, Clone)]
pub struct Beats {
    origin: Instant,
    beats: Arc<Mutex<BTreeMap<String, Arc<Beat>>>>,
}

impl Default for Beats {
    fn default() -> Self {
        Self { origin: Instant::now(), beats: Arc::default() }
    }
}

impl Beats {
    /// The beat of a loop; made when it is first asked for.
    pub fn of(&self, name: &str) -> Arc<Beat> {
        let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.entry(name.to_owned()).or_insert_with(|| Arc::new(Beat::new(self.origin))).clone()
    }

    /// The loop ended on purpose.
    pub fn forget(&self, name: &str) {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// All loops, each with what it owes, as a number that changes when it gets on; never blocks: when the list is just
    /// being changed it is taken as empty, and read again at the next look.
    pub fn all(&self) -> Vec<(String, Option<u64>)> {
        let Ok(beats) = self.beats.try_lock() else { return Vec::new() };
        let at = |beat: &Beat| Some(beat.owed.load(Ordering::Acquire)).filter(|owed| *owed != 0);
        beats.iter().map(|(name, beat)| (name.clone(), at(beat))).collect()
    }

    /// The loops that owe something for longer than `limit`, with how long; never blocks: when the list is just
    /// being changed it is taken as empty, and read again at the next look.
    pub fn late(&self, limit: Duration) -> Vec<(String, Duration)> {
        let Ok(beats) = self.beats.try_lock() else { return Vec::new() };
        let overdue = beats.iter().map(|(name, beat)| (name.clone(), beat.overdue()));
        overdue.filter(|(_, age)| *age > limit).collect()
    }
}
