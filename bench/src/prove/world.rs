//! The agent that is tried, with the Docker, the Open vSwitch and the disk that are its own, and how it passes a phase.

use std::collections::BTreeMap;
use std::fs;
use std::io::{PipeReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netloom_fault_kit::{Disk, Manner, Proxy, Stopped};
use netloom_ovs_fixture::Ovs;
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::cascade;
use super::fault::{self, Fault};
use super::load::{CONTAINERS, Load, NAMESPACES, Offered, SWITCHED};
use super::phase::Phase;
use super::row::Row;
use super::transitions::{Transition, Watcher};
use crate::agent::Agent;
use crate::canary::{self, Canary};
use crate::containers::{Bare, IMAGE};
use crate::contract::controller::Controller;
use crate::contract::set::{self, LABS, Set};
use crate::host::wait;
use crate::prober::Prober;
use crate::ring::Nodes;

/// The port of the agent.
const LISTEN: &str = "127.0.0.1:8001";
/// Mebibytes of the disk that its state is on.
const DISK: u64 = 64;
/// How long everything may take to be as it was before a fault: a deploy that waits for Docker, and a verdict.
const SETTLED: Duration = Duration::from_secs(120);
/// How long what has changed may take to be told.
const TOLD: Duration = Duration::from_secs(5);
/// How soon the agent answers again, and how soon all is right again.
pub(super) const RESUMED: f64 = 1.0;
const RIGHT: Duration = Duration::from_secs(2);
/// For how long the agent is stopped, at most.
const STOPPED: Duration = Duration::from_secs(30);
/// For how long its workers are blocked, and when `/livez` fails: ten seconds after the supervisor has first seen that work
/// is not served, at a look. It looks each two seconds.
const BLOCKED: Duration = Duration::from_secs(20);
pub(super) const LATE: (f64, f64) = (10.0, 15.0);
/// How long work is under way before a fault comes: a deploy of containers takes a second.
const UNDER_WAY: Duration = Duration::from_millis(400);
const LOOK: Duration = Duration::from_millis(20);

/// What there is. Fields go in this order: an agent before what it needs.
pub(super) struct World {
    pub(super) agent: Agent,
    watcher: Watcher,
    /// The agent, where it runs in the foreground with a log that nobody reads.
    foreground: Option<(Child, PipeReader)>,
    programs: (PathBuf, Option<PathBuf>),
    /// The processes of the labs that stand.
    processes: BTreeMap<String, u64>,
    /// The labs of a controller, and the controller, where there is one.
    pub(super) controlled: Option<(Set, Controller)>,
    pub(super) disk: Disk,
    pub(super) proxy: Proxy,
    pub(super) bare: Bare,
    /// What stands before the database of Open vSwitch.
    pub(super) ovs_proxy: Proxy,
    pub(super) ovs: Ovs,
}

impl World {
    pub(super) fn new(netloom: &Path, failpoints: Option<PathBuf>) -> Result<Self> {
        Self::with(netloom, failpoints, None)
    }

    /// One whose agent belongs to a controller, which has deployed so many containers.
    pub(super) fn controlled(netloom: &Path, containers: usize) -> Result<Self> {
        let controller = Controller::listen()?;
        let mut world = Self::with(netloom, None, Some(&controller))?;
        until(SETTLED, || controller.has_heard()).context("the agent does not come to its controller")?;
        world.controlled = Some((Set::deploy(containers)?, controller));
        world.settle()?;
        Ok(world)
    }

    fn with(netloom: &Path, failpoints: Option<PathBuf>, controller: Option<&Controller>) -> Result<Self> {
        let bare = Bare::start()?;
        let proxy = Proxy::start(&bare.socket())?;
        let ovs = Ovs::start_with_switch().context("Open vSwitch is needed (`openvswitch-switch`)")?;
        let ovs_proxy = Proxy::start(&ovs.socket())?;
        let mut agent = Agent::prepare(netloom, LISTEN, Some(proxy.socket()))?;
        agent.finds_ovs(ovs_proxy.socket());
        if let Some(controller) = controller {
            set::belongs(&mut agent, controller);
        }
        let state = agent.root().join("var/lib/netloom");
        fs::create_dir_all(&state)?;
        let disk = Disk::mount(&state, DISK)?;
        // What nodes write is not what is tried.
        let layers = state.join("layers");
        fs::create_dir_all(&layers)?;
        rustix::mount::mount("layers", &layers, "tmpfs", rustix::mount::MountFlags::empty(), None)?;
        agent.again()?;
        let watcher = Watcher::start(agent.socket())?;
        agent.deploy(canary::LAB, 2)?;
        agent.deploy(NAMESPACES.0, NAMESPACES.1)?;
        deploy(&agent, CONTAINERS, Nodes::Containers(IMAGE))?;
        deploy(&agent, SWITCHED, Nodes::Switched)?;
        let programs = (netloom.to_owned(), failpoints);
        let processes = BTreeMap::new();
        let (foreground, controlled) = (None, None);
        let mut world =
            Self { agent, watcher, foreground, programs, processes, controlled, disk, proxy, bare, ovs_proxy, ovs };
        world.settle()?;
        Ok(world)
    }

    /// All changes of capabilities so far.
    pub(super) fn transitions(&self) -> Vec<Transition> {
        self.watcher.seen()
    }

    /// Waits until every capability is well and the labs that stand are.
    pub(super) fn settle(&mut self) -> Result<()> {
        let (mut last, mut standing) = (String::new(), BTreeMap::new());
        let settled = until(SETTLED, || {
            let ready = self.agent.socket().get("/readyz?verbose").and_then(|ready| is_well(&ready));
            last = match (ready, self.standing()) {
                (Ok(()), Ok(Some(all))) => {
                    standing = all;
                    return true;
                }
                (Err(error), _) | (_, Err(error)) => format!("{error:#}"),
                (Ok(()), Ok(None)) => "not all nodes run".to_owned(),
            };
            false
        });
        ensure!(settled.is_some(), "nothing is as before after {} s: {last}", SETTLED.as_secs());
        // What is asked for is known a moment before it is told. Of an agent that was started anew nothing is.
        until(TOLD, || self.watcher.tells_of_no_illness());
        for (node, process) in standing {
            self.processes.entry(node).or_insert(process);
        }
        Ok(())
    }

    /// The processes of the nodes of the labs that stand, if all of them run.
    fn standing(&self) -> Result<Option<BTreeMap<String, u64>>> {
        let labs = self.agent.socket().get("/labs")?;
        let mut processes = BTreeMap::new();
        let own = [NAMESPACES, CONTAINERS, SWITCHED].map(|(name, size)| (name.to_owned(), size));
        let controlled = self.controlled.iter().flat_map(|(set, _)| (0..LABS).map(|lab| (set::lab(lab), set.nodes)));
        for (name, size) in own.into_iter().chain(controlled) {
            let lab = labs.as_array().context("labs")?.iter().find(|of| of["name"] == name);
            let lab = lab.with_context(|| format!("there is no lab {name}"))?;
            let nodes = lab["nodes"].as_array().context("nodes")?;
            ensure!(nodes.len() == size, "lab {name} has {} nodes, not {size}", nodes.len());
            for node in nodes {
                let Some(pid) = node["pid"].as_u64() else { return Ok(None) };
                processes.insert(format!("{name}/{}", node["name"].as_str().context("a name")?), pid);
            }
        }
        Ok(Some(processes))
    }

    /// What was lost of the labs that stand, in words.
    pub(super) fn lost(&mut self, fault: Fault) -> Vec<String> {
        if fault == Fault::DockerKilled {
            // A daemon that was killed ends its containers when it comes back, as Docker has it.
            self.processes.retain(|node, _| !node.starts_with(CONTAINERS.0));
        }
        let now = match self.standing() {
            Ok(Some(now)) => now,
            // What is not seen now is looked at again when all has settled.
            Ok(None) => return Vec::new(),
            Err(error) => return vec![format!("{error:#}")],
        };
        let lost = self.processes.iter().filter(|(node, pid)| now.get(*node) != Some(*pid));
        let lost: Vec<String> = lost.map(|(node, _)| node.clone()).collect();
        self.processes.retain(|node, _| !lost.contains(node));
        lost.into_iter().map(|node| format!("node {node} was restarted")).collect()
    }

    /// Passes a phase, which takes so long.
    pub(super) fn pass(&mut self, phase: &Phase, time: Duration) -> Result<Row> {
        let mut row = if phase.fault.silences() { self.be_silent(phase, time)? } else { self.endure(phase, time)? };
        row.problems.extend(self.lost(phase.fault));
        Ok(row)
    }

    /// Probes and works under a fault under which the agent answers.
    fn endure(&mut self, phase: &Phase, time: Duration) -> Result<Row> {
        if phase.fault == Fault::LogUnread {
            self.start_unread()?;
        }
        let mut row = Row::new(phase);
        {
            let load = match (phase.load, &self.controlled) {
                (Load::Controlled(asked), Some((set, _))) => cascade::offer(asked, &self.agent, set.nodes)?,
                (load, _) => Offered::start(load, &self.agent)?,
            };
            // A fault comes in the middle of work.
            wait(UNDER_WAY);
            let fault = fault::begin(phase.fault, self)?;
            let (prober, canary) = (Prober::start()?, Canary::start(self.agent.socket())?);
            row.started = Instant::now();
            wait(time);
            row.lasted = row.started.elapsed();
            let silence = |(_, controller): &(Set, Controller)| {
                controller.longest_silence(row.started, row.started + row.lasted).as_secs_f64()
            };
            row.silence = self.controlled.as_ref().map(silence);
            row.report = Some(prober.stop()?);
            row.song = Some(canary.stop()?);
            row.tallies = load.stop()?;
            drop(fault);
        }
        if let Some((mut child, _log)) = self.foreground.take() {
            if let Err(error) = self.agent.timed(&["agent", "stop"]) {
                row.problems.push(format!("{error:#}"));
                child.kill()?;
            }
            child.wait()?;
            self.agent.again()?;
        }
        Ok(row)
    }

    /// Starts the agent with a log that nobody reads, and that has no room for a line more.
    fn start_unread(&mut self) -> Result<()> {
        self.agent.timed(&["agent", "stop"])?;
        let (reader, writer) = std::io::pipe()?;
        let mut filler = fs::OpenOptions::new();
        // Opened anew, so that only who fills it does not wait.
        let filler = filler.write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let mut filler = filler.open(format!("/proc/self/fd/{}", writer.as_raw_fd()))?;
        let mut command = self.agent.command(&["agent"]);
        let child = command.env("NETLOOM_LOG", "trace").stderr(writer).spawn()?;
        self.foreground = Some((child, reader));
        until(SETTLED, || healthy().is_some()).context("the agent does not come up")?;
        self.settle()?;
        while filler.write(&[b'x'; 64]).is_ok() {}
        Ok(())
    }

    /// Has the agent be silent for a while, as the phase has it: what counts is how it comes back.
    fn be_silent(&mut self, phase: &Phase, time: Duration) -> Result<Row> {
        let mut row = Row::new(phase);
        row.started = Instant::now();
        let process = self.agent.pid()?;
        match phase.fault {
            Fault::AgentStopped => {
                let stopped = Stopped::new(u32::try_from(process)?)?;
                wait(STOPPED.min(time / 2));
                drop(stopped);
                row.resumed = until(SETTLED, || healthy().is_some());
                if self.agent.pid()? != process {
                    row.problems.push("the agent was restarted".to_owned());
                }
                if until(RIGHT, || self.standing().is_ok_and(|standing| standing.is_some())).is_none() {
                    row.problems.push(format!("the state is not right after {} s", RIGHT.as_secs()));
                }
            }
            Fault::AgentStarted(manner) => {
                self.proxy.behave(manner);
                let process = Pid::from_raw(i32::try_from(process)?).context("a process")?;
                kill_process(process, Signal::KILL)?;
                let agent = &self.agent;
                let (resumed, started) = thread::scope(|scope| {
                    let again = scope.spawn(|| agent.again());
                    let resumed = until(SETTLED, || healthy().is_some());
                    Ok::<_, anyhow::Error>((resumed, again.join().ok().context("the start panicked")?))
                })?;
                row.resumed = resumed;
                if let Err(error) = started {
                    // One that does not answer is what is looked for, and no fault of the proof; so it is let go on.
                    row.problems.push(format!("{error:#}"));
                    self.proxy.behave(Manner::Faithful);
                    until(SETTLED, || healthy().is_some()).context("the agent does not come up")?;
                }
            }
            _ => self.block(&mut row)?,
        }
        // From now on nothing is missed.
        let prober = Prober::start()?;
        wait(time / 2);
        row.report = Some(prober.stop()?);
        row.lasted = time / 2;
        self.proxy.behave(Manner::Faithful);
        Ok(row)
    }

    /// Blocks the workers of the main runtime: `/livez` has to see it, in time and not before, and answers all the while.
    fn block(&mut self, row: &mut Row) -> Result<()> {
        let failpoints = self.programs.1.clone().context("a program with fail points")?;
        self.change_program(&failpoints)?;
        let path = format!("/debug/block?seconds={}", BLOCKED.as_secs());
        let mut said = [0; 12];
        self.agent.socket().open("POST", &path)?.read_exact(&mut said)?;
        ensure!(said.starts_with(b"HTTP/1.1 202"), "{path}: {}", String::from_utf8_lossy(&said));
        let begun = Instant::now();
        let mut answered_late = Duration::ZERO;
        let mut failed = None;
        while begun.elapsed() < BLOCKED {
            let asked = Instant::now();
            if healthy().is_none() {
                failed.get_or_insert(begun.elapsed().as_secs_f64());
            }
            answered_late = answered_late.max(asked.elapsed());
            wait(LOOK);
        }
        row.late = Some(failed.unwrap_or(f64::INFINITY));
        if answered_late > Duration::from_secs(1) {
            row.problems.push(format!("/healthz took {answered_late:.1?} to say so"));
        }
        row.resumed = until(SETTLED, || healthy().is_some());
        // The supervisor looks each two seconds.
        row.resumed = row.resumed.map(|resumed| (resumed - 2.5).max(0.0));
        let usual = self.programs.0.clone();
        self.change_program(&usual)
    }

    fn change_program(&mut self, netloom: &Path) -> Result<()> {
        self.agent.timed(&["agent", "stop"])?;
        self.agent.becomes(netloom)?;
        self.agent.again()
    }

    /// Ends it; nothing may be left.
    pub(super) fn end(self) -> Result<()> {
        if let Some((set, _)) = &self.controlled {
            set.end()?;
        }
        self.agent.timed(&["destroy", "--all"])?;
        ensure!(self.bare.is_empty()?, "containers are left");
        Ok(())
    }
}

/// Deploys a ring on a daemon that has just been started: it may be seen a moment later than the agent.
fn deploy(agent: &Agent, (lab, size): (&str, usize), nodes: Nodes) -> Result<()> {
    let mut last = None;
    until(SETTLED, || {
        last = agent.deploy_ring(lab, size, nodes).err();
        last.is_none()
    });
    last.map_or(Ok(()), |error| Err(error.context(format!("lab {lab} cannot be deployed"))))
}

fn is_well(ready: &Value) -> Result<()> {
    let capabilities = ready["capabilities"].as_array().context("capabilities")?;
    let bad = capabilities.iter().find(|capability| capability["status"] != "ok");
    bad.map_or(Ok(()), |bad| bail!("{bad}"))
}

/// Looks until something is so; how many seconds it took, if it came.
fn until(limit: Duration, mut so: impl FnMut() -> bool) -> Option<f64> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if so() {
            return Some(started.elapsed().as_secs_f64());
        }
        wait(LOOK);
    }
    None
}

/// Asks `/healthz` once: an answer of 200, soon.
fn healthy() -> Option<()> {
    const SOON: Duration = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&LISTEN.parse().ok()?, SOON).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    answer.ends_with(b"200").then_some(())
}
