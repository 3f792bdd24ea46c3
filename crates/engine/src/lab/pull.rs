//! Images of a lab: which are missing, and fetching them.
//!
//! A pull takes no place of the nodes': it waits for a registry, for as long as that takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use netloom_model::{Lab, NodeName, RuntimeKind};
use netloom_plan::ImageStock;

use super::step::{StepContext, engine_error};
use crate::driver::{Context, DriverError, ErrorClass};
use crate::engine::Shared;
use crate::image::{Progressing, find, follow};
use crate::snapshot::Snapshot;

/// How long the fetching of one image may take in all, its turn included.
pub(crate) const PULL_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Images, by what has them.
pub(crate) type Fetched = BTreeSet<(RuntimeKind, String)>;

/// What is known of images beside what the snapshot shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stock<'a> {
    /// The runtimes that have images.
    shelves: &'a BTreeSet<RuntimeKind>,
    /// The images that were fetched for what is to be made now.
    fetched: &'a Fetched,
}

impl Shared {
    pub(crate) fn stock<'a>(&'a self, fetched: &'a Fetched) -> Stock<'a> {
        Stock { shelves: &self.shelves, fetched }
    }
}

impl Stock<'_> {
    /// That nothing is known and nobody has images.
    pub(crate) const NONE: Stock<'static> = Stock { shelves: &BTreeSet::new(), fetched: &BTreeSet::new() };

    /// The images that the nodes of a lab are made from.
    pub(crate) fn of(self, lab: &Lab, snapshot: &Snapshot) -> BTreeMap<(RuntimeKind, String), ImageStock> {
        let mut images = BTreeMap::new();
        for node in lab.nodes().values() {
            let (Some(runtime), Some(image)) = (node.runtime, &node.image) else { continue };
            if self.shelves.contains(&runtime) {
                images.entry((runtime, image.clone())).or_insert(ImageStock::Unknown);
            }
        }
        for (key, stock) in &mut images {
            *stock = match snapshot.images.get(&key.0) {
                _ if self.fetched.contains(key) => ImageStock::Fetched,
                None => ImageStock::Unknown,
                Some(all) if find(all, &key.1).is_some() => ImageStock::There,
                Some(_) => ImageStock::Missing,
            };
        }
        images
    }
}

/// An image to fetch.
#[derive(Debug, Clone)]
pub(super) struct Pull {
    pub(super) image: String,
    pub(super) runtime: RuntimeKind,
}

impl StepContext {
    pub(super) async fn pull(&self, pull: &Pull, told: &Progressing, context: &Context) -> Result<(), DriverError> {
        let object = self.object(pull);
        let runtime = self.shared.runtimes.get(&pull.runtime);
        let images = runtime.and_then(|runtime| runtime.images()).ok_or_else(|| DriverError {
            class: ErrorClass::Permanent,
            ..engine_error("pull", &object, format!("this agent has no images of {:?}", pull.runtime))
        })?;
        let pulled = follow(images, &pull.image, &self.shared.pulls, told, context).await;
        match pulled {
            // It is there at this very moment, which is why nobody waits for it any more.
            Err(error) if error.class == ErrorClass::Cancelled && self.has(pull) => {
                told.end();
                Ok(())
            }
            other => other.map_err(|error| DriverError { object, ..error }),
        }
    }

    fn has(&self, pull: &Pull) -> bool {
        let snapshot = self.shared.inventory.snapshot();
        snapshot.images.get(&pull.runtime).is_some_and(|images| find(images, &pull.image).is_some())
    }

    /// The image and who is made from it.
    fn object(&self, pull: &Pull) -> String {
        let nodes = self.wish.as_ref().map(|wish| wish.lab.nodes()).into_iter().flatten();
        let of_image =
            nodes.filter(|(_, node)| node.runtime == Some(pull.runtime) && node.image.as_ref() == Some(&pull.image));
        let names: Vec<&str> = of_image.map(|(name, _)| NodeName::as_str(name)).collect();
        let node = if names.len() == 1 { "node" } else { "nodes" };
        format!("image {} ({node} {})", pull.image, names.join(", "))
    }
}
