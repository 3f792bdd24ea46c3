//! Long-lived tasks: named, tracked, judged by their oldest unserved work; a panic is reported and the task restarts.
//!
//! This is the one place that calls `tokio::spawn`.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use crate::budget::{PANICS, Panics, Verdict, WITHIN};

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
/// then, and only a restart mends it. The handle ends with it.
pub fn vital<F>(beats: &Beats, name: &'static str, future: F) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let beat = beats.of(name);
    let running = spawn(name, future);
    spawn(format!("watch of {name}"), async move {
        if running.await.is_err() {
            beat.owe();
        }
    })
}

/// Runs a loop that may begin anew at any time, as one that looks at everything or listens to events. It does so when it
/// panics, within a [budget](crate::budget); after that every other minute.
pub fn restarted<F>(name: &'static str, begin: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    spawn(format!("restarts of {name}"), async move {
        let mut panics = Panics::default();
        while let Err(panic) = own(name, begin()).await {
            let pause = match panics.note(Instant::now()) {
                Verdict::Again(pause) => pause,
                Verdict::Spent => WITHIN / u32::try_from(PANICS).unwrap_or(u32::MAX),
            };
            tracing::error!(task = name, %panic, ?pause, "it is begun anew");
            tokio::time::sleep(pause).await;
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

/// Whether a loop has work that it has not served.
#[derive(Debug, Default)]
pub struct Beat {
    /// Odd while something is owed; another odd number is other work.
    turns: AtomicU64,
}

impl Beat {
    /// Work came in; the oldest counts.
    pub fn owe(&self) {
        self.turns.fetch_or(1, Ordering::AcqRel);
    }

    /// All work that came in was served.
    pub fn settle(&self) {
        if self.at().is_some() {
            self.turns.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Which work it is that is owed, as a number that changes when the loop gets on.
    pub fn at(&self) -> Option<u64> {
        Some(self.turns.load(Ordering::Acquire)).filter(|turns| turns % 2 == 1)
    }
}

/// The beats of all loops by name. The supervisor of the process reads it. Nobody waits for anything holding its lock.
#[derive(Debug, Clone, Default)]
pub struct Beats(Arc<Mutex<BTreeMap<String, Arc<Beat>>>>);

impl Beats {
    /// The beat of a loop; made when it is first asked for.
    pub fn of(&self, name: &str) -> Arc<Beat> {
        self.lock().entry(name.to_owned()).or_default().clone()
    }

    /// The loop ended on purpose.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// All loops, each with what it owes ([`Beat::at`]).
    pub fn all(&self) -> Vec<(String, Option<u64>)> {
        self.lock().iter().map(|(name, beat)| (name.clone(), beat.at())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Beat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_gets_on_is_at_other_work_and_one_that_is_asked_again_is_not() {
        let beats = Beats::default();
        let beat = beats.of("x");
        beat.settle();
        assert_eq!(beats.all(), [("x".to_owned(), None)]);
        beat.owe();
        let first = beat.at();
        beat.owe();
        assert_eq!(beats.all(), [("x".to_owned(), first)]);
        assert!(first.is_some());
        beat.settle();
        assert_eq!(beat.at(), None);
        beat.owe();
        assert!(beat.at().is_some_and(|at| Some(at) != first));
        beats.forget("x");
        assert_eq!(beats.all(), []);
    }
}
