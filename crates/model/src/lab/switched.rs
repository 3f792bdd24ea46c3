//! Links over a switch of the host (Open vSwitch): each end has a port of the switch, and the ports of one link share a
//! VLAN tag.
//!
//! ```text
//!   node r1                      host                       node r2
//!   eth1 ◀──veth──▶ vh5a0c… ─port─┐ bridge ┌─port─ vh81d2… ◀──veth──▶ eth1
//!                                 └─ tag N ─┘
//! ```
//!
//! A link to a tunnel is the same with the tunnel in the place of the second cable: its VXLAN interface is a port with the tag
//! of the link, which goes around no frame in the tunnel, so the tags of two hosts have nothing to do with each other.
//!
//! Controllers of the agent contract think in ports instead: each interface of a node is a port of its own, whether anything is
//! linked or not, and ports in one segment share a tag ([`AccessPort`]). Then to link two of them touches no interface.
//!
//! No file says so of a link: its lab is on a switch or not ([`super::Settings::fabric`]), and which bridge that is on the
//! host is decided once and kept beside the lab, as its management network is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{End, Endpoint, Lab, Link, LinkId, LinkKind, Stitch, Vlan, Vxlan, hex, is_default};
use crate::idle::Idle;
use crate::kind::Shape;
use crate::name::{InterfaceName, LabName};

/// That the ends of a link are ports of a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switched {
    /// The bridge on the host that they are ports of.
    pub bridge: InterfaceName,
    /// The tunnel that its one end is joined to; none between two ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Vxlan>,
}

/// One port of a switch by itself: an access port. Its one end is an interface of a node; of a tunnel it is the other host, of a
/// port to an external network an interface of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessPort {
    /// The bridge on the host that it is a port of.
    pub bridge: InterfaceName,
    /// The segment that it is in with others; it is alone if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<LinkId>,
    /// The tunnel that the port is, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Vxlan>,
    /// The link between hosts that the tunnel is a half of, where the segment is not called after it: several tunnels may lead to
    /// one external network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_of: Option<LinkId>,
    /// By what other names controllers know the tunnel: they attach a link to an external network by a number, and look for it by
    /// the names of its ends. A name is that of several tunnels where nobody can tell which of them it means.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<LinkId>,
    /// The interface of the host that the port leads to, if it leads to an external network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<InterfaceName>,
    /// In which life of the host it was last asked for, if it goes with that: what leads out of a host for a controller comes up
    /// after a boot when it is asked for again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Whether what is behind it sees no carrier.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dark: bool,
    /// What else its port on the switch says of it, for whoever looks for it there, beside the marks of ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub says: BTreeMap<String, String>,
    /// The interface on the host that the port is, if it has not the name that it would be made with: somebody else made it, and
    /// it was adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<InterfaceName>,
}

impl AccessPort {
    /// The link between hosts that it is a half of, if it is a tunnel.
    pub fn tunneled(&self) -> Option<&LinkId> {
        self.tunnel.as_ref().and(self.half_of.as_ref().or(self.segment.as_ref()))
    }

    /// Whether it is a tunnel that controllers know by this name: that of the link that it is a half of, or another.
    pub fn goes_by(&self, name: &LinkId) -> bool {
        self.tunneled().is_some_and(|link| link == name || self.names.contains(name))
    }

    /// Whether it is the port of an interface of a node, and no way out of the host.
    pub fn is_of_node(&self) -> bool {
        self.tunnel.is_none() && self.external.is_none()
    }
}

/// A port of a switch that a link has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchPort<'a> {
    /// The end of the link that is behind the port; none behind one that leads out of the host.
    pub end: Option<&'a End>,
    /// The interface on the host that is the port.
    pub interface: InterfaceName,
    /// The bridge that it is a port of.
    pub bridge: InterfaceName,
    /// What passes through it.
    pub vlan: Vlan,
}

/// The two interfaces on the host by which a link is joined to a tunnel, whether filters join them or a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seam {
    /// The end on the host of the cable to its end.
    pub cable: InterfaceName,
    /// The VXLAN interface.
    pub tunnel: InterfaceName,
}

impl Link {
    /// The bridge by which its ends are joined, if they are ports of a switch.
    pub fn switch(&self) -> Option<&InterfaceName> {
        match &self.kind {
            LinkKind::Switched(switched) => Some(&switched.bridge),
            LinkKind::AccessPort(port) => Some(&port.bridge),
            LinkKind::Plain
            | LinkKind::VethStitch
            | LinkKind::ManagementNet
            | LinkKind::Attachment(_)
            | LinkKind::Macvlan(_)
            | LinkKind::Vxlan(_)
            | LinkKind::VxlanStitch(_) => None,
        }
    }

    /// The port that it is by itself, if it is one.
    pub fn access_port(&self) -> Option<&AccessPort> {
        match &self.kind {
            LinkKind::AccessPort(port) => Some(port),
            _ => None,
        }
    }

