//! A plan: ordered steps, each with its reason and what it waits for. A value that can be printed and compared.

use std::fmt;

use netloom_model::{ExecTarget, InterfaceName, LabName, LinkId, NodeName, RuntimeKind, Stage};
use serde::{Deserialize, Serialize};

use crate::left_out::Omission;
use crate::state::{AdminState, Live, LiveMark, Side};

/// One change of the world.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum Action {
    /// Ask the host for a bridge; it is made if it is not there.
    EnsureBridge {
        /// Its name.
        bridge: InterfaceName,
    },
    /// Tell the host that the lab needs a bridge no longer; the last lab's word removes one that we made.
    ReleaseBridge {
        /// Its name.
        bridge: InterfaceName,
    },
    /// Make a bridge in the network namespace of a node.
    AddBridge {
        /// The node.
        node: NodeName,
        /// The name of the bridge there.
        bridge: InterfaceName,
    },
    /// Remove a bridge from the network namespace of a node.
    RemoveBridge {
        /// The node.
        node: NodeName,
        /// The name of the bridge there.
        bridge: InterfaceName,
    },
    /// Fetch an image from its registry, once for all nodes that are made from it.
    PullImage {
        /// Its reference, as the nodes have it.
        image: String,
        /// What the nodes run on.
        runtime: RuntimeKind,
    },
    /// Ask the host for a management network; it is made if it is not there.
    EnsureNetwork {
        /// Its name.
        network: String,
    },
    /// Tell the host that the lab is on a management network no longer; the last lab's word removes one that we made.
    ReleaseNetwork {
        /// Its name.
        network: String,
    },
    /// Write the file that tells the lab's nodes each other's names.
    WriteNames,
    /// Tell the host the names and addresses of the lab's nodes ([`crate::Entries`]).
    WriteEntries,
    /// Take back what the host was told of the lab.
    RemoveEntries,
    /// Make the namespace in which the ends of a node's links wait until the node is made.
    ReserveNode {
        /// The node.
        node: NodeName,
        /// What it will run on.
        runtime: RuntimeKind,
    },
    /// Make a node's namespace and directories; of a container everything but what comes with its start.
    CreateNode {
        /// The node.
        node: NodeName,
        /// What it runs on.
        runtime: RuntimeKind,
    },
    /// Start what runs in a node.
    StartNode {
        /// The node.
        node: NodeName,
        /// What it runs on.
        runtime: RuntimeKind,
    },
    /// Run one of a node's commands, once.
    Exec {
        /// The node.
        node: NodeName,
        /// What it runs on.
        runtime: RuntimeKind,
        /// Its place among the node's commands ([`crate::commands`]), from 0.
        index: usize,
        /// The words of the command.
        argv: Vec<String>,
        /// Where it is run.
        #[serde(default)]
        target: ExecTarget,
    },
    /// Wait until the world says that a node has left a stage: nothing that the plan does leads it through.
    Await {
        /// Who waits.
        waiter: NodeName,
        /// The node that is waited for.
        node: NodeName,
        /// The stage that it has to leave.
        stage: Stage,
    },
    /// Note that a node enters a stage, since all that it waited for is over: it does not wait for it again.
    Enter {
        /// The node.
        node: NodeName,
        /// The stage.
        stage: Stage,
    },
    /// Change a running node (limits, labels) without disturbing it.
    UpdateNode {
        /// The node.
        node: NodeName,
        /// What it runs on.
        runtime: RuntimeKind,
    },
    /// End what runs in a node; its namespace and links stay.
    StopNode {
        /// The node.
        node: NodeName,
        /// What it runs on.
        runtime: RuntimeKind,
    },
    /// Remove a node with everything of it, its links included.
    DeleteNode {
        /// The node.
        node: NodeName,
        /// What it runs on.
        runtime: RuntimeKind,
    },
    /// Make a link with both ends, addressed and up.
    CreateLink {
        /// The link.
        link: LinkId,
    },
    /// Set MTU and addresses of a link.
    UpdateLink {
        /// The link.
        link: LinkId,
    },
    /// Switch one end of a link on or off.
    SetLink {
        /// The link.
        link: LinkId,
        /// Which end.
        side: Side,
        /// On or off.
        admin: AdminState,
    },
    /// Give an end of a link its carrier, or take it: as what is at the far end has it.
    CarryLink {
        /// The link.
        link: LinkId,
        /// Which end.
        side: Side,
        /// `Up`: it has a carrier.
        carrier: AdminState,
    },
    /// Remove a link.
    DeleteLink {
        /// The link.
        link: LinkId,
    },
}

