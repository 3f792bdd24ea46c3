//! What all plans of one wish need to know of it, reckoned once: fingerprints, and the hash of the names file.
//!
//! A lab is planned again whenever something of it is seen to change, and edited link by link. Hashing each node and
//! link took most of the time of both.

use std::collections::BTreeMap;

use netloom_model::{Lab, LinkId, NodeName};

use crate::entries::Entries;
use crate::fingerprint::{LinkFingerprint, NodeFingerprint};
use crate::names::{names, names_hash};

/// The fingerprints of a lab as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prints {
    pub(crate) nodes: BTreeMap<NodeName, NodeFingerprint>,
    pub(crate) links: BTreeMap<LinkId, LinkFingerprint>,
    pub(crate) names: String,
    pub(crate) entries: Option<String>,
}

/// What prints are of.
#[derive(Debug, Clone, Copy)]
pub struct Printed<'a> {
    /// The lab.
    pub lab: &'a Lab,
    /// As in [`crate::Desired`].
    pub rebuild: u64,
    /// As in [`crate::Desired`].
    pub restarts: &'a BTreeMap<NodeName, u64>,
}

impl Printed<'_> {
    fn restarts_of(&self, node: &NodeName) -> u64 {
        self.restarts.get(node).copied().unwrap_or_default()
    }
}

impl Prints {
    /// Reckons them all.
    pub fn of(wanted: Printed<'_>) -> Self {
        Self::reckon(wanted, None)
    }

    /// Those of what follows `before`, of which these are: what is the same there is not reckoned again.
    #[must_use]
    pub fn then(&self, before: Printed<'_>, wanted: Printed<'_>) -> Self {
        Self::reckon(wanted, (before.rebuild == wanted.rebuild).then_some((self, before)))
    }

    fn reckon(wanted: Printed<'_>, known: Option<(&Self, Printed<'_>)>) -> Self {
        let lab = wanted.lab;
        let nodes = lab.nodes().iter().map(|(name, node)| {
            let known = known.filter(|(_, before)| {
                before.lab.nodes().get(name) == Some(node) && before.restarts_of(name) == wanted.restarts_of(name)
            });
            let print = known.and_then(|(prints, _)| prints.nodes.get(name).cloned());
            let print = print.unwrap_or_else(|| NodeFingerprint::of(node, wanted.rebuild, wanted.restarts_of(name)));
            (name.clone(), print)
        });
        // Links are in the order of their ids, in both labs.
        let mut others =
            known.into_iter().flat_map(|(prints, before)| before.lab.links().iter().zip(&prints.links)).peekable();
        let links = lab.links().iter().map(|link| {
            let id = link.id();
            while others.next_if(|(_, (other, _))| **other < id).is_some() {}
            let same = others.peek().filter(|(other, _)| *other == link);
            let print =
                same.map_or_else(|| LinkFingerprint::of(link, wanted.rebuild), |(_, (_, print))| (*print).clone());
            (id, print)
        });
        let entries = Entries::of(lab).map(|entries| entries.hash());
        Self { nodes: nodes.collect(), links: links.collect(), names: names_hash(&names(lab)), entries }
    }
}
