//! Errors of the runtime on their way out.

use std::fmt;
use std::io;

use netloom_engine::{DriverError, ErrorClass};
use netloom_kernel::{CgroupError, SpawnError};
use rustix::io::Errno;

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

    /// An error of the system: what is short now may not be later, everything else stays wrong.
    pub(super) fn io(cause: String, error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        // EMFILE and ENFILE have no kind.
        let is_short = matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded | Kind::OutOfMemory)
            || [Errno::MFILE, Errno::NFILE, Errno::AGAIN]
                .iter()
                .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()));
        if is_short { Self::transient(cause) } else { Self::permanent(cause) }
    }

    /// The same, but worth another try.
    pub(super) fn again(self) -> Self {
        Self { class: ErrorClass::Transient, ..self }
    }

    /// Says more.
    pub(super) fn and(self, more: &str) -> Self {
        Self { cause: self.cause + more, ..self }
    }

    /// With what it went wrong with.
    pub(super) fn of(self, operation: &str, object: &str) -> DriverError {
        fault(operation, object, self.cause, self.class)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

impl From<String> for Fault {
    fn from(cause: String) -> Self {
        Self::permanent(cause)
    }
}

impl From<&str> for Fault {
    fn from(cause: &str) -> Self {
        Self::permanent(cause.to_owned())
    }
}

impl From<CgroupError> for Fault {
    fn from(error: CgroupError) -> Self {
        match &error {
            CgroupError::Failed { source, .. } => Self::io(error.to_string(), source),
            CgroupError::Unsupported { .. } => Self::permanent(error.to_string()),
        }
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
