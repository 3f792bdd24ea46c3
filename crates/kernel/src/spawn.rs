//! Processes started in namespaces of their own, without forking a large process.
//!
//! ```text
//!   Spawner::spawn ──bounded queue──▶ nl-spawn-0, nl-spawn-1   in the spawner's own mount namespace
//!                                          │ one short-lived thread a process:
//!                                          ▼ setns(net), unshare(mnt, uts, ipc, pid), posix_spawn
//! ```
//!
//! `pre_exec` would make the standard library fork, which takes 31 ms in a process of 500 MB; a thread that unshares
//! and then spawns takes 1 ms. Copying a mount namespace takes as long as it has mounts, so the lanes live in a copy
//! of the host's in which pinned namespaces, container file systems and the like are unmounted; what the host mounts
//! later still arrives there (slave propagation).

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Instant;

use netloom_backlog::{Backlog, PushError, Queue, Worker, queue};
use netloom_failpoint::{fallible, point};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::sync::oneshot;

use crate::Netns;
use crate::process::{Process, Signal};

/// Processes that are started at the same time: one per core of the smallest machine this is meant for.
const LANES: usize = 2;
const NAME: &str = "nl-spawn";
/// Requests that wait.
const QUEUE: usize = 256;

/// Why a process was not started.
#[derive(Debug)]
pub enum SpawnError {
    /// The queue is full; nothing was tried.
    Busy,
    /// The spawner has ended; nothing was tried.
    Closed,
    /// The deadline passed before its turn, or while it was started; in the latter case it was killed.
    Deadline,
    /// The kernel refused.
    Failed {
        /// What was tried, in the infinitive.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the queue of the spawner is full"),
            Self::Closed => f.write_str("the spawner has ended"),
            Self::Deadline => f.write_str("the process was not started in time"),
            Self::Failed { operation, source } => write!(f, "cannot {operation}: {source}"),
        }
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A process that was started. Dropping it neither ends nor buries it.
#[derive(Debug)]
pub struct Spawned {
    /// Its pipes, as the command asked for them.
    pub child: Child,
    /// The process itself; bury it with [`Process::reap`].
    pub process: Process,
}

/// Where a process is started.
#[derive(Debug)]
pub enum Surroundings {
    /// In those of the agent, except that some of the host's mounts are missing.
    Own,
    /// In new mount, UTS, IPC and process namespaces (as PID 1) and in this network namespace.
    Node(Netns),
}

struct Job {
    surroundings: Surroundings,
    command: Command,
    deadline: Instant,
    reply: oneshot::Sender<Result<Spawned, SpawnError>>,
}

/// Starts processes on threads of its own. Clones share them; they end with the last clone.
#[derive(Debug, Clone)]
pub struct Spawner {
    jobs: Queue<Job>,
}

impl Spawner {
    /// Starts the threads. `hidden`: mounts at or below these paths are not wanted in what is started. Pinned
    /// namespaces never are. Needs root.
    pub fn start(hidden: &[PathBuf]) -> Result<Self, SpawnError> {
        let (jobs, worker) = queue(NAME, QUEUE);
        let (started, starts) = sync_channel(1);
        let hidden = hidden.to_vec();
        let failed = |operation| move |source| SpawnError::Failed { operation, source };
        thread::Builder::new()
            .name("nl-spawner".into())
            .spawn(move || {
                let result = own_mounts(&hidden).and_then(|()| start_lanes(&worker));
                // Nobody is there to hear it only if `start` has panicked.
                let _ = started.send(result);
            })
            .map_err(failed("start the spawner's thread"))?;
        starts.recv().map_err(|_| SpawnError::Closed)?.map_err(failed("make the spawner's mount namespace"))?;
        Ok(Self { jobs })
    }

    /// What the threads have not finished.
    pub fn backlog(&self) -> &Backlog {
        self.jobs.backlog()
    }

    /// Starts `command`. If the future is dropped or the deadline passes, a process that was started meanwhile is
    /// killed and buried. Standard streams that the command does not set are those of the agent.
    pub async fn spawn(
        &self,
        surroundings: Surroundings,
        command: Command,
        deadline: Instant,
    ) -> Result<Spawned, SpawnError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.push(Job { surroundings, command, deadline, reply }).map_err(|error| match error {
            PushError::Full => SpawnError::Busy,
            PushError::Closed => SpawnError::Closed,
        })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(SpawnError::Closed),
            Err(_) => Err(SpawnError::Deadline),
        }
    }
}

