//! Health: whether this process can work (live), and what it can do (ready).
//!
//! Both verdicts are made from the inventory's snapshot, the loops' beats and atomics, so that the thread `health`
//! answers whatever the main runtime does. Neither asks a daemon anything.

mod acceptor;
mod pulse;
mod request;

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use netloom_engine::{Engine, Source, SourceState};

pub(crate) use acceptor::{Acceptor, Limits, start};
pub(crate) use pulse::Pulse;

use crate::wire::{Capability, Late, Liveness, Readiness, Ready};

/// For how long a source may not answer before it counts as down.
const DWELL: Duration = Duration::from_secs(30);
/// How old the last whole look may be.
const STALE: Duration = Duration::from_secs(180);

/// What a health request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Can the process work?
    Live,
    /// What can it do?
    Ready,
}

impl Probe {
    /// The paths of health, open to everyone.
    pub(crate) const PATHS: [(&str, Self); 4] =
        [("/healthz", Self::Live), ("/livez", Self::Live), ("/health", Self::Live), ("/readyz", Self::Ready)];

    /// The probe at a path, if there is one.
    pub(crate) fn of(path: &str) -> Option<Self> {
        Self::PATHS.iter().find(|(of, _)| *of == path).map(|(_, probe)| *probe)
    }
}

/// What the health thread may read.
pub(crate) struct Health {
    /// When the agent was started.
    pub(crate) started: SystemTime,
    /// The same, by a clock that nobody sets.
    pub(crate) began: Instant,
    /// How old unserved work may be.
    limit: Duration,
    /// The main runtime's heartbeat.
    pub(crate) pulse: Pulse,
    engine: OnceLock<Engine>,
    stopping: AtomicBool,
    /// What the thread has done.
    pub(crate) counts: Counts,
}

/// What the health thread has done since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Probes that it answered itself.
    pub(crate) answered: AtomicU64,
    /// Connections that it gave to the main runtime.
    pub(crate) handed_over: AtomicU64,
    /// Connections that it refused because too many waited for the main runtime.
    pub(crate) refused: AtomicU64,
    /// Silent connections that it closed to make room.
    pub(crate) evicted: AtomicU64,
}

impl Health {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            started: SystemTime::now(),
            began: Instant::now(),
            limit,
            pulse: Pulse::default(),
            engine: OnceLock::new(),
            stopping: AtomicBool::new(false),
            counts: Counts::default(),
        }
    }

    /// How old unserved work may be.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The engine has been started.
    pub(crate) fn engine_started(&self, engine: Engine) {
        // A second engine in one process would be an error of the caller; the first stays.
        let _ = self.engine.set(engine);
    }

    /// The agent is stopping.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the process can work: no loop has work older than its limit.
    pub(crate) fn live(&self) -> Liveness {
        let mut late = Vec::new();
        let overdue = self.pulse.overdue();
        if overdue > self.limit {
            late.push(("main runtime".to_owned(), overdue));
        }
        if let Some(engine) = self.engine.get() {
            late.extend(engine.beats().late(self.limit));
        }
        let late: Vec<Late> = late.into_iter().map(|(name, age)| Late { name, seconds: age.as_secs_f64() }).collect();
        let status = if late.is_empty() { "ok" } else { "late" };
        Liveness { status: status.to_owned(), late }
    }

    /// What it can do.
    pub(crate) fn ready(&self) -> Readiness {
        let now = SystemTime::now();
        let mut capabilities = vec![self.agent()];
        let mut unused = BTreeSet::new();
        if let Some(engine) = self.engine.get() {
            let snapshot = engine.inventory().snapshot();
            for source in engine.sources() {
                let state = snapshot.sources.get(source);
                let capability = self.source(source_name(*source, engine.fabric()), state, now);
                // Not on every host is every daemon.
                if capability.status != Ready::Ok && !engine.counts(*source, &snapshot) {
                    unused.insert(capability.name.clone());
                }
                capabilities.push(capability);
            }
            let trouble = engine.store_trouble();
            capabilities.push(Capability {
                name: "store".into(),
                status: if trouble.is_some() { Ready::Down } else { Ready::Ok },
                reason: trouble.as_ref().map(|trouble| trouble.why.clone()),
                since: trouble.as_ref().map_or(self.started, |trouble| trouble.since),
                last_good: None,
            });
        }
        let counted = capabilities.iter().filter(|capability| !unused.contains(&capability.name));
        let status = counted.map(|capability| capability.status).max().unwrap_or(Ready::Down);
        Readiness { status, capabilities }
    }

    fn agent(&self) -> Capability {
        let reason = if self.stopping.load(Ordering::Acquire) {
            Some("the agent is stopping")
        } else if self.engine.get().is_none() {
            Some("the agent is starting")
        } else {
            None
        };
        Capability {
            name: "agent".into(),
            status: if reason.is_some() { Ready::Down } else { Ready::Ok },
            reason: reason.map(str::to_owned),
            since: self.started,
            last_good: None,
        }
    }

    fn source(&self, name: String, state: Option<&SourceState>, now: SystemTime) -> Capability {
        let age = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        let Some(state) = state else {
            let reason = Some("it has not been looked at yet".to_owned());
            return Capability { name, status: Ready::Down, reason, since: self.started, last_good: None };
        };
        let (status, reason) = match (state.listed, &state.error) {
            (None, error) => {
                (Ready::Down, Some(error.clone().unwrap_or_else(|| "it has not been seen whole yet".into())))
            }
            (Some(_), Some(error)) if age(state.since) > DWELL => (Ready::Down, Some(error.clone())),
            (Some(_), Some(error)) => (Ready::Degraded, Some(error.clone())),
            (Some(listed), None) if age(listed) > STALE => {
                let seconds = age(listed).as_secs();
                (Ready::Degraded, Some(format!("it was last seen whole {seconds} s ago")))
            }
            (Some(_), None) => (Ready::Ok, None),
        };
        Capability { name, status, reason, since: state.since, last_good: state.listed }
    }

    /// The status and the JSON of a probe's answer.
    pub(crate) fn answer(&self, probe: Probe, query: &str) -> (u16, Vec<u8>) {
        let (status, body) = match probe {
            Probe::Live => {
                let live = self.live();
                (if live.late.is_empty() { 200 } else { 503 }, serde_json::to_vec(&live))
            }
            Probe::Ready => {
                let mut ready = self.ready();
                if !is_verbose(query) {
                    ready.capabilities.retain(|capability| capability.status != Ready::Ok);
                }
                (if ready.status == Ready::Down { 503 } else { 200 }, serde_json::to_vec(&ready))
            }
        };
        (status, body.expect("plain values serialise"))
    }
}

/// `?verbose`, `?verbose=true`, `?verbose=1`.
fn is_verbose(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "verbose" | "verbose=" | "verbose=1" | "verbose=true"))
}

/// The name of a source as people know it: the runtime's, or the fabric's.
pub(crate) fn source_name(source: Source, fabric: &str) -> String {
    if source == Source::Fabric { fabric } else { source.word() }.to_owned()
}

#[cfg(test)]
mod tests;
