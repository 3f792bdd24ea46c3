//! A lab's desired state as one document: what `GET /labs/{lab}/desired` shows and what merge patches (RFC 7396) change.
//!
//! Nodes and links are members of maps, so that a patch names just what it changes and `null` removes:
//!
//! ```json
//! { "nodes": { "r9": { "kind": "linux", "runtime": "namespace" }, "r2": null,
//!              "r3": { "state": "stopped" }, "r4": { "restarts": 2 } },
//!   "links": { "r1:eth5 r3:eth5": { "mtu": 9000 },
//!              "r1:eth1 r2:eth1": null,
//!              "r3:eth1 r4:eth1": { "ends": { "r3:eth1": { "state": "down" } } } } }
//! ```

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{
    End, Endpoint, Interface, InterfaceName, Ipv4Net, Ipv6Net, Lab, LabName, LabParts, Link, LinkId, LinkKind, Mac,
    Management, Mtu, Node, NodeName, Prefix, Settings, Shape, Vars, Violations, derived_mac,
};
use netloom_plan::{AdminState, Side};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::desired::Wish;

/// The desired state of a lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Its name. Cannot be patched, as the next five.
    pub name: LabName,
    /// Counts up with every change.
    pub generation: u64,
    /// How container names are made.
    #[serde(default)]
    pub prefix: Prefix,
    /// The file that it was deployed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The management network.
    #[serde(default, skip_serializing_if = "is_default")]
    pub management: Management,
    /// What else is said about the whole lab.
    #[serde(default, skip_serializing_if = "is_default")]
    pub settings: Settings,
    /// The nodes by name.
    pub nodes: BTreeMap<NodeName, NodeEntry>,
    /// The links by their ends: `node:interface`, a space, `node:interface`; a `dummy` by its one end. The order is that
    /// of the lab; a patch may name the ends in either order.
    pub links: BTreeMap<String, LinkEntry>,
}

/// A node in a [`Document`]: its fields as a lab has them, and beside them what a person asked of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct NodeEntry {
    /// The node.
    #[serde(flatten)]
    pub node: Node,
    /// Whether it is to run; `None` where nothing runs, which is `Running` for all others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<RunState>,
    /// How often a restart was asked for: to ask for one is to raise it.
    #[serde(skip_serializing_if = "is_zero")]
    pub restarts: u64,
}

/// Whether a node is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// As its restart policy says.
    Running,
    /// A person stopped it.
    Stopped,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl TryFrom<Map<String, Value>> for NodeEntry {
    type Error = serde_json::Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, serde_json::Error> {
        let state = fields.remove("state").map(serde_json::from_value).transpose()?;
        let restarts = fields.remove("restarts").map(serde_json::from_value).transpose()?;
        // What is left has to be fields of a node: an unknown one is an error.
        let node = serde_json::from_value(Value::Object(fields))?;
        Ok(Self { node, state, restarts: restarts.unwrap_or_default() })
    }
}

impl NodeEntry {
    pub(crate) fn of(name: &NodeName, node: &Node, wish: &Wish) -> Self {
        let state = if wish.stopped.contains(name) { RunState::Stopped } else { RunState::Running };
        Self { state: node.runtime.map(|_| state), restarts: wish.restarts_of(name), node: node.clone() }
    }
}

/// A link in a [`Document`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkEntry {
    /// MTU of both ends.
    #[serde(default = "default_mtu")]
    pub mtu: Mtu,
    /// Labels, free text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it is made of, where its ends do not say it.
    #[serde(default, skip_serializing_if = "LinkKind::is_plain")]
    pub kind: LinkKind,
    /// Data of the user's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: Vars,
    /// What there is to say of its ends, by `node:interface`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ends: BTreeMap<String, EndEntry>,
}

fn default_mtu() -> Mtu {
    Mtu::DEFAULT
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// One end of a link in a [`Document`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndEntry {
    /// The name of its interface in the kernel, where the label has the device's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<InterfaceName>,
    /// Its MAC address; derived from lab, node and interface when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Its IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Net>,
    /// Data of the user's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: Vars,
    /// Whether a person switched it off.
    #[serde(default = "up")]
    pub state: AdminState,
}

fn up() -> AdminState {
    AdminState::Up
}

impl Default for EndEntry {
    fn default() -> Self {
        Self { kernel: None, mac: None, ipv4: None, ipv6: None, vars: Vars::new(), state: AdminState::Up }
    }
}

impl Document {
    /// The document of a wish.
    pub fn of(wish: &Wish) -> Self {
        let LabParts { name, prefix, source, management, settings, nodes, links } = (*wish.lab).clone().into_parts();
        let links = links.iter().map(|link| (link_key(link), LinkEntry::of(link, &wish.down))).collect();
        let entry = |(name, node): (NodeName, Node)| {
            let entry = NodeEntry::of(&name, &node, wish);
            (name, entry)
        };
        let nodes = nodes.into_iter().map(entry).collect();
        Self { name, generation: wish.generation, prefix, source, management, settings, nodes, links }
    }