    /// By what its tag on the switch goes: links of one name share it. It is the link's own, unless it is in a segment.
    pub fn segment(&self) -> LinkId {
        self.access_port().and_then(|port| port.segment.clone()).unwrap_or_else(|| self.id())
    }

    /// What it is where its lab is on a switch, if that is something else: it has two ends and nothing else says what it is, or
    /// it is to be joined to a tunnel on the host.
    fn on_switch(&self, bridge: &InterfaceName) -> Option<LinkKind> {
        let fits = |end: &End| matches!(end.at, Endpoint::Node(_) | Endpoint::Host);
        let tunnel = match &self.kind {
            LinkKind::Plain | LinkKind::VethStitch if self.b.is_some() => None,
            LinkKind::VxlanStitch(tunnel) => Some(tunnel.clone()),
            _ => return None,
        };
        self.ends().all(fits).then(|| LinkKind::Switched(Switched { bridge: bridge.clone(), tunnel }))
    }
}

impl Lab {
    /// The lab on a switch: its links between nodes are ports of this bridge.
    #[must_use]
    pub fn on_switch(&self, bridge: &InterfaceName) -> Self {
        let mut parts = self.parts.clone();
        for link in &mut parts.links {
            if let Some(kind) = link.on_switch(bridge) {
                link.kind = kind;
            }
        }
        Self { parts, idle: Idle::default() }
    }

    /// The ports of switches that a link of the lab has, in the order of its ends; that of its tunnel is the last.
    pub fn switch_ports<'a>(&self, link: &'a Link) -> Vec<SwitchPort<'a>> {
        if let Some(access) = link.access_port() {
            let (bridge, vlan) = (access.bridge.clone(), Vlan::Allotted);
            let end = access.is_of_node().then_some(&link.a);
            let cable = |end: &End| SwitchPort::cable_to(&self.parts.name, &end.label());
            let made = || end.map_or_else(|| link.a.interface.kernel().clone(), cable);
            let interface = access.host.clone().unwrap_or_else(made);
            return vec![SwitchPort { end, interface, bridge, vlan }];
        }
        if let Some(bridge) = link.switch() {
            let port = |end, interface| SwitchPort { end, interface, bridge: bridge.clone(), vlan: Vlan::Allotted };
            let name = &self.parts.name;
            let cables = link.ends().map(|end| port(Some(end), SwitchPort::cable_to(name, &end.label())));
            let tunnel = link.kind.tunnel().map(|_| port(None, SwitchPort::tunnel_of(name, &link.id())));
            return cables.chain(tunnel).collect();
        }
        let far = |end: &End| link.ends().find(|other| !std::ptr::eq(*other, end));
        let ports = link.ends().filter_map(|end| {
            let bridge = self.ovs_bridge(end)?;
            // Each lab was checked: what is no VLAN is in none.
            let (interface, vlan) = (end.interface.kernel().clone(), Vlan::read(&end.vars).unwrap_or(Vlan::Any));
            Some(SwitchPort { end: Some(far(end)?), interface, bridge, vlan })
        });
        ports.collect()
    }

    /// Where a link of the lab is joined to a tunnel on the host, if it is.
    pub fn seam(&self, link: &Link) -> Option<Seam> {
        if let Some(Stitch { veth, vxlan }) = link.stitch() {
            return Some(Seam { cable: veth.kernel().clone(), tunnel: vxlan.kernel().clone() });
        }
        if !matches!(&link.kind, LinkKind::Switched(Switched { tunnel: Some(_), .. })) {
            return None;
        }
        let cable = SwitchPort::cable_to(&self.parts.name, &link.a.label());
        Some(Seam { cable, tunnel: SwitchPort::tunnel_of(&self.parts.name, &link.id()) })
    }

    /// The bridge of Open vSwitch that an end is a port of, if its node is one.
    pub fn ovs_bridge(&self, end: &End) -> Option<InterfaceName> {
        let Endpoint::Bridge(name) = &end.at else { return None };
        let node = self.parts.nodes.get(name).filter(|node| node.kind.shape() == Shape::OvsBridge)?;
        node.host_bridge(name)
    }

    /// Whether anything of the lab is on a switch.
    pub fn has_switch_ports(&self) -> bool {
        self.parts
            .links
            .iter()
            .any(|link| link.switch().is_some() || link.ends().any(|end| self.ovs_bridge(end).is_some()))
    }
}

