//! A lab as a drawing: what is a box, what is a line, what is written beside it, and how Graphviz and Mermaid want
//! it. Equal labs give equal bytes.
//!
//! Labels of nodes say how they are drawn, as the format's tools read them: `graph-level` (nodes of one level stand
//! in one row, the lowest number at the top), `graph-icon`, `graph-group` (in the place of `group`) and `graph-hide`.

mod dot;
mod mermaid;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::kind;
use crate::lab::{End, Endpoint, Lab, LinkKind, Macvlan, Node};

/// What is drawn of a lab; as JSON it is what `netloom graph --format json` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// The lab's name.
    pub name: String,
    /// All nodes by name, hidden ones too, and what links end on beside nodes.
    pub nodes: Vec<GraphNode>,
    /// All links by id.
    pub links: Vec<GraphLink>,
}

/// A node of a drawing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphNode {
    /// Its name; unique in the drawing.
    pub name: String,
    /// Its kind; `host` and `remote` also for ends of links that are no nodes of the lab.
    pub kind: String,
    /// How it is drawn.
    pub shape: Shape,
    /// The group that it is drawn in, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The row that it stands in: the lowest is at the top.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<i32>,
    /// The name of its icon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icon: Option<String>,
    /// Whether it is left out of drawings, its links with it.
    pub hidden: bool,
    /// All its labels.
    pub labels: BTreeMap<String, String>,
}

/// How a node is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Something that runs.
    Node,
    /// A bridge.
    Bridge,
    /// The host itself.
    Host,
    /// Another host.
    Remote,
}

/// A link of a drawing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphLink {
    /// Its id, as everywhere.
    pub id: String,
    /// Its two ends, or the one of a link that ends in itself. The far end of a macvlan is the interface of the host that it
    /// hangs on, that of a VXLAN the other host.
    pub ends: Vec<GraphEnd>,
    /// MTU of its ends in bytes.
    pub mtu: u32,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// An end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphEnd {
    /// The name of the node that it is drawn at.
    pub node: String,
    /// The interface there, as the file names it; `vni N` at the other host of a VXLAN.
    pub interface: String,
    /// Its IPv4 address with prefix length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// Its IPv6 address with prefix length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
}

impl Graph {
    /// The drawing of a lab.
    pub fn of(lab: &Lab) -> Self {
        let mut nodes: BTreeMap<String, GraphNode> =
            lab.nodes().iter().map(|(name, node)| (name.to_string(), of_node(name.as_str(), node))).collect();
        // Every node of kind `host` is the same host, so its links are drawn at the first.
        let host = nodes.values().find(|node| node.shape == Shape::Host).map(|node| node.name.clone());
        let host = host.unwrap_or_else(|| "host".to_owned());
        let mut links = Vec::new();
        for link in lab.links() {
            let mut ends: Vec<GraphEnd> = link.ends().map(|end| of_end(end, &host)).collect();
            let mut shapes: Vec<Option<Shape>> = link.ends().map(|end| beside(&end.at)).collect();
            if let Some((end, shape)) = far_end(&link.kind) {
                ends.push(end);
                shapes.push(Some(shape));
            }
            for (end, shape) in ends.iter().zip(shapes) {
                if let Some(shape) = shape {
                    nodes.entry(end.node.clone()).or_insert_with(|| no_node(&end.node, shape));
                }
            }
            links.push(GraphLink {
                id: link.id().to_string(),
                ends,
                mtu: link.mtu.bytes(),
                labels: link.labels.clone(),
            });
        }
        Self { name: lab.name().to_string(), nodes: nodes.into_values().collect(), links }
    }

    /// As text for Graphviz (`dot -Tsvg`).
    pub fn dot(&self) -> String {
        dot::write(self)
    }

    /// As text for Mermaid, which Markdown pages of code forges show as a drawing.
    pub fn mermaid(&self) -> String {
        mermaid::write(self)
    }

