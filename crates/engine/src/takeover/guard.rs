//! The labs that are being taken over: nothing else is asked of them meanwhile.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use netloom_model::LabName;

use crate::bulkhead::Busy;
use crate::refusal::Refusal;

/// Those labs.
#[derive(Debug, Default)]
pub(crate) struct Takeovers(Mutex<BTreeSet<LabName>>);

/// One of them, until this is dropped.
#[derive(Debug)]
pub(super) struct Taking<'a> {
    of: &'a Takeovers,
    lab: LabName,
}

impl Takeovers {
    fn labs(&self) -> MutexGuard<'_, BTreeSet<LabName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something may be asked of a lab.
    pub(crate) fn check(&self, lab: &LabName) -> Result<(), Refusal> {
        if self.labs().contains(lab) { Err(Busy { name: "takeover", limit: 1 }.into()) } else { Ok(()) }
    }

    /// Begins; refused while somebody else is at it.
    pub(super) fn begin(&self, lab: &LabName) -> Result<Taking<'_>, Refusal> {
        let is_first = self.labs().insert(lab.clone());
        if is_first {
            Ok(Taking { of: self, lab: lab.clone() })
        } else {
            Err(Busy { name: "takeover", limit: 1 }.into())
        }
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.of.labs().remove(&self.lab);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_asked_of_a_lab_while_it_is_taken_over() {
        let takeovers = Takeovers::default();
        let (lab, other) = ("lab".parse().unwrap(), "other".parse().unwrap());
        let taking = takeovers.begin(&lab).unwrap();
        assert!(takeovers.check(&lab).is_err() && takeovers.begin(&lab).is_err() && takeovers.check(&other).is_ok());
        drop(taking);
        assert!(takeovers.check(&lab).is_ok());
    }
}
