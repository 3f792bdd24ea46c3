//! The schema takes what the reader takes, knows each of its fields, and explains it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::*;
use crate::topology::diagnostic::Report;
use crate::topology::kinds::OF_KIND;
use crate::topology::reader::TABLES;
use crate::topology::tree::{self, Data, Value};
use crate::topology::{Kinds, Templates};

fn as_json() -> Json {
    serde_json::to_value(schema(Kinds::builtin())).unwrap()
}

/// How an editor takes scalars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalars {
    /// All in quotes.
    Texts,
    /// None in quotes: numbers and booleans as YAML 1.2 has them.
    Typed,
}

fn convert(value: &Value<'_>, scalars: Scalars) -> Json {
    match &value.data {
        Data::Null | Data::Broken => Json::Null,
        Data::Text(text) if scalars == Scalars::Texts => json!(text),
        Data::Text(text) => match *text {
            "true" | "false" => json!(*text == "true"),
            _ => text.parse::<f64>().ok().filter(|n| n.is_finite()).map_or_else(|| json!(text), |n| json!(n)),
        },
        Data::List(items) => items.iter().map(|item| convert(item, scalars)).collect(),
        Data::Map(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.to_owned(), convert(&entry.value, scalars))).collect())
        }
    }
}

fn mistakes(text: &str) -> Vec<String> {
    let schema = as_json();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let both = tree::parse(text, &mut Report::new(), |tree, _| {
        [Scalars::Texts, Scalars::Typed].map(|scalars| convert(tree, scalars))
    });
    let both = both.unwrap();
    let said = both.iter().flat_map(|json| validator.iter_errors(json));
    said.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The files with this ending below a directory.
fn files(directory: &Path, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
    found
}

#[test]
fn the_schema_is_one_and_takes_all_examples() {
    jsonschema::draft202012::meta::validate(&as_json()).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = files(&root.join("examples"), ".clab.yml");
    found.extend(files(&root.join("fuzz/corpus/topology"), ".clab.yml"));
    found.retain(|(path, _)| !path.ends_with("e10.clab.yml"));
    assert!(found.len() > 10, "{}", found.len());
    for (path, text) in found {
        assert_eq!(mistakes(&text), [""; 0], "{path}");
    }
}

#[test]
fn what_no_reader_takes_is_marked() {
    let file = |node: &str, link: &str| {
        format!("name: t\ntopology:\n  nodes: {{ a: {{ {node} }} }}\n  links: [{{ {link} }}]\n")
    };
    let link = "endpoints: ['a:b', 'c:d']";
    for node in
        ["", "kind: LINUX, restart-policy: No", "cpu: 1, image: 1.10", "memory: '${MEMORY}'", "restart-policy: $X"]
    {
        assert_eq!(mistakes(&file(node, link)), [""; 0], "{node}");
    }
    for node in
        ["memmory: 1G", "exec: ls", "env: [A]", "restart-policy: sometimes", "stages: { create: [] }", "image: [x]"]
    {
        assert_ne!(mistakes(&file(node, link)), [""; 0], "{node}");
    }
    for link in ["type: vxlann", "endpoint: 'a:b'", "endpoints: [{ node: a, intrface: b }]", "endponts: []"] {
        assert_ne!(mistakes(&file("", link)), [""; 0], "{link}");
    }
    assert_ne!(mistakes("topology: { nodes: {} }"), [""; 0]);
    assert_ne!(mistakes("name: t\nnodes: {}"), [""; 0]);
}

/// Every part of the schema with the way to it.
fn walk<'j>(at: &str, part: &'j Json, visit: &mut impl FnMut(&str, &'j Map<String, Json>)) {
    let Some(map) = part.as_object() else { return };
    visit(at, map);
    for (key, inner) in map.get("properties").and_then(Json::as_object).into_iter().flatten() {
        walk(&format!("{at}.{key}"), inner, visit);
    }
    for (key, inner) in map.get("$defs").and_then(Json::as_object).into_iter().flatten() {
        walk(key, inner, visit);
    }
    for inner in ["items", "additionalProperties"].iter().filter_map(|key| map.get(*key)) {
        walk(&format!("{at}[]"), inner, visit);
    }
    for inner in map.get("anyOf").and_then(Json::as_array).into_iter().flatten() {
        walk(at, inner, visit);
    }
}

#[test]
fn every_field_is_explained() {
    let schema = as_json();
    let mut silent = Vec::new();
    walk("", &schema, &mut |at, map| {
        for (key, field) in map.get("properties").and_then(Json::as_object).into_iter().flatten() {
            let says = field.get("description").and_then(Json::as_str).unwrap_or_default();
            if says.len() < 8 || !says.ends_with('.') {
                silent.push(format!("{at}.{key}"));
            }
        }
    });
    assert_eq!(silent, [""; 0], "say what they mean in topology/schema/format.rs");
}

/// The part of the schema that describes the map at a place of a file.
fn part<'j>(schema: &'j Json, path: &str) -> &'j Json {
    let resolve = |mut part: &'j Json| {
        loop {
            if let Some(name) = part.get("$ref").and_then(Json::as_str) {
                part = &schema["$defs"][name.rsplit('/').next().unwrap()];
            } else if let Some(choices) = part.get("anyOf").and_then(Json::as_array) {
                part = choices.iter().find(|one| one.get("$ref").is_some()).unwrap_or(&Json::Null);
            } else {
                return part;
            }
        }
    };
    let mut here = schema;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let inner = if step.ends_with(']') {
            &here["items"]
        } else {
            here["properties"].get(step).unwrap_or(&here["additionalProperties"])
        };
        here = resolve(inner);
    }
    here
}

