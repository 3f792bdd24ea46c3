//! What would be adopted of a lab, for whoever asks before it is done.

use std::net::IpAddr;

use netloom_model::{InterfaceName, LabName, LinkId, NodeName};
use serde::{Deserialize, Serialize};

/// What would be adopted of a lab, and what not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// The lab.
    pub lab: LabName,
    /// Its nodes.
    pub nodes: Vec<TakenNode>,
    /// Their interfaces that are ports of the switch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<TakenPort>,
    /// The ports that are joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<TakenSegment>,
    /// The tunnels to other hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tunnels: Vec<TakenTunnel>,
    /// Links of a lab of ours that the store has lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<LinkId>,
    /// What stays as it is and unknown while the rest is adopted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Everything that keeps all of it from being adopted; it is, if nothing does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
}

/// A node that is adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenNode {
    /// Its name.
    pub name: NodeName,
    /// Its container; none of a node that is adopted by marks of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// What its runtime calls that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_id: Option<String>,
}

/// A port that is adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenPort {
    /// The node that is behind it.
    pub node: NodeName,
    /// The interface of that.
    pub interface: InterfaceName,
    /// The interface on the host that the port is.
    pub host: InterfaceName,
    /// Its tag.
    pub tag: u16,
}

/// Ports with one tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenSegment {
    /// By what it goes: the name of the link that it is.
    pub link: LinkId,
    /// The tag.
    pub tag: u16,
    /// The ports of nodes, as `node:interface`.
    pub ports: Vec<String>,
}

/// A tunnel that is adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenTunnel {
    /// The link that it is a half of.
    pub link: LinkId,
    /// Its interface on the host.
    pub host: InterfaceName,
    /// Its tag.
    pub tag: u16,
    /// Its identifier.
    pub vni: u32,
    /// The address of this host.
    pub local: IpAddr,
    /// That of the other one.
    pub remote: IpAddr,
}

/// Something that is not adopted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeftOut {
    /// What.
    pub what: String,
    /// Why, and what can be done about it.
    pub why: String,
}
