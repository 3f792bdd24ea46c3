//! What of a lab is not made here, and why. It stands in nobody's way: the rest of the lab is made without it.

use std::fmt;

use netloom_model::{Endpoint, Lab, Link, LinkId};
use serde::{Deserialize, Serialize};

/// A link that is not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The link.
    pub link: LinkId,
    /// What it needs that this host does not have.
    pub needs: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} is left out: it needs {}", self.link, self.needs)
    }
}

/// The links of a lab that are left out, ordered by their id.
pub fn left_out(lab: &Lab) -> Vec<LeftOut> {
    let why = |link: &Link| Some(LeftOut { link: link.id(), needs: needs(link)?.to_owned() });
    lab.links().iter().filter_map(why).collect()
}

/// What a link needs that no host of this version has; nothing if it is made.
pub fn needs(link: &Link) -> Option<&'static str> {
    let far = link.ends().any(|end| matches!(end.at, Endpoint::Remote(_)));
    link.kind.needs().or(far.then_some("a tunnel to another host, which is not made yet"))
}
