//! What the switch of the host (Open vSwitch) has of ours: its bridges, the ports that carry our mark, and the tags that we
//! have claimed.

use std::sync::Arc;

use imbl::OrdMap;
use netloom_model::{InterfaceName, LabName};

use crate::fact::{SwitchBridgeFact, SwitchPortFact, SwitchTagFact};

/// The bridges and ports of the switch, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Switchboard {
    ports: OrdMap<InterfaceName, Arc<SwitchPortFact>>,
    bridges: OrdMap<InterfaceName, Arc<SwitchBridgeFact>>,
    tags: OrdMap<(InterfaceName, u16), Arc<SwitchTagFact>>,
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

    /// The ports that carry the mark of a lab.
    pub fn ports_of(&self, lab: &LabName) -> impl Iterator<Item = &SwitchPortFact> {
        self.ports().filter(move |port| &port.lab == lab)
    }

    /// The bridge of this name.
    pub fn bridge(&self, name: &InterfaceName) -> Option<&SwitchBridgeFact> {
        self.bridges.get(name).map(|bridge| &**bridge)
    }

    /// All bridges, whoever made them.
    pub fn bridges(&self) -> impl Iterator<Item = &SwitchBridgeFact> {
        self.bridges.values().map(|bridge| &**bridge)
    }

    /// The claim of a tag on a bridge, if it is ours.
    pub(crate) fn tag(&self, bridge: &InterfaceName, tag: u16) -> Option<&SwitchTagFact> {
        self.tags.get(&(bridge.clone(), tag)).map(|tag| &**tag)
    }

    /// All tags that are claimed for links of ours.
    pub fn tags(&self) -> impl Iterator<Item = &SwitchTagFact> {
        self.tags.values().map(|tag| &**tag)
    }

    /// Those that are claimed for links of a lab.
    pub(crate) fn tags_of(&self, lab: &LabName) -> impl Iterator<Item = &SwitchTagFact> {
        self.tags().filter(move |tag| &tag.lab == lab)
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

    pub(crate) fn put_tag(&mut self, tag: SwitchTagFact) -> Option<Arc<SwitchTagFact>> {
        self.tags.insert((tag.bridge.clone(), tag.tag), Arc::new(tag))
    }

    pub(crate) fn remove_tag(&mut self, bridge: &InterfaceName, tag: u16) -> Option<Arc<SwitchTagFact>> {
        self.tags.remove(&(bridge.clone(), tag))
    }
}

impl SwitchPortFact {
    /// Whether two sightings show the same.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        Self { seen: other.seen, ..self.clone() } == *other
    }
}

impl SwitchTagFact {
    /// Whether two sightings show the same.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        Self { seen: other.seen, ..self.clone() } == *other
    }
}
