//! The validated lab: what every other crate works on.
//!
//! A [`Lab`] is made from a topology file (see [`crate::topology`]) or from JSON on the wire. Either
//! way [`Lab::new`] has checked it: each link ends on nodes that exist, no interface is used twice,
//! every MAC address is there and unique. Maps are ordered, so equal labs have equal bytes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::check::{check, check_alone};
use crate::idle::Idle;
use crate::kind::{Device, Shape};
use crate::name::{InterfaceName, Kind, LabName, Mac, NodeName};
use crate::text_order::sort_by_text;
use crate::topology::nearest::nearest;

mod bind;
mod blank;
mod config;
mod container;
mod contract;
mod home;
mod link;
mod link_kind;
mod mac;
mod management;
mod mode;
mod on_network;
mod port;
mod prefix;
mod rare;
mod settings;
mod stage;
mod switched;
mod vars;
mod vlan;

pub use bind::{Access, Bind};
pub use config::{Certificate, Component, Config, Credentials, Document, Extras, K8sDeploy, Mda, Xiom};
pub use container::{CgroupNamespace, Container, Dns, PidMode, Privilege, PullPolicy, Volume, VolumeContent};
pub use contract::{controlled_container, external_name, link_name, tunnel_name};
pub use home::{Home, InnerBridge};
pub use link::{End, Endpoint, Link, LinkId};
pub use link_kind::{Attachment, LinkKind, Macvlan, MacvlanMode, Stitch, Vxlan};
pub(crate) use mac::DerivedMacs;
pub use mac::derived_mac;
pub use management::{Family, Management, ManagementDriver, NodeManagement};
pub use mode::{LinkApplyMode, NetworkMode, RestartPolicy};
pub use on_network::{NodeAddresses, OnNetwork};
pub use port::{PortMapping, PortRange, Protocol};
pub use prefix::Prefix;
pub use rare::{Blank, Rare};
pub use settings::{CertificateAuthority, FabricKind, Settings};
pub use stage::{ExecPhase, ExecTarget, Healthcheck, Stage, StageExec, StageRule, Stages, WaitFor};
pub use switched::{AccessPort, Seam, SwitchPort, Switched};
pub use vars::Vars;
pub(crate) use vlan::NoVlan;
pub use vlan::{PortVlan, Vlan};

/// Whether a value is what its field has when nothing is said: such fields are not on the wire.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A whole lab, checked.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "LabParts")]
pub struct Lab {
    parts: LabParts,
    idle: Idle,
}

impl PartialEq for Lab {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for Lab {}

impl Serialize for Lab {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.parts.serialize(serializer)
    }
}

/// The parts of a lab before [`Lab::new`] has checked how they fit together; also its form on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabParts {
    /// The lab's name; one host has one lab of a name.
    pub name: LabName,
    /// How container names are made.
    #[serde(default)]
    pub prefix: Prefix,
    /// Where the topology came from (an absolute path): two files with one lab name are told apart by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The management network.
    #[serde(default, skip_serializing_if = "is_default")]
    pub management: Management,
    /// What else is said about the whole lab.
    #[serde(default, skip_serializing_if = "is_default")]
    pub settings: Settings,
    /// All nodes.
    pub nodes: BTreeMap<NodeName, Node>,
    /// All links; the key is made by [`Link::id`].
    #[serde(default)]
    pub links: Vec<Link>,
}

impl LabParts {
    fn sort_links(&mut self) {
        sort_by_text(&mut self.links, Link::write_id);
    }
}

/// Something in a lab that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A link ends on a node that is not in the lab.
    #[error("link {link}: there is no node `{node}`")]
    UnknownNode {
        /// The link.
        link: LinkId,
        /// The name that was not found.
        node: NodeName,
    },
    /// Two ends of links have the same interface of one node, or of the host.
    #[error("interface `{interface}` of {owner} is used by {first} and by {second}")]
    InterfaceTwice {
        /// The node, "the host" or a bridge.
        owner: String,
        /// The name in the kernel.
        interface: InterfaceName,
        /// The link that has it.
        first: LinkId,
        /// The link that wants it too.
        second: LinkId,
    },
    /// Two ends have the same MAC address.
    #[error("MAC address {mac} is given to {first} and to {second}")]
    MacTwice {
        /// The address.
        mac: Mac,
        /// The end that has it.
        first: String,
        /// The end that wants it too.
        second: String,
    },
    /// A link of a kind that has two ends has one, or the other way round.
    #[error("link {link}: {why}")]
    Ends {
        /// The link.
        link: LinkId,
        /// What is wrong.
        why: &'static str,
    },
    /// An end names a node in a way that its kind does not have (a bridge as a node, a node as a bridge).
    #[error("link {link}: {why}")]
    WrongEnd {
        /// The link.
        link: LinkId,
        /// What is wrong.
        why: String,
    },
    /// A node of a kind that runs something has no runtime, or the other way round.
    #[error("node `{node}`: {why}")]
    Runtime {
        /// The node.
        node: NodeName,
        /// What is wrong and what to write.
        why: &'static str,
    },
    /// A value of a node that it cannot have.
    #[error("node `{node}`: {why}")]
    Value {
        /// The node.
        node: NodeName,
        /// What is wrong.
        why: String,
    },
}

