//! Connections at rest, and what is known of the daemon they lead to.
//!
//! ```text
//!   call ──take──▶ link … reply read to its end ──put──▶ pool ◀──sweep── one task, while there is something to close
//! ```

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::error::ErrorKind;
use crate::link::Link;

/// How many connections may rest. More calls at once have connections that are closed after them.
const RESTING: usize = 8;

/// How long a connection rests before it is closed.
pub(crate) const REST: Duration = Duration::from_secs(10);

/// The way to one daemon.
#[derive(Debug)]
pub(crate) struct Pool {
    endpoint: Endpoint,
    resting: Mutex<Vec<Link>>,
    sweeper: Mutex<Option<AbortHandle>>,
    /// The minor version of API 1.x that is spoken; 0 while that is unknown.
    minor: AtomicU16,
}

impl Pool {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, resting: Mutex::default(), sweeper: Mutex::default(), minor: AtomicU16::new(0) }
    }

    /// The socket to connect to.
    pub(crate) fn socket(&self) -> Result<&Path, ErrorKind> {
        match &self.endpoint {
            Endpoint::Unix(path) => Ok(path),
            Endpoint::Nowhere(error) => Err(ErrorKind::Unreachable(io::Error::other(format!("DOCKER_HOST: {error}")))),
        }
    }

    /// The version that was agreed on.
    pub(crate) fn minor(&self) -> Option<u16> {
        Some(self.minor.load(Ordering::Relaxed)).filter(|minor| *minor != 0)
    }

    pub(crate) fn agree(&self, minor: u16) {
        self.minor.store(minor, Ordering::Relaxed);
    }

    /// The daemon was lost: what comes next may be another one.
    pub(crate) fn forget(&self) {
        self.minor.store(0, Ordering::Relaxed);
        let lost = std::mem::take(&mut *lock(&self.resting));
        drop(lost);
    }

    /// A connection at rest that is still good, the one used last first.
    pub(crate) async fn take(&self) -> Option<Link> {
        loop {
            let mut link = lock(&self.resting).pop()?;
            if link.rested.elapsed() < REST && link.is_fit().await {
                return Some(link);
            }
        }
    }

    /// Lets a connection rest, if it can carry another request and there is room.
    pub(crate) fn put(self: &Arc<Self>, mut link: Link) {
        link.rested = Instant::now();
        let mut resting = lock(&self.resting);
        if !link.is_free() || resting.len() >= RESTING {
            return;
        }
        resting.push(link);
        drop(resting);
        self.sweep_later();
    }

    /// Sees to it that a task closes what rests too long. It ends when nothing rests, or with the pool.
    fn sweep_later(self: &Arc<Self>) {
        let mut sweeper = lock(&self.sweeper);
        if sweeper.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        // Without a runtime (it is being shut down) the connections go with the pool.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            *sweeper = Some(runtime.spawn(sweep(Arc::downgrade(self))).abort_handle());
        }
    }

    /// Closes what has rested long enough; says when the next one will have.
    fn close_old(&self) -> Option<Instant> {
        let mut resting = lock(&self.resting);
        let (old, rest) = std::mem::take(&mut *resting).into_iter().partition(|link| link.rested.elapsed() >= REST);
        *resting = rest;
        let next = resting.iter().map(|link| link.rested + REST).min();
        drop(resting);
        let old: Vec<Link> = old;
        drop(old);
        next
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.sweeper).take() {
            task.abort();
        }
    }
}

async fn sweep(pool: Weak<Pool>) {
    let mut next = Instant::now() + REST;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(later) = pool.upgrade().and_then(|pool| pool.close_old()) else { return };
        next = later;
    }
}

/// None of the locks is held where anything could panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
