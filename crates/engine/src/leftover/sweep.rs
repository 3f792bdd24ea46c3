//! The removal of leftovers: what is of a lab by the lab's own actor, what labs share by the host reconciler, so that
//! nothing is removed while somebody begins to want it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use netloom_model::LabName;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Leftover, Thing, Trace};
use crate::desired::{Phase, Wish};
use crate::driver::{Context, DriverError, LinkOrder};
use crate::engine::{Engine, Shared};
use crate::lab::{Accepted, Command, engine_error, panicked, within};
use crate::operation::{Operation, OperationState};
use crate::refusal::Refusal;
use crate::task;

/// What a lab's actor is to remove: links and traces.
pub(crate) type Sweep = Vec<Thing>;

/// How often something was removed, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) removed: usize,
    pub(crate) problems: Vec<String>,
}

impl Swept {
    fn note(&mut self, of: &Leftover, result: Result<(), DriverError>) {
        match result {
            Ok(()) => self.removed += 1,
            Err(error) => {
                let view = of.view();
                self.problems.push(format!("{} {}: {error}", view.kind, view.at));
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.removed += other.removed;
        self.problems.extend(other.problems);
    }
}

impl Engine {
    /// Removes what is left on this host that is older than `grace`, and returns the operation that does. One that is under
    /// way is joined.
    pub async fn remove_leftovers(&self, grace: Duration) -> Accepted {
        if self.shared.stopping.is_cancelled() {
            return Err(Refusal::Stopping);
        }
        let looked = self.shared.look_for_leftovers(grace).await?;
        let all = self.shared.journal.all();
        let same = |operation: &&Arc<Operation>| operation.kind() == KIND && !operation.state().borrow().is_final();
        if let Some(there) = all.iter().find(same) {
            return Ok(there.clone());
        }
        let operation = self.shared.journal.begin(KIND, None);
        let (engine, begun, left) = (self.clone(), operation.clone(), looked.leftovers());
        let sweep = async move {
            let total = left.len();
            let inventory = engine.shared.inventory.clone();
            let swept = tokio::select! {
                swept = engine.sweep(left, &begun) => swept,
                () = begun.cancelled().cancelled() => {
                    return begun.end(OperationState::Cancelled, "what was not removed yet stays", Vec::new());
                }
                () = engine.shared.stopping.cancelled() => {
                    return begun.end(OperationState::Superseded, "the agent was stopped; ask again", Vec::new());
                }
            };
            if swept.removed > 0 {
                // Of files no events tell.
                inventory.doubt();
            }
            let text = format!("{} of {total} removed", swept.removed);
            let state = if swept.problems.is_empty() { OperationState::Succeeded } else { OperationState::Failed };
            begun.end(state, text, swept.problems);
        };
        task::spawn(format!("prune {}", operation.id()), self.shared.tasks.track_future(sweep));
        Ok(operation)
    }

    async fn sweep(&self, left: Vec<Leftover>, operation: &Arc<Operation>) -> Swept {
        let mut swept = Swept::default();
        let (mut labs, mut shared): (BTreeMap<LabName, Vec<Leftover>>, Vec<Leftover>) = (BTreeMap::new(), Vec::new());
        for leftover in left {
            match leftover.thing.lab() {
                Some(lab) => labs.entry(lab.clone()).or_default().push(leftover),
                None => shared.push(leftover),
            }
        }
        for (lab, left) in labs {
            swept.add(self.sweep_lab(&lab, left, operation).await);
        }
        // After the labs: what was on a bridge is gone by now.
        for leftover in shared {
            let context = self.session_limit();
            let result = match &leftover.thing {
                Thing::Bridge(bridge) => self.shared.host.sweep_bridge(bridge, &context).await,
                Thing::Network(network) => self.shared.host.sweep_network(network, &context).await,
                Thing::Node(..) | Thing::Link(..) | Thing::Trace(_) => Ok(()),
            };
            swept.note(&leftover, result);
        }
        swept
    }

    async fn sweep_lab(&self, lab: &LabName, left: Vec<Leftover>, operation: &Arc<Operation>) -> Swept {
        let mut swept = Swept::default();
        let (nodes, rest): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|leftover| matches!(leftover.thing, Thing::Node(..)));
        if !nodes.is_empty() {
            let result = self.destroy_unwanted(lab).await;
            for leftover in &nodes {
                swept.note(leftover, result.clone());
            }
            if result.is_err() {
                // What is left of it is what a next look finds it by.
                return swept;
            }
        }
        if rest.is_empty() {
            return swept;
        }
        let things: Sweep = rest.into_iter().map(|leftover| leftover.thing).collect();
        let (report, mut answer) = mpsc::channel(1);
        let command = move |reply| {
            let (operation, things, report) = (operation.clone(), things.clone(), report.clone());
            Command::Sweep { operation, things, report, reply }
        };
        match self.ask(lab, command).await {
            Ok(_) => swept.add(answer.recv().await.unwrap_or_default()),
            Err(refusal) => swept.problems.push(format!("lab {lab}: {refusal}")),
        }
        swept
    }

    /// Removes the nodes and links of a lab that nobody wants, as a destroy does.
    async fn destroy_unwanted(&self, lab: &LabName) -> Result<(), DriverError> {
        let of = |cause: String| engine_error("remove", &format!("what is there of lab {lab}"), cause);
        let operation = match self.destroy(lab).await {
            Ok(operation) => operation,
            // Somebody was quicker.
            Err(Refusal::NoLab(_)) => return Ok(()),
            Err(refusal) => return Err(of(refusal.to_string())),
        };
        let mut state = operation.state();
        let ended = state.wait_for(|state| state.is_final()).await.map(|state| *state);
        match ended {
            Ok(OperationState::Succeeded) => Ok(()),
            _ => Err(of(operation.view().problems.join("; "))),
        }
    }
}

/// What prunes are called among operations.
const KIND: &str = "prune";
/// How long the removal of the traces of one lab may take.
const SWEPT_WITHIN: Duration = Duration::from_secs(30);

/// Whether something is still nobody's, by what is wanted of its lab now.
fn is_unwanted(thing: &Thing, wish: Option<&Wish>) -> bool {
    match (wish, thing) {
        (None, _) => true,
        (Some(wish), Thing::Trace(Trace { node: Some(node), .. })) => {
            wish.phase == Phase::Run && !wish.whole().nodes().contains_key(node)
        }
        (Some(_), _) => false,
    }
}

/// Removes what is left of a lab. Only its actor calls this, which begins nothing meanwhile.
pub(crate) async fn sweep(shared: Arc<Shared>, wish: Option<Arc<Wish>>, things: Sweep) -> Swept {
    let mut swept = Swept::default();
    let deadline = (Instant::now() + SWEPT_WITHIN).into_std();
    let context = Context { deadline, cancel: CancellationToken::new() };
    for thing in things.into_iter().filter(|thing| is_unwanted(thing, wish.as_deref())) {
        let leftover = Leftover { thing: thing.clone(), why: "" };
        let at = leftover.view().at;
        let (shared, limit) = (shared.clone(), context.clone());
        let call = task::own("remove a leftover", async move { remove(&shared, thing, &limit).await });
        let call = async { call.await.unwrap_or_else(|panic| Err(panicked(&at, &panic))) };
        let result = within(&context, &at, call).await;
        if result.is_ok() {
            tracing::info!(kind = leftover.view().kind, at, "a leftover is removed");
        }
        swept.note(&leftover, result);
    }
    swept
}

async fn remove(shared: &Shared, thing: Thing, context: &Context) -> Result<(), DriverError> {
    match thing {
        Thing::Trace(trace) => shared.traces.remove(&trace, context).await,
        Thing::Link(lab, link, _) => {
            let done = shared.fabric.apply(vec![LinkOrder::Delete { lab, link }], context).await;
            done.into_iter().next().unwrap_or(Ok(()))
        }
        // By the lab's destroy and the host reconciler.
        Thing::Node(..) | Thing::Bridge(_) | Thing::Network(_) => Ok(()),
    }
}
