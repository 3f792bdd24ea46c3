//! Which rows an operation is about, and how it changes what is in them.

use serde::Serialize;
use serde::ser::Serializer;

use crate::value::{Atom, Datum, Map, Set, Uuid};

/// What must hold for a column of a row (RFC 7047, section 5.1). Several of them must hold together.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    column: String,
    function: &'static str,
    value: Datum,
}

impl Condition {
    /// The row with this name.
    pub fn is_row(uuid: Uuid) -> Self {
        Self::equals("_uuid", uuid)
    }

    /// The column is this.
    pub fn equals(column: impl Into<String>, value: impl Into<Datum>) -> Self {
        Self::new(column, "==", value)
    }

    /// The column is not this.
    pub fn differs(column: impl Into<String>, value: impl Into<Datum>) -> Self {
        Self::new(column, "!=", value)
    }

    /// All of this is in the column.
    pub fn includes(column: impl Into<String>, value: impl Into<Datum>) -> Self {
        Self::new(column, "includes", value)
    }

    /// Nothing of this is in the column. Of a map a pair counts, not a key.
    pub fn excludes(column: impl Into<String>, value: impl Into<Datum>) -> Self {
        Self::new(column, "excludes", value)
    }

    /// The number in the column is smaller.
    pub fn less(column: impl Into<String>, value: impl Into<Atom>) -> Self {
        Self::new(column, "<", Into::<Atom>::into(value))
    }

    /// The number in the column is smaller or the same.
    pub fn at_most(column: impl Into<String>, value: impl Into<Atom>) -> Self {
        Self::new(column, "<=", Into::<Atom>::into(value))
    }

    /// The number in the column is larger.
    pub fn greater(column: impl Into<String>, value: impl Into<Atom>) -> Self {
        Self::new(column, ">", Into::<Atom>::into(value))
    }

    /// The number in the column is larger or the same.
    pub fn at_least(column: impl Into<String>, value: impl Into<Atom>) -> Self {
        Self::new(column, ">=", Into::<Atom>::into(value))
    }

    fn new(column: impl Into<String>, function: &'static str, value: impl Into<Datum>) -> Self {
        Self { column: column.into(), function, value: value.into() }
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.column, self.function, &self.value).serialize(serializer)
    }
}

/// A change of what is in a column, whatever that is (RFC 7047, section 5.1).
#[derive(Debug, Clone, PartialEq)]
pub struct Mutation {
    column: String,
    mutator: &'static str,
    value: Datum,
}

impl Mutation {
    /// Adds a number.
    pub fn add(column: impl Into<String>, value: impl Into<Atom>) -> Self {
        Self::new(column, "+=", Into::<Atom>::into(value))
    }

    /// Takes a number away.
    pub fn subtract(column: impl Into<String>, value: impl Into<Atom>) -> Self {
        Self::new(column, "-=", Into::<Atom>::into(value))
    }

    /// Multiplies by a number.
    pub fn multiply(column: impl Into<String>, value: impl Into<Atom>) -> Self {
        Self::new(column, "*=", Into::<Atom>::into(value))
    }

    /// Divides by a number.
    pub fn divide(column: impl Into<String>, value: impl Into<Atom>) -> Self {
        Self::new(column, "/=", Into::<Atom>::into(value))
    }

    /// What is left after a division by a whole number.
    pub fn remainder(column: impl Into<String>, value: impl Into<Atom>) -> Self {
        Self::new(column, "%=", Into::<Atom>::into(value))
    }

    /// Puts elements into a set, or pairs into a map; a key that is there keeps its value.
    pub fn insert(column: impl Into<String>, value: impl Into<Datum>) -> Self {
        Self::new(column, "insert", value)
    }

    /// Takes elements out of a set, or pairs out of a map.
    pub fn remove(column: impl Into<String>, value: impl Into<Datum>) -> Self {
        Self::new(column, "delete", value)
    }

    /// Takes keys out of a map, whatever their values are.
    pub fn remove_keys(column: impl Into<String>, keys: impl Into<Set>) -> Self {
        Self::new(column, "delete", Into::<Set>::into(keys))
    }

    /// Gives keys of a map these values, whatever they had: two changes, of which the first takes them out.
    pub fn set_keys(column: &str, pairs: Map) -> [Self; 2] {
        let keys: Set = pairs.iter().map(|(key, _)| key.clone()).collect();
        [Self::remove_keys(column, keys), Self::insert(column, pairs)]
    }

    fn new(column: impl Into<String>, mutator: &'static str, value: impl Into<Datum>) -> Self {
        Self { column: column.into(), mutator, value: value.into() }
    }
}

impl Serialize for Mutation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.column, self.mutator, &self.value).serialize(serializer)
    }
}
