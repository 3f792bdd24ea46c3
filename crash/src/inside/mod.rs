//! One case, in its sandbox: prepare, disturb, start again, wait, look.

mod desired;
mod disturb;
mod fault;
mod leave;
mod prepare;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netloom_fault_kit::Manner;

use crate::case::{Case, Event, Fault};
use crate::disk;
use crate::host::{Host, Orders, until};
use crate::ledger::Entry;
use crate::pings::Pings;
use crate::running::Running;
use crate::scenario::Kind;
use crate::traces::Traces;
use crate::traffic::{Tally, Traffic};
use crate::uplink;
use crate::wanted::{Wanted, doubt};

/// How long the agent may take to what is desired, from its new start on.
const CONVERGES: Duration = Duration::from_secs(10);
/// How long after its command an agent may take to reach the point at which it dies.
const DIES: Duration = Duration::from_secs(5);
/// How long is looked for more than it may take, to know how long it does.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the traffic flows at least where nothing is killed.
const WHILE: Duration = Duration::from_secs(2);

/// Runs a case; whatever goes wrong is in the entry.
pub(crate) fn run(case: &Case, netloom: PathBuf, root: &Path) -> Entry {
    let mut entry = Entry::new(case);
    let result = Host::new(netloom, root).and_then(|mut host| {
        if case.event == Event::Upgrade {
            host.take_binary_along()?;
        }
        if case.scenario.has_docker() {
            host.start_docker(case.scenario)?;
        }
        if case.scenario.has_switch() {
            host.start_switch()?;
        }
        if case.fault == Some(Fault::DockerLate) {
            host.stand_between()?;
        }
        if case.fault == Some(Fault::DiskFull) {
            disk::mount(&host.layout)?;
        }
        if matches!(case.scenario.kind, Kind::Inherited | Kind::Host) {
            host.be_controlled();
        }
        if case.scenario.kind == Kind::Host {
            uplink::plug()?;
        }
        if case.scenario.has_network() {
            host.make_files(case.scenario)?;
        }
        let result = Run::new(case, &host).and_then(|mut run| run.all(&mut entry));
        if result.is_err() || !entry.problems.is_empty() {
            entry.problems.extend(host.log());
        }
        result
    });
    if let Err(error) = result {
        entry.problems.insert(0, format!("{error:#}"));
    }
    entry.judge();
    entry
}

