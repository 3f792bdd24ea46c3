//! Facts: what drivers have seen. The inventory holds nothing else.

use std::collections::BTreeMap;
use std::time::SystemTime;

use netloom_model::{End, Endpoint, InterfaceName, LabName, LinkId, Mac, Mtu, NodeName, PortVlan, RuntimeKind, Vxlan};
use netloom_plan::{AdminState, LinkFingerprint, NodeFingerprint, NodeState};
use serde::{Deserialize, Serialize};

use crate::image::ImageFact;

/// Who saw a fact; each source is relisted by itself and may go stale by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A runtime: nodes and names files.
    Runtime(RuntimeKind),
    /// The fabric: interfaces.
    Fabric,
    /// The switch of the host: its bridges and ports.
    Switch,
    /// The images of a runtime. They are listed by themselves: that may take seconds, and nodes do not wait for it.
    Images(RuntimeKind),
}

impl Source {
    /// Its name, as people know it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Runtime(RuntimeKind::Namespace) => "namespace",
            Self::Runtime(RuntimeKind::Docker) => "docker",
            Self::Runtime(RuntimeKind::Libvirt) => "libvirt",
            Self::Images(RuntimeKind::Namespace) => "namespace-images",
            Self::Images(RuntimeKind::Docker) => "docker-images",
            Self::Images(RuntimeKind::Libvirt) => "libvirt-images",
            Self::Fabric => "fabric",
            Self::Switch => "ovs",
        }
    }
}

/// Where an interface is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// The root namespace of the host.
    Host,
    /// The namespace of a node.
    Node(LabName, NodeName),
}

impl Place {
    /// The node whose namespace it is.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Host => None,
            Self::Node(_, node) => Some(node),
        }
    }

    /// Where an end of a link of this lab is.
    pub(crate) fn of(lab: &LabName, end: &End) -> Self {
        match end.home() {
            Endpoint::Node(node) => Self::Node(lab.clone(), node.clone()),
            Endpoint::Host | Endpoint::Bridge(_) | Endpoint::Remote(_) => Self::Host,
        }
    }
}

/// One thing that was seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A node as it is now.
    Node(NodeFact),
    /// A node is no longer there in any form.
    NodeGone(LabName, NodeName),
    /// The names file of a lab has this hash (`None`: it is not there).
    Names(LabName, Option<String>),
    /// An interface as it is now.
    Port(PortFact),
    /// An interface is gone.
    PortGone(Place, u32),
    /// A namespace is gone with all its interfaces.
    PlaceGone(Place),
    /// A management network of ours. Networks are only reported with all nodes of their runtime ([`Report::Relist`]).
    Network(NetworkFact),
    /// A management network of ours was removed.
    NetworkGone(RuntimeKind, String),
    /// A port of the switch that carries our mark, as it is now.
    SwitchPort(SwitchPortFact),
    /// A port of the switch is gone.
    SwitchPortGone(InterfaceName),
    /// A bridge of the switch is there, whoever made it.
    SwitchBridge(SwitchBridgeFact),
    /// A bridge of the switch is gone.
    SwitchBridgeGone(InterfaceName),
    /// A tag of the switch is claimed for a link of ours.
    SwitchTag(SwitchTagFact),
    /// That claim is gone: the bridge, and the tag.
    SwitchTagGone(InterfaceName, u16),
    /// An image as it is now. Images are only reported as a whole ([`Report::Relist`]).
    Image(ImageFact),
}

/// A management network that carries our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkFact {
    /// Who keeps it.
    pub runtime: RuntimeKind,
    /// Its name.
    pub name: String,
    /// How many are on it that no link of ours put there.
    pub members: usize,
}

/// A batch of facts on its way to the inventory.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// What events said, in their order.
    Events(Source, Vec<Fact>),
    /// Everything that the source sees; what it does not hold is not there, unless an event after `started` said so.
    Relist {
        /// Who looked.
        source: Source,
        /// When it began to look.
        started: SystemTime,
        /// All that it saw.
        facts: Vec<Fact>,
        /// Nodes that are there but could not be looked at, and why: what is known of them stays.
        unseen: BTreeMap<(LabName, NodeName), String>,
    },
    /// The source could not look; what is known of it stays, with its age.
    Unreachable(Source, String),
    /// The source answers, and something of it runs short: why, or `None` when it does not any more.
    Strained(Source, Option<String>),
    /// Events were lost: relist soon.
    Lost(Source),
}

/// What the health check of a node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It has not passed yet, and failures do not count yet.
    Starting,
    /// It passes.
    Healthy,
    /// It failed as often as it may.
    Unhealthy,
}

