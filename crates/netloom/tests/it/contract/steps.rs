//! What the controller does in one go: a call, and what it asks because of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use super::double::encoded;
use super::rig::{container, number, text};
use crate::docker::host::IMAGE;

/// The lab that was recorded.
pub(crate) const LAB: &str = "11c55636-995a-43e9-93d5-009dd12a071a";
/// One more.
pub(crate) const OTHER: &str = "74eadeec-2b1d-4f0e-8f55-6f1d0e3c9a42";
/// The link of both on the wire.
pub(crate) const LINK: &str = "h1:eth1-r1:eth1";

/// How long after `start` the controller looks for the node.
const SEEN: Duration = Duration::from_secs(15);

/// A node as the controller has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: &'static str,
    /// The controller's own id of it.
    pub(crate) definition: &'static str,
    /// The kind that a deploy says.
    pub(crate) kind: &'static str,
    /// The device, which is what the other calls say.
    pub(crate) device: &'static str,
}

/// A router, whose kind is another one for a deploy.
pub(crate) const R1: Node =
    Node { name: "r1", definition: "5be13e96-7d0f-4f4c-9a39-3f6bb2b4d0a1", kind: "linux", device: "frr" };
/// A host.
pub(crate) const H1: Node =
    Node { name: "h1", definition: "141b2acf-0c3e-4f7b-8f59-7f4d6a2f9b17", kind: "linux", device: "linux" };
/// Two more.
pub(crate) const H2: Node =
    Node { name: "h2", definition: "c1b0a5d2-52a5-4d4e-b9b4-0a9b3d0c1e11", kind: "linux", device: "linux" };
pub(crate) const H3: Node =
    Node { name: "h3", definition: "8e0c61c7-95c4-4c3c-8d9d-5a7d7cc5a2a9", kind: "linux", device: "linux" };

impl Node {
    /// As a deploy says it.
    pub(crate) fn in_topology(&self) -> Value {
        json!({ "name": self.name, "node_definition_id": self.definition, "display_name": self.name, "kind": self.kind,
            "image": IMAGE, "binds": [], "env": {}, "ports": [], "startup_config": null, "exec_cmds": [], "memory": 1024,
            "cpu": 1, "disk_driver": "virtio", "nic_driver": "virtio", "machine_type": "pc-q35-6.2", "efi_boot": false,
            "efi_vars": "", "readiness_probe": "none", "readiness_timeout": 120, "interface_count": 8 })
    }

    /// As `create` says it.
    pub(crate) fn to_create(self) -> Value {
        json!({ "node_name": self.name, "kind": self.device, "node_definition_id": self.definition, "image": IMAGE,
            "display_name": self.name, "interface_count": 8, "memory": 1024, "cpu": 1, "disk_driver": "virtio",
            "nic_driver": "virtio", "machine_type": "pc-q35-6.2", "readiness_probe": "none", "readiness_timeout": 120,
            "efi_boot": false })
    }
}

/// A link between two nodes of a host, each by node and interface, as bodies say it.
pub(crate) fn link(source: (&str, &str), target: (&str, &str)) -> Value {
    json!({ "source_node": source.0, "source_interface": source.1, "target_node": target.0, "target_interface": target.1 })
}

/// The link that was recorded, as the topology of a user has it.
pub(crate) fn recorded_link() -> Value {
    link(("h1", "eth1"), ("r1", "eth1"))
}

/// A node in the answer of `status`.
pub(crate) fn node<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name)
}

impl Client {
    /// Asks for the status, which must not be in doubt.
    #[track_caller]
    pub(crate) fn status(&self, lab: &str) -> Value {
        let status = self.get(&format!("/labs/{lab}/status"));
        assert_eq!((&status["lab_id"], &status["error"]), (&json!(lab), &Value::Null), "{status:#}");
        status
    }

    /// The states of the nodes of a lab, by name.
    #[track_caller]
    pub(crate) fn states(&self, lab: &str) -> Vec<(String, String)> {
        let status = self.status(lab);
        let nodes = status["nodes"].as_array().unwrap().iter();
        let mut states: Vec<_> =
            nodes.map(|node| (text(node, "name").to_owned(), text(node, "status").to_owned())).collect();
        states.sort();
        states
    }

