//! One step, from an action of the plan to calls of drivers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use netloom_failpoint::point;
use netloom_model::{ExecTarget, Home, InterfaceName, LabName, NamespaceComes, NodeName, RuntimeKind, Shape, Stage};
use netloom_plan::{Action, Effect, NodeState, Step, added_address, commands, names, print, repeats_link};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::execute::Outcome;
use super::wait::Wait;
use crate::bulkhead::Bulkhead;
use crate::desired::{Done, Wish, done_key, life_of_host, put};
use crate::driver::{Context, DriverError, ErrorClass, ExecInput, ExecOutput, ExecRequest, NodeOrder, Runtime};
use crate::engine::Shared;
use crate::fact::Place;
use crate::host::BridgeKind;
use crate::task::Panicked;

/// How long after its start a node may take to be seen running.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// How much of a command's output is kept.
const OUTPUT_KEPT: usize = 2048;

/// What every step of one plan needs.
pub(crate) struct StepContext {
    pub shared: Arc<Shared>,
    pub lab: LabName,
    /// The wish that the plan was made for; `None` when what is there belongs to no wish.
    pub wish: Option<Arc<Wish>>,
    /// How many nodes one lab may have in hand: half of what a runtime has, so that one that hangs stops no other.
    pub places: Bulkhead,
}

/// A command of the topology that is to be run.
struct Ordered<'a> {
    node: &'a NodeName,
    runtime: RuntimeKind,
    argv: &'a [String],
    target: ExecTarget,
}

impl fmt::Display for Ordered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target {
            ExecTarget::Container => write!(f, "exec on {}", self.node),
            ExecTarget::Host => write!(f, "exec on the host for {}", self.node),
        }
    }
}

impl StepContext {
    /// Carries out a step that is not a link's.
    pub(crate) async fn run(&self, step: &Step, context: &Context) -> Outcome {
        let answer = match &step.action {
            Action::Exec { node, runtime, index, argv, target } => {
                let command = Ordered { node, runtime: *runtime, argv, target: *target };
                return self.exec(&command, *index, context).await;
            }
            Action::Await { node, .. } => self.until_over(&step.action, node, context).await,
            Action::Enter { node, stage } => self.enter(node, *stage, context).await,
            Action::EnsureBridge { bridge } => {
                self.shared.host.ensure_bridge(bridge, self.kind_of(bridge), context).await
            }
            Action::ReleaseBridge { bridge } => self.shared.host.release_bridge(&self.lab, bridge, context).await,
            Action::AddBridge { node, bridge } => {
                self.shared.fabric.ensure_bridge(&self.place(node), bridge, context).await
            }
            Action::RemoveBridge { node, bridge } => {
                self.shared.fabric.remove_bridge(&self.place(node), bridge, context).await
            }
            Action::EnsureNetwork { .. } => self.ensure_network(context).await,
            Action::ReleaseNetwork { network } => self.shared.host.release_network(&self.lab, network, context).await,
            Action::WriteNames => self.write_names(context).await,
            Action::WriteEntries | Action::RemoveEntries => self.shared.host.tell(context).await,
            Action::ReserveNode { node, runtime }
            | Action::CreateNode { node, runtime }
            | Action::StartNode { node, runtime }
            | Action::UpdateNode { node, runtime }
            | Action::StopNode { node, runtime }
            | Action::DeleteNode { node, runtime } => self.node(&step.action, node, *runtime, context).await,
            Action::CreateLink { .. }
            | Action::UpdateLink { .. }
            | Action::SetLink { .. }
            | Action::CarryLink { .. }
            | Action::DeleteLink { .. } => {
                unreachable!("links go out in batches")
            }
            Action::PullImage { .. } => unreachable!("who follows it is told how far it is"),
        };
        answer.map_or_else(Outcome::Failed, |()| Outcome::Done)
    }

