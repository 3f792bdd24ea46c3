//! What of this host is in use: the snapshot of the inventory, and what was last seen of the host, in the words of the agent
//! contract. Nothing is asked for it.

use std::collections::BTreeMap;
use std::sync::Arc;

use netloom_engine::{NodeFact, Snapshot, Wish};
use netloom_model::{LabName, Node, RuntimeKind};
use netloom_plan::NodeState;
use serde::Serialize;

use super::figures::{DiskFigures, Figures, HostFigures};

/// What is said of a host in each heartbeat. Sizes of the host are in GiB with two decimals; what is not known is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct ResourceUsage {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_used_gb: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_total_gb: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_used_gb: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_total_gb: Option<f64>,
    containers_running: usize,
    containers_total: usize,
    container_details: Vec<ContainerDetail>,
    vms_running: usize,
    vms_total: usize,
    vm_details: Vec<VmDetail>,
}

/// A node that is no virtual machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct ContainerDetail {
    name: String,
    /// Docker's word.
    status: &'static str,
    /// The whole id of the lab.
    lab_prefix: String,
    node_name: String,
    node_kind: String,
    image: String,
    is_system: bool,
    /// Its limit, or 1.
    vcpus: f64,
    /// Its limit in MiB, or 0.
    memory_mb: u64,
}

/// A node that is a virtual machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct VmDetail {
    name: String,
    status: &'static str,
    /// The first 20 characters of the lab's id.
    lab_prefix: String,
    node_name: String,
    is_vm: bool,
    vcpus: f64,
    memory_mb: u64,
}

/// The answer to `GET /capacity`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Capacity {
    #[serde(flatten)]
    usage: ResourceUsage,
    /// What running nodes may use of processors; 1 for each without a limit.
    allocated_vcpus: f64,
    /// What running nodes may use of memory, as far as they have a limit.
    allocated_memory_mb: u64,
}

