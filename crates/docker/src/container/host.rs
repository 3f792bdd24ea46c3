//! What a new container gets of the host, and what can be changed of it later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lenient::{is_empty, null};

/// What a new container gets of the host; what is left empty is as the daemon has it.
///
/// Source: `HostConfig` in the body of `POST /containers/create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    /// `source:target[:options]`.
    #[serde(skip_serializing_if = "is_empty")]
    pub binds: Vec<String>,
    /// Mounts.
    #[serde(skip_serializing_if = "is_empty")]
    pub mounts: Vec<MountSpec>,
    /// File systems in memory: where, and their options.
    #[serde(skip_serializing_if = "is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    /// Devices of the host.
    #[serde(skip_serializing_if = "is_empty")]
    pub devices: Vec<DeviceMapping>,
    /// Devices by a driver, for example GPUs.
    #[serde(skip_serializing_if = "is_empty")]
    pub device_requests: Vec<DeviceRequest>,
    /// Rules of the device control group, for example `a *:* rwm`.
    #[serde(skip_serializing_if = "is_empty")]
    pub device_cgroup_rules: Vec<String>,
    /// Capabilities beside the default ones, for example `NET_ADMIN`; `ALL`.
    #[serde(skip_serializing_if = "is_empty")]
    pub cap_add: Vec<String>,
    /// Capabilities of the default ones that it does not get.
    #[serde(skip_serializing_if = "is_empty")]
    pub cap_drop: Vec<String>,
    /// Whether it may do everything.
    #[serde(skip_serializing_if = "is_empty")]
    pub privileged: bool,
    /// For example `seccomp=unconfined`.
    #[serde(skip_serializing_if = "is_empty")]
    pub security_opt: Vec<String>,
    /// Paths that it cannot see; none for an empty list, the daemon's for `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masked_paths: Option<Vec<String>>,
    /// Paths that it cannot write; none for an empty list, the daemon's for `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readonly_paths: Option<Vec<String>>,
    /// Whether its root file system cannot be written.
    #[serde(skip_serializing_if = "is_empty")]
    pub readonly_rootfs: bool,
    /// Parameters of its kernel namespaces.
    #[serde(skip_serializing_if = "is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Addresses of name servers.
    #[serde(skip_serializing_if = "is_empty")]
    pub dns: Vec<String>,
    /// Domains to search.
    #[serde(skip_serializing_if = "is_empty")]
    pub dns_search: Vec<String>,
    /// Options of the resolver.
    #[serde(skip_serializing_if = "is_empty")]
    pub dns_options: Vec<String>,
    /// `name:address` for its `/etc/hosts`.
    #[serde(skip_serializing_if = "is_empty")]
    pub extra_hosts: Vec<String>,
    /// Ports of the host for its ports (`80/tcp`).
    #[serde(skip_serializing_if = "is_empty")]
    pub port_bindings: BTreeMap<String, Vec<PortBinding>>,
    /// CPUs it may use, in billionths; Docker does not take it together with a quota.
    #[serde(skip_serializing_if = "is_empty")]
    pub nano_cpus: i64,
    /// What the quota is for, in microseconds.
    #[serde(skip_serializing_if = "is_empty")]
    pub cpu_period: i64,
    /// Microseconds of CPUs that it may use in each period; -1 for no limit.
    #[serde(skip_serializing_if = "is_empty")]
    pub cpu_quota: i64,
    /// Which CPUs it may use, for example `0-2,4`.
    #[serde(skip_serializing_if = "is_empty")]
    pub cpuset_cpus: String,
    /// Memory it may use, in bytes.
    #[serde(skip_serializing_if = "is_empty")]
    pub memory: i64,
    /// Size of `/dev/shm` in bytes.
    #[serde(skip_serializing_if = "is_empty")]
    pub shm_size: i64,
    /// Processes it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
    /// The control group that its own is made in.
    #[serde(skip_serializing_if = "is_empty")]
    pub cgroup_parent: String,
    /// `host` or `private`.
    #[serde(skip_serializing_if = "is_empty")]
    pub cgroupns_mode: String,
    /// `host` or `container:ID`.
    #[serde(skip_serializing_if = "is_empty")]
    pub pid_mode: String,
    /// `none`, `private`, `shareable`, `host` or `container:ID`.
    #[serde(skip_serializing_if = "is_empty")]
    pub ipc_mode: String,
    /// `none`, `host`, `container:ID`, or a network.
    #[serde(skip_serializing_if = "is_empty")]
    pub network_mode: String,
    /// Whether and when it is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
    /// Whether it is removed when it ends.
    #[serde(skip_serializing_if = "is_empty")]
    pub auto_remove: bool,
    /// Whether an init reaps its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// Where its output goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_config: Option<LogConfig>,
    /// How willingly the kernel ends it when memory is short, -1000 to 1000.
    #[serde(skip_serializing_if = "is_empty")]
    pub oom_score_adj: i32,
    /// Limits of its processes.
    #[serde(skip_serializing_if = "is_empty")]
    pub ulimits: Vec<Ulimit>,
    /// The OCI runtime.
    #[serde(skip_serializing_if = "is_empty")]
    pub runtime: String,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountSpec {
    /// Where in the container.
    pub target: String,
    /// What: a path or the name of a volume.
    #[serde(skip_serializing_if = "is_empty")]
    pub source: String,
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// Whether it cannot be written.
    #[serde(skip_serializing_if = "is_empty")]
    pub read_only: bool,
    /// Options of a bind mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_options: Option<BindOptions>,
}

