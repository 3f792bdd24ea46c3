//! How the names of a lab's containers begin.

use serde::{Deserialize, Serialize};

/// The format's `prefix`: absent is `clab`, empty makes container = node, `__lab-name` makes `<lab>-<node>`.
/// `__controller` is not in files: labs of controllers of the agent contract have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Prefix {
    /// `<lab>-<node>`.
    LabName,
    /// `archetype-<first 20 of lab>-<node>`.
    Controller,
    /// `<text>-<lab>-<node>`, or the node's name alone when the text is empty.
    Text(String),
}

/// How [`Prefix::Controller`] is written.
const CONTROLLER: &str = "__controller";

impl Default for Prefix {
    fn default() -> Self {
        Self::Text("clab".into())
    }
}

impl From<String> for Prefix {
    fn from(text: String) -> Self {
        match text.as_str() {
            "__lab-name" => Self::LabName,
            CONTROLLER => Self::Controller,
            _ => Self::Text(text),
        }
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        match prefix {
            Prefix::LabName => "__lab-name".into(),
            Prefix::Controller => CONTROLLER.into(),
            Prefix::Text(text) => text,
        }
    }
}
