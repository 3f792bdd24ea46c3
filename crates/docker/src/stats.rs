//! What containers use.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Deserialize;

use crate::docker::{Ask, Docker};
use crate::error::Result;
use crate::lenient::null;
use crate::reply::ONE;
use crate::target::Target;

/// What a container has used until now; all zero for one that does not run.
///
/// Source: the answer of `GET /containers/{id}/stats`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Stats {
    /// When it was read, RFC 3339.
    pub read: String,
    /// CPUs.
    pub cpu_stats: CpuStats,
    /// Memory.
    pub memory_stats: MemoryStats,
    /// Processes.
    pub pids_stats: PidsStats,
    /// Interfaces that the daemon has made, by name.
    #[serde(deserialize_with = "null")]
    pub networks: BTreeMap<String, InterfaceStats>,
}

/// What CPUs a container has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CpuStats {
    /// By the container.
    pub cpu_usage: CpuUsage,
    /// By the host, in nanoseconds of all its CPUs together, idle ones included.
    pub system_cpu_usage: u64,
    /// CPUs that it may use.
    pub online_cpus: u32,
}

/// What CPU time a container has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CpuUsage {
    /// In nanoseconds.
    pub total_usage: u64,
}

/// What memory a container uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MemoryStats {
    /// In bytes, with files that are only cached.
    pub usage: u64,
    /// In bytes; the host's memory where it has no limit.
    pub limit: u64,
    /// What the kernel counts: `inactive_file` (cgroup v2) and `total_inactive_file` (v1) can be taken from it at once.
    #[serde(deserialize_with = "null")]
    pub stats: BTreeMap<String, u64>,
}

impl MemoryStats {
    /// In bytes, without files that are only cached and not in use: what `docker stats` shows.
    pub fn working_set(&self) -> u64 {
        let inactive = self.stats.get("total_inactive_file").or_else(|| self.stats.get("inactive_file"));
        self.usage.saturating_sub(inactive.copied().unwrap_or_default())
    }
}

/// How many processes and threads a container has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
}

/// What an interface of a container has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct InterfaceStats {
    /// In bytes.
    pub rx_bytes: u64,
    /// In packets.
    pub rx_packets: u64,
    /// In bytes.
    pub tx_bytes: u64,
    /// In packets.
    pub tx_packets: u64,
}

impl Docker {
    /// What a container has used until now; one look, without waiting for a second one.
    ///
    /// Source: `GET /containers/{id}/stats`.
    pub async fn stats(&self, id: &str, deadline: Instant) -> Result<Stats> {
        self.call("read what is used by container", id, deadline, async {
            let target = Target::at(["containers", id, "stats"]).query("stream", "0").flag("one-shot", true);
            self.ask(Ask::get(target)).await?.json(ONE).await
        })
        .await
    }
}
