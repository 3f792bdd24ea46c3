//! All metrics of the agent, in one place. Read from the snapshot, the journal and atomics at each scrape, so that
//! nothing has to be kept up to date and nothing that is gone is still shown.
//!
//! Labels are bounded: kinds and states, sources and bulkheads; never names of labs or nodes.

mod census;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::health::source_name;
use crate::log;
use crate::serve::App;
pub(crate) use census::Census;
use census::States;

type Labels = Vec<(&'static str, String)>;
type Number = Gauge<f64, AtomicU64>;
type Numbers = Family<Labels, Number>;
type Counts = Family<Labels, Counter>;

/// The upper ends of the buckets of calls, in seconds: a quick read takes milliseconds, a start 0.3 s to 3 s.
const CALLS: [f64; 12] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];

/// How long calls of the Docker daemon took, by operation and by how they ended. Counts from the start of the agent;
/// clones are the same.
#[derive(Debug, Clone)]
pub struct DockerCalls(Family<Labels, Histogram, fn() -> Histogram>);

impl Default for DockerCalls {
    fn default() -> Self {
        Self(Family::new_with_constructor(|| Histogram::new(CALLS)))
    }
}

impl DockerCalls {
    /// A call has ended. Both texts are of a few dozen.
    pub fn ended(&self, operation: &'static str, status: &'static str, took: Duration) {
        let labels = vec![("operation", operation.to_owned()), ("status", status.to_owned())];
        self.0.get_or_create(&labels).observe(took.as_secs_f64());
    }
}

/// The metrics in OpenMetrics text.
pub(crate) fn text(app: &App) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("netloom");
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The agent's version", version);
    process(&mut registry, app);
    work(&mut registry, app);
    labs(&mut registry, app);
    sources(&mut registry, app);
    switch(&mut registry, app);
    controller(&mut registry, app);
    let calls = app.config.docker_calls.0.clone();
    registry.register("docker_seconds", "How long calls of the Docker daemon took", calls);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// Numbers of metrics stay far below 2^52.
#[expect(clippy::cast_precision_loss, reason = "counts of things on one host")]
fn float(count: usize) -> f64 {
    count as f64
}

fn number(registry: &mut Registry, name: &str, help: &str, value: f64) {
    let gauge = Number::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}

fn count(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let counter: Counter = Counter::default();
    counter.inc_by(value);
    registry.register(name, help, counter);
}

fn age(of: SystemTime) -> f64 {
    SystemTime::now().duration_since(of).unwrap_or_default().as_secs_f64()
}

fn process(registry: &mut Registry, app: &App) {
    let health = &app.health;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    number(registry, "uptime_seconds", "Time since the agent was started", age(health.started));
    let lag = health.pulse.lag().as_secs_f64();
    number(registry, "scheduler_lag_seconds", "How long the main runtime let its last heartbeat wait", lag);
    let live = if health.live().late.is_empty() { 1.0 } else { 0.0 };
    number(registry, "live", "Whether no loop has work older than its limit", live);
    let counts = &health.counts;
    count(registry, "health_probes", "Probes that the health thread answered", read(&counts.answered));
    let handed = read(&counts.handed_over);
    count(registry, "connections_handed_over", "TCP connections given to the main runtime", handed);
    let refused = read(&counts.refused);
    count(registry, "connections_refused", "TCP connections refused because too many waited", refused);
    let evicted = read(&counts.evicted);
    count(registry, "connections_evicted", "Silent TCP connections closed to make room", evicted);
    count(registry, "log_lines_dropped", "Log lines dropped because nobody read them", log::dropped());
}

fn work(registry: &mut Registry, app: &App) {
    let mut states: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for operation in app.engine.journal().all() {
        let state = serde_json::to_value(*operation.state().borrow()).unwrap_or_default();
        let state = state.as_str().unwrap_or_default().to_owned();
        *states.entry((operation.kind(), state)).or_default() += 1;
    }
    let operations = Numbers::default();
    for ((kind, state), many) in states {
        let labels = vec![("kind", kind.to_owned()), ("state", state)];
        operations.get_or_create(&labels).set(float(many));
    }
    registry.register("operations", "Operations that are kept, by kind and state", operations);
    let (used, limit) = (Numbers::default(), Numbers::default());
    for bulkhead in app.engine.bulkheads() {
        let labels = vec![("bulkhead", bulkhead.name().to_owned())];
        used.get_or_create(&labels).set(float(bulkhead.used()));
        limit.get_or_create(&labels).set(float(bulkhead.limit()));
    }
    let (depth, oldest) = (Numbers::default(), Numbers::default());
    for (_, backlog) in app.engine.backlogs() {
        let labels = vec![("thread", backlog.name().to_owned())];
        depth.get_or_create(&labels).set(float(backlog.depth()));
        oldest.get_or_create(&labels).set(backlog.oldest().map_or(0.0, |since| since.elapsed().as_secs_f64()));
    }
    registry.register("thread_backlog", "What threads of one name have not finished", depth);
    registry.register("thread_backlog_oldest_seconds", "How long the oldest of it has waited", oldest);
    let all = app.engine.journal().all().into_iter();
    let under_way = all.filter(|operation| !operation.state().borrow().is_final()).map(|operation| operation.view());
    let running: Vec<_> = under_way.filter(|view| view.ended.is_none()).collect();
    let stuck = running.iter().filter(|view| view.stuck.is_some()).count();
    number(registry, "operations_stuck", "Operations under way that do not get on", float(stuck));
    let running = running.iter().map(|view| age(view.created));
    number(
        registry,
        "operation_oldest_seconds",
        "Time since the oldest operation under way",
        running.fold(0.0, f64::max),
    );
    let stalls = app.health.stalls.all();
    let now = stalls.iter().filter(|stall| stall.ended.is_none()).count();
    number(registry, "stalled", "Loops and threads that are late", float(now));
    let owed = float(app.engine.store_owed());
    number(registry, "store_writes_owed", "What the store has not taken yet of what holds", owed);
    let (samplers, looks) = app.engine.samplers();
    number(registry, "samplers", "Samplers of rates that run because somebody watches", float(samplers));
    count(registry, "samples", "How often the counters of a lab were looked at for somebody who watches", looks);
    registry.register("bulkhead_used", "What a bulkhead has under way", used);
    registry.register("bulkhead_limit", "What a bulkhead can have under way", limit);
}

