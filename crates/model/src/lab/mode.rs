//! What a node does when it ends, and which network it has beside its links.

use serde::{Deserialize, Serialize};

/// What happens when the main process of a node ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It stays as it is.
    No,
    /// It is started again, whatever its exit code (the format's default).
    #[default]
    Always,
    /// It is started again after an exit code other than 0.
    OnFailure,
    /// As `Always`, unless a person stopped it.
    UnlessStopped,
}

/// Which network a node has beside its links.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// What its runtime gives it; a namespace node has only its links and `lo` either way.
    #[default]
    Default,
    /// Only its links.
    None,
    /// That of the host.
    Host,
    /// That of another node of the lab, or of a container outside of it.
    Container(String),
}

/// How a node that runs gets a change of its links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkApplyMode {
    /// While it runs.
    #[default]
    Live,
    /// What runs in it is started again.
    Restart,
    /// It is made new.
    Recreate,
}