/// A value with everything that the schema allows in it.
fn full(schema: &Json, part: &Json) -> Json {
    if let Some(name) = part.get("$ref").and_then(Json::as_str) {
        return full(schema, &schema["$defs"][name.rsplit('/').next().unwrap()]);
    }
    if let Some(choices) = part.get("anyOf").and_then(Json::as_array) {
        return choices.iter().find_map(|one| one["enum"].get(0).cloned()).unwrap_or_else(|| full(schema, &choices[0]));
    }
    match part["type"].get(0).and_then(Json::as_str) {
        Some("object") => match part.get("properties").and_then(Json::as_object) {
            Some(fields) => fields.iter().map(|(key, inner)| (key.clone(), full(schema, inner))).collect(),
            None => json!({ "k": full(schema, &part["additionalProperties"]) }),
        },
        Some("array") => json!([full(schema, &part["items"])]),
        Some("number") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("x"),
    }
}

/// Which fields the reader has at each place of a file that has them all.
fn tables() -> BTreeMap<String, BTreeSet<&'static str>> {
    let schema = as_json();
    let mut file = full(&schema, &schema);
    let end = full(&schema, &schema["$defs"]["endpoint"]);
    let links = super::super::link_type::Type::names().into_iter();
    let links = links.map(|kind| json!({ "type": kind, "endpoint": end, "endpoints": [end, end] }));
    file["topology"]["links"] = links.collect();
    TABLES.set(Some(Vec::new()));
    let text = file.to_string();
    let directory = Path::new("/labs");
    let host = crate::topology::tests::everything();
    let outcome = crate::topology::read(&crate::topology::Input {
        text: text.as_bytes(),
        directory,
        source: None,
        host: &host,
        kinds: Kinds::builtin(),
        templates: Templates::default(),
    });
    let unknown = outcome
        .diagnostics
        .iter()
        .find(|d| d.code == crate::topology::Code::UnknownField && !d.path.contains("links["));
    assert_eq!(unknown, None, "the schema has a field that the reader does not have");
    TABLES.take().unwrap().into_iter().map(|(path, keys)| (path, keys.into_iter().collect())).collect()
}

#[test]
fn the_schema_has_the_fields_that_the_reader_has_everywhere() {
    let schema = as_json();
    let tables = tables();
    for place in
        ["", "topology", "topology.defaults", "topology.kinds.k", "topology.nodes.k", "topology.links[0].endpoints[1]"]
    {
        assert!(tables.contains_key(place), "{place} was not read: {:?}", tables.keys());
    }
    for (path, keys) in tables.iter().filter(|(path, _)| !path.starts_with(OF_KIND)) {
        let explained: BTreeSet<&str> =
            part(&schema, path)["properties"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
        let is_link = path.ends_with(']') && path.matches('[').count() == 1 && path.contains("links");
        if is_link {
            assert!(keys.is_subset(&explained), "{path}");
        } else {
            assert_eq!(keys, &explained, "{path}: tell topology/schema/format.rs");
        }
    }
}
