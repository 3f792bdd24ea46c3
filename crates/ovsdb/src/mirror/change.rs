//! What has changed between two snapshots.

use std::sync::Arc;

use crate::value::{Row, Uuid};

/// What one message of the server changed, or what lies between the last snapshot before a session and the first in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Of the snapshot that has them.
    pub version: u64,
    /// By table, then by row.
    pub rows: Vec<RowChange>,
}

/// The change of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// Its table.
    pub table: Arc<str>,
    /// Its name.
    pub uuid: Uuid,
    /// What it was; `None` for one that came.
    pub before: Option<Arc<Row>>,
    /// What it is; `None` for one that went.
    pub after: Option<Arc<Row>>,
}

impl RowChange {
    /// Whether a column is not what it was. All columns of a row that came or went are not.
    pub fn touches(&self, column: &str) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => before.get(column) != after.get(column),
            _ => true,
        }
    }
}
