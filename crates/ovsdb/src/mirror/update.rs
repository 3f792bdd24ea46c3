//! What the server says of changes: `<table-updates2>` of ovsdb-server(7), section 4.1.14.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::value::{Malformed, Row, Uuid};

/// Changes of rows, by table, as the server tells them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Updates(pub(super) BTreeMap<String, BTreeMap<Uuid, RowUpdate>>);

/// The change of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RowUpdate {
    /// It is there, or came: all columns but those that have the default of their type.
    Whole(Row),
    /// It changed: what changed in which columns.
    Modified(Row),
    /// It went.
    Deleted,
}

impl TryFrom<Value> for Updates {
    type Error = Malformed;

    fn try_from(value: Value) -> Result<Self, Malformed> {
        let mut tables = BTreeMap::new();
        for (table, rows) in object(value)? {
            let mut updates = BTreeMap::new();
            for (uuid, update) in object(rows)? {
                let uuid = uuid.parse().map_err(|_| Malformed::new("the UUID of a row", &Value::String(uuid)))?;
                updates.insert(uuid, RowUpdate::try_from(update)?);
            }
            tables.insert(table, updates);
        }
        Ok(Self(tables))
    }
}

impl TryFrom<Value> for RowUpdate {
    type Error = Malformed;

    fn try_from(value: Value) -> Result<Self, Malformed> {
        let mut members = object(value)?.into_iter();
        match (members.next(), members.next()) {
            (Some((kind, row)), None) => match kind.as_str() {
                "initial" | "insert" => Ok(Self::Whole(row.try_into()?)),
                "modify" => Ok(Self::Modified(row.try_into()?)),
                "delete" => Ok(Self::Deleted),
                _ => Err(Malformed::new("a kind of update", &Value::String(kind))),
            },
            (first, _) => Err(Malformed::new("one kind of update", &Value::from(first.map(|(kind, _)| kind)))),
        }
    }
}

fn object(value: Value) -> Result<serde_json::Map<String, Value>, Malformed> {
    match value {
        Value::Object(members) => Ok(members),
        other => Err(Malformed::new("an object", &other)),
    }
}
