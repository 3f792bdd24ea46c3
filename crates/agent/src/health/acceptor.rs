//! The thread `health`: it owns the TCP listener, answers probes itself and gives every other connection away.
//!
//! Nothing that a client does can block it: it waits for many connections at once, a silent one costs a
//! descriptor for a limited time, the oldest is closed when there are too many or when descriptors run out, and
//! one descriptor is held in reserve so that a probe can be answered even then.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{AbortHandle, abortable};
use futures::stream::FuturesUnordered;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Health;
use super::request::attend;

/// A connection that has been silent for less is perhaps a probe that is about to be answered.
const YOUNG: Duration = Duration::from_millis(500);

/// Limits of the thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How many connections may wait that have not shown yet what they want.
    pub(crate) silent: usize,
    /// How long a connection may take to show it.
    pub(crate) first_bytes: Duration,
}

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Acceptor {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It waits for nothing, so it ends at once; a panic in it has been printed.
            let _ = thread.join();
        }
    }
}

/// Starts the thread, which first calls `prefer` on itself. Without a listener it only watches the supervisor.
pub(crate) fn start(
    listener: Option<StdListener>,
    health: Arc<Health>,
    main: mpsc::Sender<std::net::TcpStream>,
    limits: Limits,
    prefer: fn(),
) -> io::Result<Acceptor> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _context = runtime.enter();
        listener.map(TcpListener::from_std).transpose()?
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let thread = thread::Builder::new().name("health".into()).spawn(move || {
        prefer();
        let front = Front { health, main, limits, waiting: FuturesUnordered::new(), silent: BTreeMap::new(), next: 0 };
        runtime.block_on(front.run(listener, stopped));
    })?;
    Ok(Acceptor { stop, thread: Some(thread) })
}

/// How often the health thread takes a turn of its own, where loops may be this late.
pub(super) fn period(limit: Duration) -> Duration {
    (limit * 2 / 5).clamp(Duration::from_millis(10), Duration::from_secs(4))
}

type Visit = futures::future::BoxFuture<'static, u64>;

struct Front {
    health: Arc<Health>,
    main: mpsc::Sender<std::net::TcpStream>,
    limits: Limits,
    waiting: FuturesUnordered<Visit>,
    /// Connections by age, with when they came.
    silent: BTreeMap<u64, (AbortHandle, Instant)>,
    next: u64,
}

/// What to do after an accept that failed.
enum Shortage {
    /// Go on: something was freed.
    Retry,
    /// Wait until something ends.
    Pause,
}

impl Front {
    async fn run(mut self, listener: Option<TcpListener>, stop: CancellationToken) {
        let mut tick = tokio::time::interval(period(self.health.limit()));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reserve = open_reserve();
        let mut paused = false;
        loop {
            tokio::select! {
                accepted = accept(listener.as_ref()), if !paused => match accepted {
                    Ok(stream) => self.admit(stream),
                    Err(error) => {
                        let relief = self.relieve(&error, listener.as_ref(), &mut reserve);
                        paused = matches!(relief, Shortage::Pause);
                    }
                },
                Some(id) = self.waiting.next(), if !self.waiting.is_empty() => {
                    self.silent.remove(&id);
                    reserve = reserve.or_else(open_reserve);
                    paused = false;
                }
                _ = tick.tick() => {
                    self.health.watch_supervisor();
                    reserve = reserve.or_else(open_reserve);
                    paused = false;
                }
                () = stop.cancelled() => return,
            }
        }
    }

    fn admit(&mut self, stream: TcpStream) {
        if self.silent.len() >= self.limits.silent {
            self.evict();
        }
        let id = self.next;
        self.next += 1;
        let visit = attend(stream, self.health.clone(), self.main.clone(), self.limits.first_bytes);
        let (visit, abort) = abortable(visit);
        self.silent.insert(id, (abort, Instant::now()));
        self.waiting.push(Box::pin(async move {
            // Whether it ended or was evicted: the stream is closed or given away now.
            let _ = visit.await;
            id
        }));
    }

    /// Closes the oldest connection that has not shown what it wants.
    fn evict(&mut self) {
        if let Some((_, (oldest, _))) = self.silent.pop_first() {
            oldest.abort();
            self.health.counts.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn relieve(&mut self, error: &io::Error, listener: Option<&TcpListener>, reserve: &mut Option<File>) -> Shortage {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                if reserve.take().is_some() {
                    return Shortage::Retry;
                }
                // Evicting frees a descriptor as soon as the evicted future is polled; that ends the pause. So does the end
                // of a probe that has just come.
                let oldest = self.silent.first_key_value();
                if !listener.is_some_and(nobody_waits) && oldest.is_some_and(|(_, (_, since))| since.elapsed() >= YOUNG)
                {
                    self.evict();
                }
                Shortage::Pause
            }
            // The client was gone before it was accepted.
            Some(Errno::CONNABORTED | Errno::INTR) => Shortage::Retry,
            _ => {
                tracing::warn!(%error, "a connection could not be accepted");
                Shortage::Pause
            }
        }
    }
}

fn open_reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// Without descriptors the kernel refuses to accept before it has looked whether there is anything to accept.
fn nobody_waits(listener: &TcpListener) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&now)), Ok(0))
}
