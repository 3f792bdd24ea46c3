//! The host of one case, from inside its sandbox: the command line, the agent, and what the agent was told to do.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netloom_dockerd_fixture::{Dockerd, busybox};
use netloom_engine::{LabView, Layout, Store};
use netloom_fault_kit::{Manner, Proxy};
use netloom_kernel::{Process, Signal};
use netloom_ovs_fixture::Ovs;
use serde_json::Value;

use crate::controller::{self, Question};
use crate::scenario::{Act, Scenario};
use crate::topology::{GUEST, HELD, IMAGE, UNDERLAY, UNDERLAY_ADDRESS};
use crate::traces::{cgroups, group_of, processes};
use crate::uplink;

/// How often something is looked at that cannot be waited for.
const LOOK: Duration = Duration::from_millis(3);
/// How long a process that was killed may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// The host.
pub(crate) struct Host {
    pub(crate) netloom: PathBuf,
    pub(crate) layout: Layout,
    /// What belongs to the case and not to the host: topology files, what fail points write.
    scratch: tempfile::TempDir,
    /// Where the case is about containers.
    daemon: Option<Dockerd>,
    /// What stands between it and the agent where it is to be late.
    between: Option<Proxy>,
    /// Where the case is about Open vSwitch.
    switch: Option<Ovs>,
    /// The interface that the agent's configuration names for its transport.
    configured: Cell<Option<&'static str>>,
    /// Whether a controller may ask it for something.
    is_controlled: bool,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) text: String,
}

/// What an agent is started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Orders {
    /// As `NETLOOM_FAILPOINT` has it; empty: none.
    pub(crate) failpoint: String,
    /// Files for what happened and what was passed, and the one that arms the points.
    files: Option<[PathBuf; 3]>,
}

impl Host {
    /// A root in memory, and the loopback.
    pub(crate) fn new(netloom: PathBuf, root: &Path) -> Result<Self> {
        let tmpfs = Command::new("mount").args(["-t", "tmpfs", "crash"]).arg(root).status()?;
        let loopback = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        ensure!(tmpfs.success() && loopback.success(), "the sandbox cannot be prepared");
        let (layout, scratch) = (Layout::new(root)?, tempfile::tempdir()?);
        Ok(Self {
            netloom,
            layout,
            scratch,
            daemon: None,
            between: None,
            switch: None,
            configured: Cell::new(None),
            is_controlled: false,
        })
    }

    /// From now on there is a Docker daemon, with one image, and with a firewall where that matters.
    pub(crate) fn start_docker(&mut self, scenario: Scenario) -> Result<()> {
        let start = if scenario.has_network() { Dockerd::start_guarded_by } else { Dockerd::start_by };
        let daemon = start(&mut Command::new("env")).context("a Docker daemon is needed (`docker.io`)")?;
        let archive = self.scratch.path().join("image.tar");
        fs::write(&archive, busybox(IMAGE))?;
        self.daemon = Some(daemon);
        self.docker(&["load", "-q", "-i", &archive.display().to_string()])?;
        Ok(())
    }

    /// From now on there is an Open vSwitch.
    pub(crate) fn start_switch(&mut self) -> Result<()> {
        let switch = Ovs::start_with_switch().context("Open vSwitch is needed (`openvswitch-switch`)")?;
        self.switch = Some(switch);
        Ok(())
    }

    /// The switch of the host, where there is one.
    pub(crate) fn switch(&self) -> Option<&Ovs> {
        self.switch.as_ref()
    }

    /// From now on the agent speaks to the daemon through something that can make it late.
    pub(crate) fn stand_between(&mut self) -> Result<()> {
        let daemon = self.daemon.as_ref().context("no daemon")?;
        self.between = Some(Proxy::start(&daemon.socket())?);
        Ok(())
    }

    pub(crate) fn daemon(&self) -> Result<&Dockerd> {
        self.daemon.as_ref().context("no daemon")
    }

    /// From now on it behaves so, where something stands between it and the agent.
    pub(crate) fn behave(&self, manner: Manner) {
        if let Some(between) = &self.between {
            between.behave(manner);
        }
    }

