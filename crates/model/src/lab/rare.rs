//! Large parts of a node of which most nodes say nothing.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Config, Container};
use crate::kind::Device;

/// A value that is mostly its default: that takes no room. Copies share any other until one of them is changed.
#[derive(Clone)]
pub struct Rare<T>(Option<Arc<T>>);

/// A type with one default in memory for all.
pub trait Blank: Clone + Default + PartialEq + 'static {
    /// The default.
    fn blank() -> &'static Self;
}

macro_rules! blank {
    ($($type:ty),*) => {
        $(impl Blank for $type {
            fn blank() -> &'static Self {
                static BLANK: LazyLock<$type> = LazyLock::new(<$type>::default);
                &BLANK
            }
        })*
    };
}

blank!(Container, Config, Device);

impl<T> Default for Rare<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Blank> From<T> for Rare<T> {
    fn from(value: T) -> Self {
        Self((value != *T::blank()).then(|| Arc::new(value)))
    }
}

impl<T: Blank> Deref for Rare<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(value) => value,
            None => T::blank(),
        }
    }
}

impl<T: Blank> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(self.0.get_or_insert_default())
    }
}

impl<T: Blank> PartialEq for Rare<T> {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => true,
            _ => **self == **other,
        }
    }
}

impl<T: Blank + Eq> Eq for Rare<T> {}

impl<T: Blank + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl<T: Blank + Serialize> Serialize for Rare<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
    }
}

impl<'de, T: Blank + Deserialize<'de>> Deserialize<'de> for Rare<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::Rare;
    use crate::lab::Container;

    #[test]
    fn a_copy_that_is_changed_leaves_the_others_as_they_are() {
        let blank = Rare::<Container>::default();
        let mut changed = blank.clone();
        changed.auto_remove = true;
        let mut again = changed.clone();
        again.auto_remove = false;
        assert!(changed.auto_remove && !blank.auto_remove);
        assert_eq!(again, blank);
        assert_ne!(changed, blank);
    }

    #[test]
    fn it_is_on_the_wire_what_is_in_it() {
        let container = Container { auto_remove: true, ..Container::default() };
        let (rare, json) = (Rare::from(container.clone()), serde_json::to_string(&container).unwrap());
        assert_eq!(serde_json::to_string(&rare).unwrap(), json);
        assert_eq!(serde_json::from_str::<Rare<Container>>(&json).unwrap(), rare);
    }
}
