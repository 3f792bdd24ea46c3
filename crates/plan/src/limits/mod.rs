//! What labs take of a host's limits, and whether the host has it. Pure: the values come from elsewhere.
//!
//! The costs are measured (a node is an init and its command, five namespaces, a pinned mount and a descriptor in the
//! agent; see [`Need::of`]). What labs *will* take and what the host uses *now* overlap: `demand = wanted + (used −
//! what the labs that are there were reckoned to take)`, so that what nodes took beyond the reckoning counts as well.

mod need;
mod shortage;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use need::{Need, connected};
pub use shortage::{Severity, Shortage, shortages};

/// Ports that the kernel gives a bridge: `BR_MAX_PORTS` is 1,024 (net/bridge/br_private.h), number 0 is not given.
pub const BRIDGE_PORTS: u64 = 1023;

/// A limit of a host that labs can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// IPv4 neighbours in all namespaces together.
    NeighboursV4,
    /// IPv6 neighbours in all namespaces together.
    NeighboursV6,
    /// Open files of the whole host; root may pass it.
    OpenFiles,
    /// Inotify instances of one user.
    Watchers,
    /// Pseudo-terminals of all instances of their file system together.
    Terminals,
    /// Descriptors of the agent's process.
    Descriptors,
    /// Process ids, of which every thread takes one.
    Pids,
    /// Threads of the whole host.
    Threads,
    /// Threads in the control group that the agent and its nodes share.
    GroupPids,
    /// Mounts in the agent's mount namespace.
    Mounts,
    /// Network namespaces of one user.
    NetNamespaces,
    /// Mount namespaces of one user.
    MountNamespaces,
    /// Process namespaces of one user.
    PidNamespaces,
    /// Namespaces of host names of one user.
    UtsNamespaces,
    /// Namespaces of System V IPC of one user.
    IpcNamespaces,
    /// Ports of one bridge.
    BridgePorts,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::NeighboursV4,
        Self::NeighboursV6,
        Self::OpenFiles,
        Self::Watchers,
        Self::Terminals,
        Self::Descriptors,
        Self::Pids,
        Self::Threads,
        Self::GroupPids,
        Self::Mounts,
        Self::NetNamespaces,
        Self::MountNamespaces,
        Self::PidNamespaces,
        Self::UtsNamespaces,
        Self::IpcNamespaces,
        Self::BridgePorts,
    ];

    /// The sysctl that holds it, if one does.
    pub fn sysctl(self) -> Option<&'static str> {
        Some(match self {
            Self::NeighboursV4 => "net.ipv4.neigh.default.gc_thresh3",
            Self::NeighboursV6 => "net.ipv6.neigh.default.gc_thresh3",
            Self::OpenFiles => "fs.file-max",
            Self::Watchers => "fs.inotify.max_user_instances",
            Self::Terminals => "kernel.pty.max",
            Self::Pids => "kernel.pid_max",
            Self::Threads => "kernel.threads-max",
            Self::Mounts => "fs.mount-max",
            Self::NetNamespaces => "user.max_net_namespaces",
            Self::MountNamespaces => "user.max_mnt_namespaces",
            Self::PidNamespaces => "user.max_pid_namespaces",
            Self::UtsNamespaces => "user.max_uts_namespaces",
            Self::IpcNamespaces => "user.max_ipc_namespaces",
            Self::Descriptors | Self::GroupPids | Self::BridgePorts => return None,
        })
    }

    /// Sysctls that go with it: set to this fraction (1/n) of it.
    pub fn companions(self) -> &'static [(&'static str, u64)] {
        // The kernel's own proportions (net/ipv4/arp.c): nothing is collected below the first, and above the second
        // an entry stays no longer than five seconds.
        match self {
            Self::NeighboursV4 => &[("net.ipv4.neigh.default.gc_thresh1", 8), ("net.ipv4.neigh.default.gc_thresh2", 2)],
            Self::NeighboursV6 => &[("net.ipv6.neigh.default.gc_thresh1", 8), ("net.ipv6.neigh.default.gc_thresh2", 2)],
            _ => &[],
        }
    }

    /// Whether a deploy fails at it, or only works badly beyond it.
    pub fn severity(self) -> Severity {
        match self {
            Self::NeighboursV4 | Self::NeighboursV6 | Self::OpenFiles | Self::Watchers | Self::Terminals => {
                Severity::Warning
            }
            _ => Severity::Refused,
        }
    }

    /// What is counted, in the plural.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::NeighboursV4 => "IPv4 neighbours in all namespaces together",
            Self::NeighboursV6 => "IPv6 neighbours in all namespaces together",
            Self::OpenFiles => "open files",
            Self::Watchers => "inotify instances of one user (a daemon that watches files takes one)",
            Self::Terminals => "terminals (each `shell` and `exec -t` takes one; some are kept for the host itself)",
            Self::Descriptors => "descriptors of the agent",
            Self::Pids => "process ids",
            Self::Threads => "threads",
            Self::GroupPids => "threads in the agent's control group, which its nodes share",
            Self::Mounts => "mounts in one namespace",
            Self::NetNamespaces => "network namespaces",
            Self::MountNamespaces => "mount namespaces",
            Self::PidNamespaces => "process namespaces",
            Self::UtsNamespaces => "host name namespaces",
            Self::IpcNamespaces => "IPC namespaces",
            Self::BridgePorts => "ports of one bridge",
        }
    }

    /// What happens beyond it.
    pub(crate) fn beyond(self) -> &'static str {
        match self {
            Self::NeighboursV4 | Self::NeighboursV6 => {
                "beyond that the kernel forgets neighbours that are in use, and packets are lost (\"neighbour table \
                 overflow\")"
            }
            Self::OpenFiles => "beyond that programs without root's rights can open no file",
            Self::Watchers => "beyond that daemons that watch files do not start (\"too many open files\")",
            Self::Terminals => "beyond that no shell can be opened in a node",
            _ => "beyond that nodes and links cannot be made",
        }
    }
}

/// What a host has of one limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// The limit.
    pub max: u64,
    /// What is in use now, by whomever; 0 where the kernel does not say.
    pub used: u64,
    /// Where it is set, if not by a sysctl: a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// What a host has of its limits. What is not in here is not known and not judged.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostLimits {
    /// The limits.
    pub levels: BTreeMap<Limit, Level>,
    /// The companions' present values, by name.
    pub companions: BTreeMap<String, u64>,
    /// Ports of bridges on the host that are not of labs, by the bridge's name.
    pub foreign_ports: BTreeMap<String, u64>,
}
