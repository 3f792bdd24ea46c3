//! The stages that a node goes through, who waits for whom, and how its health is told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{LabParts, is_default};
use crate::name::NodeName;

/// A stage of a node's life, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// It is made.
    Create,
    /// Its links are made.
    CreateLinks,
    /// It is configured.
    Configure,
    /// Its health check says that it is healthy.
    Healthy,
    /// It has ended.
    Exit,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Self; 5] = [Self::Create, Self::CreateLinks, Self::Configure, Self::Healthy, Self::Exit];

    /// The name in the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::CreateLinks => "create-links",
            Self::Configure => "configure",
            Self::Healthy => "healthy",
            Self::Exit => "exit",
        }
    }
}

/// What happens at the stages of a node.
pub type Stages = BTreeMap<Stage, StageRule>;

/// What happens at one stage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StageRule {
    /// The node does not enter the stage before these have left theirs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wait_for: Vec<WaitFor>,
    /// Commands that are run when it enters or leaves the stage.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<StageExec>,
}

/// The stage of another node that has to be over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitFor {
    /// The other node.
    pub node: NodeName,
    /// Its stage.
    pub stage: Stage,
}

/// A command of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageExec {
    /// The command as words (no shell).
    pub command: Vec<String>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub target: ExecTarget,
    /// When it runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub phase: ExecPhase,
}

/// Where a command of a stage runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecTarget {
    /// In the node.
    #[default]
    Container,
    /// On the host.
    Host,
}

/// When a command of a stage runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecPhase {
    /// When the node enters the stage.
    #[default]
    OnEnter,
    /// When it leaves it.
    OnExit,
}

/// How the health of a node is told. What is not given is as the image or the runtime has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Healthcheck {
    /// The check in Docker's form: `CMD` and words, `CMD-SHELL` and one text, or `NONE`.
    pub test: Vec<String>,
    /// Seconds between two checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<u32>,
    /// Seconds after which a check has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// How many checks in a row have to fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Seconds at the start in which failures do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_period: Option<u32>,
}

impl LabParts {
    /// Nobody waits any more for nodes that are not there.
    pub(super) fn forget_waits(&mut self) {
        let there: BTreeSet<NodeName> = self.nodes.keys().cloned().collect();
        for node in self.nodes.values_mut() {
            for rule in node.stages.values_mut() {
                rule.wait_for.retain(|wait| there.contains(&wait.node));
            }
            node.stages.retain(|_, rule| *rule != StageRule::default());
        }
    }
}
