//! `netloom node`: a node is put in, or taken out with its links; what runs in it is stopped, started, restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use netloom_engine::{Document, LabView, Layout, NodeEntry};
use netloom_model::{LabName, Node as Spec, NodeName};
use netloom_plan::NodeState;
use serde_json::{Map, Value, json};

use super::each;
use super::edit::Edit;
use crate::cli::{LabNode, Node, NodeAdd, NodeTurn};
use crate::client::{Client, segment};
use crate::failure::{Failure, Result};
use crate::{output, topology};

/// Returns when it is so.
pub(crate) async fn run(command: Node, layout: &Layout) -> Result {
    match command {
        Node::Add(options) => {
            let spec = spec(&options)?;
            add(&options, &spec, &Client::connect(layout).await?).await
        }
        Node::Rm { node, json } => remove(&node, json, &Client::connect(layout).await?).await,
        Node::Stop(options) => turn(&options, Turn::Stop, &Client::connect(layout).await?).await,
        Node::Start(options) => turn(&options, Turn::Start, &Client::connect(layout).await?).await,
        Node::Restart(options) => turn(&options, Turn::Restart, &Client::connect(layout).await?).await,
    }
}

/// The node, read as strictly as a topology file.
fn spec(options: &NodeAdd) -> Result<Spec> {
    let name = &options.node.node;
    let Some(from) = &options.from else {
        return from_options(options, &std::env::current_dir().map_err(Failure::input)?, name);
    };
    // What a directory stands for elsewhere is a topology, and no node.
    if from.is_dir() {
        let from = from.display();
        return Err(Failure::input(format_args!("{from} is a directory; name the file with the fields of the node")));
    }
    let source = topology::find(from)?;
    topology::read_node(&source.whole()?, &source.shown.display().to_string(), &source.directory, name)
}

fn from_options(options: &NodeAdd, here: &Path, name: &NodeName) -> Result<Spec> {
    let NodeAdd { kind, runtime, image, cmd, env, bind, exec, .. } = options;
    let mut fields = Map::from_iter([("kind".to_owned(), Value::from(kind.as_str()))]);
    let default = (kind == "linux" && image.is_none()).then(|| "namespace".to_owned());
    for (field, value) in [("runtime", runtime.clone().or(default)), ("image", image.clone()), ("cmd", cmd.clone())] {
        fields.extend(value.map(|value| (field.to_owned(), value.into())));
    }
    let mut variables = Map::new();
    for pair in env {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::input(format_args!("--env {pair}: write NAME=VALUE; the value may be empty")))?;
        variables.insert(key.to_owned(), value.into());
    }
    if !variables.is_empty() {
        fields.insert("env".to_owned(), variables.into());
    }
    for (field, values) in [("binds", bind), ("exec", exec)] {
        if !values.is_empty() {
            fields.insert(field.to_owned(), values.clone().into());
        }
    }
    // JSON is YAML too. Options are taken as they are: nothing in them begins a variable or a template.
    let text = serde_json::to_string(&fields).map_err(Failure::failed)?;
    let text = text.replace('$', "$$").replace("{{", "{\\u007b");
    topology::read_node(text.as_bytes(), "the options", here, name)
}

async fn add(options: &NodeAdd, spec: &Spec, client: &Client) -> Result {
    let LabNode { lab, node } = &options.node;
    let edit = Edit { client, lab, title: format!("node add {lab}/{node}"), json: options.json };
    let patch = |wanted: &Document| {
        if wanted.nodes.contains_key(node) {
            return Err(Failure::input(format_args!("lab `{lab}` has a node `{node}` already")));
        }
        Ok(json!({ "nodes": { node.as_str(): spec } }))
    };
    edit.make_and_say(patch, &format!("node {node} is added")).await
}

/// What is to become of what runs in a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Stop,
    Start,
    Restart,
}

/// One edit for all nodes of a lab, lab by lab; one that fails does not stop the others.
async fn turn(NodeTurn { nodes, json }: &NodeTurn, turn: Turn, client: &Client) -> Result {
    let mut labs: BTreeMap<&LabName, BTreeSet<&NodeName>> = BTreeMap::new();
    for LabNode { lab, node } in nodes {
        labs.entry(lab).or_default().insert(node);
    }
    each(labs, async |(lab, nodes)| turn_in(lab, &nodes, *json, turn, client).await).await
}

