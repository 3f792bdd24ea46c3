//! The daemon's life.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "only tests use this")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long the daemon may take to answer. It takes 0.3 s where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Docker daemon of one's own; it ends, with all its containers, when this is dropped.
#[derive(Debug)]
pub struct Dockerd {
    /// Removed by the keeper; kept here for when that fails.
    directory: TempDir,
    group: String,
    pid: Pid,
    keeper: Child,
    /// Its end ends the keeper.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
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
            .arg(&group)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = keeper.stdin.take();
        let answers = BufReader::new(keeper.stdout.take().unwrap());
        let mut daemon = Self { directory, group, pid: Pid::INIT, keeper, orders, answers };
        daemon.start_again();
        Some(daemon)
    }

    /// Starts the daemon after [`Self::kill`], with all that it had, and waits until it answers.
    ///
    /// # Panics
    /// Where it does not.
    pub fn start_again(&mut self) {
        writeln!(self.orders.as_mut().unwrap(), "start").unwrap();
        let mut pid = String::new();
        self.answers.read_line(&mut pid).unwrap();
        self.pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
        self.wait_until_it_answers();
    }

    fn wait_until_it_answers(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !matches!(self.ping(), Ok(true)) {
            assert!(Instant::now() < deadline && self.lives(), "dockerd does not answer; its log:\n{}", self.log());
            std::thread::yield_now();
        }
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

    /// Its process, as seen where it was started by [`Self::start_by`]; `/proc/PID/ns/net` is the network it runs in.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
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
    ///
    /// # Panics
    /// Where it is not there.
    pub fn freeze(&self) {
        kill_process(self.pid, Signal::STOP).unwrap();
        let threads = format!("/proc/{}/task", self.pid());
        let stopped = |path: PathBuf| state(&path.join("stat")).is_none_or(|state| state == 'T');
        let all = || fs::read_dir(&threads).unwrap().flatten().all(|thread| stopped(thread.path()));
        wait_until("dockerd stops", all);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// Where it is not there.
    pub fn thaw(&self) {
        kill_process(self.pid, Signal::CONT).unwrap();
    }

    /// Ends it without a warning; its containers run on.
    ///
    /// # Panics
    /// Where it is not there.
    pub fn kill(&self) {
        kill_process(self.pid, Signal::KILL).unwrap();
        // Its first thread may be gone while others still hold the socket.
        wait_until("dockerd dies", || !self.lives() && UnixStream::connect(self.socket()).is_err());
    }

    /// Whether its process is there and not dead.
    fn lives(&self) -> bool {
        let stat = format!("/proc/{}/stat", self.pid());
        state(Path::new(&stat)).is_some_and(|state| !['Z', 'X'].contains(&state))
    }
}

/// The state of a process or thread (proc(5)), if it is there.
fn state(stat: &Path) -> Option<char> {
    // The name before it, in parentheses, may hold anything.
    fs::read_to_string(stat).ok()?.rsplit(") ").next()?.chars().next()
}

fn wait_until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        self.orders = None;
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