impl SwitchPort<'_> {
    /// The end on the host of the cable to an end of a link, by the end's label: the same each time, and no other lab's on this
    /// host.
    ///
    /// # Panics
    /// Never: 13 letters and digits are a name.
    pub fn cable_to(lab: &LabName, end: &str) -> InterfaceName {
        let whole = format!("{lab}\0{end}");
        format!("vh{}", &hex(whole.as_bytes())[..11]).parse().expect("13 letters and digits are a name")
    }

    /// The VXLAN interface on the host of a link to a tunnel, likewise.
    ///
    /// # Panics
    /// Never: the kernel takes 14 characters.
    pub fn tunnel_of(lab: &LabName, link: &LinkId) -> InterfaceName {
        let whole = format!("{lab}:{link}");
        format!("vxlan-{}", &hex(whole.as_bytes())[..8]).parse().expect("14 characters that the kernel takes")
    }

    /// What is behind it, as people name it.
    pub fn label(&self) -> String {
        self.end.map_or_else(|| "tunnel".to_owned(), End::label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Lab {
        let node = |name: &str| serde_json::json!({ "kind": "linux", "runtime": "namespace", "hostname": name });
        let end = |at: serde_json::Value, interface: &str, mac: u8| serde_json::json!({ "at": at, "interface": interface, "mac": format!("02:00:00:00:00:{mac:02x}") });
        let node_end = |name: &str, interface: &str, mac| end(serde_json::json!({ "node": name }), interface, mac);
        serde_json::from_value(serde_json::json!({
            "name": "t",
            "nodes": { "r1": node("r1"), "r2": node("r2"),
                "ovs0": { "kind": "ovs-bridge", "hostname": "ovs0" }, "br0": { "kind": "bridge", "hostname": "br0" } },
            "links": [
                { "a": node_end("r1", "eth1", 1), "b": node_end("r2", "eth1", 2) },
                { "a": node_end("r1", "eth2", 3), "b": end("host".into(), "to-r1", 4) },
                { "a": node_end("r1", "eth3", 5), "b": end(serde_json::json!({ "bridge": "ovs0" }), "p1", 6) },
                { "a": node_end("r1", "eth4", 7), "b": end(serde_json::json!({ "bridge": "br0" }), "p2", 8) },
                { "a": node_end("r1", "eth5", 9) },
                { "a": node_end("r1", "eth6", 10), "kind": { "vxlan-stitch": { "remote": "192.0.2.7", "vni": 7, "dst_port": 4789 } } },
            ],
        }))
        .unwrap()
    }

    fn ports(lab: &Lab) -> Vec<(String, Vec<String>)> {
        let of = |link: &Link| {
            let ports = lab.switch_ports(link).into_iter();
            let said = |port: SwitchPort<'_>| format!("{} {} {:?}", port.label(), port.bridge, port.vlan);
            (link.id().to_string(), ports.map(said).collect())
        };
        lab.links().iter().map(of).filter(|(_, ports): &(String, Vec<String>)| !ports.is_empty()).collect()
    }

    #[test]
    fn on_a_switch_each_end_of_a_link_between_nodes_or_to_the_host_has_a_port_and_all_others_stay_as_they_are() {
        let lab = lab();
        let to_bridge = ("ovs0:p1-r1:eth3".to_owned(), vec!["r1:eth3 ovs0 Any".to_owned()]);
        assert_eq!(ports(&lab), std::slice::from_ref(&to_bridge));
        let switched = lab.on_switch(&"arch-ovs".parse().unwrap());
        let two = |a: &str, b: &str| vec![format!("{a} arch-ovs Allotted"), format!("{b} arch-ovs Allotted")];
        let wanted = [
            ("host:to-r1-r1:eth2".to_owned(), two("r1:eth2", "host:to-r1")),
            to_bridge,
            ("r1:eth1-r2:eth1".to_owned(), two("r1:eth1", "r2:eth1")),
            ("r1:eth6".to_owned(), two("r1:eth6", "tunnel")),
        ];
        assert_eq!(ports(&switched), wanted);
        assert!(switched.has_switch_ports());
        // It is a lab like any other.
        Lab::new(switched.into_parts()).unwrap();
    }

    #[test]
    fn an_access_port_is_the_interface_that_it_was_adopted_with() {
        let port = |host: Option<&str>| {
            let port = serde_json::json!({ "bridge": "arch-ovs", "host": host });
            let end = serde_json::json!({ "at": { "node": "r1" }, "interface": "eth1", "mac": "02:00:00:00:00:01" });
            let node = serde_json::json!({ "kind": "linux", "runtime": "namespace", "hostname": "r1" });
            let links = serde_json::json!([{ "a": end, "kind": { "access-port": port } }]);
            let lab: Lab =
                serde_json::from_value(serde_json::json!({ "name": "t", "nodes": { "r1": node }, "links": links }))
                    .unwrap();
            lab.switch_ports(&lab.links()[0])[0].interface.to_string()
        };
        assert_eq!(port(Some("vh614ed63ed40")), "vh614ed63ed40");
        assert_eq!(port(None), SwitchPort::cable_to(&"t".parse().unwrap(), "r1:eth1").as_str());
    }

    #[test]
    fn the_host_ends_of_cables_are_named_after_lab_and_end_and_differ() {
        let lab = lab().on_switch(&"arch-ovs".parse().unwrap());
        let all = lab.links().iter().flat_map(|link| lab.switch_ports(link)).map(|port| port.interface.to_string());
        let all: BTreeSet<String> = all.collect();
        assert_eq!(all.len(), 7);
        assert!(all.iter().filter(|name| name.starts_with("vh")).all(|name| name.len() == 13));
        assert!(all.iter().any(|name| name.starts_with("vxlan-") && name.len() == 14));
    }
}
