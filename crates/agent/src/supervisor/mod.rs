//! The supervisor: one thread that asks of every loop and every named thread how long it has been at the same work, and
//! decides what follows.
//!
//! ```text
//!   main runtime (pulse) ┐                     ┌─▶ late, and a restart would mend it: /livez fails, systemd's watchdog is
//!   loops (beats)        │   thread            │   no longer fed, after `end_after` the process ends; nodes run on
//!   thread `health`      ├─▶ `supervisor` ─────┼─▶ late, but waiting for something else: that capability is degraded
//!   threads of drivers   │   every 2 s         ├─▶ journal and GET /debug/stalls: who, since when, where its threads are
//!   sources, store       │                     ├─▶ operations that do not get on: an event, and with them
//!   operations           ┘                     └─▶ capabilities: how they stand (health/verdict.rs), an event when it changes
//! ```
//!
//! It reads atomics, snapshots and locks that nobody holds while they wait. The thread `health` watches it in turn. Ages are
//! counted by its own [clock]: when the host stops or starves the agent, nobody is accused.

mod clock;
mod lateness;
mod notify;
mod stalls;
mod stuck;
mod threads;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};
use std::{io, process};

use netloom_engine::{Engine, What};

use crate::health::{Health, Look, Patience, Slot, Standing, Verdict, looks};
use crate::wire::{Capability, Late, Ready, TRANSPORT};
use clock::Clock;
use lateness::{Lagging, Lateness, Loop, Mend};
pub(crate) use notify::Systemd;
pub(crate) use stalls::Stalls;
use stuck::Operations;