/// Gives the calling thread, and the threads that it starts, a mount namespace without what is not wanted in it.
fn own_mounts(hidden: &[PathBuf]) -> io::Result<()> {
    // SAFETY: this thread was started for this and lends its file system state to none but the lanes, which are
    // started afterwards; no descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let mountinfo = fs::read_to_string("/proc/thread-self/mountinfo")?;
    // Last mounted first, so that what is below goes before what is above.
    for mount in unwanted(&mountinfo, hidden).iter().rev() {
        // One that went with another one is not there any more; one that stays costs time, not correctness.
        let _ = unmount(mount, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
    Ok(())
}

/// Mount points of pinned namespaces and those at or below `hidden`, in the order in which they were mounted.
fn unwanted(mountinfo: &str, hidden: &[PathBuf]) -> Vec<PathBuf> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            // Blank and backslash are escaped (`\040`); such a mount just stays.
            let point = Path::new(before.split(' ').nth(4)?);
            let pinned = after.starts_with("nsfs ");
            (pinned || hidden.iter().any(|hidden| point.starts_with(hidden))).then(|| point.to_owned())
        })
        .collect()
}

fn start_lanes(worker: &Worker<Job>) -> io::Result<()> {
    for lane in 0..LANES {
        let worker = worker.clone();
        thread::Builder::new().name(format!("{NAME}-{lane}")).spawn(move || worker.run(serve))?;
    }
    Ok(())
}

fn serve(job: Job) {
    let Job { surroundings, mut command, deadline, reply } = job;
    if reply.is_closed() {
        return;
    }
    let result = if Instant::now() >= deadline {
        Err(SpawnError::Deadline)
    } else {
        let started = match surroundings {
            Surroundings::Own => start(&mut command),
            Surroundings::Node(netns) => on_own_thread(move || {
                enter(&netns)?;
                start(&mut command)
            }),
        };
        started.and_then(identify)
    };
    if let Err(Ok(mut unwanted)) = reply.send(result) {
        // Whoever wanted it is gone.
        let _ = unwanted.process.signal(Signal::KILL);
        let _ = unwanted.child.wait();
    }
}

fn on_own_thread(work: impl FnOnce() -> Result<Child, SpawnError> + Send) -> Result<Child, SpawnError> {
    thread::scope(|scope| match thread::Builder::new().name("nl-spawn".into()).spawn_scoped(scope, work) {
        Ok(thread) => thread.join().unwrap_or(Err(SpawnError::Closed)),
        Err(source) => Err(SpawnError::Failed { operation: "start a thread", source }),
    })
}

fn enter(netns: &Netns) -> Result<(), SpawnError> {
    let failed = |operation| move |source: io::Error| SpawnError::Failed { operation, source };
    netns.enter().map_err(failed("enter the network namespace"))?;
    let own = UnshareFlags::NEWNS | UnshareFlags::NEWUTS | UnshareFlags::NEWIPC | UnshareFlags::NEWPID;
    // SAFETY: this thread was started for one process and ends after it; no descriptor table is unshared.
    unsafe { unshare_unsafe(own) }.map_err(|errno| failed("make the node's namespaces")(errno.into()))
}

fn start(command: &mut Command) -> Result<Child, SpawnError> {
    let spawned = fallible!("spawn.before").and_then(|()| command.spawn());
    let child = spawned.map_err(|source| SpawnError::Failed { operation: "start the process", source })?;
    point!("spawn.after");
    Ok(child)
}

/// Not on the thread that started it: that one shares the mount namespace of the node, and when the node's root
/// changes, so does its own, to a `/proc` that numbers processes otherwise.
fn identify(mut child: Child) -> Result<Spawned, SpawnError> {
    // A child that nobody has waited for keeps its number, so this is the one that was started.
    match Process::open(child.id()) {
        Ok(Some(process)) => Ok(Spawned { child, process }),
        not_opened => {
            let _ = child.kill();
            let _ = child.wait();
            let source = not_opened.err().unwrap_or_else(|| io::ErrorKind::NotFound.into());
            Err(SpawnError::Failed { operation: "open the process", source })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pinned_namespaces_and_hidden_trees_are_not_copied() {
        let mountinfo = "\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:4 net:[4026532] /run/netns/a rw - nsfs nsfs rw
3 1 0:40 / /run/netloom/netns rw - tmpfs tmpfs rw
4 1 0:41 / /run/netloom/netnsx rw - tmpfs tmpfs rw
5 1 0:42 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw";
        let hidden = [PathBuf::from("/run/netloom/netns"), PathBuf::from("/var/lib/docker")];
        let expected = ["/run/netns/a", "/run/netloom/netns", "/var/lib/docker/overlay2/x/merged"];
        assert_eq!(unwanted(mountinfo, &hidden), expected.map(PathBuf::from));
    }
}
