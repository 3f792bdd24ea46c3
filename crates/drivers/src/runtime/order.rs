//! What every runtime asks of an order about a node.

use std::fs;

use netloom_engine::NodeOrder;
use netloom_model::Node;

use super::fault::plain;
use super::turns::Key;

/// What stands in the way of a node, and what to do about it.
pub(super) type Obstacle = (String, Option<String>);

/// Which node it is about.
pub(super) fn key_of(order: &NodeOrder) -> Key {
    (order.lab.name().clone(), order.node.clone())
}

/// The node that it is about.
pub(super) fn node_of(order: &NodeOrder) -> Result<&Node, String> {
    order.lab.nodes().get(&order.node).ok_or_else(|| format!("lab {} has no node {}", order.lab.name(), order.node))
}

/// Why the source of a bind cannot be used, if it cannot. Blocks as long as the file system does.
pub(super) fn unusable(source: &str) -> Option<Obstacle> {
    let error = fs::metadata(source).err()?;
    let why = format!("bind source {source} cannot be used: {}", plain(&error));
    Some((why, Some("make it, or remove the bind".into())))
}
