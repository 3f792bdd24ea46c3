//! Links changed while they are there: MTU, addresses, mark; ends switched on and off.

use netloom_engine::{ErrorClass, Place, PortMark};
use netloom_failpoint::point;
use netloom_kernel::{LinkChange, LinkInfo, NamespaceDump, Request};
use netloom_model::{LabName, LinkId};
use netloom_plan::{AdminState, LinkFingerprint};

use super::apply::{Call, Switch, Why, Work};
use super::wire::{Port, Wire};

/// An interface that is the end of a link.
struct Own<'a> {
    link: &'a LinkInfo,
    dump: &'a NamespaceDump,
    fingerprint: LinkFingerprint,
    switched: AdminState,
}

impl Call<'_> {
    pub(super) async fn update(&mut self, wires: Vec<Wire>) {
        if wires.is_empty() {
            return;
        }
        let mut work = Work::default();
        for wire in self.seen(wires).await {
            let mut requests = Vec::new();
            let mut missing = None;
            for port in wire.ports() {
                let place = &self.kernel[&port.place];
                match self.own(&wire.lab, &wire.id, port) {
                    Some(Own { link, dump, .. }) => {
                        let change = wire.update(port, link, dump, &self.fabric.shared.marks, place);
                        requests.push((port.place.clone(), change));
                    }
                    None => missing = Some(format!("its interface `{}` is not there {place}", port.name())),
                }
            }
            if let Some(cause) = missing {
                self.refuse(wire.order, cause, ErrorClass::Transient);
                continue;
            }
            self.accept(wire.order);
            for (place, change) in requests {
                work.add(&place, wire.order, change);
            }
        }
        point!("link.before-update");
        self.carry_out(work).await;
        point!("link.updated");
    }

    /// Looks at the places of wires that are there; those that could be looked at, the others are refused.
    pub(super) async fn seen(&mut self, wires: Vec<Wire>) -> Vec<Wire> {
        let wanted: Vec<Place> = wires.iter().flat_map(Wire::ports).map(|port| port.place.clone()).collect();
        if let Err((class, cause)) = self.look(wanted).await {
            self.refuse_all(wires.iter().map(|wire| wire.order), &cause, class);
            return Vec::new();
        }
        let mut seen = Vec::new();
        for wire in wires {
            match self.closed(&wire) {
                Some(cause) => self.refuse(wire.order, cause, ErrorClass::Transient),
                None => seen.push(wire),
            }
        }
        seen
    }

    /// Brings up links that were found instead of made.
    pub(super) async fn bring_up(&mut self, adopted: Vec<Wire>) {
        let mut switches = Vec::new();
        for wire in adopted {
            let is_down = |port: &&Port| {
                let own = self.own(&wire.lab, &wire.id, port);
                own.is_some_and(|own| own.switched == AdminState::Up && !own.link.up)
            };
            let down = wire.ports().filter(is_down).cloned();
            let switch = |port| Switch {
                why: Why::Ordered,
                order: wire.order,
                lab: wire.lab.clone(),
                id: wire.id.clone(),
                port,
                state: AdminState::Up,
            };
            switches.extend(down.map(switch));
        }
        self.switch(switches).await;
    }

    pub(super) async fn switch(&mut self, switches: Vec<Switch>) {
        if switches.is_empty() {
            return;
        }
        if let Err((class, cause)) = self.look(switches.iter().map(|switch| switch.port.place.clone())).await {
            self.refuse_all(switches.iter().map(|switch| switch.order), &cause, class);
            return;
        }
        let mut work = Work::default();
        for Switch { why, order, lab, id, mut port, state } in switches {
            let Some(place) = self.kernel.get(&port.place).cloned() else {
                self.refuse(order, self.unopened.get(&port.place).cloned().unwrap_or_default(), ErrorClass::Transient);
                continue;
            };
            let Some(Own { link, fingerprint, .. }) = self.own(&lab, &id, &port) else {
                let cause = format!("its interface `{}` is not there {place}", port.name());
                self.refuse(order, cause, ErrorClass::Transient);
                continue;
            };
            if why == Why::Tells {
                self.fabric.shared.tell_far_end(link.ifindex, state);
                let on = (!link.up).then(|| switch_on(place, link.ifindex));
                self.accept(order);
                work.add(&port.place, order, on);
                continue;
            }
            port.ifindex = link.ifindex;
            // State and mark in one message, so that no event shows one without the other.
            let change = LinkChange {
                state: Some(match state {
                    AdminState::Up => netloom_kernel::AdminState::Up,
                    AdminState::Down => netloom_kernel::AdminState::Down,
                }),
                alias: (why == Why::Ordered)
                    .then(|| port.alias(&self.fabric.shared.marks, &lab, &id, &fingerprint, state)),
                ..LinkChange::default()
            };
            let mut requests = vec![Request::SetLink { place: place.clone(), ifindex: link.ifindex, change }];
            if state == AdminState::Up {
                // An interface that goes down loses its IPv6 addresses.
                requests.extend(port.add_addresses(&place));
            }
            self.accept(order);
            work.add(&port.place, order, requests);
        }
        point!("link.before-switch");
        self.carry_out(work).await;
        point!("link.switched");
    }

    /// The interface of a port, if it is there and marked as this link's, and what the mark says.
    fn own(&self, lab: &LabName, id: &LinkId, port: &Port) -> Option<Own<'_>> {
        let dump = self.dumps.get(&port.place)?;
        let found = dump.named(port.name().as_str())?;
        match self.fabric.shared.marks.read(found)? {
            PortMark::Link { lab: of, link, fingerprint, switched } if of == *lab && link == *id => {
                Some(Own { link: found, dump, fingerprint, switched })
            }
            _ => None,
        }
    }
}

/// Tunnels are on whatever the ends behind them are. `ovs-vswitchd`, which sets the flags of its ports by reading and writing
/// all of them, may take back that one was switched on at the same moment.
fn switch_on(place: netloom_kernel::Place, ifindex: u32) -> Request {
    let change = LinkChange { state: Some(netloom_kernel::AdminState::Up), ..LinkChange::default() };
    Request::SetLink { place, ifindex, change }
}
