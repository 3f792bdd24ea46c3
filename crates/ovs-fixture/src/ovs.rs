//! The daemons' lives.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use this")]

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a daemon may take to answer. The database takes 30 ms where nothing else runs, the switch 200 ms.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a database needs, and what a switch needs too.
const DATABASE: [&str; 4] = ["ovsdb-server", "ovsdb-tool", "ovs-vsctl", "ovs-appctl"];
const SWITCH: [&str; 2] = ["ovs-vswitchd", "ip"];

/// Where the package puts the schema.
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// An Open vSwitch of one's own; it ends, with its devices, when this is dropped.
#[derive(Debug)]
pub struct Ovs {
    /// Removed by the keeper; kept here for when that fails.
    directory: TempDir,
    keeper: Child,
    talk: Mutex<Talk>,
}

/// One of the two daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    /// `ovsdb-server`.
    Database,
    /// `ovs-vswitchd`.
    Switch,
}

impl fmt::Display for Daemon {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Database => "database",
            Self::Switch => "switch",
        })
    }
}

/// The conversation with the keeper.
#[derive(Debug)]
struct Talk {
    /// Their end ends the keeper.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Talk {
    /// Has something done; gives the process of the daemon after that.
    fn order(&mut self, order: &str, daemon: Daemon) -> Option<u32> {
        writeln!(self.orders.as_mut().unwrap(), "{order} {daemon}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().parse().ok()
    }
}

impl Ovs {
    /// Starts a database server with an empty database and waits until it answers; `None`, loudly, where Open vSwitch is not
    /// installed.
    ///
    /// # Panics
    /// Where `NETLOOM_REQUIRE_ROOT` is set and it cannot be had, and where it does not answer.
    pub fn start() -> Option<Self> {
        Self::start_if(lack(&DATABASE), None)
    }

    /// As [`Self::start`], on a host of a test's own: `host` begins a command that runs its further arguments there, such as
    /// `unshare --net --`. Its files are seen by both. A switch that is started later is there too.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_by(host: &mut Command) -> Option<Self> {
        Self::start_if(lack(&DATABASE), Some(host))
    }

