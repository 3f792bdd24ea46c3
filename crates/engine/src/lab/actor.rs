//! The actor itself: commands in, plans carried out, operations ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use netloom_model::{InterfaceName, LabName, NodeName, RestartPolicy};
use netloom_plan::{Action, AdminState, Desired, NodeState, Observed, Plan, StepId, plan};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::admit::{check, next_wish};
use super::command::{Accepted, Command, DeployRequest, Rebuild};
use super::execute::{Execution, Summary};
use super::observe::{find_end, observe};
use super::restart::Restarts;
use super::step::{StepContext, within};
use crate::bulkhead::Bulkhead;
use crate::desired::{Phase, Wish, put, wish_key};
use crate::driver::{Context, Write};
use crate::engine::Shared;
use crate::event::What;
use crate::inventory::Snapshot;
use crate::operation::{Operation, OperationId, OperationState};
use crate::refusal::Refusal;

/// How many commands may wait for one lab.
pub(crate) const QUEUE: usize = 16;
/// A node that runs a command must live this long before a deploy calls it running.
const PROVE: Duration = Duration::from_millis(100);
/// How long after its last step an operation waits for the snapshot to show the result before it plans again.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a relist may take that was asked for because the snapshot does not show what was done.
const LISTED_WITHIN: Duration = Duration::from_secs(30);
/// After so many failures in a row that may pass (15 s of back-off) an operation says so; the lab is worked on.
const PATIENCE: u32 = 5;
/// How long an operation waits for carriers when everything else is as desired.
const CARRIER: Duration = Duration::from_secs(3);

struct Active {
    operation: Arc<Operation>,
    deadline: Instant,
    /// Since when only carriers and proofs of life are missing.
    almost: Option<Instant>,
}

/// Steps that were done and that the snapshot does not show yet.
struct Settling {
    done: BTreeSet<StepId>,
    /// How long the snapshot may take.
    until: Instant,
    /// When everything was asked to be looked at again, since events seem to be missing.
    doubted: Option<SystemTime>,
}

/// Whether the actor goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Goes,
    Ends,
}

/// One lab's actor.
pub(crate) struct Actor {
    shared: Arc<Shared>,
    name: LabName,
    commands: mpsc::Receiver<Command>,
    changes: watch::Receiver<u64>,
    wish: Option<Arc<Wish>>,
    active: Option<Active>,
    execution: Option<(Execution, Arc<StepContext>)>,
    /// Steps that fail again until the wish changes.
    given_up: BTreeMap<StepId, String>,
    complaints: Vec<String>,
    restarts: Restarts,
    /// How often in a row something failed that may work later, and when to try again.
    retry: (u32, Option<Instant>),
    settling: Option<Settling>,
    /// What the last plan was made from, to skip snapshots that change nothing here.
    planned: Option<(u64, u64)>,
    states: BTreeMap<NodeName, NodeState>,
    /// Whether there has been anything to do: a wish or a command.
    served: bool,
}

impl Actor {
    pub(crate) fn new(shared: Arc<Shared>, name: LabName, commands: mpsc::Receiver<Command>) -> Self {
        let changes = shared.inventory.changes();
        let wish = shared.wishes.get(&name);
        let served = wish.is_some();
        Self {
            shared,
            name,
            commands,
            changes,
            wish,
            active: None,
            execution: None,
            given_up: BTreeMap::new(),
            complaints: Vec::new(),
            restarts: Restarts::default(),
            retry: (0, None),
            settling: None,
            planned: None,
            states: BTreeMap::new(),
            served,
        }
    }