/// Options of a bind mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindOptions {
    /// `private`, `rprivate`, `shared`, `rshared`, `slave` or `rslave`.
    #[serde(skip_serializing_if = "is_empty")]
    pub propagation: String,
}

/// A device of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeviceMapping {
    /// On the host.
    pub path_on_host: String,
    /// In the container.
    pub path_in_container: String,
    /// Of `rwm`.
    pub cgroup_permissions: String,
}

/// Devices by a driver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeviceRequest {
    /// The driver.
    pub driver: String,
    /// How many, -1 for all.
    pub count: i64,
    /// Lists of capabilities, of which one has to be there whole.
    pub capabilities: Vec<Vec<String>>,
}

/// A port of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PortBinding {
    /// The address; all for an empty one.
    #[serde(skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub host_ip: String,
    /// The port, or a range; any for an empty one.
    #[serde(skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub host_port: String,
}

/// Whether and when a container is started again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RestartPolicy {
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    #[serde(deserialize_with = "null")]
    pub name: String,
    /// How often, for `on-failure`; 0 for without end.
    #[serde(skip_serializing_if = "is_empty")]
    pub maximum_retry_count: i64,
}

/// Where the output of a container goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LogConfig {
    /// The driver, for example `json-file`.
    #[serde(rename = "Type", deserialize_with = "null")]
    pub kind: String,
    /// Its options.
    #[serde(skip_serializing_if = "is_empty", deserialize_with = "null")]
    pub config: BTreeMap<String, String>,
}

/// A limit of processes (setrlimit(2)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ulimit {
    /// For example `nofile`.
    pub name: String,
    /// What holds.
    pub soft: i64,
    /// What it can be raised to.
    pub hard: i64,
}

/// What changes of a container while it runs; what is left empty stays.
///
/// Source: the body of `POST /containers/{id}/update`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerUpdate {
    /// CPUs it may use, in billionths; Docker does not take it together with a quota.
    #[serde(skip_serializing_if = "is_empty")]
    pub nano_cpus: i64,
    /// What the quota is for, in microseconds.
    #[serde(skip_serializing_if = "is_empty")]
    pub cpu_period: i64,
    /// Microseconds of CPUs that it may use in each period; -1 for no limit.
    #[serde(skip_serializing_if = "is_empty")]
    pub cpu_quota: i64,
    /// Which CPUs it may use.
    #[serde(skip_serializing_if = "is_empty")]
    pub cpuset_cpus: String,
    /// Memory it may use, in bytes.
    #[serde(skip_serializing_if = "is_empty")]
    pub memory: i64,
    /// Memory and swap together, in bytes; -1 for no limit. Memory cannot be raised above the one that holds.
    #[serde(skip_serializing_if = "is_empty")]
    pub memory_swap: i64,
    /// Processes it may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
    /// Whether and when it is started again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<RestartPolicy>,
}