/// How old the oldest work of a driver's thread may be: a step may take a minute, one piece of work of it half as long.
const THREADS: Duration = Duration::from_secs(30);
/// How soon it looks again while the agent starts, and for how long it counts as starting.
const START: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// The status of a process that has ended itself: an internal error (`EX_SOFTWARE`, sysexits.h).
const STATUS: i32 = 70;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Supervisor {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts the thread, which first calls `prefer` on itself. `end_after`: how long it waits for what a restart would mend
    /// before it ends the process.
    pub(crate) fn start(
        health: Arc<Health>,
        systemd: Arc<Systemd>,
        end_after: Option<Duration>,
        prefer: fn(),
    ) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let mut judge = Judge::new(health, systemd, end_after, Instant::now());
        let thread = thread::Builder::new().name("supervisor".into()).spawn(move || {
            prefer();
            while !stopped.load(Ordering::Acquire) {
                let again = judge.turn(Instant::now());
                thread::park_timeout(again);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Has it look now: something has changed that need not wait.
    pub(crate) fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What it keeps in mind from one turn to the next.
struct Judge {
    health: Arc<Health>,
    systemd: Arc<Systemd>,
    end_after: Option<Duration>,
    period: Duration,
    clock: Clock,
    lateness: Lateness,
    operations: Operations,
    standings: BTreeMap<String, Standing>,
    /// Since when, by the clock, it does not vouch for the process.
    unvouched: Option<Duration>,
}

impl Judge {
    fn new(health: Arc<Health>, systemd: Arc<Systemd>, end_after: Option<Duration>, now: Instant) -> Self {
        // A watchdog wants to hear of the process at least twice in its time.
        let most = systemd.watchdog().map_or(Duration::MAX, |watchdog| watchdog / 3);
        let period = (health.limit() / 5).clamp(Duration::from_millis(10), Duration::from_secs(2)).min(most);
        Self {
            clock: Clock::new(now, period),
            health,
            systemd,
            end_after,
            period,
            lateness: Lateness::default(),
            operations: Operations::default(),
            standings: BTreeMap::new(),
            unvouched: None,
        }
    }

    /// One turn; says when the next one should come.
    fn turn(&mut self, now: Instant) -> Duration {
        let slot = self.clock.turn(now);
        let health = self.health.clone();
        let engine = health.engine();
        let late = self.lateness.look(self.loops(engine), self.clock.had());
        if let Some(engine) = engine {
            self.operations.look(engine, self.clock.had());
        }
        self.health.pulse.ping();
        self.health.stalls.note(&late, engine, SystemTime::now());
        let (unmendable, hopeless): (Vec<Lagging>, Vec<Lagging>) =
            late.into_iter().partition(|late| matches!(late.of.mend, Mend::Wait(_)));
        let capabilities = self.capabilities(engine, &unmendable, slot);
        let is_settled = capabilities.iter().all(|capability| capability.status == Ready::Ok);
        self.health.publish(Verdict {
            late: hopeless.iter().map(told).collect(),
            capabilities,
            has_engine: engine.is_some(),
        });
        self.vouch(&hopeless);
        let starts = !is_settled && self.clock.had() < START.1;
        if starts { START.0.min(self.period) } else { self.period }
    }

    /// Everything that has work, as it is now.
    fn loops(&self, engine: Option<&Engine>) -> Vec<Loop> {
        let limit = self.health.limit();
        let own = |name: &str, at| Loop { name: name.into(), at, mend: Mend::Restart, limit, threads: Vec::new() };
        let mut loops =
            vec![own("main runtime", self.health.pulse.at()), own("health", Some(self.health.front.taken()))];
        let Some(engine) = engine else { return loops };
        loops.extend(engine.beats().all().into_iter().map(|(name, at)| own(&name, at)));
        loops.extend(engine.backlogs().iter().map(|(capability, backlog)| Loop {
            name: format!("thread {}", backlog.name()),
            at: backlog.at(),
            mend: Mend::Wait(capability),
            limit: THREADS.max(limit),
            threads: backlog.threads(),
        }));
        loops
    }

    /// How each capability stands after this look; tells when that is another way than before.
    fn capabilities(&mut self, engine: Option<&Engine>, late: &[Lagging], slot: Slot) -> Vec<Capability> {
        let Some(engine) = engine else { return Vec::new() };
        let (now, patience) = (SystemTime::now(), Patience::of(self.health.limit()));
        let mut capabilities = Vec::new();
        for (name, mut look, last_good) in looks(engine, now) {
            let stuck = late.iter().find(|late| late.of.mend == Mend::Wait(name));
            if let (Look::Good, Some(stuck)) = (&look, stuck) {
                let why = format!("{} has been at the same work for {} s", stuck.of.name, stuck.age.as_secs());
                look = if name == TRANSPORT { Look::Strained(why) } else { Look::Bad(why) };
            }
            let before = self.standings.remove(name);
            let worked = before.as_ref().is_some_and(Standing::has_worked);
            let before = before.unwrap_or_else(|| Standing::new("it has not been looked at yet", self.health.started));
            let standing = before.after(&look, slot, now, patience);
            if standing.status != before.status && (worked || standing.status != Ready::Ok) {
                tell(engine, name, &standing);
            }
            capabilities.push(standing.capability(name, last_good, queue(engine, name)));
            self.standings.insert(name.to_owned(), standing);
        }
        capabilities
    }

    /// Feeds systemd's watchdog while nothing is late that a restart would mend, and ends the process when that lasts.
    fn vouch(&mut self, late: &[Lagging]) {
        let had = self.clock.had();
        let Some(worst) = late.iter().max_by_key(|late| late.age) else {
            self.unvouched = None;
            if self.systemd.watchdog().is_some() {
                self.systemd.say("WATCHDOG=1");
            }
            return;
        };
        let since = *self.unvouched.get_or_insert(had);
        if self.end_after.is_some_and(|end_after| had.saturating_sub(since) >= end_after) {
            let name = &worst.of.name;
            tracing::error!(stalled = %name, "the agent ends itself: only a restart mends this; nodes run on");
            crate::log::flush();
            process::exit(STATUS);
        }
    }
}

/// What waits for a capability: in the queues of its threads, and what the store is owed.
fn queue(engine: &Engine, name: &str) -> usize {
    let threads = engine.backlogs().iter().filter(|(capability, _)| *capability == name);
    let owed = if name == "store" { engine.store_owed() } else { 0 };
    threads.map(|(_, backlog)| backlog.depth()).sum::<usize>() + owed
}

fn told(late: &Lagging) -> Late {
    Late { name: late.of.name.clone(), seconds: late.age.as_secs_f64() }
}

fn tell(engine: &Engine, name: &str, standing: &Standing) {
    let (status, reason) = (standing.status.word(), standing.reason.clone());
    match standing.status {
        Ready::Ok => tracing::info!(capability = name, "it works again"),
        Ready::Degraded | Ready::Down => {
            tracing::warn!(
                capability = name,
                status,
                reason = reason.as_deref().unwrap_or_default(),
                "it does not work"
            );
        }
    }
    engine.events().publish(What::Capability { name: name.to_owned(), status: status.to_owned(), reason });
}
