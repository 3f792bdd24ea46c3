//! What the database of Open vSwitch has of bridges and ports, by name. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use netloom_engine::{Fact, SwitchBridgeFact, SwitchPortFact, SwitchTagFact};
use netloom_model::{InterfaceName, PortVlan};
use netloom_ovsdb::{Map, Row, Set, Snapshot, Uuid};

use super::mark::{self, PortMark};

/// The mode of a trunk with a native VLAN.
pub(super) const NATIVE: &str = "native-untagged";

/// All bridges and ports of one moment.
#[derive(Debug, Default)]
pub(super) struct Board<'a> {
    /// The one row of the table `Open_vSwitch`.
    pub(super) root: Option<Uuid>,
    /// How far `ovs-vswitchd` has come.
    pub(super) current: i64,
    pub(super) bridges: BTreeMap<&'a str, Bridge<'a>>,
    pub(super) ports: BTreeMap<&'a str, Port<'a>>,
}

/// What a fact is of: a port or a bridge, or a tag on one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) name: InterfaceName,
    pub(super) tag: Option<u16>,
}

impl Key {
    fn of(name: &InterfaceName) -> Self {
        Self { name: name.clone(), tag: None }
    }
}

/// A bridge.
#[derive(Debug)]
pub(super) struct Bridge<'a> {
    pub(super) uuid: Uuid,
    pub(super) row: &'a Row,
}

/// A port, with what its interface says.
#[derive(Debug)]
pub(super) struct Port<'a> {
    pub(super) uuid: Uuid,
    pub(super) row: &'a Row,
    pub(super) bridge: &'a str,
    interface: Option<&'a Row>,
}

impl<'a> Board<'a> {
    pub(super) fn of(database: &'a Snapshot) -> Self {
        let mut board = Self::default();
        if let Some((uuid, row)) = database.rows("Open_vSwitch").next() {
            board.root = Some(uuid);
            board.current = row.integer("cur_cfg").unwrap_or_default();
        }
        for (uuid, row) in database.rows("Bridge") {
            let Some(name) = row.string("name") else { continue };
            board.bridges.insert(name, Bridge { uuid, row });
            for uuid in row.uuids("ports") {
                let Some(port) = database.row("Port", uuid) else { continue };
                let Some(own) = port.string("name") else { continue };
                let interface =
                    port.uuids("interfaces").next().and_then(|uuid| database.row("Interface", uuid).map(|row| &**row));
                board.ports.insert(own, Port { uuid, row: port, bridge: name, interface });
            }
        }
        board
    }

    /// The tags on a bridge that somebody has: of its ports, and those that are claimed.
    pub(super) fn tags(&self, bridge: &str) -> BTreeSet<u16> {
        let of_ports = self.ports.values().filter(|port| port.bridge == bridge).flat_map(Port::tags);
        of_ports.chain(self.claims(bridge).into_keys()).collect()
    }

    /// Whose each claimed tag of a bridge is.
    pub(super) fn claims(&self, bridge: &str) -> BTreeMap<u16, &'a str> {
        let ids = self.bridges.get(bridge).and_then(|bridge| bridge.row.map("external_ids"));
        let pairs = ids.into_iter().flat_map(Map::strings);
        pairs.filter_map(|(key, whose)| Some((mark::tag_of(key)?, whose))).collect()
    }

    /// The ports of this instance by the links that they are of.
    pub(super) fn marked(&self, instance: &str) -> BTreeMap<PortMark, Vec<&Port<'a>>> {
        let mut marked: BTreeMap<PortMark, Vec<&Port<'a>>> = BTreeMap::new();
        for port in self.ports.values() {
            if let Some(mark) = PortMark::read(port.row, instance) {
                marked.entry(mark).or_default().push(port);
            }
        }
        marked
    }

    /// What the inventory is told: all bridges, and the ports and claims of this instance.
    pub(super) fn facts(&self, instance: &str, seen: SystemTime) -> BTreeMap<Key, Fact> {
        let bridges = self.bridges.iter().filter_map(|(name, bridge)| {
            let name: InterfaceName = name.parse().ok()?;
            let is_ours = bridge.is_ours(instance);
            Some((Key::of(&name), Fact::SwitchBridge(SwitchBridgeFact { name, is_ours, seen })))
        });
        let ports = self.ports.iter().filter_map(|(name, port)| {
            let PortMark { lab, link } = PortMark::read(port.row, instance)?;
            let name: InterfaceName = name.parse().ok()?;
            let (bridge, vlan) = (port.bridge.parse().ok()?, port.vlan());
            let fault = port.fault();
            let tunnel = mark::tunnel(port.row);
            let fact = SwitchPortFact { name: name.clone(), bridge, vlan, lab, link, tunnel, fault, seen };
            Some((Key::of(&name), Fact::SwitchPort(fact)))
        });
        let claims = self.bridges.keys().flat_map(|bridge| {
            let bridge: Option<InterfaceName> = bridge.parse().ok();
            let claims = bridge.as_ref().map(|bridge| self.claims(bridge.as_str())).unwrap_or_default();
            let claims = claims.into_iter().filter_map(|(tag, whose)| Some((tag, mark::claimed_for(instance, whose)?)));
            bridge.into_iter().zip([claims.collect::<Vec<_>>()])
        });
        let claims = claims.flat_map(|(bridge, claims)| {
            claims.into_iter().map(move |(tag, (lab, link))| {
                let fact = SwitchTagFact { bridge: bridge.clone(), tag, lab, link, seen };
                (Key { name: bridge.clone(), tag: Some(tag) }, Fact::SwitchTag(fact))
            })
        });
        bridges.chain(ports).chain(claims).collect()
    }
}

impl Bridge<'_> {
    /// Whether this instance made it.
    pub(super) fn is_ours(&self, instance: &str) -> bool {
        self.row.map_string("external_ids", mark::INSTANCE) == Some(instance)
    }
}

impl Port<'_> {
    pub(super) fn tag(&self) -> Option<u16> {
        self.row.integer("tag").and_then(|tag| u16::try_from(tag).ok())
    }

    /// What its interface says of itself, for whoever set that.
    pub(super) fn says(&self, key: &str) -> Option<&str> {
        self.interface?.map_string("external_ids", key)
    }

    fn trunks(&self) -> impl Iterator<Item = u16> {
        let trunks = self.row.set("trunks").into_iter().flat_map(Set::integers);
        trunks.filter_map(|tag| u16::try_from(tag).ok())
    }

    /// The tags that it has.
    pub(super) fn tags(&self) -> impl Iterator<Item = u16> {
        self.tag().into_iter().chain(self.trunks())
    }

    /// What passes through it.
    pub(super) fn vlan(&self) -> PortVlan {
        let (tag, trunks) = (self.tag(), self.trunks().collect::<BTreeSet<u16>>());
        let is_both = tag.is_some() && !trunks.is_empty();
        let usual = match (tag, is_both) {
            (_, true) => NATIVE,
            (Some(_), false) => "access",
            (None, false) => "trunk",
        };
        let is_odd = self.row.string("vlan_mode").map_or(is_both, |mode| mode != usual);
        PortVlan { tag, trunks, is_odd }
    }

    /// Why nothing passes through it, in the words of Open vSwitch.
    pub(super) fn fault(&self) -> Option<String> {
        let Some(interface) = self.interface else { return Some("it has no interface".to_owned()) };
        match interface.integer("ofport") {
            Some(1..) => None,
            Some(_) => Some(interface.string("error").unwrap_or("ovs-vswitchd cannot open it").to_owned()),
            None => Some("ovs-vswitchd has not taken it yet".to_owned()),
        }
    }
}
