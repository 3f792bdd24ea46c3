//! The threads that touch files for a runtime, so that no async worker waits for a disk.

use std::time::Instant;
use std::{io, thread};

use netloom_backlog::{Backlog, PushError, Queue, Worker, queue};
use netloom_engine::ErrorClass;
use tokio::sync::oneshot;

const QUEUE: usize = 1024;

type Work = Box<dyn FnOnce() + Send>;

/// Threads `<name>-0` and so on; they end with the last clone.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    work: Queue<Work>,
}

impl Pool {
    pub(super) fn start(name: &'static str, threads: usize) -> io::Result<Self> {
        let (work, worker) = queue(name, QUEUE);
        for number in 0..threads {
            let worker = worker.clone();
            thread::Builder::new().name(format!("{name}-{number}")).spawn(move || serve(worker))?;
        }
        Ok(Self { work })
    }

    /// What the threads have not finished.
    pub(super) fn backlog(&self) -> &Backlog {
        self.work.backlog()
    }

    /// Runs `work` on one of the threads. When the deadline passes it is no longer waited for, but goes on; what has
    /// not begun by then is not begun.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ErrorClass> {
        let (reply, answer) = oneshot::channel();
        let work = move || {
            if !reply.is_closed() && Instant::now() < deadline {
                // Nobody waits any more: what was done is found by the next look.
                let _ = reply.send(work());
            }
        };
        self.work.push(Box::new(work)).map_err(|error| match error {
            PushError::Full => ErrorClass::Busy,
            PushError::Closed => ErrorClass::Permanent,
        })?;
        match tokio::time::timeout_at(deadline.into(), answer).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) if Instant::now() >= deadline => Err(ErrorClass::Deadline),
            // It panicked; the panic is in the log.
            Ok(Err(_)) => Err(ErrorClass::Transient),
            Err(_) => Err(ErrorClass::Deadline),
        }
    }
}

fn serve(worker: Worker<Work>) {
    worker.run(|work| {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
            tracing::error!("a piece of work on the files of a runtime panicked");
        }
    });
}
