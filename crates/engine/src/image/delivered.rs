//! Which images of this host a controller has delivered. It may remove those and no others: a controller removes whatever it is
//! shown and does not know.
//!
//! They are in the store under `delivered/<reference>`, with the id that the image had. One that was removed by somebody else, or
//! whose name another image has by now, is not the controller's any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use netloom_plan::NodeState;
use serde::{Deserialize, Serialize};

use super::{ImageFact, is_same};
use crate::desired::put;
use crate::driver::{Store, StoreError, Write};
use crate::engine::Engine;
use crate::refusal::Refusal;

/// Where they are in the store.
const PREFIX: &str = "delivered/";

/// An image that a controller has delivered, by one of its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// The name; the id of one that has none.
    pub reference: String,
    /// Its id then.
    pub id: String,
    /// What the controller calls the device that is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The SHA-256 of the archive that it came in, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it came.
    #[serde(with = "crate::time")]
    pub at: SystemTime,
}

/// All of them, by name; read without waiting.
#[derive(Debug, Default)]
pub(crate) struct Deliveries(ArcSwap<BTreeMap<String, Delivered>>);

impl Deliveries {
    fn set(&self, reference: &str, delivered: Option<&Delivered>) {
        self.0.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            match delivered {
                Some(delivered) => all.insert(reference.to_owned(), delivered.clone()),
                None => all.remove(reference),
            };
            all
        });
    }
}

/// Reads all from the store. One that cannot be read is not the controller's: nothing is lost but the right to remove it.
pub(crate) async fn load(store: &dyn Store) -> Result<Deliveries, StoreError> {
    let all = store.list(PREFIX).await?.into_iter();
    let all = all.filter_map(|(_, value)| serde_json::from_slice::<Delivered>(&value).ok());
    let all = all.map(|delivered| (delivered.reference.clone(), delivered)).collect();
    Ok(Deliveries(ArcSwap::new(Arc::new(all))))
}

fn key(reference: &str) -> String {
    format!("{PREFIX}{reference}")
}

impl Engine {
    /// The images that a controller has delivered and that are still there, each with the names that they came by.
    pub fn delivered_images(&self) -> Vec<(ImageFact, Vec<Delivered>)> {
        let snapshot = self.shared.inventory.snapshot();
        let all = snapshot.images.values().flat_map(|images| images.values());
        let delivered = all.map(|image| (image.clone(), self.deliveries_of(image)));
        delivered.filter(|(_, delivered)| !delivered.is_empty()).collect()
    }

    /// By which names a controller has delivered an image; none if it has not.
    pub fn deliveries_of(&self, image: &ImageFact) -> Vec<Delivered> {
        let all = self.shared.deliveries.0.load();
        let has_name = |delivered: &&Delivered| {
            delivered.id == image.id
                && (delivered.reference == image.id
                    || image.references.iter().any(|name| is_same(name, &delivered.reference)))
        };
        all.values().filter(has_name).cloned().collect()
    }

    /// Notes that a controller has delivered an image, durably.
    pub async fn note_delivered(&self, delivered: &Delivered) -> Result<(), Refusal> {
        self.shared.ledger.write(vec![put(key(&delivered.reference), delivered)]).await?;
        self.shared.deliveries.set(&delivered.reference, Some(delivered));
        Ok(())
    }

    /// Forgets that a controller has delivered what has this name, if it has.
    pub async fn forget_delivered(&self, reference: &str) -> Result<(), Refusal> {
        let all = self.shared.deliveries.0.load_full();
        let names = all.keys().filter(|name| *name == reference || is_same(name, reference));
        let names: Vec<String> = names.cloned().collect();
        if names.is_empty() {
            return Ok(());
        }
        let writes = names.iter().map(|name| Write::Delete { key: key(name) }).collect();
        self.shared.ledger.write(writes).await?;
        for name in &names {
            self.shared.deliveries.set(name, None);
        }
        Ok(())
    }

    /// Whether a node that runs was made from an image.
    pub fn is_image_in_use(&self, image: &ImageFact) -> bool {
        let snapshot = self.shared.inventory.snapshot();
        let mut nodes = snapshot.labs.values().flat_map(|lab| lab.nodes.values());
        nodes.any(|node| {
            let of = node.image.as_ref().filter(|_| node.runtime == image.runtime);
            node.state == NodeState::Running && of.is_some_and(|name| image.is_called(name))
        })
    }
}
