//! A batch of orders carried out: deletes, then creates, then updates and switches.
//!
//! Each of these is a few batches for the writer: the creates of all links, then what makes each of them complete.
//! A link is completed only after its creation is known to have worked, since the requests name ifindexes: sent blindly
//! they could hit somebody else's interface.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use netloom_engine::{Context, DriverError, ErrorClass, LinkOrder, Place};
use netloom_kernel::{KernelErrorKind, NamespaceDump, Request};
use netloom_model::{InterfaceName, LabName, LinkId};
use netloom_plan::AdminState;

use super::checksum::LIVED_WITH;
use super::places::{OpenPlace, is_gone};
use super::wire::{Port, Wire, carrier_of, port_of};
use super::{KernelFabric, OPEN_AT_ONCE, cause_of, class_of, refused_link};

/// Why an interface is switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Somebody wants it so: its mark says it.
    Ordered,
    /// What is at the far end is so.
    Follows,
    /// It is a tunnel, and so is what is behind it: the host at its far end is told.
    Tells,
}

/// One end to be switched.
pub(super) struct Switch {
    pub(super) why: Why,
    pub(super) order: usize,
    pub(super) lab: LabName,
    pub(super) id: LinkId,
    pub(super) port: Port,
    pub(super) state: AdminState,
}

/// A link to be removed.
pub(super) struct Removal {
    pub(super) order: usize,
    pub(super) lab: LabName,
    pub(super) id: LinkId,
}

pub(crate) async fn apply(
    fabric: &KernelFabric,
    orders: &[LinkOrder],
    in_user_space: &BTreeSet<InterfaceName>,
    context: &Context,
) -> Vec<Result<(), DriverError>> {
    // What goes makes way for what comes, also when there are too many for one go.
    let (mut turns, others): (Vec<usize>, Vec<usize>) =
        (0..orders.len()).partition(|at| matches!(orders[*at], LinkOrder::Delete { .. }));
    turns.extend(others);
    let mut answers = vec![None; orders.len()];
    for turns in turns.chunks(OPEN_AT_ONCE) {
        let part: Vec<LinkOrder> = turns.iter().map(|at| orders[*at].clone()).collect();
        let mut call = Call {
            fabric,
            context,
            in_user_space,
            orders: &part,
            answers: vec![None; part.len()],
            open: HashMap::new(),
            kernel: HashMap::new(),
            unopened: HashMap::new(),
            dumps: HashMap::new(),
        };
        call.run().await;
        for (at, answer) in turns.iter().zip(call.answers) {
            answers[*at] = answer;
        }
    }
    let missing = |order: &LinkOrder| {
        let (operation, id) = name_of(order);
        Err(refused_link(operation, id, "it was not attempted", ErrorClass::Transient))
    };
    answers.into_iter().zip(orders).map(|(answer, order)| answer.unwrap_or_else(|| missing(order))).collect()
}

fn name_of(order: &LinkOrder) -> (&'static str, &LinkId) {
    match order {
        LinkOrder::Create { link, .. } => ("create", link),
        LinkOrder::Adopt { link, .. } => ("adopt", link),
        LinkOrder::Update { link, .. } => ("update", link),
        LinkOrder::Set { link, .. } | LinkOrder::Carry { link, .. } => ("switch", link),
        LinkOrder::Delete { link, .. } => ("delete", link),
    }
}

pub(super) struct Call<'a> {
    pub(super) fabric: &'a KernelFabric,
    pub(super) context: &'a Context,
    /// The bridges of switches that forward there.
    in_user_space: &'a BTreeSet<InterfaceName>,
    pub(super) orders: &'a [LinkOrder],
    pub(super) answers: Vec<Option<Result<(), DriverError>>>,
    pub(super) open: HashMap<Place, OpenPlace>,
    /// The same, as requests want them.
    pub(super) kernel: HashMap<Place, netloom_kernel::Place>,
    /// Why the others could not be opened.
    pub(super) unopened: HashMap<Place, String>,
    pub(super) dumps: HashMap<Place, NamespaceDump>,
}

