//! `topology-data.json`: a lab as data, for programs that draw it or reach its nodes.
//!
//! Each link has its ends twice, below `endpoints` and on its own: programs of before and after version 0.73 of containerlab
//! look in one place or the other. A link that ends in itself (`dummy`) has no two ends, and is not in it.

use std::collections::BTreeMap;
use std::path::Path;

use netloom_engine::{LabView, NodeView};
use netloom_model::{End, Endpoint, Lab, Link, Node, PortMapping, Protocol};
use serde::Serialize;

use super::{OnManagement, directory_of, subnet};

/// The whole file.
#[derive(Debug, Serialize)]
pub(crate) struct TopologyData {
    name: String,
    r#type: &'static str,
    clab: Clab,
    nodes: BTreeMap<String, NodeData>,
    links: Vec<LinkData>,
}

#[derive(Debug, Serialize)]
struct Clab {
    config: Config,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    prefix: String,
    mgmt: Network,
    #[serde(rename = "config-path")]
    directory: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Network {
    #[serde(rename = "network")]
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bridge: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4_subnet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv6_subnet: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<String>,
    external_access: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct NodeData {
    index: String,
    shortname: String,
    longname: String,
    fqdn: String,
    group: String,
    labdir: String,
    kind: String,
    image: String,
    mgmt_net: String,
    mgmt_intf: String,
    mgmt_ipv4_address: String,
    mgmt_ipv4_prefix_length: u8,
    mgmt_ipv6_address: String,
    mgmt_ipv6_prefix_length: u8,
    mac_address: String,
    labels: BTreeMap<String, String>,
    port_bindings: Vec<PortData>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct PortData {
    host_ip: String,
    /// `None`: the runtime chooses it.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_port: Option<u16>,
    port: u16,
    protocol: &'static str,
}

#[derive(Debug, Serialize)]
struct LinkData {
    endpoints: Ends,
    #[serde(flatten)]
    ends: Ends,
}

#[derive(Debug, Clone, Serialize)]
struct Ends {
    a: EndData,
    z: EndData,
}

#[derive(Debug, Clone, Serialize)]
struct EndData {
    node: String,
    interface: String,
    mac: String,
    /// The other end's letter.
    peer: char,
}

/// A lab whose files are in this directory.
pub(crate) fn topology_data(lab: &Lab, view: &LabView, directory: &Path) -> TopologyData {
    let nodes = lab.nodes().iter().enumerate().filter_map(|(index, (name, node))| {
        let seen = view.nodes.iter().find(|seen| seen.name == *name)?;
        Some((name.to_string(), node_data(index, node, seen, lab, directory)))
    });
    let network = lab.management();
    TopologyData {
        name: lab.name().to_string(),
        r#type: "clab",
        clab: Clab {
            config: Config {
                prefix: lab.prefix().clone().into(),
                mgmt: Network {
                    name: network.network.clone(),
                    bridge: network.bridge.as_ref().map(ToString::to_string),
                    ipv4_subnet: subnet(&network.ipv4).map(ToString::to_string),
                    ipv6_subnet: subnet(&network.ipv6).map(ToString::to_string),
                    mtu: network.mtu.map(|mtu| mtu.bytes().to_string()),
                    external_access: network.external_access,
                },
                directory: directory.parent().unwrap_or(directory).display().to_string(),
            },
        },
        nodes: nodes.collect(),
        links: lab.links().iter().filter_map(link_data).collect(),
    }
}

fn node_data(index: usize, node: &Node, seen: &NodeView, lab: &Lab, directory: &Path) -> NodeData {
    let name = &seen.name;
    let OnManagement { ipv4, ipv6 } = OnManagement::of(seen, lab);
    let is_there = ipv4.is_some() || ipv6.is_some();
    let only = |text: &str| if is_there { text.to_owned() } else { String::new() };
    NodeData {
        index: index.to_string(),
        shortname: name.to_string(),
        longname: seen.container.clone(),
        fqdn: format!("{name}.{}.io", lab.name()),
        group: node.group.clone().unwrap_or_default(),
        labdir: directory_of(directory, name),
        kind: node.kind.to_string(),
        image: node.image.clone().unwrap_or_default(),
        mgmt_net: only(&lab.management().network),
        mgmt_intf: only(node.device.management.as_ref().map_or("eth0", |interface| interface.as_str())),
        mgmt_ipv4_address: ipv4.map(|ipv4| ipv4.address.to_string()).unwrap_or_default(),
        mgmt_ipv4_prefix_length: ipv4.map(|ipv4| ipv4.prefix).unwrap_or_default(),
        mgmt_ipv6_address: ipv6.map(|ipv6| ipv6.address.to_string()).unwrap_or_default(),
        mgmt_ipv6_prefix_length: ipv6.map(|ipv6| ipv6.prefix).unwrap_or_default(),
        mac_address: String::new(),
        labels: labels(node, seen, lab, directory),
        port_bindings: node.container.ports.iter().flat_map(ports).collect(),
    }
}

/// The user's labels, and over them those that each node has there.
pub(crate) fn labels(node: &Node, seen: &NodeView, lab: &Lab, directory: &Path) -> BTreeMap<String, String> {
    let mut labels = node.labels.clone();
    let own = [
        ("containerlab", lab.name().to_string()),
        ("clab-node-name", seen.name.to_string()),
        ("clab-node-longname", seen.container.clone()),
        ("clab-node-kind", node.kind.to_string()),
        ("clab-node-type", node.variant.clone().unwrap_or_default()),
        ("clab-node-group", node.group.clone().unwrap_or_default()),
        ("clab-node-lab-dir", directory_of(directory, &seen.name)),
        ("clab-topo-file", lab.source().unwrap_or_default().to_owned()),
    ];
    labels.extend(own.map(|(label, value)| (label.to_owned(), value)));
    labels
}

/// One entry for each port of a mapping. A range for one port is left to the runtime, which takes a free one of it.
fn ports(mapping: &PortMapping) -> impl Iterator<Item = PortData> {
    let PortMapping { address, host, node, protocol } = *mapping;
    let host_ip = address.map(|address| address.to_string()).unwrap_or_default();
    let protocol = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    };
    let host = host.filter(|host| host.last - host.first == node.last - node.first);
    (node.first..=node.last).map(move |port| PortData {
        host_ip: host_ip.clone(),
        host_port: host.map(|host| host.first + (port - node.first)),
        port,
        protocol,
    })
}

fn link_data(link: &Link) -> Option<LinkData> {
    let ends = Ends { a: end_data(&link.a, 'z'), z: end_data(link.b.as_ref()?, 'a') };
    Some(LinkData { endpoints: ends.clone(), ends })
}

fn end_data(end: &End, peer: char) -> EndData {
    let node = match &end.at {
        Endpoint::Node(node) | Endpoint::Bridge(node) => node.to_string(),
        Endpoint::Host => "host".to_owned(),
        Endpoint::Remote(remote) => remote.clone(),
    };
    EndData { node, interface: end.interface.kernel().to_string(), mac: end.mac.to_string(), peer }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{DIRECTORY, sample};
    use super::*;

    fn data() -> Value {
        let (lab, view) = sample();
        serde_json::to_value(topology_data(&lab, &view, Path::new(DIRECTORY))).unwrap()
    }

    #[test]
    fn a_lab_is_there_with_its_network_and_its_place() {
        let data = data();
        assert_eq!((&data["name"], &data["type"]), (&json!("shop"), &json!("clab")));
        let config = json!({
            "prefix": "clab", "config-path": "/labs",
            "mgmt": { "network": "oob", "ipv4-subnet": "10.77.0.0/24", "external-access": true }
        });
        assert_eq!(data["clab"]["config"], config);
    }

    #[test]
    fn a_node_has_what_it_is_where_it_is_reached_and_its_ports() {
        let data = data();
        let web = &data["nodes"]["web"];
        for (key, value) in [
            ("index", json!("3")),
            ("shortname", json!("web")),
            ("longname", json!("clab-shop-web")),
            ("fqdn", json!("web.shop.io")),
            ("labdir", json!("/labs/clab-shop/web")),
            ("kind", json!("nokia_srlinux")),
            ("image", json!("ghcr.io/nokia/srlinux:25.3")),
            ("mgmt-net", json!("oob")),
            ("mgmt-intf", json!("mgmt0")),
            ("mgmt-ipv4-address", json!("10.77.0.10")),
            ("mgmt-ipv4-prefix-length", json!(24)),
            ("mgmt-ipv6-address", json!("")),
            ("mgmt-ipv6-prefix-length", json!(0)),
        ] {
            assert_eq!(web[key], value, "{key}");
        }
        let ports = json!([
            { "host-ip": "", "host-port": 8080, "port": 80, "protocol": "tcp" },
            { "host-ip": "127.0.0.1", "host-port": 53, "port": 53, "protocol": "udp" },
            { "host-ip": "", "host-port": 9000, "port": 9000, "protocol": "tcp" },
            { "host-ip": "", "host-port": 9001, "port": 9001, "protocol": "tcp" },
            { "host-ip": "", "port": 443, "protocol": "tcp" },
        ]);
        assert_eq!(web["port-bindings"], ports);
        let client = &data["nodes"]["client"];
        assert_eq!((&client["group"], &client["mgmt-net"]), (&json!("edge"), &json!("")));
        let labels = json!({
            "team": "net", "ansible-group": "hosts", "containerlab": "shop", "clab-node-name": "client",
            "clab-node-longname": "clab-shop-client", "clab-node-kind": "linux", "clab-node-type": "",
            "clab-node-group": "edge", "clab-node-lab-dir": "/labs/clab-shop/client", "clab-topo-file": ""
        });
        assert_eq!(client["labels"], labels);
    }

    #[test]
    fn a_link_has_both_ends_in_either_form() {
        let data = data();
        let links = data["links"].as_array().unwrap();
        assert_eq!(links.len(), 3, "a dummy has no two ends");
        let end = |link: &Value, at: &str| {
            assert_eq!(link[at], link["endpoints"][at]);
            let mac = link[at]["mac"].as_str().unwrap();
            assert!(mac.starts_with("aa:c1:ab:"), "{mac}");
            let text = |key: &str| link[at][key].as_str().unwrap().to_owned();
            format!("{}:{} {}", text("node"), text("interface"), text("peer"))
        };
        let all: Vec<(String, String)> = links.iter().map(|link| (end(link, "a"), end(link, "z"))).collect();
        for (a, z) in [("client:eth1 z", "web:e1-1 a"), ("client:eth2 z", "host:shop-up a"), ("web:e1-2 z", "br0:p1 a")]
        {
            assert!(all.contains(&(a.to_owned(), z.to_owned())), "{a} {z} is not in {all:?}");
        }
    }
}
