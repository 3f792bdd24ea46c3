//! The daemon itself.

use std::time::Instant;

use serde::Deserialize;

use crate::docker::{Ask, Docker};
use crate::error::Result;
use crate::lenient::null;
use crate::reply::ONE;
use crate::target::Target;

/// Which daemon it is.
///
/// Source: the answer of `GET /version`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Version {
    /// Of the daemon, for example `20.10.24`.
    pub version: String,
    /// The newest version of the API that it speaks.
    pub api_version: String,
    /// The oldest version of the API that it speaks.
    #[serde(rename = "MinAPIVersion", deserialize_with = "null")]
    pub min_api_version: String,
    /// Of the kernel.
    pub kernel_version: String,
    /// `linux`.
    pub os: String,
    /// For example `amd64`.
    pub arch: String,
}

/// How the daemon is set up.
///
/// Source: the answer of `GET /info`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// Another one for each data root.
    #[serde(rename = "ID")]
    pub id: String,
    /// The host's name.
    pub name: String,
    /// Of the daemon.
    pub server_version: String,
    /// The storage driver, for example `overlay2`.
    pub driver: String,
    /// Where it keeps images and containers.
    pub docker_root_dir: String,
    /// `cgroupfs`, `systemd` or `none`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    pub cgroup_version: String,
    /// The OCI runtime.
    pub default_runtime: String,
    /// For example `name=seccomp,profile=default`.
    #[serde(deserialize_with = "null")]
    pub security_options: Vec<String>,
    /// Whether containers live on without it.
    pub live_restore_enabled: bool,
    /// CPUs of the host.
    #[serde(rename = "NCPU")]
    pub cpus: u32,
    /// Memory of the host in bytes.
    #[serde(rename = "MemTotal")]
    pub memory: u64,
    /// What it has to complain about.
    #[serde(deserialize_with = "null")]
    pub warnings: Vec<String>,
}

impl Docker {
    /// Whether the daemon answers; it has nothing else to do for it.
    ///
    /// Source: `GET /_ping`.
    pub async fn ping(&self, deadline: Instant) -> Result<()> {
        self.call("ping the daemon", "", deadline, async { self.negotiate().await.map(drop) }).await
    }

    /// Which daemon it is.
    ///
    /// Source: `GET /version`.
    pub async fn version(&self, deadline: Instant) -> Result<Version> {
        self.call("ask for the version", "", deadline, async {
            self.ask(Ask::get(Target::at(["version"]))).await?.json(ONE).await
        })
        .await
    }

    /// How the daemon is set up. It counts all containers for it: milliseconds for a few, more for hundreds.
    ///
    /// Source: `GET /info`.
    pub async fn info(&self, deadline: Instant) -> Result<Info> {
        self.call("ask how the daemon is set up", "", deadline, async {
            self.ask(Ask::get(Target::at(["info"]))).await?.json(ONE).await
        })
        .await
    }
}
