//! Images that the daemon has.

mod fetch;
mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde::Deserialize;

use crate::docker::{Ask, Docker};
use crate::error::Result;
use crate::filters::Filters;
use crate::lenient::{keys, null};
use crate::reply::{LIST, ONE};
use crate::target::Target;

pub use fetch::{Pull, PullEvent};

/// An image in a list.
///
/// Source: the answer of `GET /images/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageSummary {
    /// `sha256:` and 64 hexadecimal digits.
    pub id: String,
    /// References by tag; `<none>:<none>` or none for one that has lost them.
    #[serde(deserialize_with = "null")]
    pub repo_tags: Vec<String>,
    /// References by digest.
    #[serde(deserialize_with = "null")]
    pub repo_digests: Vec<String>,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// In bytes, with layers that others have too.
    pub size: i64,
    /// Labels.
    #[serde(deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
}

/// An image.
///
/// Source: the answer of `GET /images/{name}/json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Image {
    /// `sha256:` and 64 hexadecimal digits.
    pub id: String,
    /// References by tag.
    #[serde(deserialize_with = "null")]
    pub repo_tags: Vec<String>,
    /// References by digest.
    #[serde(deserialize_with = "null")]
    pub repo_digests: Vec<String>,
    /// When it was made, RFC 3339.
    #[serde(deserialize_with = "null")]
    pub created: String,
    /// In bytes.
    pub size: i64,
    /// `linux`.
    pub os: String,
    /// For example `amd64`.
    pub architecture: String,
    /// What its containers are by default.
    #[serde(deserialize_with = "null")]
    pub config: ImageConfig,
}

/// What the containers of an image are by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `user[:group]`.
    #[serde(deserialize_with = "null")]
    pub user: String,
    /// `NAME=value`.
    #[serde(deserialize_with = "null")]
    pub env: Vec<String>,
    /// The command, or the arguments of the entrypoint.
    #[serde(deserialize_with = "null")]
    pub cmd: Vec<String>,
    /// The entrypoint.
    #[serde(deserialize_with = "null")]
    pub entrypoint: Vec<String>,
    /// The directory that the command begins in.
    #[serde(deserialize_with = "null")]
    pub working_dir: String,
    /// Ports, as `80/tcp`.
    #[serde(deserialize_with = "keys::deserialize")]
    pub exposed_ports: BTreeSet<String>,
    /// Directories that get a volume without a name.
    #[serde(deserialize_with = "keys::deserialize")]
    pub volumes: BTreeSet<String>,
    /// Labels.
    #[serde(deserialize_with = "null")]
    pub labels: BTreeMap<String, String>,
    /// The signal that asks a container to end; `SIGTERM` where it is empty.
    #[serde(deserialize_with = "null")]
    pub stop_signal: String,
}

/// Whether an image that is in use is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoveImage {
    /// Only if no container and no other reference has it.
    Unused,
    /// Also if a container that does not run, or another reference, has it.
    Forced,
}

/// What became of an image or a layer of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum Removed {
    /// This reference is gone.
    Untagged(String),
    /// This image or layer is gone.
    Deleted(String),
}

/// What a clean-up has removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Pruned {
    /// References, images and layers.
    #[serde(rename = "ImagesDeleted", deserialize_with = "null")]
    pub removed: Vec<Removed>,
    /// In bytes.
    #[serde(rename = "SpaceReclaimed")]
    pub space: u64,
}

/// How much of the disk is used.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Usage {
    layers_size: Option<i64>,
}

impl Docker {
    /// All images that the filter lets pass, the newest first, without layers between.
    ///
    /// Source: `GET /images/json`.
    pub async fn list_images(&self, filter: &Filters, deadline: Instant) -> Result<Vec<ImageSummary>> {
        self.call("list images", "", deadline, async {
            let target = Target::at(["images", "json"]).query_some("filters", filter.value().as_deref());
            self.ask(Ask::get(target)).await?.json(LIST).await
        })
        .await
    }

    /// An image by a reference or its id; one that is not on this host is `NotFound`.
    ///
    /// Source: `GET /images/{name}/json`.
    pub async fn inspect_image(&self, reference: &str, deadline: Instant) -> Result<Image> {
        self.call("inspect image", reference, deadline, async {
            self.ask(Ask::get(Target::at(["images", reference, "json"]))).await?.json(ONE).await
        })
        .await
    }

    /// Removes a reference of an image, and with the last one the image; one that is in use is a `Conflict`.
    ///
    /// Source: `DELETE /images/{name}`.
    pub async fn remove_image(&self, reference: &str, how: RemoveImage, deadline: Instant) -> Result<Vec<Removed>> {
        self.call("remove image", reference, deadline, async {
            let target = Target::at(["images", reference]).flag("force", how == RemoveImage::Forced);
            self.ask(Ask::delete(target)).await?.json(ONE).await
        })
        .await
    }

    /// How much all images take together, in bytes, each layer once; `None` where the daemon does not say.
    ///
    /// Daemons before API 1.42 measure containers and volumes for it too, which may take seconds. Source: `LayersSize` in the
    /// answer of `GET /system/df`.
    pub async fn image_space(&self, deadline: Instant) -> Result<Option<u64>> {
        self.call("measure images", "", deadline, async {
            let target = Target::at(["system", "df"]).query("type", "image");
            let usage: Usage = self.ask(Ask::get(target)).await?.json(LIST).await?;
            Ok(usage.layers_size.and_then(|size| u64::try_from(size).ok()))
        })
        .await
    }

    /// Removes images that no container has: those without a reference, or with the filter `dangling` = `false` all.
    ///
    /// Source: `POST /images/prune`.
    pub async fn prune_images(&self, filter: &Filters, deadline: Instant) -> Result<Pruned> {
        self.call("prune images", "", deadline, async {
            let target = Target::at(["images", "prune"]).query_some("filters", filter.value().as_deref());
            self.ask(Ask::post(target)).await?.json(ONE).await
        })
        .await
    }
}
