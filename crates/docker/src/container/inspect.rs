//! What there is to know of a container.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::host::{LogConfig, PortBinding, RestartPolicy};
use crate::lenient::null;
use crate::network::EndpointSettings;

/// What there is to know of a container.
///
/// Source: the answer of `GET /containers/{id}/json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// With a `/` before it, as the daemon has it; [`Self::plain_name`] has none.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The id of its image; the reference is in [`Config::image`].
    pub image: String,
    /// What it does.
    pub state: State,
    /// What it is.
    pub config: Config,
    /// What it has of the host.
    pub host_config: HostSettings,
    /// How often it was started again by its policy.
    pub restart_count: u32,
    /// Its networks.
    pub network_settings: NetworkSettings,
    /// What is mounted in it.
    #[serde(deserialize_with = "null")]
    pub mounts: Vec<MountPoint>,
    /// Where the daemon keeps its `resolv.conf`.
    #[serde(deserialize_with = "null")]
    pub resolv_conf_path: String,
    /// Where the daemon keeps its `hosts`.
    #[serde(deserialize_with = "null")]
    pub hosts_path: String,
}

impl Container {
    /// Its name without the `/` before it.
    pub fn plain_name(&self) -> &str {
        self.name.strip_prefix('/').unwrap_or(&self.name)
    }
}

/// What a container does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct State {
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub status: String,
    /// Whether its process lives; also while it is paused.
    pub running: bool,
    /// Whether it waits to be started again.
    pub restarting: bool,
    /// Its first process, as the daemon sees it; 0 for none.
    pub pid: u32,
    /// How it ended last.
    pub exit_code: i64,
    /// When it was started, RFC 3339; the year 1 for never.
    pub started_at: String,
    /// When it ended, RFC 3339; the year 1 for never.
    pub finished_at: String,
    /// Why it could not be started; empty for nothing.
    pub error: String,
    /// Whether the kernel ended it for want of memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// What its checks say, if it has any.
    pub health: Option<Health>,
}

/// What the checks of a container say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `none`, `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// How many have failed in a row.
    pub failing_streak: u32,
    /// The last five.
    #[serde(deserialize_with = "null")]
    pub log: Vec<Check>,
}

/// A check of a container's health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Check {
    /// When it began, RFC 3339.
    pub start: String,
    /// When it ended, RFC 3339.
    pub end: String,
    /// 0 for healthy.
    pub exit_code: i64,
    /// What it printed.
    pub output: String,
}

/// What a container is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// Its host name.
    pub hostname: String,
    /// `user[:group]`.
    #[serde(deserialize_with = "null")]
    pub user: String,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub open_stdin: bool,
    /// `NAME=value`.
    #[serde(deserialize_with = "null")]
    pub env: Vec<String>,
    /// The command.
    #[serde(deserialize_with = "null")]
    pub cmd: Vec<String>,
    /// The entrypoint.
    #[serde(deserialize_with = "null")]
    pub entrypoint: Vec<String>,
    /// The image as it was asked for.
    pub image: String,
    /// The directory that the command begins in.
    #[serde(deserialize_with = "null")]
    pub working_dir: String,
    /// Labels, those of the image among them.
    #[serde(deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
}

/// What a container has of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostSettings {
    /// `none`, `host`, `container:ID`, `default` or a network.
    pub network_mode: String,
    /// Whether and when it is started again.
    #[serde(deserialize_with = "null")]
    pub restart_policy: RestartPolicy,
    /// Whether it is removed when it ends.
    pub auto_remove: bool,
    /// Whether it may do everything.
    pub privileged: bool,
    /// `source:target[:options]`.
    #[serde(deserialize_with = "null")]
    pub binds: Vec<String>,
    /// Capabilities beside the default ones.
    #[serde(deserialize_with = "null")]
    pub cap_add: Vec<String>,
    /// The control group that its own is in.
    #[serde(deserialize_with = "null")]
    pub cgroup_parent: String,
    /// `host` or `container:ID`.
    #[serde(deserialize_with = "null")]
    pub pid_mode: String,
    /// Ports of the host for its ports.
    #[serde(deserialize_with = "null")]
    pub port_bindings: BTreeMap<String, Option<Vec<PortBinding>>>,
    /// CPUs it may use, in billionths.
    pub nano_cpus: i64,
    /// Which CPUs it may use.
    #[serde(deserialize_with = "null")]
    pub cpuset_cpus: String,
    /// Memory it may use, in bytes.
    pub memory: i64,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: i64,
    /// Where its output goes.
    #[serde(deserialize_with = "null")]
    pub log_config: LogConfig,
}

/// The networks of a container.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NetworkSettings {
    /// Where its network namespace is pinned while it runs.
    #[serde(deserialize_with = "null")]
    pub sandbox_key: String,
    /// Its ports and where they are on the host.
    #[serde(deserialize_with = "null")]
    pub ports: BTreeMap<String, Option<Vec<PortBinding>>>,
    /// Its networks by name.
    #[serde(deserialize_with = "null")]
    pub networks: BTreeMap<String, EndpointSettings>,
}

/// What is mounted in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// The name of the volume.
    pub name: String,
    /// On the host.
    pub source: String,
    /// In the container.
    pub destination: String,
    /// Its options.
    pub mode: String,
    /// Whether it can be written.
    #[serde(rename = "RW")]
    pub writable: bool,
}
