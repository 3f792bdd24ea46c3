//! Rows, or parts of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Datum, Map, Set, Uuid};

/// Columns and what is in them: a whole row, those columns of it that were asked for, or those to be written.
///
/// What reads a column as one atom gives `None` where the row does not have the column, or where it is empty, or of
/// another type; so an optional column needs no other way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row(BTreeMap<Arc<str>, Datum>);

impl Row {
    /// A row without columns.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The row with this in a column.
    #[must_use]
    pub fn with(mut self, column: impl Into<Arc<str>>, value: impl Into<Datum>) -> Self {
        self.insert(column, value);
        self
    }

    /// Puts something into a column; gives back what was there.
    pub fn insert(&mut self, column: impl Into<Arc<str>>, value: impl Into<Datum>) -> Option<Datum> {
        self.0.insert(column.into(), value.into())
    }

    /// What is in a column.
    pub fn get(&self, column: &str) -> Option<&Datum> {
        self.0.get(column)
    }

    /// All columns, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Datum)> {
        self.0.iter()
    }

    /// How many columns it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no columns.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text in a column.
    pub fn string(&self, column: &str) -> Option<&str> {
        self.get(column)?.as_atom()?.as_str()
    }

    /// The whole number in a column.
    pub fn integer(&self, column: &str) -> Option<i64> {
        self.get(column)?.as_atom()?.as_integer()
    }

    /// The number in a column.
    pub fn real(&self, column: &str) -> Option<f64> {
        self.get(column)?.as_atom()?.as_real()
    }

    /// Yes or no in a column.
    pub fn boolean(&self, column: &str) -> Option<bool> {
        self.get(column)?.as_atom()?.as_boolean()
    }

    /// The row that is named in a column. The row's own name is in the column `_uuid` of what a `select` gives.
    pub fn uuid(&self, column: &str) -> Option<Uuid> {
        self.get(column)?.as_atom()?.as_uuid()
    }

    /// The set in a column; `None` where it is a map, or not there.
    pub fn set(&self, column: &str) -> Option<&Set> {
        self.get(column)?.as_set()
    }

    /// The rows that are named in a column.
    pub fn uuids(&self, column: &str) -> impl Iterator<Item = Uuid> {
        self.set(column).into_iter().flat_map(Set::uuids)
    }

    /// The map in a column; `None` where it is a set, or not there.
    pub fn map(&self, column: &str) -> Option<&Map> {
        self.get(column)?.as_map()
    }

    /// The text of a key of the map in a column, such as one of `external_ids`.
    pub fn map_string(&self, column: &str, key: &str) -> Option<&str> {
        self.map(column)?.get_str(key)
    }
}

impl<C: Into<Arc<str>>, D: Into<Datum>> FromIterator<(C, D)> for Row {
    fn from_iter<I: IntoIterator<Item = (C, D)>>(columns: I) -> Self {
        Self(columns.into_iter().map(|(column, value)| (column.into(), value.into())).collect())
    }
}

impl IntoIterator for Row {
    type Item = (Arc<str>, Datum);
    type IntoIter = std::collections::btree_map::IntoIter<Arc<str>, Datum>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}
