//! Sets of atoms.

use super::{Atom, Uuid};

/// Atoms without an order and without repetition. A single atom is a set of one; an optional value is a set of one or
/// none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Set(
    /// In order, each once. No tree: most sets have one element, and a snapshot has many thousands of them.
    Vec<Atom>,
);

impl Set {
    /// The empty set.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many there are in it.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is in it.
    pub fn contains(&self, atom: &Atom) -> bool {
        self.0.binary_search(atom).is_ok()
    }

    /// The one that is in it, if it is one.
    pub fn as_one(&self) -> Option<&Atom> {
        if let [one] = self.0.as_slice() { Some(one) } else { None }
    }

    /// All in it, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Atom> {
        self.0.iter()
    }

    /// The rows that it names.
    pub fn uuids(&self) -> impl Iterator<Item = Uuid> {
        self.0.iter().filter_map(Atom::as_uuid)
    }

    /// The texts in it.
    pub fn strings(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(Atom::as_str)
    }

    /// The whole numbers in it.
    pub fn integers(&self) -> impl Iterator<Item = i64> {
        self.0.iter().filter_map(Atom::as_integer)
    }

    /// Puts one in; says whether it was not there.
    pub fn insert(&mut self, atom: impl Into<Atom>) -> bool {
        let atom = atom.into();
        match self.0.binary_search(&atom) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, atom);
                true
            }
        }
    }

    /// Takes one out; says whether it was there.
    pub fn remove(&mut self, atom: &Atom) -> bool {
        self.0.binary_search(atom).is_ok_and(|at| {
            self.0.remove(at);
            true
        })
    }

    /// Those that are in exactly one of two sets: what lies between them, or what lies behind the way from one by that.
    #[must_use]
    pub fn symmetric_difference(&self, other: &Self) -> Self {
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        let mut found = Vec::new();
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            match a.cmp(b) {
                std::cmp::Ordering::Less => found.extend(left.next().cloned()),
                std::cmp::Ordering::Greater => found.extend(right.next().cloned()),
                std::cmp::Ordering::Equal => {
                    left.next();
                    right.next();
                }
            }
        }
        found.extend(left.chain(right).cloned());
        Self(found)
    }
}

impl<A: Into<Atom>> FromIterator<A> for Set {
    fn from_iter<I: IntoIterator<Item = A>>(atoms: I) -> Self {
        let mut atoms: Vec<Atom> = atoms.into_iter().map(Into::into).collect();
        atoms.sort_unstable();
        atoms.dedup();
        Self(atoms)
    }
}

impl<A: Into<Atom>, const N: usize> From<[A; N]> for Set {
    fn from(atoms: [A; N]) -> Self {
        atoms.into_iter().collect()
    }
}

impl From<Atom> for Set {
    fn from(atom: Atom) -> Self {
        Self(vec![atom])
    }
}

impl<'s> IntoIterator for &'s Set {
    type Item = &'s Atom;
    type IntoIter = std::slice::Iter<'s, Atom>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
