//! A lab with its nodes on the management network: what the file leaves open is filled in.
//!
//! What network that is on the host, and which address each node has on it, is decided once and kept beside the lab
//! ([`OnNetwork`]). The lab with both is a lab like any other: its nodes' interfaces on the network are links, with one
//! end at the node and one on the network's bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Attachment, End, Endpoint, Family, Lab, LabParts, Link, LinkKind, Management, ManagementDriver, NetworkMode, Node,
    RuntimeKind, derived_mac, hex,
};
use crate::idle::Idle;
use crate::kind::Shape;
use crate::name::{InterfaceName, Ipv4Net, Ipv6Net, Mac, Mtu, NodeName};

/// The MTU of a network of which nobody says another.
const PLAIN_MTU: u32 = 1500;

/// The management network as it is on the host, and who has which addresses on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnNetwork {
    /// The network: its bridge, MTU, subnets and gateways are given, whatever the file says.
    pub network: Management,
    /// The addresses that its owner gives to others, and no node of ours is given while there are any else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others_ipv4: Option<Ipv4Net>,
    /// Likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others_ipv6: Option<Ipv6Net>,
    /// What each node has.
    pub nodes: BTreeMap<NodeName, NodeAddresses>,
}

/// The addresses of a node on the management network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// IPv4, unless the network has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// IPv6, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

impl NodeAddresses {
    /// Both, as far as they are there.
    pub fn all(self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.map(IpAddr::V4).into_iter().chain(self.ipv6.map(IpAddr::V6))
    }
}

impl Node {
    /// Whether it has an interface on the management network.
    pub fn is_managed(&self) -> bool {
        let is_ours = self.kind.shape() == Shape::Runs;
        is_ours && self.runtime == Some(RuntimeKind::Docker) && self.network_mode == NetworkMode::Default
    }

    /// Whether its container is connected by the owner of the network, which alone publishes ports.
    pub fn publishes(&self) -> bool {
        !self.container.ports.is_empty()
    }

    /// Its interface on the management network.
    ///
    /// # Panics
    /// Never: `eth0` is a name that the kernel takes.
    pub fn management_interface(&self) -> InterfaceName {
        self.device.management.clone().unwrap_or_else(|| "eth0".parse().expect("a name that the kernel takes"))
    }
}

impl Lab {
    /// The nodes that are on the management network.
    pub fn managed(&self) -> impl Iterator<Item = (&NodeName, &Node)> {
        let is_bridge = self.parts.management.driver == ManagementDriver::Bridge;
        self.parts.nodes.iter().filter(move |(_, node)| is_bridge && node.is_managed())
    }

    /// Whether a link of the file leads to the management network.
    pub fn leads_to_network(&self) -> bool {
        self.parts.links.iter().any(|link| matches!(link.kind, LinkKind::ManagementNet | LinkKind::Attachment(_)))
    }

    /// Whether anything of the lab is on its management network.
    pub fn is_on_network(&self) -> bool {
        self.managed().next().is_some() || self.leads_to_network()
    }

    /// The lab with what is decided about its management network.
    #[must_use]
    pub fn on_network(&self, on: &OnNetwork) -> Self {
        let mut parts = self.parts.clone();
        parts.management = on.network.clone();
        if let Some(bridge) = &on.network.bridge {
            for link in parts.links.iter_mut().filter(|link| link.kind == LinkKind::ManagementNet) {
                link.kind = LinkKind::Attachment(Attachment { bridge: bridge.clone(), gateways: Vec::new() });
            }
            let added = Attaching { lab: self, on, bridge, macs: macs(&parts) }.links();
            parts.links.extend(added);
        }
        for (name, addresses) in &on.nodes {
            if let Some(node) = parts.nodes.get_mut(name) {
                (node.management.ipv4, node.management.ipv6) = (addresses.ipv4, addresses.ipv6);
            }
        }
        parts.sort_links();
        // What is added takes no name and no MAC address that the lab has.
        Self { parts, idle: Idle::default() }
    }
}

