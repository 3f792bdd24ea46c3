//! What a lab's actor is asked to do.

use std::collections::BTreeSet;
use std::sync::Arc;

use netloom_model::{Lab, NodeName};
use tokio::sync::{mpsc, oneshot};

use super::adopt::Kept;
use super::controlled::ControlledEdit;
use super::edit::{Draft, EditRequest};
use crate::desired::Wish;
use crate::driver::{Surveyed, TagClaim};
use crate::leftover::{Sweep, Swept};
use crate::limits::RaiseLimits;
use crate::operation::{Operation, OperationId};
use crate::refusal::Refusal;
use crate::tags::LabTags;

/// Whether everything is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rebuild {
    /// Only the difference is made.
    #[default]
    No,
    /// All nodes and links are removed and made again.
    Yes,
}

/// A deploy as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct DeployRequest {
    /// The lab.
    pub lab: Arc<Lab>,
    /// Whether everything is made anew.
    pub rebuild: Rebuild,
    /// Deploy only these nodes and the links between nodes that are there then; everything else of the lab
    /// stays as it is.
    pub only: Option<BTreeSet<NodeName>>,
    /// The generation that the lab must have (`If-Match`).
    pub generation: Option<u64>,
    /// Whether limits of the host may be raised for it.
    pub raise_limits: RaiseLimits,
}

/// The answer to an accepted request.
pub(crate) type Accepted = Result<Arc<Operation>, Refusal>;

/// A lab that was taken over, with the tags of its links.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// What was wanted of it when it was read.
    pub(crate) before: Option<Arc<Wish>>,
    pub(crate) wish: Wish,
    pub(crate) tags: LabTags,
    /// Those of them that its ports have.
    pub(crate) claims: Vec<TagClaim>,
}

/// What a lab's actor is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Deploy {
        request: DeployRequest,
        /// What its management network is, if that had to be asked.
        found: Option<Box<Surveyed>>,
        reply: oneshot::Sender<Accepted>,
    },
    Destroy {
        reply: oneshot::Sender<Accepted>,
    },
    /// With what it came to before it was its turn, which holds unless something came between.
    Edit {
        request: EditRequest,
        draft: Option<Box<Draft>>,
        /// As for `Deploy`.
        found: Option<Box<Surveyed>>,
        reply: oneshot::Sender<Accepted>,
    },
    Controlled {
        request: ControlledEdit,
        reply: oneshot::Sender<Accepted>,
    },
    Adopt {
        kept: Kept,
        reply: oneshot::Sender<Accepted>,
    },
    /// To decide about it from now on, whoever did.
    Seize {
        reply: oneshot::Sender<Accepted>,
    },
    /// To want what was marked and seen of a lab that another agent has left.
    TakeOver {
        taken: Box<Taken>,
        reply: oneshot::Sender<Accepted>,
    },
    Cancel {
        operation: OperationId,
        reply: oneshot::Sender<Accepted>,
    },
    /// To remove what is left of it, for an operation about the whole host. What came of that is reported apart.
    Sweep {
        operation: Arc<Operation>,
        things: Sweep,
        report: mpsc::Sender<Swept>,
        reply: oneshot::Sender<Accepted>,
    },
    /// Fail in a way that nobody expects.
    #[cfg(feature = "testing")]
    Panic(&'static str),
}

impl Command {
    /// Answers that the command was not accepted.
    pub(crate) fn refuse(self, refusal: Refusal) {
        let reply = match self {
            Self::Deploy { reply, .. }
            | Self::Destroy { reply }
            | Self::Seize { reply }
            | Self::Edit { reply, .. }
            | Self::Controlled { reply, .. }
            | Self::Adopt { reply, .. }
            | Self::TakeOver { reply, .. }
            | Self::Cancel { reply, .. }
            | Self::Sweep { reply, .. } => reply,
            #[cfg(feature = "testing")]
            Self::Panic(_) => return,
        };
        // The asker may have gone; that cancels nothing.
        let _ = reply.send(Err(refusal));
    }
}
