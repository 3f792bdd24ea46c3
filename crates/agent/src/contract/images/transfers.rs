//! How far each image is that a controller sends, or has fetched.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::Shared;
use super::done;

/// How many are fetched at once; each has the disk and the daemon busy.
const FETCHES: usize = 2;
/// How many are loaded at once, those that are fetched too.
const LOADS: usize = 4;
/// How many may be fetched or wait for that.
const PULLS: usize = 32;
/// Likewise those that are sent: a controller sends all images of its library at once, and none of them again. One that waits is a
/// connection of which nothing is read, and of those a quarter at most.
const PUSHES: usize = 256;
/// How many that have ended are remembered.
const KEPT: usize = 64;

/// How an image on its way stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Status {
    Pending,
    Transferring,
    Loading,
    Completed,
    Failed,
    Unknown,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Progress {
    pub(super) job_id: String,
    pub(super) status: Status,
    #[serde(rename = "progress_percent")]
    pub(super) percent: u64,
    pub(super) bytes_transferred: u64,
    pub(super) total_bytes: u64,
    pub(super) error: Option<String>,
    /// Seconds since 1970.
    pub(super) started_at: Option<f64>,
    /// What it is: the same asked for again is the same job.
    #[serde(skip)]
    what: String,
}

impl Progress {
    fn is_active(&self) -> bool {
        matches!(self.status, Status::Pending | Status::Transferring | Status::Loading)
    }
}

/// All that are known, oldest first.
#[derive(Debug, Clone)]
pub(crate) struct Transfers {
    all: Arc<Mutex<VecDeque<Progress>>>,
    /// The places of those that are fetched.
    pub(super) fetches: Arc<Semaphore>,
    /// The places of those that are loaded. Whoever wants both has its place above first.
    pub(super) loads: Arc<Semaphore>,
    /// How many may be sent or wait for that.
    pushes: usize,
}

/// What became of the wish to begin one.
#[derive(Debug)]
pub(super) enum Begun {
    /// It is new.
    New(Job),
    /// The same is under way; its name.
    Joined(String),
    /// Too many are.
    Full,
}

impl Transfers {
    /// Of an agent that serves so many connections at once.
    pub(crate) fn new(connections: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        let pushes = PUSHES.min(connections / 4).max(1);
        Self { all: Arc::default(), fetches: places(FETCHES), loads: places(LOADS), pushes }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Progress>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one under a name. `what` is the same for what need not be fetched twice at once; that of one that is sent is empty.
    pub(super) fn begin(&self, job_id: String, what: &str, total_bytes: u64) -> Begun {
        let mut all = self.lock();
        let active = all.iter().filter(|one| one.is_active());
        if let Some(same) = active.clone().find(|one| !what.is_empty() && one.what == what) {
            return Begun::Joined(same.job_id.clone());
        }
        let most = if what.is_empty() { self.pushes } else { PULLS };
        if active.filter(|one| one.what.is_empty() == what.is_empty()).count() >= most {
            return Begun::Full;
        }
        // A name that was used before is this one's now.
        all.retain(|one| one.is_active() || one.job_id != job_id);
        while all.iter().filter(|one| !one.is_active()).count() >= KEPT {
            if let Some(oldest) = all.iter().position(|one| !one.is_active()) {
                all.remove(oldest);
            }
        }
        let started_at = SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64());
        all.push_back(Progress {
            job_id: job_id.clone(),
            status: Status::Pending,
            percent: 0,
            bytes_transferred: 0,
            total_bytes,
            error: None,
            started_at,
            what: what.to_owned(),
        });
        Begun::New(Job { transfers: self.clone(), id: job_id })
    }

    pub(super) fn of(&self, job: &str) -> Progress {
        let found = self.lock().iter().rev().find(|one| one.job_id == job).cloned();
        found.unwrap_or_else(|| Progress {
            job_id: job.to_owned(),
            status: Status::Unknown,
            percent: 0,
            bytes_transferred: 0,
            total_bytes: 0,
            error: None,
            started_at: None,
            what: String::new(),
        })
    }