/// All violations of one lab.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Violations(pub Vec<Violation>);

/// Names of nodes that are not in a lab, each with the one that may be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(|(name, near)| unknown_node(name, near.as_deref())).collect::<Vec<_>>().join("; "))]
pub struct UnknownNodes(pub Vec<(NodeName, Option<String>)>);

fn unknown_node(name: &NodeName, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("there is no node `{name}`; did you mean `{near}`?"),
        None => format!("there is no node `{name}`"),
    }
}

impl Lab {
    /// Checks how the parts fit together; all violations are found, not only the first.
    pub fn new(mut parts: LabParts) -> Result<Self, Violations> {
        parts.sort_links();
        parts.find_homes();
        let violations = check(&parts);
        if violations.is_empty() { Ok(Self { parts, idle: Idle::default() }) } else { Err(Violations(violations)) }
    }

    /// The same for parts that a reader made which looks at all ends of links together by itself: it knows that they are
    /// at nodes of the lab which fit, and that no two have one interface or one MAC address.
    pub(crate) fn of_reader(mut parts: LabParts) -> Result<Self, Violations> {
        parts.sort_links();
        parts.find_homes();
        if check_alone(&parts).is_empty() {
            debug_assert_eq!(check(&parts), [], "the reader knows it");
            return Ok(Self { parts, idle: Idle::default() });
        }
        Err(Violations(check(&parts)))
    }

    /// The lab's name.
    pub fn name(&self) -> &LabName {
        &self.parts.name
    }

    /// How container names are made.
    pub fn prefix(&self) -> &Prefix {
        &self.parts.prefix
    }

    /// Where the topology came from, if it came from a file.
    pub fn source(&self) -> Option<&str> {
        self.parts.source.as_deref()
    }

    /// The management network.
    pub fn management(&self) -> &Management {
        &self.parts.management
    }

    /// What else is said about the whole lab.
    pub fn settings(&self) -> &Settings {
        &self.parts.settings
    }

    /// The nodes by name.
    pub fn nodes(&self) -> &BTreeMap<NodeName, Node> {
        &self.parts.nodes
    }

    /// The links, ordered by their id.
    pub fn links(&self) -> &[Link] {
        &self.parts.links
    }

    /// The link of this id.
    pub fn link(&self, id: &LinkId) -> Option<&Link> {
        let at = self.parts.links.binary_search_by(|link| link.id().cmp(id)).ok()?;
        self.parts.links.get(at)
    }

    /// The nodes that run nothing (bridges, the host) which this one has links to, and those that no link ends on.
    pub fn idle_beside(&self, node: &NodeName) -> BTreeMap<NodeName, Node> {
        self.idle.beside(node, &self.parts)
    }

    /// Only some of the nodes, the links between them, and the bridges and host ends of those links.
    ///
    /// A link stays when all nodes that run at its ends stay, and at least one of its ends is a node that was
    /// named. Bridges that were not named stay with their links.
    pub fn restrict(&self, keep: &BTreeSet<NodeName>) -> Result<Self, UnknownNodes> {
        let unknown: Vec<(NodeName, Option<String>)> = keep
            .iter()
            .filter(|name| !self.parts.nodes.contains_key(*name))
            .map(|name| (name.clone(), nearest(name.as_str(), self.parts.nodes.keys().map(NodeName::as_str))))
            .map(|(name, near)| (name, near.map(str::to_owned)))
            .collect();
        if !unknown.is_empty() {
            return Err(UnknownNodes(unknown));
        }
        let named = |end: &End| end.at.node().is_some_and(|node| keep.contains(node));
        let stays = |end: &End| named(end) || !matches!(end.at, Endpoint::Node(_));
        let mut parts = self.parts.clone();
        parts.links.retain(|link| link.ends().all(stays) && link.ends().any(named));
        let followed: BTreeSet<NodeName> =
            parts.links.iter().flat_map(Link::ends).filter_map(|end| end.at.node().cloned()).collect();
        parts.nodes.retain(|name, _| keep.contains(name) || followed.contains(name));
        parts.forget_waits();
        // What is left of a lab that fits together fits together: each rule speaks of what is there.
        Ok(Self { parts, idle: Idle::default() })
    }

