//! Ports made, set and removed: what one transaction does. Pure.

use std::collections::{BTreeMap, BTreeSet};

use netloom_engine::{ErrorClass, TunnelMark};
use netloom_model::{InterfaceName, LabName, LinkId, PortVlan};
use netloom_ovsdb::{Condition, Map, Mutation, NamedUuid, Row, Set, Transaction, Uuid};

use super::board::{Board, NATIVE, Port};
use super::mark::{self, PortMark};

/// A port as it is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plug {
    pub(crate) name: InterfaceName,
    pub(crate) bridge: InterfaceName,
    pub(crate) vlan: PortVlan,
    pub(crate) lab: LabName,
    pub(crate) link: LinkId,
    /// The end of the link that is behind it, as people name it.
    pub(crate) end: String,
    /// The tunnel that is, if it is one.
    pub(crate) tunnel: Option<TunnelMark>,
    /// What else it says of itself, for others.
    pub(crate) says: BTreeMap<String, String>,
    /// Who makes it.
    pub(crate) by: Maker,
}

/// Who has made a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// We: it carries our mark.
    Us,
    /// Somebody else: it gets our mark and stays as it is, and none is made.
    Others,
}

impl Plug {
    pub(super) fn mark(&self) -> PortMark {
        PortMark { lab: self.lab.clone(), link: self.link.clone() }
    }

    fn ids(&self, instance: &str) -> Map {
        let own = self.mark().write(instance, &self.end, self.tunnel.as_ref());
        let says = self.says.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        says.chain(own.strings()).collect()
    }
}

/// Why a port cannot be made.
pub(super) type Refused = (ErrorClass, String);

/// A transaction about ports in the making.
pub(super) struct Change<'a> {
    board: &'a Board<'a>,
    /// Its ports by the links that they are of.
    marked: BTreeMap<PortMark, Vec<&'a Port<'a>>>,
    instance: &'a str,
    transaction: Transaction,
    /// The ports that are made or set.
    touched: BTreeSet<InterfaceName>,
    /// The ports that come to bridges, and those that leave them.
    coming: BTreeMap<Uuid, Vec<NamedUuid>>,
    leaving: BTreeMap<Uuid, Vec<Uuid>>,
}

impl<'a> Change<'a> {
    pub(super) fn new(board: &'a Board<'a>, instance: &'a str) -> Self {
        Self {
            board,
            marked: board.marked(instance),
            instance,
            transaction: Transaction::new(),
            touched: BTreeSet::new(),
            coming: BTreeMap::new(),
            leaving: BTreeMap::new(),
        }
    }

    /// Has a port be as it is to be. One that is so already takes nothing; one of ours that is another's or elsewhere makes
    /// way.
    pub(super) fn plug(&mut self, plug: &Plug) -> Result<(), Refused> {
        let name = plug.name.as_str();
        let bridge =
            self.board.bridges.get(plug.bridge.as_str()).ok_or_else(|| {
                (ErrorClass::Transient, format!("there is no bridge `{}` of Open vSwitch", plug.bridge))
            })?;
        if plug.by == Maker::Others {
            return self.adopt(plug);
        }
        if let Some(there) = self.board.ports.get(name) {
            let mark = PortMark::read(there.row, self.instance).ok_or_else(|| {
                let why = format!(
                    "bridge `{}` has a port `{name}` already, which is not ours; `ovs-vsctl del-port {name}` removes it",
                    there.bridge
                );
                (ErrorClass::Permanent, why)
            })?;
            if mark == plug.mark() && there.bridge == plug.bridge.as_str() {
                self.set(there, plug);
                return Ok(());
            }
            self.leave(there);
        }
        self.touched.insert(plug.name.clone());
        let interface = self.transaction.insert("Interface", Row::new().with("name", name));
        let ids = plug.ids(self.instance);
        let row = Row::new().with("name", name).with("interfaces", interface).with("external_ids", ids);
        let port = self.transaction.insert("Port", tagged(row, &plug.vlan));
        self.coming.entry(bridge.uuid).or_default().push(port);
        Ok(())
    }

    /// Marks a port that somebody else made, if it is just what it is to be.
    fn adopt(&mut self, plug: &Plug) -> Result<(), Refused> {
        let refuse = |why: String| Err((ErrorClass::Permanent, why));
        let name = &plug.name;
        let Some(there) = self.board.ports.get(name.as_str()) else {
            return refuse(format!("its port `{name}` of Open vSwitch is gone"));
        };
        if there.bridge != plug.bridge.as_str() || there.vlan() != plug.vlan {
            return refuse(format!("its port `{name}` is set otherwise than it was a moment ago"));
        }
        match PortMark::read(there.row, self.instance) {
            Some(mark) if mark != plug.mark() => {
                refuse(format!("its port `{name}` is that of link {} of lab {}", mark.link, mark.lab))
            }
            None if there.row.map_string("external_ids", mark::INSTANCE).is_some() => {
                refuse(format!("its port `{name}` is that of another agent of netloom"))
            }
            Some(_) | None => {
                self.set(there, plug);
                Ok(())
            }
        }
    }