    /// The nodes that are drawn, by group; those without one come first.
    fn by_group(&self) -> BTreeMap<Option<&str>, Vec<&GraphNode>> {
        let mut groups: BTreeMap<Option<&str>, Vec<&GraphNode>> = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| !node.hidden) {
            groups.entry(node.group.as_deref()).or_default().push(node);
        }
        groups
    }

    /// The links that are drawn: those with no hidden node at an end. The end at the higher row comes first, as the
    /// programs that draw put what comes first above.
    fn drawn_links(&self) -> impl Iterator<Item = Vec<&GraphEnd>> {
        let hidden: BTreeSet<&str> =
            self.nodes.iter().filter(|node| node.hidden).map(|node| node.name.as_str()).collect();
        let levels: BTreeMap<&str, i32> =
            self.nodes.iter().filter_map(|node| Some((node.name.as_str(), node.level?))).collect();
        self.links.iter().filter_map(move |link| {
            let mut ends: Vec<&GraphEnd> = link.ends.iter().collect();
            if ends.iter().any(|end| hidden.contains(end.node.as_str())) {
                return None;
            }
            if let [Some(a), Some(b)] = [ends.first(), ends.get(1)].map(|end| levels.get(end?.node.as_str()))
                && a > b
            {
                ends.reverse();
            }
            Some(ends)
        })
    }
}

fn of_node(name: &str, node: &Node) -> GraphNode {
    let label = |key: &str| node.labels.get(key).filter(|text| !text.is_empty());
    let shape = match node.kind.shape() {
        kind::Shape::Runs | kind::Shape::External => Shape::Node,
        kind::Shape::Bridge | kind::Shape::OvsBridge => Shape::Bridge,
        kind::Shape::Host => Shape::Host,
    };
    let yes = |text: &String| ["yes", "true", "on", "1"].contains(&text.to_ascii_lowercase().as_str());
    GraphNode {
        name: name.to_owned(),
        kind: node.kind.to_string(),
        shape,
        group: label("graph-group").or(node.group.as_ref()).cloned(),
        // What is no number stands in no row: labels are free text.
        level: label("graph-level").and_then(|text| text.trim().parse().ok()),
        icon: label("graph-icon").cloned(),
        hidden: label("graph-hide").is_some_and(yes),
        labels: node.labels.clone(),
    }
}

/// How an end is drawn that is at no node of the lab.
fn beside(at: &Endpoint) -> Option<Shape> {
    match at {
        Endpoint::Node(_) | Endpoint::Bridge(_) => None,
        Endpoint::Host => Some(Shape::Host),
        Endpoint::Remote(_) => Some(Shape::Remote),
    }
}

/// What a link leads to that the lab itself has one end of: an interface of the host, or another host.
fn far_end(kind: &LinkKind) -> Option<(GraphEnd, Shape)> {
    let (interface, shape) = match kind {
        LinkKind::Macvlan(Macvlan { parent, .. }) => (parent.to_string(), Shape::Host),
        _ => (format!("vni {}", kind.tunnel()?.vni), Shape::Remote),
    };
    let node = kind.leads_to()?;
    Some((GraphEnd { node, interface, ipv4: None, ipv6: None }, shape))
}

/// What is drawn beside the nodes of the lab.
fn no_node(name: &str, shape: Shape) -> GraphNode {
    let kind = if shape == Shape::Host { "host" } else { "remote" };
    GraphNode {
        name: name.to_owned(),
        kind: kind.to_owned(),
        shape,
        group: None,
        level: None,
        icon: None,
        hidden: false,
        labels: BTreeMap::new(),
    }
}

fn of_end(end: &End, host: &str) -> GraphEnd {
    let node = match &end.at {
        Endpoint::Node(node) | Endpoint::Bridge(node) => node.to_string(),
        Endpoint::Host => host.to_owned(),
        // No node has a colon in its name, so it meets none.
        Endpoint::Remote(peer) => format!("remote:{peer}"),
    };
    GraphEnd {
        node,
        interface: end.interface.to_string(),
        ipv4: end.ipv4.map(|net| net.to_string()),
        ipv6: end.ipv6.map(|net| net.to_string()),
    }
}
