//! Names and small values that cannot be wrong: each is checked once, when it is made.
//!
//! Nothing behind these types has to look again whether a name may be a file name, an interface
//! name or a part of a cgroup path. Names are shared, not copied: a lab's are in every fact, step and event.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

mod interface;

pub use interface::InterfaceName;

/// Why a text is not a valid name, address or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{text}` {why}")]
pub struct Invalid {
    /// What the text was meant to be, for example "node name".
    pub what: &'static str,
    /// The text, cut to 80 characters.
    pub text: String,
    /// What is wrong with it and what would be right.
    pub why: String,
}

impl Invalid {
    pub(crate) fn new(what: &'static str, text: &str, why: impl Into<String>) -> Self {
        let mut shown: String = text.chars().take(80).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self { what, text: shown, why: why.into() }
    }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                $check(&text)?;
                Ok(Self(text.into()))
            }
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                $check(text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_type!(
    /// The name of a lab: `[A-Za-z0-9][A-Za-z0-9-._]*`, at most 63 characters.
    LabName,
    check_lab_name
);
text_type!(
    /// The name of a node within its lab: the same alphabet as a lab name, at most 63 characters; or two such names
    /// with a `|` between, for a bridge inside of a node.
    NodeName,
    check_node_name
);
text_type!(
    /// The name of a kind of nodes: `[a-z0-9][a-z0-9-._]*`, at most 63 characters.
    Kind,
    check_kind_name
);
/// The longest lab and node name; a node name is a host name (63: RFC 1035 label).
pub const NAME_MAX: usize = 63;

fn check_label(what: &'static str, text: &str, extra: &str) -> Result<(), Invalid> {
    let Some(first) = text.chars().next() else {
        return Err(Invalid::new(what, text, "is empty"));
    };
    if text.chars().count() > NAME_MAX {
        let n = text.chars().count();
        return Err(Invalid::new(what, text, format!("has {n} characters; at most {NAME_MAX} are possible")));
    }
    if !first.is_ascii_alphanumeric() {
        return Err(Invalid::new(what, text, format!("starts with `{first}`; it must start with a letter or a digit")));
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._".contains(*c) || extra.contains(*c))) {
        Some(bad) => Err(Invalid::new(
            what,
            text,
            format!("contains `{}`; letters, digits, `-`, `.` and `_` are possible", bad.escape_debug()),
        )),
        None => Ok(()),
    }
}

fn check_lab_name(text: &str) -> Result<(), Invalid> {
    check_label("lab name", text, "")
}

fn check_node_name(text: &str) -> Result<(), Invalid> {
    const WHAT: &str = "node name";
    let Some((bridge, owner)) = text.split_once('|') else { return check_label(WHAT, text, "") };
    for (part, what) in [(bridge, "bridge"), (owner, "node")] {
        check_label(WHAT, part, "").map_err(|invalid| {
            let why = format!("names the {what} `{part}`, which {}; write `bridge|node`", invalid.why);
            Invalid::new(WHAT, text, why)
        })?;
    }
    check_label(WHAT, text, "|")
}

fn check_kind_name(text: &str) -> Result<(), Invalid> {
    const WHAT: &str = "kind";
    check_label(WHAT, text, "")?;
    match text.chars().find(char::is_ascii_uppercase) {
        Some(bad) => Err(Invalid::new(WHAT, text, format!("contains `{bad}`; write it in lower-case letters"))),
        None => Ok(()),
    }
}

impl NodeName {
    /// The bridge and the node it is in, for a name of the form `bridge|node`.
    pub fn inner_bridge(&self) -> Option<(&str, &str)> {
        self.as_str().split_once('|')
    }
}

/// A MAC address (EUI-48), written `aa:bb:cc:dd:ee:ff`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        const WHAT: &str = "MAC address";
        let parts: Vec<&str> = text.split([':', '-']).collect();
        let bad = |why: &str| Invalid::new(WHAT, text, why);
        let mut octets = [0_u8; 6];
        if parts.len() != 6 {
            return Err(bad("is not six pairs of hexadecimal digits, such as `02:00:00:00:00:0a`"));
        }
        for (octet, part) in octets.iter_mut().zip(&parts) {
            *octet = u8::from_str_radix(part, 16)
                .ok()
                .filter(|_| part.len() <= 2 && !part.starts_with('+'))
                .ok_or_else(|| bad("is not six pairs of hexadecimal digits, such as `02:00:00:00:00:0a`"))?;
        }
        if octets[0] & 1 == 1 {
            return Err(bad("is a multicast address; the first octet of an interface's address must be even"));
        }
        if octets == [0; 6] {
            return Err(bad("is all zeros"));
        }
        Ok(Self(octets))
    }
}

impl TryFrom<String> for Mac {
    type Error = Invalid;
    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.0.map(|octet| format!("{octet:02x}"));
        f.pad(&octets.join(":"))
    }
}

macro_rules! net_type {
    ($(#[$doc:meta])* $name:ident, $addr:ty, $what:literal, $max:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name {
            /// The address of the interface itself.
            pub address: $addr,
            /// The length of its network's prefix, in bits.
            pub prefix: u8,
        }

        impl FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                let bad = |why: String| Invalid::new($what, text, why);
                let Some((address, prefix)) = text.split_once('/') else {
                    return Err(bad(format!("has no prefix length; write for example `{}`", $example)));
                };
                let address = address
                    .parse()
                    .map_err(|_| bad(format!("is not an address; write for example `{}`", $example)))?;
                let prefix: u8 = prefix
                    .parse()
                    .ok()
                    .filter(|p| *p <= $max && !prefix.starts_with('+'))
                    .ok_or_else(|| bad(format!("has the prefix length `{prefix}`; it must be 0 to {}", $max)))?;
                Ok(Self { address, prefix })
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(net: $name) -> String {
                net.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.address, self.prefix)
            }
        }
    };
}

net_type!(
    /// An IPv4 address with its prefix length, written `10.0.0.1/24`.
    Ipv4Net, Ipv4Addr, "IPv4 address", 32, "10.0.0.1/24"
);
net_type!(
    /// An IPv6 address with its prefix length, written `2001:db8::1/64`.
    Ipv6Net, Ipv6Addr, "IPv6 address", 128, "2001:db8::1/64"
);

/// The MTU of a link in bytes: 68 (RFC 791: what every IPv4 host must take) to 65,535 (veth's limit).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Mtu(u32);

impl Mtu {
    /// The MTU of a link that names none, as the topology format says.
    pub const DEFAULT: Self = Self(9500);

    /// The MTU in bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Mtu {
    type Error = Invalid;
    fn try_from(bytes: u32) -> Result<Self, Invalid> {
        if (68..=65535).contains(&bytes) {
            Ok(Self(bytes))
        } else {
            Err(Invalid::new("MTU", &bytes.to_string(), "is out of range; it must be 68 to 65535"))
        }
    }
}

impl From<Mtu> for u32 {
    fn from(mtu: Mtu) -> u32 {
        mtu.0
    }
}
