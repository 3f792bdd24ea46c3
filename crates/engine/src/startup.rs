//! The configurations that a controller keeps on this host for nodes of its labs, in the store under `startup/<lab>/<node>`.
//!
//! They outlive the nodes: a node that is created again begins with them. They go with the lab's workspace, which the controller
//! removes by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use netloom_model::{LabName, NodeName};

use crate::driver::{Store, StoreError, Write};
use crate::engine::Engine;
use crate::refusal::Refusal;

/// Where they are in the store.
const PREFIX: &str = "startup/";

type Key = (LabName, NodeName);

/// All of them; read without waiting.
#[derive(Debug, Default)]
pub(crate) struct Startup(ArcSwap<BTreeMap<Key, Arc<str>>>);

impl Startup {
    fn set(&self, changes: &[(Key, Option<Arc<str>>)]) {
        self.0.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            for (of, text) in changes {
                match text {
                    Some(text) => all.insert(of.clone(), text.clone()),
                    None => all.remove(of),
                };
            }
            all
        });
    }
}

/// Reads all from the store. One that cannot be read is none.
pub(crate) async fn load(store: &dyn Store) -> Result<Startup, StoreError> {
    let all = store.list(PREFIX).await?.into_iter().filter_map(|(key, value)| {
        let (lab, node) = key.strip_prefix(PREFIX)?.split_once('/')?;
        let text = String::from_utf8(value).ok()?;
        Some(((lab.parse().ok()?, node.parse().ok()?), Arc::from(text)))
    });
    Ok(Startup(ArcSwap::new(Arc::new(all.collect()))))
}

fn key((lab, node): &Key) -> String {
    format!("{PREFIX}{lab}/{node}")
}

impl Engine {
    /// Keeps configurations of nodes of a lab, durably; those of other nodes stay.
    pub async fn keep_startup(&self, lab: &LabName, texts: Vec<(NodeName, String)>) -> Result<(), Refusal> {
        let texts = texts.into_iter().map(|(node, text)| ((lab.clone(), node), Some(Arc::from(text))));
        let texts: Vec<(Key, Option<Arc<str>>)> = texts.collect();
        let put = |(of, text): &(Key, Option<Arc<str>>)| {
            Some(Write::Put { key: key(of), value: text.as_ref()?.as_bytes().to_vec() })
        };
        self.shared.ledger.write(texts.iter().filter_map(put).collect()).await?;
        self.shared.startup.set(&texts);
        Ok(())
    }

    /// The configuration that is kept for a node.
    pub fn startup_of(&self, lab: &LabName, node: &NodeName) -> Option<Arc<str>> {
        self.shared.startup.0.load().get(&(lab.clone(), node.clone())).cloned()
    }

    /// The labs of which any is kept.
    pub fn labs_with_startup(&self) -> Vec<LabName> {
        let all = self.shared.startup.0.load();
        let mut labs: Vec<LabName> = all.keys().map(|(lab, _)| lab.clone()).collect();
        labs.dedup();
        labs
    }

    /// Forgets those of a lab; whether there were any.
    pub async fn forget_startup(&self, lab: &LabName) -> Result<bool, Refusal> {
        let all = self.shared.startup.0.load_full();
        let of_lab: Vec<Key> = all.keys().filter(|(of, _)| of == lab).cloned().collect();
        if of_lab.is_empty() {
            return Ok(false);
        }
        self.shared.ledger.write(of_lab.iter().map(|of| Write::Delete { key: key(of) }).collect()).await?;
        let gone: Vec<(Key, Option<Arc<str>>)> = of_lab.into_iter().map(|of| (of, None)).collect();
        self.shared.startup.set(&gone);
        Ok(true)
    }
}
