//! Operations: what was asked for, how far it is, how it ended. The journal keeps the last ones.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use netloom_model::LabName;
use netloom_plan::{Omission, Shortage, Step, StepId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::event::{Events, What};
use crate::image::PullProgress;
use crate::pace::{Pace, Stuck};

/// How many ended operations are kept.
const KEPT: usize = 256;

/// The number of an operation; counts up within one agent process, the time of its start before it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub String);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// It works, or waits for its turn.
    Running,
    /// All of it is true now.
    Succeeded,
    /// Something could not be done; the rest stands.
    Failed,
    /// A person ended it; the lab is held as it is.
    Cancelled,
    /// Its deadline passed; the wish stays and is worked on.
    Deadline,
    /// Another operation on the same lab took its place.
    Superseded,
}

impl OperationState {
    /// Whether it has ended.
    pub fn is_final(self) -> bool {
        self != Self::Running
    }
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It waits for others or for its turn.
    Waiting,
    /// It is being done.
    Running,
    /// It is done.
    Done,
    /// It could not be done.
    Failed,
    /// It was not tried: one that it waits for failed, or the operation ended.
    Skipped,
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name, as in the plan.
    pub id: StepId,
    /// What it does, for people.
    pub text: String,
    /// Why it is there.
    pub reason: String,
    /// How it stands.
    pub state: StepState,
    /// When it began.
    #[serde(default, with = "crate::time::option")]
    pub started: Option<SystemTime>,
    /// When it ended.
    #[serde(default, with = "crate::time::option")]
    pub ended: Option<SystemTime>,
    /// Why it failed: operation, object, cause, what to do.
    pub error: Option<String>,
    /// What it wrote, if it ran a command of the topology that succeeded: the end of it, if that is long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// How far it is, or came, if it pulls an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<PullProgress>,
}

/// An operation as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationView {
    /// Its number.
    pub id: OperationId,
    /// `deploy`, `destroy`, `edit`, `adopt`, `pull`, `transport`.
    pub kind: String,
    /// Its lab; none if it is about an image or the host.
    #[serde(default)]
    pub lab: Option<LabName>,
    /// How it stands.
    pub state: OperationState,
    /// When it was accepted.
    #[serde(with = "crate::time")]
    pub created: SystemTime,
    /// When it ended.
    #[serde(default, with = "crate::time::option")]
    pub ended: Option<SystemTime>,
    /// Its steps in the order of the plan; empty until there is a plan.
    pub steps: Vec<StepRecord>,
    /// What it says at its end, one line.
    pub message: Option<String>,
    /// Everything that went wrong, each with object, cause and what to do.
    pub problems: Vec<String>,
    /// What the host has too little of for it to work well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortages: Vec<Shortage>,
    /// What of the lab is not made, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Omission>,
    /// Since when it does not get on, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Stuck>,
}

/// An operation that can be followed.
#[derive(Debug)]
pub struct Operation {
    id: OperationId,
    kind: &'static str,
    lab: Option<LabName>,
    cancelled: CancellationToken,
    inner: Mutex<OperationView>,
    index: Mutex<BTreeMap<StepId, usize>>,
    pace: Mutex<Pace>,
    state: watch::Sender<OperationState>,
    events: Events,
}

impl Operation {
    /// Its number.
    pub fn id(&self) -> &OperationId {
        &self.id
    }

    /// Its lab, if it is about one.
    pub fn lab(&self) -> Option<&LabName> {
        self.lab.as_ref()
    }

    /// Cancelled when somebody ends it that is about no lab; those of labs are ended by their reconcilers.
    pub(crate) fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// `deploy`, `destroy`, `edit`, `adopt`, `pull`.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// A copy of how it stands.
    pub fn view(&self) -> OperationView {
        self.lock().clone()
    }

    /// Its state, to be watched.
    pub fn state(&self) -> watch::Receiver<OperationState> {
        self.state.subscribe()
    }

    /// How it gets on.
    pub fn pace(&self) -> Pace {
        self.pace_mut().clone()
    }

    /// Notes since when it does not get on, if it does not, and gives what was noted before.
    pub fn set_stuck(&self, stuck: Option<Stuck>) -> Option<Stuck> {
        let mut view = self.lock();
        let stuck = stuck.filter(|_| !view.state.is_final());
        std::mem::replace(&mut view.stuck, stuck)
    }

    fn pace_mut(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, OperationView> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the host has too little of, and what of the lab is not made.
    pub(crate) fn warn(&self, shortages: Vec<Shortage>, left_out: Vec<Omission>) {
        let mut view = self.lock();
        view.shortages = shortages;
        view.left_out = left_out;
    }

    /// Adds the steps of a plan that it has not had yet.
    pub(crate) fn add_steps<'a>(&self, steps: impl Iterator<Item = &'a Step>) {
        self.enlist(steps.map(|step| (step.id.clone(), || (step.action.to_string(), step.reason.clone()))));
    }

    /// Adds steps that are in no plan of a lab, and gives their names. One that it has already is done once more.
    pub(crate) fn add_texts(&self, texts: impl Iterator<Item = String>) -> Vec<StepId> {
        self.enlist(texts.map(|text| {
            let id = StepId::named(format!("{}/{text}", self.kind));
            (id, || (text, "it is not so yet".to_owned()))
        }))
    }

