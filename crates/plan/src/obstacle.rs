//! What stands in the way of a plan, found before anything is touched.

use std::fmt;

use netloom_model::{Endpoint, InterfaceName, LinkId};
use serde::{Deserialize, Serialize};

use crate::left_out::LeftOut;
use crate::state::{Desired, Observed};

/// A reason why a desired lab cannot be made on this host as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "obstacle")]
pub enum Obstacle {
    /// A link wants an interface on the host whose name something else has.
    InterfaceTaken {
        /// The link.
        link: LinkId,
        /// The name.
        interface: InterfaceName,
    },
    /// A bridge wants the name of an interface that is no bridge of the lab's.
    BridgeTaken {
        /// The name.
        bridge: InterfaceName,
    },
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InterfaceTaken { link, interface } => write!(
                f,
                "link {link}: the host already has an interface `{interface}` that is not of this lab; \
                 choose another name, or remove it (`ip link show {interface}`)"
            ),
            Self::BridgeTaken { bridge } => write!(
                f,
                "bridge {bridge}: the host has an interface of that name that is not a bridge; choose another name"
            ),
        }
    }
}

/// Finds everything that stands in the way.
pub fn obstacles(desired: &Desired<'_>, observed: &Observed) -> Vec<Obstacle> {
    let Some(lab) = desired.lab else { return Vec::new() };
    let left_out = LeftOut::of(lab);
    let mut found = Vec::new();
    for link in left_out.made(lab) {
        let id = link.id();
        for end in link.ends().filter(|end| matches!(end.at, Endpoint::Host | Endpoint::Bridge(_))) {
            if observed.taken.contains(end.interface.kernel()) {
                found.push(Obstacle::InterfaceTaken { link: id.clone(), interface: end.interface.kernel().clone() });
            }
        }
    }
    for (name, node) in lab.nodes() {
        if let Some(bridge) = node.host_bridge(name)
            && observed.taken.contains(&bridge)
            && !observed.bridges.get(&bridge).is_some_and(|there| there.exists)
        {
            found.push(Obstacle::BridgeTaken { bridge });
        }
    }
    found
}
