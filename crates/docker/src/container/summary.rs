//! A container in a list.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::lenient::null;
use crate::network::EndpointSettings;

/// A container in a list.
///
/// Source: the answer of `GET /containers/json`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ContainerSummary {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its names, each with a `/` before it; names of links to it have two.
    #[serde(deserialize_with = "null")]
    pub names: Vec<String>,
    /// The image as it was asked for, or an id where the reference is another image's now.
    pub image: String,
    /// The id of the image.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
    pub state: String,
    /// For people: `Up 3 minutes (healthy)`.
    pub status: String,
    /// Labels.
    #[serde(deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
    /// What it has of the host.
    #[serde(deserialize_with = "null")]
    pub host_config: SummaryHost,
    /// Its networks.
    #[serde(deserialize_with = "null")]
    pub network_settings: SummaryNetworks,
}

impl ContainerSummary {
    /// Its own name, without the `/` before it.
    pub fn plain_name(&self) -> Option<&str> {
        let own = self.names.iter().filter_map(|name| name.strip_prefix('/'));
        own.into_iter().find(|name| !name.contains('/'))
    }
}

/// What a container in a list has of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SummaryHost {
    /// `none`, `host`, `container:ID`, `default` or a network.
    pub network_mode: String,
}

/// The networks of a container in a list.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SummaryNetworks {
    /// By name.
    #[serde(deserialize_with = "null")]
    pub networks: BTreeMap<String, EndpointSettings>,
}
