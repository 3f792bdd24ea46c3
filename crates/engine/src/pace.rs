//! Whether an operation gets on: what it has in hand, how often it has moved, and how long it may stay where it is.
//!
//! Nothing here knows the time: whoever judges counts it, and counts only what the agent had.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use netloom_plan::{Owner, Step, StepId};
use serde::{Deserialize, Serialize};

/// How long a step may take that does one thing: half of what ends it.
pub(crate) const QUICK: Duration = Duration::from_secs(30);
/// How long a pull may make no progress.
pub(crate) const PULLING: Duration = Duration::from_secs(60);
/// How long nothing may be in hand: what failed is tried again after at most a minute.
const BETWEEN: Duration = Duration::from_secs(90);

/// How an operation gets on.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// Another number than before means that it has moved.
    pub moves: u64,
    /// The steps in hand.
    pub in_hand: BTreeMap<StepId, InHand>,
}

/// A step in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InHand {
    /// What it does.
    pub text: String,
    /// Who carries it out.
    pub owner: Owner,
    /// How long it may neither end nor report progress.
    pub patience: Duration,
}

impl Pace {
    /// How long the operation may stay where it is: as long as the most patient of its steps.
    pub fn patience(&self) -> Duration {
        self.in_hand.values().map(|step| step.patience).max().unwrap_or(BETWEEN)
    }

    pub(crate) fn moved(&mut self) {
        self.moves += 1;
    }

    pub(crate) fn begin(&mut self, step: &Step, patience: Duration) {
        self.moved();
        let in_hand = InHand { text: step.action.to_string(), owner: step.owner, patience };
        self.in_hand.insert(step.id.clone(), in_hand);
    }

    /// A step in hand has had its turn come: from now on it may take this long.
    pub(crate) fn turn(&mut self, step: &StepId, patience: Duration) {
        self.moved();
        if let Some(step) = self.in_hand.get_mut(step) {
            step.patience = patience;
        }
    }

    pub(crate) fn end(&mut self, step: &StepId) {
        self.moved();
        self.in_hand.remove(step);
    }
}

/// An operation of which nothing has begun, ended or made progress for too long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stuck {
    /// Since when.
    #[serde(with = "crate::time")]
    pub since: SystemTime,
    /// For how long, in seconds; time in which the agent itself was stopped or starved does not count.
    pub seconds: f64,
    /// What it has in hand, each with who carries it out.
    pub steps: Vec<StuckStep>,
    /// What it waits for, as far as that is known.
    pub waits_for: String,
}

/// A step that does not get on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckStep {
    /// What it does.
    pub text: String,
    /// Who carries it out: `docker`, `kernel`, `host`, …
    pub owner: String,
}

#[cfg(test)]
mod tests {
    use netloom_plan::Action;

    use super::*;

    fn step(image: &str) -> Step {
        let action = Action::PullImage { image: image.into(), runtime: netloom_model::RuntimeKind::Docker };
        Step { id: action.id(), owner: action.owner(), reason: String::new(), after: Vec::new(), action }
    }

    #[test]
    fn it_may_stay_as_long_as_the_most_patient_step_in_hand() {
        let mut pace = Pace::default();
        assert_eq!((pace.moves, pace.patience()), (0, BETWEEN));
        pace.begin(&step("a"), QUICK);
        pace.begin(&step("b"), PULLING);
        assert_eq!((pace.moves, pace.patience()), (2, PULLING));
        pace.end(&step("b").id);
        assert_eq!((pace.moves, pace.patience()), (3, QUICK));
    }
}