    #[track_caller]
    pub(crate) fn image_exists(&self, reference: &str) -> bool {
        self.get(&format!("/images/{}", encoded(reference)))["exists"].as_bool().unwrap()
    }

    /// `POST /jobs/deploy` of nodes that are placed here, with the links that have both ends here.
    #[track_caller]
    pub(crate) fn deploy(&self, lab: &str, nodes: &[Node], links: &[Value]) -> Value {
        let nodes: Vec<Value> = nodes.iter().map(Node::in_topology).collect();
        let job = "01df58bd-9f0e-4c58-8e6f-2b2c56a0d7f3";
        let topology = json!({ "nodes": nodes, "links": links });
        let body = json!({ "job_id": job, "lab_id": lab, "provider": "docker", "topology": topology });
        let result = self.post("/jobs/deploy", &body);
        assert_eq!(result["job_id"], job);
        result
    }

    /// The same, which has to work out, and the three looks at the status that follow.
    #[track_caller]
    pub(crate) fn deploys(&self, lab: &str, nodes: &[Node], links: &[Value]) {
        let result = self.deploy(lab, nodes, links);
        assert_eq!((&result["status"], &result["error_message"]), (&json!("completed"), &Value::Null), "{result:#}");
        for _ in 0..3 {
            let status = self.status(lab);
            for each in nodes {
                let seen = node(&status, each.name).unwrap_or_else(|| panic!("no {} in {status:#}", each.name));
                is_seen(seen, each);
            }
        }
    }

    #[track_caller]
    pub(crate) fn create(&self, lab: &str, node: &Node) -> Value {
        self.post(&format!("/labs/{lab}/nodes/{}/create?provider=docker", node.name), &node.to_create())
    }

    /// `POST …/start`, and the looks at the status until the node is seen with its ids, or 15 s have gone.
    #[track_caller]
    pub(crate) fn start(&self, lab: &str, each: &Node) -> Value {
        let path = format!("/labs/{lab}/nodes/{}/start?provider=docker", each.name);
        let answer = self.post(&path, &json!({ "repair_endpoints": true, "fix_interfaces": true }));
        if answer["success"] != true {
            return answer;
        }
        assert_eq!((&answer["status"], &answer["error"]), (&json!("running"), &Value::Null), "{answer:#}");
        let deadline = Instant::now() + SEEN;
        loop {
            let status = self.status(lab);
            let seen = node(&status, each.name);
            let whole = |node: &Value| node["node_definition_id"] == each.definition && node["runtime_id"].is_string();
            if let Some(seen) = seen.filter(|seen| whole(seen)) {
                is_seen(seen, each);
                return answer;
            }
            assert!(Instant::now() < deadline, "the start counts as failed: {status:#}");
        }
    }

    /// `create` and `start`, both of which have to work out.
    #[track_caller]
    pub(crate) fn brings_up(&self, lab: &str, node: &Node) {
        let created = self.create(lab, node);
        assert_eq!((&created["success"], &created["error"]), (&json!(true), &Value::Null), "{created:#}");
        assert_eq!(created["container_name"], container(lab, node.name), "{created:#}");
        let started = self.start(lab, node);
        assert_eq!(started["success"], true, "{started:#}");
    }

    /// Asks whether a node is ready until it is, as long as the first answer says.
    #[track_caller]
    pub(crate) fn waits_for(&self, lab: &str, node: &Node) {
        let path = format!("/labs/{lab}/nodes/{}/ready?kind={}&provider_type=docker", node.name, node.device);
        let mut answer = self.get(&path);
        let deadline = Instant::now() + Duration::from_secs(number(&answer, "timeout"));
        while answer["is_ready"] != true {
            assert!(Instant::now() < deadline, "never ready: {answer:#}");
            answer = self.get(&path);
        }
        assert_eq!(answer["provider"], "docker");
    }

