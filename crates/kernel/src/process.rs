//! Processes that cannot be mistaken for others: a descriptor, and an identity that survives a restart of the agent.
//!
//! A process number is reused; a pidfd is not, and together with the start time (clock ticks since boot) neither is
//! the number. A [`Process`] that was opened stays the same process until it is dropped, also when it has ended.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

use crate::ready::readable;

pub use rustix::process::Signal;

/// What tells a process from all others for as long as the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its number, as this process sees it.
    pub pid: u32,
    /// When it started: field 22 of `/proc/<pid>/stat`, in clock ticks since boot.
    pub start_time: u64,
}

/// A process that is held by descriptor; it may have ended.
#[derive(Debug)]
pub struct Process {
    identity: Identity,
    pidfd: OwnedFd,
}

impl Process {
    /// Opens the process that has this number now. `None`: there is none.
    pub fn open(pid: u32) -> io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let pidfd = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // EINVAL: the number is that of a thread.
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // After the descriptor: if the process were another one by now, the descriptor would be that one's too.
        let start_time = match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => start_time(&stat).ok_or(io::ErrorKind::InvalidData)?,
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(Self { identity: Identity { pid, start_time }, pidfd }))
    }

    /// Opens exactly this process. `None`: it has ended and is buried.
    pub fn find(identity: Identity) -> io::Result<Option<Self>> {
        Ok(Self::open(identity.pid)?.filter(|found| found.identity == identity))
    }

    /// Which one it is.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether its words are these; `false` also when it has ended. An error says nothing about it.
    pub fn has_arguments(&self, words: &[&str]) -> io::Result<bool> {
        let bytes = match fs::read(format!("/proc/{}/cmdline", self.identity.pid)) {
            Ok(bytes) => bytes,
            Err(error) if gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        // A look at the same number before and after would not help; the descriptor says whether it was ours.
        let same = bytes.split(|byte| *byte == 0).take(words.len()).eq(words.iter().map(|word| word.as_bytes()));
        Ok(same && self.is_alive())
    }

    /// Whether it has not ended yet.
    pub fn is_alive(&self) -> bool {
        let mut ready = [PollFd::new(&self.pidfd, PollFlags::IN)];
        matches!(poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }

    /// Sends a signal; to one that has ended nothing is sent, which is no error.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Blocks until it has ended (`true`) or the deadline has passed (`false`).
    pub fn wait_until(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Returns when it has ended. Needs a runtime with I/O. Dropping the future changes nothing.
    pub async fn ended(&self) -> io::Result<()> {
        readable(&self.pidfd).await
    }

    /// Buries it if it has ended and is a child of this process: its exit code then, 128 + n after signal n.
    /// `None` for any other, whose exit only its parent can learn.
    pub fn reap(&self) -> Option<i32> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(self.pidfd.as_fd()), options).ok()??;
        status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal))
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Counted after the name, which is in brackets and may hold anything (proc_pid_stat(5)).
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    /// A process that is up and waits until it is killed.
    #[expect(clippy::zombie_processes, reason = "the tests bury it by `Process::reap`, which is what they are about")]
    fn waiting() -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", "echo up; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Until it says something its arguments may not be there yet: a spawn returns in the middle of the exec.
        let mut line = [0; 3];
        child.stdout.take().unwrap().read_exact(&mut line).unwrap();
        // Held open, so that it waits.
        std::mem::forget(child.stdin.take());
        Process::open(child.id()).unwrap().unwrap()
    }

    #[test]
    fn a_process_is_found_by_its_identity_and_by_no_other() {
        let process = waiting();
        let identity = process.identity();
        assert!(Process::find(identity).unwrap().is_some());
        assert!(Process::find(Identity { start_time: identity.start_time + 1, ..identity }).unwrap().is_none());
        assert!(!process.has_arguments(&["dog"]).unwrap());
        assert!(process.is_alive());
        assert!(!process.wait_until(Instant::now() + Duration::from_millis(5)).unwrap());
        process.signal(Signal::KILL).unwrap();
        assert!(process.wait_until(Instant::now() + Duration::from_secs(5)).unwrap());
        assert!(!process.is_alive());
        assert_eq!(process.reap(), Some(137));
        process.signal(Signal::KILL).unwrap();
        assert!(Process::find(identity).unwrap().is_none());
    }

    #[tokio::test]
    async fn the_end_of_a_process_wakes_who_waits_for_it() {
        let process = waiting();
        let waited = process.ended();
        tokio::pin!(waited);
        assert!(tokio::time::timeout(Duration::from_millis(5), &mut waited).await.is_err());
        process.signal(Signal::TERM).unwrap();
        waited.await.unwrap();
        assert_eq!(process.reap(), Some(143));
    }

    #[test]
    fn one_that_is_not_our_child_cannot_be_buried() {
        let first = Process::open(1).unwrap().unwrap();
        assert_eq!(first.reap(), None);
        let words = fs::read_to_string("/proc/1/cmdline").unwrap();
        assert!(first.has_arguments(&[words.split('\0').next().unwrap()]).unwrap());
    }

    #[test]
    fn one_whose_words_cannot_be_read_is_not_taken_for_another() {
        const INSIDE: &str = "NETLOOM_TEST_WITHOUT_DESCRIPTORS";
        if std::env::var_os(INSIDE).is_none() {
            // In a process of its own: the limit is one of the whole process.
            let name = "process::tests::one_whose_words_cannot_be_read_is_not_taken_for_another";
            let inside =
                Command::new(std::env::current_exe().unwrap()).args(["--exact", name]).env(INSIDE, "1").output();
            let inside = inside.unwrap();
            assert!(inside.status.success(), "{}", String::from_utf8_lossy(&inside.stdout));
            return;
        }
        let own = Process::open(std::process::id()).unwrap().unwrap();
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
        let answer = own.has_arguments(&[]);
        setrlimit(Resource::Nofile, limit).unwrap();
        assert_eq!(answer.unwrap_err().raw_os_error(), Some(libc::EMFILE));
        assert!(own.has_arguments(&[]).unwrap());
    }
}
