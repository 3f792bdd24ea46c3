//! What the agent that was on a host before leaves there: containers, cables, ports and tunnels with its marks.

use std::fs;

use std::process::Command;

use netloom_kernel::Netns;
use serde_json::{Value, json};

use super::rig::{Machine, container};
use super::steps::Node;
use crate::docker::host::IMAGE;
use crate::docker::plugin::{Plugin, joined};
use crate::sandbox::Ended;

/// An agent of the contract that has ended.
pub(crate) struct Predecessor<'a>(&'a Machine);

impl<'a> Predecessor<'a> {
    /// One that has made its bridge.
    pub(crate) fn on(machine: &'a Machine) -> Self {
        machine.ovs.vsctl("add-br arch-ovs -- set bridge arch-ovs datapath_type=netdev".split(' '));
        Self(machine)
    }

    /// One whose bridge is there.
    pub(crate) fn again(machine: &'a Machine) -> Self {
        Self(machine)
    }

    /// A container of a node, which runs.
    pub(crate) fn node(&self, lab: &str, node: &Node) -> String {
        let name = container(lab, node.name);
        self.0.docker(&format!("run --detach --network none {}", words(lab, node, &name)));
        name
    }

    /// The same on networks of its plugin, with an interface behind a port of this tag for each. What the plugin has made is
    /// put right afterwards as that agent did it, since this daemon knows nothing of the names of interfaces.
    pub(crate) fn plugged_node(&self, lab: &str, node: &Node, interfaces: &[(&str, u16)]) -> String {
        let name = container(lab, node.name);
        let networks: Vec<String> = interfaces.iter().map(|(interface, _)| format!("{lab}-{interface}")).collect();
        for (network, (interface, _)) in networks.iter().zip(interfaces) {
            let labels = format!(
                "--label archetype.lab_id={lab} --label archetype.provider=docker --label archetype.type=lab-interface"
            );
            let options = format!("--opt lab_id={lab} --opt interface_name={interface}");
            let make =
                format!("docker network create --driver archetype-ovs --ipam-driver null {labels} {options} {network}");
            self.0.sh(&format!("docker network inspect {network} >/dev/null 2>&1 || {make}")).code(0);
        }
        self.0.docker(&format!("create --network {} {}", networks[0], words(lab, node, &name)));
        for network in &networks[1..] {
            self.0.docker(&format!("network connect {network} {name}"));
        }
        self.0.docker(&format!("start {name}"));
        let pid = self.0.pid_of(&name);
        let mut script = String::new();
        for (network, (interface, tag)) in networks.iter().zip(interfaces) {
            let format = format!(
                "{{{{with index .NetworkSettings.Networks \"{network}\"}}}}{{{{.EndpointID}}}} {{{{.NetworkID}}}}{{{{end}}}}"
            );
            let ids = self.0.docker(&format!("inspect --format '{format}' {name}"));
            let (endpoint, network) = ids.split_once(' ').unwrap();
            let port = near(endpoint);
            let shown: Value =
                serde_json::from_str(&self.0.sh(&format!("ip -json link show {port}")).code(0).out).unwrap();
            let number = shown[0]["link_index"].as_u64().unwrap();
            let rename = |to: &str| {
                format!(
                    "for i in /sys/class/net/*; do [ $(cat $i/ifindex) = {number} ] && ip link set ${{i##*/}} down name {to}; done;"
                )
            };
            script = format!(
                "{}{script}ip link set _old_{interface} name {interface} mtu 9000 up;",
                rename(&format!("_old_{interface}"))
            );
            self.join(
                &port,
                *tag,
                &[
                    ("lab_id", lab),
                    ("node_name", node.name),
                    ("interface_name", interface),
                    ("endpoint_id", endpoint),
                    ("network_id", network),
                ],
            );
        }
        let looked =
            format!("nsenter --target {pid} --net unshare --mount sh -c 'mount -t sysfs none /sys && {script}'");
        self.0.sh(&looked).code(0);
        name
    }

