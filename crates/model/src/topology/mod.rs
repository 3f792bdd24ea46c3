//! Topology files (`*.clab.yml`): text in, a checked [`Lab`] and all diagnostics out.
//!
//! ```text
//! bytes ── text, templates, variables ──▶ tree (YAML with places) ──▶ levels ──▶ nodes ──▶ links ──▶ Lab
//!                 │                           │                         │          │         │
//!                 └── where it comes from     └─────────────────────────┴──────────┴─────────┴──▶ Report
//! ```
//!
//! Nothing is read from the host but what [`Host`] answers. A stage that finds mistakes goes on with what is
//! right, so that one reading finds all; only a template that cannot be rendered and a text that is no YAML end it early. Work and memory are bounded
//! for any input: by the size of the file, of what its aliases expand to, and of what its nodes inherit.
//!
//! Diagnostics point at the file that a person wrote, also for what a template or a variable has put there.

mod addresses;
mod bind;
mod complete;
mod diagnostic;
mod editor;
mod end;
mod env_file;
mod facts;
mod farther;
pub mod generate;
pub mod graph;
mod jinja;
mod kinds;
mod link;
mod link_type;
mod mac;
mod management;
pub(crate) mod nearest;
mod node;
mod order;
mod origin;
mod path;
mod placeholder;
mod reader;
mod render;
pub mod schema;
mod settings;
mod shared;
mod substitute;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod tree;
mod value;
mod vars;
mod vlan;
mod write;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

pub use diagnostic::{Code, Diagnostic, Note, Severity, Span};
pub use editor::{Marked, Position, Range, Related, marked};
pub use kinds::{KindError, KindSpec, Kinds};
pub use netloom_template::Value as TemplateValue;
pub use render::{Colour, Files, render, render_files};
pub use template::{TemplateFile, Templates};
pub use text::{Rendered, rendered};
pub use vars::read_vars;
pub use write::write;

use crate::lab::{Lab, LabParts, Node, Prefix, Violations};
use crate::name::{LabName, NodeName};
use crate::text_order::sort_by_text;
use diagnostic::{Path, cut};
use link::Links;
use node::{Levels, Nodes, Spec};
use reader::{Cx, Field, Table, get};
use tree::{Data, Entry, Value};

/// The largest file that is read, in bytes. 10,000 nodes and 20,000 links are 1.2 MB.
pub const MAX_BYTES: usize = 16 << 20;

/// The files in the directory of a lab that each deploy writes: a node may have them before there are any.
pub const WRITTEN_BY_DEPLOY: [&str; 2] = ["ansible-inventory.yml", "topology-data.json"];

/// Values that nodes may inherit together; guards against a large `defaults` under many nodes. 10,000 nodes with 100
/// each inherit 1,000,000. A value with what it stands in takes some 150 bytes.
const MAX_INHERITED: u64 = 1_000_000;

/// Nodes that a lab has at most, and kinds and groups that they inherit from: each takes a few kilobytes.
const MAX_NODES: usize = 100_000;
const MAX_LEVELS: usize = 10_000;

/// A topology file and its surroundings.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The content of the file.
    pub text: &'a [u8],
    /// Absolute path of the directory that relative paths in the file start from.
    pub directory: &'a FilePath,
    /// Absolute path of the file, if it is one; kept in the lab to tell apart files with one lab name.
    pub source: Option<&'a FilePath>,
    /// The host that the paths of the file are on.
    pub host: &'a dyn Host,
    /// The kinds that its nodes may be of.
    pub kinds: &'a Kinds,
    /// What the file is rendered with, if it is a template.
    pub templates: Templates<'a>,
}

/// What reading a topology has to ask of the host.
pub trait Host {
    /// Whether there is a file or directory at this absolute path.
    fn exists(&self, path: &FilePath) -> bool;
    /// The home directory of the caller, for `~`.
    fn home(&self) -> Option<PathBuf>;
    /// The text of a file, or why it cannot be read. Need not return more than 1 MiB and a byte.
    fn content(&self, _path: &FilePath) -> Result<String, String> {
        Err("there are no files".to_owned())
    }

    /// The value of one variable of the caller's environment.
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
    /// The caller's whole environment.
    fn variables(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    /// The branch and the short hash of the commit that is checked out in a directory.
    fn git(&self, _directory: &FilePath) -> Option<GitHead> {
        None
    }
}

/// What is checked out of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitHead {
    /// The branch; nothing if none is checked out.
    pub branch: Option<String>,
    /// The begin of the commit's hash.
    pub hash: String,
}