    /// What Open vSwitch says of an interface, by the agent: its tag and its port.
    #[track_caller]
    pub(crate) fn vlan(&self, lab: &str, node: &str, interface: &str) -> (u64, String) {
        let answer = self.get(&format!("/labs/{lab}/interfaces/{node}/{interface}/vlan?read_from_ovs=true"));
        assert_eq!((&answer["interface"], &answer["error"]), (&json!(interface), &Value::Null), "{answer:#}");
        (number(&answer, "vlan_tag"), text(&answer, "ovs_port_name").to_owned())
    }

    /// `POST …/links`, and what the controller makes sure of at once. Gives the tag.
    #[track_caller]
    pub(crate) fn links(&self, lab: &str, ends: &Value) -> u64 {
        let answer = self.post(&format!("/labs/{lab}/links"), ends);
        assert_eq!((&answer["success"], &answer["error"]), (&json!(true), &Value::Null), "{answer:#}");
        let made = &answer["link"];
        let end = |side: &str| (text(made, &format!("{side}_node")), text(made, &format!("{side}_interface")));
        let mut both = ["source", "target"].map(end);
        both.sort_unstable();
        let mut asked = ["source", "target"]
            .map(|side| (text(ends, &format!("{side}_node")), text(ends, &format!("{side}_interface"))));
        asked.sort_unstable();
        assert_eq!(both, asked, "{answer:#}");
        let [one, two] = both.map(|(node, interface)| format!("{node}:{interface}"));
        assert_eq!((text(made, "link_id"), text(made, "lab_id")), (format!("{one}-{two}").as_str(), lab));
        assert_eq!((text(made, "state"), &made["error"]), ("connected", &Value::Null), "{answer:#}");
        let tag = number(made, "vlan_tag");
        assert!((2050..=4000).contains(&tag), "{tag} is no tag of a link");
        for side in ["source", "target"] {
            let (node, interface) = end(side);
            let port = text(made, &format!("{side}_ovs_port")).to_owned();
            assert_eq!(self.vlan(lab, node, interface), (tag, port), "{node}:{interface}");
        }
        self.maps_ports(lab);
        tag
    }