    /// From now on there is what a lab has around it: a container that something else made, and a way to another host.
    pub(crate) fn surround(&self) -> Result<()> {
        let kinds = self.scratch.path().join("kinds");
        fs::create_dir_all(&kinds)?;
        fs::write(kinds.join("held.toml"), HELD)?;
        let [near, far] = UNDERLAY;
        ip(&["link", "add", near, "type", "veth", "peer", "name", far])?;
        ip(&["address", "add", UNDERLAY_ADDRESS, "dev", near])?;
        ip(&["link", "set", near, "up"])?;
        self.docker(&["run", "-d", "--name", GUEST, "--network", "none", IMAGE, "sleep", "100000"])?;
        Ok(())
    }

    /// And from now on there is not.
    pub(crate) fn bare(&self) -> Result<()> {
        self.docker(&["rm", "-f", GUEST])?;
        ip(&["link", "delete", UNDERLAY[0]])
    }

    /// From now on the host has files in which it is told of labs. One that has another name too is written in place.
    pub(crate) fn make_files(&self, scenario: Scenario) -> Result<()> {
        let hosts = self.layout.hosts();
        fs::create_dir_all(self.layout.ssh_parts())?;
        fs::write(&hosts, "127.0.0.1\tlocalhost\n")?;
        if scenario.act == Act::Destroy {
            fs::hard_link(&hosts, hosts.with_extension("too"))?;
        }
        Ok(())
    }

    /// From now on a controller may ask an agent that is started for something.
    pub(crate) fn be_controlled(&mut self) {
        self.is_controlled = true;
    }

    /// From now on an agent that is started has this interface in its configuration, or none.
    pub(crate) fn configure(&self, interface: Option<&'static str>) {
        self.configured.set(interface);
    }

    /// Where the agent that was on the host before this one kept its files.
    pub(crate) fn predecessor(&self) -> PathBuf {
        self.scratch.path().join("predecessor")
    }

