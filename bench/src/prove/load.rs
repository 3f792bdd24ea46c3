//! What is offered to the agent during a phase, at fixed rates, by threads of this program.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::json;

use crate::agent::{Agent, Program};
use crate::containers::IMAGE;
use crate::http::Socket;
use crate::ring::Nodes;

/// The lab of namespaces that is read and edited, and the one of containers.
pub(super) const NAMESPACES: (&str, usize) = ("work", 12);
pub(super) const CONTAINERS: (&str, usize) = ("dock", 3);
/// The one whose links are on Open vSwitch.
pub(super) const SWITCHED: (&str, usize) = ("wire", 3);
/// Nobody waits longer for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How many ask without pause.
pub(super) const POLLERS: usize = 50;

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// None, but for probes and canary.
    Nothing,
    /// Reads of snapshots, edits, small labs that come and go.
    Work,
    /// Work, and clients that ask for the status of a lab without pause.
    Pollers,
    /// Work, and commands, logs and looks at labs all the time.
    Sessions,
    /// Work, and larger labs of namespaces and containers that come and go.
    Labs,
    /// Work, and all that needs Docker.
    Docker,
    /// Work, and all that needs Open vSwitch.
    Switch,
    /// What a controller asks, and nothing else.
    Controlled(super::cascade::Asked),
}

/// What a piece of work was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A read of the snapshot.
    Read,
    /// An operation on namespaces.
    Namespaces,
    /// Anything else, which is there to be in the way.
    Beside,
}

/// What came of the work of a kind.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) done: u32,
    pub(super) failed: u32,
    /// Why the first of those failed.
    pub(super) first: Option<String>,
}

/// A load that goes on.
pub(super) struct Offered {
    agent: Caller,
    streams: Vec<(SyncSender<()>, Kind, JoinHandle<Tally>)>,
}

/// What all its threads need.
#[derive(Clone)]
pub(super) struct Caller {
    socket: Socket,
    /// How long a command may take.
    limit: Duration,
    program: Program,
}

impl Offered {
    /// Nothing yet.
    pub(super) fn nothing(agent: &Agent) -> Self {
        Self { agent: Caller::of(agent), streams: Vec::new() }
    }

    /// Begins to offer it.
    pub(super) fn start(load: Load, agent: &Agent) -> Result<Self> {
        let mut offered = Self::nothing(agent);
        let ring = |name: &str, size, nodes| -> Result<String> {
            Ok(agent.ring_file(name, size, nodes)?.to_str().context("a path in UTF-8")?.to_owned())
        };
        if matches!(load, Load::Nothing | Load::Controlled(_)) {
            return Ok(offered);
        }
        offered.at(20.0, 2, Kind::Read, |caller, _| caller.status())?;
        offered.at(4.0, 1, Kind::Namespaces, |caller, turn| caller.edit(NAMESPACES, turn))?;
        offered.comes_and_goes(0.5, Kind::Namespaces, ring("cycle", 3, Nodes::Namespaces)?, "cycle")?;
        match load {
            Load::Nothing | Load::Work | Load::Controlled(_) => {}
            Load::Pollers => offered.at(f64::INFINITY, POLLERS, Kind::Beside, |caller, _| caller.status())?,
            Load::Sessions => {
                offered.at(5.0, 4, Kind::Beside, |caller, _| caller.run(&["exec", "work/n0", "--", "true"]))?;
                offered.at(20.0, 2, Kind::Beside, |caller, _| caller.logs())?;
                offered.at(5.0, 2, Kind::Beside, |caller, _| caller.run(&["inspect"]))?;
                offered.at(1.0, 2, Kind::Beside, |caller, _| caller.run(&["exec", "dock/n0", "--", "true"]))?;
            }
            Load::Labs => {
                for name in ["some", "more"] {
                    offered.comes_and_goes(0.5, Kind::Beside, ring(name, 10, Nodes::Namespaces)?, name)?;
                }
                offered.comes_and_goes(0.2, Kind::Beside, ring("ship", 3, Nodes::Containers(IMAGE))?, "ship")?;
            }
            Load::Docker => {
                offered.comes_and_goes(0.2, Kind::Beside, ring("ship", 3, Nodes::Containers(IMAGE))?, "ship")?;
                offered.at(1.0, 4, Kind::Beside, |caller, _| caller.run(&["exec", "dock/n0", "--", "true"]))?;
                offered.at(5.0, 1, Kind::Read, |caller, _| caller.socket.get("/images").map(drop))?;
                offered.at(2.0, 1, Kind::Read, |caller, _| caller.containers())?;
            }
            Load::Switch => {
                offered.comes_and_goes(0.5, Kind::Beside, ring("flow", 3, Nodes::Switched)?, "flow")?;
                offered.at(2.0, 1, Kind::Beside, |caller, turn| caller.edit(SWITCHED, turn))?;
                offered.at(2.0, 1, Kind::Read, |caller, _| caller.switched())?;
            }
        }
        Ok(offered)
    }

