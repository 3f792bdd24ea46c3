//! Why the server did not do a transaction.

use std::fmt;

use serde_json::Value;

use super::Op;
use crate::value::beginning;

/// A transaction that the server did not do: nothing of it has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// At what.
    pub place: Place,
    /// Why, as far as a program can act on it.
    pub kind: RefusalKind,
    /// The server's word for it.
    pub error: String,
    /// What else the server says; often empty.
    pub details: String,
}

/// What of a transaction was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An operation.
    Op {
        /// Its number, from 0.
        index: usize,
        /// Its name in the protocol.
        name: &'static str,
        /// The table that it is about; empty where it is about none.
        table: String,
    },
    /// What all operations together come to.
    Commit,
    /// The request itself, before any operation.
    Request,
}

/// Why a transaction was refused, by what one does about it. The words of the server are those of RFC 7047 (sections 3.1,
/// 4.1.3 and 5.2) and of ovsdb-server(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// What is written is not allowed by the schema: a value out of range, a name that is taken, too many rows.
    ConstraintViolation,
    /// A row that is named does not exist, or one that is deleted is still named.
    ReferentialIntegrity,
    /// Two rows of the transaction have one name.
    DuplicateName,
    /// What a `wait` waits for did not come in time: look again, and decide anew.
    TimedOut,
    /// This session does not have the lock that it says it has.
    NotOwner,
    /// By an `abort`.
    Aborted,
    /// It was cancelled while it waited.
    Canceled,
    /// The server cannot do this, here.
    NotSupported,
    /// The server lacks memory or place.
    ResourcesExhausted,
    /// The server could not write.
    Io,
    /// A calculation has no result, such as a division by zero, or none in range.
    Arithmetic,
    /// It is not allowed to this client.
    Permission,
    /// The server does not understand the request, or does not know the database, table or column.
    Syntax,
    /// Another word than those.
    Other,
}

impl RefusalKind {
    fn of(error: &str) -> Self {
        match error {
            "constraint violation" => Self::ConstraintViolation,
            "referential integrity violation" => Self::ReferentialIntegrity,
            "duplicate uuid-name" | "duplicate uuid name" => Self::DuplicateName,
            "timed out" => Self::TimedOut,
            "not owner" => Self::NotOwner,
            "aborted" => Self::Aborted,
            "canceled" => Self::Canceled,
            "not supported" => Self::NotSupported,
            "resources exhausted" => Self::ResourcesExhausted,
            "I/O error" => Self::Io,
            "domain error" | "range error" => Self::Arithmetic,
            "permission error" => Self::Permission,
            "syntax error" | "unknown column" | "unknown table" | "unknown database" | "ovsdb error" => Self::Syntax,
            _ => Self::Other,
        }
    }
}

impl Refusal {
    /// What an error of the server means: an object with `error` and perhaps `details`, or the word itself.
    pub(crate) fn new(place: Place, error: &Value) -> Self {
        let text = |value: Option<&Value>| match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => beginning(&other.to_string()),
        };
        let (word, details) = match error {
            Value::Object(members) => (text(members.get("error")), text(members.get("details"))),
            other => (text(Some(other)), String::new()),
        };
        Self { place, kind: RefusalKind::of(&word), error: word, details }
    }
}

impl Place {
    pub(crate) fn of(index: usize, op: &Op) -> Self {
        Self::Op { index, name: op.name(), table: op.table().unwrap_or_default().to_owned() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Op { index, name, table } if table.is_empty() => write!(formatter, "operation {index} ({name})")?,
            Place::Op { index, name, table } => write!(formatter, "operation {index} ({name} {table})")?,
            Place::Commit => formatter.write_str("what all operations come to")?,
            Place::Request => formatter.write_str("the request")?,
        }
        write!(formatter, ": {}", self.error)?;
        if self.details.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.details) }
    }
}

impl std::error::Error for Refusal {}
