//! What labs may leave behind on this host in files, control groups and mounts.
//!
//! All of it is done on the thread `leftovers`.
//!
//! All of it carries the mark of one instance by where it is: below the agent's directories, or in its group. Whether it is
//! anybody's, the engine judges.

mod look;
mod remove;

use std::collections::BTreeSet;
use std::io;

use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_engine::{Context, DriverError, ErrorClass, Layout, Trace, Traces};
use netloom_kernel::Cgroups;
use netloom_model::{LabName, NodeName};

use crate::desk::Desk;

/// Where traces are.
#[derive(Debug)]
struct Ground {
    layout: Layout,
    cgroups: Cgroups,
}

/// The traces on this host.
#[derive(Debug)]
pub struct HostTraces {
    desk: Desk<Ground>,
}

impl HostTraces {
    /// Starts the thread, which ends with this value.
    pub fn start(layout: &Layout) -> io::Result<Self> {
        let ground = Ground { layout: layout.clone(), cgroups: Cgroups::detect()? };
        Ok(Self { desk: Desk::start("leftovers", ground)? })
    }

    async fn run<T: Send + 'static>(
        &self,
        operation: &str,
        object: &str,
        work: impl FnOnce(&Ground) -> io::Result<T> + Send + 'static,
    ) -> Result<T, DriverError> {
        let failed = |cause: String, class| fault(operation, object, cause, class);
        let done = self.desk.run(work).await.map_err(|unserved| failed(unserved.cause.into(), unserved.class))?;
        done.map_err(|error| {
            let text = error.to_string();
            let cause = text.split(" (os error").next().unwrap_or_default().to_owned();
            failed(cause, ErrorClass::Transient)
        })
    }
}

fn fault(operation: &str, object: &str, cause: String, class: ErrorClass) -> DriverError {
    let (operation, object) = (operation.to_owned(), object.to_owned());
    DriverError { operation, object, backend: "files".into(), cause, hint: None, class }
}

#[async_trait]
impl Traces for HostTraces {
    fn backlogs(&self) -> Vec<Backlog> {
        self.desk.backlogs()
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
