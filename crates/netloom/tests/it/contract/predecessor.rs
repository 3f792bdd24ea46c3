//! What the agent that was on a host before leaves there: containers, cables, ports and tunnels with its marks.

use std::fs;

use serde_json::json;

use super::rig::{Machine, container};
use super::steps::Node;
use crate::docker::host::IMAGE;

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
        let labels = [
            ("lab_id", lab),
            ("node_name", node.name),
            ("node_definition_id", node.definition),
            ("node_kind", node.kind),
            ("provider", "docker"),
        ];
        let labels: Vec<String> =
            labels.iter().map(|(key, value)| format!("--label archetype.{key}={value}")).collect();
        let hostname = node.name;
        self.0.docker(&format!(
            "run --detach --tty --interactive --name {name} --hostname {hostname} --network none {} {IMAGE}",
            labels.join(" ")
        ));
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
        let say = |key: &str, value: &str| format!("external_ids:archetype.{key}={value}");
        let says = [
            say("lab_id", lab),
            say("node_name", node),
            say("interface_name", interface),
            say("endpoint_id", &format!("e{port}")),
            say("network_id", &format!("n{port}")),
        ];
        let (tag, head) = (format!("tag={tag}"), ["add-port", "arch-ovs", &port]);
        let set = ["--", "set", "interface", &port];
        let words = head.into_iter().chain([tag.as_str()]).chain(set).chain(says.iter().map(String::as_str));
        self.0.ovs.vsctl(words.collect::<Vec<_>>());
        port
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
