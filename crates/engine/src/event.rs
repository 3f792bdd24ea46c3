//! Events: what changed, for people and programs that follow along. The last ones are kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use netloom_model::{LabName, NodeName};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::image::PullProgress;
use crate::operation::{OperationId, OperationState, StepState};

/// How many events are kept and how far a follower may fall behind.
const KEPT: usize = 4096;

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up from 1 with each event of this agent process.
    pub seq: u64,
    /// When it happened.
    #[serde(with = "crate::time")]
    pub time: SystemTime,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum What {
    /// An operation was accepted or changed its state.
    Operation {
        /// Which one.
        operation: OperationId,
        /// Its lab; none if it is about an image.
        lab: Option<LabName>,
        /// `deploy`, `destroy`, …
        kind: String,
        /// Its state.
        state: OperationState,
        /// What it says at its end.
        message: Option<String>,
    },
    /// A step of an operation changed its state.
    Step {
        /// The operation, if one waits for it; a repair belongs to none.
        operation: Option<OperationId>,
        /// The lab; none if it is about an image.
        lab: Option<LabName>,
        /// The step, as in the plan.
        step: String,
        /// What it does, for people.
        text: String,
        /// Its state.
        state: StepState,
        /// Why it failed.
        error: Option<String>,
        /// What the command wrote that it ran.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
        /// How far it is, while an image is pulled; at most once a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<PullProgress>,
    },
    /// A node changed its state.
    Node {
        /// The lab.
        lab: LabName,
        /// The node.
        node: NodeName,
        /// The state, for people: `running`, `exited(1)`.
        state: String,
    },
    /// A capability of the agent works less well, or well again.
    Capability {
        /// `docker`, `namespace`, `kernel`, `store`, …
        name: String,
        /// `ok`, `degraded` or `down`.
        status: String,
        /// Why it is not ok.
        reason: Option<String>,
    },
    /// Something that a person should know.
    Notice {
        /// The lab that it is about, if it is about one.
        lab: Option<LabName>,
        /// What.
        text: String,
    },
}

/// Where events go and come from.
#[derive(Debug, Clone)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<(u64, VecDeque<Arc<Event>>)>,
    live: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        let (live, _) = broadcast::channel(KEPT);
        Self { shared: Arc::new(Shared { kept: Mutex::new((0, VecDeque::new())), live }) }
    }
}

impl Events {
    /// Publishes an event; never waits.
    pub fn publish(&self, what: What) {
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += 1;
        let event = Arc::new(Event { seq: kept.0, time: SystemTime::now(), what });
        if kept.1.len() == KEPT {
            kept.1.pop_front();
        }
        kept.1.push_back(event.clone());
        // Sent under the lock, so that followers see events in the order of their numbers.
        let _ = self.shared.live.send(event);
    }

    /// The events kept with a number above `after`, and all that follow. A follower that falls more than 4,096
    /// events behind is told so by the receiver.
    pub fn follow(&self, after: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let past = kept.1.iter().filter(|event| event.seq > after).cloned().collect();
        (past, self.shared.live.subscribe())
    }

    /// The number of the newest event.
    pub fn newest(&self) -> u64 {
        self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}