async fn turn_in(lab: &LabName, nodes: &BTreeSet<&NodeName>, json: bool, turn: Turn, client: &Client) -> Result {
    let (word, one, many) = match turn {
        Turn::Stop => ("stop", "is stopped", "are stopped"),
        Turn::Start => ("start", "runs", "run"),
        Turn::Restart => ("restart", "is restarted", "are restarted"),
    };
    // One that has ended by itself is wanted to run already: a start of it is a restart.
    let ended: BTreeSet<NodeName> = if turn == Turn::Start {
        let view: LabView = client.get(&format!("/labs/{}", segment(lab))).await?;
        let ended = |state: &NodeState| matches!(state, NodeState::Exited { .. } | NodeState::Failed { .. });
        view.nodes.into_iter().filter(|view| ended(&view.state)).map(|view| view.name).collect()
    } else {
        BTreeSet::new()
    };
    let names = nodes.iter().map(|node| node.as_str()).collect::<Vec<_>>().join(", ");
    let title = nodes.iter().map(|node| format!("{lab}/{node}")).collect::<Vec<_>>().join(" ");
    let edit = Edit { client, lab, title: format!("node {word} {title}"), json };
    let patch = |wanted: &Document| {
        let mut changes = Map::new();
        for node in nodes {
            let entry = find(wanted, node)?;
            if entry.node.runtime.is_none() {
                let kind = &entry.node.kind;
                let text = format_args!(
                    "node `{node}` of lab `{lab}` is of kind `{kind}`: nothing runs in it that could be stopped or started"
                );
                return Err(Failure::input(text));
            }
            let change = match turn {
                Turn::Stop => json!({ "state": "stopped" }),
                Turn::Start if !ended.contains(*node) => json!({ "state": "running" }),
                Turn::Start | Turn::Restart => json!({ "state": "running", "restarts": entry.restarts + 1 }),
            };
            changes.insert(node.to_string(), change);
        }
        Ok(json!({ "nodes": changes }))
    };
    let done = if nodes.len() == 1 { format!("node {names} {one}") } else { format!("nodes {names} {many}") };
    edit.make_and_say(patch, &done).await
}

/// The node of this name.
fn find<'a>(wanted: &'a Document, node: &NodeName) -> Result<&'a NodeEntry> {
    wanted.nodes.get(node).ok_or_else(|| {
        let known: Vec<&str> = wanted.nodes.keys().map(NodeName::as_str).take(40).collect();
        let (lab, known) = (&wanted.name, known.join(", "));
        Failure::input(format_args!("there is no node `{node}` in lab `{lab}`; it has {known}"))
    })
}

async fn remove(LabNode { lab, node }: &LabNode, json: bool, client: &Client) -> Result {
    let edit = Edit { client, lab, title: format!("node rm {lab}/{node}"), json };
    let taken = std::cell::RefCell::new(Vec::new());
    let patch = |wanted: &Document| {
        find(wanted, node)?;
        let ends =
            |key: &&String| key.split(' ').any(|end| end.split_once(':').is_some_and(|(of, _)| of == node.as_str()));
        let links: Vec<&String> = wanted.links.keys().filter(ends).collect();
        *taken.borrow_mut() = links.iter().map(ToString::to_string).collect();
        let links: Map<String, Value> = links.into_iter().map(|key| (key.clone(), Value::Null)).collect();
        Ok(json!({ "nodes": { node.as_str(): null }, "links": links }))
    };
    edit.make(patch).await?;
    if json {
        return Ok(());
    }
    let links: Vec<String> = taken.into_inner().iter().map(|key| key.replace(' ', " – ")).collect();
    let with = match links.as_slice() {
        [] => String::new(),
        [one] => format!(" with its link {one}"),
        many => format!(" with its links {}", many.join(", ")),
    };
    output::result(&format!("lab {lab}: node {node} is removed{with}\n"))
}
