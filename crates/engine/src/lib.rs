//! The engine: inventory, operations, bulkheads, reconcilers, and the traits that drivers implement.
//!
//! ```text
//!   agent ──▶ Engine (handle) ──Command──▶ one actor per lab ──steps──▶ Runtime, Fabric (drivers)
//!     ▲                                        │      ▲                     │
//!     └── snapshot (ArcSwap, wait-free) ◀── inventory task ◀────facts───────┘
//! ```
//!
//! Reads never touch a driver; writes are edits of desired state that a lab's actor makes true; sessions (exec,
//! logs, copying, rates) have a bulkhead of their own.

mod after_boot;
mod applied;
mod budget;
mod bulkhead;
mod carried;
mod copy;
mod desired;
mod document;
mod driver;
mod engine;
mod entries;
mod event;
mod fact;
mod host;
mod image;
mod inventory;
mod lab;
mod layout;
mod ledger;
mod leftover;
mod limits;
mod network;
mod operation;
mod pace;
mod pause;
mod rates;
mod refusal;
mod relist;
mod requests;
mod sampler;
mod session;
mod snapshot;
mod sources;
mod standing;
mod startup;
mod switchboard;
mod tags;
mod takeover;
pub mod task;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
mod transport;
mod view;
mod work;

pub use applied::Applied;
pub use bulkhead::{Bulkhead, Busy};
pub use carried::Carried;
pub use copy::{CopyError, CopyIn, CopyOut, Incoming, Landing, Links, Outgoing, Owner};
pub use desired::{Authority, Done, Phase, Wish, Wishes};
pub use document::{Document, EndEntry, LinkEntry, NodeEntry, RunState, link_key};
pub use driver::{
    Access, Context, DriverError, ErrorClass, ExecInput, ExecOutput, ExecRequest, ExecSession, Fabric, Follow, Holder,
    Joins, LinkOrder, LogStream, Networks, NodeOrder, Reporter, Runtime, Store, StoreError, Surveyed, Switch,
    SwitchFigures, TagClaim, Terminal, Write,
};
pub use engine::{Config, Engine, Parts, SWITCH};
pub use entries::{HostFiles, Keeps, Told};
pub use event::{Event, Events, What};
pub use fact::{
    Fact, FailSignals, Health, NetworkFact, NodeFact, Place, PortFact, PortKind, PortMark, Report, Source,
    SwitchBridgeFact, SwitchPortFact, SwitchTagFact, TunnelMark,
};
pub use image::{
    Delivered, ImageFact, ImageLoad, ImageView, Images, ImagesRemoved, ImagesView, LayerProgress, Prune, PullProgress,
    is_same as is_same_image,
};
pub use inventory::{Inventory, Writer, channel};
pub use lab::{
    Controlled, ControlledEdit, ControlledNode, ControlledTunnel, DeployRequest, EditRequest, Near, PortName, Rebuild,
};
pub use layout::Layout;
pub use ledger::StoreTrouble;
pub use leftover::{
    Found, FoundNode, GRACE, Leftover, LeftoverView, LeftoversView, Lives, Moment, Thing, Trace, TraceKind, Traces,
    Wanted, leftovers,
};
pub use limits::{Limits, RaiseLimits};
pub use operation::{Journal, Operation, OperationId, OperationState, OperationView, StepRecord, StepState};
pub use pace::{InHand, Pace, Stuck, StuckStep};
pub use pause::{Pause, Pauses, Safe};
pub use rates::{Count, EndRates, Flow, LinkRates, NodeRates, NodeUsage, PortCounters, Rates};
pub use refusal::Refusal;
pub use sampler::{FASTEST, SLOWEST, Sampled};
pub use snapshot::{LabFacts, SeenLink, Snapshot, SourceState};
pub use standing::{Standing, Trouble};
pub use switchboard::Switchboard;
pub use takeover::{
    Inherited, InheritedCable, InheritedEnd, InheritedNode, InheritedPort, InheritedTunnel, LeftOut, Predecessor,
    TakenNode, TakenPort, TakenSegment, TakenTunnel, Takeover,
};
pub use transport::{
    Changed, Cidr, DataPlane, ELSEWHERE, HostRoute, HostView, Keep, Management, Origin, Ownership, SeenAddress,
    SeenInterface, SeenWay, Step as TransportStep, TRANSPORT_MTU, Transport, TransportEdit, TransportError,
    TransportKeys, TransportText, Underlay, Unfit, Unusable, Uplink, Vlan, VlanId, WantedBy, WayOut, contract_mtu,
};
pub use view::{EndView, LabView, LinkView, ManagementView, NodeView, Preview, SwitchPortView};
pub use work::Work;