    /// A lab that is deployed and destroyed in turn.
    fn comes_and_goes(&mut self, rate: f64, kind: Kind, file: String, name: &'static str) -> Result<()> {
        self.at(rate, 1, kind, move |caller, turn| match turn % 2 {
            0 => caller.run(&["deploy", "-t", &file, "--timeout", "15s"]),
            _ => caller.run(&["destroy", "--name", name]),
        })
    }

    /// Offers a piece of work so many times a second, by so many threads, each of which does one at a time and leaves out
    /// what it does not come to. Without pause at an infinite rate.
    pub(super) fn at(
        &mut self,
        rate: f64,
        threads: usize,
        kind: Kind,
        work: impl Fn(&Caller, u32) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        let work = Arc::new(work);
        #[expect(clippy::cast_precision_loss, reason = "a few threads")]
        let period = Duration::from_secs_f64(threads as f64 / rate);
        for thread in 0..threads {
            let (stop, stopped) = sync_channel::<()>(0);
            let (work, caller) = (work.clone(), self.agent.clone());
            let first = period / u32::try_from(threads)? * u32::try_from(thread)?;
            let serve = move || {
                let mut tally = Tally::default();
                let mut next = Instant::now() + first;
                for turn in 0.. {
                    if stopped.recv_timeout(next.saturating_duration_since(Instant::now()))
                        != Err(RecvTimeoutError::Timeout)
                    {
                        break;
                    }
                    tally.note(work(&caller, turn));
                    next = (next + period).max(Instant::now());
                }
                tally
            };
            let thread = thread::Builder::new().name("load".into()).spawn(serve)?;
            self.streams.push((stop, kind, thread));
        }
        Ok(())
    }

    /// Ends it; what came of it. Labs that come and go may be there afterwards.
    pub(super) fn stop(self) -> Result<BTreeMap<Kind, Tally>> {
        let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
        let threads: Vec<_> = self.streams.into_iter().map(|(_, kind, thread)| (kind, thread)).collect();
        for (kind, thread) in threads {
            tallies.entry(kind).or_default().add(thread.join().ok().context("a load panicked")?);
        }
        Ok(tallies)
    }
}

impl Tally {
    fn note(&mut self, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.done += 1,
            Err(error) => {
                self.failed += 1;
                self.first.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    /// What is wrong with it.
    pub(super) fn complaint(&self) -> Option<String> {
        Some(format!("{} pieces of work failed: {}", self.failed, self.first.as_ref()?))
    }

    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.first = self.first.take().or(other.first);
    }
}

impl Caller {
    pub(super) fn of(agent: &Agent) -> Self {
        Self::within(agent, PATIENCE)
    }

    pub(super) fn within(agent: &Agent, limit: Duration) -> Self {
        Self { socket: agent.socket().within(limit), limit, program: agent.program() }
    }

    fn status(&self) -> Result<()> {
        self.socket.get("/labs/work").map(drop)
    }

    /// What is known of containers that run stays, whatever Docker says, or does not say.
    fn containers(&self) -> Result<()> {
        let lab = self.socket.get(&format!("/labs/{}", CONTAINERS.0))?;
        let nodes = lab["nodes"].as_array().context("nodes")?;
        let running = nodes.iter().filter(|node| node["pid"].is_u64()).count();
        ensure!(running == CONTAINERS.1, "{running} of {} containers are known to run", CONTAINERS.1);
        Ok(())
    }

    /// What is known of nodes whose links are on Open vSwitch stays, whatever that says, or does not say.
    fn switched(&self) -> Result<()> {
        let lab = self.socket.get(&format!("/labs/{}", SWITCHED.0))?;
        let nodes = lab["nodes"].as_array().context("nodes")?;
        let running = nodes.iter().filter(|node| node["pid"].is_u64()).count();
        ensure!(running == SWITCHED.1, "{running} of {} nodes are known to run", SWITCHED.1);
        Ok(())
    }

    /// A link comes, or goes again.
    fn edit(&self, (lab, size): (&str, usize), turn: u32) -> Result<()> {
        let wanted = if turn.is_multiple_of(2) { json!({}) } else { json!(null) };
        let link = format!("n0:more n{}:more", size - 1);
        let operation = self.socket.patch(lab, &json!({ "links": { link: wanted } }))?;
        self.socket.wait(&operation)
    }

    fn logs(&self) -> Result<()> {
        let mut answer = Vec::new();
        self.socket.open("GET", "/labs/work/nodes/n0/logs")?.read_to_end(&mut answer)?;
        ensure!(answer.starts_with(b"HTTP/1.1 200"), "logs: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }

    /// Runs the command line, no longer than anybody waits.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut child = (self.program)(arguments).stderr(Stdio::piped()).spawn()?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        let limit = Timespec::try_from(self.limit)?;
        if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit))? == 0 {
            child.kill()?;
        }
        // What it says fits into a pipe.
        let ended = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&ended.stderr);
        ensure!(ended.status.success(), "netloom {}: {}: {}", arguments.join(" "), ended.status, said.trim());
        Ok(())
    }
}
