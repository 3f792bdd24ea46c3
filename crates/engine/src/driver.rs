//! The three seams: what a node runs on, what a link is made of, where desired state lives.
//!
//! Drivers speak in intents and are told everything they need; they keep no desired state. What they *see* they
//! report as facts (see [`crate::fact`]) into the [`Reporter`] that they were made with; the engine believes only
//! that, never the mere success of a call.
//!
//! Every call has a [`Context`] with a deadline. A call that is given up (dropped) is *released, outcome unknown
//! until observed*. Creates adopt what matches and is ours; deletes tolerate absence; nothing without our mark is
//! ever touched.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_model::{InterfaceName, Lab, LabName, LinkId, Management, NodeName, OnNetwork, RuntimeKind};
use netloom_plan::{AdminState, LinkFingerprint, NodeFingerprint, Side};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::applied::Applied;
use crate::bulkhead::Bulkhead;
use crate::copy::{CopyError, CopyIn, CopyOut, Incoming, Outgoing};
use crate::fact::{Place, Report, Source};
use crate::image::Images;
use crate::rates::{NodeUsage, PortCounters};

mod store;
mod stream;

pub use store::{Store, StoreError, Write};
pub use stream::{ExecInput, ExecOutput, ExecRequest, ExecSession, Follow, LogStream, Terminal};

/// What a call may take and who may end it.
#[derive(Debug, Clone)]
pub struct Context {
    /// When the caller stops waiting.
    pub deadline: Instant,
    /// Cancelled when the operation is.
    pub cancel: CancellationToken,
}

/// An order about a node.
#[derive(Debug, Clone)]
pub struct NodeOrder {
    /// The lab that the node is in, as desired.
    pub lab: Arc<Lab>,
    /// The node.
    pub node: NodeName,
    /// What to write on it as the spec that was applied.
    pub fingerprint: NodeFingerprint,
    /// How often a rebuild of the lab was asked for.
    pub rebuild: u64,
    /// How often a restart of the node was asked for.
    pub restarts: u64,
}

/// An order about links; a wave of a plan goes out as one batch.
#[derive(Debug, Clone)]
pub enum LinkOrder {
    /// Make it: both ends, marked, addressed, up.
    Create {
        /// The lab that it is in, as desired.
        lab: Arc<Lab>,
        /// The link.
        link: LinkId,
        /// What to write on it as the spec that was applied.
        fingerprint: LinkFingerprint,
        /// The tag that it is allotted on its switch; none of one that is on none.
        tag: Option<u16>,
    },
    /// Mark one as ours that somebody else made, just as it is: nothing but marks is changed. One that is marked already is left
    /// alone; one of which anything is not there, or is another's, is refused.
    Adopt {
        /// As for `Create`.
        lab: Arc<Lab>,
        /// As for `Create`.
        link: LinkId,
        /// As for `Create`.
        fingerprint: LinkFingerprint,
        /// The tag that its ports have.
        tag: Option<u16>,
    },
    /// Set MTU, addresses and the mark of one that is there.
    Update {
        /// As for `Create`.
        lab: Arc<Lab>,
        /// The link.
        link: LinkId,
        /// As for `Create`.
        fingerprint: LinkFingerprint,
        /// As for `Create`.
        tag: Option<u16>,
    },
    /// Switch one end, and say so in its mark, so that a router's own `shutdown` is told apart from ours.
    Set {
        /// The lab that it is in, as desired.
        lab: Arc<Lab>,
        /// The link.
        link: LinkId,
        /// Which end.
        side: Side,
        /// On or off.
        admin: AdminState,
    },
    /// Give one end its carrier, or take it, without a change at the end itself: of a link on a switch or to a tunnel, whose ends
    /// are not one cable. The far end of a tunnel is side B; the host that has it is told.
    Carry {
        /// The lab that it is in, as desired.
        lab: Arc<Lab>,
        /// The link.
        link: LinkId,
        /// Which end.
        side: Side,
        /// `Up`: it has a carrier.
        carrier: AdminState,
    },
    /// Remove it, found by its marks.
    Delete {
        /// Its lab.
        lab: LabName,
        /// The link.
        link: LinkId,
    },
}

/// That a runtime was asked for what only others do.
fn not_done_by(kind: RuntimeKind, operation: &str, object: String, cause: &str) -> DriverError {
    DriverError {
        operation: operation.into(),
        object,
        backend: Source::Runtime(kind).word().into(),
        cause: cause.into(),
        hint: None,
        class: ErrorClass::Permanent,
    }
}

