//! What the system in a node is configured with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_default;
use super::vars::Vars;
use crate::duration::GoDuration;

/// What the system in a node is configured with. All of it is empty for a node that says nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The configuration that it starts with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<Document>,
    /// Whether the configuration is written over one that the node has saved.
    #[serde(skip_serializing_if = "is_default")]
    pub enforce_startup: bool,
    /// Whether it starts with no configuration at all.
    #[serde(skip_serializing_if = "is_default")]
    pub suppress_startup: bool,
    /// Its licence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<Document>,
    /// Who may log in.
    #[serde(skip_serializing_if = "is_default")]
    pub credentials: Credentials,
    /// The certificate that it gets.
    #[serde(skip_serializing_if = "is_default")]
    pub certificate: Certificate,
    /// Data for the user's own templates.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: Vars,
    /// The cards of a chassis.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<Component>,
    /// What only some kinds have.
    #[serde(skip_serializing_if = "is_default")]
    pub extras: Extras,
}

/// Something to read: a file, a resource, or the text itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Document {
    /// A file of the host, by its absolute path.
    Path(String),
    /// A resource that is fetched (http, https, s3).
    Url(String),
    /// The text itself.
    Text(String),
}

/// Who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Credentials {
    /// Name of the user; the kind's own if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Their password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Absolute path of the private key to log in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_file: Option<String>,
}

/// The certificate that a node gets.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certificate {
    /// Whether it gets one; the kind decides if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issue: Option<bool>,
    /// The length of its key in bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_size: Option<u32>,
    /// How long it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity: Option<GoDuration>,
    /// Names and addresses it is valid for beside the node's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sans: Vec<String>,
}

/// A card of a chassis.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Component {
    /// Where it is put, for example `A` or `1`; empty for the only one of a device.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub slot: String,
    /// What it is.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// Environment of its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Its switch fabric module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sfm: Option<String>,
    /// Extension modules.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub xiom: Vec<Xiom>,
    /// Adapters with ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mda: Vec<Mda>,
}

/// An extension module of a card.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Xiom {
    /// Where it is put.
    pub slot: String,
    /// What it is.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
    /// Adapters with ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mda: Vec<Mda>,
}

/// An adapter with ports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mda {
    /// Where it is put.
    pub slot: String,
    /// What it is.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub card: Option<String>,
}

/// What only some kinds have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extras {
    /// Agents of SR Linux: absolute paths or URLs of their YAML files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub srl_agents: Vec<String>,
    /// The proxy of a mysocketio node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mysocket_proxy: Option<String>,
    /// Files that are put on the flash of a cEOS, absolute paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ceos_copy_to_flash: Vec<String>,
    /// How a Kubernetes cluster is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_kind: Option<K8sDeploy>,
}

/// How a Kubernetes cluster is made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct K8sDeploy {
    /// Where its access file is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<String>,
    /// How long is waited for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<GoDuration>,
}
