//! Links made: created, or found and adopted, or made anew in the place of what an interrupted order left.

use std::collections::BTreeSet;

use netloom_engine::{ErrorClass, Place, PortMark};
use netloom_failpoint::point;
use netloom_kernel::{KernelErrorKind, LinkInfo, Request};
use netloom_model::InterfaceName;

use super::apply::{Call, Work};
use super::mark::is_half_made;
use super::wire::{Masters, Port, Wire};
use super::{cause_of, class_of};

/// How often a link is tried with other ifindexes, or after something in its way was removed.
const ATTEMPTS: u32 = 8;

impl Call<'_> {
    pub(super) async fn create(&mut self, wires: Vec<Wire>) {
        let wires = self.ground(wires).await;
        let masters = match self.masters(&wires).await {
            Ok(masters) => masters,
            Err((class, cause)) => {
                self.refuse_all(wires.iter().map(|wire| wire.order), &cause, class);
                return;
            }
        };
        let mut pending = Vec::new();
        for wire in wires {
            let missing = wire.ports().find(|port| port.bridge.is_some() && masters.of(port).is_none());
            let missing = missing.and_then(|port| {
                let (bridge, at) = (port.bridge.as_ref()?, self.kernel.get(&port.place)?);
                Some(format!("there is no bridge `{bridge}` {at}"))
            });
            if let Some(cause) = self.closed(&wire) {
                self.refuse(wire.order, cause, ErrorClass::Transient);
            } else if let Some(why) = missing {
                self.refuse(wire.order, why, ErrorClass::Transient);
            } else {
                pending.push(wire);
            }
        }
        // What hangs on something is looked for before: the kernel says of one that is there what stands in the way of a
        // second one (of a VXLAN its identifier) and not that its name is taken.
        let (hanging, simple) = pending.into_iter().partition(Wire::hangs);
        pending = simple;
        let (mut adopted, freed) = self.settle(hanging, &masters).await;
        pending.extend(freed);
        let mut made = Vec::new();
        for attempt in 0..ATTEMPTS {
            if pending.is_empty() {
                break;
            }
            // Neighbours of one namespace share a datagram.
            pending.sort_by(|a: &Wire, b| (&a.main.place, a.order).cmp(&(&b.main.place, b.order)));
            for wire in &mut pending {
                let (one, two) = self.fabric.ifindexes(attempt * attempt * 100);
                wire.ports_mut().zip([one, two]).for_each(|(port, ifindex)| port.ifindex = ifindex);
            }
            let marks = &self.fabric.shared.marks;
            let batch = pending.iter().map(|wire| wire.create(marks, &self.kernel, &masters)).collect();
            let results = match self.fabric.submit(batch, self.context).await {
                Ok(results) => results,
                Err(class) => {
                    self.refuse_all(pending.iter().map(|wire| wire.order), cause_of(class), class);
                    break;
                }
            };
            point!("link.created");
            let (mut again, mut clashes) = (Vec::new(), Vec::new());
            for (wire, result) in std::mem::take(&mut pending).into_iter().zip(results) {
                match result {
                    Ok(()) => made.push(wire),
                    Err(error) if error.kind == KernelErrorKind::IfindexTaken => again.push(wire),
                    Err(error) if error.kind == KernelErrorKind::AlreadyExists => clashes.push(wire),
                    Err(error) => {
                        let why = self.clash(&wire, &error).await;
                        self.refuse(wire.order, why.unwrap_or(error.message), class_of(error.kind));
                    }
                }
            }
            let (found, freed) = self.settle(clashes, &masters).await;
            adopted.extend(found);
            again.extend(freed);
            pending = again;
        }
        for wire in pending {
            if !matches!(self.answers[wire.order], Some(Err(_))) {
                self.refuse(wire.order, "no free ifindex was found for it", ErrorClass::Transient);
            }
        }
        let made = self.stitch(made).await;
        self.finish(made, &masters).await;
        self.update(adopted.clone()).await;
        self.bring_up(adopted).await;
    }

    /// The ifindexes of the bridges that the wires name, as far as they exist.
    async fn masters(&mut self, wires: &[Wire]) -> Result<Masters, (ErrorClass, String)> {
        let ports = wires.iter().flat_map(Wire::ports);
        let named: BTreeSet<(&Place, &InterfaceName)> =
            ports.filter_map(|port| Some((&port.place, port.bridge.as_ref()?))).collect();
        if named.is_empty() {
            return Ok(Masters::default());
        }
        let places: BTreeSet<&Place> = named.iter().map(|(place, _)| *place).collect();
        self.look(places.into_iter().cloned()).await?;
        let found = |(place, name): (&Place, &InterfaceName)| {
            let dump = self.dumps.get(place)?;
            let link = dump.named(name.as_str()).filter(|link| link.kind.as_deref() == Some("bridge"))?;
            Some(((place.clone(), name.clone()), link.ifindex))
        };
        Ok(Masters(named.into_iter().filter_map(found).collect()))
    }

    /// Looks at what is in the way of links: returns those that are there already, and those whose way is free now.
    async fn settle(&mut self, clashes: Vec<Wire>, masters: &Masters) -> (Vec<Wire>, Vec<Wire>) {
        if clashes.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let places = clashes.iter().flat_map(Wire::pieces).map(|port| port.place);
        // Also where no piece of it is: a tunnel that it had may have had another name.
        if let Err((class, cause)) = self.look(places.chain([Place::Host])).await {
            self.refuse_all(clashes.iter().map(|wire| wire.order), &cause, class);
            return (Vec::new(), Vec::new());
        }
        let (mut adopted, mut freed, mut work) = (Vec::new(), Vec::new(), Work::default());
        for mut wire in clashes {
            let pieces = wire.pieces();
            let found = pieces.iter().map(|port| self.in_the_way(&wire, port)).collect::<Result<Vec<_>, _>>();
            let found = match found {
                Ok(found) => found,
                Err((class, cause)) => {
                    self.refuse(wire.order, cause, class);
                    continue;
                }
            };
            if self.is_whole(&wire, &found, masters) {
                wire.ports_mut().zip(&found).for_each(|(port, link)| {
                    port.ifindex = link.as_ref().map_or(0, |link| link.ifindex);
                });
                adopted.push(wire);
                continue;
            }
            for (port, link) in pieces.iter().zip(found) {
                let Some(link) = link else { continue };
                let request = Request::DeleteLink { place: self.kernel[&port.place].clone(), ifindex: link.ifindex };
                work.add(&port.place, wire.order, [request]);
            }
            let tunnels = self.other_tunnels(&wire, &pieces);
            let delete = |ifindex| Request::DeleteLink { place: self.kernel[&Place::Host].clone(), ifindex };
            work.add(&Place::Host, wire.order, tunnels.into_iter().map(delete));
            freed.push(wire);
        }
        self.carry_out(work).await;
        point!("link.way-freed");
        // A removal that failed has its answer; the others are tried again.
        freed.retain(|wire| !matches!(self.answers[wire.order], Some(Err(_))));
        (adopted, freed)
    }

    /// Tunnels that a link had on the host when it was joined to one in another way, under other names than its pieces have.
    fn other_tunnels(&self, wire: &Wire, pieces: &[Port]) -> Vec<u32> {
        let links = self.dumps.get(&Place::Host).into_iter().flat_map(|host| &host.links);
        let is_other = |link: &&LinkInfo| {
            let of_it = self.fabric.shared.marks.is_of(link, &wire.lab, &wire.id);
            link.vni.is_some() && of_it && !pieces.iter().any(|port| port.name().as_str() == link.name)
        };
        links.filter(is_other).map(|link| link.ifindex).collect()
    }

    /// What has the name of a port: nothing, or something of this very link. Anything else is an error.
    pub(super) fn in_the_way(&self, wire: &Wire, port: &Port) -> Result<Option<LinkInfo>, (ErrorClass, String)> {
        let Some(dump) = self.dumps.get(&port.place) else { return Ok(None) };
        let Some(found) = dump.named(port.name().as_str()) else { return Ok(None) };
        let marks = &self.fabric.shared.marks;
        let at = self.kernel[&port.place].clone();
        match marks.read(found) {
            Some(PortMark::Link { lab, link, .. }) if lab == wire.lab && link == wire.id => Ok(Some(found.clone())),
            Some(PortMark::Link { lab, link, .. }) => {
                let why = format!("interface `{}` {at} belongs to link {link} of lab {lab}", port.name());
                Err((ErrorClass::Transient, why))
            }
            Some(PortMark::Bridge) => {
                Err((ErrorClass::Permanent, format!("`{}` {at} is a bridge that netloom made", port.name())))
            }
            None if is_half_made(found, marks.lab_group(&wire.lab)) => Ok(Some(found.clone())),
            None => {
                let kind = found.kind.as_deref().map_or_else(String::new, |kind| format!(", a {kind}"));
                let alias = found.alias.as_ref().map_or_else(String::new, |alias| format!(", `{alias}`"));
                let why = format!(
                    "interface `{}` already exists {at} and is not ours (number {}{kind}{alias}); rename or remove it, \
                     or use another name in the topology",
                    port.name(),
                    found.ifindex,
                );
                Err((ErrorClass::Permanent, why))
            }
        }
    }

    /// Whether the interfaces found are the link, marked, with the identity that is wanted, and wired to each other.
    fn is_whole(&self, wire: &Wire, found: &[Option<LinkInfo>], masters: &Masters) -> bool {
        // A bridge that was deleted and made again has lost its ports.
        let attached = wire.ports().zip(found).all(|(port, link)| {
            port.bridge.is_none() || link.as_ref().and_then(|link| link.master) == masters.of(port)
        });
        if !attached {
            return false;
        }
        let same = |link: &LinkInfo| match self.fabric.shared.marks.read(link) {
            Some(PortMark::Link { fingerprint, .. }) => fingerprint.identity == wire.fingerprint.identity,
            _ => false,
        };
        match found {
            [Some(a)] => same(a),
            [Some(a), Some(b)] => same(a) && same(b) && is_pair(a, b),
            [Some(a), Some(b), Some(tunnel)] | [Some(a), Some(b), Some(tunnel), None] => {
                [a, b, tunnel].into_iter().all(same) && is_pair(a, b)
            }
            _ => false,
        }
    }

    /// Completes links that were just created; one that cannot be completed is taken back.
    async fn finish(&mut self, made: Vec<Wire>, masters: &Masters) {
        if made.is_empty() {
            return;
        }
        let mut work = Work::default();
        for wire in &made {
            self.accept(wire.order);
            for port in wire.ports() {
                let requests = wire.finish(port, &self.fabric.shared.marks, &self.kernel[&port.place], masters);
                work.add(&port.place, wire.order, requests);
            }
        }
        self.carry_out(work).await;
        point!("link.finished");
        for wire in &made {
            if matches!(self.answers[wire.order], Some(Err(_))) {
                self.undo(wire).await;
            }
        }
    }
}

pub(super) fn is_pair(a: &LinkInfo, b: &LinkInfo) -> bool {
    a.peer == Some(b.ifindex) && b.peer == Some(a.ifindex)
}
