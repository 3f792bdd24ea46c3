//! Whose network namespace things are in: containers may share that of another one, and bridges may be inside of nodes.

use std::collections::BTreeMap;

use super::{End, Endpoint, Lab, LabParts, NetworkMode, Node, RuntimeKind};
use crate::kind::Shape;
use crate::name::{InterfaceName, NodeName};

/// Whose network namespace a node has, or is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home<'a> {
    /// Its own.
    Own,
    /// That of another node of the lab, which has one of its own.
    Node(&'a NodeName),
    /// The host's.
    Host,
    /// That of a container which is no node of the lab.
    Outside(&'a str),
}

/// A bridge in the network namespace of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InnerBridge<'a> {
    /// Its name in the lab: `bridge|node`.
    pub name: &'a NodeName,
    /// The node whose network namespace it is in.
    pub node: &'a NodeName,
}

impl Home<'_> {
    /// Whose it is for a node of this name.
    pub(crate) fn of<'a>(name: &'a NodeName, nodes: &'a BTreeMap<NodeName, Node>) -> Home<'a> {
        let mut at = name;
        // A lab in which nodes share in a circle is refused by its reader; here the walk only has to end.
        for _ in 0..=nodes.len() {
            let Some(node) = nodes.get(at) else { return Home::Outside(at.as_str()) };
            let Some(next) = next(at, node) else {
                return match node.kind.shape() {
                    _ if at == name => Home::Own,
                    Shape::Runs | Shape::External => Home::Node(at),
                    // Its name is none that a container of the lab has.
                    Shape::Bridge | Shape::OvsBridge | Shape::Host => Home::Outside(at.as_str()),
                };
            };
            let next = match next {
                Next::Host => return Home::Host,
                Next::Of(next) => next,
            };
            let found = next.parse().ok().and_then(|next: NodeName| nodes.get_key_value(&next));
            match found {
                Some((next, _)) => at = next,
                None => return Home::Outside(next),
            }
        }
        Home::Own
    }
}

enum Next<'a> {
    Host,
    Of(&'a str),
}

/// Where the way to the namespace of a node leads from it; nowhere if it has one.
fn next<'a>(name: &'a NodeName, node: &'a Node) -> Option<Next<'a>> {
    let inner = name.inner_bridge().filter(|_| node.kind.shape() == Shape::Bridge);
    // A namespace node has one of its own, whatever the field says.
    let shares = inner.is_some() || node.runtime == Some(RuntimeKind::Docker);
    match &node.network_mode {
        NetworkMode::Container(other) if shares => Some(Next::Of(other)),
        NetworkMode::Host if shares && inner.is_none() => Some(Next::Host),
        // What stands behind the bar is only a name where the field says the node.
        _ => inner.map(|(_, owner)| Next::Of(owner)),
    }
}

impl Lab {
    /// Whose network namespace a node has.
    pub fn home<'a>(&'a self, node: &'a NodeName) -> Home<'a> {
        Home::of(node, &self.parts.nodes)
    }

    /// The first node of this lab that has the network namespace of a container outside of it; the others share it with that.
    pub fn first_in(&self, outside: &str) -> Option<&NodeName> {
        let runs = self.nodes().iter().filter(|(_, node)| node.kind.shape() == Shape::Runs);
        runs.map(|(name, _)| name).find(|name| self.home(name) == Home::Outside(outside))
    }

    /// The bridges in nodes of this lab.
    pub fn inner_bridges(&self) -> impl Iterator<Item = InnerBridge<'_>> {
        self.parts.inner_bridges()
    }
}

impl InnerBridge<'_> {
    /// Its name in that namespace.
    pub fn interface(&self) -> Option<InterfaceName> {
        self.name.inner_bridge()?.0.parse().ok()
    }
}

impl LabParts {
    pub(crate) fn inner_bridges(&self) -> impl Iterator<Item = InnerBridge<'_>> {
        let bridges = self.nodes.iter().filter(|(name, node)| is_inner(name, node));
        bridges.filter_map(|(name, _)| match Home::of(name, &self.nodes) {
            Home::Node(node) => Some(InnerBridge { name, node }),
            Home::Own | Home::Host | Home::Outside(_) => None,
        })
    }

    /// Notes at each end where its interface is. Hardly any lab shares a namespace, and none of its ends is looked at then.
    pub(super) fn find_homes(&mut self) {
        let Self { nodes, links, .. } = self;
        let homes = nodes.iter().filter_map(|(name, node)| {
            let home = match next(name, node).map(|_| Home::of(name, nodes))? {
                Home::Node(node) => Endpoint::Node(node.clone()),
                Home::Host => Endpoint::Host,
                Home::Own | Home::Outside(_) => return None,
            };
            Some((name.clone(), home))
        });
        let homes: BTreeMap<NodeName, Endpoint> = homes.collect();
        let noted = links.iter_mut().flat_map(|link| std::iter::once(&mut link.a).chain(&mut link.b));
        for end in noted.filter(|end| !homes.is_empty() || end.shared.is_some()) {
            end.shared = end.at.node().and_then(|node| homes.get(node)).cloned();
        }
    }
}