/// The answer to `GET /disk-usage`; zeros where nothing is known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct DiskUsage {
    disk: DiskShare,
    memory: MemoryShare,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct DiskShare {
    total_gb: f64,
    used_gb: f64,
    free_gb: f64,
    percent: f64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct MemoryShare {
    total_gb: f64,
    used_gb: f64,
    percent: f64,
}

/// The word that stands for a node that runs.
const RUNNING: &str = "running";

impl ResourceUsage {
    /// What is in use, as the snapshot and the last looks at the host show it. All labs count, whoever decides in them.
    pub(crate) fn of(wishes: &BTreeMap<LabName, Arc<Wish>>, snapshot: &Snapshot, figures: &Figures) -> Self {
        Self::of_nodes(wishes, snapshot).with(figures.host(), figures.disk())
    }

    fn of_nodes(wishes: &BTreeMap<LabName, Arc<Wish>>, snapshot: &Snapshot) -> Self {
        let mut usage = Self::default();
        for (lab, facts) in &snapshot.labs {
            let specs = wishes.get(lab).map(|wish| wish.lab.nodes());
            for fact in facts.nodes.values().filter(|fact| fact.state != NodeState::Absent) {
                usage.add(fact, specs.and_then(|specs| specs.get(&fact.node)));
            }
        }
        usage
    }

    fn add(&mut self, fact: &NodeFact, spec: Option<&Node>) {
        let status = word(&fact.state);
        let vcpus = spec.and_then(|spec| spec.cpu_millis).map_or(1.0, |millis| f64::from(millis) / 1000.0);
        let memory_mb = spec.and_then(|spec| spec.memory_bytes).map_or(0, |bytes| bytes >> 20);
        let (name, node_name, running) =
            (fact.container.clone(), fact.node.to_string(), usize::from(status == RUNNING));
        if fact.runtime == RuntimeKind::Libvirt {
            let lab_prefix = fact.lab.as_str().chars().take(20).collect();
            self.vms_total += 1;
            self.vms_running += running;
            self.vm_details.push(VmDetail { name, status, lab_prefix, node_name, is_vm: true, vcpus, memory_mb });
        } else {
            self.containers_total += 1;
            self.containers_running += running;
            self.container_details.push(ContainerDetail {
                name,
                status,
                lab_prefix: fact.lab.to_string(),
                node_name,
                node_kind: spec.map(node_kind).unwrap_or_default(),
                image: fact.image.clone().or_else(|| spec.and_then(|spec| spec.image.clone())).unwrap_or_default(),
                is_system: false,
                vcpus,
                memory_mb,
            });
        }
    }

    fn with(self, host: Option<HostFigures>, disk: Option<DiskFigures>) -> Self {
        let memory = host.map(MemoryShare::of);
        let disk = disk.map(DiskShare::of);
        Self {
            cpu_percent: host.map(|host| rounded(host.cpu_percent)),
            cpu_count: host.map(|host| host.cpus),
            memory_percent: memory.as_ref().map(|memory| memory.percent),
            memory_used_gb: memory.as_ref().map(|memory| memory.used_gb),
            memory_total_gb: memory.as_ref().map(|memory| memory.total_gb),
            disk_percent: disk.as_ref().map(|disk| disk.percent),
            disk_used_gb: disk.as_ref().map(|disk| disk.used_gb),
            disk_total_gb: disk.as_ref().map(|disk| disk.total_gb),
            ..self
        }
    }
}

impl Capacity {
    /// What is in use, and what was promised of it.
    pub(crate) fn of(usage: ResourceUsage) -> Self {
        let containers = usage.container_details.iter().map(|node| (node.status, node.vcpus, node.memory_mb));
        let vms = usage.vm_details.iter().map(|node| (node.status, node.vcpus, node.memory_mb));
        let running = containers.chain(vms).filter(|(status, ..)| *status == RUNNING);
        let (allocated_vcpus, allocated_memory_mb) =
            running.fold((0.0, 0), |(vcpus, memory), (_, of, mb)| (vcpus + of, memory + mb));
        Self { usage, allocated_vcpus, allocated_memory_mb }
    }
}

impl DiskUsage {
    /// As last seen.
    pub(crate) fn of(figures: &Figures) -> Self {
        Self {
            disk: figures.disk().map(DiskShare::of).unwrap_or_default(),
            memory: figures.host().map(MemoryShare::of).unwrap_or_default(),
        }
    }
}

impl DiskShare {
    fn of(disk: DiskFigures) -> Self {
        Self {
            total_gb: gib(disk.total),
            used_gb: gib(disk.used),
            free_gb: gib(disk.free),
            // As `df` has it: what is kept for root counts for nobody.
            percent: percent(disk.used, disk.used.saturating_add(disk.free)),
        }
    }
}

impl MemoryShare {
    fn of(host: HostFigures) -> Self {
        let used = host.memory.saturating_sub(host.memory_available);
        Self { total_gb: gib(host.memory), used_gb: gib(used), percent: percent(used, host.memory) }
    }
}

/// The kind of a node, as the controller called it.
pub(super) fn node_kind(node: &Node) -> String {
    node.labels.get(netloom_model::KIND_LABEL).cloned().unwrap_or_else(|| node.kind.to_string())
}

/// Docker's word for a state.
fn word(state: &NodeState) -> &'static str {
    match state {
        NodeState::Running | NodeState::Stopping => RUNNING,
        NodeState::Absent | NodeState::Creating | NodeState::Created | NodeState::Starting => "created",
        NodeState::Stopped | NodeState::Exited { .. } => "exited",
        NodeState::Failed { .. } => "dead",
    }
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[expect(clippy::cast_precision_loss, reason = "sizes with two decimals")]
fn gib(bytes: u64) -> f64 {
    rounded(bytes as f64 / f64::from(1 << 30))
}

#[expect(clippy::cast_precision_loss, reason = "a share with two decimals")]
fn percent(part: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { rounded(part as f64 / of as f64 * 100.0) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::scene::{Fabric, Scene};
    use super::*;

    #[tokio::test]
    async fn nodes_are_told_of_in_the_words_of_the_contract() {
        let mut scene = Scene::pair(Fabric::Kernel).await;
        scene.spec("r1", |node| {
            node.cpu_millis = Some(1500);
            node.memory_bytes = Some(512 << 20);
            node.labels.insert("archetype.node_kind".into(), "frr".into());
        });
        scene.node("r1", NodeState::Running).await;
        scene.node("r2", NodeState::Exited { code: 1 }).await;
        let usage = ResourceUsage::of_nodes(&scene.wishes, &scene.snapshot());
        let told: Value = serde_json::to_value(&usage).unwrap();
        assert_eq!((&told["containers_running"], &told["containers_total"]), (&json!(1), &json!(2)));
        let expected = json!({
            "name": "clab-lab-r1", "status": "running", "lab_prefix": "lab", "node_name": "r1", "node_kind": "frr",
            "image": "image", "is_system": false, "vcpus": 1.5, "memory_mb": 512,
        });
        assert_eq!(told["container_details"][0], expected);
        let second = &told["container_details"][1];
        assert_eq!(
            (&second["status"], &second["vcpus"], &second["memory_mb"]),
            (&json!("exited"), &json!(1.0), &json!(0))
        );
        assert_eq!(told.get("memory_total_gb"), None, "nothing was seen of the host");
        let capacity = serde_json::to_value(Capacity::of(usage)).unwrap();
        assert_eq!((&capacity["allocated_vcpus"], &capacity["allocated_memory_mb"]), (&json!(1.5), &json!(512)));
        assert_eq!(capacity["containers_total"], 2);
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "what two decimals leave is the same number")]
    fn the_host_is_told_of_in_gib_and_percent() {
        let host = HostFigures { cpu_percent: 12.346, cpus: 4, memory: 8 << 30, memory_available: 6 << 30 };
        let disk = DiskFigures { total: 100 << 30, used: 30 << 30, free: 60 << 30 };
        let told = serde_json::to_value(ResourceUsage::default().with(Some(host), Some(disk))).unwrap();
        let numbers = ["cpu_percent", "cpu_count", "memory_percent", "memory_used_gb", "memory_total_gb"];
        assert_eq!(numbers.map(|key| told[key].as_f64().unwrap()), [12.35, 4.0, 25.0, 2.0, 8.0]);
        let numbers = ["disk_percent", "disk_used_gb", "disk_total_gb"];
        assert_eq!(numbers.map(|key| told[key].as_f64().unwrap()), [33.33, 30.0, 100.0]);
    }
}