    fn change(&self, job: &str, change: impl FnOnce(&mut Progress)) {
        if let Some(one) = self.lock().iter_mut().rev().find(|one| one.job_id == job) {
            change(one);
        }
    }
}

/// One that is under way. Dropped without an end it has failed.
#[derive(Debug)]
pub(super) struct Job {
    transfers: Transfers,
    id: String,
}

impl Job {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn is(&self, status: Status) {
        self.transfers.change(&self.id, |one| one.status = status);
    }

    pub(super) fn is_to_be(&self, total_bytes: u64) {
        self.transfers.change(&self.id, |one| one.total_bytes = total_bytes);
    }

    /// So many bytes more are here.
    pub(super) fn more(&self, bytes: usize) {
        self.transfers.change(&self.id, |one| {
            one.bytes_transferred += bytes as u64;
            // Only what has ended is all of it.
            one.percent = (one.bytes_transferred * 100).checked_div(one.total_bytes).unwrap_or(0).min(99);
        });
    }

    pub(super) fn end(self, outcome: &Result<Vec<String>, String>) {
        self.transfers.change(&self.id, |one| match outcome {
            Ok(_) => (one.status, one.percent) = (Status::Completed, 100),
            Err(error) => (one.status, one.error) = (Status::Failed, Some(error.clone())),
        });
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.transfers.change(&self.id, |one| {
            if one.is_active() {
                (one.status, one.error) = (Status::Failed, Some("it broke off".into()));
            }
        });
    }
}

/// `GET /images/active-transfers`. No file is written on the way.
pub(super) async fn active(State(app): State<Shared>) -> Response {
    let active: serde_json::Map<_, _> = {
        let all = app.transfers.lock();
        all.iter().filter(|one| one.is_active()).map(|one| (one.job_id.clone(), json!(one))).collect()
    };
    let uptime = app.health.began.elapsed().as_secs();
    done(&json!({ "active_jobs": active, "temp_files": [], "agent_uptime_seconds": uptime }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(transfers: &Transfers, job: &str, what: &str) -> Job {
        match transfers.begin(job.to_owned(), what, 1000) {
            Begun::New(job) => job,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_on_its_way_tells_how_far_it_is() {
        let transfers = Transfers::new(1024);
        assert_eq!(transfers.of("one").status, Status::Unknown);
        let job = begin(&transfers, "one", "frr");
        assert!(matches!(transfers.begin("two".into(), "frr", 0), Begun::Joined(same) if same == "one"));
        job.is(Status::Transferring);
        job.more(250);
        let progress = transfers.of("one");
        assert_eq!((progress.percent, progress.bytes_transferred), (25, 250));
        job.more(900);
        assert_eq!(transfers.of("one").percent, 99);
        job.end(&Ok(vec!["frr".into()]));
        let progress = transfers.of("one");
        assert_eq!((progress.status, progress.percent), (Status::Completed, 100));
        drop(begin(&transfers, "two", "frr"));
        assert_eq!((transfers.of("two").status, transfers.of("two").error.is_some()), (Status::Failed, true));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let transfers = Transfers::new(1024);
        for number in 0..2 * KEPT {
            begin(&transfers, &number.to_string(), "").end(&Ok(Vec::new()));
        }
        assert_eq!(transfers.lock().len(), KEPT);
        assert_eq!((transfers.pushes, Transfers::new(128).pushes), (PUSHES, 32));
        let begun = |what: &dyn Fn(usize) -> String, most: usize| -> Vec<Job> {
            (0..most).map(|number| begin(&transfers, &format!("{}a{number}", what(number)), &what(number))).collect()
        };
        // Those that are sent keep none from being fetched.
        let pushes = begun(&|_| String::new(), PUSHES);
        assert!(matches!(transfers.begin("more".into(), "", 0), Begun::Full));
        let pulls = begun(&|number| format!("image {number}"), PULLS);
        assert!(matches!(transfers.begin("more".into(), "one more", 0), Begun::Full));
        assert!(transfers.lock().len() <= KEPT + pushes.len() + pulls.len());
    }
}
