//! Rows that follow what the server says. Pure: no session, no clock, no task.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::change::RowChange;
use super::update::{RowUpdate, Updates};
use crate::schema::ColumnType;
use crate::value::{Datum, Row, Uuid};

/// The rows of a table by name. Cheap to clone: what is the same is shared.
pub type Rows = imbl::OrdMap<Uuid, Arc<Row>>;

/// Some columns of some tables as they are after each message of the server. Every row has all of these columns.
#[derive(Debug, Clone)]
pub struct Replica {
    types: BTreeMap<String, TableType>,
    tables: BTreeMap<Arc<str>, Rows>,
}

#[derive(Debug, Clone)]
struct TableType {
    name: Arc<str>,
    columns: BTreeMap<Arc<str>, ColumnType>,
}

/// An update that does not fit to the rows: the replica is not what the server takes it for. It has to be
/// [reset](Replica::reset).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desync {
    table: String,
    uuid: Option<Uuid>,
    what: &'static str,
}

impl fmt::Display for Desync {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.table)?;
        if let Some(uuid) = self.uuid {
            write!(formatter, " {uuid}")?;
        }
        write!(formatter, ": {}", self.what)
    }
}

impl std::error::Error for Desync {}

impl Replica {
    /// An empty one of these columns, by table.
    pub fn new(types: BTreeMap<String, BTreeMap<String, ColumnType>>) -> Self {
        let types: BTreeMap<String, TableType> = types
            .into_iter()
            .map(|(table, columns)| {
                let columns = columns.into_iter().map(|(column, kind)| (column.into(), kind)).collect();
                let kind = TableType { name: table.as_str().into(), columns };
                (table, kind)
            })
            .collect();
        let tables = types.values().map(|kind| (kind.name.clone(), Rows::new())).collect();
        Self { types, tables }
    }

    /// The rows of all tables.
    pub fn tables(&self) -> &BTreeMap<Arc<str>, Rows> {
        &self.tables
    }

    /// Applies one message, whole or not at all; gives what has changed.
    pub fn apply(&mut self, updates: Updates) -> Result<Vec<RowChange>, Desync> {
        let mut tables = self.tables.clone();
        let mut changes = Vec::new();
        for (table, updates) in updates.0 {
            let (kind, rows) = self.table(&table, &mut tables)?;
            for (uuid, update) in updates {
                let lost = |what| Desync { table: table.clone(), uuid: Some(uuid), what };
                let before = rows.get(&uuid).cloned();
                let after = match (update, &before) {
                    (RowUpdate::Whole(row), None) => Some(Arc::new(kind.whole(row).map_err(lost)?)),
                    (RowUpdate::Whole(_), Some(_)) => return Err(lost("a row comes that is there")),
                    (RowUpdate::Modified(row), Some(before)) => {
                        Some(Arc::new(kind.modified(before, row).map_err(lost)?))
                    }
                    (RowUpdate::Deleted, Some(_)) => None,
                    (RowUpdate::Modified(_), None) => return Err(lost("a row changes that is not there")),
                    (RowUpdate::Deleted, None) => return Err(lost("a row goes that is not there")),
                };
                if before == after {
                    continue;
                }
                match &after {
                    Some(row) => drop(rows.insert(uuid, row.clone())),
                    None => drop(rows.remove(&uuid)),
                }
                changes.push(RowChange { table: kind.name.clone(), uuid, before, after });
            }
        }
        self.tables = tables;
        Ok(changes)
    }

    /// Takes these rows for all that there are; gives what that changes. A row that is the same stays the same in memory.
    pub fn reset(&mut self, initial: Updates) -> Result<Vec<RowChange>, Desync> {
        let mut fresh = Self { types: self.types.clone(), tables: self.tables.clone() };
        for rows in fresh.tables.values_mut() {
            rows.clear();
        }
        fresh.apply(initial)?;
        Ok(self.become_like(fresh))
    }

    /// As [`Self::reset`], where the columns may have other types than before.
    pub(crate) fn become_like(&mut self, fresh: Self) -> Vec<RowChange> {
        let mut changes = Vec::new();
        let none = Rows::new();
        let gone = self.tables.iter().filter(|(table, _)| !fresh.tables.contains_key(*table));
        let gone: Vec<_> = gone.map(|(table, rows)| (table.clone(), rows.clone())).collect();
        let mut tables = BTreeMap::new();
        for (table, new) in fresh.tables {
            let old = self.tables.get(&table).unwrap_or(&none);
            tables.insert(table.clone(), merged(&table, old, &new, &mut changes));
        }
        for (table, old) in gone {
            merged(&table, &old, &none, &mut changes);
        }
        (self.types, self.tables) = (fresh.types, tables);
        changes
    }

    fn table<'t>(
        &self,
        table: &str,
        tables: &'t mut BTreeMap<Arc<str>, Rows>,
    ) -> Result<(&TableType, &'t mut Rows), Desync> {
        let kind = self.types.get(table);
        kind.zip(tables.get_mut(table)).ok_or_else(|| Desync {
            table: table.to_owned(),
            uuid: None,
            what: "the table was not asked for",
        })
    }
}

/// The new rows; those that are as the old ones are the old ones.
fn merged(table: &Arc<str>, old: &Rows, new: &Rows, changes: &mut Vec<RowChange>) -> Rows {
    let mut rows = old.clone();
    let mut names: Vec<Uuid> = old.keys().chain(new.keys()).copied().collect();
    names.sort_unstable();
    names.dedup();
    for uuid in names {
        let (before, after) = (old.get(&uuid).cloned(), new.get(&uuid).cloned());
        if before == after {
            continue;
        }
        match &after {
            Some(row) => drop(rows.insert(uuid, row.clone())),
            None => drop(rows.remove(&uuid)),
        }
        changes.push(RowChange { table: table.clone(), uuid, before, after });
    }
    rows
}

impl TableType {
    /// A row with the defaults that were left out.
    fn whole(&self, row: Row) -> Result<Row, &'static str> {
        let mut whole: Row = self.columns.iter().map(|(column, kind)| (column.clone(), kind.default_value())).collect();
        self.each(row, |column, _, value| drop(whole.insert(column, value)))?;
        Ok(whole)
    }

    /// The row after a change.
    fn modified(&self, before: &Row, changes: Row) -> Result<Row, &'static str> {
        let mut row = before.clone();
        self.each(changes, |column, kind, value| {
            let value = match (row.get(&column), value) {
                (Some(Datum::Set(old)), Datum::Set(new)) if kind.is_told_by_difference() => {
                    old.symmetric_difference(&new).into()
                }
                (Some(Datum::Map(old)), Datum::Map(new)) if kind.is_told_by_difference() => old.patched(&new).into(),
                (_, value) => value,
            };
            row.insert(column, value);
        })?;
        Ok(row)
    }

    /// Has something done with each column, its type, and a value of that.
    fn each(&self, row: Row, mut with: impl FnMut(Arc<str>, &ColumnType, Datum)) -> Result<(), &'static str> {
        for (column, value) in row {
            let Some((name, kind)) = self.columns.get_key_value(&column) else {
                return Err("it has a column that was not asked for");
            };
            with(name.clone(), kind, kind.fit(value).ok_or("a column has a value of another type")?);
        }
        Ok(())
    }
}
