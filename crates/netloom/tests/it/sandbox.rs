//! A host of its own for a test: network, mount and process namespaces, an agent, and the command line to drive it.
//!
//! ```text
//!   test ──stdin──▶ unshare ──▶ bash (PID 1 of the sandbox; ends when its standard input does)
//!     └── nsenter ──▶ netloom …, ip …, the agent
//! ```
//!
//! When the test ends, in whatever way, bash's standard input closes, and with bash the kernel ends everything else
//! in the sandbox. Nothing of it was ever visible to the host, but for cgroups.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant};

use netloom_engine::Layout;
use netloom_kernel::Netns;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The program under test.
pub(crate) const NETLOOM: &str = env!("CARGO_BIN_EXE_netloom");

/// How long a test waits for something before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn from(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Fails the test unless the command ended with this code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "standard output:\n{}\nstandard error:\n{}", self.out, self.err);
        self
    }

    /// Fails the test unless the command said this, on either stream.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let said = self.out.contains(text) || self.err.contains(text);
        assert!(said, "not said: {text}\nstandard output:\n{}\nstandard error:\n{}", self.out, self.err);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}:\n{}\n{}", self.out, self.err))
    }
}

/// Runs the program without a sandbox and with a root where no agent can be.
pub(crate) fn netloom(arguments: &[&str]) -> Ended {
    let root = TempDir::new().unwrap();
    let mut command = Command::new(NETLOOM);
    command.args(arguments).env("NETLOOM_ROOT", root.path()).env("NO_COLOR", "1").stdin(Stdio::null());
    Ended::from(&command.output().unwrap())
}

/// A host of its own.
pub(crate) struct Sandbox {
    /// `NETLOOM_ROOT` in it.
    pub(crate) root: TempDir,
    /// Where topology files go.
    pub(crate) labs: TempDir,
    /// What commands get in their environment beside that.
    pub(crate) environment: Vec<(&'static str, String)>,
    machine: Machine,
}

/// What there is of a sandbox until its power is cut.
struct Machine {
    init: Child,
    /// Keeps the sandbox alive.
    _stdin: ChildStdin,
    pid: String,
}

/// What is left in `/run` by a reboot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    /// Nothing: it was in memory.
    Memory,
    /// Its files: it was on a disk.
    Disk,
}

