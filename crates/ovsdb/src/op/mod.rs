//! What a transaction is made of (RFC 7047, section 5.2).

mod condition;
mod outcome;
mod refusal;
#[cfg(test)]
mod tests;
mod transaction;

use std::time::Duration;

use serde::Serialize;
use serde::ser::Serializer;

pub use condition::{Condition, Mutation};
pub use outcome::{OpResult, Outcome};
pub use refusal::{Place, Refusal, RefusalKind};
pub use transaction::Transaction;

use crate::value::{NamedUuid, Row};

/// One operation of a transaction. Its results, and what refuses it, carry the name of the operation in the protocol.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Op {
    /// Makes a row. A row of most tables goes with the transaction unless another row names it.
    Insert {
        /// Into this table.
        table: String,
        /// Columns that are not in it have their default.
        row: Row,
        /// What the other operations of this transaction call it.
        #[serde(rename = "uuid-name", skip_serializing_if = "Option::is_none", serialize_with = "plain")]
        name: Option<NamedUuid>,
    },
    /// Reads rows.
    Select {
        /// Of this table.
        table: String,
        /// Those for which all of this holds.
        r#where: Vec<Condition>,
        /// These columns of them; all where it is `None`.
        #[serde(skip_serializing_if = "Option::is_none")]
        columns: Option<Vec<String>>,
    },
    /// Writes columns of rows.
    Update {
        /// Of this table.
        table: String,
        /// Those for which all of this holds.
        r#where: Vec<Condition>,
        /// What is written.
        row: Row,
    },
    /// Changes columns of rows by what is in them.
    Mutate {
        /// Of this table.
        table: String,
        /// Those for which all of this holds.
        r#where: Vec<Condition>,
        /// One after the other.
        mutations: Vec<Mutation>,
    },
    /// Removes rows.
    Delete {
        /// Of this table.
        table: String,
        /// Those for which all of this holds.
        r#where: Vec<Condition>,
    },
    /// Waits until rows are, or are not, these. Until then the whole transaction has not begun.
    Wait {
        /// For so long at most, after which the transaction is refused; the server counts milliseconds. It waits for
        /// ever where it is `None`.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "milliseconds")]
        timeout: Option<Duration>,
        /// Of this table.
        table: String,
        /// Those for which all of this holds.
        r#where: Vec<Condition>,
        /// These columns of them.
        columns: Vec<String>,
        /// Whether they have to be these.
        until: Until,
        /// The rows, each with those columns.
        rows: Vec<Row>,
    },
    /// Has the transaction on the server's disk before it is answered.
    Commit {
        /// Whether it has to be.
        durable: bool,
    },
    /// Refuses the transaction, for tests of it.
    Abort,
    /// Leaves a word in the log of the database.
    Comment {
        /// The word.
        comment: String,
    },
    /// Refuses the transaction unless this session has a lock.
    Assert {
        /// The name of the lock.
        lock: String,
    },
}

/// What a [`Op::Wait`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Until {
    /// That the rows are these.
    #[serde(rename = "==")]
    Equal,
    /// That the rows are not these.
    #[serde(rename = "!=")]
    Different,
}

impl Op {
    /// Its name in the protocol.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Insert { .. } => "insert",
            Self::Select { .. } => "select",
            Self::Update { .. } => "update",
            Self::Mutate { .. } => "mutate",
            Self::Delete { .. } => "delete",
            Self::Wait { .. } => "wait",
            Self::Commit { .. } => "commit",
            Self::Abort => "abort",
            Self::Comment { .. } => "comment",
            Self::Assert { .. } => "assert",
        }
    }

    /// The table that it is about.
    pub fn table(&self) -> Option<&str> {
        match self {
            Self::Insert { table, .. }
            | Self::Select { table, .. }
            | Self::Update { table, .. }
            | Self::Mutate { table, .. }
            | Self::Delete { table, .. }
            | Self::Wait { table, .. } => Some(table),
            Self::Commit { .. } | Self::Abort | Self::Comment { .. } | Self::Assert { .. } => None,
        }
    }
}

#[expect(clippy::ref_option, reason = "serde's derive passes it so")]
fn plain<S: Serializer>(name: &Option<NamedUuid>, serializer: S) -> Result<S::Ok, S::Error> {
    name.as_ref().map(NamedUuid::as_str).serialize(serializer)
}

#[expect(clippy::ref_option, reason = "serde's derive passes it so")]
fn milliseconds<S: Serializer>(timeout: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}