    /// A file of the case, and not of the host.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// What the daemon has of these: its answer's lines.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let Some(daemon) = &self.daemon else { return Ok(Vec::new()) };
        let host = format!("unix://{}", daemon.socket().display());
        let output = Command::new("docker").args(["-H", &host]).args(arguments).output().context("docker")?;
        ensure!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }

    /// The names of all containers but the one that something else made.
    pub(crate) fn containers(&self) -> Result<Vec<String>> {
        let mut names = self.docker(&["ps", "-a", "--format", "{{.Names}}"])?;
        names.retain(|name| name != GUEST);
        Ok(names)
    }

    /// The names of all volumes.
    pub(crate) fn volumes(&self) -> Result<Vec<String>> {
        self.docker(&["volume", "ls", "-q"])
    }

    /// The names of all networks.
    pub(crate) fn networks(&self) -> Result<Vec<String>> {
        self.docker(&["network", "ls", "--format", "{{.Name}}"])
    }

    /// From now on the program is one that can be replaced.
    pub(crate) fn take_binary_along(&mut self) -> Result<()> {
        let own = self.scratch.path().join("netloom");
        fs::copy(&self.netloom, &own)?;
        self.netloom = own;
        Ok(())
    }

    /// Writes a topology file.
    pub(crate) fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.scratch.path().join(format!("{name}.clab.yml"));
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// Orders for an agent, with files of their own.
    pub(crate) fn orders(&self, name: &str, failpoint: String) -> Orders {
        let file = |kind: &str| self.scratch.path().join(format!("{name}.{kind}"));
        Orders { failpoint, files: Some([file("log"), file("trace"), file("armed")]) }
    }

    /// The program, for an agent that may be started by it.
    pub(crate) fn command(&self, orders: &Orders, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.netloom);
        command.args(arguments).env("NETLOOM_ROOT", self.layout.root()).env("NO_COLOR", "1").stdin(Stdio::null());
        if let Some(daemon) = &self.daemon {
            let socket = self.between.as_ref().map_or_else(|| daemon.socket(), Proxy::socket);
            command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
        }
        if let Some(switch) = &self.switch {
            command.env("NETLOOM_OVS_SOCKET", switch.socket());
        }
        if self.is_controlled {
            command.env("NETLOOM_SECRET", controller::SECRET);
        }
        command.env("NETLOOM_PREDECESSOR", self.predecessor());
        if let Some(interface) = self.configured.get() {
            command.envs(uplink::configuration(interface));
        }
        if let Some([log, trace, armed]) = &orders.files {
            command.env("NETLOOM_FAILPOINT", &orders.failpoint);
            command.env("NETLOOM_FAILPOINT_LOG", log).env("NETLOOM_FAILPOINT_TRACE", trace);
            command.env("NETLOOM_FAILPOINT_ARMED", armed);
        }
        command
    }

    /// Runs the program to its end.
    pub(crate) fn netloom(&self, arguments: &[&str]) -> Result<Ended> {
        self.netloom_with(&Orders::default(), arguments)
    }

    pub(crate) fn netloom_with(&self, orders: &Orders, arguments: &[&str]) -> Result<Ended> {
        let output = self.command(orders, arguments).output().context("netloom")?;
        let text = [output.stdout, output.stderr].concat();
        Ok(Ended { code: output.status.code(), text: String::from_utf8_lossy(&text).into_owned() })
    }

    /// Starts the program and lets it run.
    pub(crate) fn start(&self, orders: &Orders, arguments: &[&str]) -> Result<Child> {
        self.spawn(self.command(orders, arguments))
    }

    /// Begins to ask the agent for something as a controller does.
    pub(crate) fn ask(&self, question: &Question) -> Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["ask", question.path, &question.body.to_string()]).stdin(Stdio::null());
        self.spawn(command)
    }

    fn spawn(&self, mut command: Command) -> Result<Child> {
        // A file, not a pipe: nobody reads it meanwhile.
        let said = fs::File::create(self.scratch.path().join("said"))?;
        command.stdout(said.try_clone()?).stderr(said);
        command.spawn().with_context(|| command.get_program().display().to_string())
    }

    /// Puts another file in the place of the program, as one that installs a new version does.
    pub(crate) fn replace_binary(&self) -> Result<()> {
        let new = self.netloom.with_extension("new");
        fs::copy(&self.netloom, &new)?;
        Ok(fs::rename(new, &self.netloom)?)
    }

    /// Whether the agent that runs is of the file that is there now.
    pub(crate) fn runs_what_is_there(&self) -> Result<bool> {
        let agent = Self::agent()?.context("no agent runs")?;
        let (runs, there) =
            (fs::metadata(format!("/proc/{}/exe", agent.identity().pid))?, fs::metadata(&self.netloom)?);
        Ok((runs.dev(), runs.ino()) == (there.dev(), there.ino()))
    }

    /// The agent, if one runs.
    pub(crate) fn agent() -> Result<Option<Process>> {
        for (pid, ..) in processes() {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if words.split(|byte| *byte == 0).any(|word| word == b"--detached") {
                return Ok(Process::open(pid)?);
            }
        }
        Ok(None)
    }

    /// Kills the agent, and returns when it is gone. False: there was none.
    pub(crate) fn kill_agent() -> Result<bool> {
        let Some(agent) = Self::agent()? else { return Ok(false) };
        agent.signal(Signal::KILL)?;
        ensure!(agent.wait_until(Instant::now() + GONE)?, "the agent was killed and lives");
        Ok(true)
    }

    /// Returns when all processes of the program are gone. One that was killed has an end that takes a moment, in which
    /// its first thread is gone already and its sockets are still open; and a child that it was just making still is
    /// what it was itself, by another name, until it becomes what it is to be: it is looked for until there is none.
    pub(crate) fn all_gone(&self) -> Result<bool> {
        until(GONE, || Ok(self.own()?.is_empty()))
    }

    /// The processes of the program.
    fn own(&self) -> Result<Vec<Process>> {
        let name = self.netloom.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // The kernel keeps 15 bytes of a name.
        let name = &name[..name.len().min(15)];
        let is_own = |pid: u32, of: &str| {
            of == name || fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.netloom)
        };
        let mut own = Vec::new();
        for (pid, of, _) in processes() {
            if is_own(pid, &of) {
                own.extend(Process::open(pid)?.filter(Process::is_alive));
            }
        }
        Ok(own)
    }

    /// The inits of nodes.
    pub(crate) fn inits() -> Vec<u32> {
        let alive = processes().into_iter().filter(|(_, name, ended)| name == "netloom-init" && !ended);
        alive.map(|(pid, ..)| pid).collect()
    }

    /// A process of somebody else's in a group of this node. In one hierarchy, since each takes two seconds to give it up.
    pub(crate) fn stranger(&self, lab: &str, node: &str) -> Result<Child> {
        let groups = cgroups(&self.layout);
        let group =
            groups.iter().find(|group| group_of(group) == Some((lab, node))).context("the node has no group")?;
        let stranger = Command::new("sleep").arg("100000").stdin(Stdio::null()).spawn().context("sleep")?;
        fs::write(group.join("cgroup.procs"), stranger.id().to_string())?;
        Ok(stranger)
    }

    /// What the agent answers to a `GET` of this, status and body; nothing where it does not.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, Value)> {
        let stream = UnixStream::connect(self.layout.socket()).ok()?;
        stream.set_read_timeout(Some(GONE)).ok()?;
        let (status, body) = exchange(stream, &format!("GET {path} HTTP/1.0\r\n\r\n")).ok()?;
        Some((status, serde_json::from_str(&body).unwrap_or_default()))
    }

    /// All labs as the agent shows them.
    pub(crate) fn labs(&self) -> Result<Vec<LabView>> {
        let ended = self.netloom(&["inspect", "--all", "--json"])?;
        if ended.code != Some(0) {
            bail!("inspect: {}", ended.text);
        }
        Ok(serde_json::from_str(&ended.text)?)
    }

    /// The keys of the store, which no agent may have open.
    pub(crate) fn keys(&self) -> Result<Vec<String>> {
        let path = self.layout.store();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let store = netloom_drivers::store::RedbStore::open(&path)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let entries = runtime.block_on(store.list(""))?;
        Ok(entries.into_iter().map(|(key, _)| key).collect())
    }

    /// The end of the agent's log.
    pub(crate) fn log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.layout.state().join("agent.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].iter().map(|line| (*line).to_owned()).collect()
    }

    /// What the last program that was [`started`](Self::start) said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.scratch.path().join("said")).unwrap_or_default()
    }
}

