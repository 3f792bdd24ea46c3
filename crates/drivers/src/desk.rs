//! A thread of its own for short work on something that it keeps, so that nobody else waits for a file.
//!
//! ```text
//!  run ──▶ [bounded queue] ──▶ thread ──▶ oneshot answers
//! ```

use std::{io, thread};

use netloom_backlog::{Backlog, PushError, Queue, queue};
use netloom_engine::ErrorClass;
use tokio::sync::oneshot;

/// How many requests may wait.
const QUEUE: usize = 64;

type Work<S> = Box<dyn FnOnce(&S) + Send>;

/// The way to the thread, which ends with this value.
#[derive(Debug)]
pub(crate) struct Desk<S> {
    work: Queue<Work<S>>,
}

/// Why work was not done, or nothing is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unserved {
    pub(crate) cause: &'static str,
    pub(crate) class: ErrorClass,
}

const ENDED: Unserved = Unserved { cause: "its thread has ended", class: ErrorClass::Permanent };

impl<S: Send + 'static> Desk<S> {
    /// Starts the thread, under a name.
    pub(crate) fn start(name: &'static str, of: S) -> io::Result<Self> {
        let (work, worker) = queue::<Work<S>>(name, QUEUE);
        thread::Builder::new().name(name.into()).spawn(move || worker.run(|work| work(&of)))?;
        Ok(Self { work })
    }

    /// What the thread has not finished.
    pub(crate) fn backlogs(&self) -> Vec<Backlog> {
        vec![self.work.backlog().clone()]
    }

    /// Has a piece of work done, and gives what came of it. What nobody waits for any more when its turn comes is not done;
    /// what was done then is seen by the next look.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&S) -> T + Send + 'static,
    ) -> Result<T, Unserved> {
        let (reply, answer) = oneshot::channel();
        let work = move |of: &S| {
            if !reply.is_closed() {
                let _ = reply.send(work(of));
            }
        };
        self.work.push(Box::new(work)).map_err(|error| match error {
            PushError::Full => Unserved { cause: "too many requests wait", class: ErrorClass::Busy },
            PushError::Closed => ENDED,
        })?;
        answer.await.map_err(|_| ENDED)
    }
}
