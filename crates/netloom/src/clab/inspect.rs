//! What `containerlab inspect --format json` prints: a list of containers for each lab.

use std::path::{Component, Path, PathBuf};

use netloom_engine::{Health, LabView, NodeView};
use netloom_model::{Lab, LabName};
use netloom_plan::NodeState;
use serde::Serialize;

use super::{OnManagement, is_container};

/// What is said of an address that a node does not have.
const NONE: &str = "N/A";

/// A container of a lab.
#[derive(Debug, Serialize)]
pub(crate) struct Inspected {
    lab_name: String,
    #[serde(rename = "labPath")]
    lab_path: String,
    #[serde(rename = "absLabPath")]
    abs_lab_path: String,
    name: String,
    container_id: String,
    image: String,
    kind: String,
    group: String,
    state: &'static str,
    status: String,
    ipv4_address: String,
    ipv6_address: String,
    owner: String,
}

/// The containers of one lab. `lab` is what is wanted of it, if that is known; `here` is the current directory; `owner`
/// is whose the lab is.
pub(crate) fn inspected(view: &LabView, lab: Option<&Lab>, here: &Path, owner: &str) -> (LabName, Vec<Inspected>) {
    let source = view.source.clone().unwrap_or_default();
    let relative = if source.is_empty() { PathBuf::new() } else { relative(Path::new(&source), here) };
    let nodes = view.nodes.iter().filter(|node| is_container(node) && node.state != NodeState::Absent);
    let entry = |node: &NodeView| {
        let spec = lab.and_then(|lab| lab.nodes().get(&node.name));
        let on = lab.map(|lab| OnManagement::of(node, lab)).unwrap_or_default();
        Inspected {
            lab_name: view.name.to_string(),
            lab_path: relative.display().to_string(),
            abs_lab_path: source.clone(),
            name: node.container.clone(),
            container_id: node.id.clone().unwrap_or_default(),
            image: spec.and_then(|spec| spec.image.clone()).unwrap_or_default(),
            kind: node.kind.to_string(),
            group: spec.and_then(|spec| spec.group.clone()).unwrap_or_default(),
            state: state(&node.state),
            status: status(node),
            ipv4_address: on.ipv4.map_or_else(|| NONE.to_owned(), |ipv4| ipv4.to_string()),
            ipv6_address: on.ipv6.map_or_else(|| NONE.to_owned(), |ipv6| ipv6.to_string()),
            owner: owner.to_owned(),
        }
    };
    (view.name.clone(), nodes.map(entry).collect())
}

/// The state in the words of Docker.
fn state(state: &NodeState) -> &'static str {
    match state {
        NodeState::Absent | NodeState::Creating | NodeState::Created | NodeState::Starting => "created",
        NodeState::Running | NodeState::Stopping => "running",
        NodeState::Stopped | NodeState::Exited { .. } | NodeState::Failed { .. } => "exited",
    }
}

/// What Docker says beside it, without the times that it counts.
fn status(node: &NodeView) -> String {
    match (&node.state, node.health) {
        (NodeState::Running, None) | (NodeState::Stopping, _) => "Up".to_owned(),
        (NodeState::Running, Some(Health::Starting)) => "Up (health: starting)".to_owned(),
        (NodeState::Running, Some(health)) => format!("Up ({})", health.word()),
        (NodeState::Exited { code }, _) => format!("Exited ({code})"),
        (NodeState::Stopped | NodeState::Failed { .. }, _) => "Exited".to_owned(),
        (NodeState::Absent | NodeState::Creating | NodeState::Created | NodeState::Starting, _) => "Created".to_owned(),
    }
}

/// The way from one absolute directory to an absolute path.
fn relative(to: &Path, from: &Path) -> PathBuf {
    let shared = to.components().zip(from.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(to.components().skip(shared)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::sample;
    use super::*;

    #[test]
    fn each_lab_has_a_list_of_its_containers() {
        let (lab, mut view) = sample();
        view.nodes[3].health = Some(Health::Healthy);
        view.nodes[2].state = NodeState::Exited { code: 3 };
        let (name, nodes) = inspected(&view, Some(&lab), Path::new("/labs/x"), "me");
        let nodes = serde_json::to_value(nodes).unwrap();
        assert_eq!((name.as_str(), nodes.as_array().unwrap().len()), ("shop", 3), "a bridge is no container");
        let web = json!({
            "lab_name": "shop", "labPath": "../shop.clab.yml", "absLabPath": "/labs/shop.clab.yml",
            "name": "clab-shop-web", "container_id": "0123456789ab", "image": "ghcr.io/nokia/srlinux:25.3",
            "kind": "nokia_srlinux", "group": "", "state": "running", "status": "Up (healthy)",
            "ipv4_address": "10.77.0.10/24", "ipv6_address": "N/A", "owner": "me"
        });
        assert_eq!(nodes[2], web);
        assert_eq!((&nodes[1]["state"], &nodes[1]["status"]), (&json!("exited"), &json!("Exited (3)")));
    }

    #[test]
    fn a_lab_that_only_its_marks_know_is_shown_as_far_as_it_is_known() {
        let (_, mut view) = sample();
        view.source = None;
        view.nodes[1].state = NodeState::Absent;
        let nodes = serde_json::to_value(inspected(&view, None, Path::new("/"), "").1).unwrap();
        assert_eq!(nodes.as_array().unwrap().len(), 2, "what is not there is no container");
        assert_eq!((&nodes[0]["labPath"], &nodes[0]["image"]), (&json!(""), &json!("")));
        assert_eq!(nodes[0]["ipv4_address"], json!("N/A"));
    }

    #[test]
    fn a_path_is_shown_from_where_the_caller_is() {
        let from = |here: &str| relative(Path::new("/labs/a/x.clab.yml"), Path::new(here)).display().to_string();
        assert_eq!(from("/labs/a"), "x.clab.yml");
        assert_eq!(from("/labs"), "a/x.clab.yml");
        assert_eq!(from("/home/me"), "../../labs/a/x.clab.yml");
    }
}