fn macs(parts: &LabParts) -> BTreeSet<[u8; 6]> {
    parts.links.iter().flat_map(Link::ends).map(|end| end.mac.0).collect()
}

/// The links to the network in the making.
struct Attaching<'a> {
    lab: &'a Lab,
    on: &'a OnNetwork,
    bridge: &'a InterfaceName,
    macs: BTreeSet<[u8; 6]>,
}

impl Attaching<'_> {
    fn links(mut self) -> Vec<Link> {
        // A link of the file that has the interface is what the user wants.
        let ends = self.lab.links().iter().flat_map(Link::ends);
        let taken: BTreeSet<_> = ends
            .filter_map(|end| match &end.at {
                Endpoint::Node(node) => Some((node, end.interface.kernel().clone())),
                Endpoint::Bridge(_) | Endpoint::Host | Endpoint::Remote(_) => None,
            })
            .collect();
        let own = |(name, node): &(&NodeName, &Node)| {
            !node.publishes() && !taken.contains(&(*name, node.management_interface()))
        };
        let nodes: Vec<_> = self.lab.managed().filter(own).collect();
        let links = nodes.into_iter().filter_map(|(name, node)| {
            let addresses = *self.on.nodes.get(name)?;
            Some(self.link(name, node, addresses))
        });
        links.collect()
    }

    fn link(&mut self, name: &NodeName, node: &Node, addresses: NodeAddresses) -> Link {
        let network = &self.on.network;
        let interface = node.management_interface();
        let of_address = addresses.ipv4.map(|address| {
            let [a, b, c, d] = address.octets();
            // As Docker does it, so that nothing on the network has the same.
            Mac([0x02, 0x42, a, b, c, d])
        });
        let label = format!("{name}:{interface}");
        let own = self.free(of_address, &label);
        let host = host_interface(&self.lab.container_name(name));
        let far = self.free(Some(host_mac(host.as_str())), host.as_str());
        let end = |at, interface: InterfaceName, mac| {
            End::new(at, interface.as_str().parse().expect("it is one already"), mac)
        };
        let a = End {
            ipv4: addresses
                .ipv4
                .zip(prefix(&network.ipv4, |net| net.prefix))
                .map(|(address, prefix)| Ipv4Net { address, prefix }),
            ipv6: addresses
                .ipv6
                .filter(|_| !is_without_ipv6(node))
                .zip(prefix(&network.ipv6, |net| net.prefix))
                .map(|(address, prefix)| Ipv6Net { address, prefix }),
            ..end(Endpoint::Node(name.clone()), interface, own)
        };
        let gateways =
            [a.ipv4.and(gateway(&network.ipv4)).map(IpAddr::V4), a.ipv6.and(gateway(&network.ipv6)).map(IpAddr::V6)];
        let gateways = gateways.into_iter().flatten().collect();
        Link {
            mtu: network.mtu.unwrap_or_else(|| Mtu::try_from(PLAIN_MTU).expect("an MTU that links have")),
            kind: LinkKind::Attachment(Attachment { bridge: self.bridge.clone(), gateways }),
            ..Link::new(a, Some(end(Endpoint::Host, host, far)))
        }
    }

    /// The first MAC address that the lab does not have yet: this one, or one derived from the end.
    fn free(&mut self, wanted: Option<Mac>, end: &str) -> Mac {
        let derived = (0..).map(|attempt| derived_mac(&self.lab.parts.name, end, attempt));
        let mut candidates = wanted.into_iter().chain(derived);
        candidates.find(|mac| self.macs.insert(mac.0)).expect("there is no end of them")
    }
}

/// Whether the file switches IPv6 off in a node: the kernel refuses addresses then.
fn is_without_ipv6(node: &Node) -> bool {
    node.sysctls.get("net.ipv6.conf.all.disable_ipv6").is_some_and(|value| value.trim() == "1")
}