    /// The two lists of ports, which say the same. Gives node, interface, port and tag of each.
    #[track_caller]
    pub(crate) fn maps_ports(&self, lab: &str) -> Vec<(String, String, String, u64)> {
        let plugin = self.get(&format!("/ovs-plugin/labs/{lab}/ports"));
        let state = self.get(&format!("/labs/{lab}/port-state"));
        let mut mapped: Vec<(String, String, String, u64)> = state["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| {
                let words = ["node_name", "interface_name", "ovs_port_name"].map(|field| text(port, field).to_owned());
                let [node, interface, name] = words;
                (node, interface, name, number(port, "vlan_tag"))
            })
            .collect();
        mapped.sort();
        assert_eq!(plugin["lab_id"], lab);
        let ports = plugin["ports"].as_array().unwrap();
        let mut by_container: Vec<_> = ports
            .iter()
            .filter(|port| !text(port, "port_name").starts_with("vxlan-"))
            .map(|port| {
                let words = ["container", "interface", "port_name"].map(|field| text(port, field).to_owned());
                let [container, interface, name] = words;
                (container, interface, name, number(port, "vlan_tag"))
            })
            .collect();
        by_container.sort();
        let mut named: Vec<_> = mapped
            .iter()
            .map(|(node, interface, port, tag)| (container(lab, node), interface.clone(), port.clone(), *tag))
            .collect();
        named.sort();
        assert_eq!(by_container, named, "the two lists differ");
        mapped
    }

    /// What the switch has had from an interface of a node and what it gave to it, in bytes.
    #[track_caller]
    pub(crate) fn carried(&self, lab: &str, node: &str, interface: &str) -> (u64, u64) {
        let answer = self.get(&format!("/ovs-plugin/labs/{lab}/ports"));
        let ports = answer["ports"].as_array().unwrap();
        let is_it = |port: &&Value| port["container"] == container(lab, node) && port["interface"] == interface;
        let port = ports.iter().find(is_it).unwrap_or_else(|| panic!("no {node}:{interface} in {answer:#}"));
        (number(port, "rx_bytes"), number(port, "tx_bytes"))
    }

    #[track_caller]
    pub(crate) fn unlinks(&self, lab: &str, link: &str) {
        let answer = self.delete(&format!("/labs/{lab}/links/{link}"));
        assert_eq!(answer, json!({ "success": true, "error": null }));
    }

    /// A command in a node; what it comes to and writes.
    #[track_caller]
    pub(crate) fn exec(&self, lab: &str, node: &str, command: &str) -> (i64, String) {
        let answer = self.post(&format!("/labs/{lab}/nodes/{node}/exec"), &json!({ "cmd": command }));
        (answer["exit_code"].as_i64().unwrap(), text(&answer, "output").to_owned())
    }

    /// `POST …/nodes/reconcile` of one node. Gives its result.
    #[track_caller]
    pub(crate) fn reconcile(&self, lab: &str, container: &str, desired: &str) -> Value {
        let body = json!({ "nodes": [{ "container_name": container, "desired_state": desired }] });
        let answer = self.post(&format!("/labs/{lab}/nodes/reconcile"), &body);
        assert_eq!((&answer["lab_id"], &answer["error"]), (&json!(lab), &Value::Null), "{answer:#}");
        assert_eq!(answer["results"].as_array().unwrap().len(), 1, "{answer:#}");
        answer["results"][0].clone()
    }

    /// What the controller does when a user stops a node of a lab on one host.
    #[track_caller]
    pub(crate) fn stops(&self, lab: &str, node: &Node) {
        self.get("/health");
        let saved = self.call(&format!("/labs/{lab}/extract-configs"));
        assert_eq!(saved["success"], true, "{saved:#}");
        let name = container(lab, node.name);
        let result = self.reconcile(lab, &name, "stopped");
        let removed = json!({ "success": true, "error": null, "container_name": name, "action": "removed" });
        assert_eq!(result, removed);
        self.declares_nothing(&[lab]);
        self.maps_ports(lab);
    }

    /// `POST /overlay/declare-state` for labs without tunnels.
    #[track_caller]
    pub(crate) fn declares_nothing(&self, labs: &[&str]) {
        let answer = self.post("/overlay/declare-state", &json!({ "tunnels": [], "declared_labs": labs }));
        assert_eq!(answer, json!({ "results": [], "orphans_removed": [] }));
    }

    /// What the controller does when a lab on one host is taken down, while these other labs stay.
    #[track_caller]
    pub(crate) fn takes_down(&self, lab: &str, others: &[&str]) {
        self.status(lab);
        self.call(&format!("/labs/{lab}/extract-configs"));
        self.destroys(lab);
        self.declares_nothing(&[]);
        assert_eq!(self.states(lab), []);
        let valid = [&[lab], others].concat();
        let cleaned = self.post("/cleanup-orphans", &json!({ "valid_lab_ids": valid }));
        assert_eq!(cleaned, json!({ "removed_containers": [], "errors": [] }));
        let ports = json!({ "valid_port_names": [], "force": false, "confirm": false, "allow_empty": false });
        let ports = self.post("/overlay/reconcile-ports", &ports);
        assert_eq!((&ports["removed_ports"], &ports["skipped"]), (&json!([]), &json!(true)), "{ports:#}");
        self.declares_nothing(&[]);
    }

    #[track_caller]
    pub(crate) fn destroys(&self, lab: &str) {
        let job = "7d3a3f0b-5d7e-4a53-9a3f-6c9d3c1fd0c2";
        let result = self.post("/jobs/destroy", &json!({ "job_id": job, "lab_id": lab, "provider": "docker" }));
        assert_eq!((text(&result, "job_id"), text(&result, "status")), (job, "completed"), "{result:#}");
    }
}

/// Fails the test unless this is how a running node has to be seen.
#[track_caller]
fn is_seen(seen: &Value, node: &Node) {
    assert_eq!(seen["node_definition_id"], node.definition, "{seen:#}");
    assert_eq!((text(seen, "status"), &seen["error"]), ("running", &Value::Null), "{seen:#}");
    let (short, whole) = (text(seen, "container_id"), text(seen, "runtime_id"));
    assert!(whole.len() == 64 && whole.starts_with(short), "{seen:#}");
    assert_eq!(seen["image"], IMAGE);
}
