//! What everything that runs in a node has in its environment, whatever the node runs on.

use std::collections::BTreeMap;

use netloom_model::Node;

/// A node's own environment and these labels, as `NAME=value`. The node's own wins.
pub(super) fn environment(node: &Node, labels: &BTreeMap<String, String>) -> Vec<String> {
    let labels = labels.iter().map(|(name, value)| {
        let name: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        format!("CLAB_LABEL_{name}={value}")
    });
    labels.chain(node.env.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}