    /// The parts again, to make an edited lab of them.
    pub fn into_parts(self) -> LabParts {
        self.parts
    }

    /// The container name of a node: `clab-<lab>-<node>` unless the prefix says otherwise; that of a node that something else
    /// made is the node's.
    pub fn container_name(&self, node: &NodeName) -> String {
        if self.parts.nodes.get(node).is_some_and(|node| node.kind.shape() == Shape::External) {
            return node.to_string();
        }
        match &self.parts.prefix {
            Prefix::Text(text) if text.is_empty() => node.to_string(),
            Prefix::LabName => format!("{}-{node}", self.parts.name),
            Prefix::Controller => controlled_container(&self.parts.name, node),
            Prefix::Text(text) => format!("{text}-{}-{node}", self.parts.name),
        }
    }
}

impl TryFrom<LabParts> for Lab {
    type Error = Violations;
    fn try_from(parts: LabParts) -> Result<Self, Violations> {
        Self::new(parts)
    }
}

impl From<Lab> for LabParts {
    fn from(lab: Lab) -> LabParts {
        lab.parts
    }
}

/// What a node runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// Processes in namespaces of their own over the host's root file system.
    Namespace,
    /// A Docker container.
    Docker,
    /// A virtual machine.
    Libvirt,
}

/// When the network namespace of a node comes to be, and with it the place for its ends of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamespaceComes {
    /// When it is made: what runs in it finds its interfaces.
    WithCreate,
    /// When it is started for the first time: its interfaces come to what runs already. From then on it stays, whether the
    /// node runs or not.
    WithStart,
}

impl RuntimeKind {
    /// When the namespaces of its nodes come to be.
    pub fn namespace_comes(self) -> NamespaceComes {
        match self {
            Self::Namespace | Self::Libvirt => NamespaceComes::WithCreate,
            // A container could be given a namespace that was there before, but its daemon makes one of its own, and to move
            // an interface into that takes 18 ms under RTNL where to make it in place takes 0.6 ms.
            Self::Docker => NamespaceComes::WithStart,
        }
    }
}

/// One node with everything inherited and resolved: paths absolute, words split, defaults in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// What it runs on; `None` for kinds that run nothing of ours (`bridge`, `host`, `ext-container`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeKind>,
    /// The image, for runtimes that have images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The group, also one that is only a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Words that come before `cmd`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// What runs; nothing means that the node only is there (an init and its namespaces).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Commands run once in the node when its links are up, as words (no shell).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<Vec<String>>,
    /// Environment of everything that runs in the node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Files and directories of the host that are seen in the node, one per target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binds: Vec<Bind>,
    /// The host name; the node's short name unless given.
    pub hostname: String,
    /// `user[:group]` that `cmd` runs as, by name or number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Sysctls of the node, dotted names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Labels, free text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// CPU limit in thousandths of a core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u32>,
    /// Memory limit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Seconds between the node's links being there and its start.
    #[serde(default)]
    pub startup_delay: u32,
    /// What happens when its main process ends.
    #[serde(default)]
    pub restart_policy: RestartPolicy,
    /// Which network it has beside its links.
    #[serde(default)]
    pub network_mode: NetworkMode,
    /// The variant of its kind, for example a model of hardware.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Where it stands in a drawing, free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// How its container is made, for runtimes that have containers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub container: Rare<Container>,
    /// What it has on the management network.
    #[serde(default, skip_serializing_if = "is_default")]
    pub management: NodeManagement,
    /// What the system in it is configured with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub config: Rare<Config>,
    /// The stages that it goes through.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: Stages,
    /// How its health is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// How it gets a change of its links while it runs; the kind decides if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_apply_mode: Option<LinkApplyMode>,
    /// What its kind says of what runs in it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub device: Rare<Device>,
}

impl Node {
    /// The bridge on the host that this node is, if it is one: the kernel's, or one of Open vSwitch.
    pub fn host_bridge(&self, name: &NodeName) -> Option<InterfaceName> {
        let is_bridge = matches!(self.kind.shape(), Shape::Bridge | Shape::OvsBridge);
        let is_one = is_bridge && name.inner_bridge().is_none();
        is_one.then(|| name.as_str().parse().ok()).flatten()
    }
}

/// The SHA-256 of some bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let halves = |byte: &u8| [byte >> 4, byte & 15].map(|half| DIGITS[usize::from(half)]);
    Sha256::digest(bytes).iter().flat_map(halves).collect()
}