    async fn node(
        &self,
        action: &Action,
        node: &NodeName,
        runtime: RuntimeKind,
        context: &Context,
    ) -> Result<(), DriverError> {
        let places = self.shared.nodes.get(&runtime);
        let runtime = self.runtime(runtime, node)?;
        let starts = matches!(action, Action::StartNode { .. });
        if starts {
            self.startup_delay(node, context).await?;
        }
        let _of_lab = self.place_in(&self.places, node, context).await?;
        let _of_all = match places {
            Some(places) => Some(self.place_in(places, node, context).await?),
            None => None,
        };
        // A start may wait long, by a person's order and for its place; the call itself takes no longer than others do.
        let limit = (Instant::now() + self.shared.config.step_limit).into_std();
        let deadline = if starts { limit } else { context.deadline };
        let context = &Context { deadline, cancel: context.cancel.clone() };
        let call = async {
            match action {
                Action::ReserveNode { .. } => runtime.reserve(&self.order(node)?, context).await,
                Action::CreateNode { .. } => {
                    self.forget_stages(node).await;
                    runtime.create(&self.order(node)?, context).await
                }
                Action::StartNode { .. } => runtime.start(&self.order(node)?, context).await,
                Action::UpdateNode { .. } => runtime.update(&self.order(node)?, context).await,
                Action::StopNode { .. } => runtime.stop(&self.lab, node, context).await,
                _ => runtime.delete(&self.lab, node, context).await,
            }
        };
        within(context, &step_object(action), call).await
    }

    /// Waits for a place among those who have a node in hand, for as long as the step is wanted.
    async fn place_in(
        &self,
        places: &Bulkhead,
        node: &NodeName,
        context: &Context,
    ) -> Result<OwnedSemaphorePermit, DriverError> {
        let object = format!("node {node}");
        tokio::select! {
            place = places.enter(context.deadline) => {
                place.map_err(|busy| engine_error("reach", &object, busy.to_string()))
            }
            () = context.cancel.cancelled() => Err(cancelled(&object)),
        }
    }

    /// The node's namespace that its interfaces are in.
    fn home(&self, node: &NodeName) -> Option<Place> {
        match self.wish.as_ref()?.lab.home(node) {
            Home::Own | Home::Outside(_) => Some(self.place(node)),
            Home::Node(owner) => Some(self.place(owner)),
            Home::Host => None,
        }
    }

    fn place(&self, node: &NodeName) -> Place {
        Place::Node(self.lab.clone(), node.clone())
    }

