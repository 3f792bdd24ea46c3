//! Carrying out a plan: what waits for nothing runs at once, within the limits of its owner.
//!
//! Links go out as one batch: at once when no batch of the lab is under way, otherwise all that have become
//! ready meanwhile go together. A step that fails takes those that wait for it along; all others go on.
//!
//! Every step (and every batch) is a task of its own: what a driver does in it, blocking or panicking included,
//! cannot hold the lab's actor, which only receives how it ended.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use netloom_model::{NodeName, Stage};
use netloom_plan::{Action, Plan, Step, StepId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::edit::Scope;
use super::pull::{Fetched, PULL_LIMIT, Pull};
use super::step::{StepContext, panicked};
use super::wait::Wait;
use crate::driver::{Context, DriverError, ErrorClass};
use crate::event::What;
use crate::image::Progressing;
use crate::operation::{Operation, StepState};
use crate::pace::QUICK;
use crate::task;

/// How one step ended.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// It was done.
    Done,
    /// It was done, and what it ran wrote this.
    Wrote(String),
    /// It was done, but what it ran says no (an `exec` that failed): reported, and nothing else suffers.
    Complained(String),
    /// It was not done.
    Failed(DriverError),
}

/// What a step has to say at its end.
#[derive(Debug, Clone, Copy, Default)]
struct Said<'a> {
    error: Option<&'a str>,
    output: Option<&'a str>,
}

/// What is left to say of a plan when all its steps have ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Steps that will fail again unless something changes.
    pub permanent: BTreeMap<StepId, String>,
    /// Steps that may work later.
    pub transient: BTreeMap<StepId, String>,
    /// What commands complained about.
    pub complaints: Vec<(StepId, String)>,
    /// All steps that were done.
    pub done: BTreeMap<StepId, Action>,
    /// The nodes that were removed by them.
    pub deleted: BTreeSet<NodeName>,
    /// The images that were fetched.
    pub fetched: Fetched,
    /// The stages that nodes were seen to leave by those who waited for it.
    pub passed: BTreeSet<(NodeName, Stage)>,
}

/// How long a step may take that waits for a person's command or delay.
const SLOW_LIMIT: Duration = Duration::from_secs(600);
/// After this time such steps, if nothing else is left, hold up nobody any more.
const LINGER: Duration = Duration::from_secs(1);

type Ended = Vec<(StepId, Outcome)>;

/// A plan under way.
pub(crate) struct Execution {
    steps: BTreeMap<StepId, Step>,
    waiting: BTreeMap<StepId, usize>,
    waiters: BTreeMap<StepId, Vec<StepId>>,
    /// Ready, begun as places become free. What is ready is in one of these three, so that no call looks at all of them.
    ready: VecDeque<StepId>,
    /// Ready, and mostly waiting: begun at once.
    slow: Vec<StepId>,
    /// Ready, for the next batch of links.
    links: Vec<StepId>,
    links_under_way: bool,
    under_way: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// How many of those take a place of the lab.
    quick: usize,
    /// The others, with when they began and how to end them.
    waiting_for_others: BTreeMap<StepId, (Instant, CancellationToken)>,
    cancel: CancellationToken,
    summary: Summary,
    /// The operations that it is a part of, each with what it is about.
    followers: Vec<(Arc<Operation>, Scope)>,
    /// How long one step may take.
    limit: Duration,
}

impl Execution {
    pub(crate) fn new(plan: Plan, followers: Vec<(Arc<Operation>, Scope)>, limit: Duration) -> Self {
        for (operation, scope) in &followers {
            operation.add_steps(plan.steps.iter().filter(|step| scope.has_step(&step.id)));
        }
        let mut waiting = BTreeMap::new();
        let mut waiters: BTreeMap<StepId, Vec<StepId>> = BTreeMap::new();
        let mut free = Vec::new();
        for step in &plan.steps {
            waiting.insert(step.id.clone(), step.after.len());
            if step.after.is_empty() {
                free.push(step.id.clone());
            }
            for before in &step.after {
                waiters.entry(before.clone()).or_default().push(step.id.clone());
            }
        }
        let mut execution = Self {
            steps: plan.steps.into_iter().map(|step| (step.id.clone(), step)).collect(),
            waiting,
            waiters,
            ready: VecDeque::new(),
            slow: Vec::new(),
            links: Vec::new(),
            links_under_way: false,
            under_way: FuturesUnordered::new(),
            quick: 0,
            waiting_for_others: BTreeMap::new(),
            cancel: CancellationToken::new(),
            summary: Summary::default(),
            followers,
            limit,
        };
        for id in free {
            execution.make_ready(id);
        }
        execution
    }

