//! What a link is made of, where its ends do not say it.

use serde::{Deserialize, Serialize};

use crate::name::InterfaceName;

/// What a link is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkKind {
    /// What its ends say: two are a veth pair, one is a dummy.
    #[default]
    Plain,
    /// A veth pair that the file calls `veth-stitch`.
    VethStitch,
    /// A veth pair whose end on the host is a port of the management bridge.
    ManagementNet,
    /// A macvlan interface in the node.
    Macvlan(Macvlan),
    /// A VXLAN interface in the node.
    Vxlan(Vxlan),
    /// A veth pair that is joined on the host to a VXLAN interface.
    VxlanStitch(Vxlan),
}

/// A macvlan interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Macvlan {
    /// The interface of the host that it hangs on; several may.
    pub parent: InterfaceName,
    /// Whom it hears.
    #[serde(default)]
    pub mode: MacvlanMode,
}

/// Whom a macvlan interface hears (linux/if_link.h, `MACVLAN_MODE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacvlanMode {
    /// Nobody on the same parent.
    Private,
    /// Others on the parent by way of the switch outside.
    Vepa,
    /// Others on the parent directly.
    #[default]
    Bridge,
    /// It has the parent for itself.
    Passthru,
    /// Only listed senders.
    Source,
}

/// A VXLAN tunnel (RFC 7348).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vxlan {
    /// The other end: an address or a name.
    pub remote: String,
    /// The network identifier, at most [`Vxlan::MAX_VNI`].
    pub vni: u32,
    /// The UDP port that it sends to.
    pub dst_port: u16,
    /// The UDP port that it sends from, if it is to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// The interface of the host that it sends from; the route decides if nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<InterfaceName>,
}

impl Vxlan {
    /// The port of a tunnel that names none, as the topology format says.
    pub const DST_PORT: u16 = 14789;
    /// The largest network identifier (24 bits, RFC 7348 section 5).
    pub const MAX_VNI: u32 = (1 << 24) - 1;
}

impl LinkKind {
    /// Whether the link's ends say all of it.
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain
    }

    /// Why no fabric of this version makes such a link: what it needs. Nothing if it is made.
    pub fn needs(&self) -> Option<&'static str> {
        match self {
            Self::Plain | Self::VethStitch => None,
            Self::ManagementNet => Some("the management network, which is not made yet"),
            Self::Macvlan(_) => Some("macvlan interfaces, which the kernel fabric does not make yet"),
            Self::Vxlan(_) | Self::VxlanStitch(_) => Some("VXLAN tunnels, which the kernel fabric does not make yet"),
        }
    }
}