impl Sandbox {
    /// A sandbox with nothing in it but `lo`; `None`, loudly, without the rights to make one.
    pub(crate) fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "this test needs root");
            eprintln!("SKIPPED: this test needs root");
            return None;
        }
        let (root, labs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        Some(Self { root, labs, environment: Vec::new(), machine: Machine::boot() })
    }

    /// The power is cut and comes back: all processes, namespaces, mounts and cgroups are gone, and it is another
    /// boot. What is on disks stays.
    pub(crate) fn reboot(&mut self, run: Run) {
        self.power_off();
        if run == Run::Memory {
            fs::remove_dir_all(self.root.path().join("run")).unwrap();
        }
        self.machine = Machine::boot();
        let id = self.labs.path().join("boot_id");
        fs::write(&id, format!("{:08x}-0000-4000-8000-000000000000\n", self.machine.init.id())).unwrap();
        self.sh(&format!("mount --bind {} /proc/sys/kernel/random/boot_id", id.display())).code(0);
    }

    fn power_off(&mut self) {
        // Only the process that was started here; `--kill-child` ends the sandbox with it.
        let _ = self.machine.init.kill();
        let _ = self.machine.init.wait();
        // What is left of cgroups can go as soon as its last process has.
        let deadline = Instant::now() + Duration::from_secs(5);
        // The first process of the sandbox dies after all others in it.
        let lives = |stat: String| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'));
        let stat = format!("/proc/{}/stat", self.machine.pid);
        while fs::read_to_string(&stat).is_ok_and(lives) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        for own in self.cgroups() {
            for path in below(&own).into_iter().chain([own]) {
                while fs::remove_dir(&path).is_err() && path.exists() && Instant::now() < deadline {
                    std::thread::yield_now();
                }
            }
        }
    }

    /// A sandbox with an agent that answers.
    pub(crate) fn with_agent() -> Option<Self> {
        let sandbox = Self::new()?;
        sandbox.netloom(&["agent", "--background"]).code(0);
        Some(sandbox)
    }

    /// A command in the sandbox.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.machine.pid, "--mount", "--net", "--pid", "--", program]);
        command.env("NETLOOM_ROOT", self.root.path()).env("NO_COLOR", "1").stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The network of the sandbox.
    pub(crate) fn netns(&self) -> Netns {
        Netns::open(format!("/proc/{}/ns/net", self.machine.pid)).unwrap()
    }

    /// Joins it to another one by a cable, whose end is called so in both.
    pub(crate) fn join(&self, other: &Sandbox, name: &str) {
        let (here, there) = (&self.machine.pid, &other.machine.pid);
        let mut command = Command::new("nsenter");
        command.args(["--target", here, "--net", "ip", "link", "add", name, "type", "veth", "peer", name]);
        Ended::from(&command.args(["netns", there]).output().unwrap()).code(0);
    }

    /// The network of a node, which is given as `lab/node`, while it has one.
    pub(crate) fn node_netns(&self, node: &str) -> Option<Netns> {
        let root = self.root.path().display();
        Netns::find(format!("/proc/{}/root{root}/run/netloom/netns/{node}", self.machine.pid)).unwrap()
    }

    /// Runs the program in the sandbox.
    pub(crate) fn netloom(&self, arguments: &[&str]) -> Ended {
        Ended::from(&self.command(NETLOOM).args(arguments).output().unwrap())
    }

    /// Starts the program in the sandbox, in a process group of its own, with pipes.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(NETLOOM);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command.spawn().unwrap()
    }

    /// Runs a script of the shell in the sandbox.
    pub(crate) fn sh(&self, script: &str) -> Ended {
        Ended::from(&self.command("sh").args(["-c", script]).output().unwrap())
    }

    /// Writes a topology file and gives its path.
    pub(crate) fn topology(&self, name: &str, text: &str) -> String {
        let path = self.labs.path().join(format!("{name}.clab.yml"));
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A lab as `inspect --json` shows it.
    #[track_caller]
    pub(crate) fn lab(&self, name: &str) -> serde_json::Value {
        self.netloom(&["inspect", "--name", name, "--json"]).code(0).json()
    }

    /// Waits until something is so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            if Instant::now() > deadline {
                let all = self.netloom(&["inspect", "--all", "--json"]);
                panic!("never: {what}\n{}{}\nthe agent's log:\n{}", all.out, all.err, self.log());
            }
        }
    }

    /// The end of the agent's log.
    pub(crate) fn log(&self) -> String {
        let log = fs::read_to_string(self.root.path().join("var/lib/netloom/agent.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Everything that a lab could leave behind: interfaces, mounts, processes, cgroups, files.
    pub(crate) fn traces(&self) -> Traces {
        let script = r#"
            ip -o link show | sed 's/^[0-9]*: \([^:@]*\).*/link \1/'
            sed 's/^[^ ]* \([^ ]*\) .*/mount \1/' /proc/self/mounts
            for process in /proc/[0-9]*; do
                read -r _ name state _ <"$process/stat" || continue
                [ "$state" = Z ] || echo "process $name"
            done 2>/dev/null | grep -v '(sh)\|(grep)\|(nsenter)'
            cd "$NETLOOM_ROOT" && find . | sed 's/^/file /'
        "#;
        let mut traces: Vec<String> = self.sh(script).out.lines().map(str::to_owned).collect();
        // What the agent has for itself, as soon as it has needed it once.
        let run = ["", "/agent.lock", "/agent.sock", "/external", "/labs", "/netns", "/nodes", "/reserved"]
            .map(|path| format!("./run/netloom{path}"));
        let state = [
            "",
            "/agent-id",
            "/agent.log",
            "/containers",
            "/layers",
            "/starts.jsonl",
            "/starts.new",
            "/state.redb",
            "/token",
        ]
        .map(|path| format!("./var/lib/netloom{path}"));
        let own: Vec<String> = run.into_iter().chain(state).chain(["./run/netns".to_owned()]).collect();
        // A reboot's.
        traces.retain(|trace| trace != "mount /proc/sys/kernel/random/boot_id");
        traces.retain(|trace| !own.iter().any(|own| trace.strip_prefix("file ") == Some(own)));
        // Copies of what other tests had mounted when this sandbox began; they go when the originals do.
        let [root, labs] = [&self.root, &self.labs].map(|own| format!("mount {}", own.path().display()));
        let temporary = format!("mount {}/", std::env::temp_dir().display());
        traces.retain(|trace| {
            let others =
                trace.starts_with(&temporary) || trace.starts_with("mount ") && trace.contains("/run/netloom/");
            !others || trace.starts_with(&root) || trace.starts_with(&labs)
        });
        // Cgroups are the host's: those of other agents, of tests that run beside this one, are not looked at.
        for instance in self.instances() {
            let find =
                format!("find /sys/fs/cgroup -path '*/netloom/{instance}/*' -type d 2>/dev/null | sed 's/^/cgroup /'");
            traces.extend(self.sh(&find).out.lines().map(str::to_owned));
        }
        traces.sort();
        Traces(traces)
    }

    /// The agents that a sandbox may have: that of its root, and those of the roots in it.
    fn instances(&self) -> Vec<String> {
        let root = self.root.path();
        let roots = [root.to_owned(), root.join("one"), root.join("two")];
        roots.into_iter().map(|root| Layout::new(root).unwrap().instance().to_owned()).collect()
    }

    /// The cgroups that the agents of this sandbox made, in each hierarchy. They are seen by the host.
    fn cgroups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for instance in self.instances() {
            let own = Path::new("netloom").join(instance);
            let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
            found.extend(hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|hierarchy| hierarchy.join(&own)));
        }
        found.retain(|path| path.is_dir());
        found
    }
}

