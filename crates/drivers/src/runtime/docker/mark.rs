//! Marks: how a container says that it is ours, and of what.
//!
//! Docker never lets labels change, so they say what a container was *made* by; what was applied to it since stands in
//! its [record](super::record). The `clab-…` labels are for other tools and prove nothing.

use std::collections::BTreeMap;
use std::path::Path;

use netloom_engine::{Applied, NodeOrder};
use netloom_model::{Home, LabName, Node, NodeName};
use netloom_plan::NodeFingerprint;

/// The agent instance that made it: the one label that makes a container ours.
pub(super) const INSTANCE: &str = "netloom.instance";
const LAB: &str = "netloom.lab";
const NODE: &str = "netloom.node";
const FINGERPRINT: &str = "netloom.fingerprint";
const APPLIED: &str = "netloom.applied";
/// On a node whose links are in the network of a container outside of its lab: that container's name.
const OUTSIDE: &str = "netloom.outside";

/// By which agents of the contract say whose a container is that they made.
pub(super) const INHERITED_LAB: &str = "archetype.lab_id";
const INHERITED_NODE: &str = "archetype.node_name";

/// What the labels of a container say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) lab: LabName,
    pub(super) node: NodeName,
    pub(super) fingerprint: NodeFingerprint,
    /// As it was written: a version that cannot read it knows the container all the same.
    pub(super) applied: Option<String>,
}

impl Mark {
    /// The mark of this instance on a container; `None` if it carries none.
    pub(super) fn read(labels: &BTreeMap<String, String>, instance: &str) -> Option<Self> {
        if labels.get(INSTANCE)? != instance {
            return None;
        }
        Some(Self {
            lab: labels.get(LAB)?.parse().ok()?,
            node: labels.get(NODE)?.parse().ok()?,
            fingerprint: labels.get(FINGERPRINT)?.parse().ok()?,
            applied: labels.get(APPLIED).cloned(),
        })
    }
}

/// What a node was made or changed by, from how it was written down; `None` if this version cannot read it.
pub(super) fn applied(of: &Mark, text: &str) -> Option<Applied> {
    let (lab, node) = (&of.lab, &of.node);
    serde_json::from_str(text)
        .inspect_err(|error| tracing::warn!(%lab, %node, %error, "what is kept of a node cannot be understood"))
        .ok()
}

/// The labels of a node that other tools read: the user's, and over them what those tools themselves would say.
pub(super) fn plain_labels(order: &NodeOrder, node: &Node) -> BTreeMap<String, String> {
    let (lab, name) = (order.lab.name(), &order.node);
    let mut labels = node.labels.clone();
    let mut set = |label: &str, value: &str| drop(labels.insert(label.to_owned(), value.to_owned()));
    set("containerlab", lab.as_str());
    set("clab-node-name", name.as_str());
    set("clab-node-longname", &order.lab.container_name(name));
    set("clab-node-kind", node.kind.as_str());
    set("clab-node-type", node.variant.as_deref().unwrap_or_default());
    set("clab-node-group", node.group.as_deref().unwrap_or_default());
    set("clab-topo-file", order.lab.source().unwrap_or_default());
    if let Some(source) = order.lab.source() {
        let directory = Path::new(source).with_file_name(format!("clab-{lab}")).join(name.as_str());
        set("clab-node-lab-dir", &directory.to_string_lossy());
    }
    let network = order.lab.management();
    if let Some(bridge) = network.bridge.as_ref().filter(|_| node.is_managed()) {
        set("clab-mgmt-net-bridge", bridge.as_str());
    }
    labels
}

/// All labels of a new container: those that other tools read, and our mark over them.
pub(super) fn labels(order: &NodeOrder, node: &Node, instance: &str) -> BTreeMap<String, String> {
    let mut labels = plain_labels(order, node);
    let mut set = |label: &str, value: &str| drop(labels.insert(label.to_owned(), value.to_owned()));
    set(INSTANCE, instance);
    set(LAB, order.lab.name().as_str());
    set(NODE, order.node.as_str());
    set(FINGERPRINT, &order.fingerprint.to_string());
    if let Some(applied) = Applied::of(order).and_then(|applied| serde_json::to_string(&applied).ok()) {
        set(APPLIED, &applied);
    }
    match order.lab.home(&order.node) {
        Home::Outside(container) if order.lab.first_in(container) == Some(&order.node) => set(OUTSIDE, container),
        Home::Outside(_) | Home::Own | Home::Node(_) | Home::Host => {}
    }
    labels
}

/// The lab and the node that another agent of the contract has made a container for, as its labels say.
pub(super) fn inherited(labels: &BTreeMap<String, String>) -> Option<(&str, &str)> {
    Some((labels.get(INHERITED_LAB)?, labels.get(INHERITED_NODE)?))
}

/// The container outside of the lab whose network the links of a node are in, if it is not its own.
pub(super) fn outside(labels: &BTreeMap<String, String>) -> Option<&str> {
    labels.get(OUTSIDE).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn order() -> NodeOrder {
        let nodes = serde_json::json!({ "r1": { "kind": "linux", "runtime": "docker", "image": "x", "hostname": "r1",
            "labels": { "team": "net", "netloom.instance": "forged", "clab-node-kind": "forged" } } });
        let lab = serde_json::from_value(serde_json::json!({ "name": "lab", "nodes": nodes })).unwrap();
        let (node, fingerprint) = ("r1".parse().unwrap(), "1.2.3".parse().unwrap());
        NodeOrder { lab: Arc::new(lab), node, fingerprint, rebuild: 7, restarts: 0 }
    }

    #[test]
    fn a_mark_reads_back_as_it_was_written_whatever_labels_the_user_has() {
        let order = order();
        let labels = labels(&order, &order.lab.nodes()[&order.node], "0123456789ab");
        assert_eq!((labels["team"].as_str(), labels["clab-node-kind"].as_str()), ("net", "linux"));
        let mark = Mark::read(&labels, "0123456789ab").unwrap();
        assert_eq!((mark.lab.as_str(), mark.node.as_str()), ("lab", "r1"));
        assert_eq!(mark.fingerprint, order.fingerprint);
        assert_eq!(applied(&mark, mark.applied.as_ref().unwrap()), Applied::of(&order));
    }

    #[test]
    fn other_tools_find_the_directory_and_the_network_of_a_node() {
        let of = |lab: serde_json::Value| {
            let lab: netloom_model::Lab = serde_json::from_value(lab).unwrap();
            let order = NodeOrder { lab: Arc::new(lab), ..order() };
            labels(&order, &order.lab.nodes()[&order.node], "0123456789ab")
        };
        let mut lab = serde_json::to_value(&*order().lab).unwrap();
        assert!(!of(lab.clone()).keys().any(|label| label == "clab-node-lab-dir" || label == "clab-mgmt-net-bridge"));
        lab["source"] = "/labs/x.clab.yml".into();
        lab["management"] = serde_json::json!({ "network": "clab", "bridge": "br-x" });
        let labels = of(lab);
        assert_eq!(labels["clab-node-lab-dir"], "/labs/clab-lab/r1");
        assert_eq!(labels["clab-mgmt-net-bridge"], "br-x");
    }

    #[test]
    fn containers_of_others_carry_no_mark() {
        let order = order();
        let labels = labels(&order, &order.lab.nodes()[&order.node], "0123456789ab");
        assert_eq!(Mark::read(&labels, "another"), None);
        let theirs = BTreeMap::from([("containerlab".to_owned(), "lab".to_owned())]);
        assert_eq!(Mark::read(&theirs, "0123456789ab"), None);
    }
}
