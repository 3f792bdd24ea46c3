//! A batch of orders carried out: deletes, then creates, then updates and switches.
//!
//! Each of these is a few batches for the writer: the creates of all links, then what makes each of them complete.
//! A link is completed only after its creation is known to have worked, since the requests name ifindexes: sent blindly
//! they could hit somebody else's interface.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use netloom_engine::{Context, DriverError, ErrorClass, Fabric, LinkOrder};
use netloom_engine::{Place, PortMark};
use netloom_kernel::{KernelErrorKind, LinkChange, LinkInfo, NamespaceDump, Request};
use netloom_model::{InterfaceName, LabName, LinkId};
use netloom_plan::{AdminState, LinkFingerprint};

use super::mark::is_half_made;
use super::places::OpenPlace;
use super::wire::{Port, Wire, end_of};
use super::{KernelFabric, cause_of, class_of, refused_link};

/// How often a link is tried with other ifindexes, or after something in its way was removed.
const ATTEMPTS: u32 = 8;

/// One end to be switched.
struct Switch {
    order: usize,
    lab: LabName,
    id: LinkId,
    port: Port,
    state: AdminState,
}

/// A link to be removed.
struct Removal {
    order: usize,
    lab: LabName,
    id: LinkId,
}

pub(crate) async fn apply(
    fabric: &KernelFabric,
    orders: &[LinkOrder],
    context: &Context,
) -> Vec<Result<(), DriverError>> {
    let mut call = Call {
        fabric,
        context,
        orders,
        answers: vec![None; orders.len()],
        open: HashMap::new(),
        kernel: HashMap::new(),
        dumps: HashMap::new(),
    };
    call.run().await;
    let missing = |order: &LinkOrder| {
        let (operation, id) = name_of(order);
        Err(refused_link(operation, id, "it was not attempted", ErrorClass::Transient))
    };
    call.answers.into_iter().zip(orders).map(|(answer, order)| answer.unwrap_or_else(|| missing(order))).collect()
}

fn name_of(order: &LinkOrder) -> (&'static str, &LinkId) {
    match order {
        LinkOrder::Create { link, .. } => ("create", link),
        LinkOrder::Update { link, .. } => ("update", link),
        LinkOrder::Set { link, .. } => ("switch", link),
        LinkOrder::Delete { link, .. } => ("delete", link),
    }
}

/// An interface that is the end of a link.
struct Own<'a> {
    link: &'a LinkInfo,
    dump: &'a NamespaceDump,
    fingerprint: LinkFingerprint,
    switched: AdminState,
}

struct Call<'a> {
    fabric: &'a KernelFabric,
    context: &'a Context,
    orders: &'a [LinkOrder],
    answers: Vec<Option<Result<(), DriverError>>>,
    open: HashMap<Place, OpenPlace>,
    /// The same, as requests want them.
    kernel: HashMap<Place, netloom_kernel::Place>,
    dumps: HashMap<Place, NamespaceDump>,
}