/// What became of a topology file.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The lab, unless there is an error.
    pub lab: Option<Lab>,
    /// All errors and warnings by their position in the file.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a topology. Never panics, whatever the bytes; see the module for its bounds.
pub fn read(input: &Input<'_>) -> Outcome {
    read_as(input, None)
}

/// Reads a topology as a lab of another name than its file gives. Not the same as renaming the lab that [`read`]
/// gives: MAC addresses are derived from the name, and two labs on one bridge may not share them.
pub fn read_as(input: &Input<'_>, name: Option<&LabName>) -> Outcome {
    let mut cx = Cx::new(input);
    let lab = text::prepare(input, &mut cx.report)
        .and_then(|text| tree::parse(&text, &mut cx, |root, cx| file(root, name, cx)).flatten())
        .filter(|_| !cx.report.has_errors());
    let lab = lab.and_then(|made| match made {
        Ok(lab) => Some(lab),
        Err(violations) => {
            for violation in violations.0 {
                cx.report.error(Code::InvalidValue, start(), &Path::Root, violation.to_string());
            }
            None
        }
    });
    Outcome { lab, diagnostics: cx.report.finish() }
}

/// What became of the fields of one node.
#[derive(Debug, Clone)]
pub struct NodeOutcome {
    /// The node, unless there is an error.
    pub node: Option<Node>,
    /// All errors and warnings by their position in the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads the fields of one node, as they stand below its name in a topology file.
pub fn read_node(input: &Input<'_>, name: &NodeName) -> NodeOutcome {
    let mut cx = Cx::new(input);
    let mut nodes = Nodes::default();
    if let Some(text) = text::prepare(input, &mut cx.report) {
        tree::parse(&text, &mut cx, |root, cx| {
            let entry = Entry { key: name.as_str(), key_span: start(), value: *root };
            Levels::default().node(&entry, Some(name.clone()), &Path::Root, cx, &mut nodes);
        });
    }
    let node = nodes.nodes.pop().map(|(_, node)| node).filter(|_| !cx.report.has_errors());
    NodeOutcome { node, diagnostics: cx.report.finish() }
}

fn start() -> Span {
    Span { line: 1, column: 1, start: 0, len: 0 }
}

const FILE: Table =
    Table { what: "a topology file", acted: &["name", "prefix", "mgmt", "settings", "debug", "topology"], later: &[] };
const TOPOLOGY: Table =
    Table { what: "`topology`", acted: &["defaults", "kinds", "groups", "nodes", "links"], later: &[] };

fn file(root: &Value<'_>, other_name: Option<&LabName>, cx: &mut Cx<'_>) -> Option<Result<Lab, Violations>> {
    let at = Path::Root;
    let entries = match &root.data {
        Data::Map(entries) => *entries,
        Data::Null => {
            cx.report
                .error(Code::EmptyFile, start(), &at, "the file is empty")
                .help("a topology needs at least `name` and `topology.nodes`");
            return None;
        }
        Data::Text(_) | Data::List(_) | Data::Broken => {
            let message = format!("a topology file is a map, and this is {}", root.describe());
            cx.report
                .error(Code::WrongType, root.span, &at, message)
                .help("a topology needs at least `name` and `topology.nodes`");
            return None;
        }
    };
    let nested: Vec<&Entry<'_>> = entries.iter().filter(|entry| TOPOLOGY.acted.contains(&entry.key)).collect();
    for entry in &nested {
        let message = format!("`{}` belongs under `topology`", entry.key);
        cx.report.error(Code::UnknownField, entry.key_span, &at.key(entry.key), message);
    }
    if nested.is_empty() {
        cx.fields(root, &at, &FILE);
    }
    let name = lab_name(root, entries, cx);
    // A file whose name is wrong has its other mistakes said all the same.
    cx.lab = other_name.or(name.as_ref()).cloned().or_else(|| "lab".parse().ok());
    let settings = settings::read(entries, cx);
    let (management, written) =
        get(entries, "mgmt").map(|value| management::read(value, &at.key("mgmt"), cx)).unwrap_or_default();
    let prefix = get(entries, "prefix").map_or_else(|| Some(Prefix::default()), |value| prefix(value, cx));
    let at = at.key("topology");
    let Some(topology) = get(entries, "topology") else {
        if nested.is_empty() && !cx.is_misspelt(root, "topology") {
            cx.report
                .error(Code::Missing, start(), &at, "the file has no `topology`")
                .help("add `topology:` with `nodes:` below it");
        }
        return None;
    };
    let topology_entries = cx.fields(topology, &at, &TOPOLOGY)?;
    let key_span = entries.iter().find(|entry| entry.key == "topology").map_or_else(start, |entry| entry.key_span);
    let nodes = nodes((topology, topology_entries), key_span, &at, cx)?;
    nodes.waits.check(&nodes.facts, cx);
    shared::check(&nodes.facts, cx);
    shared::check_bridges(&nodes.facts, cx);
    if let Some(entry) = entries.iter().find(|entry| entry.key == "mgmt") {
        management::say_unused(entry.key_span, &nodes.facts, cx);
    }
    nodes.addresses.check(written, &management, cx);
    let at = at.key("links");
    let listed = get(topology_entries, "links").and_then(|value| cx.list(value, &at)).unwrap_or_default();
    let mut links = Links::new(&nodes, listed.len());
    for (index, link) in listed.iter().enumerate() {
        links.read(link, &at.index(index), cx);
    }
    links.check_inner_bridges(&at, cx);
    let (name, prefix) = (other_name.cloned().or(name)?, prefix?);
    if cx.report.has_errors() {
        return None;
    }
    let links = links.finish(&name);
    let source = cx.input.source.map(|path| path.to_string_lossy().into_owned());
    let is_whole = nodes.facts.len() == nodes.nodes.len();
    let mut nodes = nodes.nodes;
    sort_by_text(&mut nodes, |(name, _), to| to.push_str(name.as_str()));
    let nodes = nodes.into_iter().collect();
    let parts = LabParts { name, prefix, source, management, settings, nodes, links };
    // A node that is not there for no reason that was said is not there for its links either.
    Some(if is_whole { Lab::of_reader(parts) } else { Lab::new(parts) })
}

fn lab_name(root: &Value<'_>, entries: &[Entry<'_>], cx: &mut Cx<'_>) -> Option<LabName> {
    let at = Path::Root;
    let at = at.key("name");
    let Some(value) = get(entries, "name").filter(|value| !matches!(value.data, Data::Null)) else {
        if !cx.is_misspelt(root, "name") {
            cx.report
                .error(Code::Missing, start(), &at, "the lab has no name")
                .help("add `name: my-lab` at the top of the file");
        }
        return None;
    };
    let text = with_git(cx.text(value, &at)?, cx.input);
    let parsed: Result<LabName, _> = text.parse();
    parsed
        .map_err(|invalid| {
            cx.report.error(Code::InvalidName, value.span, &at, invalid.to_string());
        })
        .ok()
}

