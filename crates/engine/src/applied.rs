//! What a runtime keeps on a node beside its fingerprint: enough to want the node again when the store is lost.

use std::collections::BTreeMap;

use netloom_model::{Management, Node, NodeName, Prefix};
use serde::{Deserialize, Serialize};

use crate::driver::NodeOrder;

/// What a node was last made, started or changed by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The node itself.
    pub spec: Node,
    /// How often a rebuild of its lab had been asked for; part of its fingerprint and of those of its links.
    #[serde(default)]
    pub rebuild: u64,
    /// How often a restart of it had been asked for; part of its fingerprint too.
    #[serde(default)]
    pub restarts: u64,
    /// How container names of the lab are made.
    #[serde(default)]
    pub prefix: Prefix,
    /// Where the topology came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Nodes of the lab that run nothing, and so keep nothing themselves: those that it has links to, and those that
    /// no link ends on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shared: BTreeMap<NodeName, Node>,
    /// The management network of its lab as it is on the host, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Management>,
}

impl Applied {
    /// What an order applies; `None` for a node that is not in its lab.
    pub fn of(order: &NodeOrder) -> Option<Self> {
        let NodeOrder { lab, node, rebuild, restarts, .. } = order;
        Some(Self {
            spec: lab.nodes().get(node)?.clone(),
            rebuild: *rebuild,
            restarts: *restarts,
            prefix: lab.prefix().clone(),
            source: lab.source().map(str::to_owned),
            // Not all of them on each node: a lab of a thousand nodes and a thousand bridges would keep a million.
            shared: lab.idle_beside(node),
            network: Some(lab.management()).filter(|network| network.bridge.is_some()).cloned(),
        })
    }
}