struct Run<'a> {
    case: &'a Case,
    host: &'a Host,
    clean: Traces,
    /// Inits of nodes that nobody touches.
    pids: BTreeMap<String, Option<u32>>,
    /// The init of a node that was killed in the middle of the command.
    victim: Option<u32>,
    /// Somebody else's process, in the group of a node.
    stranger: Option<Child>,
    /// The init of [`TURNED`] before the command, where that is about it.
    turned: Option<u32>,
    /// What the nodes had on the management network before it.
    addresses: BTreeMap<String, String>,
    traffic: Vec<Traffic>,
    /// Pings between the nodes that another agent has left, and their wiring.
    pings: Option<Pings>,
    wiring: BTreeSet<String>,
    /// What ran when the agent was killed, where something was wrong with the host then.
    runs: Running,
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, host: &'a Host) -> Result<Self> {
        Ok(Self {
            case,
            host,
            clean: Traces::look(&host.layout)?,
            pids: BTreeMap::new(),
            victim: None,
            stranger: None,
            turned: None,
            addresses: BTreeMap::new(),
            traffic: Vec::new(),
            pings: None,
            wiring: BTreeSet::new(),
            runs: Running::default(),
        })
    }

    fn all(&mut self, entry: &mut Entry) -> Result<()> {
        let orders = self.orders()?;
        let first = self.prepare(&orders).context("before the crash")?;
        orders.arm()?;
        let started = Instant::now();
        let killed = self.disturb(&orders, entry)?;
        orders.disarm()?;
        entry.command_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.note(&orders, killed, entry);
        let trace = [first.map(|orders| orders.trace()).unwrap_or_default(), orders.trace()].concat();

        // From here on it is as if nothing had happened, but that it has.
        let mut again = Instant::now();
        self.start_again()?;
        if killed && let Some(fault) = self.case.fault {
            self.live_with(fault, again, entry)?;
            if self.end_fault(fault)? {
                again = Instant::now();
            }
        }
        let wanted = self.wanted(&trace)?;
        self.converge(wanted, again, entry)?;
        self.host.behave(Manner::Faithful);
        if let Err(error) = self.settled(wanted, doubt(&trace)) {
            entry.problems.push(format!("{error:#}"));
        }
        self.end_traffic(entry);
        self.clean_up(entry)
    }

    /// What the agent of the case is started with.
    fn orders(&self) -> Result<Orders> {
        let none = self.host.orders("case", String::new());
        let Event::Point { name, passage } = &self.case.event else { return Ok(none) };
        let place = format!("{name}:{passage}");
        match self.case.fault {
            None => Ok(self.host.orders("case", place)),
            // It waits there until the fault has begun and it is killed.
            Some(_) => Ok(none.hold(&place)?.1),
        }
    }

    /// What is known of the command and of the kill.
    fn note(&self, orders: &Orders, killed: bool, entry: &mut Entry) {
        if !killed {
            entry.said = self.host.said();
        }
        match &self.case.event {
            Event::Nothing => entry.passed = orders.passed(),
            Event::Upgrade => {}
            Event::Moment { .. } | Event::Node { .. } => entry.killed = Some(killed),
            Event::Point { name, .. } => {
                entry.killed = Some(killed);
                entry.killed_by_point = Some(killed && orders.killed_by().as_ref() == Some(name));
            }
        }
    }

    fn start_again(&self) -> Result<()> {
        let ended = self.host.netloom(&["agent", "--background"])?;
        ensure!(ended.code == Some(0), "the agent does not start again: {}", ended.text);
        if self.case.event == Event::Upgrade {
            ensure!(self.host.runs_what_is_there()?, "the agent is the one of before the upgrade");
        }
        Ok(())
    }

    /// Waits until all is as desired.
    fn converge(&self, wanted: Wanted, since: Instant, entry: &mut Entry) -> Result<()> {
        let mut why = String::new();
        let times = self.case.slowness();
        let converged = until(PATIENCE * times, || {
            why = self.differs(wanted)?;
            Ok(why.is_empty())
        })?;
        let took = since.elapsed();
        entry.converged_ms = converged.then(|| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        if !converged {
            entry.problems.push(format!("never as desired ({wanted:?}): {why}"));
        } else if took > CONVERGES * times {
            entry.problems.push(format!("as desired only after {took:?}"));
        }
        if !entry.problems.is_empty() {
            let events = self.host.netloom(&["events"])?;
            entry.problems.push(format!("what it did since its start:\n{}", events.text));
        }
        Ok(())
    }

    /// What became of the traffic.
    fn end_traffic(&mut self, entry: &mut Entry) {
        let mut tally = Tally::default();
        if let Some(Err(error)) = self.pings.take().map(Pings::stop) {
            entry.problems.push(format!("{error:#}"));
        }
        entry.tcp_ok = (!self.traffic.is_empty()).then_some(true);
        for traffic in self.traffic.drain(..) {
            if matches!(self.case.event, Event::Nothing | Event::Upgrade) {
                traffic.at_least(WHILE);
            }
            traffic.stop(&mut tally);
        }
        (entry.udp_sent, entry.udp_lost) = (tally.sent, tally.lost);
        entry.udp_ms = u64::try_from(tally.time.as_millis()).unwrap_or(u64::MAX);
        if !tally.broken.is_empty() {
            entry.tcp_ok = Some(false);
            entry.problems.extend(tally.broken);
        }
    }
}
