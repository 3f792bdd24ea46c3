//! How ports were when they were right, as far as this life of the agent has seen: what of that is other when it is made so
//! again was changed by somebody else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use netloom_engine::TunnelMark;
use netloom_model::{LabName, LinkId, PortVlan};

use super::board::Board;
use super::mark::{self, PortMark};
use super::ports::Plug;

/// The ports of this instance, by name.
#[derive(Debug, Default)]
pub(super) struct Made(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// Whether what was there at the start has been looked at.
    has_begun: bool,
    ports: BTreeMap<String, Right>,
}

#[derive(Debug, PartialEq, Eq)]
struct Right {
    bridge: String,
    vlan: PortVlan,
    mark: PortMark,
    tunnel: Option<TunnelMark>,
}

impl Made {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what is there at the start for right.
    pub(super) fn begin(&self, board: &Board<'_>, instance: &str) {
        let mut seen = self.lock();
        if std::mem::replace(&mut seen.has_begun, true) {
            return;
        }
        let ports = board.ports.iter().filter_map(|(name, port)| {
            let mark = PortMark::read(port.row, instance)?;
            let (bridge, tunnel) = (port.bridge.to_owned(), mark::tunnel(port.row));
            Some(((*name).to_owned(), Right { bridge, vlan: port.vlan(), mark, tunnel }))
        });
        // What was made meanwhile is newer.
        for (name, right) in ports {
            seen.ports.entry(name).or_insert(right);
        }
    }

    /// A port is as it is to be. Whether that was so before, and not any more: `was_touched` says that something had to be
    /// done for it.
    pub(super) fn is_right(&self, plug: &Plug, was_touched: bool) -> bool {
        let (bridge, vlan, tunnel) = (plug.bridge.to_string(), plug.vlan.clone(), plug.tunnel.clone());
        let right = Right { bridge, vlan, mark: plug.mark(), tunnel };
        let mut seen = self.lock();
        let same = seen.ports.get(plug.name.as_str()) == Some(&right);
        if !same {
            seen.ports.insert(plug.name.to_string(), right);
        }
        same && was_touched
    }

    /// Links have no ports any more.
    pub(super) fn forget(&self, links: &[(LabName, LinkId)]) {
        let gone: BTreeSet<(&LabName, &LinkId)> = links.iter().map(|(lab, link)| (lab, link)).collect();
        self.lock().ports.retain(|_, right| !gone.contains(&(&right.mark.lab, &right.mark.link)));
    }
}
