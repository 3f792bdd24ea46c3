//! What is logged of a controller that does not answer as it should: once, and once when it does again.

use super::call::Failure;

/// What was said last of one kind of calls.
#[derive(Debug)]
pub(super) struct Voice {
    /// What the calls are, for people.
    what: &'static str,
    said: Option<Trouble>,
}

/// Kinds of trouble that are worth a line of their own. Others come and go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Away,
    Forbidden,
}

impl Voice {
    pub(super) fn new(what: &'static str) -> Self {
        Self { what, said: None }
    }

    /// A call failed.
    pub(super) fn failed(&mut self, why: &Failure) {
        let trouble = if matches!(why, Failure::Forbidden(_)) { Trouble::Forbidden } else { Trouble::Away };
        if self.said.replace(trouble) != Some(trouble) {
            tracing::warn!(calls = self.what, %why, "the controller does not answer as it should; it is tried again");
        }
    }

    /// A call was answered.
    pub(super) fn well(&mut self) {
        if self.said.take().is_some() {
            tracing::info!(calls = self.what, "the controller answers again");
        }
    }
}
