//! The programs of iptables(8), which whoever keeps a firewall on a host uses, Docker too: the same ones see the same rules,
//! whichever of its two kinds (nft, legacy) the host has chosen.
//!
//! Blocking; only for the thread of the firewall. No program outlives its deadline.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use netloom_kernel::Process;
use rustix::fs::MemfdFlags;

use super::super::super::super::fault::plain;

/// How long one program may take. It takes milliseconds, or as long as another one has the lock.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it waits for the lock, in seconds: less than it may take.
const FOR_LOCK: &str = "5";
/// How much of what it prints is read: some 100,000 rules.
const MOST: u64 = 16 << 20;
/// Where the programs are, also where a user's `PATH` leaves these out.
const ELSEWHERE: &str = "/usr/sbin:/sbin:/usr/local/sbin";

/// The programs of one family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IpTables {
    V4,
    V6,
}

/// What came of a program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// This host has none of that name.
    Missing(&'static str),
    /// What it said, or what happened to it.
    Ended { program: &'static str, words: String },
}

impl IpTables {
    /// All tables that there are, as iptables-save(8) prints them. Makes none, as every question to `iptables` itself may.
    pub(super) fn save(self, deadline: Instant) -> Result<String, Failed> {
        let program = match self {
            Self::V4 => "iptables-save",
            Self::V6 => "ip6tables-save",
        };
        run(program, &[], deadline)
    }

    /// One change of a chain: what iptables(8) is called with.
    pub(super) fn change(self, change: &[String], deadline: Instant) -> Result<(), Failed> {
        let waits = ["--wait".to_owned(), FOR_LOCK.to_owned()];
        run(self.program(), &[&waits, change].concat(), deadline).map(drop)
    }

    pub(super) fn program(self) -> &'static str {
        match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        }
    }
}

impl fmt::Display for IpTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(program) => write!(
                f,
                "`{program}` is not installed, so it is not known whether Docker's firewall is in the way; install \
                 iptables, or say `external-access: false` in `mgmt`"
            ),
            Self::Ended { program, words } => write!(f, "`{program}`: {words}"),
        }
    }
}

/// What a program prints, once it has ended well.
fn run(program: &'static str, arguments: &[String], deadline: Instant) -> Result<String, Failed> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Failed::Missing(program),
        _ => Failed::Ended { program, words: plain(&error) },
    };
    // In memory, so that nobody has to read while it prints.
    let printed = rustix::fs::memfd_create(program, MemfdFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let mut printed = File::from(printed);
    let both = [printed.try_clone().map_err(failed)?, printed.try_clone().map_err(failed)?];
    let path = std::env::var("PATH").unwrap_or_default();
    let [out, err] = both.map(Stdio::from);
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", format!("{path}:{ELSEWHERE}")).env("LC_ALL", "C");
    let mut child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(failed)?;
    let in_time = ends_by(child.id(), deadline.min(Instant::now() + PATIENCE));
    if !matches!(in_time, Ok(true)) {
        child.kill().map_err(failed)?;
    }
    let status = child.wait().map_err(failed)?;
    if !in_time.map_err(failed)? {
        return Err(Failed::Ended { program, words: "it did not end in time, and was ended".into() });
    }
    printed.rewind().map_err(failed)?;
    let mut bytes = Vec::new();
    printed.take(MOST).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if status.success() { Ok(text) } else { Err(Failed::Ended { program, words: first_words(&text) }) }
}

/// Whether a child of ours, which nobody has buried, ends in time.
fn ends_by(child: u32, deadline: Instant) -> io::Result<bool> {
    Process::open(child)?.map_or(Ok(true), |process| process.wait_until(deadline))
}

/// The first line of what it says; further ones say how it is called.
fn first_words(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#'));
    line.map_or_else(|| "it failed, and does not say why".to_owned(), |line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn what_a_program_prints_is_read_when_it_has_ended() {
        let print = ["-c".to_owned(), "seq 100000".to_owned()];
        assert_eq!(run("sh", &print, soon()).unwrap().lines().count(), 100_000);
    }

    #[test]
    fn a_program_that_fails_or_is_missing_or_hangs_says_so() {
        let ended = |words: &str| Err(Failed::Ended { program: "sh", words: words.into() });
        let fails = ["-c".to_owned(), "echo no such chain >&2; echo try --help >&2; exit 1".to_owned()];
        assert_eq!(run("sh", &fails, soon()), ended("no such chain"));
        assert_eq!(run("no-such-program", &[], soon()), Err(Failed::Missing("no-such-program")));
        let hangs = ["-c".to_owned(), "exec sleep 1000".to_owned()];
        let late = run("sh", &hangs, Instant::now() + Duration::from_millis(50));
        assert_eq!(late, ended("it did not end in time, and was ended"));
    }
}
