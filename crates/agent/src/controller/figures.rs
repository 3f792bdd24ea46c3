//! What this host has of processors, memory and disk, looked at on threads of its own: whoever reports it takes what was seen
//! last, and never waits.
//!
//! ```text
//!   beats, routes ──ask──▶ thread `host-figures`: /proc/stat, /proc/meminfo ──▶ last value, with its age
//!                 ──ask──▶ thread `disk-figures`: statvfs, which hangs with a file system of another host
//! ```
//!
//! Nothing looks unless somebody has asked.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

/// What the processors did is said of no shorter time.
const SHORTEST: Duration = Duration::from_secs(1);

/// Processors and memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HostFigures {
    /// How busy all processors were together, in percent: since the look before, at first since the boot.
    pub(crate) cpu_percent: f64,
    /// How many there are.
    pub(crate) cpus: usize,
    /// All memory, in bytes.
    pub(crate) memory: u64,
    /// What could be had of it without swapping, in bytes.
    pub(crate) memory_available: u64,
}

/// The file system of the agent's state, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskFigures {
    /// All of it.
    pub(crate) total: u64,
    /// What is taken.
    pub(crate) used: u64,
    /// What is free for programs of users.
    pub(crate) free: u64,
}

/// What is known of the host.
#[derive(Debug)]
pub(crate) struct Figures {
    host: Sampler<HostFigures>,
    disk: Sampler<DiskFigures>,
}

impl Figures {
    /// Starts the threads, which look once at once.
    pub(super) fn start(state: &Path) -> io::Result<Self> {
        let (mut processors, state) = (Processors::default(), state.to_owned());
        let host = move || {
            let (stat, memory) = (fs::read_to_string("/proc/stat")?, fs::read_to_string("/proc/meminfo")?);
            host_figures(&mut processors, &stat, &memory).ok_or_else(|| io::Error::other("/proc is not understood"))
        };
        let disk = move || disk_figures(&state);
        Ok(Self { host: Sampler::start("host-figures", host)?, disk: Sampler::start("disk-figures", disk)? })
    }

    /// Has both looked at; nobody waits for it.
    pub(crate) fn ask(&self) {
        self.host.ask();
        self.disk.ask();
    }

    /// Processors and memory as last seen.
    pub(crate) fn host(&self) -> Option<HostFigures> {
        self.host.last().map(|(host, _)| host)
    }

    /// The disk as last seen.
    pub(crate) fn disk(&self) -> Option<DiskFigures> {
        self.disk.last().map(|(disk, _)| disk)
    }

    /// How old what is known of the disk is.
    pub(crate) fn disk_age(&self) -> Option<Duration> {
        self.disk.last().map(|(_, at)| at.elapsed())
    }
}

/// A thread that looks when it is asked, and what it saw last.
#[derive(Debug)]
struct Sampler<T> {
    /// One that waits to be served needs no second word.
    ask: SyncSender<()>,
    last: Arc<ArcSwapOption<(T, Instant)>>,
}

