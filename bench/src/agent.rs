//! An agent of its own, driven as a person would, by the command line.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::host::Memory;
use crate::http::Socket;
use crate::ring::{self, Nodes};

/// Makes commands of the program that reach one agent.
pub(crate) type Program = Arc<dyn Fn(&[&str]) -> Command + Send + Sync>;

/// An agent with a root of its own; its labs and it end when this is dropped.
pub(crate) struct Agent {
    netloom: PathBuf,
    root: Memory,
    listen: &'static str,
    /// The socket of a daemon.
    docker: Option<PathBuf>,
    /// The socket of a database of Open vSwitch.
    ovs: Option<PathBuf>,
    /// What else it is told from its next start on.
    told: Vec<(&'static str, String)>,
}

impl Agent {
    /// Starts an agent in the background, on the usual port, and returns when it answers.
    pub(crate) fn start(netloom: &Path) -> Result<Self> {
        Self::start_on(netloom, "127.0.0.1:8001", None)
    }

    /// As [`Self::start`], on its socket alone: one that may be beside another.
    pub(crate) fn start_quietly(netloom: &Path) -> Result<Self> {
        Self::start_on(netloom, "none", None)
    }

    /// As [`Self::start_quietly`], with a Docker daemon.
    pub(crate) fn start_with_docker(netloom: &Path, socket: impl Into<PathBuf>) -> Result<Self> {
        Self::start_on(netloom, "none", Some(socket.into()))
    }

    /// As [`Self::start_quietly`], with an Open vSwitch.
    pub(crate) fn start_with_ovs(netloom: &Path, socket: PathBuf) -> Result<Self> {
        let mut agent = Self::prepare(netloom, "none", None)?;
        agent.ovs = Some(socket);
        agent.again()?;
        Ok(agent)
    }

    pub(crate) fn start_on(netloom: &Path, listen: &'static str, docker: Option<PathBuf>) -> Result<Self> {
        let agent = Self::prepare(netloom, listen, docker)?;
        agent.again()?;
        Ok(agent)
    }

    /// One that has a root and does not run yet.
    pub(crate) fn prepare(netloom: &Path, listen: &'static str, docker: Option<PathBuf>) -> Result<Self> {
        let netloom = netloom.canonicalize().with_context(|| format!("{}: build it first", netloom.display()))?;
        Ok(Self { netloom, root: Memory::new()?, listen, docker, ovs: None, told: Vec::new() })
    }

    /// From its next start it finds Open vSwitch there.
    pub(crate) fn finds_ovs(&mut self, socket: PathBuf) {
        self.ovs = Some(socket);
    }

    /// From its next start it is told these variables of its environment.
    pub(crate) fn knows(&mut self, told: impl IntoIterator<Item = (&'static str, String)>) {
        self.told.extend(told);
    }

    /// Starts one that has ended.
    pub(crate) fn again(&self) -> Result<()> {
        self.run(&["agent", "--background"])
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// What holds the network namespace of a node.
    pub(crate) fn pin(&self, lab: &str, node: &str) -> PathBuf {
        self.root().join("run/netloom/netns").join(lab).join(node)
    }

    pub(crate) fn socket(&self) -> Socket {
        Socket::below(self.root.path())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Result<u64> {
        self.socket().get("/info")?["pid"].as_u64().context("the agent's pid")
    }

    /// Makes commands of the program with this agent's surroundings, for threads.
    pub(crate) fn program(&self) -> Program {
        let (netloom, root, listen) = (self.netloom.clone(), self.root.path().to_owned(), self.listen);
        let docker = self.docker.as_ref().map(|socket| format!("unix://{}", socket.display()));
        // Never the one of the host.
        let ovs = self.ovs.clone().unwrap_or_else(|| root.join("no-ovs"));
        let told = self.told.clone();
        Arc::new(move |arguments| {
            let mut command = Command::new(&netloom);
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
            command.env("NETLOOM_ROOT", &root).env("NETLOOM_LISTEN", listen);
            command.env("NETLOOM_OVS_SOCKET", &ovs);
            command.envs(docker.iter().map(|host| ("DOCKER_HOST", host)));
            command.envs(told.iter().map(|(name, value)| (name, value)));
            command
        })
    }

    /// One of these commands.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.program()(arguments)
    }

    /// From now on it is started from another program.
    pub(crate) fn becomes(&mut self, netloom: &Path) -> Result<()> {
        self.netloom = netloom.canonicalize().with_context(|| format!("{}: build it first", netloom.display()))?;
        Ok(())
    }

    fn run(&self, arguments: &[&str]) -> Result<()> {
        let output = self.command(arguments).stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            bail!("netloom {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Deploys a ring, from return to prompt: then every node runs and every link is up.
    pub(crate) fn deploy(&self, lab: &str, size: usize) -> Result<Duration> {
        self.deploy_ring(lab, size, Nodes::Namespaces)
    }

    /// As [`Self::deploy`], of whatever nodes.
    pub(crate) fn deploy_ring(&self, lab: &str, size: usize, nodes: Nodes) -> Result<Duration> {
        let file = self.ring_file(lab, size, nodes)?;
        let started = Instant::now();
        self.run(&["deploy", "-t", file.to_str().context("a path in UTF-8")?])?;
        Ok(started.elapsed())
    }

    /// Writes the topology file of a ring.
    pub(crate) fn ring_file(&self, lab: &str, size: usize, nodes: Nodes) -> Result<PathBuf> {
        let file = self.root.path().join(format!("{lab}.clab.yml"));
        std::fs::write(&file, ring::topology(lab, size, nodes))?;
        Ok(file)
    }

    /// Runs the command line, from return to prompt.
    pub(crate) fn timed(&self, arguments: &[&str]) -> Result<Duration> {
        let started = Instant::now();
        self.run(arguments)?;
        Ok(started.elapsed())
    }

    /// Destroys a lab, from return to prompt: then nothing of it is left but what the kernel does by itself.
    pub(crate) fn destroy(&self, lab: &str) -> Result<Duration> {
        let started = Instant::now();
        self.run(&["destroy", "--name", lab])?;
        Ok(started.elapsed())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Labs live on without their agent, so they go first.
        let _ = self.run(&["destroy", "--all"]);
        let _ = self.run(&["agent", "stop"]);
    }
}