fn labs(registry: &mut Registry, app: &App) {
    let States { labs, nodes, links } = app.census.of(&app.engine);
    number(registry, "labs", "Labs that are wanted", float(labs));
    let paused = app.engine.pauses().all().len();
    number(registry, "labs_paused", "Labs for which nothing is done since that failed again and again", float(paused));
    if let Some(left) = app.engine.leftovers_known() {
        number(registry, "leftovers", "Things with our mark that no lab wants, as of the last look", float(left));
    }
    by_state(registry, "nodes", "Nodes of labs that are wanted, by state", nodes);
    by_state(registry, "links", "Links of labs that are wanted, by state", links);
    count(
        registry,
        "inventory_version",
        "How often the inventory has changed",
        app.engine.inventory().snapshot().version,
    );
}

fn by_state(registry: &mut Registry, name: &str, help: &str, states: BTreeMap<String, usize>) {
    let family = Numbers::default();
    for (state, many) in states {
        family.get_or_create(&vec![("state", state)]).set(float(many));
    }
    registry.register(name, help, family);
}

fn switch(registry: &mut Registry, app: &App) {
    let Some(figures) = app.engine.switch_figures() else { return };
    count(registry, "ovs_transactions", "Transactions that changed Open vSwitch", figures.transactions);
    let help = "How often all was read anew from the database of Open vSwitch, after the first time";
    count(registry, "ovs_resyncs", help, figures.resyncs);
    let help = "Ports of Open vSwitch that somebody else changed or removed, and that were mended";
    count(registry, "ovs_repairs", help, figures.repairs);
    number(registry, "ovs_rows", "Rows of the database of Open vSwitch that are mirrored", float(figures.rows));
    let help = "Tags that are taken on the bridges of Open vSwitch on which links of this agent have some";
    number(registry, "ovs_tags", help, float(figures.tags));
}

/// Only with a controller.
fn controller(registry: &mut Registry, app: &App) {
    let Some(member) = app.member.as_ref().filter(|member| member.has_controller()) else { return };
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counts = &member.counts;
    let registered = if member.health().registered { 1.0 } else { 0.0 };
    number(registry, "controller_registered", "Whether the controller knows the agent", registered);
    let help = "Registrations that the controller took";
    count(registry, "controller_registrations", help, read(&counts.registrations));
    count(registry, "controller_heartbeats", "Heartbeats that were sent", read(&counts.beats));
    let help = "Heartbeats that were not acknowledged";
    count(registry, "controller_heartbeats_failed", help, read(&counts.beats_failed));
    if let Some(age) = member.acknowledged_age() {
        let help = "Time since a heartbeat was acknowledged";
        number(registry, "controller_acknowledged_age_seconds", help, age.as_secs_f64());
    }
    if let Some(age) = member.disk_age() {
        let help = "Time since the disk that the controller is told of was looked at";
        number(registry, "controller_disk_age_seconds", help, age.as_secs_f64());
    }
    let events = &member.outbox.counts;
    let help = "Events of nodes and interfaces that were to be told to the controller";
    count(registry, "controller_events_queued", help, read(&events.queued));
    count(registry, "controller_events_sent", "Events that the controller took", read(&events.sent));
    let help = "Events that are not told because a newer one took their place";
    count(registry, "controller_events_overtaken", help, read(&events.overtaken));
    let help = "Events that are never told: dead letters";
    count(registry, "controller_events_dropped", help, read(&events.dropped));
    let waiting = float(member.outbox.waiting());
    number(registry, "controller_events_waiting", "Events that wait for the controller", waiting);
}

fn sources(registry: &mut Registry, app: &App) {
    let snapshot = app.engine.inventory().snapshot();
    let (listed, up, mended) = (Numbers::default(), Numbers::default(), Counts::default());
    let images = snapshot.sources.keys().filter(|source| matches!(source, netloom_engine::Source::Images(_)));
    for source in app.engine.sources().iter().chain(images) {
        let labels = vec![("source", source_name(*source, app.engine.fabric()).to_owned())];
        let state = snapshot.sources.get(source);
        let answers = state.is_some_and(|state| state.error.is_none() && state.listed.is_some());
        up.get_or_create(&labels).set(if answers { 1.0 } else { 0.0 });
        let Some(state) = state else { continue };
        if let Some(at) = state.listed {
            listed.get_or_create(&labels).set(age(at));
        }
        mended.get_or_create(&labels).inc_by(state.mended);
    }
    registry.register("source_up", "Whether a source answers", up);
    registry.register("source_listed_age_seconds", "Time since a source was listed whole", listed);
    registry.register("source_mended_facts", "Facts that a relist had to mend", mended);
}