/// Who carries a step out; each owner has a bulkhead of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// What all labs of the host share.
    Host,
    /// The links.
    Fabric,
    /// Nobody: nothing is done but to look and to note.
    Engine,
    /// A runtime's nodes.
    Runtime(RuntimeKind),
}

impl Action {
    /// Who carries it out.
    pub fn owner(&self) -> Owner {
        match self {
            Self::EnsureBridge { .. }
            | Self::ReleaseBridge { .. }
            | Self::EnsureNetwork { .. }
            | Self::ReleaseNetwork { .. }
            | Self::WriteNames
            | Self::WriteEntries
            | Self::RemoveEntries => Owner::Host,
            Self::PullImage { runtime, .. }
            | Self::ReserveNode { runtime, .. }
            | Self::CreateNode { runtime, .. }
            | Self::StartNode { runtime, .. }
            | Self::Exec { runtime, .. }
            | Self::UpdateNode { runtime, .. }
            | Self::StopNode { runtime, .. }
            | Self::DeleteNode { runtime, .. } => Owner::Runtime(*runtime),
            Self::Await { .. } | Self::Enter { .. } => Owner::Engine,
            Self::AddBridge { .. }
            | Self::RemoveBridge { .. }
            | Self::CreateLink { .. }
            | Self::UpdateLink { .. }
            | Self::SetLink { .. }
            | Self::CarryLink { .. }
            | Self::DeleteLink { .. } => Owner::Fabric,
        }
    }

    /// The id of its step: the same in every plan that has the step.
    pub fn id(&self) -> StepId {
        StepId(match self {
            Self::EnsureBridge { bridge } => format!("bridge/{bridge}/ensure"),
            Self::ReleaseBridge { bridge } => format!("bridge/{bridge}/release"),
            Self::AddBridge { node, bridge } => format!("node/{node}/bridge/{bridge}/add"),
            Self::RemoveBridge { node, bridge } => format!("node/{node}/bridge/{bridge}/remove"),
            Self::PullImage { image, .. } => format!("image/{image}/pull"),
            Self::EnsureNetwork { network } => format!("network/{network}/ensure"),
            Self::ReleaseNetwork { network } => format!("network/{network}/release"),
            Self::WriteNames => "names/write".into(),
            Self::WriteEntries => "entries/write".into(),
            Self::RemoveEntries => "entries/remove".into(),
            Self::ReserveNode { node, .. } => format!("node/{node}/reserve"),
            Self::CreateNode { node, .. } => format!("node/{node}/create"),
            Self::StartNode { node, .. } => format!("node/{node}/start"),
            Self::Exec { node, index, .. } => format!("node/{node}/exec/{index}"),
            Self::Await { waiter, node, stage } => format!("node/{waiter}/await/{node}/{}", stage.as_str()),
            Self::Enter { node, stage } => format!("node/{node}/enter/{}", stage.as_str()),
            Self::UpdateNode { node, .. } => format!("node/{node}/update"),
            Self::StopNode { node, .. } => format!("node/{node}/stop"),
            Self::DeleteNode { node, .. } => format!("node/{node}/delete"),
            Self::CreateLink { link } => format!("link/{link}/create"),
            Self::UpdateLink { link } => format!("link/{link}/update"),
            // A node that is started again takes both in one plan.
            Self::SetLink { link, side, admin } => format!("link/{link}/{}-{}", word(admin), word(side)),
            Self::CarryLink { link, side, .. } => format!("link/{link}/carrier-{}", word(side)),
            Self::DeleteLink { link } => format!("link/{link}/delete"),
        })
    }