    /// As [`Self::start`], and a switch, which needs root. Where the kernel has no module `openvswitch` its bridges want
    /// `datapath_type=netdev`. Its devices are in the network namespace of the caller.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_with_switch() -> Option<Self> {
        Self::start_switch(None)
    }

    /// As [`Self::start_with_switch`], on a host of a test's own, as by [`Self::start_by`].
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_with_switch_by(host: &mut Command) -> Option<Self> {
        Self::start_switch(Some(host))
    }

    fn start_switch(host: Option<&mut Command>) -> Option<Self> {
        let no_root = (!rustix::process::geteuid().is_root()).then(|| "this test needs root".to_owned());
        let ovs = Self::start_if(no_root.or_else(|| lack(&[&DATABASE[..], &SWITCH].concat())), host)?;
        ovs.start_again(Daemon::Switch);
        Some(ovs)
    }

    fn start_if(lack: Option<String>, host: Option<&mut Command>) -> Option<Self> {
        if let Some(lack) = lack {
            assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "{lack}, and NETLOOM_REQUIRE_ROOT is set");
            eprintln!("SKIPPED: {lack}");
            return None;
        }
        let directory = TempDir::with_prefix("ovs-").unwrap();
        // It runs its arguments, where it is.
        let mut here = Command::new("env");
        let keeper = host
            .unwrap_or(&mut here)
            .args(["sh", "-c", include_str!("keeper.sh"), "keeper"])
            .arg(directory.path())
            .arg(SCHEMA)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut keeper = keeper.unwrap();
        let orders = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let ovs = Self { directory, keeper, talk: Mutex::new(Talk { orders, answers }) };
        ovs.start_again(Daemon::Database);
        Some(ovs)
    }

    /// Starts a daemon after [`Self::stop`] or [`Self::kill`], and waits until it answers; a switch until it has done what the
    /// database says.
    ///
    /// # Panics
    /// Where it does not.
    pub fn start_again(&self, daemon: Daemon) {
        self.order("start", daemon);
        match daemon {
            Daemon::Database => {
                let deadline = Instant::now() + PATIENCE;
                while self.ping().is_err() {
                    let lives = self.order("look", daemon).is_some();
                    assert!(
                        lives && Instant::now() < deadline,
                        "{daemon} does not answer; its log:\n{}",
                        self.log(daemon)
                    );
                }
                self.vsctl(["--no-wait", "init"]);
            }
            Daemon::Switch => {
                // Where there is nothing to be done `ovs-vsctl` does not wait for it.
                let deadline = Instant::now() + PATIENCE;
                let door = self.directory.path().join("switch.ctl");
                while UnixStream::connect(&door).is_err() {
                    let lives = self.order("look", daemon).is_some();
                    assert!(
                        lives && Instant::now() < deadline,
                        "{daemon} does not come; its log:\n{}",
                        self.log(daemon)
                    );
                }
                self.vsctl(["init"]);
            }
        }
    }

    /// Starts the database server anew, with a database in which nothing is.
    ///
    /// # Panics
    /// Where it does not answer.
    pub fn start_empty(&self) {
        self.order("kill", Daemon::Database);
        self.order("empty", Daemon::Database);
        self.start_again(Daemon::Database);
    }

    fn order(&self, order: &str, daemon: Daemon) -> Option<u32> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner).order(order, daemon)
    }

    /// Asks the database server whether it is there.
    fn ping(&self) -> io::Result<()> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(br#"{"method":"echo","params":[],"id":1}"#)?;
        stream.read_exact(&mut [0])
    }

    /// Where the database server listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("db.sock")
    }

    /// Has the database server listen on an address of the loopback interface too; gives it.
    ///
    /// # Panics
    /// Where it does not.
    pub fn listen_tcp(&self) -> SocketAddr {
        self.appctl(Daemon::Database, ["ovsdb-server/add-remote", "ptcp:0:127.0.0.1"]);
        let deadline = Instant::now() + PATIENCE;
        loop {
            // It has answered before it listens and says so.
            let log = self.log(Daemon::Database);
            let said = log.rsplit_once("listening on port ").and_then(|(_, rest)| rest.split_whitespace().next());
            if let Some(port) = said.and_then(|port| port.parse().ok()) {
                return SocketAddr::from(([127, 0, 0, 1], port));
            }
            assert!(Instant::now() < deadline, "no port in the log:\n{log}");
        }
    }

    /// A directory that goes with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process of a daemon.
    ///
    /// # Panics
    /// Where it is not running.
    pub fn pid(&self, daemon: Daemon) -> u32 {
        self.order("look", daemon).unwrap_or_else(|| panic!("the {daemon} is not running"))
    }

    /// What a daemon has logged.
    pub fn log(&self, daemon: Daemon) -> String {
        let read = |end| fs::read_to_string(self.directory.path().join(format!("{daemon}.{end}"))).unwrap_or_default();
        read("stderr") + &read("log")
    }

    /// Runs `ovs-vsctl` with these arguments, and gives what it says. Without `--no-wait` it waits for the switch.
    ///
    /// # Panics
    /// Where it fails.
    pub fn vsctl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let mut command = Command::new("ovs-vsctl");
        command.arg(format!("--db=unix:{}", self.socket().display())).arg(patience()).args(arguments);
        self.said_by(&mut command)
    }

    /// Runs `ovs-appctl` for a daemon with these arguments, and gives what it says.
    ///
    /// # Panics
    /// Where it fails.
    pub fn appctl<'a>(&self, daemon: Daemon, arguments: impl IntoIterator<Item = &'a str>) -> String {
        let mut command = Command::new("ovs-appctl");
        command
            .arg(patience())
            .arg("--target")
            .arg(self.directory.path().join(format!("{daemon}.ctl")))
            .args(arguments);
        self.said_by(&mut command)
    }

    fn said_by(&self, command: &mut Command) -> String {
        let run = command.env("OVS_RUNDIR", self.directory.path()).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{command:?} failed ({}): {said}{complaint}", run.status);
        said
    }

    /// Ends a daemon in good order.
    pub fn stop(&self, daemon: Daemon) {
        self.order("stop", daemon);
    }

    /// Ends a daemon without a warning.
    pub fn kill(&self, daemon: Daemon) {
        self.order("kill", daemon);
    }

    /// Stops a daemon where it is: connections are accepted, and nothing is answered.
    pub fn freeze(&self, daemon: Daemon) {
        self.order("freeze", daemon);
    }

    /// Lets a daemon go on.
    pub fn thaw(&self, daemon: Daemon) {
        self.order("thaw", daemon);
    }
}

impl Drop for Ovs {
    fn drop(&mut self) {
        self.talk.get_mut().unwrap_or_else(PoisonError::into_inner).orders = None;
        let _ = self.keeper.wait();
    }
}

/// The option by which the tools give up.
fn patience() -> String {
    format!("--timeout={}", PATIENCE.as_secs())
}

/// What this host lacks.
fn lack(programs: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    let mut missing: Vec<&str> = programs.iter().copied().filter(|program| !has(program)).collect();
    if !Path::new(SCHEMA).is_file() {
        missing.push(SCHEMA);
    }
    (!missing.is_empty()).then(|| format!("this test needs {} (Debian package openvswitch-switch)", missing.join(", ")))
}