    /// Adds steps by their names, each with its text and its reason if it is new; one that is there already waits once more.
    fn enlist<D: FnOnce() -> (String, String)>(&self, steps: impl Iterator<Item = (StepId, D)>) -> Vec<StepId> {
        self.pace_mut().moved();
        let mut view = self.lock();
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let add = |(id, described): (StepId, D)| {
            if let Some(at) = index.get(&id) {
                view.steps[*at].state = StepState::Waiting;
                return id;
            }
            let (text, reason) = described();
            index.insert(id.clone(), view.steps.len());
            view.steps.push(StepRecord {
                id: id.clone(),
                text,
                reason,
                state: StepState::Waiting,
                started: None,
                ended: None,
                error: None,
                output: None,
                progress: None,
            });
            id
        };
        steps.map(add).collect()
    }

    /// Notes of a step that pulls an image that this is there, and so each of its layers.
    pub(crate) fn end_progress(&self, id: &StepId) {
        let at = self.index.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        let mut view = self.lock();
        let progress = at.and_then(|at| view.steps.get_mut(at)).and_then(|record| record.progress.as_mut());
        progress.into_iter().for_each(PullProgress::finish);
    }

    /// Notes how far a step is that pulls an image.
    pub(crate) fn set_progress(&self, id: &StepId, progress: &PullProgress) {
        let at = self.index.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        if let Some(at) = at {
            self.lock().steps[at].progress = Some(progress.clone());
            self.pace_mut().moved();
        }
    }

    /// Notes what the command wrote that a step ran.
    pub(crate) fn set_output(&self, id: &StepId, output: &str) {
        let at = self.index.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        if let Some(at) = at {
            self.lock().steps[at].output = Some(output.to_owned());
        }
    }

    /// A step begins, which may take so long without a sign of life.
    pub(crate) fn begin_step(&self, step: &Step, patience: Duration) {
        self.set_step(&step.id, StepState::Running, None);
        self.pace_mut().begin(step, patience);
    }

    /// It is the turn of a step that began with waiting for it.
    pub(crate) fn turn_of_step(&self, id: &StepId, patience: Duration) {
        self.pace_mut().turn(id, patience);
    }

    pub(crate) fn set_step(&self, id: &StepId, state: StepState, error: Option<String>) {
        let at = self.index.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
        let Some(at) = at else { return };
        self.pace_mut().end(id);
        let mut view = self.lock();
        let record = &mut view.steps[at];
        record.state = state;
        match state {
            StepState::Running => record.started = Some(SystemTime::now()),
            StepState::Done | StepState::Failed => record.ended = Some(SystemTime::now()),
            StepState::Waiting | StepState::Skipped => {}
        }
        if state == StepState::Running {
            // As long as a next try is under way, what is known is how the last one failed.
            return;
        }
        // What was tried again and worked is no problem any more.
        if let Some(before) = std::mem::replace(&mut record.error, error.clone()) {
            view.problems.retain(|problem| problem != &before);
        }
        if let Some(error) = error {
            view.problems.push(error);
        }
    }

    /// Ends it; a second end is ignored.
    pub(crate) fn end(&self, state: OperationState, message: impl Into<String>, problems: Vec<String>) {
        let message = message.into();
        {
            let mut view = self.lock();
            if view.state.is_final() {
                return;
            }
            view.state = state;
            view.ended = Some(SystemTime::now());
            view.stuck = None;
            view.message = Some(message.clone());
            for problem in problems {
                if !view.problems.contains(&problem) {
                    view.problems.push(problem);
                }
            }
            for step in &mut view.steps {
                if matches!(step.state, StepState::Waiting | StepState::Running) {
                    step.state = StepState::Skipped;
                }
            }
        }
        self.announce(state, Some(message));
        self.state.send_replace(state);
    }

    fn announce(&self, state: OperationState, message: Option<String>) {
        self.events.publish(What::Operation {
            operation: self.id.clone(),
            lab: self.lab.clone(),
            kind: self.kind.to_owned(),
            state,
            message,
        });
    }
}

/// All operations of this agent process.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Mutex<Kept>>,
    events: Events,
}

#[derive(Debug, Default)]
struct Kept {
    started: u64,
    count: u64,
    operations: VecDeque<Arc<Operation>>,
}

impl Journal {
    pub(crate) fn new(events: Events) -> Self {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Self { shared: Arc::new(Mutex::new(Kept { started, ..Kept::default() })), events }
    }

    pub(crate) fn begin(&self, kind: &'static str, lab: Option<&LabName>) -> Arc<Operation> {
        let mut kept = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        let id = OperationId(format!("{:x}-{}", kept.started, kept.count));
        let view = OperationView {
            id: id.clone(),
            kind: kind.to_owned(),
            lab: lab.cloned(),
            state: OperationState::Running,
            created: SystemTime::now(),
            ended: None,
            steps: Vec::new(),
            message: None,
            problems: Vec::new(),
            shortages: Vec::new(),
            left_out: Vec::new(),
            stuck: None,
        };
        let operation = Arc::new(Operation {
            id,
            kind,
            lab: lab.cloned(),
            cancelled: CancellationToken::new(),
            inner: Mutex::new(view),
            index: Mutex::default(),
            pace: Mutex::default(),
            state: watch::Sender::new(OperationState::Running),
            events: self.events.clone(),
        });
        kept.operations.push_back(operation.clone());
        // Running ones are never dropped: a lab has few of them.
        while kept.operations.len() > KEPT {
            let Some(at) = kept.operations.iter().position(|operation| operation.state.borrow().is_final()) else {
                break;
            };
            kept.operations.remove(at);
        }
        drop(kept);
        operation.announce(OperationState::Running, None);
        operation
    }

    /// An operation by its number, while it is kept.
    pub fn get(&self, id: &OperationId) -> Option<Arc<Operation>> {
        let kept = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        kept.operations.iter().find(|operation| &operation.id == id).cloned()
    }

    /// All that are kept, oldest first.
    pub fn all(&self) -> Vec<Arc<Operation>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).operations.iter().cloned().collect()
    }
}