fn is_inner(name: &NodeName, node: &Node) -> bool {
    node.kind.shape() == Shape::Bridge && name.inner_bridge().is_some()
}

impl End {
    /// Where its interface is: in the namespace of what it ends on, or in the one that this shares.
    pub fn home(&self) -> &Endpoint {
        self.shared.as_ref().unwrap_or(&self.at)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lab(nodes: serde_json::Value, links: &[[&str; 2]]) -> Lab {
        let mut all = nodes;
        for (name, node) in all.as_object_mut().unwrap() {
            node["hostname"] = name.replace('|', "-").into();
            if node.get("kind").is_none() {
                node["kind"] = "linux".into();
                node["image"] = "x".into();
                node["runtime"] = node.get("runtime").cloned().unwrap_or_else(|| "docker".into());
            }
        }
        let end = |text: &str, mac: usize| {
            let (node, interface) = text.split_once(':').unwrap();
            let at = if node.contains('|') { "bridge" } else { "node" };
            json!({ "at": { at: node }, "interface": interface, "mac": format!("02:00:00:00:00:{mac:02x}") })
        };
        let links: Vec<_> = links
            .iter()
            .enumerate()
            .map(|(at, [a, b])| json!({ "a": end(a, 2 * at + 1), "b": end(b, 2 * at + 2) }))
            .collect();
        serde_json::from_value(json!({ "name": "x", "nodes": all, "links": links })).unwrap()
    }

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    #[test]
    fn a_node_that_shares_is_at_home_where_the_last_of_the_chain_has_its_namespace() {
        let of = |other: &str| json!({ "network_mode": { "container": other } });
        let lab = lab(
            json!({ "sw": {}, "side": of("sw"), "more": of("side"), "far": of("other-container"),
                "host": { "kind": "host" }, "h": { "network_mode": "host" },
                "ns": { "runtime": "namespace", "network_mode": { "container": "sw" } },
                "lan|sw": { "kind": "bridge" }, "x|more": { "kind": "bridge" },
                "named": {}, "lan|a": { "kind": "bridge", "network_mode": { "container": "named" } } }),
            &[["more:eth1", "lan|sw:p1"], ["side:eth2", "h:h1"], ["sw:eth5", "lan|a:p1"]],
        );
        let home = |of: &str| match lab.home(&name(of)) {
            Home::Own => "own".to_owned(),
            Home::Node(node) => node.to_string(),
            Home::Host => "host".to_owned(),
            Home::Outside(other) => format!("outside {other}"),
        };
        let all = ["sw", "side", "more", "far", "h", "ns", "lan|sw", "x|more", "lan|a"].map(home);
        assert_eq!(all, ["own", "sw", "sw", "outside other-container", "host", "own", "sw", "sw", "named"]);
        let inner = lab.inner_bridges().map(|bridge| format!("{} in {}", bridge.interface().unwrap(), bridge.node));
        assert_eq!(inner.collect::<Vec<_>>(), ["lan in named", "lan in sw", "x in sw"]);
        let homes: Vec<_> = lab.links().iter().flat_map(super::super::Link::ends).map(End::home).collect();
        let (sw, named) = (Endpoint::Node(name("sw")), Endpoint::Node(name("named")));
        assert_eq!(homes, [&sw, &Endpoint::Host, &sw, &named, &sw, &sw]);
    }

    #[test]
    fn an_edit_that_ends_the_sharing_brings_ends_home() {
        let nodes = json!({ "sw": {}, "side": { "network_mode": { "container": "sw" } } });
        let mut parts = lab(nodes, &[["side:eth1", "sw:eth2"]]).into_parts();
        parts.nodes.get_mut(&name("side")).unwrap().network_mode = NetworkMode::None;
        let lab = Lab::new(parts).unwrap();
        assert_eq!(lab.links()[0].a.home(), &Endpoint::Node(name("side")));
    }
}
