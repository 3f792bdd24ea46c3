//! What a link has on the host's switch, read back from its ports and from what is claimed for it: bridge, tag, tunnel. Pure.
//!
//! The tag is what the claim and all ports say. Where somebody has taken the claim away, the ports alone do, if nobody else of
//! ours has their tag.

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{End, Endpoint, InterfaceName, LabName, LinkId, PortVlan, SwitchPort, Vars, Vlan};

use super::link::splits;
use crate::driver::{Joins, TagClaim};
use crate::fact::{Place, PortFact, SwitchPortFact, SwitchTagFact, TunnelMark};
use crate::snapshot::SeenLink;
use crate::switchboard::Switchboard;

/// What a link has on the switch.
#[derive(Debug)]
pub(super) struct OnSwitch {
    pub(super) bridge: InterfaceName,
    pub(super) tag: u16,
    pub(super) tunnel: Option<TunnelMark>,
    /// The claim of its tag, if it is lost.
    pub(super) lost: Option<TagClaim>,
}

/// What the switch has of ours, as the links of one lab are read from it.
pub(super) struct Board<'a> {
    pub(super) switch: &'a Switchboard,
    /// What is claimed for each of them.
    claims: BTreeMap<&'a LinkId, Vec<&'a SwitchTagFact>>,
    /// Whose each tag of a bridge is, by claims and by ports.
    users: BTreeMap<(&'a InterfaceName, u16), BTreeSet<(&'a LabName, &'a LinkId)>>,
}

impl<'a> Board<'a> {
    pub(super) fn of(lab: &LabName, switch: &'a Switchboard) -> Self {
        let mut board = Self { switch, claims: BTreeMap::new(), users: BTreeMap::new() };
        for claim in switch.tags() {
            board.users.entry((&claim.bridge, claim.tag)).or_default().insert((&claim.lab, &claim.link));
            if &claim.lab == lab {
                board.claims.entry(&claim.link).or_default().push(claim);
            }
        }
        for port in switch.ports() {
            let PortVlan { tag, trunks, .. } = &port.vlan;
            for tag in tag.iter().chain(trunks) {
                board.users.entry((&port.bridge, *tag)).or_default().insert((&port.lab, &port.link));
            }
        }
        board
    }
}

/// The interfaces on the host by which a link may be on the switch: they are none of its ends.
pub(super) struct Ports<'a> {
    lab: &'a LabName,
    id: &'a LinkId,
    seen: &'a SeenLink,
    board: &'a Board<'a>,
    names: BTreeSet<InterfaceName>,
}

impl<'a> Ports<'a> {
    /// Those of a link, whichever two ends its id may be taken apart into.
    pub(super) fn of(lab: &'a LabName, id: &'a LinkId, seen: &'a SeenLink, board: &'a Board<'a>) -> Self {
        Self { lab, id, seen, board, names: names(lab, id) }
    }

    /// Whether an interface is one of them.
    pub(super) fn has(&self, port: &PortFact) -> bool {
        port.place == Place::Host && self.names.contains(&port.name)
    }

