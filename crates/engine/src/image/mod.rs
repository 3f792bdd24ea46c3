//! Images: what nodes of some runtimes are made from. As everything else they are facts in the inventory, read from there and
//! changed by the runtime that has them.
//!
//! ```text
//!  GET /images ──▶ Engine::images ──▶ snapshot ◀── Report::Relist(Source::Images) ◀── runtime
//!  a plan's step, POST /images/pull ──▶ Images::pull ──progress──▶ steps of operations
//!  load, rm, prune ──▶ Engine ── what labs need stays ──▶ Images
//! ```

mod delivered;
mod pulls;
mod reference;
mod shelf;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use netloom_model::{LabName, RuntimeKind};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::driver::{Context, DriverError};

pub use delivered::Delivered;
pub(crate) use delivered::{Deliveries, load as load_deliveries};
pub(crate) use pulls::{Progressing, follow};
pub use reference::is_same;
pub use shelf::Prune;

/// An image as its runtime has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFact {
    /// What has it.
    pub runtime: RuntimeKind,
    /// `sha256:` and 64 hexadecimal digits.
    pub id: String,
    /// Its names with tags, `alpine:3.20`; none for one that has lost them.
    pub references: Vec<String>,
    /// Its names with digests, `alpine@sha256:…`.
    pub digests: Vec<String>,
    /// When it was made.
    #[serde(with = "crate::time")]
    pub created: SystemTime,
    /// In bytes, with layers that other images have too.
    pub size_bytes: u64,
}

impl ImageFact {
    /// Whether a reference means this image: a name with or without tag or digest, its id, or the beginning of that.
    pub fn is_called(&self, reference: &str) -> bool {
        let named = self.references.iter().chain(&self.digests).any(|name| is_same(name, reference));
        named || reference::is_id(&self.id, reference)
    }
}

/// The image that a reference means among these: a name goes before an id.
pub(crate) fn find<'a>(images: &'a BTreeMap<String, ImageFact>, reference: &str) -> Option<&'a ImageFact> {
    let is_named =
        |image: &&ImageFact| image.references.iter().chain(&image.digests).any(|name| is_same(name, reference));
    images.values().find(is_named).or_else(|| images.values().find(|image| image.is_called(reference)))
}

/// How far an image has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PullProgress {
    /// Its layers, in the order in which the registry told of them.
    pub layers: Vec<LayerProgress>,
}

/// How far a layer has come.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LayerProgress {
    /// Twelve hexadecimal digits.
    pub layer: String,
    /// For people: `Downloading`, `Extracting`, `Pull complete`.
    pub status: String,
    /// So much of it is here, in bytes.
    pub current_bytes: u64,
    /// So much of it there is, in bytes; 0 as long as that is not known.
    pub total_bytes: u64,
    /// Whether nothing is left to be done with it.
    pub is_done: bool,
}

impl PullProgress {
    /// An image that is there has all of its layers, whatever was said of them last.
    pub fn finish(&mut self) {
        for layer in self.layers.iter_mut().filter(|layer| !layer.is_done) {
            layer.current_bytes = layer.total_bytes;
            layer.is_done = true;
            "Pull complete".clone_into(&mut layer.status);
        }
    }
}

impl fmt::Display for PullProgress {
    /// `2 of 5 layers, 12.3 of 45.0 MB`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = self.layers.iter().filter(|layer| layer.is_done).count();
        let one = if self.layers.len() == 1 { "layer" } else { "layers" };
        write!(f, "{done} of {} {one}", self.layers.len())?;
        let current: u64 = self.layers.iter().map(|layer| layer.current_bytes).sum();
        let total: u64 = self.layers.iter().map(|layer| layer.total_bytes).sum();
        if total > 0 {
            write!(f, ", {} of {} MB", megabytes(current.min(total)), megabytes(total))?;
        }
        Ok(())
    }
}

/// With one digit after the point.
fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes % 1_000_000 / 100_000)
}

