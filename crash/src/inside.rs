//! One case, in its sandbox: prepare, disturb, start again, wait, look.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netloom_engine::LabView;
use netloom_kernel::{Process, Signal};
use netloom_plan::NodeState;

use crate::case::{Case, Event, Random, Scenario};
use crate::host::{Host, Orders, pause, until};
use crate::ledger::{Entry, Verdict};
use crate::topology::{AFTER, BEFORE, CUT, ONCE, STEADY, UNTOUCHED};
use crate::traces::Traces;
use crate::traffic::{Tally, Traffic};

/// How long the agent may take to what is desired, from its new start on.
const CONVERGES: Duration = Duration::from_secs(10);
/// How long after its command an agent may take to reach the point at which it dies.
const DIES: Duration = Duration::from_secs(5);
/// How long is looked for more than it may take, to know how long it does.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is desired after the crash.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    /// No lab `x`.
    Nothing,
    /// Lab `x` in this shape, with that end cut or not.
    Lab { shape: Shape, cut: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Before,
    After,
}

/// Runs a case; whatever goes wrong is in the entry.
pub(crate) fn run(case: &Case, netloom: PathBuf, root: &Path) -> Entry {
    let mut entry = Entry::new(case);
    let result = Host::new(netloom, root).and_then(|mut host| {
        if case.event == Event::Upgrade {
            host.take_binary_along()?;
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
    if !entry.problems.is_empty() || !entry.leftovers.is_empty() || entry.udp_lost > 0 || entry.tcp_ok == Some(false) {
        entry.verdict = Verdict::Failed;
    }
    if entry.killed_by_point == Some(false) && entry.verdict == Verdict::Ok {
        entry.verdict = Verdict::NotReached;
    }
    entry
}

struct Run<'a> {
    case: &'a Case,
    host: &'a Host,
    clean: Traces,
    /// Inits of nodes that nobody touches.
    pids: BTreeMap<String, Option<u32>>,
    traffic: Vec<Traffic>,
}

impl<'a> Run<'a> {
    fn new(case: &'a Case, host: &'a Host) -> Result<Self> {
        Ok(Self { case, host, clean: Traces::look(&host.layout)?, pids: BTreeMap::new(), traffic: Vec::new() })
    }

    fn all(&mut self, entry: &mut Entry) -> Result<()> {
        let failpoint = match &self.case.event {
            Event::Point { name, passage } => format!("{name}:{passage}"),
            _ => String::new(),
        };
        let mut orders = self.host.orders("case", failpoint);
        let first = self.prepare(&orders).context("before the crash")?;
        orders.arm()?;
        let started = Instant::now();
        let dead = self.disturb(&orders, entry)?;
        orders.disarm()?;
        entry.command_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Event::Point { name, .. } = &self.case.event {
            entry.killed_by_point = Some(dead && orders.killed_by().as_ref() == Some(name));
        }
        if self.case.event == Event::Nothing {
            entry.trace = orders.trace();
        }
        let trace = [first.map(|orders| orders.trace()).unwrap_or_default(), orders.trace()].concat();
        orders = Orders::default();

        // From here on it is as if nothing had happened, but that it has.
        let again = Instant::now();
        let ended = self.host.netloom_with(&orders, &["agent", "--background"])?;
        ensure!(ended.code == Some(0), "the agent does not start again: {}", ended.text);
        let wanted = self.wanted(&trace)?;
        let mut why = String::new();
        let converged = until(PATIENCE, || {
            why = self.differs(&wanted)?;
            Ok(why.is_empty())
        })?;
        let took = again.elapsed();
        entry.converged_ms = converged.then(|| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        if !converged {
            entry.problems.push(format!("never as desired ({wanted:?}): {why}"));
        } else if took > CONVERGES {
            entry.problems.push(format!("as desired only after {took:?}"));
        }
        if let Err(error) = self.settled(&wanted) {
            entry.problems.push(format!("{error:#}"));
        }
        let mut tally = Tally::default();
        entry.tcp_ok = (!self.traffic.is_empty()).then_some(true);
        for traffic in self.traffic.drain(..) {
            traffic.stop(&mut tally);
        }
        (entry.udp_sent, entry.udp_lost) = (tally.sent, tally.lost);
        if !tally.broken.is_empty() {
            entry.tcp_ok = Some(false);
            entry.problems.extend(tally.broken);
        }
        self.clean_up(entry)
    }

    /// Everything up to the moment in which the case begins. What an agent was told that died meanwhile.
    fn prepare(&mut self, orders: &Orders) -> Result<Option<Orders>> {
        let scenario = self.case.scenario;
        if scenario == Scenario::Deploy {
            return Ok(None);
        }
        let first = scenario.first_crash().map(|point| self.host.orders("first", point.to_owned()));
        let with = first.as_ref().unwrap_or(orders);
        self.deploy(with, &self.host.file("steady", STEADY)?)?;
        if !matches!(scenario, Scenario::Recover | Scenario::Mend) {
            self.deploy(with, &self.file(Shape::Before)?)?;
        }
        if let Some(first) = &first {
            first.arm()?;
            if scenario == Scenario::Undo {
                self.host.netloom(&["destroy", "--name", "x"])?;
            } else {
                self.host.netloom(&["deploy", "-t", &self.file(Shape::Before)?])?;
            }
            ensure!(self.dies(first)?, "the first agent did not die at {}", first.failpoint);
        }
        self.begin_traffic("steady", ["s1", "s2"], "10.9.0.2")?;
        if matches!(scenario, Scenario::Change | Scenario::Link) {
            self.begin_traffic("x", UNTOUCHED, "10.8.0.2")?;
        }
        Ok(first)
    }

    /// The file of lab `x`: one path, whatever is in it.
    fn file(&self, shape: Shape) -> Result<String> {
        let text = match shape {
            Shape::Before => BEFORE,
            Shape::After => AFTER,
        };
        self.host.file("x", text)
    }

    fn deploy(&self, orders: &Orders, file: &str) -> Result<()> {
        let ended = self.host.netloom_with(orders, &["deploy", "-t", file])?;
        ensure!(ended.code == Some(0), "deploy: {}", ended.text);
        Ok(())
    }

    fn begin_traffic(&mut self, lab: &str, nodes: [&str; 2], address: &str) -> Result<()> {
        let pins = self.host.layout.pins().join(lab);
        self.traffic.push(Traffic::start(&pins.join(nodes[0]), &pins.join(nodes[1]), address).context("traffic")?);
        for node in nodes {
            // Also when there is no agent: what is written down of a node says which process it is.
            let status = self.host.layout.run().join("nodes").join(lab).join(node).join("status.json");
            let status: serde_json::Value = serde_json::from_slice(&std::fs::read(status)?)?;
            let pid = status["init"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
            self.pids.insert(format!("{lab}/{node}"), pid);
        }
        Ok(())
    }

    /// The command, and what happens in the middle of it. Whether the agent is dead.
    fn disturb(&self, orders: &Orders, entry: &mut Entry) -> Result<bool> {
        let shape = if self.case.scenario == Scenario::Change { Shape::After } else { Shape::Before };
        let file = self.file(shape)?;
        let arguments: &[&str] = match self.case.scenario {
            Scenario::Deploy | Scenario::Change => &["deploy", "-t", &file],
            Scenario::Link => &["link", "down", "x", CUT],
            Scenario::Destroy => &["destroy", "--name", "x"],
            Scenario::Recover | Scenario::Mend | Scenario::Undo => &["agent", "--background"],
            Scenario::Stop => &["agent", "stop"],
        };
        let mut command = self.host.start(orders, arguments)?;
        match &self.case.event {
            Event::Nothing | Event::Point { .. } | Event::Upgrade => {}
            Event::Moment { after } => {
                pause(Duration::from_micros(*after));
                // Before there is an agent there is nothing to kill.
                until(DIES, || Ok(Host::kill_agent()? || command.try_wait()?.is_some()))?;
                command.wait()?;
                return Ok(true);
            }
            Event::Node { after } => {
                pause(Duration::from_micros(*after));
                let mut random = Random::new(self.case.seed);
                until(DIES, || {
                    let untouched: Vec<u32> = self.pids.values().flatten().copied().collect();
                    let inits: Vec<u32> = Host::inits().into_iter().filter(|pid| !untouched.contains(pid)).collect();
                    let at = usize::try_from(random.below(inits.len() as u64))?;
                    let Some(victim) = inits.get(at) else { return Ok(false) };
                    let Some(victim) = Process::open(*victim)? else { return Ok(false) };
                    victim.signal(Signal::KILL)?;
                    Ok(true)
                })?;
                command.wait()?;
                return Ok(false);
            }
        }
        let ended = command.wait()?;
        let kills = matches!(self.case.event, Event::Point { .. });
        if kills && self.dies(orders)? {
            return Ok(true);
        }
        if !ended.success() && !kills {
            entry.problems.push(format!("the command failed: {}", self.host.said()));
        }
        if self.recovers() && !kills {
            // What the agent does after its start belongs to the scenario.
            let wanted = self.wanted(&[])?;
            until(CONVERGES, || Ok(self.differs(&wanted)?.is_empty()))?;
        }
        if self.case.event == Event::Upgrade {
            let new = self.host.netloom.with_extension("new");
            std::fs::copy(&self.host.netloom, &new)?;
            std::fs::rename(new, &self.host.netloom)?;
        }
        Ok(false)
    }

    fn recovers(&self) -> bool {
        self.case.scenario.first_crash().is_some()
    }

    /// Waits for an agent to die by these orders.
    fn dies(&self, orders: &Orders) -> Result<bool> {
        if !until(DIES, || Ok(orders.killed_by().is_some()))? {
            return Ok(false);
        }
        self.host.all_gone(Instant::now() + DIES)
    }

    /// What is desired now: what had been stored when the agent died.
    fn wanted(&self, trace: &[String]) -> Result<Wanted> {
        let lab = |shape, cut| Wanted::Lab { shape, cut };
        let (without, with) = match self.case.scenario {
            Scenario::Deploy => (Wanted::Nothing, lab(Shape::Before, false)),
            Scenario::Change => (lab(Shape::Before, false), lab(Shape::After, false)),
            Scenario::Link => (lab(Shape::Before, false), lab(Shape::Before, true)),
            Scenario::Destroy => (lab(Shape::Before, false), Wanted::Nothing),
            // Stored before the first crash.
            Scenario::Recover | Scenario::Mend | Scenario::Stop => return Ok(lab(Shape::Before, false)),
            Scenario::Undo => return Ok(Wanted::Nothing),
        };
        let asked = trace.iter().position(|point| point.ends_with(".before-store"));
        let Some(asked) = asked else { return Ok(without) };
        if trace[asked..].iter().any(|point| point == "store.after-commit") {
            return Ok(with);
        }
        if matches!(self.case.event, Event::Point { .. }) {
            return Ok(without);
        }
        // Killed between the commit and its note: either is right, as long as it is one of them.
        let stored = until(CONVERGES, || Ok(self.differs(&with)?.is_empty() || self.differs(&without)?.is_empty()))?;
        ensure!(stored, "neither as before the command nor as it wanted it");
        Ok(if self.differs(&with)?.is_empty() { with } else { without })
    }

    /// What is not as desired yet; empty when all is.
    fn differs(&self, wanted: &Wanted) -> Result<String> {
        let labs = self.host.labs()?;
        let find = |name: &str| labs.iter().find(|lab| lab.name.as_str() == name);
        if self.case.scenario != Scenario::Deploy {
            let Some(steady) = find("steady") else { return Ok("lab steady is not there".into()) };
            let why = incomplete(steady, None);
            if !why.is_empty() {
                return Ok(why);
            }
        }
        match (wanted, find("x")) {
            (Wanted::Nothing, None) => Ok(String::new()),
            (Wanted::Nothing, Some(lab)) => Ok(format!("lab x is there: {:?}", lab.phase)),
            (Wanted::Lab { .. }, None) => Ok("lab x is not there".into()),
            (Wanted::Lab { shape, cut }, Some(lab)) => {
                let why = incomplete(lab, cut.then_some(CUT));
                if !why.is_empty() {
                    return Ok(why);
                }
                let planned = self.host.netloom(&["deploy", "-t", &self.file(*shape)?, "--dry-run"])?;
                let nothing = planned.code == Some(0) && planned.text.contains("nothing to change");
                Ok(if nothing { String::new() } else { format!("still to do: {}", planned.text) })
            }
        }
    }

    /// That a second deploy changes nothing, and that what nobody touched was not touched.
    fn settled(&self, wanted: &Wanted) -> Result<()> {
        if let Wanted::Lab { shape, .. } = wanted {
            let ended = self.host.netloom(&["deploy", "-t", &self.file(*shape)?])?;
            ensure!(ended.code == Some(0) && ended.text.contains("nothing to change"), "second deploy: {}", ended.text);
            let done = self.host.netloom(&["exec", "--name", "x", "--node", ONCE, "--", "cat", "/done"])?;
            let times = done.text.lines().filter(|line| *line == "done").count();
            // At least once after a crash; each crash may cost one more.
            ensure!((1..=2).contains(&times), "the command of {ONCE} was run {times} times: {}", done.text);
        }
        for lab in self.host.labs()? {
            for node in &lab.nodes {
                if let Some(before) = self.pids.get(&format!("{}/{}", lab.name, node.name))
                    && *before != node.pid
                {
                    bail!("node {} of lab {} was started again", node.name, lab.name);
                }
            }
        }
        Ok(())
    }

    /// Everything goes, and the host is as it was.
    fn clean_up(&self, entry: &mut Entry) -> Result<()> {
        let ended = self.host.netloom(&["destroy", "--all", "--yes"])?;
        if ended.code != Some(0) {
            entry.problems.push(format!("destroy: {}", ended.text));
        }
        let ended = self.host.netloom(&["agent", "stop"])?;
        ensure!(ended.code == Some(0), "agent stop: {}", ended.text);
        entry.leftovers = Traces::look(&self.host.layout)?.since(&self.clean);
        entry.leftovers.extend(self.host.keys()?.into_iter().map(|key| format!("store {key}")));
        Ok(())
    }
}

/// What is missing of a lab; `cut` is the end that is to be off, all others are to be on.
fn incomplete(lab: &LabView, cut: Option<&str>) -> String {
    for node in &lab.nodes {
        if node.state != NodeState::Running {
            return format!("node {} is {}", node.name, node.state);
        }
    }
    for link in &lab.links {
        let wanted = link.ends.iter().any(|end| Some(end.end.as_str()) == cut);
        let is = link.ends.iter().any(|end| end.cut);
        if wanted != is || (!wanted && link.state != "up") {
            return format!("link {} is {}", link.id, link.state);
        }
    }
    lab.stale.clone().unwrap_or_default()
}
