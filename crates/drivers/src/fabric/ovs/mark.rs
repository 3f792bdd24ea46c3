//! Marks: how a port or a bridge says that it is ours, and of what; and whose a tag is.
//!
//! In `external_ids`, which Open vSwitch keeps for whoever sets it. Of a port:
//!
//! ```text
//! netloom-instance=<instance>  netloom-lab=<lab>  netloom-link=<link>  netloom-end=<node:interface>
//! ```
//!
//! Of that of a tunnel also `netloom-tunnel`, what its link was made from as JSON: who finds it without the store cannot tell
//! from the interface.
//!
//! Of a bridge `netloom-instance`, if we made it; and of any bridge whose tags we use, one pair for each tag that is claimed:
//!
//! ```text
//! netloom-tag-2050=<instance>/<lab>/<link>
//! ```

use netloom_engine::TunnelMark;
use netloom_model::{LabName, LinkId};
use netloom_ovsdb::{Map, Row};

pub(super) const INSTANCE: &str = "netloom-instance";
const LAB: &str = "netloom-lab";
const LINK: &str = "netloom-link";
const END: &str = "netloom-end";
const TUNNEL: &str = "netloom-tunnel";
const TAG: &str = "netloom-tag-";

/// What a port of ours says of itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortMark {
    pub(super) lab: LabName,
    pub(super) link: LinkId,
}

impl PortMark {
    /// As it is written, with the end that is behind the port, or the tunnel.
    pub(super) fn write(&self, instance: &str, end: &str, tunnel: Option<&TunnelMark>) -> Map {
        let tunnel = tunnel.map(|tunnel| serde_json::to_string(tunnel).expect("plain values serialise"));
        let pairs = [(INSTANCE, instance), (LAB, self.lab.as_str()), (LINK, self.link.as_str()), (END, end)];
        pairs.into_iter().chain(tunnel.as_deref().map(|tunnel| (TUNNEL, tunnel))).collect()
    }

    /// What a row says; `None` of one that carries no mark of this instance.
    pub(super) fn read(row: &Row, instance: &str) -> Option<Self> {
        let ids = row.map("external_ids")?;
        if ids.get_str(INSTANCE) != Some(instance) {
            return None;
        }
        Some(Self { lab: ids.get_str(LAB)?.parse().ok()?, link: LinkId::from_text(ids.get_str(LINK)?) })
    }
}

/// What the mark of a port says of a tunnel.
pub(super) fn tunnel(row: &Row) -> Option<TunnelMark> {
    serde_json::from_str(row.map_string("external_ids", TUNNEL)?).ok()
}

/// The key of a tag among the `external_ids` of a bridge.
pub(super) fn tag_key(tag: u16) -> String {
    format!("{TAG}{tag}")
}

/// The tag that a key is of.
pub(super) fn tag_of(key: &str) -> Option<u16> {
    key.strip_prefix(TAG)?.parse().ok()
}

/// The lab and the link that a claim of this instance is of.
pub(super) fn claimed_for(instance: &str, whose: &str) -> Option<(LabName, LinkId)> {
    let (lab, link) = whose.strip_prefix(instance)?.strip_prefix('/')?.split_once('/')?;
    Some((lab.parse().ok()?, LinkId::from_text(link)))
}

/// Whose a tag is that a link of a lab has claimed.
pub(super) fn claimant(instance: &str, lab: &LabName, link: &LinkId) -> String {
    format!("{instance}/{lab}/{link}")
}