    /// An interface of a node behind a port, with an address if it is to have one. Gives the port.
    pub(crate) fn cable(&self, lab: &str, node: &str, interface: &str, tag: u16) -> String {
        let port = format!("vh{node}{}", interface.replace("eth", "0f"));
        let pid = self.0.pid_of(&container(lab, node));
        self.0
            .sh(&format!(
                "ip link add {port} mtu 9000 type veth peer name vc{port} && ip link set vc{port} netns {pid} &&
                 nsenter --target {pid} --net sh -c 'ip link set vc{port} name {interface} mtu 9000 up' &&
                 ip link set {port} up"
            ))
            .code(0);
        let ids = [format!("e{port}"), format!("n{port}")];
        let says = [
            ("lab_id", lab),
            ("node_name", node),
            ("interface_name", interface),
            ("endpoint_id", &ids[0]),
            ("network_id", &ids[1]),
        ];
        self.join(&port, tag, &says);
        port
    }

    /// An interface of the host becomes a port that says whose it is.
    fn join(&self, port: &str, tag: u16, says: &[(&str, &str)]) {
        let says: Vec<String> =
            says.iter().map(|(key, value)| format!("external_ids:archetype.{key}={value}")).collect();
        let (tag, head) = (format!("tag={tag}"), ["add-port", "arch-ovs", port]);
        let set = ["--", "set", "interface", port];
        let words = head.into_iter().chain([tag.as_str()]).chain(set).chain(says.iter().map(String::as_str));
        self.0.ovs.vsctl(words.collect::<Vec<_>>());
    }

    /// A tunnel, which is called by a hash of its lab and link.
    pub(crate) fn tunnel(&self, port: &str, vni: u32, tag: u16) {
        self.0
            .sh(&format!(
                "ip link add {port} mtu 1450 type vxlan id {vni} local 10.0.0.11 remote 10.0.0.12 dstport 4789 &&
                 ip link set {port} up"
            ))
            .code(0);
        self.0.ovs.vsctl(["add-port", "arch-ovs", port, &format!("tag={tag}")]);
    }

    /// The file in which it keeps the tunnels that it was told of; where that is.
    pub(crate) fn told(&self, lab: &str, link: &str) {
        let file = json!({ "tunnels": [{ "lab_id": lab, "link_id": link }], "declared_labs": [lab] });
        fs::write(self.0.labs.path().join("declared_overlay_state.json"), file.to_string()).unwrap();
    }
}

/// The plugin of such an agent, which gives each that joins one end of a cable of its own.
pub(crate) fn plugin(machine: &Machine) -> Plugin {
    let netns = machine.netns();
    Plugin::on(machine, move |call, said| {
        let (near, far) = (near(said["EndpointID"].as_str()?), far(said["EndpointID"].as_str()?));
        match call {
            "/NetworkDriver.CreateEndpoint" => {
                ip(&netns, &format!("link add {near} mtu 9000 type veth peer name {far} mtu 9000"));
                ip(&netns, &format!("link set {near} up"));
                None
            }
            "/NetworkDriver.Join" => Some(joined(&far)),
            _ => None,
        }
    })
}

/// The ends of the cable of an endpoint: on the host, and that which a container gets.
fn near(endpoint: &str) -> String {
    format!("vh{}", &endpoint[..11])
}

fn far(endpoint: &str) -> String {
    format!("vc{}", &endpoint[..11])
}

fn ip(netns: &Netns, words: &str) {
    let done = netns.run(|| Command::new("ip").args(words.split(' ')).output()).unwrap().unwrap();
    Ended::from(&done).code(0);
}

/// What Docker is told of the container of a node, but for its network.
fn words(lab: &str, node: &Node, name: &str) -> String {
    let labels = [
        ("lab_id", lab),
        ("node_name", node.name),
        ("node_definition_id", node.definition),
        ("node_kind", node.kind),
        ("provider", "docker"),
    ];
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("--label archetype.{key}={value}")).collect();
    format!("--tty --interactive --name {name} --hostname {} {} {IMAGE}", node.name, labels.join(" "))
}