/// Puts branch and commit of the file's repository in for their placeholders; `none` where there is no repository.
fn with_git<'t>(text: &'t str, input: &Input<'_>) -> Cow<'t, str> {
    const PLACEHOLDERS: [&str; 2] = ["__gitBranch__", "__gitHash__"];
    if !PLACEHOLDERS.iter().any(|placeholder| text.contains(placeholder)) {
        return Cow::Borrowed(text);
    }
    let none = || "none".to_owned();
    let (branch, hash) = match input.host.git(input.directory) {
        Some(head) => (head.branch.unwrap_or_else(|| "head".to_owned()), head.hash),
        None => (none(), none()),
    };
    // Branches have directories, names of labs have not.
    let branch = branch.replace('/', "-").to_lowercase();
    Cow::Owned(text.replace(PLACEHOLDERS[0], &branch).replace(PLACEHOLDERS[1], &hash))
}

/// The prefix of container names. Absent and empty differ.
fn prefix(value: &Value<'_>, cx: &mut Cx<'_>) -> Option<Prefix> {
    let at = Path::Root;
    let at = at.key("prefix");
    if matches!(value.data, Data::Null) {
        return Some(Prefix::default());
    }
    let text = cx.text(value, &at)?;
    let prefix = Prefix::from(text.to_owned());
    if matches!(prefix, Prefix::LabName) || text.is_empty() || text.parse::<LabName>().is_ok() {
        return Some(prefix);
    }
    let message = format!("prefix `{}` cannot begin the name of a container", cut(text));
    cx.invalid(
        value,
        &at,
        message,
        "letters, digits, `-`, `.` and `_` are possible; `\"\"` and `__lab-name` are special",
    );
    None
}

