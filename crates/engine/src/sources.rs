//! Which sources have to have been seen before anything is concluded about a lab.
//!
//! What is embedded in the agent always has: links, names and namespaces are everyone's. A runtime that is another program
//! (Docker, libvirt) only where the lab has nodes on it, and the switch only where it has links on that: one that does not
//! answer holds up nobody else.

use std::collections::BTreeSet;

use netloom_model::{Lab, LabName, RuntimeKind};

use crate::desired::Wish;
use crate::engine::{Engine, Shared};
use crate::fact::Source;
use crate::snapshot::Snapshot;

impl Shared {
    /// The sources that say what there is of a lab: as it is wanted, as it was wanted, and as far as it was seen.
    pub(crate) fn sources_of<'a>(
        &self,
        name: &LabName,
        wishes: impl IntoIterator<Item = &'a Wish>,
        snapshot: &Snapshot,
    ) -> BTreeSet<Source> {
        let wishes: Vec<&Wish> = wishes.into_iter().collect();
        let is_switched = wishes.iter().any(|wish| wish.whole().has_switch_ports())
            || snapshot.switch.ports_of(name).next().is_some()
            || snapshot.switch.tags_of(name).next().is_some();
        let wanted = wishes.into_iter().flat_map(|wish| runtimes(&wish.lab));
        let seen = snapshot.labs.get(name).into_iter().flat_map(|facts| facts.nodes.values().map(|fact| fact.runtime));
        let of_lab: BTreeSet<Source> = wanted.chain(seen).map(Source::Runtime).collect();
        let counts = |source: &&Source| match source {
            Source::Switch => is_switched,
            source => is_embedded(**source) || of_lab.contains(source),
        };
        self.sources.iter().filter(counts).copied().collect()
    }

    /// See [`Engine::counts`].
    pub(crate) fn counts(&self, source: Source, snapshot: &Snapshot) -> bool {
        let answered = || snapshot.sources.get(&source).is_some_and(|state| state.listed.is_some());
        let of = |runtime| source == Source::Runtime(runtime) || source == Source::Images(runtime);
        let is_switched = |wish: &Wish| source == Source::Switch && wish.whole().has_switch_ports();
        let wanted = |wish: &Wish| runtimes(&wish.lab).any(of) || is_switched(wish);
        is_embedded(source) || answered() || self.wishes.all().values().any(|wish| wanted(wish))
    }
}

impl Engine {
    /// Whether a source counts for what this agent can do: what is embedded does; a runtime that is another program does
    /// from when it first answered, and as long as a lab has nodes on it.
    pub fn counts(&self, source: Source, snapshot: &Snapshot) -> bool {
        self.shared.counts(source, snapshot)
    }
}

fn runtimes(lab: &Lab) -> impl Iterator<Item = RuntimeKind> {
    lab.nodes().values().filter_map(|node| node.runtime)
}

fn is_embedded(source: Source) -> bool {
    matches!(source, Source::Fabric | Source::Runtime(RuntimeKind::Namespace))
}
