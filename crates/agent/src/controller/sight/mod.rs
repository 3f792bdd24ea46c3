//! What has changed for a controller, from one look at the inventory to the next. Pure: whoever looks gives what there is.
//!
//! Only labs that a controller decides in count, and only once each source that knows of them was listed whole: nothing is
//! concluded from absence before that. What was there when the agent started is told to nobody; the controller asks for it
//! itself. From then on each difference from what was told last is told.

mod ends;
mod interfaces;
mod nodes;

use std::collections::BTreeMap;
use std::sync::Arc;

use netloom_engine::{Authority, LabFacts, Snapshot, Source, Wish};
use netloom_model::LabName;

use super::told::Message;
use ends::{End, Hosts, Ports};
use interfaces::Interfaces;
use nodes::Nodes;

/// All wishes, as the engine has them.
pub(super) type Wishes = BTreeMap<LabName, Arc<Wish>>;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Sight {
    labs: BTreeMap<LabName, LabSight>,
}

/// What was seen of one lab.
#[derive(Debug)]
struct LabSight {
    /// At which wish and which facts was looked.
    looked: Option<(Arc<Wish>, u64)>,
    ends: Vec<End>,
    nodes: Nodes,
    interfaces: Interfaces,
}

/// Whether what is seen for the first time has come since the agent started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum First {
    /// It was there before.
    Found,
    /// It is new.
    New,
}

/// What there is of one lab at one moment.
struct Moment<'a> {
    lab: &'a LabName,
    wish: &'a Arc<Wish>,
    facts: Option<&'a LabFacts>,
    /// Counts up with the facts.
    changed: u64,
    hosts: &'a Hosts<'a>,
}

/// What a look at one lab is made from.
struct Look<'a> {
    lab: &'a LabName,
    wish: &'a Wish,
    facts: Option<&'a LabFacts>,
    ends: &'a [End],
    ports: &'a Ports<'a>,
    first: First,
}

impl Sight {
    /// Begins with the labs that are wanted now: what they have was there before.
    pub(super) fn begin(wishes: &Wishes) -> Self {
        let found = wishes.iter().filter(|(_, wish)| is_controllers(wish));
        Self { labs: found.map(|(lab, _)| (lab.clone(), LabSight::new(First::Found))).collect() }
    }

    /// What is to be told after this look, in the order of labs, nodes and interfaces.
    pub(super) fn look(&mut self, wishes: &Wishes, snapshot: &Snapshot) -> Vec<Message> {
        let mut told = Vec::new();
        let hosts = Hosts::of(snapshot);
        for (lab, wish) in wishes.iter().filter(|(_, wish)| is_controllers(wish)) {
            let facts = snapshot.labs.get(lab).map(|facts| &**facts);
            let changed = facts.map_or(0, |facts| facts.changed);
            let known = self.labs.entry(lab.clone()).or_insert_with(|| LabSight::new(First::New));
            let is_same = |(of, at): &(Arc<Wish>, u64)| Arc::ptr_eq(of, wish) && *at == changed;
            if known.looked.as_ref().is_some_and(is_same) || !is_complete(wish, snapshot) {
                continue;
            }
            known.look(&Moment { lab, wish, facts, changed, hosts: &hosts }, &mut told);
        }
        self.labs.retain(|lab, known| match wishes.get(lab) {
            Some(wish) => is_controllers(wish),
            // Of a lab that is not wanted any more the last node goes before the wish does.
            None => known.nodes.take_leave(lab, snapshot.labs.get(lab).map(|facts| &**facts), &mut told),
        });
        told
    }
}

impl LabSight {
    fn new(first: First) -> Self {
        Self { looked: None, ends: Vec::new(), nodes: Nodes::new(first), interfaces: Interfaces::default() }
    }

    fn look(&mut self, moment: &Moment<'_>, told: &mut Vec<Message>) {
        let Moment { lab, wish, facts, changed, hosts } = *moment;
        if self.looked.as_ref().is_none_or(|(of, _)| !Arc::ptr_eq(of, wish)) {
            self.ends = ends::of(wish.whole());
        }
        self.looked = Some((wish.clone(), changed));
        let ports = Ports::of(facts, hosts);
        let first = self.nodes.first();
        let look = Look { lab, wish, facts, ends: &self.ends, ports: &ports, first };
        self.nodes.look(&look, told);
        self.interfaces.look(&look, told);
    }
}

fn is_controllers(wish: &Wish) -> bool {
    matches!(wish.authority, Authority::Controller(_))
}

/// Whether each source that knows of a lab was listed whole at least once.
fn is_complete(wish: &Wish, snapshot: &Snapshot) -> bool {
    let runtimes = wish.lab.nodes().values().filter_map(|node| node.runtime).map(Source::Runtime);
    let switch = wish.whole().has_switch_ports().then_some(Source::Switch);
    snapshot.is_complete(&runtimes.chain([Source::Fabric]).chain(switch).collect())
}

#[cfg(test)]
mod tests;
