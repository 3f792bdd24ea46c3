//! What a runtime with containers gives a node beside the file system of its image.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::port::PortMapping;
use super::{Access, is_default};

/// How the container of a node is made. All of it is empty for a node that says nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Container {
    /// When its image is pulled.
    #[serde(skip_serializing_if = "is_default")]
    pub pull_policy: PullPolicy,
    /// Whether the container goes when its main process ends.
    #[serde(skip_serializing_if = "is_default")]
    pub auto_remove: bool,
    /// Volumes, one per target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// File systems in memory: path in the node and mount options.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tmpfs: BTreeMap<String, String>,
    /// Devices of the host, as Docker writes them: `source[:target[:permissions]]` or the name of a CDI device.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Capabilities that are added, without `CAP_` (capabilities(7)).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Security options, as Docker writes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub security_options: Vec<String>,
    /// How much of the host it may touch.
    #[serde(skip_serializing_if = "is_default")]
    pub privilege: Privilege,
    /// Whose cgroup namespace it is in, if the file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_namespace: Option<CgroupNamespace>,
    /// The cgroup that its own is made in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    /// Whose processes it sees.
    #[serde(skip_serializing_if = "is_default")]
    pub pid_mode: PidMode,
    /// Ports that are published on the host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// The processors that it may run on (cpuset(7), list format), for example `0-3,6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_set: Option<String>,
    /// The size of `/dev/shm` in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_bytes: Option<u64>,
    /// How it resolves names.
    #[serde(skip_serializing_if = "is_default")]
    pub dns: Dns,
}

/// When an image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullPolicy {
    /// When the host has none of that name.
    #[default]
    IfNotPresent,
    /// Before each start.
    Always,
    /// Never: it must be there.
    Never,
}

/// How much of the host a container may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Privilege {
    /// All capabilities and devices (the format's default).
    #[default]
    Full,
    /// What the runtime gives by itself, and what is added.
    Confined,
}

/// Whose cgroup namespace a container is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupNamespace {
    /// The host's.
    Host,
    /// One of its own.
    Private,
}

/// Whose processes a container sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidMode {
    /// Only its own.
    #[default]
    Own,
    /// All of the host.
    Host,
    /// Those of another node of the lab, or of a container outside of it.
    Container(String),
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its name; one without is made for this node alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Absolute path in the node.
    pub target: String,
    /// Whether the node may write to it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub access: Access,
    /// What it holds when it is new.
    #[serde(default, skip_serializing_if = "is_default")]
    pub content: VolumeContent,
}

/// What a new volume holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeContent {
    /// What the image has at its target.
    #[default]
    Image,
    /// Nothing (`nocopy`).
    Empty,
}

/// How a node resolves names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dns {
    /// The servers it asks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<IpAddr>,
    /// Domains that are tried for short names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Options of resolv.conf(5).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}
