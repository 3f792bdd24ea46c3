//! Counting calls: each one is told of once, however it ends.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind};

/// Is told of every call that has ended.
///
/// It is called on the caller's task, also when a future is dropped, and must not block.
pub trait Observer: Send + Sync + Debug {
    /// A call has ended. `operation` is one of a few dozen texts; `took` counts from the first poll, waiting included.
    fn called(&self, operation: &'static str, status: Status, took: Duration);
}

impl Observer for () {
    fn called(&self, _: &'static str, _: Status, _: Duration) {}
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// As it was meant to; for streams: it has begun.
    Ok,
    /// The daemon answered with this HTTP status, 4xx or 5xx.
    Refused(u16),
    /// No whole answer until the deadline.
    Deadline,
    /// Nobody answers on the socket.
    Unreachable,
    /// The connection broke in the middle.
    Cut,
    /// The answer was not understood.
    Protocol,
    /// The caller dropped the future.
    Abandoned,
}

impl Status {
    /// A label for metrics, one of seven.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused(_) => "refused",
            Self::Deadline => "deadline",
            Self::Unreachable => "unreachable",
            Self::Cut => "cut",
            Self::Protocol => "protocol",
            Self::Abandoned => "abandoned",
        }
    }

    fn of<T>(outcome: &Result<T, Error>) -> Self {
        match outcome.as_ref().map_err(|error| &error.kind) {
            Ok(_) => Self::Ok,
            Err(ErrorKind::Unreachable(_)) => Self::Unreachable,
            Err(ErrorKind::Deadline) => Self::Deadline,
            Err(ErrorKind::Cut(_)) => Self::Cut,
            Err(ErrorKind::NotFound(_)) => Self::Refused(404),
            Err(ErrorKind::Conflict(_) | ErrorKind::RemovalInProgress(_)) => Self::Refused(409),
            Err(ErrorKind::Refused { status, .. } | ErrorKind::Daemon { status, .. }) => Self::Refused(*status),
            Err(ErrorKind::Protocol(_)) => Self::Protocol,
        }
    }
}

/// A call under way; one that is dropped before its end was abandoned.
#[derive(Debug)]
pub(crate) struct Watch {
    observer: Option<Arc<dyn Observer>>,
    operation: &'static str,
    began: Instant,
}

impl Watch {
    pub(crate) fn begin(observer: Arc<dyn Observer>, operation: &'static str) -> Self {
        Self { observer: Some(observer), operation, began: Instant::now() }
    }

    pub(crate) fn end<T>(mut self, outcome: &Result<T, Error>) {
        self.tell(Status::of(outcome));
    }

    fn tell(&mut self, status: Status) {
        if let Some(observer) = self.observer.take() {
            observer.called(self.operation, status, self.began.elapsed());
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tell(Status::Abandoned);
    }
}
