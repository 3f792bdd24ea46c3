//! Nodes that share the network of another (`network-mode: container:NODE`): one of them has to have one of its own.

use std::collections::HashMap;

use super::diagnostic::{Code, Path};
use super::facts::AllFacts;
use super::reader::Cx;
use crate::lab::NetworkMode;

/// Says which nodes share a network in a circle. Every node is walked over once.
pub(super) fn check(facts: &AllFacts, cx: &mut Cx<'_>) {
    let other = |name: &str| match &facts.get(name)?.network_mode {
        NetworkMode::Container(other) => facts.get(other).map(|_| other.as_str()),
        NetworkMode::Default | NetworkMode::None | NetworkMode::Host => None,
    };
    let mut walks: HashMap<&str, usize> = HashMap::new();
    if !facts.iter().any(|facts| matches!(facts.network_mode, NetworkMode::Container(_))) {
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
