//! The actor itself: commands in, plans carried out.
//!
//! What a command does to the wish stands in `accept`, what is to do in `planning`, how an operation ends in `finish`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use netloom_failpoint::point;
use netloom_model::{Endpoint, LabName, NodeName, RestartPolicy, Stage};
use netloom_plan::{Action, AdminState, Live, NodeState, Observed, Plan, Prints, StepId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::accept::{Pending, Unkept};
use super::command::Command;
use super::edit::Scope;
use super::execute::{Execution, Summary};
use super::finish::Closed;
use super::pull::Fetched;
use super::restart::{self, Restarts};
use super::step::StepContext;
use super::wait;
use crate::bulkhead::Bulkhead;
use crate::desired::Wish;
use crate::engine::Shared;
use crate::event::What;
use crate::fact::Source;
use crate::operation::{Operation, OperationState};
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;
use crate::task::Owned;
use crate::work::LabWork;

/// How many commands may wait for one lab.
pub(crate) const QUEUE: usize = 16;
/// A node that runs a command must live this long before a deploy calls it running.
pub(super) const PROVE: Duration = Duration::from_millis(100);
/// How long after its last step an operation waits for the snapshot to show the result before it plans again.
const SETTLE: Duration = Duration::from_secs(2);
/// How long a relist may take that was asked for because the snapshot does not show what was done.
const LISTED_WITHIN: Duration = Duration::from_secs(30);
/// After so many failures in a row that may pass (15 s of back-off) an operation says so; the lab is worked on.
const PATIENCE: u32 = 5;

/// An operation under way. A lab has one deploy or one destroy at a time, or any number of edits.
pub(super) struct Active {
    pub(super) operation: Arc<Operation>,
    pub(super) scope: Scope,
    pub(super) deadline: Instant,
    /// The nodes that had ended when it began, with the life that was over.
    pub(super) ended: BTreeMap<NodeName, String>,
    /// Since when only carriers and proofs of life are missing.
    pub(super) almost: Option<Instant>,
}

/// Steps that were done and that the snapshot does not show yet.
pub(super) struct Settling {
    done: BTreeMap<StepId, Action>,
    /// The nodes that were removed.
    deleted: BTreeSet<NodeName>,
    /// The wish that they were done for.
    wish: Option<Arc<Wish>>,
    /// How long the snapshot may take.
    until: Instant,
    /// When everything was asked to be looked at again, since events seem to be missing.
    doubted: Option<SystemTime>,
}

impl Settling {
    /// Adds what was done after the rest: it ends what it is the opposite of.
    fn add(&mut self, done: BTreeMap<StepId, Action>) {
        for (id, action) in done {
            if let Action::SetLink { link, side, admin } = &action {
                let admin = if *admin == AdminState::Up { AdminState::Down } else { AdminState::Up };
                self.done.remove(&Action::SetLink { link: link.clone(), side: *side, admin }.id());
            }
            self.done.insert(id, action);
        }
    }

    /// Whether a step is only in the plan because the snapshot is behind: it was done, or removes a link whose node was
    /// removed with everything in it. The kernel tears that down a little later.
    fn is_of_the_past(&self, action: &Action, observed: &Observed) -> bool {
        let ends = match action {
            Action::DeleteLink { link } => observed.links.get(link).map(|link| link.ends.iter()),
            _ => None,
        };
        let mut nodes = ends.into_iter().flatten().filter_map(Endpoint::node);
        self.done.get(&action.id()) == Some(action) || nodes.any(|node| self.deleted.contains(node))
    }

    /// Whether an end that was switched is seen as it was before. A plan lacks steps then: a node would be started beside ends
    /// that are to be switched on first.
    fn hides_an_end(&self, observed: &Observed) -> bool {
        self.done.values().any(|action| match action {
            Action::SetLink { link, side, admin } => {
                let there = observed.links.get(link);
                there.is_some_and(|there| there.down.contains(side) != (*admin == AdminState::Down))
            }
            _ => false,
        })
    }
}

/// Whether the actor goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Goes,
    Ends,
}

