//! The two sides of a plan: what is desired of a lab and what is observed of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use netloom_model::{Endpoint, InterfaceName, Lab, Link, LinkId, NamespaceComes, Node, NodeName, RuntimeKind, Stage};
use serde::{Deserialize, Serialize};

use crate::entries::Entries;
use crate::fingerprint::{LinkFingerprint, NodeFingerprint};
use crate::names::{names, names_hash};
use crate::prints::Prints;

/// The life of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum NodeState {
    /// It is not there.
    Absent,
    /// Its namespace and directories are being made.
    Creating,
    /// It is made, and has not run yet. If its namespace comes with that ([`netloom_model::NamespaceComes`]), links can end in it.
    Created,
    /// Its process is being started.
    Starting,
    /// Its process lives.
    Running,
    /// It is being stopped.
    Stopping,
    /// It was stopped by a person.
    Stopped,
    /// Its main process ended by itself.
    Exited {
        /// The exit code, 128 + n after signal n.
        code: i32,
    },
    /// It could not be started.
    Failed {
        /// What went wrong, one line.
        cause: String,
    },
}

impl NodeState {
    /// The one word of the state, as shown in tables.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Exited { .. } => "exited",
            Self::Failed { .. } => "failed",
        }
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exited({code})"),
            Self::Failed { cause } => write!(f, "failed: {cause}"),
            other => f.write_str(other.word()),
        }
    }
}

/// Whether an interface is meant to carry traffic (IFF_UP), whatever its carrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminState {
    /// Switched on.
    Up,
    /// Switched off.
    Down,
}

impl AdminState {
    /// That of what is up, or is not.
    pub fn of(up: bool) -> Self {
        if up { Self::Up } else { Self::Down }
    }
}

/// One of the two ends of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// [`netloom_model::Link::a`].
    A,
    /// [`netloom_model::Link::b`].
    B,
}

/// How something of a lab differs from the lab's file by live edits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiveMark {
    /// It was added live; the file has nothing of that name.
    Added,
    /// It was changed live, or removed and added again.
    Changed,
    /// It was removed live; the file still has it.
    Removed,
}

impl LiveMark {
    /// What it is after it is added live.
    #[must_use]
    pub fn added(before: Option<Self>) -> Option<Self> {
        Some(if before == Some(Self::Removed) { Self::Changed } else { Self::Added })
    }

    /// What it is after it is changed live.
    #[must_use]
    pub fn changed(before: Option<Self>) -> Option<Self> {
        Some(before.unwrap_or(Self::Changed))
    }

    /// What it is after it is removed live: nothing if it was never in the file.
    #[must_use]
    pub fn removed(before: Option<Self>) -> Option<Self> {
        (before != Some(Self::Added)).then_some(Self::Removed)
    }
}

/// All nodes and links of a lab that live edits made other than its file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Live {
    /// Nodes by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nodes: BTreeMap<NodeName, LiveMark>,
    /// Links by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<LinkId, LiveMark>,
}

impl Live {
    /// Whether the lab is as its file.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.links.is_empty()
    }
}

/// What is wanted of one lab.
#[derive(Debug, Clone, Copy)]
pub struct Desired<'a> {
    /// The lab, or `None` when nothing of it may remain.
    pub lab: Option<&'a Lab>,
    /// How often a rebuild was asked for; part of every fingerprint.
    pub rebuild: u64,
    /// The ends that a person switched off. Those of nodes that do not run are off beside these.
    pub down: &'a BTreeSet<(LinkId, Side)>,
    /// The nodes that a person stopped.
    pub stopped: &'a BTreeSet<NodeName>,
    /// How often a restart was asked for, by node; part of the node's fingerprint. A node without an entry: never.
    pub restarts: &'a BTreeMap<NodeName, u64>,
    /// Nodes that ended and are to be started again now (their restart policy and back-off say so).
    pub restart_due: &'a BTreeSet<NodeName>,
    /// The lab's fingerprints, if they have been reckoned already.
    pub prints: Option<&'a Prints>,
    /// The management network that the lab is on.
    pub network: Option<&'a str>,
}

static NO_ENDS: BTreeSet<(LinkId, Side)> = BTreeSet::new();
static NO_NODES: BTreeSet<NodeName> = BTreeSet::new();
static NO_RESTARTS: BTreeMap<NodeName, u64> = BTreeMap::new();

impl Desired<'_> {
    /// That nothing of a lab may remain.
    pub const NOTHING: Desired<'static> = Desired {
        lab: None,
        rebuild: 0,
        down: &NO_ENDS,
        stopped: &NO_NODES,
        restarts: &NO_RESTARTS,
        restart_due: &NO_NODES,
        prints: None,
        network: None,
    };

    /// The fingerprint of a node of the lab as it is wanted.
    pub fn fingerprint(&self, name: &NodeName, node: &Node) -> NodeFingerprint {
        let known = self.prints.and_then(|prints| prints.nodes.get(name)).cloned();
        known.unwrap_or_else(|| NodeFingerprint::of(node, self.rebuild, self.restarts.get(name).copied().unwrap_or(0)))
    }

    /// The fingerprint of a link of the lab as it is wanted.
    pub fn link_fingerprint(&self, id: &LinkId, link: &Link) -> LinkFingerprint {
        let known = self.prints.and_then(|prints| prints.links.get(id)).cloned();
        known.unwrap_or_else(|| LinkFingerprint::of(link, self.rebuild))
    }

    /// The hash of the lab's names file, if the lab is wanted.
    pub(crate) fn names(&self) -> Option<String> {
        let known = self.prints.map(|prints| prints.names.clone());
        self.lab.map(|lab| known.unwrap_or_else(|| names_hash(&names(lab))))
    }

    /// The hash of what the host is to be told of the lab, if there is anything to tell.
    pub(crate) fn entries(&self) -> Option<String> {
        match self.prints {
            Some(prints) => self.lab.and_then(|_| prints.entries.clone()),
            None => self.lab.and_then(Entries::of).map(|entries| entries.hash()),
        }
    }
}

