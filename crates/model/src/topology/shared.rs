//! Nodes that share the network of another (`network-mode: container:NODE`): one of them has to have one of its own. And
//! bridges that are in the network of a node: it has to be there.

use std::collections::HashMap;

use super::diagnostic::{Code, Path, cut};
use super::facts::{AllFacts, Facts};
use super::reader::Cx;
use crate::kind::Shape;
use crate::lab::NetworkMode;

/// Says which nodes share a network in a circle. Every node is walked over once.
pub(super) fn check(facts: &AllFacts, cx: &mut Cx<'_>) {
    let other = |name: &str| match facts.get(name)?.network_mode.as_deref()? {
        NetworkMode::Container(other) => facts.get(other).map(|_| other.as_str()),
        NetworkMode::Default | NetworkMode::None | NetworkMode::Host => None,
    };
    let mut walks: HashMap<&str, usize> = HashMap::new();
    if !facts.iter().any(|facts| matches!(facts.network_mode.as_deref(), Some(NetworkMode::Container(_)))) {
        return;
    }
    for (walk, start) in facts.names().enumerate() {
        let mut at = start;
        let circle = loop {
            if let Some(before) = walks.insert(at, walk) {
                walks.insert(at, before);
                break (before == walk).then_some(at);
            }
            match other(at) {
                Some(next) => at = next,
                None => break None,
            }
        };
        let Some((name, found)) = circle.and_then(|name| Some((name, facts.get(name)?))) else { continue };
        let topology = Path::Root.key("topology");
        let nodes = topology.key("nodes");
        let node = nodes.key(name);
        let message = format!("node `{name}` shares the network of a node that shares its own in the end");
        cx.report
            .error(Code::InvalidValue, found.key, &node.key("network-mode"), message)
            .help("one of them has to have a network: remove its `network-mode`");
    }
}

/// Says which bridges are in a node that is not there, or has no network that a bridge could be in.
pub(super) fn check_bridges(facts: &AllFacts, cx: &mut Cx<'_>) {
    for bridge in facts.iter().filter(|facts| facts.shape == Some(Shape::Bridge)) {
        let Some((name, (_, named))) = bridge.name.as_ref().and_then(|name| Some((name, name.inner_bridge()?))) else {
            continue;
        };
        // What stands behind the bar is only a name where the field says the node.
        let owner = match bridge.network_mode.as_deref() {
            Some(NetworkMode::Container(owner)) => owner.as_str(),
            None | Some(NetworkMode::Default | NetworkMode::None | NetworkMode::Host) => named,
        };
        let topology = Path::Root.key("topology");
        let nodes = topology.key("nodes");
        let at = nodes.key(name.as_str());
        match facts.get(owner) {
            None => {
                let nearest = cx.report.nearest(owner, facts.names().filter(|other| *other != name.as_str()));
                let message = format!("bridge `{name}` is in node `{}`, and there is no such node", cut(owner));
                let near = nearest.as_deref().and_then(|near| Some((near, facts.get(near)?.key)));
                let error = cx.report.error(Code::UnknownNode, bridge.key, &at, message);
                error.help("add the node; a container that something else made is one of kind `ext-container`");
                if let Some((near, key)) = near {
                    error.note(key, format!("`{}` is defined here", cut(near)));
                }
                error.suggest(nearest);
            }
            Some(Facts {
                key, known: Some(kind), shape: Some(Shape::Bridge | Shape::OvsBridge | Shape::Host), ..
            }) => {
                let kind = &kind.name;
                let message = format!("bridge `{name}` cannot be in `{owner}`, a node of kind `{kind}`");
                cx.report
                    .error(Code::InvalidValue, bridge.key, &at, message)
                    .note(*key, format!("`{owner}` is defined here"))
                    .help("a bridge is in a node that runs; one of the host has a name without `|`");
            }
            Some(_) => {}
        }
    }
}