/// One lab's actor.
pub(crate) struct Actor {
    pub(super) shared: Arc<Shared>,
    pub(super) name: LabName,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) wish: Option<Arc<Wish>>,
    /// The live edits that the last deploy took back.
    pub(super) undone: Live,
    /// The fingerprints of the wish that was planned for last.
    pub(super) prints: Option<(Arc<Wish>, Prints)>,
    pub(super) active: Vec<Active>,
    pub(super) execution: Option<(Execution, Arc<StepContext>)>,
    /// What is left of plans when only steps are left that wait for a person's command or delay: those hold up nothing but
    /// their own nodes.
    pub(super) lingering: Vec<(Execution, Arc<StepContext>)>,
    /// Steps that fail again until the wish changes.
    pub(super) given_up: BTreeMap<StepId, String>,
    /// Steps that failed, and are tried again.
    pub(super) failing: BTreeMap<StepId, String>,
    pub(super) complaints: Vec<(StepId, String)>,
    pub(super) restarts: Restarts,
    /// How often in a row something failed that may work later, and when to try again.
    pub(super) retry: (u32, Option<Instant>),
    pub(super) settling: Option<Settling>,
    /// What the last plan was made from, to skip snapshots that change nothing here.
    pub(super) planned: Option<(u64, u64)>,
    pub(super) states: BTreeMap<NodeName, NodeState>,
    /// The stages that its nodes were seen to leave, since they were made or the agent started.
    pub(super) passed: BTreeMap<NodeName, BTreeSet<Stage>>,
    /// The images that were fetched for what is to be made now.
    pub(super) fetched: Fetched,
    /// A wish that the store has not confirmed yet; no other command is taken meanwhile.
    pub(super) pending: Option<Pending>,
    /// The last of a lab that is gone: what is forgotten about it. Answers with what went wrong.
    pub(super) closing: Option<Owned<Closed>>,
    /// The removal of what is left of it; nothing else is begun meanwhile.
    pub(super) sweeping: Option<Owned<()>>,
    /// Whether there has been anything to do: a wish or a command.
    pub(super) served: bool,
    /// Says that something is under way.
    work: LabWork,
}

impl Actor {
    pub(crate) fn new(shared: Arc<Shared>, name: LabName, commands: mpsc::Receiver<Command>) -> Self {
        let changes = shared.inventory.changes();
        let wish = shared.wishes.get(&name);
        let served = wish.is_some();
        let work = shared.work.of(&name);
        Self {
            shared,
            name,
            commands,
            changes,
            wish,
            undone: Live::default(),
            prints: None,
            active: Vec::new(),
            execution: None,
            lingering: Vec::new(),
            given_up: BTreeMap::new(),
            failing: BTreeMap::new(),
            complaints: Vec::new(),
            restarts: Restarts::default(),
            retry: (0, None),
            settling: None,
            planned: None,
            states: BTreeMap::new(),
            passed: BTreeMap::new(),
            fetched: Fetched::new(),
            pending: None,
            closing: None,
            sweeping: None,
            served,
            work,
        }
    }

    /// Serves until the lab is gone and nobody asks for it. Waits nowhere else than here, for whatever comes first.
    pub(crate) async fn run(mut self) {
        let beat = self.shared.beats.of(&format!("lab {}", self.name));
        loop {
            if self.pump() == Life::Ends {
                break;
            }
            self.note_work();
            beat.settle();
            let timer = self.next_timer();
            let is_free = self.pending.is_none() && self.closing.is_none() && self.sweeping.is_none();
            let execution = async {
                match &mut self.execution {
                    Some((execution, context)) => execution.next(context).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = self.commands.recv(), if is_free => {
                    beat.owe();
                    match command {
                        Some(command) => self.handle(command),
                        None => break,
                    }
                }
                answer = answer(&mut self.pending) => {
                    beat.owe();
                    self.settle(answer);
                }
                ended = closed(&mut self.closing) => {
                    self.forget(&ended);
                    break;
                }
                () = swept(&mut self.sweeping) => {
                    beat.owe();
                    self.end_sweep();
                }
                () = execution => beat.owe(),
                () = first(&mut self.lingering) => beat.owe(),
                _ = self.changes.changed() => beat.owe(),
                () = sleep_until(timer) => beat.owe(),
                () = self.shared.stopping.cancelled() => break,
            }
        }
        self.shared.beats.forget(&format!("lab {}", self.name));
        self.stop().await;
    }

    fn note_work(&mut self) {
        let is_idle = self.execution.is_none()
            && self.lingering.is_empty()
            && self.active.is_empty()
            && self.pending.is_none()
            && self.closing.is_none();
        if is_idle { self.work.end() } else { self.work.begin() }
    }

    /// What is under way is finished, so that a graceful stop leaves nothing half made; nothing new begins.
    async fn stop(mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            command.refuse(Refusal::Stopping);
        }
        if self.pending.is_some() {
            let answer = answer(&mut self.pending).await;
            self.settle(answer);
        }
        for (mut execution, context) in self.execution.take().into_iter().chain(std::mem::take(&mut self.lingering)) {
            execution.stop();
            while !execution.is_finished() {
                execution.next(&context).await;
            }
            self.conclude(execution.take_summary(), &context);
        }
        swept_if_begun(&mut self.sweeping).await;
        if self.closing.is_some() {
            let ended = closed(&mut self.closing).await;
            self.forget(&ended);
        }
        for active in self.active.drain(..) {
            let text = "the agent was stopped; its next start completes this";
            active.operation.end(OperationState::Superseded, text, Vec::new());
        }
    }

