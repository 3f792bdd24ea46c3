//! The journal of starts: what each life of this agent was at when it ended, so that the next one sees a crash loop and
//! begins in safe mode.
//!
//! ```text
//!   engine: Work ──unpark──▶ thread `starts` ──▶ <state>/starts.jsonl ──next start──▶ loops ──▶ Safe ──▶ engine
//! ```
//!
//! Nobody waits for the thread. What it has written survives the death of the process, in whatever way; that of the host
//! it need not survive, since a host that crashes accuses no lab. Where nothing can be written no crash is counted.

mod journal;
mod loops;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netloom_engine::{Layout, Safe, Work};
use rustix::time::{ClockId, clock_gettime};

use journal::{Journal, Line};
use loops::{Life, Moment, Paused, safe};

/// How long the end of the process waits for its last line.
const LAST_LINE: Duration = Duration::from_secs(1);

/// This life of the agent in the journal. Dropped, it has ended as it should.
#[derive(Debug)]
pub struct Starts {
    safe: Safe,
    told: Arc<Told>,
    thread: Option<(JoinHandle<()>, Receiver<()>)>,
}

/// What the thread is told.
#[derive(Debug, Default)]
struct Told {
    work: OnceLock<Work>,
    ends: AtomicBool,
}

impl Starts {
    /// Reads what became of the lives before, and begins this one.
    pub fn begin(layout: &Layout) -> Self {
        Self::begin_at(&layout.starts(), now())
    }

    fn begin_at(path: &Path, now: Moment) -> Self {
        let lives = journal::read(path);
        let safe = safe(&lives, &now);
        match &safe {
            Safe::No => {}
            Safe::Labs(labs) => tracing::error!(labs = ?labs.keys(), "the agent begins in safe mode for these labs"),
            Safe::All(why) => tracing::error!(why, "the agent begins in safe mode for all labs"),
        }
        let told = Arc::new(Told::default());
        let life = Life::begun(now, Paused::of(&safe));
        let thread = Journal::begin(path, lives, life).and_then(|journal| write_on_a_thread(journal, told.clone()));
        let thread = thread.inspect_err(|error| {
            tracing::warn!(%error, path = %path.display(), "starts are not noted: a crash loop will not be seen");
        });
        Self { safe, told, thread: thread.ok() }
    }

    /// What the engine has to pause.
    pub fn safe(&self) -> &Safe {
        &self.safe
    }

    /// Notes from now on for which labs something is under way.
    pub fn follow(&self, work: &Work) {
        let Some((thread, _)) = &self.thread else { return };
        work.tell(thread.thread().clone());
        // A second engine in one process would be an error of the caller; the first stays.
        let _ = self.told.work.set(work.clone());
        thread.thread().unpark();
    }
}

impl Drop for Starts {
    fn drop(&mut self) {
        let Some((thread, ended)) = self.thread.take().filter(|_| !thread::panicking()) else { return };
        self.told.ends.store(true, Ordering::Release);
        thread.thread().unpark();
        // A disk that hangs keeps nobody from ending.
        let _ = ended.recv_timeout(LAST_LINE);
    }
}

fn write_on_a_thread(mut journal: Journal, told: Arc<Told>) -> io::Result<(JoinHandle<()>, Receiver<()>)> {
    let (done, ended) = sync_channel(1);
    let write = move || {
        let mut ends = false;
        while !ends {
            // Before the work is looked at: what comes after that unparks this thread once more.
            ends = told.ends.load(Ordering::Acquire);
            let labs = told.work.get().map(Work::labs).unwrap_or_default();
            if labs != *journal.works() {
                journal.add(Line::Works(labs));
            }
            if ends {
                journal.add(Line::Ends);
            } else {
                thread::park();
            }
        }
        let _ = done.send(());
    };
    Ok((thread::Builder::new().name("starts".into()).spawn(write)?, ended))
}

/// Now, by a clock that nobody sets and that counts while the host sleeps.
fn now() -> Moment {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    let since = clock_gettime(ClockId::Boottime);
    Moment { boot, second: u64::try_from(since.tv_sec).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use netloom_model::LabName;

    use super::*;

    fn at(second: u64) -> Moment {
        Moment { boot: "boot".into(), second }
    }

    /// What one life wrote of itself, ended as by a kill.
    fn killed(path: &Path, now: Moment, labs: &[&str]) -> Safe {
        let lives = journal::read(path);
        let safe = safe(&lives, &now);
        let mut journal = Journal::begin(path, lives, Life::begun(now, Paused::of(&safe))).unwrap();
        journal.add(Line::Works(labs.iter().map(|lab| lab.parse().unwrap()).collect()));
        safe
    }

    fn paused(safe: &Safe) -> Vec<&LabName> {
        let Safe::Labs(labs) = safe else { panic!("{safe:?}") };
        labs.keys().collect()
    }

    #[test]
    fn a_crash_loop_is_seen_in_what_the_lives_before_have_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("starts.jsonl");
        for life in 0..4 {
            assert_eq!(killed(&path, at(life * 10), &["x", "y"][..=(life % 2) as usize]), Safe::No);
        }
        let starts = Starts::begin_at(&path, at(40));
        assert_eq!(paused(starts.safe()), [&"x".parse::<LabName>().unwrap()]);
        drop(starts);
        assert_eq!(*Starts::begin_at(&path, at(50)).safe(), Safe::No, "the last one ended as it should");
    }

    #[test]
    fn what_is_not_whole_in_the_file_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("starts.jsonl");
        for life in 0..4 {
            killed(&path, at(life * 10), &["x"]);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, format!("{text}{{\"works\":[\"y")).unwrap();
        }
        assert_eq!(paused(&killed(&path, at(40), &[])).len(), 1);
        fs::write(&path, b"\xff\xfe nothing of ours").unwrap();
        assert_eq!(killed(&path, at(50), &[]), Safe::No);
    }

    #[test]
    fn the_thread_writes_what_is_under_way_and_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("starts.jsonl");
        let starts = Starts::begin_at(&path, at(0));
        starts.follow(&Work::default());
        drop(starts);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().last().unwrap().contains("ends"), "{text}");
    }

    #[test]
    fn a_place_that_cannot_be_written_stops_nobody() {
        let starts = Starts::begin_at(Path::new("/nowhere/starts.jsonl"), at(0));
        starts.follow(&Work::default());
        assert_eq!(*starts.safe(), Safe::No);
    }
}