impl Health {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A node as its runtime sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeFact {
    /// Its lab.
    pub lab: LabName,
    /// Its name.
    pub node: NodeName,
    /// What it runs on.
    pub runtime: RuntimeKind,
    /// Its state.
    pub state: NodeState,
    /// The process id of its init on the host.
    pub pid: Option<u32>,
    /// Which life of the node this is: runtime id and start time. What was done once is recorded per incarnation.
    pub incarnation: Option<String>,
    /// What its health check says, while it runs and has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Whether it has a namespace in which its links wait for its first start ([`crate::Runtime::reserve`]). With the
    /// state `Absent` that is all there is of it.
    #[serde(default)]
    pub reserved: bool,
    /// Which network namespace what runs in it has (SO_NETNS_COOKIE), where that may be one of another node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<u64>,
    /// Whether it shares the network of something outside of its lab that has another one by now.
    #[serde(default)]
    pub left_behind: bool,
    /// Whether it has ended and its runtime starts it again by itself.
    #[serde(default)]
    pub restarting: bool,
    /// The spec that was applied.
    pub fingerprint: NodeFingerprint,
    /// Its container name.
    pub container: String,
    /// What its runtime calls it, where that is something else: the id of a container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_id: Option<String>,
    /// The reference of the image that it was made from, if it was made from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The last lines of its output, once it has ended or failed.
    pub last_output: Option<String>,
    /// Something that a person should know, for example "its writable layer is in memory".
    pub note: Option<String>,
    /// When this was seen.
    #[serde(with = "crate::time")]
    pub seen: SystemTime,
}

/// What carries a link's end, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortKind {
    /// One end of a veth pair.
    Veth,
    /// A bridge.
    Bridge,
    /// A dummy.
    Dummy,
    /// Anything else.
    Other,
}

/// An interface as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortFact {
    /// Where it is.
    pub place: Place,
    /// Its index there.
    pub ifindex: u32,
    /// Its name.
    pub name: InterfaceName,
    /// Its other names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub altnames: Vec<String>,
    /// What it is.
    pub kind: PortKind,
    /// IFF_UP.
    pub admin_up: bool,
    /// IFF_LOWER_UP: it has a carrier.
    pub carrier: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its MAC address, if it has one.
    pub mac: Option<Mac>,
    /// Its addresses with prefix length, sorted.
    pub addresses: Vec<String>,
    /// Those of them that its link gave it, as their own mark says; none where the kernel keeps no such mark.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<String>,
    /// The index of the bridge that it is a port of.
    pub master: Option<u32>,
    /// Of a tunnel: what its two hosts tell each other of the ends of its link.
    #[serde(default, skip_serializing_if = "FailSignals::are_none")]
    pub signals: FailSignals,
    /// Our mark on it; without one it is foreign.
    pub mark: Option<PortMark>,
    /// When this was seen.
    #[serde(with = "crate::time")]
    pub seen: SystemTime,
}

/// What two hosts tell each other in a tunnel, which has no carrier: whether the ends that are behind it are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FailSignals {
    /// The far host says that its end is off.
    pub heard: bool,
    /// The far host is told that the end on this one is off.
    pub sent: bool,
}

impl FailSignals {
    /// Whether neither says that anything is off.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A port of the switch with our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchPortFact {
    /// Its name, which is that of the interface on the host.
    pub name: InterfaceName,
    /// The bridge that it is a port of.
    pub bridge: InterfaceName,
    /// What passes through it.
    pub vlan: PortVlan,
    /// The lab that its mark names.
    pub lab: LabName,
    /// The link that its mark names.
    pub link: LinkId,
    /// What its mark says of the tunnel that it leads to, if it is the port of one.
    pub tunnel: Option<TunnelMark>,
    /// Why nothing passes through it, in the words of the switch.
    pub fault: Option<String>,
    /// When this was seen.
    pub seen: SystemTime,
}

/// What a link with a tunnel was made from beside its ends: of the order no interface shows more than came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelMark {
    /// Where it leads.
    pub tunnel: Vxlan,
    /// The MTU that was promised.
    pub mtu: Mtu,
}

/// A bridge of the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchBridgeFact {
    /// Its name.
    pub name: InterfaceName,
    /// Whether it is ours: nobody else's is removed.
    pub is_ours: bool,
    /// When this was seen.
    pub seen: SystemTime,
}

/// A tag that is claimed on a bridge of the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchTagFact {
    /// The bridge.
    pub bridge: InterfaceName,
    /// The tag.
    pub tag: u16,
    /// The lab that it is claimed for.
    pub lab: LabName,
    /// The link.
    pub link: LinkId,
    /// When this was seen.
    pub seen: SystemTime,
}

/// What a mark of this instance says of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortMark {
    /// It is an end of a link.
    Link {
        /// The lab.
        lab: LabName,
        /// The link.
        link: LinkId,
        /// The spec that was applied.
        fingerprint: LinkFingerprint,
        /// `Down` when this end was switched off through us ([`crate::LinkOrder::Set`]): by a person, or because its
        /// node does not run. What a router does
        /// to its own interface (`shutdown`) is its own affair and shows only in [`PortFact::admin_up`].
        switched: AdminState,
    },
    /// It is a bridge that we made.
    Bridge,
}
