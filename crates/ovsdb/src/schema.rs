//! What a database is made of, as `get_schema` tells (RFC 7047, section 3.2).

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map as Object, Value};

use crate::value::{Atom, Datum, Malformed, Map, Set, Uuid};

/// The tables of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The database's name.
    pub name: String,
    /// The schema's version, `8.3.1`; a server may leave it out.
    pub version: Option<String>,
    /// Columns by table.
    pub tables: BTreeMap<String, BTreeMap<String, ColumnType>>,
}

/// What may be in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnType {
    /// The type of elements, or of keys.
    pub key: AtomType,
    /// The type of values; `None` for a set.
    pub value: Option<AtomType>,
    /// How many there are at least: 0 or 1.
    pub min: u64,
    /// How many there are at most; `None` where there is no limit.
    pub max: Option<u64>,
}

/// The type of an atom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomType {
    /// A whole number.
    Integer,
    /// A number.
    Real,
    /// Yes or no.
    Boolean,
    /// A text.
    String,
    /// The name of a row.
    Uuid,
}

/// A database does not have all that is to be mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The database.
    pub database: String,
    /// Its schema's version, if it says one.
    pub version: Option<String>,
    /// What it lacks: `Table`, or `Table.column`.
    pub missing: Vec<String>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the database {}", self.database)?;
        if let Some(version) = &self.version {
            write!(formatter, " (schema {version})")?;
        }
        write!(formatter, " has no {}: its server is too old, or too new, for this", self.missing.join(", "))
    }
}

impl std::error::Error for Mismatch {}

impl Schema {
    /// The types of these columns, by table; an error that names all that are missing.
    pub fn types(
        &self,
        wanted: &BTreeMap<String, Vec<String>>,
    ) -> Result<BTreeMap<String, BTreeMap<String, ColumnType>>, Mismatch> {
        let mut found: BTreeMap<String, BTreeMap<String, ColumnType>> = BTreeMap::new();
        let mut missing = Vec::new();
        for (table, columns) in wanted {
            let Some(own) = self.tables.get(table) else {
                missing.push(table.clone());
                continue;
            };
            let types = found.entry(table.clone()).or_default();
            for column in columns {
                match own.get(column) {
                    Some(kind) => drop(types.insert(column.clone(), kind.clone())),
                    None => missing.push(format!("{table}.{column}")),
                }
            }
        }
        if missing.is_empty() {
            return Ok(found);
        }
        Err(Mismatch { database: self.name.clone(), version: self.version.clone(), missing })
    }
}

impl TryFrom<Value> for Schema {
    type Error = Malformed;

    fn try_from(schema: Value) -> Result<Self, Malformed> {
        let text = |name: &str| schema.get(name).and_then(Value::as_str).map(str::to_owned);
        let name = text("name").ok_or_else(|| Malformed::new("a schema", &schema))?;
        let tables = members(&schema, "tables")?.iter().map(|(table, described)| {
            let columns = members(described, "columns")?;
            let columns: Result<_, Malformed> =
                columns.iter().map(|(name, column)| Ok((name.clone(), column_type(column)?))).collect();
            Ok((table.clone(), columns?))
        });
        let tables = tables.collect::<Result<_, Malformed>>()?;
        Ok(Self { version: text("version"), name, tables })
    }
}

fn members<'v>(value: &'v Value, name: &str) -> Result<&'v Object<String, Value>, Malformed> {
    value.get(name).and_then(Value::as_object).ok_or_else(|| Malformed::new("a schema with tables and columns", value))
}

fn column_type(column: &Value) -> Result<ColumnType, Malformed> {
    let wrong = || Malformed::new("a column with a type", column);
    let kind = column.get("type").ok_or_else(wrong)?;
    if kind.is_string() {
        return Ok(ColumnType { key: atom_type(kind).ok_or_else(wrong)?, value: None, min: 1, max: Some(1) });
    }
    let atom = |name: &str| kind.get(name).map(|kind| atom_type(kind).ok_or_else(wrong)).transpose();
    let count = |name: &str| kind.get(name).map(|count| count.as_u64().ok_or_else(wrong)).transpose();
    let unlimited = kind.get("max").and_then(Value::as_str) == Some("unlimited");
    Ok(ColumnType {
        key: atom("key")?.ok_or_else(wrong)?,
        value: atom("value")?,
        min: count("min")?.unwrap_or(1),
        max: if unlimited { None } else { Some(count("max")?.unwrap_or(1)) },
    })
}

/// A type is its name, or an object with its name and what restricts it.
fn atom_type(kind: &Value) -> Option<AtomType> {
    match kind.get("type").unwrap_or(kind).as_str()? {
        "integer" => Some(AtomType::Integer),
        "real" => Some(AtomType::Real),
        "boolean" => Some(AtomType::Boolean),
        "string" => Some(AtomType::String),
        "uuid" => Some(AtomType::Uuid),
        _ => None,
    }
}

impl AtomType {
    fn default(self) -> Atom {
        match self {
            Self::Integer => 0.into(),
            Self::Real => 0.0.into(),
            Self::Boolean => false.into(),
            Self::String => "".into(),
            Self::Uuid => Uuid::NIL.into(),
        }
    }

