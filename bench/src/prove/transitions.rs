//! How capabilities change, as the agent's events tell it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Deserialize;

use crate::http::Socket;

/// How soon it looks again for an agent that is not there.
const AGAIN: Duration = Duration::from_millis(50);

/// A capability stands in another way than before.
#[derive(Debug, Clone)]
pub(super) struct Transition {
    pub(super) at: Instant,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) reason: Option<String>,
}

impl Transition {
    pub(super) fn is_good(&self) -> bool {
        self.status == "ok"
    }
}

#[derive(Deserialize)]
struct Told {
    event: String,
    name: Option<String>,
    status: Option<String>,
    reason: Option<String>,
}

/// Listens until it is dropped.
pub(super) struct Watcher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    seen: Mutex<Vec<Transition>>,
    stream: Mutex<Option<UnixStream>>,
}

impl Watcher {
    pub(super) fn start(socket: Socket) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let listening = shared.clone();
        let listen = move || {
            while !listening.stop.load(Ordering::Acquire) {
                // An agent that is started again is listened to again.
                let _ = listening.listen(&socket);
                thread::park_timeout(AGAIN);
            }
        };
        let thread = thread::Builder::new().name("transitions".into()).spawn(listen)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// All so far.
    pub(super) fn seen(&self) -> Vec<Transition> {
        lock(&self.shared.seen).clone()
    }

    /// Whether the last that was told of each capability is that it is well.
    pub(super) fn tells_of_no_illness(&self) -> bool {
        let seen = lock(&self.shared.seen);
        let last: BTreeMap<&str, bool> = seen.iter().map(|change| (change.name.as_str(), change.is_good())).collect();
        last.into_values().all(|good| good)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(stream) = &*lock(&self.shared.stream) {
            let _ = stream.shutdown(Shutdown::Both);
        }
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn listen(&self, socket: &Socket) -> Result<()> {
        let stream = socket.open("GET", "/events")?;
        *lock(&self.stream) = Some(stream.try_clone()?);
        for line in BufReader::new(stream).lines() {
            let line = line?;
            let told = line.strip_prefix("data: ").and_then(|data| serde_json::from_str::<Told>(data).ok());
            if let Some(Told { event, name: Some(name), status: Some(status), reason }) = told
                && event == "capability"
            {
                lock(&self.seen).push(Transition { at: Instant::now(), name, status, reason });
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
