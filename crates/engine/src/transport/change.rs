//! One change of the host: look, plan, do step by step, look again; and the way back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use netloom_failpoint::point;
use netloom_model::InterfaceName;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::{HostRoute, HostView, Management, Step};
use super::{ELSEWHERE, TransportError, Underlay};
use crate::driver::{Context, DriverError, ErrorClass};
use crate::lab::{panicked, within};
use crate::operation::{Operation, StepState};
use crate::task;

/// How long the way back may take: it has to be gone, however late it is.
const BACK: Duration = Duration::from_secs(15);
/// What looks and steps are called in errors.
const OBJECT: &str = "the host's interfaces";

/// Steps, and what they may take along: with an address the kernel takes away the routes that need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    pub(super) steps: Vec<Step>,
    /// The routes by the interfaces of which the steps take addresses away, as they were before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) routes: BTreeMap<InterfaceName, Vec<HostRoute>>,
}

/// The host, and what it must not lose.
#[derive(Clone)]
pub(super) struct Host {
    pub(super) underlay: Arc<dyn Underlay>,
    pub(super) management: Management,
}

impl Host {
    /// The same, which must not lose the way to whoever asks either.
    pub(super) fn asked_by(&self, asker: Option<IpAddr>) -> Self {
        let mut host = self.clone();
        host.management.towards.extend(asker);
        host
    }

    pub(super) async fn look(&self, deadline: Instant) -> Result<HostView, DriverError> {
        let mut towards = self.management.towards.clone();
        towards.push(ELSEWHERE);
        self.call(deadline, |underlay, context| async move { underlay.look(&towards, &context).await }).await
    }

    /// What it takes to do these steps, and to take them back.
    pub(super) async fn change_of(&self, steps: Vec<Step>, deadline: Instant) -> Change {
        let of: BTreeSet<_> = steps.iter().filter(|step| step.takes_addresses()).map(Step::interface).collect();
        let mut routes = BTreeMap::new();
        for name in of {
            let interface = name.clone();
            let found =
                self.call(deadline, |underlay, context| async move { underlay.routes(&interface, &context).await });
            match found.await {
                Ok(found) if found.is_empty() => {}
                Ok(found) => drop(routes.insert(name.clone(), found)),
                Err(error) => tracing::warn!(%error, "routes that go with an address will be missing"),
            }
        }
        Change { steps, routes }
    }

    /// Adds the routes again that have gone. Gives which cannot be had with the addresses that are there.
    async fn restore(&self, routes: &BTreeMap<InterfaceName, Vec<HostRoute>>, deadline: Instant) -> Vec<String> {
        let mut left = Vec::new();
        for (name, routes) in routes {
            let (interface, routes) = (name.clone(), routes.clone());
            let restored = self.call(deadline, |underlay, context| async move {
                underlay.restore(&interface, &routes, &context).await
            });
            left.extend(restored.await.err().map(|error| error.to_string()));
        }
        left
    }

    async fn apply(&self, step: &Step, deadline: Instant) -> Result<(), DriverError> {
        let step = step.clone();
        self.call(deadline, |underlay, context| async move { underlay.apply(&step, &context).await }).await
    }

    /// A driver's call in a task of its own, which may hang or panic.
    async fn call<T: Send + 'static, F: Future<Output = Result<T, DriverError>> + Send + 'static>(
        &self,
        deadline: Instant,
        call: impl FnOnce(Arc<dyn Underlay>, Context) -> F,
    ) -> Result<T, DriverError> {
        let context = Context { deadline: deadline.into_std(), cancel: CancellationToken::new() };
        let call = call(self.underlay.clone(), context.clone());
        let call = task::own("transport of the host", async move { within(&context, OBJECT, call).await });
        call.await.unwrap_or_else(|panic| Err(panicked(OBJECT, &panic)))
    }

    /// Does all steps, or none: what was done is taken back when one fails, when somebody cancels the operation before the last
    /// one has begun, and when the host is not reached any more as it was seen to be `before`. Gives what is there afterwards.
    pub(super) async fn carry_out(
        &self,
        change: &Change,
        before: &HostView,
        operation: Option<&Operation>,
        deadline: Instant,
    ) -> Result<HostView, TransportError> {
        let Change { steps, routes } = change;
        let ids = operation.map(|operation| operation.add_texts(steps.iter().map(Step::to_string)));
        let note = |at: usize, state, error| {
            if let (Some(operation), Some(ids)) = (operation, &ids) {
                operation.set_step(&ids[at], state, error);
            }
        };
        let mut done = Vec::new();
        let is_cancelled = || operation.is_some_and(|operation| operation.cancelled().is_cancelled());
        for (at, step) in steps.iter().enumerate() {
            if is_cancelled() {
                return Err(self.take_back(&done, routes, TransportError::Cancelled).await);
            }
            note(at, StepState::Running, None);
            let did = self.apply(step, deadline).await;
            match did {
                Ok(()) => {
                    note(at, StepState::Done, None);
                    done.push(step);
                    point!("transport.step-done");
                }
                Err(error) => {
                    note(at, StepState::Failed, Some(error.to_string()));
                    // Of one that was not answered in time nobody knows whether it will be done after all.
                    done.extend((error.class == ErrorClass::Deadline).then_some(step));
                    return Err(self.take_back(&done, routes, TransportError::Failed(error)).await);
                }
            }
        }
        let gone = self.restore(routes, deadline).await;
        if !gone.is_empty() {
            tracing::debug!(?gone, "routes that went with an address cannot be had with another one");
        }
        match self.look(deadline).await {
            Ok(after) => match self.management.lost(before, &after) {
                None => Ok(after),
                Some(what) => Err(self.take_back(&done, routes, TransportError::Lost(what)).await),
            },
            // Whether the host can still be reached is not known.
            Err(error) => Err(self.take_back(&done, routes, TransportError::Failed(error)).await),
        }
    }

    /// Takes back what these steps have changed, as far as they were done, and adds the routes again that went. Gives what could
    /// not be.
    pub(super) async fn undo(&self, done: &[&Step], routes: &BTreeMap<InterfaceName, Vec<HostRoute>>) -> Vec<String> {
        let deadline = Instant::now() + BACK;
        let mut left = Vec::new();
        for step in done.iter().rev().flat_map(|step| step.undo()) {
            if let Err(error) = self.apply(&step, deadline).await {
                left.push(error.to_string());
            }
            point!("transport.step-undone");
        }
        left.extend(self.restore(routes, deadline).await);
        left
    }

    pub(super) async fn take_back(
        &self,
        done: &[&Step],
        routes: &BTreeMap<InterfaceName, Vec<HostRoute>>,
        why: TransportError,
    ) -> TransportError {
        let left = self.undo(done, routes).await;
        if left.is_empty() {
            return why;
        }
        tracing::error!(%why, ?left, "a change of the host's interfaces could not be taken back whole");
        let why = match why {
            TransportError::Failed(error) => error.to_string(),
            TransportError::Store(error) => error.to_string(),
            TransportError::Lost(what) => format!("it took {what} from this host"),
            TransportError::Cancelled => "its operation was cancelled".to_owned(),
            other => other.to_string(),
        };
        TransportError::Stranded { why, left }
    }
}