    async fn startup_delay(&self, node: &NodeName, context: &Context) -> Result<(), DriverError> {
        let spec = self.wish.as_ref().and_then(|wish| wish.lab.nodes().get(node));
        let delay = Duration::from_secs(spec.map_or(0, |spec| spec.startup_delay).into());
        if delay.is_zero() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            () = context.cancel.cancelled() => Err(cancelled(&format!("node {node}"))),
        }
    }

    fn runtime(&self, kind: RuntimeKind, node: &NodeName) -> Result<Arc<dyn Runtime>, DriverError> {
        self.shared.runtimes.get(&kind).cloned().ok_or_else(|| {
            let mut error =
                engine_error("reach", &format!("node {node}"), format!("this agent has no runtime {kind:?}"));
            error.class = ErrorClass::Permanent;
            error
        })
    }

    fn order(&self, node: &NodeName) -> Result<NodeOrder, DriverError> {
        let wish = self.wish.as_ref().ok_or_else(|| cancelled(&format!("node {node}")))?;
        wish.order(node).ok_or_else(|| cancelled(&format!("node {node}")))
    }

    /// What a bridge of the host is to be.
    fn kind_of(&self, bridge: &InterfaceName) -> BridgeKind {
        let node = self.wish.as_ref().zip(bridge.as_str().parse::<NodeName>().ok());
        let node = node.and_then(|(wish, name)| wish.lab.nodes().get(&name).map(|node| node.kind.shape()));
        if node == Some(Shape::OvsBridge) { BridgeKind::OpenVswitch } else { BridgeKind::Kernel }
    }

    async fn ensure_network(&self, context: &Context) -> Result<(), DriverError> {
        let on = self.wish.as_ref().and_then(|wish| wish.on_network.as_ref()).ok_or_else(|| cancelled("network"))?;
        self.shared.host.ensure_network(on, context).await
    }

    async fn write_names(&self, context: &Context) -> Result<(), DriverError> {
        let Some(wish) = &self.wish else { return Ok(()) };
        let content = names(wish.whole());
        for runtime in self.shared.runtimes.values() {
            within(context, "names", runtime.write_names(&self.lab, Some(&content), context)).await?;
        }
        Ok(())
    }

    /// Runs a command of the topology once and records that it was run, whatever it answered.
    async fn exec(&self, command: &Ordered<'_>, index: usize, context: &Context) -> Outcome {
        let Ordered { node, runtime, argv, .. } = *command;
        let object = format!("{command}: {}", argv.join(" "));
        let incarnation = match self.life(node, context).await {
            Ok(incarnation) => incarnation,
            Err(error) => return Outcome::Failed(error),
        };
        point!("exec.before");
        let answer = self.exec_once(command, context).await;
        point!("exec.ran");
        if answer.as_ref().is_err_and(|error| error.class != ErrorClass::Permanent) {
            return Outcome::Failed(answer.expect_err("just seen to be an error"));
        }
        if let Some(incarnation) = incarnation {
            let all = self.wish.as_ref().and_then(|wish| wish.lab.nodes().get(node)).map(commands);
            let ran = all.as_ref().and_then(|all| all.get(..=index)).map(|ran| print(ran).to_string());
            let of = all.map(|all| all.len());
            let done = Done { execs: index + 1, of, ran, ..self.done_in(node, incarnation) };
            self.note(node, done).await;
            point!("exec.recorded");
        }
        if let Some(home) = self.home(node).filter(|_| runtime.namespace_comes() == NamespaceComes::WithStart) {
            // Its neighbours may have asked for an address before this command gave it.
            self.shared.fabric.announce(&home, context.deadline).await;
        }
        match answer {
            Ok((0, output)) if output.trim().is_empty() => Outcome::Done,
            Ok((0, output)) => Outcome::Wrote(output.trim_end().to_owned()),
            Ok(_) if self.is_there_already(node, argv) => Outcome::Done,
            Ok((code, output)) => {
                let output = output.trim_end();
                let shown = if output.is_empty() { String::new() } else { format!(":\n{output}") };
                Outcome::Complained(format!("{object}: exit code {code}{shown}"))
            }
            Err(error) => Outcome::Complained(format!("{object}: {}", error.cause)),
        }
    }

    /// Whether what a command failed to add is an address that is there: a link gives it, or it was there from the life before.
    fn is_there_already(&self, node: &NodeName, argv: &[String]) -> bool {
        if self.wish.as_ref().is_some_and(|wish| repeats_link(wish.whole(), node, argv)) {
            return true;
        }
        let Some(((address, prefix), interface)) = added_address(argv) else { return false };
        let Ok(interface) = interface.parse::<InterfaceName>() else { return false };
        let (snapshot, place) = (self.shared.inventory.snapshot(), Place::Node(self.lab.clone(), node.clone()));
        let links = snapshot.links(&self.lab);
        let port = links.values().find_map(|seen| seen.port(&place, &interface));
        port.is_some_and(|port| port.addresses.contains(&format!("{address}/{prefix}")))
    }

    /// What was done once for a node, in the life that it has now.
    fn done_in(&self, node: &NodeName, incarnation: String) -> Done {
        match self.shared.done.of(&self.lab).remove(node) {
            Some(done) => done.in_life(incarnation),
            None => Done::nothing(incarnation),
        }
    }

    async fn note(&self, node: &NodeName, done: Done) {
        self.shared.done.set(&self.lab, node, done.clone());
        let note = vec![put(done_key(&self.lab, node), &done)];
        if let Err(error) = self.shared.ledger.keep(note).await {
            tracing::warn!(lab = %self.lab, %node, %error, "what was done once is noted later");
        }
    }

    /// Who waits for whom in a step.
    pub(crate) fn wait(&self, action: &Action) -> Option<Wait> {
        let Action::Await { waiter, node, stage } = action else { return None };
        Some(Wait { lab: self.lab.clone(), waiter: waiter.clone(), node: node.clone(), stage: *stage })
    }

    async fn until_over(&self, action: &Action, node: &NodeName, context: &Context) -> Result<(), DriverError> {
        let wanted = self.order(node)?.fingerprint;
        let wait = self.wait(action).expect("the step is one");
        wait.is_over(&wanted, &self.shared.inventory, context).await
    }

    /// Notes that a node enters a stage: after a crash it does not wait again.
    async fn enter(&self, node: &NodeName, stage: Stage, context: &Context) -> Result<(), DriverError> {
        let incarnation = self.life(node, context).await?.unwrap_or_default();
        let done = self.done_in(node, incarnation);
        self.note(node, Done { entered: done.entered.max(Some(stage)), ..done }).await;
        Ok(())
    }

    /// A node that is made anew has entered nothing.
    async fn forget_stages(&self, node: &NodeName) {
        let done = self.shared.done.of(&self.lab).remove(node);
        if let Some(done) = done.filter(|done| done.entered.is_some()) {
            self.note(node, Done { entered: None, ..done }).await;
        }
    }

    /// Which life of the node it is that a command is run in. The snapshot may be behind: a command noted for the
    /// life before would be run twice.
    async fn life(&self, node: &NodeName, context: &Context) -> Result<Option<String>, DriverError> {
        if let Some(wish) = self.wish.as_ref().filter(|wish| is_host(wish, node)) {
            return Ok(Some(life_of_host(&self.shared.boot(), wish.rebuild)));
        }
        let wanted = self.order(node)?.fingerprint;
        let mut changes = self.shared.inventory.changes();
        let seen = async {
            loop {
                let snapshot = self.shared.inventory.snapshot();
                let fact = snapshot.node(&self.lab, node);
                if let Some(fact) = fact.filter(|fact| fact.fingerprint.change_to(&wanted) <= Some(Effect::Live)) {
                    match &fact.state {
                        NodeState::Running => return Ok(fact.incarnation.clone()),
                        NodeState::Exited { .. } | NodeState::Failed { .. } => {
                            return Err(engine_error("exec on", &format!("node {node}"), "it has ended".into()));
                        }
                        _ => {}
                    }
                }
                if changes.changed().await.is_err() {
                    return Err(cancelled(&format!("node {node}")));
                }
            }
        };
        let object = format!("exec on {node}");
        let context = Context {
            deadline: context.deadline.min((Instant::now() + SEEN_WITHIN).into_std()),
            cancel: context.cancel.clone(),
        };
        within(&context, &object, seen).await
    }

    async fn exec_once(&self, command: &Ordered<'_>, context: &Context) -> Result<(i32, String), DriverError> {
        let Ordered { node, runtime, argv, target } = *command;
        let runtime = match target {
            ExecTarget::Container => self.runtime(runtime, node)?,
            // The runtime that every agent has, and whose nodes are processes of this host.
            ExecTarget::Host => self.runtime(RuntimeKind::Namespace, node)?,
        };
        let object = command.to_string();
        let request = ExecRequest::plain(argv.to_vec());
        let begin = async {
            match target {
                ExecTarget::Container => runtime.exec(&self.lab, node, request).await,
                ExecTarget::Host => runtime.exec_on_host(request).await,
            }
        };
        let mut session = tokio::select! {
            session = within(context, &object, begin) => session?,
            () = context.cancel.cancelled(), if !self.shared.stopping.is_cancelled() => return Err(cancelled(&object)),
        };
        let _ = session.input.send(ExecInput::CloseStdin).await;
        let mut kept = Vec::new();
        let run = async {
            while let Some(output) = session.output.recv().await {
                match output {
                    ExecOutput::Stdout(bytes) | ExecOutput::Stderr(bytes) => {
                        kept.extend_from_slice(&bytes);
                        let over = kept.len().saturating_sub(OUTPUT_KEPT);
                        kept.drain(..over);
                    }
                    ExecOutput::Exited(code) => return Ok(code),
                }
            }
            Err(engine_error("run", &object, "its connection was lost".into()))
        };
        let code = tokio::select! {
            code = within(context, &object, run) => code?,
            // The session is dropped, which ends the command. A stop of the agent lets it end by itself.
            () = context.cancel.cancelled(), if !self.shared.stopping.is_cancelled() => return Err(cancelled(&object)),
        };
        Ok((code, String::from_utf8_lossy(&kept).into_owned()))
    }
}

