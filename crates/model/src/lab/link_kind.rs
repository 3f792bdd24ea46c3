//! What a link is made of, where its ends do not say it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{AccessPort, End, Switched, hex};
use crate::interface::Interface;
use crate::name::{InterfaceName, NodeName};

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
    /// The same, when it is known what network that is on the host: no file has it ([`super::Lab::on_network`]).
    Attachment(Attachment),
    /// Veth pairs whose ends on the host are ports of a switch, with a tunnel in the place of the second one if it leads to one
    /// ([`super::Lab::on_switch`]).
    Switched(Switched),
    /// One port of a switch by itself, which is joined with others by a segment.
    AccessPort(AccessPort),
    /// A macvlan interface in the node.
    Macvlan(Macvlan),
    /// A VXLAN interface in the node.
    Vxlan(Vxlan),
    /// A veth pair that is joined on the host to a VXLAN interface.
    VxlanStitch(Vxlan),
}

/// A veth pair to the management network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The bridge that the end on the host is a port of.
    pub bridge: InterfaceName,
    /// The default gateways of the node, by the addresses of its end; none of a link that only leads to the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
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
    /// The address of the host that it sends from; the route decides if nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<IpAddr>,
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
            Self::ManagementNet => Some("the management network, which Docker keeps, and there is no Docker here"),
            Self::Plain
            | Self::VethStitch
            | Self::Attachment(_)
            | Self::Switched(_)
            | Self::AccessPort(_)
            | Self::Macvlan(_)
            | Self::Vxlan(_)
            | Self::VxlanStitch(_) => None,
        }
    }

    /// The interface of the host that it hangs on, if it names one.
    pub fn parent(&self) -> Option<&InterfaceName> {
        match self {
            Self::Macvlan(macvlan) => Some(&macvlan.parent),
            Self::AccessPort(AccessPort { external: Some(interface), .. }) => Some(interface),
            _ => self.tunnel()?.parent.as_ref(),
        }
    }

    /// What it leads to that the lab has no end of, as drawings name it: `host:PARENT` or `remote:HOST`. No node has a colon in its
    /// name, so these meet none.
    pub fn leads_to(&self) -> Option<String> {
        match self {
            Self::Macvlan(Macvlan { parent, .. }) | Self::AccessPort(AccessPort { external: Some(parent), .. }) => {
                Some(format!("host:{parent}"))
            }
            _ => Some(format!("remote:{}", self.tunnel()?.remote)),
        }
    }

    /// The tunnel that it is or leads to.
    pub fn tunnel(&self) -> Option<&Vxlan> {
        match self {
            Self::Vxlan(tunnel) | Self::VxlanStitch(tunnel) => Some(tunnel),
            Self::Switched(switched) => switched.tunnel.as_ref(),
            Self::AccessPort(port) => port.tunnel.as_ref(),
            Self::Plain | Self::VethStitch | Self::ManagementNet | Self::Attachment(_) | Self::Macvlan(_) => None,
        }
    }

    /// The same, to change it.
    pub fn tunnel_mut(&mut self) -> Option<&mut Vxlan> {
        match self {
            Self::Vxlan(tunnel) | Self::VxlanStitch(tunnel) => Some(tunnel),
            Self::Switched(switched) => switched.tunnel.as_mut(),
            Self::AccessPort(port) => port.tunnel.as_mut(),
            Self::Plain | Self::VethStitch | Self::ManagementNet | Self::Attachment(_) | Self::Macvlan(_) => None,
        }
    }
}

/// The two interfaces on the host by which a link is joined to a tunnel. Both carry its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stitch {
    /// The far end of the veth pair: `ve-<node>_<interface>`.
    pub veth: Interface,
    /// The VXLAN interface: `vx-<node>_<interface>`.
    pub vxlan: Interface,
}

impl Stitch {
    /// Those of the link with this end.
    pub(super) fn of(end: &End) -> Self {
        let node = end.at.node().map_or("host", NodeName::as_str);
        let seam = format!("{node}_{}", end.interface.display().replace(['/', ' '], "-"));
        let named = |prefix: &str| {
            let whole = format!("{prefix}-{seam}").parse();
            // Longer than even a second name may be.
            whole.or_else(|_| format!("{prefix}-{}", &hex(seam.as_bytes())[..12]).parse())
        };
        let named = |prefix| named(prefix).expect("15 characters that the kernel takes");
        Self { veth: named("ve"), vxlan: named("vx") }
    }
}

#[cfg(test)]
mod tests {
    use crate::lab::Lab;

    #[test]
    fn a_stitch_is_named_after_its_end_and_keeps_long_names_as_second_ones() {
        let lab: Lab = serde_json::from_str(
            r#"{ "name": "t", "nodes": { "r1": { "kind": "linux", "runtime": "namespace", "hostname": "r1" } }, "links": [
                { "a": { "at": { "node": "r1" }, "interface": "eth1", "mac": "02:00:00:00:00:01" },
                  "kind": { "vxlan-stitch": { "remote": "192.0.2.7", "vni": 7, "dst_port": 4789 } } },
                { "a": { "at": { "node": "r1" }, "interface": "ethernet-1/1", "mac": "02:00:00:00:00:02" },
                  "kind": { "vxlan-stitch": { "remote": "192.0.2.7", "vni": 8, "dst_port": 4789 } } } ] }"#,
        )
        .unwrap();
        let [short, long] = [0, 1].map(|at| lab.links()[at].stitch().unwrap());
        assert_eq!((short.veth.to_string(), short.vxlan.to_string()), ("ve-r1_eth1".into(), "vx-r1_eth1".into()));
        assert_eq!(short.vxlan.altname(), None);
        assert_eq!(long.vxlan.altname(), Some("vx-r1_ethernet-1-1"));
        assert!(long.vxlan.kernel().as_str().starts_with("nl"));
    }
}
