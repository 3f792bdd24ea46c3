//! The ends of links that nodes have, and the interfaces that they are.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use netloom_engine::{LabFacts, PortFact, PortMark, Snapshot};
use netloom_model::{Endpoint, InterfaceName, Lab, NodeName};
use netloom_plan::{AdminState, LeftOut};

/// An end of a link in a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) node: NodeName,
    pub(super) interface: InterfaceName,
    /// The other end of its cable, a port of the switch, if the link is on one.
    pub(super) cable: Option<InterfaceName>,
}

/// The ends that the nodes of a lab are to have.
pub(super) fn of(lab: &Lab) -> Vec<End> {
    let left_out = LeftOut::of(lab);
    let mut ends = Vec::new();
    for link in lab.links().iter().filter(|link| left_out.link(&link.id()).is_none()) {
        let cables = lab.switch_ports(link);
        for end in link.ends() {
            let Endpoint::Node(node) = end.home() else { continue };
            let cable = cables.iter().find(|cable| cable.end.is_some_and(|of| std::ptr::eq(of, end)));
            ends.push(End {
                node: node.clone(),
                interface: end.interface.kernel().clone(),
                cable: cable.map(|cable| cable.interface.clone()),
            });
        }
    }
    ends
}

/// The interfaces of the host by name, each with whether it is on; put in order when the first one is looked for.
pub(super) struct Hosts<'a> {
    snapshot: &'a Snapshot,
    by_name: OnceCell<BTreeMap<InterfaceName, AdminState>>,
}

impl<'a> Hosts<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, by_name: OnceCell::new() }
    }

    fn state(&self, name: &InterfaceName) -> Option<AdminState> {
        let state = |port: &PortFact| (port.name.clone(), AdminState::of(port.admin_up));
        let all = || self.snapshot.host.values().map(|port| state(port)).collect();
        self.by_name.get_or_init(all).get(name).copied()
    }
}

/// The interfaces that are ends of links of a lab.
pub(super) struct Ports<'a> {
    inside: BTreeMap<(&'a NodeName, &'a InterfaceName), &'a PortFact>,
    hosts: &'a Hosts<'a>,
}

impl<'a> Ports<'a> {
    pub(super) fn of(facts: Option<&'a LabFacts>, hosts: &'a Hosts<'a>) -> Self {
        let ports = facts.into_iter().flat_map(|facts| facts.ports.iter());
        let ours = ports.filter(|(_, port)| matches!(port.mark, Some(PortMark::Link { .. })));
        Self { inside: ours.map(|((node, _), port)| ((node, &port.name), &**port)).collect(), hosts }
    }

    /// The interface in the node, if it is there.
    pub(super) fn inside(&self, end: &End) -> Option<&'a PortFact> {
        self.inside.get(&(&end.node, &end.interface)).copied()
    }

    /// Whether an end is there with all that belongs to it.
    pub(super) fn has(&self, end: &End) -> bool {
        let is_plugged = |cable: &InterfaceName| {
            self.hosts.state(cable).is_some() && self.hosts.snapshot.switch.port(cable).is_some()
        };
        self.inside(end).is_some() && end.cable.as_ref().is_none_or(is_plugged)
    }

    /// Whether the far end of its cable, which nobody but the agent switches, is off.
    pub(super) fn is_cut(&self, end: &End) -> bool {
        end.cable.as_ref().and_then(|cable| self.hosts.state(cable)) == Some(AdminState::Down)
    }
}

/// Whether an interface was switched off through the agent, rather than by what runs in its node.
pub(super) fn is_ordered_off(port: &PortFact) -> bool {
    matches!(port.mark, Some(PortMark::Link { switched: AdminState::Down, .. }))
}
