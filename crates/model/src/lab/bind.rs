//! What a node sees of the host's files.

use serde::{Deserialize, Serialize};

/// One bind: a file or directory of the host seen in the node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// Absolute path on the host.
    pub source: String,
    /// Absolute path in the node.
    pub target: String,
    /// Whether the node may write to it.
    #[serde(default)]
    pub access: Access,
}

/// Whether something may be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read and write.
    #[default]
    ReadWrite,
    /// Read only.
    ReadOnly,
}