impl Call<'_> {
    async fn run(&mut self) {
        let (mut creates, mut adopts, mut updates, mut switches, mut removals) =
            (vec![], vec![], vec![], vec![], vec![]);
        for (order, wanted) in self.orders.iter().enumerate() {
            let built = match wanted {
                LinkOrder::Create { lab, link, fingerprint, .. } => {
                    Wire::of("create", order, lab, link, fingerprint).map(|wires| creates.extend(wires))
                }
                LinkOrder::Adopt { lab, link, fingerprint, .. } => {
                    Wire::of("adopt", order, lab, link, fingerprint).map(|wires| adopts.extend(wires))
                }
                LinkOrder::Update { lab, link, fingerprint, .. } => {
                    Wire::of("update", order, lab, link, fingerprint).map(|wires| updates.extend(wires))
                }
                LinkOrder::Set { lab, link, side, admin } => {
                    let port = port_of(lab, link, *side);
                    port.map_err(|why| refused_link("switch", link, why, ErrorClass::Permanent)).map(|port| {
                        let state = *admin;
                        let (why, lab, id) = (Why::Ordered, lab.name().clone(), link.clone());
                        switches.push(Switch { why, order, lab, id, port, state });
                    })
                }
                LinkOrder::Carry { lab, link, side, carrier } => {
                    let port = carrier_of(lab, link, *side);
                    port.map_err(|why| refused_link("switch", link, why, ErrorClass::Permanent)).map(|(why, port)| {
                        let (lab, id, state) = (lab.name().clone(), link.clone(), *carrier);
                        switches.push(Switch { why, order, lab, id, port, state });
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
        for wire in creates.iter_mut().chain(&mut updates) {
            if let LinkOrder::Create { lab, .. } | LinkOrder::Update { lab, .. } = &self.orders[wire.order] {
                wire.complete_checksums(lab, self.in_user_space);
            }
        }
        let wires = creates.iter().chain(&adopts).chain(&updates);
        let ports = wires.flat_map(Wire::ports).chain(switches.iter().map(|switch| &switch.port));
        let mut places: BTreeSet<Place> = ports.map(|port| port.place.clone()).collect();
        if !creates.is_empty() || updates.iter().any(Wire::hangs) {
            places.insert(Place::Host);
        }
        places.extend(self.places_of(&removals).await);
        if let Err(class) = self.open(places).await {
            self.give_up(class);
            return;
        }
        let ids = creates.iter().chain(&adopts).chain(&updates).map(|wire| (&wire.lab, &wire.id));
        let ids = ids.chain(switches.iter().map(|switch| (&switch.lab, &switch.id)));
        if let Err(class) = self.remember(ids).await {
            self.give_up(class);
            return;
        }
        self.remove(removals).await;
        self.create(creates).await;
        self.adopt(adopts).await;
        let updates = self.ground(updates).await;
        self.update(updates).await;
        self.switch(switches).await;
    }

    /// Writes down the ids that no mark has room for, before a mark refers to them.
    async fn remember<'a>(&self, ids: impl Iterator<Item = (&'a LabName, &'a LinkId)>) -> Result<(), ErrorClass> {
        let marks = &self.fabric.shared.marks;
        let new = ids.filter(|(lab, id)| marks.is_long(lab, id) && marks.learn(id)).map(|(_, id)| id.clone());
        let new: Vec<LinkId> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        match self.fabric.places.remember(new, self.context.deadline).await? {
            Ok(()) => Ok(()),
            Err(error) => {
                // The links work all the same; only a new life of the agent will take them for others.
                tracing::warn!(%error, "ids of links that are too long for their marks cannot be written down");
                Ok(())
            }
        }
    }

    /// Answers everything that has no answer yet.
    pub(super) fn give_up(&mut self, class: ErrorClass) {
        for (answer, order) in self.answers.iter_mut().zip(self.orders) {
            let (operation, id) = name_of(order);
            answer.get_or_insert_with(|| Err(refused_link(operation, id, cause_of(class), class)));
        }
    }

    /// An order is carried out as far as this wire of it goes; what another one of it came to stays.
    pub(super) fn accept(&mut self, order: usize) {
        self.answers[order].get_or_insert(Ok(()));
    }

    pub(super) fn refuse(&mut self, order: usize, cause: impl Into<String>, class: ErrorClass) {
        let (operation, id) = name_of(&self.orders[order]);
        self.answers[order] = Some(Err(refused_link(operation, id, cause, class)));
    }

    pub(super) fn refuse_all(&mut self, orders: impl Iterator<Item = usize>, cause: &str, class: ErrorClass) {
        for order in orders {
            self.refuse(order, cause, class);
        }
    }

    pub(super) async fn open(&mut self, places: BTreeSet<Place>) -> Result<(), ErrorClass> {
        let places: Vec<Place> = places.into_iter().collect();
        let opened = self.fabric.places.open(places.clone(), self.context.deadline).await?;
        let mut unknown = Vec::new();
        for (place, opened) in places.into_iter().zip(opened) {
            match opened {
                Ok(open) => {
                    let mut mirror = self.fabric.shared.mirror();
                    if let Some(touched) = mirror.know(&place, open.nsid) {
                        self.fabric.shared.report(&mut mirror, touched);
                        unknown.push(open.clone());
                    }
                    drop(mirror);
                    self.kernel.insert(place.clone(), open.kernel.clone());
                    self.open.insert(place, open);
                }
                // Said to each link that ends there, when it is its turn.
                Err(error) => {
                    let why = match &place {
                        Place::Node(_, node) if is_gone(&error) => {
                            format!("the network namespace of node `{node}` is not there")
                        }
                        Place::Node(_, node) => {
                            format!("the network namespace of node `{node}` cannot be opened: {error}")
                        }
                        Place::Host => format!("the host's namespace cannot be opened: {error}"),
                    };
                    self.unopened.insert(place, why);
                }
            }
        }
        if !unknown.is_empty() {
            // What is in it already is not told by events.
            self.fabric.fetch(unknown, self.context.deadline).await.map_err(|(class, _)| class)?;
        }
        Ok(())
    }

    /// Why a place of the wire is not open, if one is not.
    pub(super) fn closed(&self, wire: &Wire) -> Option<String> {
        wire.ports().find_map(|port| self.unopened.get(&port.place)).cloned()
    }

    /// Dumps the places again.
    pub(super) async fn look(&mut self, places: impl IntoIterator<Item = Place>) -> Result<(), (ErrorClass, String)> {
        let places: BTreeSet<Place> = places.into_iter().collect();
        let open: Vec<OpenPlace> = places.iter().filter_map(|place| self.open.get(place)).cloned().collect();
        if !open.is_empty() {
            self.dumps.extend(self.fabric.fetch(open, self.context.deadline).await?);
        }
        Ok(())
    }

    /// Has the requests done, place by place; the first failure of an order is its answer. What is there already is as
    /// good as added, what is gone already as good as deleted.
    pub(super) async fn carry_out(&mut self, work: Work) {
        let (orders, batch): (Vec<usize>, Vec<Request>) = work.0.into_values().flatten().unzip();
        if batch.is_empty() {
            return;
        }
        let tolerated: Vec<Option<KernelErrorKind>> = batch.iter().map(tolerates).collect();
        match self.fabric.submit(batch, self.context).await {
            Err(class) => self.refuse_all(orders.into_iter(), cause_of(class), class),
            Ok(results) => {
                for ((order, result), tolerated) in orders.into_iter().zip(results).zip(tolerated) {
                    let Err(error) = result else { continue };
                    if Some(error.kind) == tolerated {
                        if error.kind == LIVED_WITH {
                            tracing::warn!(%error, "TCP and UDP from there may not pass the switch in user space");
                        }
                    } else if !matches!(self.answers[order], Some(Err(_))) {
                        self.refuse(order, error.message, class_of(error.kind));
                    }
                }
            }
        }
    }
}

/// Requests by place, each with the order that it is for; those of one order in one place stay in their order.
#[derive(Default)]
pub(super) struct Work(BTreeMap<Place, Vec<(usize, Request)>>);

impl Work {
    pub(super) fn add(&mut self, place: &Place, order: usize, requests: impl IntoIterator<Item = Request>) {
        let of = self.0.entry(place.clone()).or_default();
        of.extend(requests.into_iter().map(|request| (order, request)));
    }
}

fn tolerates(request: &Request) -> Option<KernelErrorKind> {
    match request {
        Request::DeleteLink { .. } | Request::DeleteAddress { .. } => Some(KernelErrorKind::NotFound),
        // A default route that is there is another's, who came first.
        Request::AddAddress { .. } | Request::AddRoute { .. } => Some(KernelErrorKind::AlreadyExists),
        Request::DisableTxChecksum { .. } => Some(LIVED_WITH),
        _ => None,
    }
}