    /// Nothing new is started, and what is under way is told to end.
    pub(super) fn stop_executions(&mut self) {
        let all = self.execution.iter_mut().chain(&mut self.lingering);
        all.for_each(|(execution, _)| execution.stop());
    }

    fn next_timer(&self) -> Option<Instant> {
        if self.is_held() {
            // No timer may wake an actor that must not act: it would come back at once, for ever.
            return None;
        }
        let now = Instant::now();
        let mut timers =
            vec![self.restarts.next(now), self.retry.1, self.settling.as_ref().map(|settling| settling.until)];
        timers.push(self.execution.as_ref().and_then(|(execution, _)| execution.lingers_at()));
        for active in &self.active {
            timers.push(Some(active.deadline));
            timers.push(active.almost.map(|_| now + PROVE / 2));
        }
        timers.into_iter().flatten().min()
    }

    /// Whether nothing is to be done, by a person's word or because that fails again and again.
    pub(super) fn is_held(&self) -> bool {
        self.wish.as_ref().is_some_and(|wish| wish.held.is_some()) || self.shared.pauses.is_paused(&self.name)
    }

    // ---- reconciling ------------------------------------------------------------------------------------

    fn pump(&mut self) -> Life {
        self.check_deadline();
        if self.retry.1.take_if(|at| *at <= Instant::now()).is_some() {
            // Whatever keeps the next try from being made now, it is no reason to wake for it again.
            self.planned = None;
        }
        if self.closing.is_some() || self.sweeping.is_some() {
            return Life::Goes;
        }
        if let Some((execution, context)) = &mut self.execution {
            execution.advance(context);
            let lingers = execution.lingers_at().is_some_and(|at| at <= Instant::now());
            if !execution.is_finished() && !lingers {
                return Life::Goes;
            }
        }
        if let Some((mut execution, context)) = self.execution.take() {
            self.conclude(execution.take_summary(), &context);
            execution.linger();
            self.lingering.push((execution, context));
        }
        self.conclude_lingering();
        let snapshot = self.shared.inventory.snapshot();
        if !snapshot.is_complete(&self.sources(&snapshot)) {
            return Life::Goes;
        }
        if self.shared.pauses.is_paused(&self.name) {
            // Whatever it is that fails, it is not tried.
            return Life::Goes;
        }
        self.note_states(&snapshot);
        if self.is_held() || !self.is_stale(&snapshot) {
            return Life::Goes;
        }
        if self.wish.is_none() && self.active.is_empty() {
            // One that was just made for a command waits for it, however late it comes.
            let idle = self.served && self.commands.is_empty() && self.pending.is_none();
            return if idle { Life::Ends } else { Life::Goes };
        }
        if let Some(then) = self.settling.as_ref().map(|settling| settling.wish.clone())
            && generation(then.as_ref()) != generation(self.wish.as_ref())
        {
            // What was done for an older wish must show before the newer one is compared with what is there: a link
            // that was just deleted, and is wanted again, may still be seen.
            let (observed, steps) = self.plan(then.as_ref(), &snapshot);
            if self.waits_to_be_shown(&observed, &steps) {
                return Life::Goes;
            }
        }
        // The process may die of planning, too.
        self.work.begin();
        self.reckon();
        let (observed, steps) = self.plan(self.wish.as_ref(), &snapshot);
        self.forget_failures_beside(&steps);
        if steps.is_empty() {
            return self.rest(&snapshot, &observed);
        }
        if self.waits_to_be_shown(&observed, &steps) {
            return Life::Goes;
        }
        self.settling = None;
        self.end_edits(&snapshot, Some(&steps));
        if self.retry.1.is_some() {
            return Life::Goes;
        }
        let steps = self.leave_out_lingering(steps);
        if steps.is_empty() {
            return Life::Goes;
        }
        let followers = self.active.iter().map(|active| (active.operation.clone(), active.scope.clone())).collect();
        let (shared, lab, wish) = (self.shared.clone(), self.name.clone(), self.wish.clone());
        let places = Bulkhead::new("lab", shared.config.nodes_at_once.div_ceil(2));
        let context = Arc::new(StepContext { shared, lab, wish, places });
        let mut execution = Execution::new(steps, followers, self.shared.config.step_limit);
        point!("operation.executing");
        execution.advance(&context);
        self.execution = Some((execution, context));
        Life::Goes
    }

