//! Values of the database, in the notation of RFC 7047, section 5.1.
//!
//! A column holds a [`Datum`]: a [`Set`] or a [`Map`] of [`Atom`]s. A single atom is a set of one here as there. All of
//! them have an order, are equal when they mean the same, and are read and written by serde in the notation of the
//! protocol.

mod atom;
mod json;
mod map;
mod row;
mod set;
#[cfg(test)]
mod tests;
mod uuid;

pub use atom::Atom;
pub use json::Malformed;
pub(crate) use json::beginning;
pub use map::Map;
pub use row::Row;
pub use set::Set;
pub use uuid::{InvalidName, InvalidUuid, NamedUuid, Uuid};

/// What is in a column of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Datum {
    /// One atom, or none, or more.
    Set(Set),
    /// Values by key.
    Map(Map),
}

impl Datum {
    /// The atom that it is, if it is one.
    pub fn as_atom(&self) -> Option<&Atom> {
        self.as_set()?.as_one()
    }

    /// The set that it is.
    pub fn as_set(&self) -> Option<&Set> {
        if let Self::Set(set) = self { Some(set) } else { None }
    }

    /// The map that it is.
    pub fn as_map(&self) -> Option<&Map> {
        if let Self::Map(map) = self { Some(map) } else { None }
    }
}

impl From<Map> for Datum {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}

impl<A: Into<Atom>> From<Option<A>> for Datum {
    fn from(atom: Option<A>) -> Self {
        Self::Set(atom.into_iter().collect())
    }
}

impl From<Set> for Datum {
    fn from(set: Set) -> Self {
        Self::Set(set)
    }
}

impl From<Atom> for Datum {
    fn from(atom: Atom) -> Self {
        Self::Set(atom.into())
    }
}