/// An archive of images on its way in. Dropping it ends that; what was loaded before may stay.
#[derive(Debug)]
pub struct ImageLoad {
    /// Pieces of the archive, in their order; bounded. Closed at its end.
    pub pieces: mpsc::Sender<Bytes>,
    /// The references of what was loaded, or ids where there are none.
    pub done: oneshot::Receiver<Result<Vec<String>, DriverError>>,
}

/// Where a runtime has its images. What becomes of a call shows in the inventory, at the latest when it returns.
#[async_trait]
pub trait Images: Send + Sync {
    /// Fetches an image from its registry. Whoever asks for the same one meanwhile waits for the same fetching, which ends when
    /// nobody waits any more.
    async fn pull(
        &self,
        image: &str,
        progress: &watch::Sender<PullProgress>,
        context: &Context,
    ) -> Result<(), DriverError>;

    /// Begins to load the images of an archive as `docker save` writes it.
    async fn load(&self) -> Result<ImageLoad, DriverError>;

    /// Removes a reference of an image, and the image with its last one. One that a node or anything else was made from is
    /// left alone, which is the error, of class [`crate::ErrorClass::Permanent`]; one that is not there is none.
    async fn remove(&self, reference: &str, context: &Context) -> Result<(), DriverError>;

    /// How much all images together take, in bytes, each layer once; `None` where that is not known.
    async fn space(&self, context: &Context) -> Result<Option<u64>, DriverError>;
}

/// The images of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesView {
    /// Each image of each runtime.
    pub images: Vec<ImageView>,
    /// When they were last listed.
    #[serde(default, with = "crate::time::option")]
    pub listed: Option<SystemTime>,
    /// Why this may be older, or less, than what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<String>,
}

/// An image, and who needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageView {
    /// The image.
    #[serde(flatten)]
    pub image: ImageFact,
    /// The labs that have nodes of it, wanted or there.
    pub labs: Vec<LabName>,
}

/// What a clean-up has removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImagesRemoved {
    /// References, or ids where there are none.
    pub removed: Vec<String>,
    /// What was to be removed and was not, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
    /// How much of the disk was freed, in bytes, where that is known.
    pub freed_bytes: Option<u64>,
}

/// A runtime that has images.
pub(crate) struct Shelf {
    pub(crate) runtime: Arc<dyn crate::driver::Runtime>,
}

impl Shelf {
    pub(crate) fn images(&self) -> &dyn Images {
        self.runtime.images().expect("a shelf is made of a runtime that has images")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(done: bool, current: u64, total: u64) -> LayerProgress {
        LayerProgress { is_done: done, current_bytes: current, total_bytes: total, ..LayerProgress::default() }
    }

    #[test]
    fn progress_is_told_in_layers_and_bytes() {
        let progress = |layers| PullProgress { layers }.to_string();
        assert_eq!(progress(vec![layer(false, 0, 0)]), "0 of 1 layer");
        let two = vec![layer(true, 2_000_000, 2_000_000), layer(false, 340_000, 43_000_000)];
        assert_eq!(progress(two), "1 of 2 layers, 2.3 of 45.0 MB");
    }

    #[test]
    fn a_name_goes_before_an_id() {
        let image = |id: &str, reference: &str| ImageFact {
            runtime: RuntimeKind::Docker,
            id: format!("sha256:{id:0<64}"),
            references: vec![reference.to_owned()],
            digests: Vec::new(),
            created: SystemTime::UNIX_EPOCH,
            size_bytes: 0,
        };
        let both = [image("cafe", "web:1"), image("0", "cafe:latest")].map(|image| (image.id.clone(), image)).into();
        let found = |reference| find(&both, reference).map(|image| image.references[0].as_str());
        assert_eq!(found("cafe"), Some("cafe:latest"));
        assert_eq!(found("cafe000"), Some("web:1"));
        assert_eq!(found("web"), None);
        assert_eq!(found("docker.io/library/web:1"), Some("web:1"));
    }
}