    /// The port of the switch of this name that is marked as the link's.
    fn plugged(&self, name: &InterfaceName) -> Option<&'a SwitchPortFact> {
        self.board.switch.port(name).filter(|port| &port.lab == self.lab && &port.link == self.id)
    }

    fn is_there(&self, name: &InterfaceName) -> bool {
        self.plugged(name).is_some() || self.seen.port(&Place::Host, name).is_some()
    }

    /// The two ends to which it has cables, as far as those are there.
    pub(super) fn ends(&self) -> Option<[&'a str; 2]> {
        let is_there = |end: &str| self.is_there(&SwitchPort::cable_to(self.lab, end));
        splits(self.id.as_str()).find(|(left, right)| is_there(left) || is_there(right)).map(|(a, b)| [a, b])
    }

    /// What a link with these ends has on the switch; nothing if it is on none. `Err` is the first thing that is not as it has
    /// to be.
    pub(super) fn read(&self, ends: &[String]) -> Result<Option<OnSwitch>, String> {
        if !self.names.iter().any(|name| self.is_there(name)) {
            return Ok(None);
        }
        let tunnel = (ends.len() == 1).then(|| SwitchPort::tunnel_of(self.lab, self.id));
        let names = ends.iter().map(|end| SwitchPort::cable_to(self.lab, end)).chain(tunnel);
        let ports = names.map(|name| self.port(&name)).collect::<Result<Vec<_>, String>>()?;
        let (Some(first), Some(last)) = (ports.first(), ports.last()) else { return Ok(None) };
        let bridge = first.bridge.clone();
        if let Some(other) = ports.iter().find(|port| port.bridge != bridge) {
            return Err(format!("its ports are on two bridges of Open vSwitch, `{bridge}` and `{}`", other.bridge));
        }
        let (tag, lost) = self.tag(&bridge, &ports)?;
        let tunnel = (ends.len() == 1).then(|| last.tunnel.clone().ok_or_else(|| untold(&last.name))).transpose()?;
        Ok(Some(OnSwitch { bridge, tag, tunnel, lost }))
    }

    /// A port that is whole.
    fn port(&self, name: &InterfaceName) -> Result<&'a SwitchPortFact, String> {
        if self.seen.port(&Place::Host, name).is_none() {
            return Err(format!("its interface `{name}` on the host is gone"));
        }
        let port = self.plugged(name).ok_or_else(|| format!("its port `{name}` of Open vSwitch is gone"))?;
        match &port.fault {
            Some(fault) => Err(format!("nothing passes through its port `{name}`: {fault}")),
            None => Ok(port),
        }
    }

    /// The tag of these ports, and the claim of it if that is lost.
    fn tag(&self, bridge: &InterfaceName, ports: &[&SwitchPortFact]) -> Result<(u16, Option<TagClaim>), String> {
        let mut tags = BTreeSet::new();
        for port in ports {
            let tag = port.vlan.tag.filter(|tag| Vlan::Allotted.on_port(Some(*tag)).as_ref() == Some(&port.vlan));
            let odd = || format!("its port `{}` lets through what has another tag than its own, or none", port.name);
            tags.insert(tag.ok_or_else(odd)?);
        }
        let claims = self.board.claims.get(self.id).into_iter().flatten().filter(|claim| &claim.bridge == bridge);
        let claimed: Vec<u16> = claims.map(|claim| claim.tag).collect();
        if let Some(right) = claimed.first() {
            let is_other = |port: &&&SwitchPortFact| port.vlan.tag.is_none_or(|tag| !claimed.contains(&tag));
            if let Some(port) = ports.iter().find(is_other) {
                let has = port.vlan.tag.unwrap_or_default();
                return Err(format!("its port `{}` has tag {has}, and what is claimed for it is {right}", port.name));
            }
        }
        let mut each = tags.into_iter();
        let (Some(tag), None) = (each.next(), each.next()) else {
            return Err("its ports have different tags".to_owned());
        };
        if !claimed.is_empty() {
            return Ok((tag, None));
        }
        let users = self.board.users.get(&(bridge, tag)).into_iter().flatten();
        if let Some((lab, link)) = users.copied().find(|whose| *whose != (self.lab, self.id)) {
            return Err(format!(
                "its ports have tag {tag}, which is that of link {link} of lab {lab} on bridge `{bridge}`"
            ));
        }
        let (lab, link) = (self.lab.clone(), self.id.clone());
        Ok((tag, Some(TagClaim { lab, link, bridge: bridge.clone(), known: Some(tag), joins: Joins::Link })))
    }
}

/// What those interfaces may be called.
pub(super) fn names(lab: &LabName, id: &LinkId) -> BTreeSet<InterfaceName> {
    let ends = splits(id.as_str()).flat_map(|(left, right)| [left, right]).chain([id.as_str()]);
    ends.map(|end| SwitchPort::cable_to(lab, end)).chain([SwitchPort::tunnel_of(lab, id)]).collect()
}

fn untold(port: &InterfaceName) -> String {
    format!("what its tunnel was made from is not at port `{port}` of Open vSwitch")
}

/// What the file said of the port that an end at a bridge of Open vSwitch is.
pub(super) fn vlan(end: &End, port: &PortFact, board: &Board<'_>) -> Vars {
    let plugged =
        board.switch.port(&port.name).filter(|_| matches!(end.at, Endpoint::Bridge(_)) && port.place == Place::Host);
    plugged.map(|port| port.vlan.vars()).unwrap_or_default()
}
