//! Two hosts on one wire, each with systemd, Docker, Open vSwitch and an agent that systemd keeps.
//!
//! ```text
//!   sandbox ─┬─ bridge `wire` ──┬── host0 of h1, 10.99.0.1
//!            │                  └── host0 of h2, 10.99.0.2
//!            ├─ systemd-nspawn ──▶ systemd of h1 ──▶ dockerd, ovsdb-server, ovs-vswitchd, netloom agent
//!            └─ systemd-nspawn ──▶ systemd of h2 ──▶ …
//! ```
//!
//! Their disks are in the memory of the sandbox, outlive a crash, and go with it. What can be seen of them from outside are
//! control groups, below one that is the test's own; they are removed when the sandbox has ended.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use netloom_dockerd_fixture::{BUSYBOX, busybox};
use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{Ended, NETLOOM, PATIENCE, Sandbox, below};

/// The one image that is there: busybox, whose containers run a shell.
pub(super) const IMAGE: &str = "netloom.test/busybox:1";

/// How long a host may take to be there: 2.5 s where nothing else runs.
const BOOT: Duration = Duration::from_secs(60);

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    One,
    Two,
}

pub(super) const BOTH: [Host; 2] = [Host::One, Host::Two];

impl Host {
    pub(super) fn other(self) -> Self {
        BOTH[1 - self as usize]
    }

    fn name(self) -> &'static str {
        ["h1", "h2"][self as usize]
    }

    pub(super) fn address(self) -> &'static str {
        ["10.99.0.1", "10.99.0.2"][self as usize]
    }
}

/// The two hosts. What is left of their control groups goes last.
pub(super) struct Pair {
    machines: [Option<Machine>; 2],
    sandbox: Sandbox,
    groups: Groups,
}

/// What there is of a host until it crashes.
struct Machine {
    nspawn: Child,
    init: Pid,
}

impl Pair {
    /// Two hosts whose agents see Docker and Open vSwitch; `None`, loudly, where they cannot be had.
    pub(super) fn boot() -> Option<Self> {
        if let Some(lack) = lack() {
            assert!(std::env::var_os("NETLOOM_REQUIRE_ROOT").is_none(), "{lack}, and NETLOOM_REQUIRE_ROOT is set");
            eprintln!("SKIPPED: {lack}");
            return None;
        }
        let groups = Groups(format!("netloom-hosts-{}", std::process::id()));
        let mut pair = Self { machines: [None, None], sandbox: Sandbox::new()?, groups };
        // systemd-nspawn keeps notes in /run.
        let wire = "mount -t tmpfs none /run && ip link add wire type bridge && ip link set wire up";
        let disks = format!("mkdir -p {0} && mount -t tmpfs none {0}", pair.disks().display());
        pair.sandbox.sh(&format!("{wire} && {disks}")).code(0);
        fs::write(pair.file("image.tar"), busybox(IMAGE)).unwrap();
        for host in BOTH {
            pair.start(host);
        }
        for host in BOTH {
            pair.wait_for(host);
            pair.sh(host, "docker load --quiet --input /labs/image.tar").code(0);
        }
        Some(pair)
    }

    fn disks(&self) -> PathBuf {
        self.sandbox.root.path().join("disks")
    }

    /// Switches a host on, with the disk that it has.
    pub(super) fn start(&mut self, host: Host) {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib/netloom.service");
        let disk = self.disks().join(host.name());
        let path = self.file(&format!("{}.log", host.name()));
        let log = File::create(&path).unwrap();
        let mut command = self.sandbox.command("sh");
        command.args(["-c", include_str!("host.sh"), "host.sh", host.name(), host.address()]).arg(disk);
        command.arg(&self.groups.0).args([NETLOOM.as_ref(), unit.as_path(), self.sandbox.labs.path()]);
        let mut nspawn = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let deadline = Instant::now() + BOOT;
        let init = loop {
            if let Some(init) = init_below(nspawn.id()) {
                break init;
            }
            let lives = nspawn.try_wait().unwrap().is_none() && Instant::now() < deadline;
            assert!(lives, "{host:?} does not start:\n{}", fs::read_to_string(&path).unwrap());
        };
        self.machines[host as usize] = Some(Machine { nspawn, init });
    }

