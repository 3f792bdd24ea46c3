//! What carries our mark beside what the inventory knows: names in files, control groups, mounts.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_model::{LabName, NodeName, RuntimeKind};
use serde::{Deserialize, Serialize};

use crate::driver::{Context, DriverError};

/// What a trace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceKind {
    /// Something that is mounted below our directories.
    Mount,
    /// A link by which `ip netns` finds a node.
    NamespaceLink,
    /// A pinned network namespace.
    Namespace,
    /// A control group without processes.
    Group,
    /// What a node has written.
    Layer,
    /// A run directory with nothing in it.
    Directory,
    /// What is noted of a container.
    Record,
    /// What the nodes of a lab share: its names.
    Names,
}

impl TraceKind {
    /// The words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::NamespaceLink => "link for ip netns",
            Self::Namespace => "network namespace",
            Self::Group => "control group",
            Self::Layer => "layer",
            Self::Directory => "run directory",
            Self::Record => "record",
            Self::Names => "names",
        }
    }
}

impl fmt::Display for TraceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// One thing of ours on this host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trace {
    /// What it is.
    pub kind: TraceKind,
    /// The lab that its mark names.
    pub lab: LabName,
    /// The node, if it is of one.
    pub node: Option<NodeName>,
    /// The runtime whose nodes have such; `None` if those of several do.
    pub of: Option<RuntimeKind>,
    /// Where it is: a path, or what people know it by.
    pub at: String,
    /// When it was made or last changed, if anything says so.
    pub changed: Option<SystemTime>,
}

/// Who finds traces and removes them.
#[async_trait]
pub trait Traces: Send + Sync + 'static {
    /// What the threads that it works with have not finished, for whoever supervises them.
    fn backlogs(&self) -> Vec<Backlog> {
        Vec::new()
    }

    /// Looks at all that carries the mark of this instance and that no process is in. `known` are the nodes of which the
    /// inventory knows that they are there: what they have need not be looked at. Starts no process.
    async fn look(&self, known: BTreeSet<(LabName, NodeName)>) -> Result<Vec<Trace>, DriverError>;

    /// Removes one, if it is still what it was; that it is gone already is fine.
    async fn remove(&self, trace: &Trace, context: &Context) -> Result<(), DriverError>;
}
