//! The main runtime's heartbeat: the health thread pings, a task of the main runtime serves the ping. The runtime
//! is judged by its oldest unserved ping.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
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

    /// Which ping is unserved, if one is.
    pub(crate) fn at(&self) -> Option<u64> {
        Some(self.owed.load(Ordering::Acquire)).filter(|owed| *owed != 0)
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

/// The turns of a thread that always has some to take, and how often another one has looked in vain for a new one.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    taken: AtomicU64,
    seen: AtomicU64,
    in_vain: AtomicU32,
}

/// How often a thread may be looked for in vain. Counted in looks, not in time: a process that was stopped looks once.
const LOOKS: u32 = 3;

impl Turns {
    /// The thread takes a turn.
    pub(crate) fn turn(&self) {
        self.taken.fetch_add(1, Ordering::Release);
    }

    /// How many it has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// The other one looks, at its own pace.
    pub(crate) fn look(&self) {
        let taken = self.taken.load(Ordering::Acquire);
        if self.seen.swap(taken, Ordering::AcqRel) == taken {
            self.in_vain.fetch_add(1, Ordering::AcqRel);
        } else {
            self.in_vain.store(0, Ordering::Release);
        }
    }

    /// How many looks were in vain, if those are too many.
    pub(crate) fn missed(&self) -> Option<u32> {
        Some(self.in_vain.load(Ordering::Acquire)).filter(|looks| *looks >= LOOKS)
    }
}
