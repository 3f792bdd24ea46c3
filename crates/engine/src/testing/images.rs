//! Images that are entries of a map, and a registry that is a set of names.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use netloom_model::RuntimeKind;
use tokio::sync::{mpsc, oneshot, watch};

use super::runtime::FakeRuntime;
use super::trouble::error;
use super::world::World;
use crate::driver::{Context, DriverError, ErrorClass, NodeOrder};
use crate::fact::{Fact, Source};
use crate::image::{ImageFact, ImageLoad, Images, LayerProgress, PullProgress, find, is_same};
use crate::task;

/// So much each image takes.
const SIZE: u64 = 1_000_000;

/// What a runtime has of images.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    images: BTreeMap<String, ImageFact>,
    registry: BTreeSet<String>,
    count: u64,
}

impl Shelf {
    fn add(&mut self, reference: &str) {
        self.count += 1;
        let image = ImageFact {
            runtime: RuntimeKind::Docker,
            id: format!("sha256:{:064x}", self.count),
            references: vec![reference.to_owned()],
            digests: Vec::new(),
            created: SystemTime::UNIX_EPOCH,
            size_bytes: SIZE,
        };
        self.images.insert(image.id.clone(), image);
    }
}

impl World {
    /// From its next engine on the runtime `docker` of this host has images: these are there, and those can be pulled.
    pub fn set_images(&self, there: &[&str], registry: &[&str]) {
        let mut shelf = Shelf::default();
        for reference in there {
            shelf.add(reference);
        }
        shelf.registry = registry.iter().map(|reference| (*reference).to_owned()).collect();
        self.lock().images = Some(shelf);
        self.runtime_of(RuntimeKind::Docker).report_images();
    }

    /// The names of the images that are there.
    pub fn images(&self) -> Vec<String> {
        let state = self.lock();
        let images = state.images.iter().flat_map(|shelf| shelf.images.values());
        images.flat_map(|image| image.references.clone()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// An image loses its name, as when another one gets it.
    pub fn untag(&self, reference: &str) {
        let mut state = self.lock();
        let images = state.images.iter_mut().flat_map(|shelf| shelf.images.values_mut());
        images.for_each(|image| image.references.retain(|name| name != reference));
        drop(state);
        self.runtime_of(RuntimeKind::Docker).report_images();
    }
}

impl FakeRuntime {
    pub(super) fn has_images(&self) -> bool {
        self.kind == RuntimeKind::Docker && self.world.lock().images.is_some()
    }

    pub(super) fn report_images(&self) {
        let state = self.world.lock();
        let Some(shelf) = state.images.as_ref().filter(|_| self.kind == RuntimeKind::Docker) else { return };
        let images: Vec<Fact> = shelf.images.values().cloned().map(Fact::Image).collect();
        // Whether events are lost makes no difference: images are listed.
        let _ = state.relist(Source::Images(self.kind), |_, _| images);
    }

    pub(super) fn check_image(&self, order: &NodeOrder) -> Result<(), DriverError> {
        let state = self.world.lock();
        let image = order.lab.nodes()[&order.node].image.as_deref().unwrap_or_default();
        match state.images.as_ref().filter(|_| self.kind == RuntimeKind::Docker) {
            Some(shelf) if find(&shelf.images, image).is_none() => {
                let cause = format!("the image `{image}` is not on this host");
                Err(error("create", &format!("node {}", order.node), &cause, ErrorClass::Transient))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Images for FakeRuntime {
    async fn pull(
        &self,
        image: &str,
        progress: &watch::Sender<PullProgress>,
        _context: &Context,
    ) -> Result<(), DriverError> {
        let layer = LayerProgress { layer: "layer".into(), total_bytes: SIZE, ..LayerProgress::default() };
        progress.send_replace(PullProgress { layers: vec![layer] });
        self.world.enter("pull", image).await?;
        {
            let mut state = self.world.lock();
            let shelf = state.images.as_mut().expect("the runtime has images");
            if !shelf.registry.contains(image) {
                let cause = "pull access denied, repository does not exist";
                return Err(error("pull", &format!("image {image}"), cause, ErrorClass::Permanent));
            }
            if find(&shelf.images, image).is_none() {
                shelf.add(image);
            }
        }
        self.report_images();
        Ok(())
    }

    async fn load(&self) -> Result<ImageLoad, DriverError> {
        self.world.enter("load", "images").await?;
        let (pieces, mut arriving) = mpsc::channel::<Bytes>(1);
        let (told, done) = oneshot::channel();
        let runtime = self.clone();
        task::spawn("fake load", async move {
            let mut archive = Vec::new();
            while let Some(piece) = arriving.recv().await {
                archive.extend_from_slice(&piece);
            }
            // The name of an image, and nothing else.
            let loaded = match String::from_utf8(archive) {
                Ok(name) if !name.is_empty() => {
                    runtime.world.lock().images.as_mut().expect("the runtime has images").add(&name);
                    runtime.report_images();
                    Ok(vec![name])
                }
                _ => Err(error("load", "images", "this is no archive of images", ErrorClass::Permanent)),
            };
            // Whoever loaded may be gone.
            let _ = told.send(loaded);
        });
        Ok(ImageLoad { pieces, done })
    }

    async fn remove(&self, reference: &str, _context: &Context) -> Result<(), DriverError> {
        self.world.enter("remove image", reference).await?;
        {
            let mut state = self.world.lock();
            let shelf = state.images.as_mut().expect("the runtime has images");
            if let Some(id) = find(&shelf.images, reference).map(|image| image.id.clone())
                && let Some(image) = shelf.images.get_mut(&id)
            {
                image.references.retain(|name| !is_same(name, reference));
                if image.references.is_empty() {
                    shelf.images.remove(&id);
                }
            }
        }
        self.report_images();
        Ok(())
    }

    async fn space(&self, _context: &Context) -> Result<Option<u64>, DriverError> {
        let state = self.world.lock();
        let count = state.images.as_ref().map_or(0, |shelf| shelf.images.len() as u64);
        Ok(Some(count * SIZE))
    }
}
