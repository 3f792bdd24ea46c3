//! Errors of runtimes on their way out.

use std::fmt;
use std::io;

use netloom_engine::{DriverError, ErrorClass};
use netloom_kernel::{CgroupError, SpawnError};
use rustix::io::Errno;

/// The name of a runtime in its errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backend(pub(super) &'static str);

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
        if is_short(error) { Self::transient(cause) } else { Self::permanent(cause) }
    }

    /// What the init says why it could not set up its node: `<errno>: <cause>`.
    pub(super) fn of_init(words: &str) -> Self {
        let numbered = words.split_once(": ").and_then(|(errno, cause)| Some((errno.parse().ok()?, cause)));
        match numbered {
            Some((errno, cause)) => Self::io(cause.to_owned(), &io::Error::from_raw_os_error(errno)),
            None => Self::permanent(words.to_owned()),
        }
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
    pub(super) fn of(self, backend: Backend, operation: &str, object: &str) -> DriverError {
        backend.fault(operation, object, self.cause, self.class)
    }
}

/// "no such file or directory" without Rust's "(os error 2)".
pub(super) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Whether an error says that something is used up, and nothing about what was asked for.
pub(super) fn is_short(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    // EMFILE and ENFILE have no kind.
    matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded | Kind::OutOfMemory)
        || [Errno::MFILE, Errno::NFILE, Errno::AGAIN]
            .iter()
            .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
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

impl Backend {
    /// An error of the runtime without a hint.
    pub(super) fn fault(self, operation: &str, object: &str, cause: String, class: ErrorClass) -> DriverError {
        let (operation, object, backend) = (operation.to_owned(), object.to_owned(), self.0.to_owned());
        DriverError { operation, object, backend, cause, hint: None, class }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_init_is_short_of_may_be_there_later() {
        for errno in [Errno::NOSPC, Errno::DQUOT, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::AGAIN] {
            let fault = Fault::of_init(&format!("{}: making /x: y", errno.raw_os_error()));
            assert_eq!((fault.cause.as_str(), fault.class), ("making /x: y", ErrorClass::Transient));
        }
        for words in ["2: bind source no space left", "0: user `who` does not exist in the node", "what: is this"] {
            assert_eq!(Fault::of_init(words).class, ErrorClass::Permanent, "{words}");
        }
    }
}
