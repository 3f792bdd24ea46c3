//! One case, in its sandbox: prepare, disturb, start again, wait, look.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netloom_engine::LabView;
use netloom_kernel::{Netns, Process, Signal};
use netloom_plan::NodeState;

use crate::case::{Case, Event, Random, Scenario};
use crate::host::{Host, Orders, pause, until};
use crate::ledger::Entry;
use crate::topology::{
    AFTER, BEFORE, BRIDGE, CUT, DOCKER_AFTER, DOCKER_BEFORE, HOST_AFTER, HOST_BEFORE, HOST_MGMT, MGMT, MGMT_BRIDGE,
    MGMT_PUBLISHED, ONCE, RUNNING, STEADY, TURNED, UNTOUCHED,
};
use crate::traces::{Traces, nodes_with_traces, on_host};
use crate::traffic::{Tally, Traffic};
use crate::wanted::{Edit, Shape, Wanted, all_nodes_are_made, doubt, incomplete};

/// How long the agent may take to what is desired, from its new start on.
const CONVERGES: Duration = Duration::from_secs(10);
/// How long after its command an agent may take to reach the point at which it dies.
const DIES: Duration = Duration::from_secs(5);
/// How long is looked for more than it may take, to know how long it does.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many times longer all of it may take where it is Docker's work.
const DOCKER: u32 = 3;
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
        })
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
        let killed = self.disturb(&orders, entry)?;
        orders.disarm()?;
        entry.command_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
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
        let trace = [first.map(|orders| orders.trace()).unwrap_or_default(), orders.trace()].concat();
        orders = Orders::default();

        // From here on it is as if nothing had happened, but that it has.
        let again = Instant::now();
        let ended = self.host.netloom_with(&orders, &["agent", "--background"])?;
        ensure!(ended.code == Some(0), "the agent does not start again: {}", ended.text);
        if self.case.event == Event::Upgrade {
            ensure!(self.host.runs_what_is_there()?, "the agent is the one of before the upgrade");
        }
        let wanted = self.wanted(&trace)?;
        let mut why = String::new();
        let times = if self.case.scenario.has_docker() { DOCKER } else { 1 };
        let converged = until(PATIENCE * times, || {
            why = self.differs(wanted)?;
            Ok(why.is_empty())
        })?;
        let took = again.elapsed();
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
        if let Err(error) = self.settled(wanted, doubt(&trace)) {
            entry.problems.push(format!("{error:#}"));
        }
        let mut tally = Tally::default();
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
        self.clean_up(entry)
    }

    /// Everything up to the moment in which the case begins. What an agent was told that died meanwhile.
    fn prepare(&mut self, orders: &Orders) -> Result<Option<Orders>> {
        let scenario = self.case.scenario;
        if scenario.is_first() {
            return Ok(None);
        }
        let mut first = scenario.first_crash().map(|point| self.host.orders("first", point.to_owned()));
        let gate = match (&first, scenario) {
            (Some(orders), Scenario::Mend) => {
                // The thread that opens places for links waits here, until every node is made.
                let (gate, waiting) = orders.hold("netns.watched")?;
                first = Some(waiting);
                Some(gate)
            }
            _ => None,
        };
        let with = first.as_ref().unwrap_or(orders);
        self.deploy(with, &self.host.file("steady", STEADY)?)?;
        match scenario {
            Scenario::Recover => {}
            Scenario::Mend => self.deploy(with, &self.host.file("x", BRIDGE)?)?,
            _ => self.deploy(with, &self.file(Shape::Before)?)?,
        }
        if let Some(first) = &first {
            first.arm()?;
            let file = self.file(Shape::Before)?;
            let destroys = scenario == Scenario::Undo;
            let arguments: &[&str] = if destroys { &["destroy", "--name", "x"] } else { &["deploy", "-t", &file] };
            let mut command = self.host.start(first, arguments)?;
            if let Some(gate) = gate {
                let made = until(PATIENCE, || Ok(all_nodes_are_made(&first.trace())))?;
                ensure!(made, "the nodes were not made before their links: {:?}", first.trace());
                std::fs::remove_file(gate)?;
            }
            command.wait()?;
            ensure!(self.dies(first)?, "the first agent did not die at {}", first.failpoint);
        }
        self.begin_traffic("steady", ["s1", "s2"], "10.9.0.2")?;
        let untouched: &[&str] = match scenario {
            Scenario::Change if matches!(self.case.event, Event::Node { .. }) => &UNTOUCHED,
            Scenario::Change => &["u1", "u2", "a"],
            Scenario::Restart | Scenario::Halt | Scenario::Wake => &["u1", "u2", "a", "c", "gone"],
            Scenario::Link | Scenario::Adopt | Scenario::Repin | Scenario::Stop => &["u1", "u2", "a", "b", "c", "gone"],
            Scenario::Deploy
            | Scenario::Destroy
            | Scenario::Recover
            | Scenario::Mend
            | Scenario::Undo
            | Scenario::DockerDeploy
            | Scenario::DockerChange
            | Scenario::DockerRestart
            | Scenario::DockerDestroy
            | Scenario::MgmtDeploy
            | Scenario::MgmtMend
            | Scenario::MgmtDestroy => &[],
        };
        if scenario.has_docker() {
            let labs = self.host.labs()?;
            self.addresses = self.management_addresses()?;
            let nodes = labs.iter().filter(|lab| lab.name.as_str() == "x").flat_map(|lab| &lab.nodes);
            self.turned = nodes.filter(|node| node.name.as_str() == TURNED).find_map(|node| node.pid);
        }
        if !untouched.is_empty() {
            self.begin_traffic("x", UNTOUCHED, "10.8.0.2")?;
            self.remember("x", untouched)?;
            self.turned = self.init("x", TURNED)?;
        }
        self.set_the_scene(orders)?;
        Ok(first)
    }

    /// What others do before the command.
    fn set_the_scene(&mut self, orders: &Orders) -> Result<()> {
        let done = |arguments: &[&str]| {
            let ended = self.host.netloom_with(orders, arguments)?;
            ensure!(ended.code == Some(0), "{}: {}", arguments.join(" "), ended.text);
            anyhow::Ok(())
        };
        match self.case.scenario {
            Scenario::Wake => done(&["node", "stop", &format!("x/{TURNED}")]),
            Scenario::Destroy => {
                self.stranger = Some(self.host.stranger("x", TURNED)?);
                Ok(())
            }
            Scenario::Adopt => {
                done(&["agent", "stop"])?;
                std::fs::remove_file(self.host.layout.store())?;
                done(&["agent", "--background"])?;
                done(&["adopt", "steady"])
            }
            Scenario::Repin => {
                done(&["agent", "stop"])?;
                let pin = self.host.layout.pins().join("x").join(TURNED);
                Ok(rustix::mount::unmount(&pin, rustix::mount::UnmountFlags::DETACH)?)
            }
            Scenario::MgmtMend => {
                done(&["agent", "stop"])?;
                let deleted = Command::new("ip").args(["link", "delete", MGMT_BRIDGE]).status()?;
                ensure!(deleted.success(), "the bridge {MGMT_BRIDGE} cannot be deleted");
                let flushed = Command::new("iptables").args(["--wait", "5", "-F", "DOCKER-USER"]).status()?;
                ensure!(flushed.success(), "the rules of the host cannot be taken away");
                Ok(())
            }
            Scenario::Deploy
            | Scenario::Change
            | Scenario::Link
            | Scenario::Restart
            | Scenario::Halt
            | Scenario::Recover
            | Scenario::Mend
            | Scenario::Undo
            | Scenario::Stop
            | Scenario::DockerDeploy
            | Scenario::DockerChange
            | Scenario::DockerRestart
            | Scenario::DockerDestroy
            | Scenario::MgmtDeploy
            | Scenario::MgmtDestroy => Ok(()),
        }
    }

    /// The file of lab `x`: one path, whatever is in it.
    fn file(&self, shape: Shape) -> Result<String> {
        let scenario = self.case.scenario;
        let text = match (shape, scenario.has_docker()) {
            _ if scenario.has_network() => MGMT,
            (Shape::Before, false) => BEFORE,
            (Shape::After, false) => AFTER,
            (Shape::Before, true) => DOCKER_BEFORE,
            (Shape::After, true) => DOCKER_AFTER,
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
        self.remember(lab, &nodes)
    }

    /// Which processes these nodes run, which they are to run at the end, too.
    fn remember(&mut self, lab: &str, nodes: &[&str]) -> Result<()> {
        for node in nodes {
            let pid = self.init(lab, node)?;
            self.pids.insert(format!("{lab}/{node}"), pid);
        }
        Ok(())
    }

    /// The init of a node. Also when there is no agent: what is written down of a node says which process it is.
    fn init(&self, lab: &str, node: &str) -> Result<Option<u32>> {
        let status = self.host.layout.run().join("nodes").join(lab).join(node).join("status.json");
        let status: serde_json::Value = serde_json::from_slice(&std::fs::read(status)?)?;
        Ok(status["init"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()))
    }

    /// The command, and what happens in the middle of it. Whether it came to the kill.
    fn disturb(&mut self, orders: &Orders, entry: &mut Entry) -> Result<bool> {
        let changes = matches!(self.case.scenario, Scenario::Change | Scenario::DockerChange);
        let shape = if changes { Shape::After } else { Shape::Before };
        let file = self.file(shape)?;
        let node = format!("x/{TURNED}");
        if self.case.event == Event::Upgrade {
            self.host.replace_binary()?;
        }
        let arguments: &[&str] = match self.case.scenario {
            Scenario::Deploy
            | Scenario::Change
            | Scenario::DockerDeploy
            | Scenario::DockerChange
            | Scenario::MgmtDeploy => &["deploy", "-t", &file],
            Scenario::Link => &["link", "down", "x", CUT],
            Scenario::Restart | Scenario::DockerRestart => &["node", "restart", &node],
            Scenario::Halt => &["node", "stop", &node],
            Scenario::Wake => &["node", "start", &node],
            Scenario::Destroy | Scenario::DockerDestroy | Scenario::MgmtDestroy => &["destroy", "--name", "x"],
            Scenario::Adopt => &["adopt", "x"],
            Scenario::Repin | Scenario::Recover | Scenario::Mend | Scenario::Undo | Scenario::MgmtMend => {
                &["agent", "--background"]
            }
            Scenario::Stop => &["agent", "stop"],
        };
        let mut command = self.host.start(orders, arguments)?;
        match &self.case.event {
            Event::Nothing | Event::Point { .. } | Event::Upgrade => {}
            Event::Moment { after } => {
                pause(Duration::from_micros(*after));
                let mut killed = false;
                // Before there is an agent there is nothing to kill, and after its end neither.
                until(DIES, || {
                    killed = Host::kill_agent()?;
                    Ok(killed || command.try_wait()?.is_some())
                })?;
                command.wait()?;
                return Ok(killed);
            }
            Event::Node { after } => {
                pause(Duration::from_micros(*after));
                let mut random = Random::new(self.case.seed);
                let (mut killed, mut ended) = (false, false);
                until(DIES, || {
                    let untouched: Vec<u32> = self.pids.values().flatten().copied().collect();
                    let inits: Vec<u32> = Host::inits().into_iter().filter(|pid| !untouched.contains(pid)).collect();
                    let at = usize::try_from(random.below(inits.len() as u64))?;
                    if let Some(victim) = inits.get(at)
                        && let Some(victim) = Process::open(*victim)?
                    {
                        victim.signal(Signal::KILL)?;
                        self.victim = Some(victim.identity().pid);
                        killed = true;
                    }
                    // No node runs yet, or none any more: one look after the end of all that is to be disturbed.
                    let enough = killed || ended;
                    ended = command.try_wait()?.is_some() && !self.case.scenario.is_start();
                    Ok(enough)
                })?;
                command.wait()?;
                return Ok(killed);
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
        if self.case.scenario.is_start() && !kills {
            // What the agent does after its start belongs to the scenario.
            let wanted = self.wanted(&[])?;
            until(CONVERGES, || Ok(self.differs(wanted)?.is_empty()))?;
        }
        Ok(false)
    }

    /// Waits for an agent to die by these orders.
    fn dies(&self, orders: &Orders) -> Result<bool> {
        if !until(DIES, || Ok(orders.killed_by().is_some()))? {
            return Ok(false);
        }
        ensure!(self.host.all_gone()?, "what the point has killed does not end");
        Ok(true)
    }

    /// What is desired now: what had been stored when the agent died.
    fn wanted(&self, trace: &[String]) -> Result<Wanted> {
        let before = |edit| Wanted::Lab(Shape::Before, edit);
        let (without, with) = match self.case.scenario {
            Scenario::Deploy | Scenario::DockerDeploy | Scenario::MgmtDeploy => (Wanted::Nothing, before(Edit::None)),
            Scenario::Change | Scenario::DockerChange => (before(Edit::None), Wanted::Lab(Shape::After, Edit::None)),
            Scenario::Link => (before(Edit::None), before(Edit::Cut)),
            Scenario::Restart | Scenario::DockerRestart => (before(Edit::Unturned), before(Edit::Turned)),
            Scenario::Halt => (before(Edit::Unturned), before(Edit::Halted)),
            Scenario::Wake => (before(Edit::Halted), before(Edit::Turned)),
            Scenario::Destroy | Scenario::DockerDestroy | Scenario::MgmtDestroy => {
                (before(Edit::None), Wanted::Nothing)
            }
            Scenario::Adopt => (Wanted::Unknown, before(Edit::Unturned)),
            Scenario::Repin | Scenario::MgmtMend => return Ok(before(Edit::Unturned)),
            // Stored before the first crash.
            Scenario::Recover | Scenario::Mend | Scenario::Stop => return Ok(before(Edit::None)),
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
        let stored = until(CONVERGES, || Ok(self.differs(with)?.is_empty() || self.differs(without)?.is_empty()))?;
        ensure!(stored, "neither as before the command nor as it wanted it");
        Ok(if self.differs(with)?.is_empty() { with } else { without })
    }

    /// What is not as desired yet; empty when all is.
    fn differs(&self, wanted: Wanted) -> Result<String> {
        let labs = self.host.labs()?;
        let find = |name: &str| labs.iter().find(|lab| lab.name.as_str() == name);
        if !self.case.scenario.is_first() {
            let Some(steady) = find("steady") else { return Ok("lab steady is not there".into()) };
            let why = incomplete(steady, Edit::None);
            if !why.is_empty() {
                return Ok(why);
            }
        }
        match (wanted, find("x")) {
            (Wanted::Nothing, None) => self.astray(&[], &[]),
            (Wanted::Nothing, Some(lab)) => Ok(format!("lab x is there: {:?}", lab.phase)),
            (Wanted::Lab(..) | Wanted::Unknown, None) => Ok("lab x is not there".into()),
            (Wanted::Unknown, Some(lab)) => {
                let running = lab.nodes.iter().filter(|node| node.state == NodeState::Running).count();
                let as_it_was = lab.phase.is_none() && running == RUNNING;
                Ok(if as_it_was { self.life(lab, Edit::Unturned) } else { format!("lab x is {lab:?}") })
            }
            (Wanted::Lab(shape, edit), Some(lab)) => {
                let why = [incomplete(lab, edit), self.life(lab, edit)].concat();
                if !why.is_empty() {
                    return Ok(why);
                }
                if lab.nodes.iter().any(|node| node.pid.is_some() && node.pid == self.victim) {
                    return Ok("a node that was killed is not missed yet".into());
                }
                let planned = self.host.netloom(&["deploy", "-t", &self.file(shape)?, "--dry-run"])?;
                if planned.code != Some(0) || !planned.text.contains("nothing to change") {
                    return Ok(format!("still to do: {}", planned.text));
                }
                let nodes = lab.nodes.iter().filter(|node| node.runtime.is_some()).map(|node| node.name.as_str());
                let interfaces: &[&str] = match shape {
                    _ if self.case.scenario.has_network() => &HOST_MGMT,
                    _ if self.case.scenario.has_docker() => &[],
                    Shape::Before => &HOST_BEFORE,
                    Shape::After => &HOST_AFTER,
                };
                self.astray(&nodes.collect::<Vec<_>>(), interfaces)
            }
        }
    }

    /// Whether [`TURNED`] lives the life that it should.
    fn life(&self, lab: &LabView, edit: Edit) -> String {
        let pid = lab.nodes.iter().find(|node| node.name.as_str() == TURNED).and_then(|node| node.pid);
        match edit {
            Edit::Unturned if pid != self.turned => format!("node {TURNED} was started again"),
            Edit::Turned if pid == self.turned => format!("node {TURNED} was not started again"),
            Edit::Unturned if Netns::open(self.host.layout.pins().join("x").join(TURNED)).is_err() => {
                format!("node {TURNED} is not pinned")
            }
            Edit::None | Edit::Cut | Edit::Unturned | Edit::Turned | Edit::Halted => String::new(),
        }
    }

    /// What the host has of lab `x` beside these nodes and these interfaces of its own, or lacks.
    fn astray(&self, nodes: &[&str], interfaces: &[&str]) -> Result<String> {
        let nodes = nodes.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
        let mut interfaces = interfaces.to_vec();
        interfaces.sort_unstable();
        let (mut has_nodes, has_interfaces) = (nodes_with_traces(&self.host.layout, "x")?, on_host()?);
        let containers = self.host.containers()?;
        has_nodes.extend(containers.into_iter().map(|name| name.trim_start_matches("clab-x-").to_owned()));
        let mut why = String::new();
        if nodes != has_nodes {
            why = format!("there are traces of nodes {has_nodes:?}, not of {nodes:?}");
        }
        if interfaces != has_interfaces {
            let _ = write!(why, "the host has {has_interfaces:?}, not {interfaces:?}");
        }
        Ok(why)
    }

    /// That a second deploy changes nothing, and that what nobody touched was not touched.
    fn settled(&self, wanted: Wanted, doubt: usize) -> Result<()> {
        if let Wanted::Lab(shape, _) = wanted {
            let ended = self.host.netloom(&["deploy", "-t", &self.file(shape)?])?;
            ensure!(ended.code == Some(0) && ended.text.contains("nothing to change"), "second deploy: {}", ended.text);
            let done = self.host.netloom(&["exec", "--name", "x", "--node", ONCE, "--", "cat", "/done"])?;
            let times = done.text.lines().filter(|line| *line == "done").count();
            // Once; where the agent died before it had noted so, perhaps once more. A node that was killed runs it again.
            let most = 1 + doubt + usize::from(matches!(self.case.event, Event::Node { .. }));
            ensure!((1..=most).contains(&times), "the command of {ONCE} was run {times} times: {}", done.text);
            if self.case.scenario.has_network() {
                self.is_managed()?;
            }
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

    /// That nodes reach each other over the management network, with the addresses that they had.
    fn is_managed(&self) -> Result<()> {
        if !self.addresses.is_empty() {
            let addresses = self.management_addresses()?;
            ensure!(addresses == self.addresses, "nodes have {addresses:?} now and had {:?}", self.addresses);
        }
        for node in [ONCE, TURNED] {
            let node = format!("x/{node}");
            let reached = self.host.netloom(&["exec", &node, "--", "ping", "-c", "1", "-W", "5", MGMT_PUBLISHED])?;
            ensure!(reached.code == Some(0), "{node} does not reach {MGMT_PUBLISHED}: {}", reached.text);
        }
        Ok(())
    }

    /// What the nodes of lab `x` have on the management network.
    fn management_addresses(&self) -> Result<BTreeMap<String, String>> {
        let labs = self.host.labs()?;
        let nodes = labs.iter().filter(|lab| lab.name.as_str() == "x").flat_map(|lab| &lab.nodes);
        Ok(nodes
            .filter_map(|node| {
                let on = node.management.as_ref()?;
                Some((node.name.to_string(), format!("{:?} {:?}", on.ipv4, on.ipv6)))
            })
            .collect())
    }

    /// Everything goes, and the host is as it was.
    fn clean_up(&mut self, entry: &mut Entry) -> Result<()> {
        if self.case.scenario == Scenario::Adopt {
            // What the agent does not know it destroys only by name; the other one is known.
            self.host.netloom(&["destroy", "--name", "x"])?;
        }
        let ended = self.host.netloom(&["destroy", "--all", "--yes"])?;
        if ended.code != Some(0) {
            entry.problems.push(format!("destroy: {}", ended.text));
        }
        let ended = self.host.netloom(&["agent", "stop"])?;
        ensure!(ended.code == Some(0), "agent stop: {}", ended.text);
        if let Some(mut stranger) = self.stranger.take() {
            ensure!(stranger.try_wait()?.is_none(), "somebody else's process was ended with a node");
            stranger.kill()?;
            stranger.wait()?;
        }
        // What the daemon has for a container ends some time after it.
        until(PATIENCE, || {
            entry.leftovers = Traces::look(&self.host.layout)?.since(&self.clean);
            Ok(entry.leftovers.is_empty() || !self.case.scenario.has_docker())
        })?;
        entry.leftovers.extend(self.host.containers()?.into_iter().map(|name| format!("container {name}")));
        let own = ["bridge", "host", "none"];
        let networks = self.host.networks()?.into_iter().filter(|name| !own.contains(&name.as_str()));
        entry.leftovers.extend(networks.map(|name| format!("network {name}")));
        entry.leftovers.extend(self.host.volumes()?.into_iter().map(|name| format!("volume {name}")));
        entry.leftovers.extend(self.host.keys()?.into_iter().map(|key| format!("store {key}")));
        Ok(())
    }
}