impl<T: Copy + Send + Sync + 'static> Sampler<T> {
    fn start(name: &str, mut look: impl FnMut() -> io::Result<T> + Send + 'static) -> io::Result<Self> {
        let (ask, asked) = sync_channel(1);
        let last = Arc::new(ArcSwapOption::empty());
        let seen = last.clone();
        let run = move || {
            let mut is_failing = false;
            while asked.recv().is_ok() {
                let look = look();
                if let (Err(error), false) = (&look, is_failing) {
                    let thread = thread::current();
                    tracing::warn!(%error, thread = thread.name(), "the host cannot be looked at");
                }
                is_failing = look.is_err();
                if let Ok(value) = look {
                    seen.store(Some(Arc::new((value, Instant::now()))));
                }
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(run)?;
        let sampler = Self { ask, last };
        sampler.ask();
        Ok(sampler)
    }

    fn ask(&self) {
        let _ = self.ask.try_send(());
    }

    fn last(&self) -> Option<(T, Instant)> {
        self.last.load_full().map(|last| *last)
    }
}

/// How long processors were busy, of how long, in ticks since the boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

/// What processors did since the look before.
#[derive(Debug, Default)]
struct Processors {
    before: Ticks,
    looked: Option<Instant>,
    percent: f64,
}

impl Processors {
    /// Looks asked for in quick succession get the same answer: a tick is 10 ms.
    fn percent(&mut self, now: Ticks) -> f64 {
        if self.looked.is_some_and(|looked| looked.elapsed() < SHORTEST) {
            return self.percent;
        }
        self.percent = since(self.before, now);
        (self.before, self.looked) = (now, Some(Instant::now()));
        self.percent
    }
}

#[expect(clippy::cast_precision_loss, reason = "ticks between two looks")]
fn since(before: Ticks, now: Ticks) -> f64 {
    // The kernel may take back a little of what it has said of waiting (proc(5)).
    let (busy, all) = (now.busy.saturating_sub(before.busy), now.all.saturating_sub(before.all));
    if all == 0 { 0.0 } else { (busy as f64 / all as f64 * 100.0).min(100.0) }
}

fn host_figures(processors: &mut Processors, stat: &str, memory: &str) -> Option<HostFigures> {
    // "cpu  user nice system idle iowait irq softirq steal guest guest_nice"; guests are in user and nice already.
    let numbers = stat.lines().find_map(|line| line.strip_prefix("cpu "))?.split_whitespace();
    let numbers: Vec<u64> = numbers.take(8).map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let idle = numbers.get(3)? + numbers.get(4).copied().unwrap_or_default();
    let all: u64 = numbers.iter().sum();
    let is_one =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let bytes = |key: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(HostFigures {
        cpu_percent: processors.percent(Ticks { busy: all.saturating_sub(idle), all }),
        cpus: stat.lines().filter(is_one).count(),
        memory: bytes("MemTotal")?,
        memory_available: bytes("MemAvailable")?,
    })
}

fn disk_figures(path: &Path) -> io::Result<DiskFigures> {
    let of = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(of.f_frsize);
    let (total, free) = (bytes(of.f_blocks), bytes(of.f_bavail));
    Ok(DiskFigures { total, used: bytes(of.f_blocks.saturating_sub(of.f_bfree)), free })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 50 0 50 350 50 0 0 0 0 0\ncpu1 50 0 50 350 50 0 0 0 0 0\n\
        intr 1 2 3\n";
    const MEMORY: &str = "MemTotal:        2048 kB\nMemFree:          100 kB\nMemAvailable:    1024 kB\n";

    #[test]
    fn what_proc_says_is_read() {
        let figures = host_figures(&mut Processors::default(), STAT, MEMORY).unwrap();
        let (memory, memory_available) = (2 << 20, 1 << 20);
        assert_eq!(figures, HostFigures { cpu_percent: 20.0, cpus: 2, memory, memory_available });
        assert_eq!(host_figures(&mut Processors::default(), "", MEMORY), None);
        assert_eq!(host_figures(&mut Processors::default(), "cpu  1 2 x 4\n", MEMORY), None);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "shares without a remainder")]
    fn processors_are_told_of_since_the_look_before() {
        let ticks = |busy, all| Ticks { busy, all };
        assert_eq!(since(ticks(100, 1000), ticks(150, 1100)), 50.0);
        assert_eq!(since(ticks(100, 1000), ticks(100, 1000)), 0.0);
        assert_eq!(since(ticks(100, 1000), ticks(90, 1010)), 0.0);
        let mut processors = Processors::default();
        assert_eq!(processors.percent(ticks(1, 2)), 50.0);
        assert_eq!(processors.percent(ticks(2, 3)), 50.0, "too soon to say anything new");
    }

    #[test]
    fn this_host_is_seen_and_a_look_that_hangs_leaves_what_was_seen() {
        let figures = Figures::start(Path::new("/")).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while figures.host().is_none() || figures.disk().is_none() {
            assert!(Instant::now() < deadline, "the threads have not looked");
            thread::yield_now();
        }
        let (host, disk) = (figures.host().unwrap(), figures.disk().unwrap());
        assert!(host.cpus > 0 && host.memory > host.memory_available, "{host:?}");
        assert!(disk.total >= disk.used && disk.total > 0 && figures.disk_age().is_some(), "{disk:?}");
        let (go, wait) = sync_channel::<()>(0);
        let mut first = true;
        let hangs = Sampler::start("test-hangs", move || {
            if !std::mem::take(&mut first) {
                let _ = wait.recv();
            }
            Ok(7)
        });
        let hangs = hangs.unwrap();
        while hangs.last().is_none() {
            assert!(Instant::now() < deadline, "the thread has not looked");
            thread::yield_now();
        }
        for _ in 0..3 {
            hangs.ask();
            assert_eq!(hangs.last().unwrap().0, 7);
        }
        drop(go);
    }
}
