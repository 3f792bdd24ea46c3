//! Labs of another agent of the contract that this one takes the place of on a running host: adopted by the marks of that agent,
//! without one link cut.
//!
//! ```text
//!   Predecessor::look ──▶ Inherited ─┐
//!   wishes, snapshot ────────────────┴─▶ read() (pure) ─▶ Heir: the wish, and what is marked for it
//!                                                          │
//!        Runtime::adopt, LinkOrder::Adopt, Switch::reclaim ◀┘ ─▶ seen: nothing is left to be done ─▶ the lab's actor stores it
//! ```
//!
//! Marks come first and the store last: whatever ends in between, the labels of that agent are still there, and the same again
//! finishes. Not for labs of ours that the store has lost: those are read from our own marks ([`crate::lab`]).

mod carry_out;
mod guard;
mod read;
mod view;

use std::collections::BTreeSet;
use std::net::IpAddr;

use async_trait::async_trait;
use netloom_model::{InterfaceName, LabName, LinkId, Mac, Node, NodeName, PortVlan};

use tokio::sync::watch;

use crate::driver::{Context, DriverError};

pub(crate) use guard::Takeovers;
pub use view::{LeftOut, TakenNode, TakenPort, TakenSegment, TakenTunnel, Takeover};

/// The agent that was on this host before.
#[async_trait]
pub trait Predecessor: Send + Sync + 'static {
    /// Looks at everything on this host that carries its marks. Nothing is touched.
    async fn look(&self, context: &Context) -> Result<Inherited, DriverError>;

    /// Whether containers or networks hang on what it answered the daemon of containers; nothing as long as that was not seen.
    fn hung(&self) -> watch::Receiver<Option<bool>>;

    /// Removes what carries its marks of a lab that is gone: what was left out when the lab was adopted, and what it kept for
    /// all nodes of the lab together. Nothing that runs for another lab; nothing is fine.
    async fn clear(&self, lab: &LabName, context: &Context) -> Result<(), DriverError>;
}

/// What an agent has left, of all labs, as its own marks say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inherited {
    /// Its nodes.
    pub nodes: Vec<InheritedNode>,
    /// The ports of the switch that interfaces of its nodes are behind.
    pub ports: Vec<InheritedPort>,
    /// The ports that are tunnels.
    pub tunnels: Vec<InheritedTunnel>,
    /// The links that it knew tunnels of, by their labs: a tunnel says of which it is by a hash alone.
    pub links: BTreeSet<(LabName, LinkId)>,
}

/// A container.
#[derive(Debug, Clone, PartialEq)]
pub struct InheritedNode {
    /// The lab that its labels name.
    pub lab: String,
    /// The node that they name.
    pub name: String,
    /// What the runtime calls it.
    pub id: String,
    /// Its name.
    pub container: String,
    /// What it was made from, as far as the runtime tells.
    pub spec: Node,
    /// The interfaces in it, or why there are none.
    pub ends: Result<Vec<InheritedEnd>, String>,
    /// The node of ours that it is already.
    pub owner: Option<(LabName, NodeName)>,
}

/// An interface in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InheritedEnd {
    /// Its name there.
    pub name: InterfaceName,
    /// Its number there.
    pub number: u32,
    /// The number of the other end of its cable.
    pub peer: Option<u32>,
    /// Its address.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: u32,
}

/// A port of the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InheritedPort {
    /// Its name, which is that of the interface on the host.
    pub name: InterfaceName,
    /// The bridge that it is a port of.
    pub bridge: InterfaceName,
    /// What passes through it.
    pub vlan: PortVlan,
    /// Why nothing does, in the words of the switch.
    pub fault: Option<String>,
    /// The lab that it says it is of.
    pub lab: String,
    /// The node, if it says that.
    pub node: Option<String>,
    /// The interface of the node, likewise.
    pub interface: Option<String>,
    /// The interface on the host, if it is there.
    pub on_host: Option<InheritedCable>,
}

/// The end on the host of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InheritedCable {
    /// Its number.
    pub number: u32,
    /// The number of its other end.
    pub peer: Option<u32>,
    /// Whether it is switched on.
    pub is_up: bool,
}

/// A port that is a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InheritedTunnel {
    /// Its name, likewise.
    pub name: InterfaceName,
    /// The bridge that it is a port of.
    pub bridge: InterfaceName,
    /// What passes through it.
    pub vlan: PortVlan,
    /// Why nothing does.
    pub fault: Option<String>,
    /// Its identifier and its port of UDP.
    pub vni: Option<(u32, u16)>,
    /// The addresses of this host and of the other one.
    pub between: Option<(IpAddr, IpAddr)>,
    /// Its MTU.
    pub mtu: u32,
}

#[cfg(test)]
mod tests;
