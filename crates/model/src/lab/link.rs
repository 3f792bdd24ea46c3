//! Links, and what they end on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{LinkKind, Stitch, Vars, is_default};
use crate::interface::Interface;
use crate::name::{Ipv4Net, Ipv6Net, Mac, Mtu, NodeName};

/// One link with its one or two ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The first end; of a `dummy` the only one.
    pub a: End,
    /// The second end; `None` for a link that ends in itself (`dummy`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub b: Option<End>,
    /// MTU of both ends.
    #[serde(default = "default_mtu")]
    pub mtu: Mtu,
    /// Labels, free text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it is made of, where its ends do not say it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: LinkKind,
    /// Data of the user's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: Vars,
}

fn default_mtu() -> Mtu {
    Mtu::DEFAULT
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// What it ends on.
    pub at: Endpoint,
    /// The interface there.
    pub interface: Interface,
    /// Its MAC address: given, or derived from lab, node and interface by [`derived_mac`](super::derived_mac).
    pub mac: Mac,
    /// Its IPv4 address, if the file gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Net>,
    /// Its IPv6 address, if the file gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Net>,
    /// Data of the user's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: Vars,
    /// Where its interface is, if what it ends on shares the network namespace of another; found out with the lab
    /// (see [`End::home`]).
    #[serde(skip)]
    pub shared: Option<Endpoint>,
}

/// What a link can end on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Endpoint {
    /// In the network namespace of a node that runs.
    Node(NodeName),
    /// In the root namespace of the host.
    Host,
    /// A port of the bridge that a node of kind `bridge` or `ovs-bridge` is; the interface lives where the bridge is.
    Bridge(NodeName),
    /// On another host; reached through a tunnel.
    Remote(String),
}

impl Endpoint {
    /// The node that this endpoint names, also when it is a bridge.
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Node(node) | Self::Bridge(node) => Some(node),
            Self::Host | Self::Remote(_) => None,
        }
    }
}

/// The name of a link: its ends as `node:interface` (the host is `host`), sorted and joined by `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(Arc<str>);

impl LinkId {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id that was read back from a mark or a store.
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl End {
    /// `node:interface`, the way a person names this end.
    pub fn label(&self) -> String {
        self.label_parts().concat()
    }

    /// The same in parts.
    pub(crate) fn label_parts(&self) -> [&str; 3] {
        let place = match &self.at {
            Endpoint::Node(node) | Endpoint::Bridge(node) => node.as_str(),
            Endpoint::Host => "host",
            Endpoint::Remote(peer) => peer,
        };
        [place, ":", self.interface.display()]
    }
}

impl Link {
    /// The link's name.
    pub fn id(&self) -> LinkId {
        let mut text = String::new();
        self.write_id(&mut text);
        LinkId(text.into())
    }

    /// Appends the text of its id. Without the labels on their own: a lab is sorted by it.
    pub(super) fn write_id(&self, to: &mut String) {
        fn bytes(label: [&str; 3]) -> impl Iterator<Item = u8> {
            label.into_iter().flat_map(str::bytes)
        }
        let a = self.a.label_parts();
        let Some(b) = &self.b else { return to.extend(a) };
        let b = b.label_parts();
        let (first, second) = if bytes(a).le(bytes(b)) { (a, b) } else { (b, a) };
        to.extend(first.into_iter().chain(["-"]).chain(second));
    }

    /// What of it is on the host beside its ends, if it is stitched to a tunnel.
    pub fn stitch(&self) -> Option<Stitch> {
        matches!(self.kind, LinkKind::VxlanStitch(_)).then(|| Stitch::of(&self.a))
    }

    /// Its one or two ends.
    pub fn ends(&self) -> impl Iterator<Item = &End> {
        std::iter::once(&self.a).chain(&self.b)
    }
}