impl Orders {
    /// From now on passages count.
    pub(crate) fn arm(&self) -> Result<()> {
        let [_, _, armed] = self.files.as_ref().context("no orders")?;
        fs::write(armed, b"")?;
        Ok(())
    }

    /// From now on they do not.
    pub(crate) fn disarm(&self) -> Result<()> {
        let [_, _, armed] = self.files.as_ref().context("no orders")?;
        Ok(fs::remove_file(armed)?)
    }

    /// What killed an agent by these orders.
    pub(crate) fn killed_by(&self) -> Option<String> {
        let [log, ..] = self.files.as_ref()?;
        Some(fs::read_to_string(log).ok()?.lines().next()?.to_owned())
    }

    /// The points that were passed, in order.
    pub(crate) fn trace(&self) -> Vec<String> {
        self.passages().into_iter().map(|(name, _)| name).collect()
    }

    /// How often each was passed, by the process that passed it most often: each counts for itself.
    pub(crate) fn passed(&self) -> BTreeMap<String, usize> {
        let mut of_each: BTreeMap<(String, String), usize> = BTreeMap::new();
        for passage in self.passages() {
            *of_each.entry(passage).or_default() += 1;
        }
        let mut most = BTreeMap::new();
        for ((name, _), count) in of_each {
            let known = most.entry(name).or_insert(count);
            *known = count.max(*known);
        }
        most
    }

    /// The points that were passed, and by whom.
    fn passages(&self) -> Vec<(String, String)> {
        let trace = self.files.as_ref().and_then(|[_, trace, _]| fs::read_to_string(trace).ok());
        let lines = trace.unwrap_or_default();
        lines
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, pid)| (name.to_owned(), pid.to_owned()))
            .collect()
    }

    /// The files that stand in the way of points that wait, by their order.
    pub(crate) fn hold(&self, point: &str) -> Result<(PathBuf, Self)> {
        let [log, ..] = self.files.as_ref().context("no orders")?;
        let gate = log.with_extension("gate");
        fs::write(&gate, b"")?;
        let failpoint = format!("{point}=block:{},{}", gate.display(), self.failpoint);
        Ok((gate, Self { failpoint, files: self.files.clone() }))
    }
}

/// Sends a request on a connection of its own: the status and the body of the answer; an error if there is none.
pub(crate) fn exchange(mut stream: impl Read + Write, request: &str) -> Result<(u16, String)> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("it did not answer")?;
    let status = head.split(' ').nth(1).context("an answer has a status")?.parse()?;
    Ok((status, body.to_owned()))
}

pub(crate) fn ip(words: &[&str]) -> Result<()> {
    let status = Command::new("ip").args(words).status().context("ip")?;
    ensure!(status.success(), "ip {}", words.join(" "));
    Ok(())
}

/// Waits until something is so.
pub(crate) fn until(limit: Duration, mut so: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        if so()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        pause(LOOK);
    }
}

/// Lets time pass.
pub(crate) fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a rate, a moment of a crash, and looks at other processes")]
    std::thread::sleep(time);
}
