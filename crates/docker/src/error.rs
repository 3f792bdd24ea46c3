//! What can go wrong, by what a caller does about it.

use std::io;

/// What a call gives.
pub type Result<T> = std::result::Result<T, Error>;

/// A call that did not do what it was to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}{}: {kind}", of(.object))]
pub struct Error {
    /// What was to be done, for example `start container`.
    pub operation: &'static str,
    /// To what: an id, a name, a reference of an image; empty where it is the daemon itself.
    pub object: String,
    /// What went wrong.
    #[source]
    pub kind: ErrorKind,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ErrorKind {
    /// Nobody answers on the socket: it is not there, refuses, is closed to this user, or hangs up before it was asked.
    /// Nothing was done.
    #[error("the Docker daemon cannot be reached: {0}")]
    Unreachable(#[source] io::Error),
    /// No whole answer until the deadline. The daemon may still do it.
    #[error("the Docker daemon has not answered in time; it may still do it")]
    Deadline,
    /// The connection broke in the middle. Whether it was done is unknown.
    #[error("the connection to the Docker daemon broke ({0}); whether it was done is unknown")]
    Cut(String),
    /// There is no such object.
    #[error("{0}")]
    NotFound(String),
    /// The object is in a state, or has a name, that does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The container is being removed already: it goes away by itself.
    #[error("{0}")]
    RemovalInProgress(String),
    /// The daemon finds the request wrong.
    #[error("{message}")]
    Refused {
        /// The HTTP status, 4xx.
        status: u16,
        /// The daemon's own words.
        message: String,
    },
    /// The daemon failed at it. What was half done may be left.
    #[error("{message}")]
    Daemon {
        /// The HTTP status, 5xx; 200 where the failure came after the beginning of the answer.
        status: u16,
        /// The daemon's own words.
        message: String,
    },
    /// What answers does not speak the Docker Engine API, or not a version of it that is understood.
    #[error("the answer is not understood: {0}")]
    Protocol(String),
}

impl Error {
    /// Whether there is no such object; a removal is content with that.
    pub fn is_not_found(&self) -> bool {
        matches!(self.kind, ErrorKind::NotFound(_))
    }

    /// Whether it may have been done all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self.kind, ErrorKind::Deadline | ErrorKind::Cut(_))
    }
}

impl ErrorKind {
    /// What an answer that is not one of success means.
    pub(crate) fn from_status(status: u16, message: String) -> Self {
        match status {
            404 => Self::NotFound(message),
            409 if is_removal(&message) => Self::RemovalInProgress(message),
            409 => Self::Conflict(message),
            400..=499 => Self::Refused { status, message },
            500..=599 => Self::Daemon { status, message },
            _ => Self::Protocol(format!("HTTP status {status}: {message}")),
        }
    }
}

/// `removal of container … is already in progress`, or `container is marked for removal and cannot be started`.
fn is_removal(message: &str) -> bool {
    message.contains("is already in progress") || message.contains("marked for removal")
}

fn of(object: &str) -> String {
    if object.is_empty() { String::new() } else { format!(" `{object}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_to_be_done_to_what_and_why_not() {
        let kind = ErrorKind::from_status(404, "No such container: r1".into());
        let error = Error { operation: "start container", object: "r1".into(), kind };
        assert_eq!(error.to_string(), "cannot start container `r1`: No such container: r1");
        assert!(error.is_not_found());
        let error = Error { operation: "list containers", object: String::new(), kind: ErrorKind::Deadline };
        assert!(error.to_string().starts_with("cannot list containers: the Docker daemon has not answered"));
    }

    #[test]
    fn a_removal_under_way_is_no_other_conflict() {
        let removal = "removal of container c1 is already in progress";
        assert!(matches!(ErrorKind::from_status(409, removal.into()), ErrorKind::RemovalInProgress(_)));
        let taken = r#"Conflict. The container name "/r1" is already in use"#;
        assert!(matches!(ErrorKind::from_status(409, taken.into()), ErrorKind::Conflict(_)));
        let running =
            "You cannot remove a running container c1. Stop the container before attempting removal or force remove";
        assert!(matches!(ErrorKind::from_status(409, running.into()), ErrorKind::Conflict(_)));
    }
}