    /// The node that the step acts on, or that waits, if there is one.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::ReserveNode { node, .. }
            | Self::CreateNode { node, .. }
            | Self::StartNode { node, .. }
            | Self::Exec { node, .. }
            | Self::Await { waiter: node, .. }
            | Self::Enter { node, .. }
            | Self::UpdateNode { node, .. }
            | Self::StopNode { node, .. }
            | Self::DeleteNode { node, .. } => Some(node),
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnsureBridge { bridge } => write!(f, "ensure bridge {bridge}"),
            Self::ReleaseBridge { bridge } => write!(f, "release bridge {bridge}"),
            Self::AddBridge { node, bridge } => write!(f, "add bridge {bridge} to node {node}"),
            Self::RemoveBridge { node, bridge } => write!(f, "remove bridge {bridge} from node {node}"),
            Self::PullImage { image, .. } => write!(f, "pull image {image}"),
            Self::EnsureNetwork { network } => write!(f, "ensure network {network}"),
            Self::ReleaseNetwork { network } => write!(f, "release network {network}"),
            Self::WriteNames => f.write_str("write names of nodes"),
            Self::WriteEntries => f.write_str("write entries for /etc/hosts and ssh"),
            Self::RemoveEntries => f.write_str("remove entries for /etc/hosts and ssh"),
            Self::ReserveNode { node, .. } => write!(f, "reserve place of node {node}"),
            Self::CreateNode { node, .. } => write!(f, "create node {node}"),
            Self::StartNode { node, .. } => write!(f, "start node {node}"),
            Self::Exec { node, argv, target: ExecTarget::Container, .. } => {
                write!(f, "exec on {node}: {}", argv.join(" "))
            }
            Self::Exec { node, argv, target: ExecTarget::Host, .. } => {
                write!(f, "exec on the host for {node}: {}", argv.join(" "))
            }
            Self::Await { waiter, node, stage } => {
                let is = match stage {
                    Stage::Create => "runs",
                    Stage::CreateLinks => "has its links",
                    Stage::Configure => "is configured",
                    Stage::Healthy => "is healthy",
                    Stage::Exit => "has ended",
                };
                write!(f, "wait on {waiter} until {node} {is}")
            }
            Self::Enter { node, stage } => write!(f, "enter stage {} on {node}", stage.as_str()),
            Self::UpdateNode { node, .. } => write!(f, "update node {node}"),
            Self::StopNode { node, .. } => write!(f, "stop node {node}"),
            Self::DeleteNode { node, .. } => write!(f, "delete node {node}"),
            Self::CreateLink { link } => write!(f, "create link {link}"),
            Self::UpdateLink { link } => write!(f, "update link {link}"),
            Self::SetLink { link, side, admin } => {
                write!(f, "set end {} of link {link} {}", word(side), word(admin))
            }
            Self::CarryLink { link, side, carrier: AdminState::Up } => {
                write!(f, "give end {} of link {link} its carrier", word(side))
            }
            Self::CarryLink { link, side, carrier: AdminState::Down } => {
                write!(f, "take the carrier of end {} of link {link}", word(side))
            }
            Self::DeleteLink { link } => write!(f, "delete link {link}"),
        }
    }
}

fn word(unit: &impl fmt::Debug) -> String {
    format!("{unit:?}").to_lowercase()
}

/// The name of a step within its plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    /// The name of a step that is in no plan of a lab.
    pub fn named(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: `object/name/verb`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub id: StepId,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
    /// Who does it.
    pub owner: Owner,
    /// Why, in a few words.
    pub reason: String,
    /// The steps that must have ended well before; all of them come earlier in the plan.
    pub after: Vec<StepId>,
}

/// The way from what is observed to what is desired. Steps come in an order in which they can be done one by
/// one; those that do not wait for each other can be done at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The lab.
    pub lab: LabName,
    /// The steps.
    pub steps: Vec<Step>,
    /// What of the lab is not made, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<Omission>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Says of the steps that undo live edits that they do. `live` is what had been edited when the file came.
    pub fn name_live_edits(&mut self, live: &Live) {
        for step in &mut self.steps {
            let mark = match &step.action {
                Action::CreateLink { link } | Action::UpdateLink { link } | Action::DeleteLink { link } => {
                    live.links.get(link)
                }
                action => action.node().and_then(|node| live.nodes.get(node)),
            };
            let makes = matches!(step.action, Action::CreateNode { .. } | Action::CreateLink { .. });
            let removes = matches!(step.action, Action::DeleteNode { .. } | Action::DeleteLink { .. });
            match mark {
                Some(LiveMark::Added) if removes => "added live, not in the file".clone_into(&mut step.reason),
                Some(LiveMark::Removed) if makes => "removed live, still in the file".clone_into(&mut step.reason),
                Some(LiveMark::Changed) => "changed live, otherwise in the file".clone_into(&mut step.reason),
                Some(LiveMark::Added | LiveMark::Removed) | None => {}
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "lab {}: nothing to change", self.lab)?;
            return self.left_out.iter().try_for_each(|omission| writeln!(f, "  {omission}"));
        }
        let one = if self.steps.len() == 1 { "step" } else { "steps" };
        writeln!(f, "lab {}: {} {one}", self.lab, self.steps.len())?;
        let number = self.steps.len().to_string().len();
        let actions: Vec<String> = self.steps.iter().map(|step| step.action.to_string()).collect();
        let width = actions.iter().map(|a| a.chars().count()).max().unwrap_or(0).min(60);
        for (index, (step, action)) in self.steps.iter().zip(&actions).enumerate() {
            writeln!(f, "  {:>number$}. {action:<width$}  ({})", index + 1, step.reason)?;
        }
        self.left_out.iter().try_for_each(|omission| writeln!(f, "  {omission}"))
    }
}
