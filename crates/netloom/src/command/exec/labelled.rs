//! Which nodes of a lab a command is for: those that run, and have the labels that are asked for.

use std::collections::BTreeMap;
use std::path::Path;

use netloom_engine::{Document, LabView, NodeView};
use netloom_model::{LabName, Shape};
use netloom_plan::NodeState;

use crate::client::{Client, segment};
use crate::failure::{Failure, Result};
use crate::{clab, labdir};

/// The nodes of a lab that run and have all of the labels, at least one.
pub(super) async fn running(client: &Client, lab: &LabName, labels: &[String]) -> Result<Vec<NodeView>> {
    let path = format!("/labs/{}", segment(lab));
    let view: LabView = client.get(&path).await?;
    let runs = |node: &NodeView| node.kind.shape() == Shape::Runs && node.state == NodeState::Running;
    let mut nodes: Vec<NodeView> = view.nodes.into_iter().filter(runs).collect();
    if !labels.is_empty() {
        let wanted: Document = client.get(&format!("{path}/desired")).await?;
        let wanted = wanted.lab().map_err(Failure::failed)?;
        let directory = wanted.source().map(|source| labdir::beside(Path::new(source), lab)).unwrap_or_default();
        nodes.retain(|node| {
            let spec = wanted.nodes().get(&node.name);
            spec.is_some_and(|spec| has_all(&clab::labels(spec, node, &wanted, &directory), labels))
        });
        if nodes.is_empty() {
            let labels = labels.join("` and `");
            return Err(Failure::failed(format_args!("no running node of lab {lab} has the label `{labels}`")));
        }
    }
    if nodes.is_empty() {
        return Err(Failure::failed(format_args!("no node of lab {lab} is running")));
    }
    Ok(nodes)
}

fn has_all(of: &BTreeMap<String, String>, labels: &[String]) -> bool {
    labels.iter().all(|label| match label.split_once('=') {
        Some((name, value)) => of.get(name).is_some_and(|own| own == value),
        None => of.contains_key(label),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_chosen_by_all_labels_that_are_asked_for() {
        let of = [("team", "net"), ("site", "")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let has = |labels: &[&str]| has_all(&of, &labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>());
        assert!(has(&["team"]) && has(&["team=net", "site"]) && has(&["site="]) && has(&[]));
        assert!(!has(&["team=ne"]) && !has(&["team=net", "x"]) && !has(&["team="]));
    }
}
