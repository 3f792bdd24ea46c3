//! Health: whether this process can work (live), and what it can do (ready).
//!
//! Both verdicts are made by the [supervisor](crate::supervisor) and read here, so that the thread `health` answers
//! whatever the main runtime does. Neither asks a daemon anything.

mod acceptor;
mod pulse;
mod request;
mod verdict;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use netloom_engine::{Engine, Pause, Source, SourceState};
use netloom_model::LabName;
use serde::Serialize;

pub(crate) use acceptor::{Acceptor, Limits, start};
pub(crate) use pulse::{Pulse, Turns};
pub(crate) use verdict::{Look, Patience, Slot, Standing};

use crate::controller::{AgentHealth, Member};
use crate::supervisor::Stalls;
use crate::wire::{Capability, LABS, Late, Liveness, Readiness, Ready, TRANSPORT};

/// How old the last whole look may be.
const STALE: Duration = Duration::from_secs(180);

/// What a health request asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    /// Can the process work?
    Live,
    /// The same, and which agent is it to its controller?
    Agent,
    /// What can it do?
    Ready,
}

impl Probe {
    /// The paths of health, open to everyone.
    pub(crate) const PATHS: [(&str, Self); 4] =
        [("/healthz", Self::Live), ("/livez", Self::Live), ("/health", Self::Agent), ("/readyz", Self::Ready)];

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
    /// The turns of the health thread, which the supervisor watches.
    pub(crate) front: Turns,
    /// The turns of the supervisor, which the health thread watches.
    supervisor: Turns,
    verdict: ArcSwap<Verdict>,
    /// What was late so far.
    pub(crate) stalls: Stalls,
    engine: OnceLock<Engine>,
    member: OnceLock<Arc<Member>>,
    stopping: AtomicBool,
    /// What the thread has done.
    pub(crate) counts: Counts,
}

