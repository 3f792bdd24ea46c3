//! Links stitched to a tunnel: what comes in at the veth goes out at the VXLAN interface, and the other way round.
//!
//! Three interfaces and two filters, made so that nothing is left of a half: the VXLAN interface is made in the namespace
//! of the node and goes with it until it is marked, and only then moves to the host; the veth pair gets its marks when the
//! filters are there. So a link of which all three are marked is whole. Where a switch joins them there are no filters: both
//! become its ports afterwards.

use netloom_engine::{ErrorClass, Place};
use netloom_failpoint::point;
use netloom_kernel::{AdminState, KernelError, KernelErrorKind, LinkChange, Request, VethEnd};

use super::apply::{Call, Work};
use super::body::{Body, Joint};
use super::wire::{Port, Wire};
use super::{cause_of, class_of};

/// How often another ifindex is tried.
const ATTEMPTS: u32 = 8;

impl Wire {
    /// The tunnel of one that is stitched, in the place where it is made.
    pub(super) fn made_at(&self) -> Option<Port> {
        let Body::Stitch(_, tunnel, _) = &self.body else { return None };
        let place = self.other.as_ref().map_or(Place::Host, |port| port.place.clone());
        Some(Port { place, ..(**tunnel).clone() })
    }

    /// The ifindex of its end on the host.
    fn seam(&self) -> u32 {
        let main_is_port = self.main.bridge.is_some();
        self.other.as_ref().filter(|_| main_is_port).unwrap_or(&self.main).ifindex
    }

    fn tunnel_mut(&mut self) -> Option<&mut Port> {
        match &mut self.body {
            Body::Stitch(_, tunnel, _) => Some(tunnel),
            Body::Ends | Body::Macvlan(..) | Body::Vxlan(_) => None,
        }
    }
}