    fn make_ready(&mut self, id: StepId) {
        let step = &self.steps[&id];
        if is_of_link(step) {
            self.links.push(id);
        } else if is_slow(step) {
            self.slow.push(id);
        } else {
            self.ready.push_back(id);
        }
    }

    /// Starts whatever can be started now.
    pub(crate) fn advance(&mut self, context: &Arc<StepContext>) {
        if self.cancel.is_cancelled() {
            return;
        }
        for id in std::mem::take(&mut self.slow) {
            let cancel = self.cancel.child_token();
            self.waiting_for_others.insert(id.clone(), (Instant::now(), cancel.clone()));
            if let Action::PullImage { image, runtime } = &self.steps[&id].action {
                let pull = Pull { image: image.clone(), runtime: *runtime };
                self.start_pull(&id, pull, cancel, context);
            } else {
                let patience = patience(&self.steps[&id], context);
                self.begin(&self.steps[&id], patience);
                self.start(&id, SLOW_LIMIT, cancel, context);
            }
        }
        while self.quick < context.shared.config.nodes_at_once
            && let Some(id) = self.ready.pop_front()
        {
            self.quick += 1;
            self.begin(&self.steps[&id], QUICK);
            self.start(&id, self.limit, self.cancel.clone(), context);
        }
        if !self.links_under_way && !self.links.is_empty() {
            self.links_under_way = true;
            let batch: Vec<Step> = std::mem::take(&mut self.links).iter().map(|id| self.steps[id].clone()).collect();
            for step in &batch {
                self.begin(step, QUICK);
            }
            let (context, limits) = (context.clone(), within(self.limit, self.cancel.clone()));
            let ids = batch.iter().map(|step| step.id.clone()).collect();
            self.launch(ids, async move { context.run_links(batch, &limits).await });
        }
    }

    fn start(&self, id: &StepId, limit: Duration, cancel: CancellationToken, context: &Arc<StepContext>) {
        let step = self.steps[id].clone();
        let (context, limits) = (context.clone(), within(limit, cancel));
        self.launch(vec![step.id.clone()], async move {
            let outcome = context.run(&step, &limits).await;
            vec![(step.id, outcome)]
        });
    }

    fn start_pull(&self, id: &StepId, pull: Pull, cancel: CancellationToken, context: &Arc<StepContext>) {
        let step = &self.steps[id];
        // Others may be pulled before.
        self.begin(step, PULL_LIMIT);
        let told = Progressing {
            operations: self.followers_of(id).cloned().collect(),
            events: context.shared.events.clone(),
            lab: Some(context.lab.clone()),
            step: id.clone(),
            text: step.action.to_string(),
        };
        let (id, context, limits) = (id.clone(), context.clone(), within(PULL_LIMIT, cancel));
        self.launch(vec![id.clone()], async move {
            let pulled = context.pull(&pull, &told, &limits).await;
            vec![(id, pulled.map_or_else(Outcome::Failed, |()| Outcome::Done))]
        });
    }

    /// Starts the task of one step or batch; a panic in it fails what it was to do.
    fn launch(&self, ids: Vec<StepId>, work: impl Future<Output = Ended> + Send + 'static) {
        let name = ids.first().map_or_else(|| "step".to_owned(), |first| format!("step {first}"));
        let task = task::own(name, work);
        self.under_way.push(Box::pin(async move {
            match task.await {
                Ok(ended) => ended,
                Err(panic) => {
                    let failed = |id: StepId| {
                        let error = panicked(&id.to_string(), &panic);
                        (id, Outcome::Failed(error))
                    };
                    ids.into_iter().map(failed).collect()
                }
            }
        }));
    }

