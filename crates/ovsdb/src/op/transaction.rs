//! Operations that are done together or not at all.

use std::time::Duration;

use super::{Condition, Mutation, Op, Until};
use crate::value::{NamedUuid, Row};

/// Operations in order, which the server does together or not at all.
///
/// ```
/// use netloom_ovsdb::{Condition, Mutation, Row, Transaction};
///
/// let mut change = Transaction::new();
/// let interface = change.insert("Interface", Row::new().with("name", "p1"));
/// let port = change.insert("Port", Row::new().with("name", "p1").with("interfaces", interface).with("tag", 10));
/// change.mutate("Bridge", [Condition::equals("name", "br0")], [Mutation::insert("ports", port)]);
/// // Open vSwitch counts this up to `cur_cfg` when it has done what is asked for.
/// change.mutate("Open_vSwitch", [], [Mutation::add("next_cfg", 1)]);
/// assert_eq!(change.ops().len(), 4);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transaction {
    ops: Vec<Op>,
}

impl Transaction {
    /// A transaction that does nothing.
    pub const fn new() -> Self {
        Self { ops: Vec::new() }
    }

    /// All operations.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Adds an operation; gives its number, by which its result is found.
    pub fn push(&mut self, op: Op) -> usize {
        self.ops.push(op);
        self.ops.len() - 1
    }

    /// Makes a row; gives the name by which other operations of this transaction, and its outcome, know it. Names are
    /// `row` and a number: do not use such names of your own beside it.
    pub fn insert(&mut self, table: impl Into<String>, row: Row) -> NamedUuid {
        let name = NamedUuid::numbered("row", self.ops.len());
        self.push(Op::Insert { table: table.into(), row, name: Some(name.clone()) });
        name
    }

    /// Reads all columns of rows.
    pub fn select(&mut self, table: impl Into<String>, rows: impl Into<Vec<Condition>>) -> usize {
        self.push(Op::Select { table: table.into(), r#where: rows.into(), columns: None })
    }

    /// Writes columns of rows.
    pub fn update(&mut self, table: impl Into<String>, rows: impl Into<Vec<Condition>>, row: Row) -> usize {
        self.push(Op::Update { table: table.into(), r#where: rows.into(), row })
    }

    /// Changes columns of rows by what is in them.
    pub fn mutate(
        &mut self,
        table: impl Into<String>,
        rows: impl Into<Vec<Condition>>,
        mutations: impl Into<Vec<Mutation>>,
    ) -> usize {
        self.push(Op::Mutate { table: table.into(), r#where: rows.into(), mutations: mutations.into() })
    }

    /// Removes rows.
    pub fn delete(&mut self, table: impl Into<String>, rows: impl Into<Vec<Condition>>) -> usize {
        self.push(Op::Delete { table: table.into(), r#where: rows.into() })
    }

    /// Refuses the transaction ([`super::RefusalKind::TimedOut`]) unless the columns of `row` of all these rows are as in
    /// it now: what was read before has not been changed by another client.
    pub fn expect(&mut self, table: impl Into<String>, rows: impl Into<Vec<Condition>>, row: Row) -> usize {
        let columns = row.iter().map(|(column, _)| column.to_string()).collect();
        self.push(Op::Wait {
            timeout: Some(Duration::ZERO),
            table: table.into(),
            r#where: rows.into(),
            columns,
            until: Until::Equal,
            rows: vec![row],
        })
    }

    /// Refuses the transaction unless this session has the lock.
    pub fn assert(&mut self, lock: impl Into<String>) -> usize {
        self.push(Op::Assert { lock: lock.into() })
    }

    /// Leaves a word in the log of the database.
    pub fn comment(&mut self, comment: impl Into<String>) -> usize {
        self.push(Op::Comment { comment: comment.into() })
    }
}

impl FromIterator<Op> for Transaction {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Self {
        Self { ops: ops.into_iter().collect() }
    }
}

impl From<Op> for Transaction {
    fn from(op: Op) -> Self {
        Self { ops: vec![op] }
    }
}