impl Call<'_> {
    /// Gives wires whose veth pair is there their tunnel; those that have all of it are returned, of the others nothing is
    /// left.
    pub(super) async fn stitch(&mut self, made: Vec<Wire>) -> Vec<Wire> {
        let (stitched, mut whole): (Vec<Wire>, Vec<Wire>) = made.into_iter().partition(|wire| wire.made_at().is_some());
        for mut wire in stitched {
            self.accept(wire.order);
            if self.lead(&mut wire).await {
                whole.push(wire);
            } else {
                self.undo(&wire).await;
            }
        }
        whole
    }

    async fn lead(&mut self, wire: &mut Wire) -> bool {
        let Some(mut tunnel) = wire.made_at() else { return true };
        if !self.make_tunnel(wire, &mut tunnel).await {
            return false;
        }
        point!("link.tunnel-made");
        let at = self.kernel[&tunnel.place].clone();
        let alias =
            self.fabric.shared.marks.link_alias(&wire.lab, &wire.id, &wire.fingerprint, netloom_plan::AdminState::Up);
        let change = LinkChange { alias: Some(alias), ..LinkChange::default() };
        let mut work = vec![Request::SetLink { place: at.clone(), ifindex: tunnel.ifindex, change }];
        if tunnel.place != Place::Host {
            let to = self.kernel[&Place::Host].clone();
            work.push(Request::MoveLink { place: at, ifindex: tunnel.ifindex, to, state: AdminState::Down });
        }
        if !self.done(wire.order, work).await {
            return false;
        }
        point!("link.tunnel-moved");
        let Some(ifindex) = self.find_tunnel(wire).await else { return false };
        if let Some(tunnel) = wire.tunnel_mut() {
            tunnel.ifindex = ifindex;
        }
        if matches!(wire.body, Body::Stitch(_, _, Joint::Switch)) {
            return true;
        }
        let (place, veth) = (self.kernel[&Place::Host].clone(), wire.seam());
        let mut work = Vec::new();
        work.extend([veth, ifindex].map(|ifindex| Request::AddIngress { place: place.clone(), ifindex }));
        work.push(Request::LeaveFailSignals { place: place.clone(), ifindex });
        let ways = [(veth, ifindex), (ifindex, veth)];
        work.extend(ways.map(|(from, to)| Request::Redirect { place: place.clone(), from, to }));
        let done = self.done(wire.order, work).await;
        point!("link.stitched");
        done
    }

    async fn make_tunnel(&mut self, wire: &Wire, tunnel: &mut Port) -> bool {
        let Body::Stitch(way, ..) = &wire.body else { return true };
        for attempt in 0..ATTEMPTS {
            tunnel.ifindex = self.fabric.ifindexes(attempt * attempt * 100).0;
            let end = VethEnd {
                place: self.kernel[&tunnel.place].clone(),
                name: tunnel.name().clone(),
                ifindex: Some(tunnel.ifindex),
                mac: tunnel.mac,
                mtu: tunnel.mtu,
                group: self.fabric.shared.marks.lab_group(&wire.lab),
            };
            let request = Request::CreateVxlan { end, tunnel: way.tunnel(self.kernel[&Place::Host].clone()) };
            match self.fabric.submit(vec![request], self.context).await {
                Err(class) => {
                    self.refuse(wire.order, cause_of(class), class);
                    return false;
                }
                Ok(results) => match results.into_iter().next() {
                    Some(Err(error)) if error.kind == KernelErrorKind::IfindexTaken => {}
                    Some(Err(error)) => {
                        let why = self.clash(wire, &error).await;
                        self.refuse(wire.order, why.unwrap_or(error.message), class_of(error.kind));
                        return false;
                    }
                    Some(Ok(())) | None => return true,
                },
            }
        }
        self.refuse(wire.order, "no free ifindex was found for its tunnel", ErrorClass::Transient);
        false
    }

    /// What stands in the way of a tunnel that the kernel refused for another one.
    pub(super) async fn clash(&mut self, wire: &Wire, error: &KernelError) -> Option<String> {
        let (Body::Stitch(way, ..) | Body::Vxlan(way)) = &wire.body else { return None };
        if error.kind != KernelErrorKind::Busy || self.look([Place::Host]).await.is_err() {
            return None;
        }
        way.clash(self.dumps.get(&Place::Host)?, &self.fabric.shared.marks)
    }

    /// The tunnel on the host: it kept its ifindex there if that was free.
    async fn find_tunnel(&mut self, wire: &Wire) -> Option<u32> {
        let name = wire.made_at()?.name().clone();
        if let Err((class, cause)) = self.look([Place::Host]).await {
            self.refuse(wire.order, cause, class);
            return None;
        }
        let found = self.dumps.get(&Place::Host).and_then(|dump| dump.named(name.as_str()));
        let found = found.filter(|found| self.fabric.shared.marks.is_of(found, &wire.lab, &wire.id));
        let ifindex = found.map(|found| found.ifindex);
        if ifindex.is_none() {
            self.refuse(wire.order, format!("its tunnel `{name}` went away"), ErrorClass::Transient);
        }
        ifindex
    }

    async fn done(&mut self, order: usize, requests: Vec<Request>) -> bool {
        match self.fabric.submit(requests, self.context).await {
            Err(class) => self.refuse(order, cause_of(class), class),
            Ok(results) => {
                let Some(error) = results.into_iter().find_map(Result::err) else { return true };
                self.refuse(order, error.message, class_of(error.kind));
            }
        }
        false
    }

    /// Takes away what there is of a wire, wherever it got to.
    pub(super) async fn undo(&mut self, wire: &Wire) {
        let places: Vec<Place> = wire.pieces().into_iter().map(|port| port.place).collect();
        if self.look(places).await.is_err() {
            // It carries the group, so the next create of the same link takes it away.
            return;
        }
        let mut work = Work::default();
        for port in wire.pieces() {
            if let Ok(Some(found)) = self.in_the_way(wire, &port) {
                let request = Request::DeleteLink { place: self.kernel[&port.place].clone(), ifindex: found.ifindex };
                work.add(&port.place, wire.order, [request]);
            }
        }
        self.carry_out(work).await;
    }
}
