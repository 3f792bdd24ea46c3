//! What a topology file says about the whole lab beside its nodes and links.

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::duration::GoDuration;

/// What is said about the whole lab.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The authority that signs the nodes' certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<CertificateAuthority>,
    /// What links are made of; what the host's configuration says if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fabric: Option<FabricKind>,
    /// The format's `debug`.
    #[serde(skip_serializing_if = "is_default")]
    pub debug: bool,
}

/// The authority that signs the nodes' certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateAuthority {
    /// One that is there already.
    #[serde(rename_all = "snake_case")]
    Files {
        /// Absolute path of its certificate.
        cert: String,
        /// Absolute path of its private key.
        key: String,
    },
    /// One that is made for the lab.
    #[serde(rename_all = "snake_case")]
    Made {
        /// The length of its key in bits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_size: Option<u32>,
        /// How long it is valid.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        validity: Option<GoDuration>,
    },
}

/// What links are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FabricKind {
    /// Interfaces and bridges of the kernel.
    #[default]
    Kernel,
    /// Open vSwitch.
    Ovs,
}
