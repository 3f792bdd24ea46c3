//! How the names of a lab's containers begin.

use serde::{Deserialize, Serialize};

/// The format's `prefix`: absent is `clab`, empty makes container = node, `__lab-name` makes `<lab>-<node>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Prefix {
    /// `<lab>-<node>`.
    LabName,
    /// `<text>-<lab>-<node>`, or the node's name alone when the text is empty.
    Text(String),
}

impl Default for Prefix {
    fn default() -> Self {
        Self::Text("clab".into())
    }
}

impl From<String> for Prefix {
    fn from(text: String) -> Self {
        if text == "__lab-name" { Self::LabName } else { Self::Text(text) }
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        match prefix {
            Prefix::LabName => "__lab-name".into(),
            Prefix::Text(text) => text,
        }
    }
}