    /// The atom as one of this type: the server writes whole reals as integers.
    fn fit(self, atom: &Atom) -> Option<Atom> {
        match (self, atom) {
            (Self::Real, atom) => atom.as_real().map(Atom::Real),
            (Self::Integer, Atom::Integer(_))
            | (Self::Boolean, Atom::Boolean(_))
            | (Self::String, Atom::String(_))
            | (Self::Uuid, Atom::Uuid(_)) => Some(atom.clone()),
            _ => None,
        }
    }
}

impl ColumnType {
    /// What is in the column of a row where nothing was written: an empty set or map, or one default of its type.
    pub fn default_value(&self) -> Datum {
        let key = (self.min > 0).then(|| self.key.default());
        match self.value {
            None => Datum::Set(key.into_iter().collect()),
            Some(value) => Datum::Map(key.into_iter().map(|key| (key, value.default())).collect()),
        }
    }

    /// Whether an update tells of a change by the difference, and not by the new value (ovsdb-server(7), 4.1.14).
    pub(crate) fn is_told_by_difference(&self) -> bool {
        self.max.is_none_or(|max| max > 1)
    }

    /// The value as one of this type; `None` where it is of another.
    pub(crate) fn fit(&self, datum: Datum) -> Option<Datum> {
        match (datum, self.value) {
            (Datum::Set(set), None) if self.key != AtomType::Real => {
                set.iter().all(|atom| self.key.fit(atom).is_some()).then_some(Datum::Set(set))
            }
            (Datum::Set(set), None) => set
                .iter()
                .map(|atom| self.key.fit(atom))
                .collect::<Option<Vec<_>>>()
                .map(|atoms| Set::from_iter(atoms).into()),
            (Datum::Map(map), Some(value)) => {
                let pairs = map.iter().map(|(key, own)| Some((self.key.fit(key)?, value.fit(own)?)));
                pairs.collect::<Option<Vec<_>>>().map(|pairs| Map::from_iter(pairs).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let schema = json!({"name": "D", "version": "1.2.3", "cksum": "1 2", "tables": {"T": {"isRoot": true, "columns": {
            "name": {"type": "string", "mutable": false},
            "tag": {"type": {"key": {"type": "integer", "minInteger": 0}, "min": 0, "max": 1}},
            "ports": {"type": {"key": {"type": "uuid", "refTable": "T"}, "min": 0, "max": "unlimited"}},
            "ids": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
            "share": {"type": {"key": "real"}},
        }}}});
        schema.try_into().unwrap()
    }

    #[test]
    fn columns_have_their_types() {
        let columns = &schema().tables["T"];
        assert_eq!(columns["name"], ColumnType { key: AtomType::String, value: None, min: 1, max: Some(1) });
        assert_eq!(columns["tag"], ColumnType { key: AtomType::Integer, value: None, min: 0, max: Some(1) });
        assert_eq!(columns["ports"], ColumnType { key: AtomType::Uuid, value: None, min: 0, max: None });
        assert_eq!(columns["ids"].value, Some(AtomType::String));
        let told: Vec<_> =
            columns.iter().filter(|(_, kind)| kind.is_told_by_difference()).map(|(name, _)| name).collect();
        assert_eq!(told, ["ids", "ports"]);
    }

    #[test]
    fn a_column_that_was_not_written_has_the_default_of_its_type() {
        let columns = &schema().tables["T"];
        assert_eq!(columns["name"].default_value(), Datum::from(""));
        assert_eq!(columns["tag"].default_value(), Datum::from(Set::new()));
        assert_eq!(columns["ids"].default_value(), Datum::from(Map::new()));
        assert_eq!(columns["share"].default_value(), Datum::from(0.0));
    }

    #[test]
    fn a_value_is_of_the_type_of_its_column() {
        let columns = &schema().tables["T"];
        assert_eq!(columns["share"].fit(1.into()), Some(1.0.into()));
        assert_eq!(columns["tag"].fit(1.0.into()), None);
        assert_eq!(columns["tag"].fit(Map::new().into()), None);
        assert_eq!(columns["ids"].fit(Set::new().into()), None);
        assert_eq!(columns["ids"].fit(Map::from([("a", 1)]).into()), None);
    }

    #[test]
    fn all_that_is_missing_is_said() {
        let wanted =
            |table: &str, columns: &[&str]| (table.to_owned(), columns.iter().map(|&name| name.to_owned()).collect());
        let found = schema().types(&BTreeMap::from([wanted("T", &["name"])])).unwrap();
        assert_eq!(found["T"].len(), 1);
        let missing =
            schema().types(&BTreeMap::from([wanted("T", &["name", "vlan"]), wanted("U", &["x"])])).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "the database D (schema 1.2.3) has no T.vlan, U: its server is too old, or too new, for this"
        );
    }

    #[test]
    fn what_is_no_schema_is_said() {
        for wrong in [
            json!(null),
            json!({"name": "D"}),
            json!({"name": "D", "tables": {"T": {"columns": {"c": {"type": "text"}}}}}),
        ] {
            assert!(Schema::try_from(wrong).is_err());
        }
    }
}
