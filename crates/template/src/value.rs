//! Values: the data of a template, and what its expressions give.
//!
//! Collections know how deep they are and how many values they are when everything that they share is written out, so
//! that nothing that walks through a value can be made to walk for ever.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A value of a template. Copies are cheap: they share.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Nothing at all: a key that is not there, or no data. Prints as `<no value>`.
    #[default]
    Missing,
    /// A key that is there and holds nothing.
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// Values in their order.
    List(Arc<List>),
    /// Values by name.
    Map(Arc<Map>),
}

/// The values of a list.
#[derive(Debug, PartialEq, Default)]
pub struct List {
    items: Vec<Value>,
    size: Size,
}

/// The values of a map, by their keys.
#[derive(Debug, PartialEq, Default)]
pub struct Map {
    entries: BTreeMap<String, Value>,
    size: Size,
}

/// What it takes to walk through a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Size {
    /// Values with all that is shared written out; 64 bytes of text count as one.
    pub(crate) weight: u64,
    /// How deep collections are nested.
    pub(crate) depth: u32,
}

impl Size {
    fn of<'v>(values: impl Iterator<Item = &'v Value>) -> Self {
        values.fold(Self { weight: 1, depth: 1 }, |sum, value| {
            let size = value.size();
            Self { weight: sum.weight.saturating_add(size.weight), depth: sum.depth.max(size.depth + 1) }
        })
    }
}

impl List {
    /// The values.
    pub fn items(&self) -> &[Value] {
        &self.items
    }
}

impl Map {
    /// The values by their keys.
    pub fn entries(&self) -> &BTreeMap<String, Value> {
        &self.entries
    }
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A list.
    pub fn list(items: Vec<Self>) -> Self {
        let mut size = Size::of(items.iter());
        size.weight = size.weight.saturating_add(items.len() as u64 / 16);
        Self::List(Arc::new(List { items, size }))
    }

    /// A map.
    pub fn map(entries: BTreeMap<String, Self>) -> Self {
        let mut size = Size::of(entries.values());
        let keys: u64 = entries.keys().map(|key| 1 + key.len() as u64 / 64).sum();
        size.weight = size.weight.saturating_add(keys);
        Self::Map(Arc::new(Map { entries, size }))
    }

    /// This value with another one laid over it: maps are merged at every level, all else is replaced.
    #[must_use]
    pub fn merged(self, over: Self) -> Self {
        match (self, over) {
            (Self::Map(under), Self::Map(over)) => {
                let mut entries =
                    Arc::try_unwrap(under).map_or_else(|shared| shared.entries.clone(), |own| own.entries);
                for (key, value) in &over.entries {
                    let merged = match entries.remove(key) {
                        Some(under) => under.merged(value.clone()),
                        None => value.clone(),
                    };
                    entries.insert(key.clone(), merged);
                }
                Self::map(entries)
            }
            (under, Self::Missing | Self::Nil) => under,
            (_, over) => over,
        }
    }

    pub(crate) fn size(&self) -> Size {
        match self {
            Self::Missing | Self::Nil | Self::Bool(_) | Self::Int(_) | Self::Float(_) => Size { weight: 1, depth: 0 },
            Self::Text(text) => Size { weight: 1 + text.len() as u64 / 64, depth: 0 },
            Self::List(list) => list.size,
            Self::Map(map) => map.size,
        }
    }

    /// Whether conditions take it as true: all but nothing, `false`, zero and what is empty.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Missing | Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Missing | Self::Nil)
    }

    /// The name of its type in Go, for `%T` and the like.
    pub(crate) fn go_type(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "[]interface {}",
            Self::Map(_) => "map[string]interface {}",
        }
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}