/// All directories below one, the deepest first.
pub(crate) fn below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(below(&path));
            found.push(path);
        }
    }
    found
}

/// What there is on a host.
#[derive(Debug)]
pub(crate) struct Traces(Vec<String>);

impl Traces {
    /// Fails the test unless the host has just this again.
    #[track_caller]
    pub(crate) fn are_all(&self, host: &Sandbox) {
        let now = host.traces();
        let without = |some: &[String], others: &[String]| {
            some.iter().filter(|trace| !others.contains(trace)).cloned().collect::<Vec<_>>()
        };
        let (left, gone) = (without(&now.0, &self.0), without(&self.0, &now.0));
        assert!(left.is_empty() && gone.is_empty(), "left behind: {left:#?}\ngone: {gone:#?}");
        assert_eq!(now.0.len(), self.0.len(), "several of one kind: {:#?}", now.0);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.power_off();
    }
}

impl Machine {
    fn boot() -> Self {
        let mut init = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c"])
            .arg("ip link set lo up; echo ready; read")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = init.stdin.take().unwrap();
        let mut ready = String::new();
        BufReader::new(init.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", init.id())).unwrap();
        let pid = children.trim().to_owned();
        Self { init, _stdin: stdin, pid }
    }
}

/// Sends a signal to the program itself: nsenter, which the test has started, waits for it.
pub(crate) fn signal(nsenter: &Child, signal: Signal) {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", nsenter.id())).unwrap();
    kill_process(Pid::from_raw(children.trim().parse().unwrap()).unwrap(), signal).unwrap();
}

/// The path of an example.
pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name).canonicalize().unwrap()
}