impl Call<'_> {
    async fn run(&mut self) {
        let (mut creates, mut updates, mut switches, mut removals) = (vec![], vec![], vec![], vec![]);
        for (order, wanted) in self.orders.iter().enumerate() {
            self.fabric.shared.marks.learn(name_of(wanted).1);
            let built = match wanted {
                LinkOrder::Create { lab, link, fingerprint } => {
                    Wire::new("create", order, lab, link, fingerprint).map(|wire| creates.push(wire))
                }
                LinkOrder::Update { lab, link, fingerprint } => {
                    Wire::new("update", order, lab, link, fingerprint).map(|wire| updates.push(wire))
                }
                LinkOrder::Set { lab, link, side, admin } => {
                    let end = end_of(lab, link, *side).ok_or_else(|| "the lab has no such end".to_owned());
                    let port = end.and_then(|end| Port::new(lab.name(), &end));
                    port.map_err(|why| refused_link("switch", link, why, ErrorClass::Permanent)).map(|port| {
                        let state = *admin;
                        switches.push(Switch { order, lab: lab.name().clone(), id: link.clone(), port, state });
                    })
                }
                LinkOrder::Delete { lab, link } => {
                    removals.push(Removal { order, lab: lab.clone(), id: link.clone() });
                    Ok(())
                }
            };
            if let Err(error) = built {
                self.answers[order] = Some(Err(error));
            }
        }
        let wires = creates.iter().chain(&updates);
        let ports = wires.flat_map(Wire::ports).chain(switches.iter().map(|switch| &switch.port));
        let mut places: BTreeSet<Place> = ports.map(|port| port.place.clone()).collect();
        places.extend(self.places_of(&removals).await);
        if let Err(class) = self.open(places).await {
            self.give_up(class);
            return;
        }
        self.remove(removals).await;
        self.create(creates).await;
        self.update(updates).await;
        self.switch(switches).await;
    }

    /// Answers everything that has no answer yet.
    fn give_up(&mut self, class: ErrorClass) {
        for (answer, order) in self.answers.iter_mut().zip(self.orders) {
            let (operation, id) = name_of(order);
            answer.get_or_insert_with(|| Err(refused_link(operation, id, cause_of(class), class)));
        }
    }

    fn refuse(&mut self, order: usize, cause: impl Into<String>, class: ErrorClass) {
        let (operation, id) = name_of(&self.orders[order]);
        self.answers[order] = Some(Err(refused_link(operation, id, cause, class)));
    }

    fn refuse_all(&mut self, orders: impl Iterator<Item = usize>, cause: &str, class: ErrorClass) {
        for order in orders {
            self.refuse(order, cause, class);
        }
    }

    /// Where the mirror has ends of the links. The kernel is asked about them once more before any is touched.
    async fn places_of(&self, removals: &[Removal]) -> Vec<Place> {
        if removals.is_empty() {
            return Vec::new();
        }
        if !self.fabric.listed.load(Ordering::Acquire)
            && let Err(error) = self.fabric.relist().await
        {
            tracing::warn!(%error, "links are deleted by what events have told alone");
        }
        let wanted: BTreeSet<(&LabName, &LinkId)> =
            removals.iter().map(|removal| (&removal.lab, &removal.id)).collect();
        let marks = &self.fabric.shared.marks;
        self.fabric.shared.mirror().places_with(|found| match marks.read(found) {
            Some(PortMark::Link { lab, link, .. }) => wanted.contains(&(&lab, &link)),
            _ => false,
        })
    }

    async fn open(&mut self, places: BTreeSet<Place>) -> Result<(), ErrorClass> {
        let places: Vec<Place> = places.into_iter().collect();
        let opened = self.fabric.places.open(places.clone(), self.context.deadline).await?;
        let mut unknown = Vec::new();
        for (place, opened) in places.into_iter().zip(opened) {
            match opened {
                Ok(open) => {
                    let mut mirror = self.fabric.shared.mirror();
                    if let Some(touched) = mirror.know(&place, open.nsid) {
                        self.fabric.shared.report(&mirror, touched);
                        unknown.push(open.clone());
                    }
                    drop(mirror);
                    self.kernel.insert(place.clone(), open.kernel.clone());
                    self.open.insert(place, open);
                }
                // Said to each link that ends there, when it is its turn.
                Err(error) => tracing::debug!(?place, %error, "a place cannot be opened"),
            }
        }
        if !unknown.is_empty() {
            // What is in it already is not told by events.
            self.fabric.fetch(unknown, self.context.deadline).await.map_err(|(class, _)| class)?;
        }
        Ok(())
    }

    /// The first place of these that could not be opened.
    fn closed(&self, wire: &Wire) -> Option<String> {
        wire.ports().find(|port| !self.kernel.contains_key(&port.place)).map(|port| nowhere(&port.place))
    }

    /// Dumps the places again.
    async fn look(&mut self, places: impl IntoIterator<Item = Place>) -> Result<(), (ErrorClass, String)> {
        let places: BTreeSet<Place> = places.into_iter().collect();
        let open: Vec<OpenPlace> = places.iter().filter_map(|place| self.open.get(place)).cloned().collect();
        if !open.is_empty() {
            self.dumps.extend(self.fabric.fetch(open, self.context.deadline).await?);
        }
        Ok(())
    }

    async fn remove(&mut self, removals: Vec<Removal>) {
        if removals.is_empty() {
            return;
        }
        let places: Vec<Place> = self.open.keys().cloned().collect();
        if let Err((class, cause)) = self.look(places).await {
            self.refuse_all(removals.iter().map(|removal| removal.order), &cause, class);
            return;
        }
        let mut ends: BTreeMap<(LabName, LinkId), Vec<(Place, u32)>> = BTreeMap::new();
        for (place, dump) in &self.dumps {
            for found in &dump.links {
                if let Some(PortMark::Link { lab, link, .. }) = self.fabric.shared.marks.read(found) {
                    ends.entry((lab, link)).or_default().push((place.clone(), found.ifindex));
                }
            }
        }
        let mut work = Work::default();
        for removal in &removals {
            self.answers[removal.order] = Some(Ok(()));
            for (place, ifindex) in ends.remove(&(removal.lab.clone(), removal.id.clone())).unwrap_or_default() {
                // The second end goes with the first; asking for it too costs nothing.
                let request = Request::DeleteLink { place: self.kernel[&place].clone(), ifindex };
                work.add(&place, removal.order, [request]);
            }
        }
        self.carry_out(work).await;
    }

    async fn create(&mut self, wires: Vec<Wire>) {
        let masters = match self.masters(&wires).await {
            Ok(masters) => masters,
            Err((class, cause)) => {
                self.refuse_all(wires.iter().map(|wire| wire.order), &cause, class);
                return;
            }
        };
        let mut pending = Vec::new();
        for wire in wires {
            let missing =
                wire.ports().filter_map(|port| port.bridge.as_ref()).find(|name| !masters.contains_key(*name));
            if let Some(cause) = self.closed(&wire) {
                self.refuse(wire.order, cause, ErrorClass::Transient);
            } else if let Some(bridge) = missing {
                self.refuse(wire.order, format!("there is no bridge `{bridge}` on the host"), ErrorClass::Transient);
            } else {
                pending.push(wire);
            }
        }
        let (mut made, mut adopted) = (Vec::new(), Vec::new());
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
            let (mut again, mut clashes) = (Vec::new(), Vec::new());
            for (wire, result) in std::mem::take(&mut pending).into_iter().zip(results) {
                match result {
                    Ok(()) => made.push(wire),
                    Err(error) if error.kind == KernelErrorKind::IfindexTaken => again.push(wire),
                    Err(error) if error.kind == KernelErrorKind::AlreadyExists => clashes.push(wire),
                    Err(error) => self.refuse(wire.order, error.message, class_of(error.kind)),
                }
            }
            let (found, freed) = self.settle(clashes).await;
            adopted.extend(found);
            again.extend(freed);
            pending = again;
        }
        for wire in pending {
            if self.answers[wire.order].is_none() {
                self.refuse(wire.order, "no free ifindex was found for it", ErrorClass::Transient);
            }
        }
        self.finish(made, &masters).await;
        self.update(adopted.clone()).await;
        self.bring_up(adopted).await;
    }

    /// The ifindexes of the bridges that the wires name, as far as they exist.
    async fn masters(&mut self, wires: &[Wire]) -> Result<HashMap<InterfaceName, u32>, (ErrorClass, String)> {
        let names: BTreeSet<&InterfaceName> =
            wires.iter().flat_map(Wire::ports).filter_map(|p| p.bridge.as_ref()).collect();
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        self.look([Place::Host]).await?;
        let dump = self.dumps.get(&Place::Host);
        let found = |name: &InterfaceName| {
            let link = dump?.named(name.as_str()).filter(|link| link.kind.as_deref() == Some("bridge"))?;
            Some((name.clone(), link.ifindex))
        };
        Ok(names.into_iter().filter_map(found).collect())
    }

    /// Looks at what is in the way of links: returns those that are there already, and those whose way is free now.
    async fn settle(&mut self, clashes: Vec<Wire>) -> (Vec<Wire>, Vec<Wire>) {
        if clashes.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let places: Vec<Place> = clashes.iter().flat_map(Wire::ports).map(|port| port.place.clone()).collect();
        if let Err((class, cause)) = self.look(places).await {
            self.refuse_all(clashes.iter().map(|wire| wire.order), &cause, class);
            return (Vec::new(), Vec::new());
        }
        let (mut adopted, mut freed, mut work) = (Vec::new(), Vec::new(), Work::default());
        for mut wire in clashes {
            let found = wire.ports().map(|port| self.in_the_way(&wire, port)).collect::<Result<Vec<_>, _>>();
            let found = match found {
                Ok(found) => found,
                Err((class, cause)) => {
                    self.refuse(wire.order, cause, class);
                    continue;
                }
            };
            if self.is_whole(&wire, &found) {
                wire.ports_mut().zip(&found).for_each(|(port, link)| {
                    port.ifindex = link.as_ref().map_or(0, |link| link.ifindex);
                });
                adopted.push(wire);
                continue;
            }
            for (port, link) in wire.ports().zip(found) {
                let Some(link) = link else { continue };
                let request = Request::DeleteLink { place: self.kernel[&port.place].clone(), ifindex: link.ifindex };
                work.add(&port.place, wire.order, [request]);
            }
            freed.push(wire);
        }
        self.carry_out(work).await;
        // A removal that failed has its answer; the others are tried again.
        freed.retain(|wire| !matches!(self.answers[wire.order], Some(Err(_))));
        (adopted, freed)
    }

    /// What has the name of a port: nothing, or something of this very link. Anything else is an error.
    fn in_the_way(&self, wire: &Wire, port: &Port) -> Result<Option<LinkInfo>, (ErrorClass, String)> {
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
    fn is_whole(&self, wire: &Wire, found: &[Option<LinkInfo>]) -> bool {
        let same = |link: &LinkInfo| match self.fabric.shared.marks.read(link) {
            Some(PortMark::Link { fingerprint, .. }) => fingerprint.identity == wire.fingerprint.identity,
            _ => false,
        };
        match found {
            [Some(a)] => same(a),
            [Some(a), Some(b)] => same(a) && same(b) && a.peer == Some(b.ifindex) && b.peer == Some(a.ifindex),
            _ => false,
        }
    }

    /// Completes links that were just created; one that cannot be completed is taken back.
    async fn finish(&mut self, made: Vec<Wire>, masters: &HashMap<InterfaceName, u32>) {
        let mut work = Work::default();
        for wire in &made {
            self.answers[wire.order] = Some(Ok(()));
            for port in wire.ports() {
                let requests = wire.finish(port, &self.fabric.shared.marks, &self.kernel[&port.place], masters);
                work.add(&port.place, wire.order, requests);
            }
        }
        self.carry_out(work).await;
        let failed = made.iter().filter(|wire| matches!(self.answers[wire.order], Some(Err(_))));
        let undo = |wire: &Wire| Request::DeleteLink {
            place: self.kernel[&wire.main.place].clone(),
            ifindex: wire.main.ifindex,
        };
        let batch: Vec<Request> = failed.map(undo).collect();
        if !batch.is_empty()
            && let Err(class) = self.fabric.rtnl.submit(batch, self.context.deadline).await
        {
            // They carry the group, so the next create of the same link takes them away.
            tracing::warn!(?class, "links that could not be completed stay behind for now");
        }
    }

    async fn update(&mut self, wires: Vec<Wire>) {
        let wanted: Vec<Place> = wires.iter().flat_map(Wire::ports).map(|port| port.place.clone()).collect();
        if let Err((class, cause)) = self.look(wanted).await {
            self.refuse_all(wires.iter().map(|wire| wire.order), &cause, class);
            return;
        }
        let mut work = Work::default();
        for wire in wires {
            if let Some(cause) = self.closed(&wire) {
                self.refuse(wire.order, cause, ErrorClass::Transient);
                continue;
            }
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
            self.answers[wire.order] = Some(Ok(()));
            for (place, change) in requests {
                work.add(&place, wire.order, change);
            }
        }
        self.carry_out(work).await;
    }

    /// Brings up links that were found instead of made.
    async fn bring_up(&mut self, adopted: Vec<Wire>) {
        let mut switches = Vec::new();
        for wire in adopted {
            let is_down = |port: &&Port| {
                let own = self.own(&wire.lab, &wire.id, port);
                own.is_some_and(|own| own.switched == AdminState::Up && !own.link.up)
            };
            let down = wire.ports().filter(is_down).cloned();
            let switch = |port| Switch {
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

    async fn switch(&mut self, switches: Vec<Switch>) {
        if let Err((class, cause)) = self.look(switches.iter().map(|switch| switch.port.place.clone())).await {
            self.refuse_all(switches.iter().map(|switch| switch.order), &cause, class);
            return;
        }
        let mut work = Work::default();
        for Switch { order, lab, id, mut port, state } in switches {
            let Some(place) = self.kernel.get(&port.place).cloned() else {
                self.refuse(order, nowhere(&port.place), ErrorClass::Transient);
                continue;
            };
            let Some(Own { link, fingerprint, .. }) = self.own(&lab, &id, &port) else {
                let cause = format!("its interface `{}` is not there {place}", port.name());
                self.refuse(order, cause, ErrorClass::Transient);
                continue;
            };
            port.ifindex = link.ifindex;
            // State and mark in one message, so that no event shows one without the other.
            let change = LinkChange {
                state: Some(match state {
                    AdminState::Up => netloom_kernel::AdminState::Up,
                    AdminState::Down => netloom_kernel::AdminState::Down,
                }),
                alias: Some(self.fabric.shared.marks.link_alias(&lab, &id, &fingerprint, state)),
                ..LinkChange::default()
            };
            let mut requests = vec![Request::SetLink { place: place.clone(), ifindex: link.ifindex, change }];
            if state == AdminState::Up {
                // An interface that goes down loses its IPv6 addresses.
                requests.extend(port.add_addresses(&place));
            }
            self.answers[order].get_or_insert(Ok(()));
            work.add(&port.place, order, requests);
        }
        self.carry_out(work).await;
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

    /// Has the requests done, place by place; the first failure of an order is its answer. What is there already is as
    /// good as added, what is gone already as good as deleted.
    async fn carry_out(&mut self, work: Work) {
        let (orders, batch): (Vec<usize>, Vec<Request>) = work.0.into_values().flatten().unzip();
        if batch.is_empty() {
            return;
        }
        let tolerated: Vec<Option<KernelErrorKind>> = batch.iter().map(tolerates).collect();
        match self.fabric.submit(batch, self.context).await {
            Err(class) => self.refuse_all(orders.into_iter(), cause_of(class), class),
            Ok(results) => {
                for ((order, result), tolerated) in orders.into_iter().zip(results).zip(tolerated) {
                    if let Err(error) = result
                        && Some(error.kind) != tolerated
                        && !matches!(self.answers[order], Some(Err(_)))
                    {
                        self.refuse(order, error.message, class_of(error.kind));
                    }
                }
            }
        }
    }
}

/// Requests by place, each with the order that it is for; those of one order in one place stay in their order.
#[derive(Default)]
struct Work(BTreeMap<Place, Vec<(usize, Request)>>);

impl Work {
    fn add(&mut self, place: &Place, order: usize, requests: impl IntoIterator<Item = Request>) {
        let of = self.0.entry(place.clone()).or_default();
        of.extend(requests.into_iter().map(|request| (order, request)));
    }
}

fn tolerates(request: &Request) -> Option<KernelErrorKind> {
    match request {
        Request::DeleteLink { .. } | Request::DeleteAddress { .. } => Some(KernelErrorKind::NotFound),
        Request::AddAddress { .. } => Some(KernelErrorKind::AlreadyExists),
        _ => None,
    }
}

fn nowhere(place: &Place) -> String {
    match place {
        Place::Host => "the host's namespace cannot be opened".to_owned(),
        Place::Node(_, node) => format!("the network namespace of node `{node}` is not there"),
    }
}
