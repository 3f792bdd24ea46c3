//! The main runtime's heartbeat: the health thread pings, a task of the main runtime serves the ping. The runtime
//! is judged by its oldest unserved ping.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A heartbeat.
#[derive(Debug)]
pub(crate) struct Pulse {
    origin: Instant,
    /// Microseconds since `origin` of the oldest unserved ping, plus one; 0 when all are served.
    owed: AtomicU64,
    /// How long the last ping waited, in microseconds.
    lag: AtomicU64,
    wake: Notify,
}

impl Default for Pulse {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { origin: Instant::now(), owed: zero(), lag: zero(), wake: Notify::new() }
    }
}

impl Pulse {
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX - 1)
    }

    /// Asks for a beat; one that is asked for already keeps its age.
    pub(crate) fn ping(&self) {
        if self.owed.compare_exchange(0, self.now() + 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.wake.notify_one();
        }
    }

    /// Serves pings for ever; runs on the main runtime.
    pub(crate) async fn serve(&self) {
        loop {
            self.wake.notified().await;
            self.lag.store(u64::try_from(self.overdue().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
            self.owed.store(0, Ordering::Release);
        }
    }

    /// The age of the oldest unserved ping.
    pub(crate) fn overdue(&self) -> Duration {
        match self.owed.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_micros(self.now().saturating_sub(since - 1)),
        }
    }

    /// How long the last ping waited, or the present one if that is longer.
    pub(crate) fn lag(&self) -> Duration {
        Duration::from_micros(self.lag.load(Ordering::Relaxed)).max(self.overdue())
    }
}