/// The end on the host of a node's link to the network: the same each time, and on this host nobody else's, as the name of
/// its container.
fn host_interface(container: &str) -> InterfaceName {
    format!("mg{}", &hex(container.as_bytes())[..12]).parse().expect("14 letters and digits are a name")
}

/// High, so that a bridge without an address of its own does not take it (it takes the lowest of its ports').
fn host_mac(interface: &str) -> Mac {
    let digest = Sha256::digest(interface);
    Mac([0xfe, digest[0], digest[1], digest[2], digest[3], digest[4]])
}

fn prefix<Net, Address>(family: &Family<Net, Address>, prefix: impl Fn(&Net) -> u8) -> Option<u8> {
    match family {
        Family::Subnet { net, .. } => Some(prefix(net)),
        Family::Off | Family::Auto => None,
    }
}

fn gateway<Net, Address: Copy>(family: &Family<Net, Address>) -> Option<Address> {
    match family {
        Family::Subnet { gateway, .. } => *gateway,
        Family::Off | Family::Auto => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(nodes: &serde_json::Value) -> Lab {
        serde_json::from_value(serde_json::json!({ "name": "lab", "nodes": nodes })).unwrap()
    }

    fn container(more: &serde_json::Value) -> serde_json::Value {
        let mut node = serde_json::json!({ "kind": "linux", "runtime": "docker", "image": "x", "hostname": "r1" });
        node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node
    }

    fn on(nodes: &[(&str, &str)]) -> OnNetwork {
        let mut network = Management { bridge: Some("br0".parse().unwrap()), ..Management::default() };
        if let Family::Subnet { gateway, .. } = &mut network.ipv4 {
            *gateway = Some("172.20.20.1".parse().unwrap());
        }
        let nodes = nodes.iter().map(|(node, ipv4)| {
            (node.parse().unwrap(), NodeAddresses { ipv4: Some(ipv4.parse().unwrap()), ipv6: None })
        });
        OnNetwork { network, others_ipv4: None, others_ipv6: None, nodes: nodes.collect() }
    }

    #[test]
    fn a_node_gets_a_link_to_the_bridge_with_its_address_and_a_gateway() {
        let lab = lab(&serde_json::json!({ "r1": container(&serde_json::json!({})) }));
        let whole = lab.on_network(&on(&[("r1", "172.20.20.2")]));
        let [link] = whole.links() else { panic!("{:?}", whole.links()) };
        assert_eq!(link.a.label(), "r1:eth0");
        assert_eq!(link.a.ipv4.unwrap().to_string(), "172.20.20.2/24");
        assert_eq!((link.a.mac.to_string().as_str(), link.mtu.bytes()), ("02:42:ac:14:14:02", 1500));
        let LinkKind::Attachment(attachment) = &link.kind else { panic!("{:?}", link.kind) };
        assert_eq!(attachment.bridge.as_str(), "br0");
        assert_eq!(attachment.gateways, ["172.20.20.1".parse::<IpAddr>().unwrap()]);
        assert!(link.b.as_ref().unwrap().interface.kernel().as_str().len() <= 15);
        assert_eq!(whole.nodes()[&"r1".parse().unwrap()].management.ipv4.unwrap().to_string(), "172.20.20.2");
        // It is a lab like any other.
        Lab::new(whole.into_parts()).unwrap();
    }

    #[test]
    fn nodes_with_ports_or_another_network_get_no_link_of_ours() {
        let ports = serde_json::json!({ "container": { "ports": ["8080:80"] } });
        let nodes = serde_json::json!({
            "none": container(&serde_json::json!({ "network_mode": "none" })),
            "shared": container(&serde_json::json!({ "network_mode": "host" })),
            "web": container(&ports),
        });
        let lab = lab(&nodes);
        assert_eq!(lab.managed().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["web"]);
        let whole = lab.on_network(&on(&[("web", "172.20.20.2")]));
        assert_eq!(whole.links().len(), 0);
        assert!(whole.nodes()[&"web".parse().unwrap()].management.ipv4.is_some());
    }
}
