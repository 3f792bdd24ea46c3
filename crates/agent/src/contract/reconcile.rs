//! Several nodes at once, each to run or to be gone. One that fails is an error of its own: the rest is as it was asked for, and
//! said to be.

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use netloom_engine::Controlled;
use netloom_model::{LabName, NodeName};
use netloom_plan::NodeState;
use regex_lite::RegexBuilder;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Json, done};
use super::carry_out::{Late, carry_out_and_tell, wish};
use super::fields::lab;
use super::labs::DEPLOY;
use super::links::port_view;
use super::nodes::named_in_containers;
use crate::routes::Shared;
use crate::serve::App;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/labs/{lab}/nodes/reconcile", post(reconcile))
}

#[derive(Debug, Deserialize)]
struct Reconcile {
    nodes: Vec<Wanted>,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    container_name: String,
    desired_state: Desired,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Desired {
    Running,
    Stopped,
}

/// How a node is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing of it is there, and nothing wanted.
    Nothing,
    /// It is wanted no more, and not gone yet.
    Leaving,
    /// It is wanted, and does not run.
    There,
    /// It runs.
    Runs,
}

impl Found {
    fn of(app: &App, lab: &LabName, node: &NodeName) -> Self {
        let snapshot = app.engine.inventory().snapshot();
        let state = snapshot.node(lab, node).map(|fact| &fact.state).filter(|state| **state != NodeState::Absent);
        let is_wanted = wish(app, lab).is_some_and(|wish| wish.lab.nodes().contains_key(node));
        match state {
            Some(NodeState::Running) if is_wanted => Self::Runs,
            _ if is_wanted => Self::There,
            Some(_) => Self::Leaving,
            None => Self::Nothing,
        }
    }
}

/// Whether all interfaces of a node are ports of the switch that work.
fn is_plugged(app: &App, lab: &LabName, node: &NodeName) -> bool {
    let snapshot = app.engine.inventory().snapshot();
    let Some(wish) = wish(app, lab) else { return false };
    let mut ports = wish.lab.links().iter().filter(|link| link.a.at.node() == Some(node));
    ports.all(|link| port_view(&wish, link, &snapshot).is_none_or(|port| port.tag.is_some()))
}

async fn reconcile(State(app): State<Shared>, Path(name): Path<String>, Json(body): Json<Reconcile>) -> Answer {
    let name = lab(&name)?;
    let mut nodes = Vec::new();
    for wanted in &body.nodes {
        let node = named_in_containers(&name, &wanted.container_name)?;
        let found = Found::of(&app, &name, &node);
        nodes.push((wanted, node, found));
    }
    let outcome = changed(&app, &name, &nodes).await;
    let result = |(wanted, node, before): &(&Wanted, NodeName, Found)| {
        let (action, error) = match (wanted.desired_state, before) {
            (Desired::Stopped, Found::Nothing) => ("already_stopped", None),
            (Desired::Running, Found::Runs) => ("already_running", None),
            (Desired::Running, Found::Nothing) => {
                ("error", Some(format!("node {node} was not found: it has to be created first")))
            }
            (Desired::Running, Found::Leaving) => ("error", Some(format!("node {node} is being removed"))),
            (desired, _) => match (&outcome, desired, Found::of(&app, &name, node)) {
                // What of the others failed is none of its affair.
                (Ok(()), Desired::Stopped, _) | (Err(_), Desired::Stopped, Found::Nothing) => ("removed", None),
                (Ok(()), Desired::Running, _) => ("started", None),
                (Err(_), Desired::Running, Found::Runs) if is_plugged(&app, &name, node) => ("started", None),
                (Err(why), ..) => ("error", Some(of_one_that_is_there(why))),
            },
        };
        json!({ "success": error.is_none(), "error": error, "container_name": wanted.container_name, "action": action })
    };
    let results: Vec<Value> = nodes.iter().map(result).collect();
    Ok(done(&json!({ "lab_id": name, "results": results, "error": null })))
}

/// Has the nodes be as they are wanted, those that are not.
async fn changed(app: &App, lab: &LabName, nodes: &[(&Wanted, NodeName, Found)]) -> Result<(), String> {
    let chosen = |is_so: &dyn Fn(Desired, Found) -> bool| -> BTreeSet<NodeName> {
        let all = nodes.iter().filter(|(wanted, _, found)| is_so(wanted.desired_state, *found));
        all.map(|(_, node, _)| node.clone()).collect()
    };
    let stops = chosen(&|desired, found| desired == Desired::Stopped && found != Found::Nothing);
    let starts = chosen(&|desired, found| desired == Desired::Running && found == Found::There);
    let mut edits = Vec::new();
    if !stops.is_empty() {
        edits.push(Controlled::Remove(stops));
    }
    if !starts.is_empty() {
        edits.push(Controlled::Start(starts));
    }
    if edits.is_empty() {
        return Ok(());
    }
    carry_out_and_tell(app, lab, Controlled::Several(edits), DEPLOY, Late::GoesOn).await
}

/// An error of a node that is there: of one that is "not found" a controller believes that this host does not have it.
fn of_one_that_is_there(why: &str) -> String {
    let words = RegexBuilder::new("not found").case_insensitive(true).build().expect("it is a pattern");
    words.replace_all(why, "missing").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_node_that_is_there_does_not_say_that_it_is_not() {
        let why = "exec: \"sh\": executable file not found in $PATH; Not Found";
        assert_eq!(of_one_that_is_there(why), "exec: \"sh\": executable file missing in $PATH; missing");
    }
}
