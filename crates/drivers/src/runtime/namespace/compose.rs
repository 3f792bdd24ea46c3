//! From a node of a lab to what its init is told.

use std::fs;
use std::path::Path;

use netloom_engine::{Layout, NodeOrder};
use netloom_kernel::Limits;
use netloom_model::{Access, LabName, Node, NodeName};

use super::super::environment::environment;
use super::super::order::{Obstacle, node_of, unusable};
use super::spec::{BindSpec, NodeSpec};

/// Directories of the host that nodes see empty, beside home directories and our own.
const MASKED: [&str; 2] = ["/var/lib/docker", "/var/lib/containerd"];

/// What every node's network settings start from, whatever the host has: a new namespace copies IPv4 settings from
/// the host, and hosts differ (Docker forwards, systemd filters by reverse path). Values are the kernel's own
/// defaults, except that IPv6 addresses are usable at once: derived MAC addresses are checked for duplicates in the
/// plan, and duplicate detection would hold each address back for a second.
const NETWORK_DEFAULTS: [(&str, &str); 9] = [
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    ("net.ipv6.conf.all.disable_ipv6", "0"),
    ("net.ipv6.conf.default.disable_ipv6", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    ("net.ipv6.conf.default.forwarding", "0"),
    ("net.ipv6.conf.all.accept_dad", "0"),
    ("net.ipv6.conf.default.accept_dad", "0"),
];

/// The group of a node's processes, below the root of each hierarchy. The prefixes keep a lab called `tasks` from
/// meeting the kernel's file of that name.
pub(super) fn cgroup(layout: &Layout, lab: &LabName, node: &NodeName) -> std::path::PathBuf {
    Path::new("netloom").join(layout.instance()).join(format!("lab-{lab}")).join(format!("node-{node}"))
}

/// The limits of a node.
pub(super) fn limits(node: &Node) -> Limits {
    Limits { cpu_millis: node.cpu_millis, memory_bytes: node.memory_bytes }
}

/// Network settings of a node in the order in which they are to be set, `name=value`; a `-` in front of those that
/// a kernel may lack (IPv6).
pub(super) fn sysctls(node: &Node) -> Vec<String> {
    let defaults = NETWORK_DEFAULTS.iter().map(|(name, value)| format!("-{name}={value}"));
    defaults.chain(node.sysctls.iter().map(|(name, value)| format!("{name}={value}"))).collect()
}

/// Everything that the init of a node has to know, but for its cgroups.
pub(super) fn spec(layout: &Layout, order: &NodeOrder) -> Result<NodeSpec, String> {
    let node = node_of(order)?;
    let (lab, name) = (order.lab.name(), &order.node);
    let mut masks: Vec<String> = MASKED.map(str::to_owned).to_vec();
    masks.push(text(&layout.state())?);
    masks.push(text(&layout.run())?);
    let mut binds: Vec<BindSpec> = node
        .binds
        .iter()
        .map(|bind| BindSpec {
            source: bind.source.clone(),
            target: bind.target.clone(),
            read_only: bind.access == Access::ReadOnly,
        })
        .collect();
    // A directory before what is mounted below it.
    binds.sort_by(|a, b| a.target.cmp(&b.target));
    Ok(NodeSpec {
        layer: text(&layout.layer(lab, name))?,
        hostname: node.hostname.clone(),
        hosts: text(&layout.lab_run(lab).join("hosts"))?,
        masks,
        binds,
        sysctls: sysctls(node),
        cgroups: Vec::new(),
        env: environment(node, &node.labels),
        user: node.user.clone().unwrap_or_default(),
        argv: node.entrypoint.iter().chain(&node.cmd).cloned().collect(),
    })
}

/// A path as text, which is what a spec is made of.
pub(super) fn text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("the path {} is not UTF-8", path.display()))
}

/// What stands in the way of a node on this host, and what to do about it.
pub(super) fn obstacle(node: &Node) -> Option<Obstacle> {
    for bind in &node.binds {
        if let Some(obstacle) = unusable(&bind.source) {
            return Some(obstacle);
        }
        if !bind.target.starts_with('/') {
            return Some((format!("bind target {} is not an absolute path", bind.target), None));
        }
    }
    node.sysctls.keys().find(|name| !is_own(name)).map(|name| {
        let why = format!("sysctl {name} is one of the whole machine, not of a node");
        (why, Some("set it on the host, or remove it from the node".into()))
    })
}

/// Whether a sysctl belongs to namespaces that a node has to itself. Others would change the host.
fn is_own(name: &str) -> bool {
    const IPC: [&str; 7] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
    ];
    name.starts_with("net.") || name.starts_with("fs.mqueue.") || IPC.contains(&name)
}

/// Sets the network settings of a spec in the namespace of the calling thread. One that cannot be set yet (of an
/// interface that is still to come) is set by the init, which also says so if it cannot be.
pub(super) fn set_network(sysctls: &[String]) {
    for sysctl in sysctls {
        let Some((name, value)) = sysctl.trim_start_matches('-').split_once('=') else { continue };
        // A `/` stands for a dot within a part (sysctl(8)).
        let path: String = name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect();
        if name.starts_with("net.") && !path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            let path = Path::new("/proc/sys").join(path);
            // A write to some of them needs RTNL and spins in the kernel until it has it, a read does not.
            if !fs::read_to_string(&path).is_ok_and(|current| current.trim_end() == value) {
                let _ = fs::write(path, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_of_a_node_itself_may_be_set() {
        assert!(is_own("net.ipv4.ip_forward") && is_own("kernel.shmmax") && is_own("fs.mqueue.msg_max"));
        assert!(!is_own("vm.swappiness") && !is_own("kernel.panic") && !is_own("network"));
    }
}
