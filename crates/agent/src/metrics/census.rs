//! How many nodes and links of wanted labs are in which state: counted again only when what is there, or what is wanted, is
//! another one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use netloom_engine::{Engine, Snapshot, Wish};
use netloom_model::LabName;

type Wanted = BTreeMap<LabName, Arc<Wish>>;

/// The last count, and what it was made of.
#[derive(Debug, Default)]
pub(crate) struct Census(Mutex<Option<Last>>);

#[derive(Debug)]
struct Last {
    snapshot: Arc<Snapshot>,
    wanted: Arc<Wanted>,
    states: States,
}

/// By state.
#[derive(Debug, Clone, Default)]
pub(super) struct States {
    pub(super) labs: usize,
    pub(super) nodes: BTreeMap<String, usize>,
    pub(super) links: BTreeMap<String, usize>,
}

impl Census {
    /// As it is now.
    pub(super) fn of(&self, engine: &Engine) -> States {
        let (snapshot, wanted) = (engine.inventory().snapshot(), engine.wishes().all());
        let is_same = |last: &&Last| Arc::ptr_eq(&last.snapshot, &snapshot) && Arc::ptr_eq(&last.wanted, &wanted);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(is_same) {
            return last.states.clone();
        }
        let states = States::of(engine, &wanted);
        *last = Some(Last { snapshot, wanted, states: states.clone() });
        states
    }
}

impl States {
    fn of(engine: &Engine, wanted: &Wanted) -> Self {
        let mut states = Self { labs: wanted.len(), ..Self::default() };
        for view in wanted.keys().filter_map(|name| engine.view(name)) {
            for node in &view.nodes {
                *states.nodes.entry(node.state.word().to_owned()).or_default() += 1;
            }
            for link in view.links {
                *states.links.entry(link.state).or_default() += 1;
            }
        }
        states
    }
}
