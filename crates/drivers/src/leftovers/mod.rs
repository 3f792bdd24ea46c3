//! What labs may leave behind on this host in files, control groups and mounts.
//!
//! ```text
//!  look, remove ──▶ [bounded queue] ──▶ thread `leftovers` (files only) ──▶ oneshot answers
//! ```
//!
//! All of it carries the mark of one instance by where it is: below the agent's directories, or in its group. Whether it is
//! anybody's, the engine judges.

mod look;
mod remove;

use std::collections::BTreeSet;
use std::io;
use std::thread;

use async_trait::async_trait;
use netloom_backlog::{Backlog, PushError, Queue, queue};
use netloom_engine::{Context, DriverError, ErrorClass, Layout, Trace, Traces};
use netloom_kernel::Cgroups;
use netloom_model::{LabName, NodeName};
use tokio::sync::oneshot;

const NAME: &str = "leftovers";
/// How many requests may wait.
const QUEUE: usize = 64;

type Work = Box<dyn FnOnce(&Ground) + Send>;

/// Where traces are.
#[derive(Debug)]
struct Ground {
    layout: Layout,
    cgroups: Cgroups,
}

/// The traces on this host.
#[derive(Debug)]
pub struct HostTraces {
    work: Queue<Work>,
}

impl HostTraces {
    /// Starts the thread, which ends with this value.
    pub fn start(layout: &Layout) -> io::Result<Self> {
        let (work, worker) = queue::<Work>(NAME, QUEUE);
        let ground = Ground { layout: layout.clone(), cgroups: Cgroups::detect()? };
        thread::Builder::new().name(NAME.into()).spawn(move || worker.run(|work| work(&ground)))?;
        Ok(Self { work })
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &str,
        object: &str,
        work: impl FnOnce(&Ground) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DriverError> {
        let (reply, answer) = oneshot::channel();
        let work = move |ground: &Ground| {
            if !reply.is_closed() {
                // Nobody waits any more: what was done is seen by the next look.
                let _ = reply.send(work(ground));
            }
        };
        let failed = |cause: String, class| fault(operation, object, cause, class);
        self.work.push(Box::new(work)).map_err(|error| match error {
            PushError::Full => failed("too many requests wait".into(), ErrorClass::Busy),
            PushError::Closed => failed("its thread has ended".into(), ErrorClass::Permanent),
        })?;
        match answer.await {
            Ok(done) => done.map_err(|error| {
                let text = error.to_string();
                let cause = text.split(" (os error").next().unwrap_or_default().to_owned();
                failed(cause, ErrorClass::Transient)
            }),
            Err(_) => Err(failed("its thread has ended".into(), ErrorClass::Permanent)),
        }
    }
}

fn fault(operation: &str, object: &str, cause: String, class: ErrorClass) -> DriverError {
    let (operation, object) = (operation.to_owned(), object.to_owned());
    DriverError { operation, object, backend: "files".into(), cause, hint: None, class }
}

#[async_trait]
impl Traces for HostTraces {
    fn backlogs(&self) -> Vec<Backlog> {
        vec![self.work.backlog().clone()]
    }

    async fn look(&self, known: BTreeSet<(LabName, NodeName)>) -> Result<Vec<Trace>, DriverError> {
        self.run("look for", "what labs have left behind", move |ground| ground.look(&known)).await
    }

    async fn remove(&self, trace: &Trace, context: &Context) -> Result<(), DriverError> {
        let (of, deadline) = (trace.clone(), context.deadline);
        self.run("remove", &trace.at, move |ground| ground.remove(&of, deadline)).await
    }
}

#[cfg(test)]
mod tests;
