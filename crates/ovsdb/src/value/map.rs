//! Maps from atoms to atoms.

use super::Atom;

/// Values by key, without an order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Map(
    /// In the order of the keys, each once.
    Vec<(Atom, Atom)>,
);

impl Map {
    /// The empty map.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many keys it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no keys.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    pub fn get(&self, key: &Atom) -> Option<&Atom> {
        self.at(key).ok().map(|at| &self.0[at].1)
    }

    /// The text of a key, in a map from texts to texts.
    pub fn get_str(&self, key: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(own, _)| own.cmp_str(key)).ok()?;
        self.0[at].1.as_str()
    }

    /// All keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&Atom, &Atom)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// All keys and values, in a map from texts to texts.
    pub fn strings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().filter_map(|(key, value)| Some((key.as_str()?, value.as_str()?)))
    }

    /// Gives a key a value; gives back the one that it had.
    pub fn insert(&mut self, key: impl Into<Atom>, value: impl Into<Atom>) -> Option<Atom> {
        let (key, value) = (key.into(), value.into());
        match self.at(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Takes a key out; gives back the value that it had.
    pub fn remove(&mut self, key: &Atom) -> Option<Atom> {
        self.at(key).ok().map(|at| self.0.remove(at).1)
    }

    /// What this map becomes by a difference: a pair that it has goes, a key that it has gets another value, others come.
    #[must_use]
    pub fn patched(&self, difference: &Self) -> Self {
        let mut map = self.clone();
        for (key, value) in &difference.0 {
            match map.at(key) {
                Ok(at) if map.0[at].1 == *value => drop(map.0.remove(at)),
                Ok(at) => map.0[at].1 = value.clone(),
                Err(at) => map.0.insert(at, (key.clone(), value.clone())),
            }
        }
        map
    }

    /// The difference that makes another map of this one: what [`Self::patched`] needs.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let gone = self.iter().filter(|(key, _)| other.get(key).is_none());
        let new = other.iter().filter(|(key, value)| self.get(key) != Some(*value));
        gone.chain(new).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    fn at(&self, key: &Atom) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| own.cmp(key))
    }
}

/// Of a key that comes more than once the last value counts.
impl<K: Into<Atom>, V: Into<Atom>> FromIterator<(K, V)> for Map {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(Atom, Atom)> = pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        // Stable: the last of equal keys stays the last.
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        Self(pairs)
    }
}

impl<K: Into<Atom>, V: Into<Atom>, const N: usize> From<[(K, V); N]> for Map {
    fn from(pairs: [(K, V); N]) -> Self {
        pairs.into_iter().collect()
    }
}
