//! What the switch of the host (Open vSwitch) has of ours: its bridges, and the ports that carry our mark.

use std::sync::Arc;

use imbl::OrdMap;
use netloom_model::{InterfaceName, LabName, LinkId};

use crate::fact::{SwitchBridgeFact, SwitchPortFact};

/// The bridges and ports of the switch, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Switchboard {
    ports: OrdMap<InterfaceName, Arc<SwitchPortFact>>,
    bridges: OrdMap<InterfaceName, Arc<SwitchBridgeFact>>,
}

impl Switchboard {
    /// The port of this name.
    pub fn port(&self, name: &InterfaceName) -> Option<&SwitchPortFact> {
        self.ports.get(name).map(|port| &**port)
    }

    /// All ports with our mark.
    pub fn ports(&self) -> impl Iterator<Item = &SwitchPortFact> {
        self.ports.values().map(|port| &**port)
    }

    /// The ports that carry the mark of a link.
    pub fn ports_of(&self, lab: &LabName, link: &LinkId) -> impl Iterator<Item = &SwitchPortFact> {
        self.ports().filter(move |port| &port.lab == lab && &port.link == link)
    }

    /// The bridge of this name.
    pub fn bridge(&self, name: &InterfaceName) -> Option<&SwitchBridgeFact> {
        self.bridges.get(name).map(|bridge| &**bridge)
    }

    /// All bridges, whoever made them.
    pub fn bridges(&self) -> impl Iterator<Item = &SwitchBridgeFact> {
        self.bridges.values().map(|bridge| &**bridge)
    }

    pub(crate) fn put(&mut self, port: SwitchPortFact) -> Option<Arc<SwitchPortFact>> {
        self.ports.insert(port.name.clone(), Arc::new(port))
    }

    pub(crate) fn remove(&mut self, name: &InterfaceName) -> Option<Arc<SwitchPortFact>> {
        self.ports.remove(name)
    }

    pub(crate) fn put_bridge(&mut self, bridge: SwitchBridgeFact) {
        self.bridges.insert(bridge.name.clone(), Arc::new(bridge));
    }

    pub(crate) fn remove_bridge(&mut self, name: &InterfaceName) {
        self.bridges.remove(name);
    }
}

impl SwitchPortFact {
    /// Whether two sightings show the same.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        Self { seen: other.seen, ..self.clone() } == *other
    }
}