    /// Whether there is a reason to plan: the lab's facts or the host's changed, a timer is due, or a plan just ended.
    fn is_stale(&mut self, snapshot: &Snapshot) -> bool {
        let facts = snapshot.labs.get(&self.name).map_or(0, |facts| facts.changed);
        let basis = (facts, snapshot.host_changed.max(snapshot.images_changed));
        let now = Instant::now();
        let due = self.settling.as_ref().is_some_and(|settling| settling.until <= now)
            || self.is_looked_at_again(snapshot)
            || self.active.iter().any(|active| active.almost.is_some())
            || !self.restarts.due(now).is_empty();
        let changed = self.planned != Some(basis);
        self.planned = Some(basis);
        changed || due
    }

    /// Whether everything was looked at since it was doubted that events had told all: also what has not changed is news then.
    fn is_looked_at_again(&self, snapshot: &Snapshot) -> bool {
        let doubted = self.settling.as_ref().and_then(|settling| settling.doubted);
        doubted.is_some_and(|then| self.shared.inventory.is_listed_since(&self.sources(snapshot), then))
    }

    /// What has to have been seen before anything is concluded about the lab.
    fn sources(&self, snapshot: &Snapshot) -> BTreeSet<Source> {
        let before = self.settling.as_ref().and_then(|settling| settling.wish.as_deref());
        self.shared.sources_of(&self.name, self.wish.as_deref().into_iter().chain(before), snapshot)
    }

    /// Whether the snapshot does not show yet what was done. When that takes too long events are missing, and
    /// everything is looked at once more before anything is done twice.
    fn waits_to_be_shown(&mut self, observed: &Observed, plan: &Plan) -> bool {
        let sources = self.sources(&self.shared.inventory.snapshot());
        let Some(settling) = &mut self.settling else { return false };
        let is_behind = plan.steps.iter().any(|step| settling.is_of_the_past(&step.action, observed));
        if !is_behind && !settling.hides_an_end(observed) {
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
            Some(then) => in_time && !self.shared.inventory.is_listed_since(&sources, then),
        }
    }

    /// What came of steps that lingered; what waited for them is planned now.
    fn conclude_lingering(&mut self) {
        let (mut left, mut ended) = (Vec::new(), Vec::new());
        for (mut execution, context) in std::mem::take(&mut self.lingering) {
            ended.push((execution.take_summary(), context.clone()));
            if execution.is_finished() {
                // Also when it was given up, of which nothing is left to say.
                self.planned = None;
            } else {
                left.push((execution, context));
            }
        }
        self.lingering = left;
        for (summary, context) in ended.into_iter().filter(|(summary, _)| *summary != Summary::default()) {
            self.conclude(summary, &context);
        }
    }