    /// The lab that it describes.
    pub fn lab(&self) -> Result<Lab, Violations> {
        let nodes: BTreeMap<NodeName, Node> =
            self.nodes.iter().map(|(name, entry)| (name.clone(), entry.node.clone())).collect();
        let links = self.links.iter().filter_map(|(key, entry)| {
            let mut drafts = Vec::new();
            for label in &LinkKey::parse(key).ok()?.labels {
                drafts.push(entry.end(label, &nodes).ok()?);
            }
            let mut taken = BTreeSet::new();
            entry.link(drafts, &self.name, &mut taken)
        });
        let (name, prefix, source) = (self.name.clone(), self.prefix.clone(), self.source.clone());
        let (management, settings, links) = (self.management.clone(), self.settings.clone(), links.collect());
        Lab::new(LabParts { name, prefix, source, management, settings, nodes, links })
    }
}

/// The name of a link in a [`Document`]: its ends in their order.
pub fn link_key(link: &Link) -> String {
    link.ends().map(End::label).collect::<Vec<_>>().join(" ")
}

/// The ends that a member of `links` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkKey {
    /// One or two `node:interface`, as they were written.
    pub(crate) labels: Vec<String>,
    pub(crate) id: LinkId,
}

impl LinkKey {
    pub(crate) fn parse(key: &str) -> Result<Self, String> {
        let labels: Vec<String> = key.split(' ').map(str::to_owned).collect();
        let good =
            |label: &String| label.split_once(':').is_some_and(|(node, port)| !node.is_empty() && !port.is_empty());
        if labels.len() > 2 || !labels.iter().all(good) {
            return Err("a link is named by its ends, for example `r1:eth1 r2:eth1`".to_owned());
        }
        let mut sorted = labels.clone();
        sorted.sort();
        Ok(Self { labels, id: LinkId::from_text(sorted.join("-")) })
    }
}

/// One end of a link that is still to get its MAC address.
pub(crate) struct EndDraft {
    at: Endpoint,
    interface: Interface,
    entry: EndEntry,
}

impl LinkEntry {
    pub(crate) fn of(link: &Link, down: &BTreeSet<(LinkId, Side)>) -> Self {
        let id = link.id();
        let sides = [Side::A, Side::B];
        let ends = link.ends().zip(sides).map(|(end, side)| {
            let state = AdminState::of(!down.contains(&(id.clone(), side)));
            let kernel = end.interface.alias().map(|_| end.interface.kernel().clone());
            let (mac, vars) = (Some(end.mac), end.vars.clone());
            let entry = EndEntry { kernel, mac, ipv4: end.ipv4, ipv6: end.ipv6, vars, state };
            (end.label(), entry)
        });
        let (labels, kind, vars) = (link.labels.clone(), link.kind.clone(), link.vars.clone());
        Self { mtu: link.mtu, labels, kind, vars, ends: ends.collect() }
    }

    /// What the end of this name is.
    pub(crate) fn end(&self, label: &str, nodes: &BTreeMap<NodeName, Node>) -> Result<EndDraft, String> {
        let (node, interface) = label.split_once(':').ok_or("an end is `node:interface`")?;
        let entry = self.ends.get(label).cloned().unwrap_or_default();
        let interface = match &entry.kernel {
            Some(kernel) => Interface::aliased(interface, kernel.clone()),
            None => interface.parse(),
        };
        let interface = interface.map_err(|error: netloom_model::Invalid| error.to_string())?;
        let at = if node == "host" {
            Endpoint::Host
        } else {
            let name: NodeName = node.parse().map_err(|error: netloom_model::Invalid| error.to_string())?;
            match nodes.get(&name).map(|node| node.kind.shape()) {
                Some(Shape::Host) => Endpoint::Host,
                Some(Shape::Bridge | Shape::OvsBridge) => Endpoint::Bridge(name),
                // One that is not there is said with the whole lab.
                Some(Shape::Runs | Shape::External) | None => Endpoint::Node(name),
            }
        };
        if matches!(at, Endpoint::Bridge(_)) && (entry.ipv4.is_some() || entry.ipv6.is_some()) {
            return Err(format!("`{label}` is a port of a bridge, and those have no addresses"));
        }
        Ok(EndDraft { at, interface, entry })
    }

    /// The link of these ends, each with a MAC address: its own, or one derived that is not `taken` yet. `None` unless
    /// there are one or two ends.
    pub(crate) fn link(&self, ends: Vec<EndDraft>, lab: &LabName, taken: &mut BTreeSet<Mac>) -> Option<Link> {
        let mut ends = ends.into_iter().map(|EndDraft { at, interface, entry }| {
            let EndEntry { mac, ipv4, ipv6, vars, .. } = entry;
            let mut end = End { ipv4, ipv6, vars, ..End::new(at, interface, Mac([0; 6])) };
            let label = end.label();
            end.mac = mac.unwrap_or_else(|| {
                let mut attempts = (0..u32::MAX).map(|attempt| derived_mac(lab, &label, attempt));
                attempts.find(|mac| !taken.contains(mac)).expect("there are 2^24 for a few thousand ends")
            });
            taken.insert(end.mac);
            end
        });
        let (a, b, none) = (ends.next()?, ends.next(), ends.next());
        none.is_none().then(|| {
            let (labels, kind, vars) = (self.labels.clone(), self.kind.clone(), self.vars.clone());
            Link { a, b, mtu: self.mtu, labels, kind, vars }
        })
    }
}
