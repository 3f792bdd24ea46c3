//! Where things are on a host. All paths move together with `NETLOOM_ROOT`, so several agents live on one host.

use std::io;
use std::path::{Path, PathBuf};

use netloom_model::{LabName, NodeName, hex};

/// The paths of one agent instance and its identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    instance: String,
}

impl Layout {
    /// The layout below `root` (`/` unless `NETLOOM_ROOT` says otherwise). The instance id is derived from the
    /// machine id and the root, so that a lost store orphans nothing.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root: PathBuf = root.into();
        let root = if root.is_absolute() { root } else { std::env::current_dir()?.join(root) };
        let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let instance = hex(format!("{}\0{}", machine.trim(), root.display()).as_bytes())[..12].to_owned();
        Ok(Self { root, instance })
    }

    /// The instance id: 12 hex digits; part of every mark.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The root that was asked for.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `/run/netloom`: what does not outlive a reboot.
    pub fn run(&self) -> PathBuf {
        self.root.join("run/netloom")
    }

    /// The command socket.
    pub fn socket(&self) -> PathBuf {
        self.run().join("agent.sock")
    }

    /// The directory of pinned network namespaces.
    pub fn pins(&self) -> PathBuf {
        self.run().join("netns")
    }

    /// The pinned network namespace of a node.
    pub fn pin(&self, lab: &LabName, node: &NodeName) -> PathBuf {
        self.pins().join(lab.as_str()).join(node.as_str())
    }

    /// `/run/netns`, where `ip netns` looks.
    pub fn ip_netns(&self) -> PathBuf {
        self.root.join("run/netns")
    }

    /// `/etc/hosts`.
    pub fn hosts(&self) -> PathBuf {
        self.root.join("etc/hosts")
    }

    /// Where ssh reads parts of its configuration.
    pub fn ssh_parts(&self) -> PathBuf {
        self.root.join("etc/ssh/ssh_config.d")
    }

    /// What the namespace runtime keeps of a running node.
    pub fn node_run(&self, lab: &LabName, node: &NodeName) -> PathBuf {
        self.run().join("nodes").join(lab.as_str()).join(node.as_str())
    }

    /// What is shared by the nodes of a lab: its names file `hosts`.
    pub fn lab_run(&self, lab: &LabName) -> PathBuf {
        self.run().join("labs").join(lab.as_str())
    }

    /// `/var/lib/netloom`: what outlives a reboot.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/netloom")
    }

    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.state().join("state.redb")
    }

    /// What the last lives of the agent were at.
    pub fn starts(&self) -> PathBuf {
        self.state().join("starts.jsonl")
    }

    /// The program that containers wait with for their interfaces. Not below `/run`, from which many hosts execute nothing.
    pub fn hold_program(&self) -> PathBuf {
        self.state().join("netloom-init")
    }

    /// The writable layer of a namespace node.
    pub fn layer(&self, lab: &LabName, node: &NodeName) -> PathBuf {
        self.state().join("layers").join(lab.as_str()).join(node.as_str())
    }

    /// What outlives the containers of the nodes of controllers' labs: a directory for each lab.
    pub fn workspaces(&self) -> PathBuf {
        self.state().join("workspaces")
    }

    /// What outlives the containers of such a node.
    pub fn workspace(&self, lab: &LabName, node: &NodeName) -> PathBuf {
        self.workspaces().join(lab.as_str()).join(node.as_str())
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.root.join("etc/netloom/netloom.toml")
    }

    /// The token for TCP.
    pub fn token(&self) -> PathBuf {
        self.state().join("token")
    }
}