/// What is there of one lab, all of it marked as ours. What carries no mark of ours is never in here, except
/// where a name is taken by it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// The nodes that are there in any form.
    pub nodes: BTreeMap<NodeName, ObservedNode>,
    /// How many commands of each node that is the host itself were run in the life that the host has.
    pub hosts: BTreeMap<NodeName, usize>,
    /// The links of which every end is there.
    pub links: BTreeMap<LinkId, ObservedLink>,
    /// Bridges on the host that this lab asked for before, or that have the name of one it asks for now.
    pub bridges: BTreeMap<InterfaceName, ObservedBridge>,
    /// Bridges of ours in the network namespaces of nodes.
    pub inner_bridges: BTreeSet<(NodeName, InterfaceName)>,
    /// Management networks, likewise.
    pub networks: BTreeMap<String, ObservedBridge>,
    /// Hash of the names file of the lab (see [`crate::names`]), if there is one.
    pub names: Option<String>,
    /// Hash of what the host was told of the lab ([`crate::Entries`]), if it was told anything.
    pub entries: Option<String>,
    /// Names of interfaces in the host's namespace that are not of this lab.
    pub taken: BTreeSet<InterfaceName>,
    /// The images that nodes of the lab are made from, by what those run on; only of runtimes that have images.
    pub images: BTreeMap<(RuntimeKind, String), ImageStock>,
}

/// What is known of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageStock {
    /// Nothing: nobody has looked yet.
    Unknown,
    /// It is not on this host.
    Missing,
    /// It is on this host.
    There,
    /// It was fetched for what is to be made now.
    Fetched,
}

/// What is there of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedNode {
    /// What it runs on.
    pub runtime: RuntimeKind,
    /// Its state.
    pub state: NodeState,
    /// The spec that was applied.
    pub fingerprint: NodeFingerprint,
    /// How many of its commands ([`crate::commands`]) were run in this incarnation.
    pub execs_done: usize,
    /// Whether it has a namespace in which its links wait for its first start ([`crate::Action::ReserveNode`]). With the
    /// state `Absent` that is all there is of it.
    pub reserved: bool,
    /// Which network namespace what runs in it has, where that may be one of another node's.
    pub namespace: Option<u64>,
    /// Whether it shares the network of a container outside of the lab that has another one by now.
    pub left_behind: bool,
    /// The last of the stages at which it waits that it has entered since it was made.
    pub entered: Option<Stage>,
    /// Those of the stages `healthy` and `exit` that it was seen to leave since it was made.
    pub passed: BTreeSet<Stage>,
}

impl ObservedNode {
    /// A node of which no more is there than this.
    pub fn new(runtime: RuntimeKind, state: NodeState) -> Self {
        let fingerprint = NodeFingerprint::default();
        let (namespace, entered, passed) = (None, None, BTreeSet::new());
        let (execs_done, reserved, left_behind) = (0, false, false);
        Self { runtime, state, fingerprint, execs_done, reserved, namespace, left_behind, entered, passed }
    }

    /// Whether it carries our mark and is not made yet.
    pub(crate) fn is_begun(&self) -> bool {
        matches!(self.state, NodeState::Absent | NodeState::Creating)
    }

    /// Whether links can end in it: it has a namespace. One that comes with the first start stays from then on; of one that
    /// failed to start nobody knows whether that was the first time.
    pub(crate) fn takes_links(&self) -> bool {
        match (self.runtime.namespace_comes(), &self.state) {
            (NamespaceComes::WithCreate, _) => !self.is_begun(),
            (NamespaceComes::WithStart, _) if self.reserved => true,
            (NamespaceComes::WithStart, state) => match state {
                NodeState::Running | NodeState::Stopping | NodeState::Stopped | NodeState::Exited { .. } => true,
                NodeState::Absent
                | NodeState::Creating
                | NodeState::Created
                | NodeState::Starting
                | NodeState::Failed { .. } => false,
            },
        }
    }
}

/// What is there of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedLink {
    /// The spec that was applied.
    pub fingerprint: LinkFingerprint,
    /// Where it ends.
    pub ends: Vec<Endpoint>,
    /// The ends that are switched off, for whichever reason.
    pub down: BTreeSet<Side>,
    /// The ends whose carrier is other than what is at the far end says, with what it should be: of a link whose ends are not
    /// one cable, whose kernel does not see to it.
    pub behind: BTreeMap<Side, AdminState>,
}

/// What is there of a bridge, or of a management network, which shows as its bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservedBridge {
    /// Whether the interface exists.
    pub exists: bool,
    /// Whether this lab asked the host for it.
    pub held: bool,
}
