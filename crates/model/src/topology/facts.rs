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
    /// Those that the file names otherwise: their names are wrong, or say less than there is.
    otherwise: HashMap<String, NodeIndex>,
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
        if let Some(name) = &facts.name {
            self.by_name.insert(Key(name.clone()), index);
        }
        if facts.name.as_ref().map(NodeName::as_str) != Some(name) {
            self.otherwise.insert(name.to_owned(), index);
        }
        self.all.push(facts);
    }

    pub(super) fn find(&self, name: &str) -> Option<NodeIndex> {
        self.by_name.get(name).or_else(|| self.otherwise.get(name)).copied()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Facts> {
        self.find(name).map(|index| &self[index])
    }

    /// In whose network namespace the interfaces of a node are: its own, or that of the node that it shares it with;
    /// nothing for the host's.
    pub(super) fn home(&self, node: NodeIndex) -> Option<NodeIndex> {
        let mut at = node;
        // Nodes that share in a circle are said elsewhere.
        for _ in 0..=self.all.len() {
            let facts = &self[at];
            let inner =
                facts.name.as_ref().filter(|_| facts.shape == Some(Shape::Bridge)).and_then(NodeName::inner_bridge);
            let shares = inner.is_some() || facts.runtime == Some(RuntimeKind::Docker);
            let other = match facts.network_mode.as_deref() {
                Some(NetworkMode::Container(other)) if shares => other.as_str(),
                Some(NetworkMode::Host) if shares && inner.is_none() => return None,
                _ => match inner {
                    Some((_, owner)) => owner,
                    None if matches!(facts.shape, Some(Shape::Runs | Shape::External)) => return Some(at),
                    None => return Some(node),
                },
            };
            match self.find(other) {
                Some(next) => at = next,
                // That of a container outside: nothing is known of what else is in it.
                None => return Some(node),
            }
        }
        Some(node)
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
                right.chain(self.otherwise.keys().map(String::as_str)).map(str::to_owned).collect();
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
