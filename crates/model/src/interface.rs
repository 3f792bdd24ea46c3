//! The interface of a link's end: the name in the file and the name in the kernel, which are not always the same.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lab::hex;
use crate::name::{InterfaceName, Invalid};

const WHAT: &str = "interface name";

/// An interface of a link's end: its name in the kernel and, where that had to differ, the name the file gives. On the
/// wire it is the file's name, with the kernel's beside it where one does not follow from the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Interface {
    kernel: InterfaceName,
    /// The name in the file, where it is another.
    given: Option<Box<Given>>,
}

/// A name in the file that is not that of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Given {
    /// One that the kernel does not take, but keeps as an altname.
    Altname(String),
    /// The name that the device itself has for it.
    Alias(String),
}

impl Interface {
    /// The longest name that can be kept as an altname (ALTIFNAMSIZ in linux/if.h, less the NUL).
    pub const MAX: usize = 127;

    /// An interface that the device in the node calls `alias`.
    pub fn aliased(alias: &str, kernel: InterfaceName) -> Result<Self, Invalid> {
        check_given(alias)?;
        let given = (kernel.as_str() != alias).then(|| Box::new(Given::Alias(alias.to_owned())));
        Ok(Self { kernel, given })
    }

    /// The name in the kernel. For names that the kernel does not take it is `nl` and 12 hex digits of their hash.
    pub fn kernel(&self) -> &InterfaceName {
        &self.kernel
    }

    /// The name that the interface also has in the kernel, when the one in the file is none that it takes.
    pub fn altname(&self) -> Option<&str> {
        match self.given.as_deref()? {
            Given::Altname(name) => Some(name),
            Given::Alias(_) => None,
        }
    }

    /// The name that the device has for it, when the file uses that.
    pub fn alias(&self) -> Option<&str> {
        match self.given.as_deref()? {
            Given::Alias(name) => Some(name),
            Given::Altname(_) => None,
        }
    }

    /// The name as the file has it.
    pub fn display(&self) -> &str {
        match self.given.as_deref() {
            None => self.kernel.as_str(),
            Some(Given::Altname(name) | Given::Alias(name)) => name,
        }
    }
}

fn check_given(text: &str) -> Result<(), Invalid> {
    if text.is_empty() || text == "." || text == ".." {
        return Err(Invalid::new(WHAT, text, "is not a name that the kernel takes"));
    }
    if text.len() > Interface::MAX {
        let why = format!("has {} bytes; at most {} can be kept", text.len(), Interface::MAX);
        return Err(Invalid::new(WHAT, text, why));
    }
    match text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        Some(bad) => Err(Invalid::new(WHAT, text, format!("contains `{}`", bad.escape_debug()))),
        None => Ok(()),
    }
}

impl FromStr for Interface {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Ok(kernel) = text.parse() {
            return Ok(Self { kernel, given: None });
        }
        check_given(text)?;
        let kernel = format!("nl{}", &hex(text.as_bytes())[..12]);
        Ok(Self { kernel: kernel.parse()?, given: Some(Box::new(Given::Altname(text.to_owned()))) })
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.display())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "the name of an interface, or a map of its `name` and that in the `kernel`")]
enum Wire {
    Name(String),
    Alias { name: String, kernel: InterfaceName },
}

impl TryFrom<Wire> for Interface {
    type Error = Invalid;
    fn try_from(wire: Wire) -> Result<Self, Invalid> {
        match wire {
            Wire::Name(name) => name.parse(),
            Wire::Alias { name, kernel } => Self::aliased(&name, kernel),
        }
    }
}

impl From<Interface> for Wire {
    fn from(interface: Interface) -> Self {
        match interface.given.map(|given| *given) {
            None => Self::Name(interface.kernel.into()),
            Some(Given::Altname(name)) => Self::Name(name),
            Some(Given::Alias(name)) => Self::Alias { name, kernel: interface.kernel },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_keeps_both_names_on_the_wire_and_a_plain_name_is_one() {
        let alias = Interface::aliased("Gi2", "eth1".parse().unwrap()).unwrap();
        assert_eq!((alias.display(), alias.kernel().as_str(), alias.altname()), ("Gi2", "eth1", None));
        for (interface, wire) in [
            (alias, r#"{"name":"Gi2","kernel":"eth1"}"#),
            ("eth1".parse().unwrap(), r#""eth1""#),
            ("ethernet-1/2".parse().unwrap(), r#""ethernet-1/2""#),
            (Interface::aliased("eth1", "eth1".parse().unwrap()).unwrap(), r#""eth1""#),
        ] {
            assert_eq!(serde_json::to_string(&interface).unwrap(), wire);
            assert_eq!(serde_json::from_str::<Interface>(wire).unwrap(), interface);
        }
        assert!(serde_json::from_str::<Interface>(r#"{"name":"a b","kernel":"eth1"}"#).is_err());
        assert!(serde_json::from_str::<Interface>(r#"{"name":"Gi2","kernel":"a/b"}"#).is_err());
    }
}