/// What a node runs on.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Which runtime this is.
    fn kind(&self) -> RuntimeKind;

    /// What the threads that it works with have not finished, for whoever supervises them.
    fn backlogs(&self) -> Vec<Backlog> {
        Vec::new()
    }

    /// Its own limits on what is done at once, for metrics.
    fn bulkheads(&self) -> Vec<&Bulkhead> {
        Vec::new()
    }

    /// Its images, if its nodes are made from such. [`Self::relist`] sees to it that they are listed too.
    fn images(&self) -> Option<&dyn Images> {
        None
    }

    /// Whether this host can run it at all: `Err` says why not and what to do. One that was just
    /// begun with waits until it has looked. Cheap; called before a plan is accepted.
    async fn check(&self) -> Result<(), DriverError>;

    /// What stands in the way of one node on this host (a bind whose source is missing); nothing is touched.
    async fn check_node(&self, order: &NodeOrder) -> Result<(), DriverError>;

    /// Makes the namespace in which the ends of a node's links wait until the node is made and started; `create` and `start`
    /// take it over, and `delete` removes it. Reports the node as `Absent` and reserved. Adopts what is there, and leaves
    /// alone what is made already. Asked only of runtimes whose namespaces come with the start, of nodes that are made later
    /// than their neighbours.
    async fn reserve(&self, order: &NodeOrder, _context: &Context) -> Result<(), DriverError> {
        let why = "this runtime makes a node's namespace when it makes the node";
        Err(not_done_by(self.kind(), "reserve", format!("node {}", order.node), why))
    }

    /// Makes namespace, directories and limits of a node; afterwards links can be attached, unless the namespace comes with the
    /// start ([`netloom_model::NamespaceComes`]). Adopts what is there.
    async fn create(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError>;

    /// Starts what runs in it and returns when that runs (not when it is ready); afterwards links can be attached. One that runs already with the
    /// same fingerprint is left alone.
    async fn start(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError>;

    /// Takes what somebody else made and runs, and is called so by this runtime, as a node of ours, without disturbing it: it is
    /// noted beside it, since nothing can be written on it. What is a node of ours already is left alone.
    async fn adopt(&self, order: &NodeOrder, runtime_id: &str, _context: &Context) -> Result<(), DriverError> {
        let why = format!("this runtime has no `{runtime_id}` that it did not make");
        Err(not_done_by(self.kind(), "adopt", format!("node {}", order.node), &why))
    }

    /// Changes limits and the recorded fingerprint of a node without disturbing it.
    async fn update(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError>;

    /// Ends what runs in it (TERM, then KILL); the namespace with its links stays.
    async fn stop(&self, lab: &LabName, node: &NodeName, context: &Context) -> Result<(), DriverError>;

    /// Removes it and everything of it.
    async fn delete(&self, lab: &LabName, node: &NodeName, context: &Context) -> Result<(), DriverError>;

    /// Writes the names file of a lab in place, so that running nodes see it at once; `None` removes it and
    /// whatever else is kept per lab.
    async fn write_names(&self, lab: &LabName, content: Option<&str>, context: &Context) -> Result<(), DriverError>;

    /// Looks at everything that carries our mark and sends a [`Report::Relist`].
    async fn relist(&self) -> Result<(), DriverError>;

    /// What it keeps of the nodes of a lab (see [`Applied`]), of each that carries our mark; `None` of one that was made
    /// before that was kept.
    async fn applied(&self, lab: &LabName) -> Result<BTreeMap<NodeName, Option<Applied>>, DriverError>;

    /// Starts a command in a running node.
    async fn exec(&self, lab: &LabName, node: &NodeName, request: ExecRequest) -> Result<ExecSession, DriverError>;

    /// Runs a command of a topology on the host itself, as root. Only the runtime does whose nodes are processes of the host.
    async fn exec_on_host(&self, request: ExecRequest) -> Result<ExecSession, DriverError> {
        let object = format!("`{}` on the host", request.argv.join(" "));
        Err(not_done_by(self.kind(), "run", object, "this runtime runs nothing on the host"))
    }

    /// Which life of the host [`Runtime::exec_on_host`] runs commands in: another one after each boot.
    fn boot(&self) -> Option<String> {
        None
    }

    /// Opens the output of a node, also of one that has ended.
    async fn logs(&self, lab: &LabName, node: &NodeName, follow: Follow) -> Result<LogStream, DriverError>;

    /// What the running nodes of a lab use now. Asked for again and again while somebody watches, and only then.
    async fn usage(&self, lab: &LabName, context: &Context) -> Result<Vec<NodeUsage>, DriverError>;

    /// Begins to copy files from a running node, seen as the node sees them; returns when it is known that they can be
    /// read.
    async fn copy_out(&self, lab: &LabName, node: &NodeName, request: CopyOut) -> Result<Outgoing, CopyError>;

    /// The management networks that its nodes can be on; none if it knows none.
    fn networks(&self) -> Option<&dyn Networks> {
        None
    }

    /// Who has a name that the container of a node is to have; nobody where there are no such names. Asked of the runtime
    /// itself: what is not ours is in no inventory.
    async fn holder(&self, _container: &str, _context: &Context) -> Result<Option<Holder>, DriverError> {
        Ok(None)
    }

    /// Begins to copy files into a running node.
    async fn copy_in(&self, lab: &LabName, node: &NodeName, request: CopyIn) -> Result<Incoming, CopyError>;
}

/// What has the name of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// What its runtime calls it.
    pub id: String,
    /// Its state, in the runtime's word.
    pub state: String,
    /// Whether it is a node of this instance, or makes way for one.
    pub is_ours: bool,
}

/// Who keeps management networks: each a bridge of the host, with subnets, that nodes of several labs and others are on.
#[async_trait]
pub trait Networks: Send + Sync {
    /// What the management network of a lab is on this host, or will be when it is made, without nodes of ours. An error
    /// says what is in its way (a network of that name that is another, a subnet that something else has). Nothing is
    /// touched.
    async fn survey(&self, wanted: &Management, context: &Context) -> Result<Surveyed, DriverError>;

    /// Makes a network that was surveyed, marks it if it made it, and brings its bridge up; one that is there is used as it
    /// is, and gets its bridge back if that was taken away.
    async fn ensure(&self, on: &OnNetwork, context: &Context) -> Result<(), DriverError>;

    /// Makes the host let others reach the nodes of a network, or takes back that it does. What is right already is left as
    /// it is: this is called again and again, so that what somebody took away comes back. Touches nothing that is not marked
    /// as ours, and nothing where the host's firewall is not in the way.
    async fn admit(&self, network: &str, access: Access<'_>, context: &Context) -> Result<(), DriverError>;

    /// Removes a network if it is marked as ours and nobody is on it; any other is left alone.
    async fn remove(&self, network: &str, context: &Context) -> Result<(), DriverError>;
}

/// Whether others than its own host reach the nodes of a management network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access<'a> {
    /// They do, through the bridge of this network, which was surveyed.
    Open(&'a Management),
    /// No more than whoever keeps the network has it.
    Closed,
}

/// What a management network is on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// The network, without nodes.
    pub on: OnNetwork,
    /// The addresses that somebody has on it, by the names of their containers.
    pub taken: BTreeMap<IpAddr, String>,
}

/// What a link is made of.
#[async_trait]
pub trait Fabric: Send + Sync + 'static {
    /// Its name, for people: `kernel`, `ovs`.
    fn name(&self) -> &'static str;

    /// What the threads that it works with have not finished, for whoever supervises them.
    fn backlogs(&self) -> Vec<Backlog> {
        Vec::new()
    }

    /// Carries out a batch; the answers are in the order of the orders. One that fails does not stop the others.
    async fn apply(&self, orders: Vec<LinkOrder>, context: &Context) -> Vec<Result<(), DriverError>>;

    /// The switch of the host that links can be ports of; none if it knows none.
    fn switch(&self) -> Option<&dyn Switch> {
        None
    }

    /// Makes a bridge in a namespace if there is none of that name, marks it if it made it, brings it up.
    async fn ensure_bridge(&self, place: &Place, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError>;

    /// Removes a bridge from a namespace if it is marked as ours; any other is left alone.
    async fn remove_bridge(&self, place: &Place, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError>;

    /// Tells the neighbours of a node which addresses are at its ends, so that none waits to ask for them again: for
    /// fabrics whose neighbours do.
    async fn announce(&self, _place: &Place, _deadline: Instant) {}

    /// What the ends of a lab's links have carried until now. Asked for again and again while somebody watches, and only
    /// then.
    async fn counters(&self, lab: &LabName, context: &Context) -> Result<Vec<PortCounters>, DriverError>;

    /// Looks at the host and at every namespace with our mark and sends a [`Report::Relist`].
    async fn relist(&self) -> Result<(), DriverError>;
}

/// The switch of a host. Its ports are made and removed with their links ([`Fabric::apply`]); what of it is shared is asked
/// for here.
#[async_trait]
pub trait Switch: Send + Sync {
    /// Whether there is one that can be used: `Err` says why not and what to do. Cheap; called before a plan is accepted.
    async fn check(&self) -> Result<(), DriverError>;

    /// Claims a tag on the bridge of each of these links of a lab: one that nobody else on that bridge has, whoever it is
    /// and also if it asks at the same moment. A link that has claimed one before gets that again. `known` are the tags that
    /// the links are to have if that can be, as they were allotted before; the answers are in the order of the links.
    async fn claim(&self, claims: Vec<TagClaim>, context: &Context) -> Vec<Result<u16, DriverError>>;

    /// Claims for links the tags that their ports have already ([`TagClaim::known`]), where the claim is lost; one that is there
    /// is fine. Where somebody else has such a tag, by a claim or by a port on the same bridge, none is claimed, and it is said
    /// who.
    async fn reclaim(&self, claims: Vec<TagClaim>, context: &Context) -> Result<(), DriverError>;

    /// Gives back the tags of links that are not there any more. One that has none is fine.
    async fn release(&self, lab: &LabName, links: &[LinkId], context: &Context) -> Result<(), DriverError>;

    /// Makes a bridge of the switch if there is none of that name, marks it if it made it, brings it up.
    async fn ensure_bridge(&self, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError>;

    /// Removes a bridge of the switch if it is marked as ours; any other is left alone.
    async fn remove_bridge(&self, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError>;

    /// Sends a [`Report::Relist`] of all that the switch has of ours.
    async fn relist(&self) -> Result<(), DriverError>;

    /// What it has done and has, for metrics. Never waits.
    fn figures(&self) -> SwitchFigures;
}

/// What a switch has done since the agent was started, and has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SwitchFigures {
    /// Transactions that changed it.
    pub transactions: u64,
    /// How often everything was read anew, after the first time.
    pub resyncs: u64,
    /// How many ports were other than this agent had made them, or gone, and were mended.
    pub repairs: u64,
    /// Rows that are mirrored.
    pub rows: usize,
    /// Tags that are taken on the bridges on which this agent has claimed any, whoever has them.
    pub tags: usize,
}

/// A link that needs a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagClaim {
    /// Its lab.
    pub lab: LabName,
    /// The link.
    pub link: LinkId,
    /// The bridge.
    pub bridge: InterfaceName,
    /// The tag that it was allotted before.
    pub known: Option<u16>,
    /// What the tag joins.
    pub joins: Joins,
}

/// What a tag of a switch joins; each kind has a range of its own as long as that has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joins {
    /// The ends of a link, whose ports are marked as its.
    Link,
    /// The ports of a segment, each marked as a link of its own.
    Segment,
    /// Nothing: it keeps one port apart from all others.
    Nothing,
}

/// Why a driver did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{operation} {object} ({backend}): {cause}{}", .hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct DriverError {
    /// What was tried, in the infinitive: "start".
    pub operation: String,
    /// What it was tried on: "node r1", "link r1:eth1-r2:eth1".
    pub object: String,
    /// Which driver: "namespace", "kernel".
    pub backend: String,
    /// What went wrong, one line.
    pub cause: String,
    /// What to do about it, if something can be done.
    pub hint: Option<String>,
    /// Whether trying again can help.
    pub class: ErrorClass,
}

/// What a caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorClass {
    /// It will fail again until something is changed.
    Permanent,
    /// It may work later.
    Transient,
    /// The queue was full: nothing was tried.
    Busy,
    /// The deadline passed; what happens is unknown until observed.
    Deadline,
    /// The operation was cancelled.
    Cancelled,
}

/// Where drivers report what they see. Bounded and never blocking: what does not fit turns into
/// [`Report::Lost`], which makes the engine relist.
#[derive(Debug, Clone)]
pub struct Reporter {
    pub(crate) reports: mpsc::Sender<Report>,
    /// Counts what was lost.
    pub(crate) lost: Arc<watch::Sender<u64>>,
}

impl Reporter {
    /// Sends a report, or notes that one was lost.
    pub fn send(&self, report: Report) {
        if self.reports.try_send(report).is_err() {
            self.lost.send_modify(|count| *count += 1);
        }
    }
}