/// The levels, then the nodes. Nothing if there are none.
fn nodes(
    (topology, entries): (&Value<'_>, &[Entry<'_>]),
    key_span: Span,
    at: &Path<'_>,
    cx: &mut Cx<'_>,
) -> Option<Nodes> {
    let mut levels = Levels::default();
    let mut weights = Vec::new();
    if let Some(value) = get(entries, "defaults") {
        weights.push(value.weight);
        levels.defaults = node::read_level(value, &at.key("defaults"), cx);
    }
    if ["defaults", "kinds", "groups"].iter().any(|level| cx.is_misspelt(topology, level)) {
        levels.defaults.give_up(topology.span);
    }
    let at_kinds = at.key("kinds");
    if get(entries, "kinds").map_or(0, Value::len) > MAX_LEVELS {
        let message = format!("these are more than {MAX_LEVELS} kinds");
        cx.report.error(Code::TooLarge, key_span, &at_kinds, message);
        return None;
    }
    for entry in get(entries, "kinds").and_then(|value| cx.map(value, &at_kinds)).unwrap_or_default() {
        let at = at_kinds.key(entry.key);
        let kinds = cx.input.kinds;
        if kinds.find(entry.key).is_none() {
            let nearest = cx.report.nearest(&entry.key.to_ascii_lowercase(), kinds.names());
            let message = format!("there is no kind `{}`", cut(entry.key));
            cx.report.warning(Code::UnknownKind, entry.key_span, &at, message).suggest(nearest);
        }
        weights.push(entry.value.weight);
        let spec = node::read_level(&entry.value, &at, cx);
        say_other_kind(entry, &spec, &at, cx);
        if levels.kinds.insert(entry.key.to_ascii_lowercase(), spec).is_some() {
            let message = format!("kind `{}` is already there in other letters", cut(entry.key));
            cx.report.error(Code::DuplicateKey, entry.key_span, &at, message);
        }
    }
    let at_groups = at.key("groups");
    if weights.len() + get(entries, "groups").map_or(0, Value::len) > MAX_LEVELS {
        let message = format!("these are more than {MAX_LEVELS} kinds and groups");
        cx.report.error(Code::TooLarge, key_span, &at_groups, message);
        return None;
    }
    for entry in get(entries, "groups").and_then(|value| cx.map(value, &at_groups)).unwrap_or_default() {
        weights.push(entry.value.weight);
        let spec = node::read_level(&entry.value, &at_groups.key(entry.key), cx);
        levels.groups.insert(entry.key.to_owned(), spec);
        levels.group_keys.insert(entry.key.to_owned(), entry.key_span);
    }
    let at = at.key("nodes");
    let listed = match get(entries, "nodes") {
        Some(value) => cx.map(value, &at)?,
        None => &[],
    };
    if listed.is_empty() && cx.is_misspelt(topology, "nodes") {
        return None;
    }
    if listed.is_empty() {
        let span = entries.iter().find(|entry| entry.key == "nodes").map_or(key_span, |entry| entry.key_span);
        cx.report
            .error(Code::Missing, span, &at, "the topology has no nodes")
            .help("add at least one, for example `nodes: { r1: { kind: linux, runtime: namespace } }`");
        return None;
    }
    if listed.len() > MAX_NODES {
        let message = format!("the topology has {} nodes; at most {MAX_NODES} are read", listed.len());
        cx.report.error(Code::TooLarge, key_span, &at, message);
        return None;
    }
    // Each node has at most the defaults, one kind and one group: the three largest levels.
    weights.sort_unstable_by(|a, b| b.cmp(a));
    let inherited: u64 = weights.iter().take(3).fold(0, |sum: u64, weight| sum.saturating_add(u64::from(*weight)));
    let inherited = inherited.saturating_add(cx.imported);
    if inherited.saturating_mul(listed.len() as u64) > MAX_INHERITED {
        let message = format!("{} nodes inherit up to {inherited} values each; that is too much", listed.len());
        cx.report.error(Code::TooLarge, key_span, &at, message);
        return None;
    }
    let mut nodes = Nodes::default();
    nodes.facts.reserve(listed.len());
    nodes.nodes.reserve(listed.len());
    // Made in a row, so that they are side by side in memory: each end of a link looks at one.
    let names: Vec<Option<NodeName>> = listed.iter().map(|entry| entry.key.parse().ok()).collect();
    for (entry, name) in listed.iter().zip(names) {
        levels.node(entry, name, &at.key(entry.key), cx, &mut nodes);
    }
    Some(nodes)
}

/// Says that a level which is for the nodes of one kind cannot make them of another.
fn say_other_kind(entry: &Entry<'_>, spec: &Spec, at: &Path<'_>, cx: &mut Cx<'_>) {
    let (Some(named), Some(span)) = (spec.kind.get(), spec.kind.span()) else { return };
    if cx.input.kinds.find(entry.key).is_none_or(|own| own.name == named.kind) {
        return;
    }
    let (own, other) = (cut(entry.key), cut(&named.written));
    let message = format!("`kind` has no effect here: these fields are for nodes that are of kind `{own}` already");
    cx.report
        .warning(Code::NoEffect, span, &at.key("kind"), message)
        .help(format!("write `kind: {other}` at the nodes, at their group, or in `topology.defaults`"));
}