fn is_host(wish: &Wish, node: &NodeName) -> bool {
    wish.lab.nodes().get(node).is_some_and(|node| node.kind.shape() == Shape::Host)
}

fn step_object(action: &Action) -> String {
    action.node().map_or_else(|| action.to_string(), |node| format!("node {node}"))
}

/// Waits for a driver until the deadline; afterwards the call is released, its outcome unknown until observed.
pub(crate) async fn within<T>(
    context: &Context,
    object: &str,
    call: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    match tokio::time::timeout_at(context.deadline.into(), call).await {
        Ok(answer) => answer,
        Err(_) => Err(DriverError {
            class: ErrorClass::Deadline,
            ..engine_error("finish", object, "its deadline passed; what became of it shows in the inventory".into())
        }),
    }
}

pub(crate) fn cancelled(object: &str) -> DriverError {
    DriverError { class: ErrorClass::Cancelled, ..engine_error("reach", object, "it is not wanted any more".into()) }
}

/// A driver panicked: the step failed, and may work the next time.
pub(crate) fn panicked(object: &str, panic: &Panicked) -> DriverError {
    DriverError {
        hint: Some("this is a defect of netloom; please report it with the agent's log".into()),
        ..engine_error("carry out", object, panic.to_string())
    }
}

pub(crate) fn engine_error(operation: &str, object: &str, cause: String) -> DriverError {
    DriverError {
        operation: operation.into(),
        object: object.into(),
        backend: "engine".into(),
        cause,
        hint: None,
        class: ErrorClass::Transient,
    }
}
