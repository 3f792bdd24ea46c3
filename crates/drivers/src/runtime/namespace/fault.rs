//! Errors of the runtime on their way out.

use netloom_engine::{DriverError, ErrorClass};
use netloom_kernel::SpawnError;

const BACKEND: &str = "namespace";

/// What went wrong, before it is known with what.
#[derive(Debug)]
pub(super) struct Fault {
    cause: String,
    class: ErrorClass,
}

impl Fault {
    pub(super) fn permanent(cause: String) -> Self {
        Self { cause, class: ErrorClass::Permanent }
    }

    pub(super) fn transient(cause: String) -> Self {
        Self { cause, class: ErrorClass::Transient }
    }

    /// With what it went wrong with.
    pub(super) fn of(self, operation: &str, object: &str) -> DriverError {
        fault(operation, object, self.cause, self.class)
    }
}

impl From<ErrorClass> for Fault {
    fn from(class: ErrorClass) -> Self {
        let cause = match class {
            ErrorClass::Permanent => "the runtime has ended",
            ErrorClass::Transient => "it failed inside; the agent's log says more",
            ErrorClass::Busy => "too much is waiting already",
            ErrorClass::Deadline => "it was not done in time",
            ErrorClass::Cancelled => "it was cancelled",
        };
        Self { cause: cause.into(), class }
    }
}

impl From<SpawnError> for Fault {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::Busy => ErrorClass::Busy.into(),
            SpawnError::Closed => ErrorClass::Permanent.into(),
            SpawnError::Deadline => ErrorClass::Deadline.into(),
            failed @ SpawnError::Failed { .. } => Self::transient(failed.to_string()),
        }
    }
}

/// An error of this driver without a hint.
pub(super) fn fault(operation: &str, object: &str, cause: String, class: ErrorClass) -> DriverError {
    let (operation, object, backend) = (operation.to_owned(), object.to_owned(), BACKEND.to_owned());
    DriverError { operation, object, backend, cause, hint: None, class }
}