    /// Waits for the next step (or batch) to end; pending for ever when nothing is under way. Cancel safe.
    pub(crate) async fn next(&mut self, context: &Arc<StepContext>) {
        let Some(ended) = self.under_way.next().await else {
            return std::future::pending().await;
        };
        for (id, outcome) in ended {
            if is_of_link(&self.steps[&id]) {
                self.links_under_way = false;
            } else if self.waiting_for_others.remove(&id).is_none() {
                self.quick -= 1;
            }
            self.finish(&id, outcome, context);
        }
    }

    /// Nothing new is started; what is under way ends by itself.
    pub(crate) fn stop(&mut self) {
        self.cancel.cancel();
        self.ready.clear();
        self.slow.clear();
        self.links.clear();
    }

    /// Whether nothing is under way and nothing can be started any more.
    pub(crate) fn is_finished(&self) -> bool {
        self.under_way.is_empty() && self.ready.is_empty() && self.slow.is_empty() && self.links.is_empty()
    }

    /// When only steps are left that wait for a person's command or delay, and have done so for a while: from then on
    /// whatever else is to be done need not wait for them.
    pub(crate) fn lingers_at(&self) -> Option<Instant> {
        let only_those = self.quick == 0 && !self.links_under_way && self.ready.is_empty() && self.slow.is_empty();
        let youngest = self.waiting_for_others.values().map(|(since, _)| *since).max();
        youngest.filter(|_| only_those && self.links.is_empty()).map(|since| since + LINGER)
    }

    /// Lets go of what waits for its steps: that is planned anew when they have ended.
    pub(crate) fn linger(&mut self) {
        self.waiting.clear();
        self.waiters.clear();
    }

    /// The nodes that its lingering steps are about, but for those that only wait: nothing is done to a node by such.
    pub(crate) fn lingers_on(&self) -> impl Iterator<Item = &NodeName> {
        let steps = self.waiting_for_others.keys().map(|id| &self.steps[id].action);
        steps.filter(|action| !is_wait(action)).filter_map(Action::node)
    }

    /// Its steps under way that wait for what the world says, or for a registry.
    pub(crate) fn lingering_waits(&self) -> impl Iterator<Item = &StepId> {
        self.waiting_for_others.keys().filter(|id| is_wait(&self.steps[*id].action))
    }

    /// Who waits for whom in it.
    pub(crate) fn waits(&self, context: &StepContext) -> impl Iterator<Item = Wait> {
        self.lingering_waits().filter_map(|id| context.wait(&self.steps[id].action))
    }

    /// Ends the waits that are not among these steps: nobody waits for them any more.
    pub(crate) fn give_up_waits_beside(&self, planned: &BTreeSet<&StepId>) {
        let others = self.lingering_waits().filter(|id| !planned.contains(id));
        others.for_each(|id| self.waiting_for_others[id].1.cancel());
    }

    /// Ends its lingering steps on a node.
    pub(crate) fn give_up(&self, node: &NodeName) {
        let of_node = |id: &StepId| self.steps[id].action.node() == Some(node);
        self.waiting_for_others.iter().filter(|(id, _)| of_node(id)).for_each(|(_, (_, cancel))| cancel.cancel());
    }

    /// What came of it so far.
    pub(crate) fn take_summary(&mut self) -> Summary {
        std::mem::take(&mut self.summary)
    }

    fn followers_of(&self, step: &StepId) -> impl Iterator<Item = &Arc<Operation>> {
        self.followers.iter().filter(|(_, scope)| scope.has_step(step)).map(|(operation, _)| operation)
    }

    fn begin(&self, step: &Step, patience: Duration) {
        for operation in self.followers_of(&step.id) {
            operation.begin_step(step, patience);
        }
    }

