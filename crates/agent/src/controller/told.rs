//! What a controller is told of: what became of a node, and what a guest did to an interface of its own.

use std::time::SystemTime;

use netloom_model::{InterfaceName, LabName, NodeName};
use serde::Serialize;

use super::profile::iso;

/// What something is told about. Of each only the newest is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Node(LabName, NodeName),
    Interface(LabName, NodeName, InterfaceName),
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node(lab, node) => write!(f, "{lab}/{node}"),
            Self::Interface(lab, node, interface) => write!(f, "{lab}/{node}/{interface}"),
        }
    }
}

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Node(NodeEvent),
    Carrier(CarrierChange),
}

impl Message {
    /// What it is about.
    pub(super) fn subject(&self) -> Subject {
        match self {
            Self::Node(event) => Subject::Node(event.lab_id.clone(), event.node_name.clone()),
            Self::Carrier(change) => {
                Subject::Interface(change.lab_id.clone(), change.node.clone(), change.interface.clone())
            }
        }
    }

    /// Where it goes.
    pub(super) fn path(&self) -> &'static str {
        match self {
            Self::Node(_) => "/events/node",
            Self::Carrier(_) => "/callbacks/carrier-state",
        }
    }

    /// What it says, in a few words.
    pub(super) fn status(&self) -> String {
        match self {
            Self::Node(event) => event.status.clone(),
            Self::Carrier(change) => format!("carrier {}", change.carrier_state.word()),
        }
    }
}

/// The body of `POST /events/node`, but for the agent's id, which may change until it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct NodeEvent {
    pub(super) lab_id: LabName,
    pub(super) node_name: NodeName,
    /// What its runtime calls what runs in it.
    pub(super) container_id: Option<String>,
    pub(super) event_type: EventType,
    #[serde(serialize_with = "iso")]
    pub(super) timestamp: SystemTime,
    /// Docker's word, or `exited (code N)`.
    pub(super) status: String,
    pub(super) attributes: Attributes,
}

/// What became of a node. No other word is used: `creating` would take back that a node runs, and `kill` is any signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventType {
    Started,
    Stopped,
    Died,
}

/// What else is said of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Attributes {
    pub(super) container_name: String,
    pub(super) image: String,
    pub(super) node_kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exit_code: Option<i32>,
}

/// The body of `POST /callbacks/carrier-state`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CarrierChange {
    pub(super) lab_id: LabName,
    pub(super) node: NodeName,
    pub(super) interface: InterfaceName,
    pub(super) carrier_state: Carrier,
}

/// Whether a guest has its end of a link switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Carrier {
    On,
    Off,
}

impl Carrier {
    pub(super) fn of(is_up: bool) -> Self {
        if is_up { Self::On } else { Self::Off }
    }

    fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}
