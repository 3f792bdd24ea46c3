//! Labs, each a ring of containers, that a controller has deployed, on an agent that was started to be its own.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::SECRET;
use super::client::Client;
use super::controller::Controller;
use crate::agent::Agent;
use crate::containers::IMAGE;
use crate::host::LIMIT;

/// Labs of a set.
pub(crate) const LABS: usize = 5;
/// Interfaces of each node: a lab of a controller has them all from the beginning.
const INTERFACES: usize = 8;

/// What there is.
pub(crate) struct Set {
    pub(crate) client: Client,
    /// Nodes of each lab.
    pub(crate) nodes: usize,
}

/// Tells an agent, which has a port and does not run yet, that it belongs to a controller.
pub(crate) fn belongs(agent: &mut Agent, controller: &Controller) {
    agent.knows([
        ("NETLOOM_SECRET", SECRET.to_owned()),
        ("NETLOOM_CONTROLLER", controller.url()),
        ("NETLOOM_AGENT_NAME", "bench".to_owned()),
        ("NETLOOM_ADVERTISE_HOST", "127.0.0.1".to_owned()),
    ]);
}

/// The id of a lab: what containers are called after differs at once.
pub(crate) fn lab(number: usize) -> String {
    format!("{number:08x}-5f3a-4c6e-9d1b-2a7e84c0b613")
}

pub(crate) fn node(number: usize) -> String {
    format!("r{number}")
}

impl Set {
    /// Deploys so many containers in [`LABS`] labs.
    pub(crate) fn deploy(containers: usize) -> Result<Self> {
        ensure!(containers >= 2 * LABS, "{containers} containers are less than two for each of {LABS} labs");
        let set = Self { client: Client::new(LIMIT), nodes: containers / LABS };
        for number in 0..LABS {
            let nodes: Vec<Value> = (0..set.nodes).map(described).collect();
            let links: Vec<Value> = (0..set.nodes).map(|from| link(from, (from + 1) % set.nodes)).collect();
            let body = json!({ "job_id": lab(number), "lab_id": lab(number), "provider": "docker",
                "topology": { "nodes": nodes, "links": links } });
            let result = set.client.post("/jobs/deploy", &body)?;
            ensure!(result["status"] == "completed", "the deploy of lab {number}: {result}");
        }
        ensure!(set.is_whole()?, "not all nodes run after they were deployed");
        Ok(set)
    }

    /// Whether the status of every lab says of every node that it runs.
    pub(crate) fn is_whole(&self) -> Result<bool> {
        for number in 0..LABS {
            let status = self.client.get(&format!("/labs/{}/status", lab(number)))?;
            let nodes = status["nodes"].as_array().context("nodes")?;
            let running = nodes.iter().filter(|node| node["status"] == "running").count();
            if !status["error"].is_null() || running != self.nodes {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Destroys all of it.
    pub(crate) fn end(&self) -> Result<()> {
        for number in 0..LABS {
            let body = json!({ "job_id": lab(number), "lab_id": lab(number), "provider": "docker" });
            let result = self.client.post("/jobs/destroy", &body)?;
            ensure!(result["status"] == "completed", "the destroy of lab {number}: {result}");
        }
        Ok(())
    }
}

/// A link of the ring of a lab.
fn link(from: usize, to: usize) -> Value {
    json!({ "source_node": node(from), "source_interface": "eth2", "target_node": node(to), "target_interface": "eth3" })
}

/// A node as a deploy says it.
fn described(number: usize) -> Value {
    let name = node(number);
    json!({ "name": name, "node_definition_id": format!("5be13e96-7d0f-4f4c-9a39-{number:012x}"), "display_name": name,
        "kind": "linux", "image": IMAGE, "binds": [], "env": {}, "ports": [], "startup_config": null, "exec_cmds": [],
        "memory": 1024, "cpu": 1, "disk_driver": "virtio", "nic_driver": "virtio", "machine_type": "pc-q35-6.2",
        "efi_boot": false, "efi_vars": "", "readiness_probe": "none", "readiness_timeout": 120,
        "interface_count": INTERFACES })
}
