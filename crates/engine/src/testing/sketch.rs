//! Small labs, written in a line each.

use std::sync::Arc;

use netloom_model::{
    End, Endpoint, Healthcheck, Lab, LabParts, Link, Node, NodeName, Shape, Stage, WaitFor, derived_mac,
};

use super::world::name;

/// A lab in the making.
#[derive(Debug, Clone)]
pub struct Sketch {
    parts: LabParts,
}

impl Sketch {
    /// A lab of this name without nodes.
    pub fn new(lab: &str) -> Self {
        Self { parts: LabParts::new(name(lab)) }
    }

    /// Two nodes `r1` and `r2` and a link between their `eth1`.
    pub fn pair(lab: &str) -> Self {
        Self::new(lab).node("r1").node("r2").link("r1:eth1", "r2:eth1")
    }

    /// Where the topology came from.
    #[must_use]
    pub fn from_file(mut self, source: &str) -> Self {
        self.parts.source = Some(source.to_owned());
        self
    }

    /// A node on the runtime `namespace`.
    #[must_use]
    pub fn node(self, node: &str) -> Self {
        self.add(node, r#"{ "kind": "linux", "runtime": "namespace" }"#)
    }

    /// A node on the runtime `docker`.
    #[must_use]
    pub fn container(self, node: &str) -> Self {
        self.add(node, r#"{ "kind": "linux", "runtime": "docker", "image": "image" }"#)
    }

    /// A bridge on the host.
    #[must_use]
    pub fn bridge(self, bridge: &str) -> Self {
        self.add(bridge, r#"{ "kind": "bridge" }"#)
    }

    /// A node of a kind that runs nothing.
    #[must_use]
    pub fn still(self, kind: &str, node: &str) -> Self {
        self.add(node, &format!(r#"{{ "kind": "{kind}" }}"#))
    }

    fn add(mut self, node: &str, wire: &str) -> Self {
        let mut wire: serde_json::Value = serde_json::from_str(wire).expect("written here");
        wire["hostname"] = node.into();
        self.parts.nodes.insert(name(node), serde_json::from_value(wire).expect("written here"));
        self
    }

    /// Changes a node.
    #[must_use]
    pub fn with(mut self, node: &str, change: impl FnOnce(&mut Node)) -> Self {
        change(self.parts.nodes.get_mut(&name::<NodeName>(node)).expect("the node was added before"));
        self
    }

    /// Gives a node a command.
    #[must_use]
    pub fn runs(self, node: &str, cmd: &[&str]) -> Self {
        self.with(node, |node| node.cmd = words(cmd))
    }

    /// Gives a node one more command that is run once.
    #[must_use]
    pub fn execs(self, node: &str, argv: &[&str]) -> Self {
        self.with(node, |node| node.exec.push(words(argv)))
    }

    /// Has a node wait before it enters a stage until another one has left one.
    #[must_use]
    pub fn waits(self, node: &str, stage: Stage, other: &str, of: Stage) -> Self {
        let wait = WaitFor { node: name(other), stage: of };
        self.with(node, |node| node.stages.entry(stage).or_default().wait_for.push(wait))
    }

    /// Gives a node a health check.
    #[must_use]
    pub fn checked(self, node: &str) -> Self {
        let check = Healthcheck { test: words(&["CMD", "true"]), ..Healthcheck::default() };
        self.with(node, |node| node.healthcheck = Some(check))
    }

    /// A link between two `node:interface`; the host is `host`.
    #[must_use]
    pub fn link(mut self, a: &str, b: &str) -> Self {
        let (a, b) = (self.end(a), Some(self.end(b)));
        self.parts.links.push(Link::new(a, b));
        self
    }

    /// Changes the last link.
    #[must_use]
    pub fn with_link(mut self, change: impl FnOnce(&mut Link)) -> Self {
        change(self.parts.links.last_mut().expect("a link was added before"));
        self
    }

    fn end(&self, end: &str) -> End {
        let (at, interface) = end.split_once(':').expect("an end is node:interface");
        let kind = self.parts.nodes.get(&name::<NodeName>(at)).map(|node| node.kind.shape());
        let at = match kind {
            Some(Shape::Runs | Shape::External) => Endpoint::Node(name(at)),
            Some(Shape::Bridge | Shape::OvsBridge) => Endpoint::Bridge(name(at)),
            Some(Shape::Host) | None => Endpoint::Host,
        };
        let mac = derived_mac(&self.parts.name, end, 0);
        End::new(at, name(interface), mac)
    }

    /// The lab.
    pub fn lab(self) -> Arc<Lab> {
        Arc::new(Lab::new(self.parts).expect("a test makes a valid lab"))
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
