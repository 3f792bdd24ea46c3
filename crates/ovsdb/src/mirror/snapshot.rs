//! What the mirror has at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::replica::Rows;
use crate::value::{Row, Uuid};

/// All that is mirrored, as it was after one message of the server. It never changes, and is cheap to clone.
#[derive(Debug, Clone)]
pub struct Snapshot(Arc<Content>);

#[derive(Debug)]
struct Content {
    version: u64,
    tables: BTreeMap<Arc<str>, Rows>,
}

impl Snapshot {
    pub(super) fn new(version: u64, tables: BTreeMap<Arc<str>, Rows>) -> Self {
        Self(Arc::new(Content { version, tables }))
    }

    /// Counts the messages that changed something, from 1; 0 before the first session: nothing is known yet.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// The rows of a table by name; `None` for one that is not mirrored, or before the first session.
    pub fn table(&self, table: &str) -> Option<&Rows> {
        self.0.tables.get(table)
    }

    /// The rows of a table; none for one that is not mirrored.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = (Uuid, &Arc<Row>)> {
        self.table(table).into_iter().flatten().map(|(uuid, row)| (*uuid, row))
    }

    /// A row.
    pub fn row(&self, table: &str, uuid: Uuid) -> Option<&Arc<Row>> {
        self.table(table)?.get(&uuid)
    }

    /// How many rows there are, of all tables.
    pub fn count(&self) -> usize {
        self.0.tables.values().map(Rows::len).sum()
    }

    /// The first row with this text in this column, such as a name. It looks at all rows before it.
    pub fn find(&self, table: &str, column: &str, text: &str) -> Option<(Uuid, &Arc<Row>)> {
        self.rows(table).find(|(_, row)| row.string(column) == Some(text))
    }
}
