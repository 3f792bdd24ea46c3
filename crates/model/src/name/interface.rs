//! The name of an interface in the kernel. So short that it is held in place: a lab has two for each link, and looks
//! through all of them for names that are there twice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::Invalid;

/// The most bytes of a name (`IFNAMSIZ` in linux/if.h, less the NUL).
const MAX: usize = 15;

/// A name that the kernel takes for an interface: 1 to 15 bytes, no `/`, no `:`, no white space
/// (`dev_valid_name` in net/core/dev.c), no `%` (`dev_alloc_name` makes a pattern of it).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct InterfaceName {
    /// Filled up with zeros. No name has one in it, so these sort as the texts do.
    bytes: [u8; MAX],
    len: u8,
}

impl InterfaceName {
    /// The text itself.
    ///
    /// # Panics
    /// Never: it was made of a text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).expect("it was made of a text")
    }
}

impl FromStr for InterfaceName {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        check(text)?;
        let mut bytes = [0; MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { bytes, len: u8::try_from(text.len()).unwrap_or_default() })
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> String {
        name.as_str().to_owned()
    }
}

impl Serialize for InterfaceName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("InterfaceName").field(&self.as_str()).finish()
    }
}

impl AsRef<str> for InterfaceName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

fn check(text: &str) -> Result<(), Invalid> {
    const WHAT: &str = "interface name";
    if text.is_empty() || text == "." || text == ".." {
        return Err(Invalid::new(WHAT, text, "is not a name that the kernel takes"));
    }
    if text.len() > MAX {
        return Err(Invalid::new(WHAT, text, format!("has {} bytes; the kernel takes at most {MAX}", text.len())));
    }
    match text.chars().find(|c| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control()) {
        Some(bad) => Err(Invalid::new(WHAT, text, format!("contains `{}`", bad.escape_debug()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::proptest;

    use super::InterfaceName;

    proptest! {
        #[test]
        fn names_are_the_texts_they_are_made_of_and_sort_as_those(a in "[ -~é]{0,16}", b in "[a-c]{1,15}") {
            let names = [a.parse::<InterfaceName>(), b.parse::<InterfaceName>()];
            if let [Ok(first), Ok(second)] = &names {
                assert_eq!((first.as_str(), second.as_str()), (a.as_str(), b.as_str()));
                assert_eq!(first.cmp(second), a.cmp(&b));
            }
        }
    }
}
