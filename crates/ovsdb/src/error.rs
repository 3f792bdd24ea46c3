//! What can go wrong, by what a caller does about it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::frame::FrameError;
use crate::mirror::Desync;
use crate::op::Refusal;
use crate::schema::Mismatch;
use crate::value::{InvalidName, Malformed};

/// What a call gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call that did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers at the endpoint. Nothing was done.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// Where the server should be.
        endpoint: Endpoint,
        /// What the system said.
        source: io::Error,
    },
    /// There is no session now. Nothing was done.
    #[error("there is no session with the database server: {why}")]
    NotConnected {
        /// Why not.
        #[source]
        why: Arc<Error>,
    },
    /// The first session is only being made.
    #[error("the first session is being made")]
    Starting,
    /// A session has ended.
    #[error("{0}")]
    Ended(#[from] Arc<Ended>),
    /// As much as is allowed is under way already. Nothing was done; it may be tried again later.
    #[error("{limit} {what} are under way already")]
    Busy {
        /// Of what there is too much: `calls`, `bytes of requests`, `locks`.
        what: &'static str,
        /// How much is allowed.
        limit: usize,
    },
    /// The request is longer than the limit for all requests under way, and can never be sent.
    #[error("the request has {length} bytes, more than {limit}")]
    TooLarge {
        /// Its length in bytes.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The deadline came first. Of a transaction nothing was done.
    #[error("the deadline came first")]
    Deadline,
    /// The server did not tell what is to be mirrored in the time that a session may take to begin.
    #[error("the database server has not filled the mirror within {0:?}")]
    Unfilled(Duration),
    /// The transaction was sent, and no answer came. Whether it was done is unknown.
    #[error("whether it was done is unknown: {0}")]
    OutcomeUnknown(Unanswered),
    /// The server did not do the transaction, nothing of it.
    #[error("the database server refuses {0}")]
    Refused(#[source] Refusal),
    /// The server refused another request than a transaction.
    #[error("the database server refuses `{method}`: {error}")]
    Rpc {
        /// The method that was called.
        method: &'static str,
        /// The server's words.
        error: String,
    },
    /// What came is not understood.
    #[error("the database server's answer is not understood: {0}")]
    Protocol(String),
    /// The server's database does not have what is to be mirrored.
    #[error("{0}")]
    Schema(#[from] Mismatch),
    /// An update does not fit to what the mirror has; everything is asked for anew.
    #[error("the mirror lost step: {0}")]
    Desync(#[from] Desync),
    /// No lock can have this name.
    #[error("`{name}` is no name of a lock: {source}")]
    LockName {
        /// The name.
        name: String,
        /// What a name is.
        source: InvalidName,
    },
    /// This client has the lock, or waits for it, already.
    #[error("the lock `{0}` is taken by this client")]
    LockInUse(String),
    /// The client is gone.
    #[error("the client was dropped")]
    Dropped,
}

/// Why there is no answer to a request that was sent.
#[derive(Debug, Clone)]
pub enum Unanswered {
    /// The deadline came first.
    Deadline,
    /// The session ended.
    Ended(Arc<Ended>),
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deadline => formatter.write_str("no answer came in time"),
            Self::Ended(why) => why.fmt(formatter),
        }
    }
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The server closed the connection, between two messages.
    #[error("the database server closed the connection")]
    Closed,
    /// The connection ended in the middle of a message.
    #[error("the connection ended {0} bytes into a message")]
    Cut(usize),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// Nothing came for this long, not even an answer to a probe.
    #[error("the database server was silent for {0:?}")]
    Silent(Duration),
    /// What came is no stream of messages.
    #[error("what the database server says is not understood: {0}")]
    Frame(#[from] FrameError),
    /// A message is none of JSON-RPC 1.0.
    #[error("what the database server says is not understood: {0}")]
    Message(String),
    /// The server asks and asks, and does not take the answers.
    #[error("the database server does not take the answers to its requests")]
    Deaf,
    /// Whoever used it let it go.
    #[error("the session was given up")]
    Dropped,
}

impl Error {
    /// Whether it may have been done all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown(_))
    }

    /// Whether the server refused a transaction, and why.
    pub fn refusal(&self) -> Option<&Refusal> {
        if let Self::Refused(refusal) = self { Some(refusal) } else { None }
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Self {
        Self::Protocol(malformed.to_string())
    }
}
