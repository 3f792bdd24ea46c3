//! What of a lab no plan makes, because this version cannot: said with its reason, never failed over.

use std::collections::BTreeMap;
use std::fmt;

use netloom_model::{Endpoint, Home, Lab, Lacking, Link, LinkId, Node, NodeName, Shape};
use serde::{Deserialize, Serialize};

/// A node, or a link, that plans leave out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "left-out")]
pub enum Omission {
    /// A node that cannot be made.
    Node {
        /// The node.
        node: NodeName,
        /// What has to be there to make it.
        needs: Lacking,
    },
    /// A link that cannot be made.
    Link {
        /// The link.
        link: LinkId,
        /// Why: what it needs, or which of its nodes is not made.
        why: String,
    },
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { node, needs } => write!(f, "node {node} is left out: it needs {needs}"),
            Self::Link { link, why } => write!(f, "link {link} is left out: {why}"),
        }
    }
}

/// Everything of one lab that plans leave out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    nodes: BTreeMap<NodeName, Lacking>,
    links: BTreeMap<LinkId, String>,
}

impl LeftOut {
    /// What a lab has of it.
    pub fn of(lab: &Lab) -> Self {
        let lacking = |name: &NodeName| {
            let node = lab.nodes().get(name)?;
            Lacking::of(name, &node.kind).or_else(|| has_no_place(lab, name, node))
        };
        let nodes = lab.nodes().keys().filter_map(|name| Some((name.clone(), lacking(name)?)));
        let nodes: BTreeMap<NodeName, Lacking> = nodes.collect();
        let without = |link: &Link| why(lab, link, &nodes).map(|why| (link.id(), why));
        let links = lab.links().iter().filter_map(without).collect();
        Self { nodes, links }
    }

    /// The links of the lab that are made. Most labs leave none out, and then no id is put together.
    pub fn made<'l>(&self, lab: &'l Lab) -> impl Iterator<Item = &'l Link> {
        lab.links().iter().filter(|link| self.links.is_empty() || self.link(&link.id()).is_none())
    }

    /// Why this node is left out, if it is.
    pub fn node(&self, name: &NodeName) -> Option<Lacking> {
        self.nodes.get(name).copied()
    }

    /// Why this link is left out, if it is.
    pub fn link(&self, id: &LinkId) -> Option<&str> {
        self.links.get(id).map(String::as_str)
    }

    /// All of it, the nodes first.
    pub fn omissions(&self) -> Vec<Omission> {
        let nodes = self.nodes.iter().map(|(node, needs)| Omission::Node { node: node.clone(), needs: *needs });
        let links = self.links.iter().map(|(link, why)| Omission::Link { link: link.clone(), why: why.clone() });
        nodes.chain(links).collect()
    }
}

/// A bridge in a node is made where links are.
fn has_no_place(lab: &Lab, name: &NodeName, node: &Node) -> Option<Lacking> {
    if node.kind.shape() != Shape::Bridge || name.inner_bridge().is_none() {
        return None;
    }
    match lab.home(name) {
        Home::Node(home) => Lacking::of(home, &lab.nodes().get(home)?.kind),
        Home::Own | Home::Host | Home::Outside(_) => Some(Lacking::OtherNamespaces),
    }
}

/// Why an end cannot be in the network namespace of a container outside of the lab. In one namespace the ends of one node of
/// a lab can be told from all else, and not from those of a second one.
fn not_outside(lab: &Lab, link: &Link) -> Option<String> {
    link.ends().filter_map(|end| end.at.node()).find_map(|node| {
        let Home::Outside(container) = lab.home(node) else { return None };
        let first = lab.first_in(container)?;
        (first != node).then(|| {
            format!("node {node} has the network of `{container}`, as node {first} has; write the link at {first}")
        })
    })
}

fn why(lab: &Lab, link: &Link, nodes: &BTreeMap<NodeName, Lacking>) -> Option<String> {
    // A tunnel by itself ends there.
    let far = link.access_port().is_none() && link.ends().any(|end| matches!(end.at, Endpoint::Remote(_)));
    let needs = link.kind.needs().or(far.then_some("a tunnel to another host, which is not made yet"));
    if let Some(needs) = needs {
        return Some(format!("it needs {needs}"));
    }
    if let Some(why) = not_outside(lab, link) {
        return Some(why);
    }
    // Most labs have none.
    if nodes.is_empty() {
        return None;
    }
    let named = link.ends().flat_map(|end| [&end.at, end.home()]).filter_map(Endpoint::node);
    let missing = named.into_iter().find(|node| nodes.contains_key(*node))?;
    Some(format!("node {missing} is not made"))
}