/// What the supervisor has found at its last turn.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// The loops that are late and that a restart would mend.
    pub(crate) late: Vec<Late>,
    /// How each capability stands.
    pub(crate) capabilities: Vec<Capability>,
    /// Whether there was an engine to look at.
    pub(crate) has_engine: bool,
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
            front: Turns::default(),
            supervisor: Turns::default(),
            verdict: ArcSwap::default(),
            stalls: Stalls::default(),
            engine: OnceLock::new(),
            member: OnceLock::new(),
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

    /// Controllers know the agent as this.
    pub(crate) fn introduce(&self, member: Arc<Member>) {
        // As for the engine.
        let _ = self.member.set(member);
    }

    /// The agent is stopping.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The engine, once it was started.
    pub(crate) fn engine(&self) -> Option<&Engine> {
        self.engine.get()
    }

    /// The supervisor has found this.
    pub(crate) fn publish(&self, verdict: Verdict) {
        self.verdict.store(Arc::new(verdict));
        self.supervisor.turn();
    }

    /// A turn of the health thread: it sees whether the supervisor gets its own.
    pub(crate) fn watch_supervisor(&self) {
        self.front.turn();
        self.supervisor.look();
    }

    /// Whether the process can work: no loop has work older than its limit.
    pub(crate) fn live(&self) -> Liveness {
        let mut late = self.verdict.load().late.clone();
        if let Some(looks) = self.supervisor.missed() {
            late.push(Late {
                name: "supervisor".into(),
                seconds: (acceptor::period(self.limit) * looks).as_secs_f64(),
            });
        }
        let status = if late.is_empty() { "ok" } else { "late" };
        Liveness { status: status.to_owned(), late }
    }

    /// What it can do.
    pub(crate) fn ready(&self) -> Readiness {
        let verdict = self.verdict.load();
        let mut capabilities = vec![self.agent(verdict.has_engine)];
        capabilities.extend(verdict.capabilities.iter().cloned());
        capabilities.extend(self.engine.get().and_then(|engine| paused(&engine.pauses().all())));
        // Not on every host is every daemon.
        let counts = |capability: &&Capability| {
            capability.status == Ready::Ok || self.engine.get().is_none_or(|engine| is_wanted(engine, &capability.name))
        };
        let status = capabilities.iter().filter(counts).map(|capability| capability.status).max();
        Readiness { status: status.unwrap_or(Ready::Down), capabilities }
    }

    fn agent(&self, has_engine: bool) -> Capability {
        let reason = if self.stopping.load(Ordering::Acquire) {
            Some("the agent is stopping")
        } else if !has_engine {
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
            queue: 0,
        }
    }

    /// The status and the JSON of a probe's answer.
    pub(crate) fn answer(&self, probe: Probe, query: &str) -> (u16, Vec<u8>) {
        let (status, body) = match probe {
            Probe::Live | Probe::Agent => {
                let live = self.live();
                let status = if live.late.is_empty() { 200 } else { 503 };
                let member = self.member.get().filter(|_| probe == Probe::Agent);
                (status, serde_json::to_vec(&AgentLiveness { live, agent: member.map(|member| member.health()) }))
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

/// Whether the process can work, and which agent it is.
#[derive(Serialize)]
struct AgentLiveness {
    #[serde(flatten)]
    live: Liveness,
    #[serde(flatten)]
    agent: Option<AgentHealth>,
}

/// What there is to say of labs that are paused: nothing where none is.
fn paused(labs: &BTreeMap<LabName, Pause>) -> Option<Capability> {
    let since = labs.values().map(|pause| pause.since).min()?;
    let why = labs.iter().map(|(lab, pause)| format!("lab {lab} is paused: {}", pause.why));
    let reason = why.collect::<Vec<_>>().join("; ");
    Some(Capability {
        name: LABS.into(),
        status: Ready::Degraded,
        reason: Some(reason),
        since,
        last_good: None,
        queue: 0,
    })
}

/// Whether a capability is needed on this host: one of the agent itself, or a source that some lab has to do with.
fn is_wanted(engine: &Engine, name: &str) -> bool {
    let snapshot = engine.inventory().snapshot();
    let mut sources = engine.sources().iter();
    sources
        .find(|source| source_name(**source, engine.fabric()) == name)
        .is_none_or(|source| engine.counts(*source, &snapshot))
}

/// How each capability looks now, with when it was last seen whole.
pub(crate) fn looks(engine: &Engine, now: SystemTime) -> Vec<(&'static str, Look, Option<SystemTime>)> {
    let snapshot = engine.inventory().snapshot();
    let of_source = |source: &Source| {
        let state = snapshot.sources.get(source);
        (source_name(*source, engine.fabric()), look_at(state, now), state.and_then(|state| state.listed))
    };
    let mut looks: Vec<_> = engine.sources().iter().map(of_source).collect();
    let store = engine.store_trouble().map_or(Look::Good, |trouble| Look::Hopeless(trouble.why.clone()));
    looks.push(("store", store, None));
    let transport = engine.transport_trouble().map_or(Look::Good, |why| Look::Strained(why.to_string()));
    looks.push((TRANSPORT, transport, None));
    looks
}

fn look_at(state: Option<&SourceState>, now: SystemTime) -> Look {
    let Some(state) = state else { return Look::Bad("it has not been looked at yet".into()) };
    let Some(listed) = state.listed else {
        return Look::Bad(state.error.clone().unwrap_or_else(|| "it has not been seen whole yet".into()));
    };
    let age = now.duration_since(listed).unwrap_or_default();
    match &state.error {
        Some(error) => Look::Bad(error.clone()),
        None if age > STALE => Look::Bad(format!("it was last seen whole {} s ago", age.as_secs())),
        None => state.strain.clone().map_or(Look::Good, Look::Strained),
    }
}

/// `?verbose`, `?verbose=true`, `?verbose=1`.
fn is_verbose(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "verbose" | "verbose=" | "verbose=1" | "verbose=true"))
}

/// The name of a source as people know it: the runtime's, or the fabric's.
pub(crate) fn source_name(source: Source, fabric: &'static str) -> &'static str {
    if source == Source::Fabric { fabric } else { source.word() }
}

#[cfg(test)]
mod tests;