    fn conclude(&mut self, summary: Summary, context: &StepContext) {
        self.planned = None;
        self.note_failures(&summary);
        self.complaints.extend(summary.complaints);
        let is_of_this_wish = generation(self.wish.as_ref()) == generation(context.wish.as_ref());
        if self.retry.1.is_some() {
            // Another try is due: what ends until then, well or not, belongs to the one before.
        } else if summary.transient.is_empty() {
            self.retry.0 = 0;
        } else if is_of_this_wish {
            let count = self.retry.0 + 1;
            let wait = Duration::from_secs(1 << (count - 1).min(6)).min(Duration::from_secs(60));
            self.retry = (count, Some(Instant::now() + wait));
            if count >= PATIENCE {
                let text = format!("{count} tries in a row failed; the wish stays and is tried again");
                for active in self.active.drain(..) {
                    let failed = summary.transient.iter().filter(|(step, _)| active.scope.has_step(step));
                    let failed = failed.map(|(_, why)| why.clone()).collect();
                    active.operation.end(OperationState::Failed, text.clone(), failed);
                }
            }
        }
        if is_of_this_wish {
            self.given_up.extend(summary.permanent);
        }
        self.tell_troubles();
        self.let_go_of_bridges(&summary.done);
        if !summary.transient.is_empty() {
            // One may have gone since.
            self.fetched.clear();
        }
        self.let_go_of_networks(&summary.done);
        let Summary { done, deleted, passed, fetched, .. } = summary;
        self.fetched.extend(fetched);
        self.passed.retain(|node, _| !deleted.contains(node));
        for (node, stage) in passed {
            self.passed.entry(node).or_default().insert(stage);
        }
        let (until, wish) = (Instant::now() + SETTLE, context.wish.clone());
        if !done.is_empty() {
            let nothing = || Settling { done: BTreeMap::new(), deleted: BTreeSet::new(), wish, until, doubted: None };
            let settling = self.settling.get_or_insert_with(nothing);
            settling.add(done);
            settling.deleted.extend(deleted);
            settling.until = until;
        }
    }

    fn note_states(&mut self, snapshot: &Snapshot) {
        let Some(facts) = snapshot.labs.get(&self.name) else {
            self.states.clear();
            self.passed.clear();
            self.restarts.retain(|_| false);
            return;
        };
        let now = Instant::now();
        for (node, fact) in &facts.nodes {
            let spec = self.wish.as_ref().and_then(|wish| wish.lab.nodes().get(node));
            let policy = spec.map_or(RestartPolicy::No, restart::policy);
            self.restarts.note(fact, policy, now);
            if let Some(stage) = wait::passed(fact) {
                self.passed.entry(node.clone()).or_default().insert(stage);
            }
            if self.states.get(node) != Some(&fact.state) {
                self.states.insert(node.clone(), fact.state.clone());
                let (lab, state) = (self.name.clone(), fact.state.to_string());
                self.shared.events.publish(What::Node { lab, node: node.clone(), state });
            }
        }
        self.states.retain(|node, _| facts.nodes.contains_key(node));
        self.restarts.retain(|node| facts.nodes.contains_key(node));
        self.passed.retain(|node, _| facts.nodes.contains_key(node));
    }
}

/// Waits for the next step of any of these to end; pending for ever when there are none. Cancel safe.
async fn first(executions: &mut [(Execution, Arc<StepContext>)]) {
    let all = executions.iter_mut().map(|(execution, context)| execution.next(context));
    if all.collect::<FuturesUnordered<_>>().next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

async fn answer(pending: &mut Option<Pending>) -> Result<(), Unkept> {
    match pending {
        Some(pending) => pending.answer().await,
        None => std::future::pending().await,
    }
}

async fn closed(closing: &mut Option<Owned<Closed>>) -> Closed {
    match closing {
        Some(closing) => {
            closing.await.unwrap_or_else(|panic| Closed { problems: vec![panic.to_string()], notices: Vec::new() })
        }
        None => std::future::pending().await,
    }
}

async fn swept(sweeping: &mut Option<Owned<()>>) {
    match sweeping {
        // A panic is in the log, and whoever waits for the report hears nothing more.
        Some(sweeping) => drop(sweeping.await),
        None => std::future::pending().await,
    }
}

async fn swept_if_begun(sweeping: &mut Option<Owned<()>>) {
    if sweeping.is_some() {
        swept(sweeping).await;
    }
}

fn generation(wish: Option<&Arc<Wish>>) -> Option<u64> {
    wish.map(|wish| wish.generation)
}

async fn sleep_until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
