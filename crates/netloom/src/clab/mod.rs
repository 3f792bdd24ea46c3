//! Labs in the forms that the tools around containerlab read: what it writes beside a topology and what its commands print.
//!
//! Only the shapes are alike. What Netloom does not know of a node is empty there, never made up.

mod ansible;
mod exec;
mod inspect;
mod topology_data;

use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};

use netloom_engine::NodeView;
use netloom_model::{Family, Lab, NodeName, Shape};

pub(crate) use ansible::inventory;
pub(crate) use exec::{Executed, Executions, Stdout};
pub(crate) use inspect::{Inspected, inspected};
pub(crate) use topology_data::{labels, topology_data};

/// What a node has on the management network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct OnManagement {
    ipv4: Option<Placed<Ipv4Addr>>,
    ipv6: Option<Placed<Ipv6Addr>>,
}

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Placed<Address> {
    address: Address,
    prefix: u8,
}

impl<Address: Display> Display for Placed<Address> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl OnManagement {
    /// The only place that says where a node is reached: by its addresses on that network.
    fn of(node: &NodeView, lab: &Lab) -> Self {
        let Some(on) = &node.management else { return Self::default() };
        let (network, or) = (lab.management(), |known: Option<u8>, usual| known.unwrap_or(usual));
        let of_ipv4 = subnet(&network.ipv4).map(|net| net.prefix);
        let of_ipv6 = subnet(&network.ipv6).map(|net| net.prefix);
        Self {
            ipv4: on.ipv4.map(|address| Placed { address, prefix: or(of_ipv4, 24) }),
            ipv6: on.ipv6.map(|address| Placed { address, prefix: or(of_ipv6, 64) }),
        }
    }
}

/// The subnet that a topology gives to an address family of the management network.
fn subnet<Net, Address>(family: &Family<Net, Address>) -> Option<&Net> {
    match family {
        Family::Subnet { net, .. } => Some(net),
        Family::Off | Family::Auto => None,
    }
}

/// The nodes that other tools know as containers, whatever they run on here: not bridges, and not the host.
fn is_container(node: &NodeView) -> bool {
    matches!(node.kind.shape(), Shape::Runs | Shape::External)
}

/// Where the files of a node are, in the directory of its lab.
fn directory_of(directory: &std::path::Path, node: &NodeName) -> String {
    directory.join(node.as_str()).display().to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use netloom_engine::LabView;
    use serde_json::json;

    use super::*;
    use crate::topology;

    pub(super) const DIRECTORY: &str = "/labs/clab-shop";

    const TOPOLOGY: &str = r#"
name: shop
mgmt: { network: oob, ipv4-subnet: 10.77.0.0/24 }
topology:
  nodes:
    client: { kind: linux, image: "alpine:3", group: edge, labels: { team: net, ansible-group: hosts } }
    web:
      kind: nokia_srlinux
      type: ixr-d3l
      image: "ghcr.io/nokia/srlinux:25.3"
      mgmt-ipv4: 10.77.0.10
      credentials: { username: me, password: "a: \"b\"" }
      ports: [ "8080:80", "127.0.0.1:53:53/udp", "9000-9001:9000-9001", "443" ]
    quiet: { kind: linux, runtime: namespace, labels: { ansible-no-host-var: "true" } }
    br0: { kind: bridge }
  links:
    - endpoints: ["client:eth1", "web:e1-1"]
    - endpoints: ["client:eth2", "host:shop-up"]
    - { type: dummy, endpoint: { node: quiet, interface: d0 } }
    - endpoints: ["web:ethernet-1/2", "br0:p1"]
"#;

    /// A lab, and a view of it in which its nodes run.
    pub(super) fn sample() -> (Lab, LabView) {
        let lab = topology::read_text(TOPOLOGY.as_bytes(), "shop", Path::new("/labs")).unwrap().lab.unwrap();
        let node = |(name, node): (&NodeName, &netloom_model::Node)| {
            json!({
                "name": name, "kind": node.kind, "runtime": node.runtime, "container": lab.container_name(name),
                "id": node.runtime.map(|_| "0123456789ab"), "state": { "phase": "running" }, "ready": true, "pid": 4711,
                "addresses": [], "last_output": null, "note": null, "seen": null,
                "management": node.management.ipv4.map(|ipv4| json!({ "network": "clab", "interface": "eth0", "ipv4": ipv4 })),
            })
        };
        let nodes: Vec<serde_json::Value> = lab.nodes().iter().map(node).collect();
        let view = json!({
            "name": "shop", "authority": null, "phase": "run", "generation": 1, "source": "/labs/shop.clab.yml",
            "held": null, "stale": null, "nodes": nodes, "links": []
        });
        (lab, serde_json::from_value(view).unwrap())
    }

    #[test]
    fn a_node_is_reached_by_its_address_on_the_management_network() {
        let (lab, view) = sample();
        let of =
            |name: &str| OnManagement::of(view.nodes.iter().find(|node| node.name.as_str() == name).unwrap(), &lab);
        assert_eq!(of("web").ipv4.unwrap().to_string(), "10.77.0.10/24");
        assert_eq!(of("web").ipv6, None);
        assert_eq!(of("client"), OnManagement::default());
    }
}