    /// Waits until the agent of a host sees Docker and Open vSwitch.
    #[track_caller]
    pub(super) fn wait_for(&self, host: Host) {
        self.until("the host is there", |pair| {
            let said = pair.netloom(host, &["status"]);
            said.code == 0 && ["docker", "ovs"].iter().all(|one| said.out.lines().any(|line| line.starts_with(one)))
        });
    }

    /// A host crashes: all its processes end at once, in the middle of whatever they do.
    pub(super) fn crash(&mut self, host: Host) {
        let mut machine = self.machines[host as usize].take().unwrap();
        // With the first process of its namespace the kernel ends all others.
        kill_process(machine.init, Signal::KILL).unwrap();
        machine.nspawn.wait().unwrap();
        self.groups.remove(host.name());
    }

    /// Removes the database of Open vSwitch of a host that is off.
    pub(super) fn lose_database(&self, host: Host) {
        let etc = self.disks().join(host.name()).join("root/etc/openvswitch");
        self.sandbox.sh(&format!("rm {}/conf.db", etc.display())).code(0);
    }

    /// A command on a host that is on.
    pub(super) fn command(&self, host: Host, program: &str) -> Command {
        let init = self.machines[host as usize].as_ref().unwrap().init.as_raw_nonzero().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &init, "--mount", "--net", "--pid", "--uts", "--ipc", "--", program]);
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Runs a script of the shell on a host.
    pub(super) fn sh(&self, host: Host, script: &str) -> Ended {
        Ended::from(&self.command(host, "sh").args(["-c", script]).output().unwrap())
    }

    /// Runs the program that is installed on a host.
    pub(super) fn netloom(&self, host: Host, arguments: &[&str]) -> Ended {
        Ended::from(&self.command(host, "netloom").args(arguments).output().unwrap())
    }

    /// Writes a topology file; gives its path on the hosts.
    pub(super) fn topology(&self, name: &str, text: &str) -> String {
        self.sandbox.topology(name, text);
        format!("/labs/{name}.clab.yml")
    }

    /// A file that the hosts see in `/labs`.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.sandbox.labs.path().join(name)
    }

    /// Waits until something is so.
    #[track_caller]
    pub(super) fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE.max(BOOT);
        while !so(self) {
            if Instant::now() > deadline {
                let show =
                    "netloom status; netloom inspect --name across; docker ps --all; netloom events | tail -n 150
                    journalctl --no-pager --boot --lines=60 --unit=netloom";
                let [one, two] = BOTH.map(|host| self.sh(host, show));
                panic!("never: {what}\nh1:\n{}{}\nh2:\n{}{}", one.out, one.err, two.out, two.err);
            }
        }
    }
}

/// The first process of the namespace that is made by one of these: `systemd` as soon as it has begun.
fn init_below(pid: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().filter_map(|child| child.parse().ok()).find_map(|child: u32| {
        let read = |file: &str| fs::read_to_string(format!("/proc/{child}/{file}")).unwrap_or_default();
        let status = read("status");
        let numbers = status.lines().find(|line| line.starts_with("NSpid:"));
        let is_first = numbers.is_some_and(|line| line.ends_with("\t1")) && read("comm") == "systemd\n";
        if is_first { Pid::from_raw(child.try_into().ok()?) } else { init_below(child) }
    })
}

/// The control groups of the hosts, in each hierarchy, by the name of the one that all are in.
struct Groups(String);

impl Groups {
    /// Removes one of them, or all, as soon as the last process in it has gone.
    fn remove(&self, one: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let own = hierarchy.join(&self.0).join(one);
            for path in below(&own).into_iter().chain([own]) {
                while fs::remove_dir(&path).is_err() && path.exists() && Instant::now() < deadline {
                    std::thread::yield_now();
                }
            }
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.remove("");
    }
}

/// What this machine lacks.
fn lack() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    let needed = [
        ("systemd-nspawn", "systemd-container"),
        ("dockerd", "docker.io"),
        ("ovs-vswitchd", "openvswitch-switch"),
        (BUSYBOX, "busybox-static"),
    ];
    let (program, package) = needed.into_iter().find(|(program, _)| !has(program))?;
    Some(format!("this test needs {program} (Debian package {package})"))
}