    /// Serves until the lab is gone and nobody asks for it.
    pub(crate) async fn run(mut self) {
        let beat = self.shared.beats.of(&format!("lab {}", self.name));
        loop {
            if self.pump().await == Life::Ends {
                break;
            }
            beat.settle();
            let timer = self.next_timer();
            let execution = async {
                match &mut self.execution {
                    Some((execution, context)) => execution.next(context).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = self.commands.recv() => {
                    beat.owe();
                    match command {
                        Some(command) => self.handle(command).await,
                        None => break,
                    }
                }
                () = execution => beat.owe(),
                _ = self.changes.changed() => beat.owe(),
                () = sleep_until(timer) => beat.owe(),
                () = self.shared.stopping.cancelled() => break,
            }
        }
        self.shared.beats.forget(&format!("lab {}", self.name));
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            command.refuse(Refusal::Stopping);
        }
        if let Some((mut execution, context)) = self.execution.take() {
            // What is under way is finished, so that a graceful stop leaves nothing half made.
            execution.stop();
            while !execution.is_finished() {
                execution.next(&context).await;
            }
        }
        if let Some(active) = self.active.take() {
            let text = "the agent was stopped; its next start completes this";
            active.operation.end(OperationState::Superseded, text, Vec::new());
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        if self.is_held() {
            // No timer may wake an actor that must not act: it would come back at once, for ever.
            return None;
        }
        let now = Instant::now();
        let mut timers =
            vec![self.restarts.next(now), self.retry.1, self.settling.as_ref().map(|settling| settling.until)];
        if let Some(active) = &self.active {
            timers.push(Some(active.deadline));
            timers.push(active.almost.map(|_| now + PROVE / 2));
        }
        timers.into_iter().flatten().min()
    }

    // ---- commands ---------------------------------------------------------------------------------------

    async fn handle(&mut self, command: Command) {
        self.served = true;
        // A reply that nobody waits for any more is fine: a client that hangs up cancels nothing.
        match command {
            Command::Deploy { request, reply } => {
                let answer = self.deploy(request).await;
                let _ = reply.send(answer);
            }
            Command::Destroy { reply } => {
                let answer = self.destroy().await;
                let _ = reply.send(answer);
            }
            Command::SetLink { end, admin, reply } => {
                let answer = self.set_link(&end, admin).await;
                let _ = reply.send(answer);
            }
            Command::Cancel { operation, reply } => {
                let answer = self.cancel(&operation).await;
                let _ = reply.send(answer);
            }
        }
    }

    fn is_held(&self) -> bool {
        self.wish.as_ref().is_some_and(|wish| wish.held.is_some())
    }

    fn in_progress(&self) -> Option<Refusal> {
        let operation = &self.active.as_ref()?.operation;
        let (kind, id) = (operation.kind().to_owned(), operation.id().clone());
        Some(Refusal::InProgress { lab: self.name.clone(), kind, operation: id })
    }

    async fn deploy(&mut self, request: DeployRequest) -> Accepted {
        let wish = next_wish(self.wish.as_deref(), &request)?;
        if let Some(active) = &self.active {
            let same = active.operation.kind() == "deploy"
                && request.rebuild == Rebuild::No
                && self.wish.as_ref().is_some_and(|there| there.lab == wish.lab && there.held.is_none());
            // The same wish twice, or from two clients at once, is one effect.
            return if same { Ok(active.operation.clone()) } else { Err(self.in_progress().expect("active")) };
        }
        check(&self.shared, self.wish.as_deref(), &wish).await?;
        let unchanged = self.wish.as_ref().is_some_and(|there| {
            Wish { generation: there.generation, bridges: there.bridges.clone(), ..wish.clone() } == **there
        });
        if !unchanged {
            store(&self.shared, &wish).await?;
            self.accept(wish);
        }
        Ok(self.begin("deploy"))
    }

    async fn destroy(&mut self) -> Accepted {
        if let Some(active) = &self.active
            && active.operation.kind() == "destroy"
        {
            return Ok(active.operation.clone());
        }
        let known = self.shared.inventory.snapshot().labs.contains_key(&self.name);
        if self.wish.is_none() && !known {
            return Err(Refusal::NoLab(self.name.clone()));
        }
        self.supersede("a destroy took its place");
        if let Some(there) = self.wish.clone() {
            let wish = Wish { phase: Phase::Destroy, held: None, generation: there.generation + 1, ..(*there).clone() };
            if let Err(error) = store(&self.shared, &wish).await {
                // A full disk must not keep a lab alive. If the agent dies before the end, the lab comes back.
                let text = format!("lab {} is destroyed although the store could not note it: {error}", self.name);
                self.shared.events.publish(What::Notice { lab: Some(self.name.clone()), text });
            }
            self.accept(wish);
        }
        Ok(self.begin("destroy"))
    }

    async fn set_link(&mut self, end: &str, admin: AdminState) -> Accepted {
        let Some(there) = self.wish.clone().filter(|wish| wish.phase == Phase::Run) else {
            return Err(Refusal::NoLab(self.name.clone()));
        };
        if let Some(refusal) = self.in_progress() {
            return Err(refusal);
        }
        if let Some(why) = &there.held {
            return Err(Refusal::Held { lab: self.name.clone(), why: why.clone() });
        }
        let Some(found) = find_end(&there.lab, end) else {
            let ends = there.lab.links().iter().flat_map(netloom_model::Link::ends);
            let known: Vec<String> = ends.map(netloom_model::End::label).take(40).collect();
            return Err(Refusal::NoEnd { lab: self.name.clone(), end: end.to_owned(), known: known.join(", ") });
        };
        let mut down = there.down.clone();
        match admin {
            AdminState::Up => down.remove(&found),
            AdminState::Down => down.insert(found),
        };
        if down != there.down {
            let wish = Wish { down, generation: there.generation + 1, ..(*there).clone() };
            store(&self.shared, &wish).await?;
            self.accept(wish);
        }
        Ok(self.begin("link"))
    }

    async fn cancel(&mut self, id: &OperationId) -> Accepted {
        let Some(active) = self.active.as_ref().filter(|active| active.operation.id() == id) else {
            return self.shared.journal.get(id).ok_or_else(|| Refusal::NoOperation(id.clone()));
        };
        let operation = active.operation.clone();
        if let Some(there) = self.wish.clone() {
            let held = Some(format!("operation {id} was cancelled"));
            let wish = Wish { held, ..(*there).clone() };
            store(&self.shared, &wish).await?;
            self.accept(wish);
        }
        if let Some((execution, _)) = &mut self.execution {
            execution.stop();
        }
        let text = format!(
            "cancelled; the lab is held as it is: deploy again to go on, or `netloom destroy --name {}`",
            self.name
        );
        operation.end(OperationState::Cancelled, text, Vec::new());
        self.active = None;
        Ok(operation)
    }

    fn accept(&mut self, wish: Wish) {
        let wish = Arc::new(wish);
        self.shared.wishes.set(&self.name, Some(&wish));
        self.wish = Some(wish);
    }

    fn supersede(&mut self, why: &str) {
        if let Some(active) = self.active.take() {
            active.operation.end(OperationState::Superseded, why, Vec::new());
        }
        if let Some((execution, _)) = &mut self.execution {
            execution.stop();
        }
    }

    fn begin(&mut self, kind: &'static str) -> Arc<Operation> {
        let operation = self.shared.journal.begin(kind, &self.name);
        let deadline = Instant::now() + self.shared.config.operation_limit;
        self.active = Some(Active { operation: operation.clone(), deadline, almost: None });
        self.given_up.clear();
        self.complaints.clear();
        self.retry = (0, None);
        self.settling = None;
        self.planned = None;
        operation
    }

    // ---- reconciling ------------------------------------------------------------------------------------

    async fn pump(&mut self) -> Life {
        self.check_deadline();
        if let Some((execution, context)) = &mut self.execution {
            execution.advance(context);
            if !execution.is_finished() {
                return Life::Goes;
            }
        }
        if let Some((execution, context)) = self.execution.take() {
            self.conclude(execution.into_summary(), &context).await;
        }
        let snapshot = self.shared.inventory.snapshot();
        if !snapshot.is_complete(&self.shared.sources) {
            return Life::Goes;
        }
        self.note_states(&snapshot);
        if self.is_held() || !self.is_stale(&snapshot) {
            return Life::Goes;
        }
        if self.wish.is_none() && self.active.is_none() {
            // One that was just made for a command waits for it, however late it comes.
            return if self.served && self.commands.is_empty() { Life::Ends } else { Life::Goes };
        }
        let (observed, steps) = self.plan(&snapshot);
        if steps.is_empty() {
            return self.rest(&snapshot, &observed).await;
        }
        if self.waits_to_be_shown(&steps) {
            return Life::Goes;
        }
        self.settling = None;
        if self.retry.1.is_some_and(|at| Instant::now() < at) {
            return Life::Goes;
        }
        self.retry.1 = None;
        let operation = self.active.as_ref().map(|active| active.operation.clone());
        let (shared, lab, wish) = (self.shared.clone(), self.name.clone(), self.wish.clone());
        let places = Bulkhead::new("lab", shared.nodes.limit().div_ceil(2));
        let context = Arc::new(StepContext { shared, lab, wish, places });
        let mut execution = Execution::new(steps, operation, self.shared.config.step_limit);
        execution.advance(&context);
        self.execution = Some((execution, context));
        Life::Goes
    }

    /// Whether there is a reason to plan: the lab's facts or the host's changed, a timer is due, or a plan just ended.
    fn is_stale(&mut self, snapshot: &Snapshot) -> bool {
        let facts = snapshot.labs.get(&self.name).map_or(0, |facts| facts.changed);
        let basis = (facts, snapshot.host_changed);
        let now = Instant::now();
        let timer = [self.retry.1, self.settling.as_ref().map(|settling| settling.until)];
        let due = timer.into_iter().flatten().any(|at| at <= now)
            || self.active.as_ref().is_some_and(|active| active.almost.is_some())
            || !self.restarts.due(now).is_empty();
        let changed = self.planned != Some(basis);
        self.planned = Some(basis);
        changed || due
    }

    /// Whether the snapshot does not show yet what was done. When that takes too long events are missing, and
    /// everything is looked at once more before anything is done twice.
    fn waits_to_be_shown(&mut self, plan: &Plan) -> bool {
        let Some(settling) = &mut self.settling else { return false };
        if !plan.steps.iter().any(|step| settling.done.contains(&step.id)) {
            return false;
        }
        let in_time = Instant::now() < settling.until;
        match settling.doubted {
            None if in_time => true,
            None => {
                self.shared.inventory.doubt();
                settling.doubted = Some(SystemTime::now());
                settling.until = Instant::now() + LISTED_WITHIN;
                true
            }
            Some(then) => in_time && !self.shared.inventory.is_listed_since(&self.shared.sources, then),
        }
    }

    fn check_deadline(&mut self) {
        if let Some(active) = self.active.take_if(|active| active.deadline <= Instant::now()) {
            let text = "its deadline passed; the wish stays and is worked on: `netloom inspect` shows how far it is";
            active.operation.end(OperationState::Deadline, text, Vec::new());
        }
    }

    fn plan(&mut self, snapshot: &Snapshot) -> (Observed, Plan) {
        let now = Instant::now();
        let wish = self.wish.clone();
        let lab = wish.as_ref().filter(|wish| wish.phase == Phase::Run).map(|wish| &*wish.lab);
        let done = self.shared.done.of(&self.name);
        let observed = observe(&self.name, lab, wish.as_deref(), &done, snapshot);
        let due = self.restarts.due(now);
        let nothing = BTreeSet::new();
        let desired = Desired {
            lab,
            rebuild: wish.as_ref().map_or(0, |wish| wish.rebuild),
            down: wish.as_ref().map_or(&nothing, |wish| &wish.down),
            restart_due: &due,
        };
        let mut steps = plan(&self.name, &desired, &observed);
        self.leave_out_given_up(&mut steps);
        (observed, steps)
    }

    /// What failed for good is not tried again, nor what waits for it, until the wish changes.
    fn leave_out_given_up(&self, plan: &mut Plan) {
        if self.given_up.is_empty() {
            return;
        }
        let mut out: BTreeSet<StepId> = self.given_up.keys().cloned().collect();
        plan.steps.retain(|step| {
            let stays = !out.contains(&step.id) && !step.after.iter().any(|id| out.contains(id));
            if !stays {
                out.insert(step.id.clone());
            }
            stays
        });
    }

    async fn conclude(&mut self, summary: Summary, context: &StepContext) {
        self.planned = None;
        self.complaints.extend(summary.complaints);
        if summary.transient.is_empty() {
            self.retry = (0, None);
        } else {
            let count = self.retry.0 + 1;
            let wait = Duration::from_secs(1 << (count - 1).min(6)).min(Duration::from_secs(60));
            self.retry = (count, Some(Instant::now() + wait));
            if count >= PATIENCE
                && let Some(active) = self.active.take()
            {
                let text = format!("{count} tries in a row failed; the wish stays and is tried again");
                active.operation.end(OperationState::Failed, text, summary.transient.values().cloned().collect());
            }
        }
        let same_wish = match (&self.wish, &context.wish) {
            (Some(now), Some(then)) => now.generation == then.generation,
            (None, None) => true,
            _ => false,
        };
        if same_wish {
            self.given_up.extend(summary.permanent);
        }
        self.let_go_of_bridges(&summary.done).await;
        let settling = |done| Settling { done, until: Instant::now() + SETTLE, doubted: None };
        self.settling = (!summary.done.is_empty()).then(|| settling(summary.done));
    }

    fn note_states(&mut self, snapshot: &Snapshot) {
        let Some(facts) = snapshot.labs.get(&self.name) else {
            self.states.clear();
            return;
        };
        let now = Instant::now();
        for (node, fact) in &facts.nodes {
            let spec = self.wish.as_ref().and_then(|wish| wish.lab.nodes().get(node));
            let policy = spec.map_or(RestartPolicy::No, |spec| spec.restart_policy);
            self.restarts.note(fact, policy, now);
            if self.states.get(node) != Some(&fact.state) {
                self.states.insert(node.clone(), fact.state.clone());
                let (lab, state) = (self.name.clone(), fact.state.to_string());
                self.shared.events.publish(What::Node { lab, node: node.clone(), state });
            }
        }
        self.states.retain(|node, _| facts.nodes.contains_key(node));
    }

    // ---- ending an operation ----------------------------------------------------------------------------

    /// Nothing is left to do: end what waits for that.
    async fn rest(&mut self, snapshot: &Snapshot, observed: &Observed) -> Life {
        self.settling = None;
        if self.wish.as_ref().is_none_or(|wish| wish.phase == Phase::Destroy) {
            return self.finish_destroy(observed).await;
        }
        let Some(active) = &mut self.active else { return Life::Goes };
        let now = Instant::now();
        let wish = self.wish.clone().expect("checked above");
        let unproven = wish.lab.nodes().iter().any(|(name, node)| {
            let runs = snapshot.labs.get(&self.name).and_then(|facts| facts.nodes.get(name));
            runs.is_some_and(|fact| fact.state == NodeState::Running)
                && !(node.cmd.is_empty() && node.entrypoint.is_empty())
                && self.restarts.running_for(name, now).is_none_or(|ran| ran < PROVE)
        });
        let dark = links_without_carrier(&self.name, &wish, snapshot);
        let since = *active.almost.get_or_insert(now);
        if unproven || (!dark.is_empty() && now - since < CARRIER && self.given_up.is_empty()) {
            return Life::Goes;
        }
        let active = self.active.take().expect("checked above");
        self.end_deploy(&active.operation, snapshot, &wish, &dark);
        Life::Goes
    }

    fn end_deploy(&mut self, operation: &Operation, snapshot: &Snapshot, wish: &Wish, dark: &[String]) {
        let mut problems: Vec<String> = self.given_up.values().cloned().collect();
        problems.append(&mut self.complaints);
        if let Some(facts) = snapshot.labs.get(&self.name) {
            for fact in facts.nodes.values() {
                let (NodeState::Exited { .. } | NodeState::Failed { .. }) = &fact.state else { continue };
                if self.given_up.contains_key(&start_id(fact)) {
                    continue;
                }
                let again = self.restarts.due_at(&fact.node).map_or("", |_| "; it is tried again");
                let output = fact.last_output.as_deref().unwrap_or("").trim_end();
                let output = if output.is_empty() { String::new() } else { format!("; its last output:\n{output}") };
                problems.push(format!("node {}: {}{again}{output}", fact.node, fact.state));
            }
        }
        problems.extend(dark.iter().map(|link| format!("link {link}: no carrier after {} s", CARRIER.as_secs())));
        let nothing = operation.view().steps.is_empty();
        let (nodes, links) = (wish.lab.nodes().len(), wish.lab.links().len());
        if !problems.is_empty() {
            let one = if problems.len() == 1 { "problem" } else { "problems" };
            let text = format!("{} {one}; the rest of lab {} stands", problems.len(), self.name);
            operation.end(OperationState::Failed, text, problems);
        } else if nothing {
            operation.end(OperationState::Succeeded, "nothing to change", Vec::new());
        } else {
            let text = format!("lab {}: {nodes} nodes, {links} links", self.name);
            operation.end(OperationState::Succeeded, text, Vec::new());
        }
    }

    /// Bridges that were released are not this lab's affair any more; whether they are gone is no question of it.
    async fn let_go_of_bridges(&mut self, done: &BTreeSet<StepId>) {
        let Some(wish) = self.wish.clone() else { return };
        let held = |bridge: &InterfaceName| !done.contains(&Action::ReleaseBridge { bridge: bridge.clone() }.id());
        let bridges: BTreeSet<InterfaceName> = wish.bridges.iter().filter(|bridge| held(bridge)).cloned().collect();
        if bridges == wish.bridges {
            return;
        }
        let wish = Wish { bridges, ..(*wish).clone() };
        if let Err(error) = store(&self.shared, &wish).await {
            // After a crash it is released once more, which does no harm.
            tracing::warn!(lab = %self.name, %error, "cannot record that bridges were released");
        }
        self.accept(wish);
    }

    async fn finish_destroy(&mut self, observed: &Observed) -> Life {
        let given_up: Vec<String> = self.given_up.values().cloned().collect();
        if !given_up.is_empty() {
            if let Some(active) = self.active.take() {
                let text = format!("lab {} could not be removed completely; destroy it again", self.name);
                active.operation.end(OperationState::Failed, text, given_up);
            }
            return Life::Goes;
        }
        let deadline = (Instant::now() + self.shared.config.step_limit).into_std();
        let context = Context { deadline, cancel: CancellationToken::new() };
        let mut problems = Vec::new();
        for runtime in self.shared.runtimes.values() {
            let forget = runtime.write_names(&self.name, None, &context);
            if let Err(error) = within(&context, &format!("lab {}", self.name), forget).await {
                problems.push(error.to_string());
            }
        }
        let mut writes = vec![Write::Delete { key: wish_key(&self.name) }];
        let done = self.shared.done.of(&self.name);
        writes.extend(done.keys().map(|node| Write::Delete { key: crate::desired::done_key(&self.name, node) }));
        if let Err(error) = self.shared.store.write(writes).await {
            problems.push(format!("lab {} is gone, but the store could not forget it: {error}", self.name));
        }
        self.shared.done.forget(&self.name);
        self.shared.wishes.set(&self.name, None);
        self.wish = None;
        debug_assert!(observed.nodes.is_empty(), "a plan without steps leaves no nodes");
        if let Some(active) = self.active.take() {
            if problems.is_empty() {
                let text = format!("lab {} is destroyed", self.name);
                active.operation.end(OperationState::Succeeded, text, Vec::new());
            } else {
                active.operation.end(OperationState::Failed, problems.join("; "), problems);
            }
        }
        Life::Ends
    }
}

async fn store(shared: &Arc<Shared>, wish: &Wish) -> Result<(), Refusal> {
    Ok(shared.store.write(vec![put(wish_key(wish.lab.name()), wish)]).await?)
}

fn start_id(fact: &crate::fact::NodeFact) -> StepId {
    Action::StartNode { node: fact.node.clone(), runtime: fact.runtime }.id()
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The links that should carry traffic and have no carrier on some end. An end that is off (by us or by the
/// router itself) darkens its link on purpose.
fn links_without_carrier(name: &LabName, wish: &Wish, snapshot: &Snapshot) -> Vec<String> {
    let seen = snapshot.links(name);
    let links = wish.lab.links().iter().filter(|link| link.b.is_some());
    let dark = links.filter(|link| {
        let Some(seen) = seen.get(&link.id()) else { return false };
        seen.ports.iter().all(|port| port.admin_up) && seen.ports.iter().any(|port| !port.carrier)
    });
    dark.map(|link| link.id().to_string()).collect()
}
