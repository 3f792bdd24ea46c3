//! The machine that is measured on: a file system in memory, limits, and whether the kernel is quiet.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netloom_kernel::{Monitor, MonitorEvent, Netns, unpin};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;

/// No step of a measurement takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// What a first look at the machine has to find or make.
pub(crate) fn prepare() -> Result<()> {
    // A new network namespace has its loopback off.
    let status = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip")?;
    if !status.success() {
        bail!("cannot bring up the loopback: run it as root, by `make bench`");
    }
    // The floor holds three descriptors a node.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("the limit of open files")
}

/// What the machine is, in a line: figures mean nothing without it.
pub(crate) fn facts() -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
    let (cpu, memory) = (read("/proc/cpuinfo")?, read("/proc/meminfo")?);
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split(':').nth(1));
        line.unwrap_or("?").trim().to_owned()
    };
    let load = read("/proc/loadavg")?;
    Ok(format!(
        "{} × {}, {} of memory, Linux {}, load {} before",
        std::thread::available_parallelism()?,
        field(&cpu, "model name"),
        field(&memory, "MemTotal"),
        read("/proc/sys/kernel/osrelease")?.trim(),
        load.split(' ').next().unwrap_or("?"),
    ))
}

/// Lets time pass, while others work.
pub(crate) fn wait(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        std::thread::park_timeout(left);
    }
}

/// Begins a command that runs its further arguments in a network namespace.
pub(crate) fn in_namespace(pin: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", pin.display()));
    command
}

/// A directory in memory, as /run is on most hosts: what is measured is Netloom and the kernel, not a disk. (An ext4
/// without a journal, as some virtual machines have, takes milliseconds for each new file after many were deleted.)
pub(crate) struct Memory {
    directory: tempfile::TempDir,
}

impl Memory {
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        mount("bench", directory.path(), "tmpfs", MountFlags::empty(), None)
            .context("cannot mount a tmpfs: run it as root, by `make bench`")?;
        Ok(Self { directory })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = unmount(self.path(), UnmountFlags::DETACH);
    }
}

/// What was heard of a namespace that was let go of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// Its end.
    Gone,
    /// Nothing: events were lost.
    Lost,
}

/// Tells when the kernel has torn down everything that it was given to tear down.
pub(crate) struct Kernel {
    runtime: Runtime,
    home: Netns,
    pins: tempfile::TempDir,
}

impl Kernel {
    pub(crate) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        Ok(Self { runtime, home: Netns::host()?, pins: tempfile::tempdir()? })
    }

    /// Returns when every network namespace that was let go of before the call is gone, with all that was in it.
    ///
    /// One worker of the kernel ends namespaces, batch after batch, and says so at the beginning of a batch. When it
    /// says so of a namespace that we let go of, all that were let go of before are in that batch or an earlier one;
    /// when it says so of a second one, that batch has ended.
    pub(crate) fn settle(&self) -> Result<()> {
        for turn in ["first", "second"] {
            while self.pass(turn)? == Heard::Lost {}
        }
        Ok(())
    }

    fn pass(&self, name: &str) -> Result<Heard> {
        let (monitor, mut events) = Monitor::start(&self.home)?;
        let pin = self.pins.path().join(name);
        let netns = Netns::create_pinned(&pin)?;
        let watched = monitor.watch(&netns)?;
        drop(netns);
        unpin(&pin)?;
        let gone = async {
            while let Some(batch) = events.recv().await {
                if batch.iter().any(|event| matches!(event, MonitorEvent::Overrun)) {
                    return Ok(Heard::Lost);
                }
                if batch.iter().any(|event| matches!(event, MonitorEvent::NamespaceGone { nsid } if *nsid == watched)) {
                    return Ok(Heard::Gone);
                }
            }
            bail!("the monitor has ended")
        };
        self.runtime.block_on(async { tokio::time::timeout(LIMIT, gone).await })?
    }

    /// Waits until nothing of the round before is left to be done, so that the next one does not pay for it: first for
    /// the namespaces, then until ending one takes no longer than it does at rest.
    pub(crate) fn wait_until_quiet(&self) -> Result<()> {
        const AT_REST: Duration = Duration::from_millis(150);
        const TRIES: usize = 40;
        for _ in 0..TRIES {
            let started = Instant::now();
            self.settle()?;
            if started.elapsed() < AT_REST {
                return Ok(());
            }
        }
        bail!("the kernel does not come to rest: something else on this machine makes and ends namespaces")
    }
}
