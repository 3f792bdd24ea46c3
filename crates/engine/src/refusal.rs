//! Refusals: why a request was not accepted. Nothing is stored and nothing touched when one is given.

use netloom_model::{LabName, NodeName};
use netloom_plan::{Obstacle, Shortage};

use crate::bulkhead::Busy;
use crate::copy::CopyError;
use crate::desired::Authority;
use crate::driver::{DriverError, StoreError};
use crate::operation::OperationId;

/// Why a request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such lab.
    #[error("there is no lab `{0}` on this host; `netloom inspect --all` lists those that are")]
    NoLab(LabName),
    /// Something of the lab is there by its marks, and nothing is wanted of it.
    #[error(
        "lab `{0}` is there, but this agent does not know what is wanted of it; `netloom adopt {0}` takes it back as it \
             is, or deploy its file"
    )]
    Unknown(LabName),
    /// There is no such node in the lab.
    #[error("there is no node `{node}` in lab `{lab}`; it has {known}")]
    NoNode {
        /// The lab.
        lab: LabName,
        /// The name that was not found.
        node: String,
        /// The names that there are.
        known: String,
    },
    /// There is no such operation, or it is no longer kept.
    #[error("there is no operation `{0}`; only the last ones of this agent process are kept")]
    NoOperation(OperationId),
    /// Something else is being done with the lab.
    #[error(
        "lab `{lab}` has a {kind} under way (operation {operation}); wait for it, or cancel it with \
             `netloom operation cancel {operation}`"
    )]
    InProgress {
        /// The lab.
        lab: LabName,
        /// `deploy`, `destroy`, `edit`.
        kind: String,
        /// Which one.
        operation: OperationId,
    },
    /// A person has cancelled what was being done with the lab.
    #[error("lab `{lab}` is held as it is: {why}; deploy it again to go on, or destroy it")]
    Held {
        /// The lab.
        lab: LabName,
        /// Why.
        why: String,
    },
    /// Whoever works for the lab fails again and again.
    #[error("lab `{lab}` is paused: {why}; deploy it again to go on, or destroy it")]
    Paused {
        /// The lab.
        lab: LabName,
        /// Why.
        why: String,
    },
    /// Somebody else decides what runs in the lab.
    #[error(
        "lab `{lab}` is {}'s: only it changes what runs there; look at it (`netloom inspect`) and into it (`netloom shell`){}",
        .authority,
        if *.authority == Authority::Local { String::new() } else {
            format!(", or decide about it yourself from now on: `netloom adopt --force {lab}`, `netloom destroy --force {lab}`")
        }
    )]
    OtherAuthority {
        /// The lab.
        lab: LabName,
        /// Who does.
        authority: Authority,
    },
    /// No node of the lab has that interface.
    #[error("lab `{lab}` has no interface `{port}`")]
    NoPort {
        /// The lab.
        lab: LabName,
        /// `node:interface`.
        port: String,
    },
    /// Nothing of the lab is to remain.
    #[error("lab `{0}` is being destroyed; wait until it is gone, then deploy it again")]
    Destroying(LabName),
    /// An edit that does not fit the lab, or is none.
    #[error("lab `{lab}` stays as it is: {}", .why.join("; "))]
    Edit {
        /// The lab.
        lab: LabName,
        /// Everything that is wrong.
        why: Vec<String>,
    },
    /// The lab is wanted already.
    #[error("lab `{0}` is known to this agent: there is nothing to adopt")]
    Known(LabName),
    /// What is there of a lab cannot be wanted just as it is.
    #[error(
        "lab `{lab}` stays as it is, and unknown, since it cannot be adopted without a change: {}; deploy its file \
             instead, which makes the difference", .why.join("; ")
    )]
    Unadoptable {
        /// The lab.
        lab: LabName,
        /// Everything that keeps it from that.
        why: Vec<String>,
    },
    /// What another agent has left of a lab cannot be wanted just as it is.
    #[error("lab `{lab}`, which another agent has left, stays as it is: {}", .why.join("; "))]
    NotTaken {
        /// The lab.
        lab: LabName,
        /// Everything that keeps it from that.
        why: Vec<String>,
    },
    /// The lab's name belongs to another file.
    #[error(
        "lab `{lab}` is deployed from {theirs}, not from {ours}; give this one another name (`name:` or --name), \
             or destroy the other first (`netloom destroy --name {lab}`)"
    )]
    OtherSource {
        /// The lab.
        lab: LabName,
        /// The file that it was deployed from.
        theirs: String,
        /// The file of the request.
        ours: String,
    },
    /// The management network cannot take the lab's nodes.
    #[error("lab `{lab}`: {}", .why.join("; "))]
    Network {
        /// The lab.
        lab: LabName,
        /// Everything that is wrong.
        why: Vec<String>,
    },
    /// A person has another version of the lab in mind than there is.
    #[error("lab `{lab}` has changed meanwhile: it is at generation {current}, the request was made for {expected}")]
    Changed {
        /// The lab.
        lab: LabName,
        /// The generation there is.
        current: u64,
        /// The generation of the request.
        expected: u64,
    },
    /// The chosen nodes do not fit the rest of the lab as it is.
    #[error("the chosen nodes do not fit the rest of lab `{0}` as it is: {1}; deploy all of it")]
    Unfit(LabName, netloom_model::Violations),
    /// This host cannot make the lab as it is now.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Obstacles(Vec<Obstacle>),
    /// This host has too little of something for the lab beside all others.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Short(Vec<Shortage>),
    /// The runtime cannot run a node.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Unable(Vec<DriverError>),
    /// A node's runtime is not in this agent.
    #[error("node `{node}`: this agent cannot run `runtime: {runtime}`; it has {known}. {hint}")]
    NoRuntime {
        /// The node.
        node: NodeName,
        /// What it wants.
        runtime: String,
        /// What there is.
        known: String,
        /// What to do.
        hint: String,
    },
    /// The node does not run.
    #[error("node `{node}` of lab `{lab}` is {state}; this needs a running node")]
    NotRunning {
        /// The lab.
        lab: LabName,
        /// The node.
        node: NodeName,
        /// Its state.
        state: String,
    },
    /// No runtime of this agent has images.
    #[error("no runtime of this agent has images")]
    NoImages,
    /// There is no such image on this host.
    #[error(
        "there is no image `{0}` on this host; `netloom image ls` lists those that are, `netloom image pull {0}` fetches it"
    )]
    NoImage(String),
    /// A text that no image is called by.
    #[error("`{0}` is no name of an image; write for example `alpine:3.20` or `quay.io/frrouting/frr:10.1.1`")]
    BadReference(String),
    /// A lab needs the image.
    #[error(
        "image `{image}` stays: {} of it; destroy or change {} first",
        if .labs.len() == 1 { format!("lab `{}` has nodes", .labs[0]) } else { format!("the labs {} have nodes", names(.labs)) },
        if .labs.len() == 1 { "that lab" } else { "those labs" }
    )]
    ImageNeeded {
        /// The image, as it was asked for.
        image: String,
        /// The labs.
        labs: Vec<LabName>,
    },
    /// Something that is no node of ours was made from the image, or it has other names.
    #[error(transparent)]
    ImageUsed(DriverError),
    /// The agent is still looking at what there is on this host.
    #[error("the agent has not seen the whole host yet ({0}); try again in a moment")]
    NotReady(String),
    /// Too much is under way.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The store could not take it.
    #[error("nothing was changed: {0}")]
    Store(#[from] StoreError),
    /// A driver failed in a session.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// What was to be copied does not fit what is there; nothing was touched.
    #[error("{0}")]
    Copy(String),
    /// The agent is shutting down.
    #[error("the agent is stopping; what runs goes on, and the next start of the agent takes it over")]
    Stopping,
}

fn names(labs: &[LabName]) -> String {
    labs.iter().map(|lab| format!("`{lab}`")).collect::<Vec<_>>().join(", ")
}

impl From<CopyError> for Refusal {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Refused(why) => Self::Copy(why),
            CopyError::Failed(error) => Self::Driver(error),
        }
    }
}
