//! What links and waits have to know of the nodes of a file, also of those that have mistakes.
//!
//! Each end of a link looks its node up, so that is by hash, and from then on it is known by a number; names in order
//! are wanted only for advice.

use std::borrow::Borrow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ops::Index;
use std::sync::Arc;

use super::diagnostic::Span;
use super::kinds::KindSpec;
use crate::kind::Shape;
use crate::lab::{NetworkMode, RuntimeKind};
use crate::name::NodeName;

/// What is known of one node. Kept small: each end of a link looks at one.
#[derive(Debug)]
pub(super) struct Facts {
    /// Unless it is wrong.
    pub(super) name: Option<NodeName>,
    /// Unknown if the file does not say its kind rightly.
    pub(super) shape: Option<Shape>,
    /// What is known of its kind.
    pub(super) known: Option<Arc<KindSpec>>,
    pub(super) runtime: Option<RuntimeKind>,
    /// Nothing for the one that nodes have if nothing is said.
    pub(super) network_mode: Option<Box<NetworkMode>>,
    /// Where its name stands.
    pub(super) key: Span,
}

/// A name that is looked for by its text: both hash alike.
#[derive(PartialEq, Eq, Hash)]
struct Key(NodeName);

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        self.0.as_str()
    }
}

/// Which node of the file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeIndex(u32);

/// What is known of all nodes, by their names in the file, right or wrong.
#[derive(Default)]
pub(super) struct AllFacts {
    all: Vec<Facts>,
    /// The key and the name that an end gets are one text in memory.
    by_name: HashMap<Key, NodeIndex>,
    /// Those whose names are wrong.
    misnamed: HashMap<String, NodeIndex>,
    /// The names in order, once somebody asked.
    sorted: OnceCell<Vec<String>>,
}

impl AllFacts {
    /// Makes room for so many more.
    pub(super) fn reserve(&mut self, nodes: usize) {
        self.all.reserve(nodes);
        self.by_name.reserve(nodes);
    }

    pub(super) fn insert(&mut self, name: &str, facts: Facts) {
        self.sorted.take();
        let index = NodeIndex(u32::try_from(self.all.len()).expect("a file has at most 100,000 nodes"));
        match &facts.name {
            Some(name) => self.by_name.insert(Key(name.clone()), index),
            None => self.misnamed.insert(name.to_owned(), index),
        };
        self.all.push(facts);
    }

    pub(super) fn find(&self, name: &str) -> Option<NodeIndex> {
        self.by_name.get(name).or_else(|| self.misnamed.get(name)).copied()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Facts> {
        self.find(name).map(|index| &self[index])
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// In the order of the file.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Facts> {
        self.all.iter()
    }

    /// In their order, so that the advice that is made of them does not change from run to run.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let sorted = self.sorted.get_or_init(|| {
            let right = self.by_name.keys().map(|Key(name)| name.as_str());
            let mut names: Vec<String> =
                right.chain(self.misnamed.keys().map(String::as_str)).map(str::to_owned).collect();
            names.sort_unstable();
            names
        });
        sorted.iter().map(String::as_str)
    }
}

impl Index<NodeIndex> for AllFacts {
    type Output = Facts;

    fn index(&self, NodeIndex(index): NodeIndex) -> &Facts {
        &self.all[index as usize]
    }
}