    fn finish(&mut self, id: &StepId, outcome: Outcome, context: &Arc<StepContext>) {
        let (state, error) = match &outcome {
            Outcome::Done | Outcome::Wrote(_) => (StepState::Done, None),
            Outcome::Complained(text) => (StepState::Failed, Some(text.clone())),
            Outcome::Failed(error) => (StepState::Failed, Some(error.to_string())),
        };
        let output = if let Outcome::Wrote(text) = &outcome { Some(text.as_str()) } else { None };
        self.announce(id, state, Said { error: error.as_deref(), output }, context);
        netloom_failpoint::point!("operation.step-done");
        match outcome {
            Outcome::Done | Outcome::Wrote(_) => self.release(id),
            Outcome::Complained(text) => {
                self.summary.complaints.push((id.clone(), text));
                self.release(id);
            }
            Outcome::Failed(error) => {
                match error.class {
                    ErrorClass::Permanent => self.summary.permanent.insert(id.clone(), error.to_string()),
                    // Nobody wants it any more: no reason to wait before what is wanted instead.
                    ErrorClass::Cancelled => None,
                    _ => self.summary.transient.insert(id.clone(), error.to_string()),
                };
                self.skip_waiters(id, context);
            }
        }
    }

    fn announce(&self, id: &StepId, state: StepState, said: Said<'_>, context: &Arc<StepContext>) {
        let Said { error, output } = said;
        for operation in self.followers_of(id) {
            if let Some(output) = output {
                operation.set_output(id, output);
            }
            operation.set_step(id, state, error.map(str::to_owned));
        }
        let step = |operation: Option<&Arc<Operation>>| What::Step {
            operation: operation.map(|operation| operation.id().clone()),
            lab: Some(context.lab.clone()),
            step: id.to_string(),
            text: self.steps[id].action.to_string(),
            state,
            error: error.map(str::to_owned),
            output: output.map(str::to_owned),
            progress: None,
        };
        // Each operation is followed by itself.
        let mut followers = self.followers_of(id).peekable();
        if followers.peek().is_none() {
            context.shared.events.publish(step(None));
        }
        for operation in followers {
            context.shared.events.publish(step(Some(operation)));
        }
    }

    fn release(&mut self, id: &StepId) {
        if let Action::PullImage { image, runtime } = &self.steps[id].action {
            // That is no change that anybody waits to be shown: one may be fetched that was there.
            self.summary.fetched.insert((*runtime, image.clone()));
        } else {
            self.summary.done.insert(id.clone(), self.steps[id].action.clone());
        }
        if let Action::DeleteNode { node, .. } = &self.steps[id].action {
            self.summary.deleted.insert(node.clone());
        }
        if let Action::Await { node, stage, .. } = &self.steps[id].action {
            self.summary.passed.insert((node.clone(), *stage));
        }
        for waiter in self.waiters.remove(id).unwrap_or_default() {
            if let Some(count) = self.waiting.get_mut(&waiter) {
                *count -= 1;
                if *count == 0 && !self.cancel.is_cancelled() {
                    self.make_ready(waiter);
                }
            }
        }
    }

    fn skip_waiters(&mut self, id: &StepId, context: &Arc<StepContext>) {
        let mut left = self.waiters.remove(id).unwrap_or_default();
        while let Some(waiter) = left.pop() {
            if self.waiting.remove(&waiter).is_some() {
                self.announce(&waiter, StepState::Skipped, Said::default(), context);
                left.extend(self.waiters.remove(&waiter).unwrap_or_default());
            }
        }
    }
}

fn within(limit: Duration, cancel: CancellationToken) -> Context {
    Context { deadline: (Instant::now() + limit).into_std(), cancel }
}

/// How long a step that mostly waits may do so before it counts as stuck.
fn patience(step: &Step, context: &StepContext) -> Duration {
    match &step.action {
        Action::StartNode { node, .. } => {
            let spec = context.wish.as_ref().and_then(|wish| wish.lab.nodes().get(node));
            QUICK + Duration::from_secs(spec.map_or(0, |spec| spec.startup_delay).into())
        }
        _ => SLOW_LIMIT,
    }
}

/// Steps that mostly wait (a start-up delay, a command) do not count against the places of the lab.
fn is_slow(step: &Step) -> bool {
    is_wait(&step.action) || matches!(step.action, Action::Exec { .. } | Action::StartNode { .. })
}

/// Whether it goes out with others in a batch.
fn is_of_link(step: &Step) -> bool {
    matches!(
        step.action,
        Action::CreateLink { .. }
            | Action::UpdateLink { .. }
            | Action::SetLink { .. }
            | Action::CarryLink { .. }
            | Action::DeleteLink { .. }
    )
}

fn is_wait(action: &Action) -> bool {
    matches!(action, Action::Await { .. } | Action::PullImage { .. })
}
