//! Values as JSON, both ways.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::{Atom, Datum, Map, NamedUuid, Row, Set, Uuid};

/// JSON that is not what the notation of the protocol has in this place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{expected} is expected, not {found}")]
pub struct Malformed {
    expected: &'static str,
    found: String,
}

impl Malformed {
    pub(crate) fn new(expected: &'static str, found: &Value) -> Self {
        Self { expected, found: beginning(&found.to_string()) }
    }
}

/// As much of a text as fits into a message to a person.
pub(crate) fn beginning(text: &str) -> String {
    match text.char_indices().nth(120) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

impl TryFrom<Value> for Atom {
    type Error = Malformed;

    fn try_from(value: Value) -> Result<Self, Malformed> {
        match &value {
            Value::Bool(yes) => Ok(Self::Boolean(*yes)),
            Value::String(text) => Ok(text.into()),
            Value::Number(number) => number
                .as_i64()
                .map(Self::Integer)
                .or_else(|| number.as_f64().filter(|_| number.is_f64()).map(Self::Real))
                .ok_or_else(|| Malformed::new("a whole number of 64 bits", &value)),
            Value::Array(parts) => match parts.as_slice() {
                [Value::String(tag), Value::String(text)] if tag == "uuid" => {
                    text.parse().map(Self::Uuid).map_err(|_| Malformed::new("a UUID", &value))
                }
                [Value::String(tag), Value::String(text)] if tag == "named-uuid" => {
                    text.parse().map(Self::NamedUuid).map_err(|_| Malformed::new("a name of a row", &value))
                }
                _ => Err(Malformed::new("an atom", &value)),
            },
            Value::Null | Value::Object(_) => Err(Malformed::new("an atom", &value)),
        }
    }
}

/// Elements that come twice are taken as one: that is what a set is.
impl TryFrom<Value> for Datum {
    type Error = Malformed;

    fn try_from(value: Value) -> Result<Self, Malformed> {
        match tagged(value) {
            Ok(("set", atoms)) => {
                let atoms: Result<Vec<Atom>, Malformed> = atoms.into_iter().map(Atom::try_from).collect();
                Ok(Self::Set(atoms?.into_iter().collect()))
            }
            Ok((_, pairs)) => {
                let length = pairs.len();
                let pairs: Result<Vec<(Atom, Atom)>, Malformed> = pairs.into_iter().map(pair).collect();
                let map: Map = pairs?.into_iter().collect();
                if map.len() == length {
                    Ok(Self::Map(map))
                } else {
                    Err(Malformed { expected: "a map with each key once", found: "one that has a key twice".into() })
                }
            }
            Err(value) => Atom::try_from(value).map(Self::from),
        }
    }
}

/// What is in `["set", […]]` or `["map", […]]`; the value itself where it is neither.
fn tagged(value: Value) -> Result<(&'static str, Vec<Value>), Value> {
    let tag = match &value {
        Value::Array(parts) => match parts.as_slice() {
            [Value::String(tag), Value::Array(_)] if tag == "set" => "set",
            [Value::String(tag), Value::Array(_)] if tag == "map" => "map",
            _ => return Err(value),
        },
        _ => return Err(value),
    };
    match value {
        Value::Array(mut parts) => match parts.pop() {
            Some(Value::Array(content)) => Ok((tag, content)),
            _ => Ok((tag, Vec::new())),
        },
        other => Err(other),
    }
}

fn pair(value: Value) -> Result<(Atom, Atom), Malformed> {
    match value {
        Value::Array(parts) => match <[Value; 2]>::try_from(parts) {
            Ok([key, value]) => Ok((key.try_into()?, value.try_into()?)),
            Err(parts) => Err(Malformed::new("a key and a value", &Value::Array(parts))),
        },
        other => Err(Malformed::new("a key and a value", &other)),
    }
}

impl TryFrom<Value> for Row {
    type Error = Malformed;

    fn try_from(value: Value) -> Result<Self, Malformed> {
        match value {
            Value::Object(columns) => {
                columns.into_iter().map(|(column, value)| Ok((column, Datum::try_from(value)?))).collect()
            }
            other => Err(Malformed::new("a row", &other)),
        }
    }
}

impl Serialize for Atom {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Real(number) if number.is_finite() => serializer.serialize_f64(*number),
            Self::Real(_) => Err(S::Error::custom("a real of the protocol is finite")),
            Self::Boolean(yes) => serializer.serialize_bool(*yes),
            Self::String(text) => serializer.serialize_str(text),
            Self::Uuid(uuid) => uuid.serialize(serializer),
            Self::NamedUuid(name) => name.serialize(serializer),
        }
    }
}

impl Serialize for Uuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ("uuid", self.to_string()).serialize(serializer)
    }
}

impl Serialize for NamedUuid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ("named-uuid", self.as_str()).serialize(serializer)
    }
}

/// One element is written as itself, without `set`.
impl Serialize for Set {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_one() {
            Some(one) => one.serialize(serializer),
            None => ("set", Elements(self)).serialize(serializer),
        }
    }
}

struct Elements<'s>(&'s Set);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0)
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ("map", Pairs(self)).serialize(serializer)
    }
}

struct Pairs<'m>(&'m Map);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter())
    }
}

impl Serialize for Datum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Set(set) => set.serialize(serializer),
            Self::Map(map) => map.serialize(serializer),
        }
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut columns = serializer.serialize_map(Some(self.len()))?;
        for (column, value) in self.iter() {
            columns.serialize_entry(&**column as &str, value)?;
        }
        columns.end()
    }
}

/// Reading by way of JSON values.
macro_rules! deserialize {
    ($($type:ty)*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Value::deserialize(deserializer)?.try_into().map_err(D::Error::custom)
            }
        }
    )*};
}

deserialize! { Atom Datum Row Set Map Uuid }

impl TryFrom<Value> for Set {
    type Error = Malformed;

    fn try_from(value: Value) -> Result<Self, Malformed> {
        match value.try_into()? {
            Datum::Set(set) => Ok(set),
            Datum::Map(map) => Err(Malformed::new("a set", &serde_json::json!(map))),
        }
    }
}

impl TryFrom<Value> for Map {
    type Error = Malformed;

    fn try_from(value: Value) -> Result<Self, Malformed> {
        match value.try_into()? {
            Datum::Map(map) => Ok(map),
            // No reals come here that cannot be written: they came from JSON.
            Datum::Set(set) => Err(Malformed::new("a map", &serde_json::json!(set))),
        }
    }
}

impl TryFrom<Value> for Uuid {
    type Error = Malformed;

    fn try_from(value: Value) -> Result<Self, Malformed> {
        match Atom::try_from(value)? {
            Atom::Uuid(uuid) => Ok(uuid),
            other => Err(Malformed { expected: "a UUID", found: format!("{other:?}") }),
        }
    }
}