    /// Sets what of a port is other than it should be, and nothing else of it.
    fn set(&mut self, there: &Port<'_>, plug: &Plug) {
        let ids = plug.ids(self.instance);
        let same = ids.strings().all(|(key, value)| there.row.map_string("external_ids", key) == Some(value));
        if !same {
            let mutations = Mutation::set_keys("external_ids", ids);
            self.transaction.mutate("Port", [Condition::is_row(there.uuid)], mutations);
            self.touched.insert(plug.name.clone());
        }
        if there.vlan() != plug.vlan {
            let none = Row::new().with("trunks", Set::new()).with("vlan_mode", Set::new());
            let row = tagged(none, &plug.vlan);
            self.transaction.update("Port", [Condition::is_row(there.uuid)], row);
            self.touched.insert(plug.name.clone());
        }
    }

    /// Removes the ports of links.
    pub(super) fn unplug(&mut self, lab: &LabName, link: &LinkId) {
        let mark = PortMark { lab: lab.clone(), link: link.clone() };
        for port in self.marked.remove(&mark).into_iter().flatten() {
            self.leave(port);
        }
    }

    fn leave(&mut self, port: &Port<'_>) {
        if let Some(bridge) = self.board.bridges.get(port.bridge) {
            self.leaving.entry(bridge.uuid).or_default().push(port.uuid);
        }
    }

    /// The transaction, if there is anything to do, and the ports that are made or set by it. A row that no bridge names goes
    /// by itself.
    pub(super) fn finish(mut self) -> (Option<Transaction>, BTreeSet<InterfaceName>) {
        for (bridge, ports) in self.leaving {
            let ports: Set = ports.into_iter().collect();
            self.transaction.mutate("Bridge", [Condition::is_row(bridge)], [Mutation::remove("ports", ports)]);
        }
        for (bridge, ports) in self.coming {
            let ports: Set = ports.into_iter().collect();
            self.transaction.mutate("Bridge", [Condition::is_row(bridge)], [Mutation::insert("ports", ports)]);
        }
        ((!self.transaction.ops().is_empty()).then_some(self.transaction), self.touched)
    }
}

/// A row with what passes; without trunks only with its tag or none.
fn tagged(row: Row, vlan: &PortVlan) -> Row {
    let tag: Set = vlan.tag.into_iter().map(i64::from).collect();
    let row = row.with("tag", tag);
    if vlan.trunks.is_empty() {
        return row;
    }
    let trunks: Set = vlan.trunks.iter().copied().map(i64::from).collect();
    // With no tag it goes without saying what trunks are (ovs-vswitchd.conf.db(5), vlan_mode).
    let mode: Set = vlan.tag.map(|_| NATIVE).into_iter().collect();
    row.with("trunks", trunks).with("vlan_mode", mode)
}

/// The transaction that makes a bridge of ours.
pub(super) fn bridge(board: &Board<'_>, name: &InterfaceName, instance: &str, datapath: &str) -> Option<Transaction> {
    let root = board.root?;
    let name = name.as_str();
    let mut change = Transaction::new();
    let interface = change.insert("Interface", Row::new().with("name", name).with("type", "internal"));
    let port = change.insert("Port", Row::new().with("name", name).with("interfaces", interface));
    let ids: Map = [(mark::INSTANCE, instance)].into_iter().collect();
    let row = Row::new()
        .with("name", name)
        .with("ports", port)
        // It goes on switching by itself, whoever controls it or not.
        .with("fail_mode", "standalone")
        .with("datapath_type", datapath)
        .with("external_ids", ids);
    let bridge = change.insert("Bridge", row);
    change.mutate("Open_vSwitch", [Condition::is_row(root)], [Mutation::insert("bridges", bridge)]);
    Some(change)
}

/// The transaction that removes a bridge.
pub(super) fn without(board: &Board<'_>, bridge: Uuid) -> Option<Transaction> {
    let root = board.root?;
    let mut change = Transaction::new();
    let bridges: Set = [bridge].into_iter().collect();
    change.mutate("Open_vSwitch", [Condition::is_row(root)], [Mutation::remove("bridges", bridges)]);
    Some(change)
}
