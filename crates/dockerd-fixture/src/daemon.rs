//! The daemon's life.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use this")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long the daemon may take to answer. It takes 0.3 s where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Docker daemon of one's own; it ends, with all its containers, when this is dropped.
#[derive(Debug)]
pub struct Dockerd {
    /// Removed by the keeper; kept here for when that fails.
    directory: TempDir,
    group: String,
    keeper: Child,
    talk: Mutex<Talk>,
}

/// What a daemon has for the host beside its containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Neither a network of its own nor a firewall.
    Plain,
    /// Its network `bridge`.
    Bridged,
    /// A firewall.
    Guarded,
}

impl Kind {
    fn bridge(self) -> &'static str {
        match self {
            Self::Plain | Self::Guarded => "none",
            Self::Bridged => "",
        }
    }

    fn firewall(self) -> &'static str {
        match self {
            Self::Plain | Self::Bridged => "false",
            Self::Guarded => "true",
        }
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
    fn order(&mut self, order: &str) -> Option<u32> {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().parse().ok()
    }
}

impl Dockerd {
    /// Starts a daemon and waits until it answers; `None`, loudly, without root or without a daemon on this host.
    ///
    /// # Panics
    /// Where `NETLOOM_REQUIRE_ROOT` is set and it cannot be had, and where it does not answer.
    pub fn start() -> Option<Self> {
        Self::start_by(Command::new("unshare").args(["--net", "--"]))
    }

    /// As [`Self::start`], on a host of a test's own: `host` begins a command that runs its further arguments there, in
    /// a network namespace that the daemon may have. Its files are seen by both.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_by(host: &mut Command) -> Option<Self> {
        Self::start_with(Kind::Plain, host)
    }

    /// As [`Self::start_by`], a daemon that has its network `bridge` on `docker0`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_bridged_by(host: &mut Command) -> Option<Self> {
        Self::start_with(Kind::Bridged, host)
    }

    /// As [`Self::start_by`], a daemon that keeps a firewall for IPv4: it masks what leaves its networks, and lets in only
    /// what is published.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_guarded_by(host: &mut Command) -> Option<Self> {
        Self::start_with(Kind::Guarded, host)
    }

    fn start_with(kind: Kind, host: &mut Command) -> Option<Self> {
        if let Some(lack) = lack() {
            assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "{lack}, and NETLOOM_REQUIRE_ROOT is set");
            eprintln!("SKIPPED: {lack}");
            return None;
        }
        let directory = TempDir::with_prefix("dockerd-").unwrap();
        let group = directory.path().file_name().unwrap().to_str().unwrap().to_owned();
        fs::write(directory.path().join("daemon.json"), "{}").unwrap();
        let mut keeper = host
            .args(["sh", "-c", include_str!("keeper.sh"), "keeper"])
            .arg(directory.path())
            .args([&group, kind.bridge(), kind.firewall()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let daemon = Self { directory, group, keeper, talk: Mutex::new(Talk { orders, answers }) };
        daemon.start_again();
        Some(daemon)
    }

    /// Starts the daemon after [`Self::kill`], with all that it had, and waits until it answers.
    ///
    /// # Panics
    /// Where it does not.
    pub fn start_again(&self) {
        self.order("start");
        let deadline = Instant::now() + PATIENCE;
        while !matches!(self.ping(), Ok(true)) {
            let lives = self.order("look").is_some();
            assert!(lives && Instant::now() < deadline, "dockerd does not answer; its log:\n{}", self.log());
        }
    }

    fn order(&self, order: &str) -> Option<u32> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner).order(order)
    }

    /// Whether it answers well. It accepts connections long before it is ready.
    fn ping(&self) -> io::Result<bool> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.0 200 "))
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// A directory that goes with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its process, by the number that it has where it was started; `/proc/PID/ns/net` is the network it runs in.
    ///
    /// # Panics
    /// Where it has died.
    pub fn pid(&self) -> u32 {
        self.order("look").expect("dockerd lives")
    }

    /// The control group, in each hierarchy, that those of its containers are in.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Stops it where it is: it accepts connections and does not answer.
    pub fn freeze(&self) {
        self.order("freeze");
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        self.order("thaw");
    }

    /// Ends it without a warning; its containers run on.
    pub fn kill(&self) {
        self.order("kill");
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.talk.get_mut().unwrap_or_else(PoisonError::into_inner).orders = None;
        let _ = self.keeper.wait();
    }
}

/// What this host lacks for it.
fn lack() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("this test needs root".to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    let missing = ["dockerd", "containerd", "runc"].into_iter().find(|program| !has(program));
    missing.map(|program| format!("this test needs {program} (Debian package docker.io)"))
}
