//! The format as a JSON schema (draft 2020-12), with which editors complete and explain topology files.
//!
//! Which fields the larger maps have comes from the tables that the reader uses, so that a new one is in the schema at
//! once; [`format`] says the form and the meaning of each. The tests hold the two together at every level, and fail for
//! a field that is explained nowhere.
//!
//! An editor sees a file before variables are replaced, and YAML's types before the reader takes any scalar for a text;
//! so the schema accepts a text wherever a scalar can stand. It never says that something is wrong which the reader takes;
//! what is right to the last detail is said by the reader itself ([`super::read`]).

mod format;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use super::kinds::Kinds;
use super::reader::Table;
use format::{Form, Line};

/// A JSON schema, as far as this format needs the language.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Schema<'k> {
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    dialect: Option<&'static str>,
    #[serde(rename = "$ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Vec::is_empty")]
    types: Vec<&'static str>,
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    words: Vec<&'k str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<Box<Self>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<&'static str, Self>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_properties: Option<Additional<'k>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    required: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    any_of: Vec<Self>,
    #[serde(rename = "$defs", skip_serializing_if = "BTreeMap::is_empty")]
    definitions: BTreeMap<&'static str, Self>,
}

/// What is said of keys that are not listed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum Additional<'k> {
    Refused(False),
    Like(Box<Schema<'k>>),
}

/// The schema that nothing fulfils.
#[derive(Debug, Clone, Copy, PartialEq)]
struct False;

impl Serialize for False {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(false)
    }
}

/// The schema of topology files whose nodes may be of these kinds.
pub fn schema(kinds: &Kinds) -> Schema<'_> {
    let mut file = map(&[&super::FILE], format::FILE, kinds);
    let topology = map(&[&super::TOPOLOGY], format::TOPOLOGY, kinds);
    file.properties.insert("topology", described(topology, "The nodes and links."));
    file.types = vec!["object"];
    file.dialect = Some("https://json-schema.org/draft/2020-12/schema");
    file.title = Some("Network topology (*.clab.yml)");
    file.required = vec!["name", "topology"];
    file.definitions = BTreeMap::from([
        ("node", map(&[&super::node::FIELDS], format::NODE, kinds)),
        ("link", map(&super::link_type::Type::tables(), format::LINK, kinds)),
        ("endpoint", map(&[&super::end::END], format::ENDPOINT, kinds)),
    ]);
    file
}

/// A map that has the fields of the reader's tables, with the forms and explanations of `lines`.
fn map<'k>(tables: &[&Table], lines: &[Line], kinds: &'k Kinds) -> Schema<'k> {
    let mut schema = fields(lines, kinds);
    for key in tables.iter().flat_map(|table| table.acted.iter().chain(table.later)) {
        schema.properties.entry(key).or_default();
    }
    schema
}

fn fields<'k>(lines: &[Line], kinds: &'k Kinds) -> Schema<'k> {
    Schema {
        types: vec!["object", "null"],
        properties: lines.iter().map(|line| (line.key, described(of(&line.form, kinds), line.says))).collect(),
        additional_properties: Some(Additional::Refused(False)),
        ..Schema::default()
    }
}

fn described<'k>(schema: Schema<'k>, says: &str) -> Schema<'k> {
    Schema { description: Some(says.to_owned()), ..schema }
}

fn of<'k>(form: &Form, kinds: &'k Kinds) -> Schema<'k> {
    let typed = |types: &[&'static str]| Schema { types: types.to_vec(), ..Schema::default() };
    match form {
        Form::Any => Schema::default(),
        Form::Text => typed(&["string", "number", "boolean", "null"]),
        Form::Number => typed(&["number", "string", "null"]),
        Form::Boolean => typed(&["boolean", "string", "null"]),
        Form::Choice(words) => choice(words.to_vec()),
        Form::LinkType => choice(super::link_type::Type::names()),
        Form::Kind => Schema {
            any_of: vec![Schema { words: kinds.names().collect(), ..Schema::default() }, of(&Form::Text, kinds)],
            ..Schema::default()
        },
        Form::List(form) => Schema { items: Some(Box::new(of(form, kinds))), ..typed(&["array", "null"]) },
        Form::Map(form) => Schema {
            additional_properties: Some(Additional::Like(Box::new(of(form, kinds)))),
            ..typed(&["object", "null"])
        },
        Form::Fields(lines) => fields(lines, kinds),
        Form::Either(forms) => {
            Schema { any_of: forms.iter().map(|form| of(form, kinds)).collect(), ..Schema::default() }
        }
        Form::Defined(name) => Schema { reference: Some(format!("#/$defs/{name}")), ..Schema::default() },
    }
}

/// One of several words in any case, or a text that becomes one when its variables are replaced.
fn choice(words: Vec<&str>) -> Schema<'_> {
    let any_case: Vec<String> = words.iter().map(|word| word.chars().map(in_any_case).collect()).collect();
    let pattern = Some(format!("^({})$|\\$", any_case.join("|")));
    let mut any_of = vec![
        Schema { pattern, types: vec!["string"], ..Schema::default() },
        Schema { types: vec!["null"], ..Schema::default() },
    ];
    // What YAML 1.1 makes of `no`.
    if words.contains(&"no") {
        any_of.push(Schema { types: vec!["boolean"], ..Schema::default() });
    }
    any_of.insert(0, Schema { words, ..Schema::default() });
    Schema { any_of, ..Schema::default() }
}

/// JSON schemas have the regular expressions of ECMA-262, without a switch for the case.
fn in_any_case(c: char) -> String {
    let (lower, upper) = (c.to_ascii_lowercase(), c.to_ascii_uppercase());
    if lower == upper { c.to_string() } else { format!("[{lower}{upper}]") }
}
