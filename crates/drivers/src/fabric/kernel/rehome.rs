//! Ends of links that follow their node into a new namespace.
//!
//! The namespace of a container is made anew each time that it starts. Its ends wait in the old one, which stays pinned,
//! and move into the new one (18 to 29 ms each): the far ends keep their interface, ifindex and addresses and see no more
//! than their carrier go and come. To the rest of the agent the place is one and the same; while its interfaces are on the
//! way nothing is told of it.

use std::net::IpAddr;
use std::time::Instant;

use netloom_engine::{DriverError, ErrorClass, Place, PortMark, Report, Source};
use netloom_failpoint::point;
use netloom_kernel::{
    Address, AddressInfo, AdminState, KernelError, KernelErrorKind, LinkChange, LinkInfo, NamespaceDump, Netns, Request,
};
use netloom_model::{InterfaceName, LabName, NodeName};

use super::mark::{ADDRESS_PROTOCOL, Marks, is_half_made};
use super::places::{Home, OpenPlace, is_gone};
use super::wire::default_route;
use super::{Dumping, KernelFabric, Shared, cause_of, class_of, class_of_submit, refusal};

type Refused = (ErrorClass, String);

impl KernelFabric {
    /// Pins the namespace that a node has now, with the ends of its links in it; how many had to move. Doing it again
    /// changes nothing, and completes what was cut off.
    pub async fn rehome(
        &self,
        lab: &LabName,
        node: &NodeName,
        netns: &Netns,
        deadline: Instant,
    ) -> Result<usize, DriverError> {
        self.demand.note();
        let place = Place::Node(lab.clone(), node.clone());
        let refused = |(class, cause): Refused| refusal("give", format!("node {node} its links"), cause, class);
        let home = self.places.settle(place.clone(), netns.clone(), deadline).await.map_err(short).map_err(refused)?;
        match home.map_err(|error| refused(failed(&error)))? {
            Home::Here => Ok(0),
            Home::New => self.arrive(&place, deadline).await.map_err(refused).map(|()| 0),
            Home::Elsewhere(old) => self.follow(old, netns, deadline).await.map_err(refused),
        }
    }

    /// Gives an interface in a node that somebody else has made more addresses; what it has stays. One that is not there gets
    /// none.
    pub(crate) async fn add_addresses(
        &self,
        (lab, node): (&LabName, &NodeName),
        interface: &InterfaceName,
        addresses: &[Address],
        deadline: Instant,
    ) -> Result<(), DriverError> {
        let place = Place::Node(lab.clone(), node.clone());
        let add = async {
            let opened = self.places.open(vec![place], deadline).await.map_err(short)?.pop();
            let open = opened.ok_or_else(|| short(ErrorClass::Transient))?.map_err(|error| failed(&error))?;
            let dump = self.dump(&open, deadline).await?;
            let Some(found) = dump.named(interface.as_str()) else { return Ok(()) };
            let (place, ifindex) = (&open.kernel, found.ifindex);
            let add = |address: &Address| {
                let (place, address) = (place.clone(), *address);
                Request::AddAddress { place, ifindex, address, protocol: None }
            };
            self.all_done(addresses.iter().map(add).collect(), deadline).await
        };
        add.await.map_err(|(class, cause)| refusal("give", format!("node {node} its addresses"), cause, class))
    }

    /// Takes the ends of a lab's links out of the namespace of a node, which stays: it is another's.
    pub async fn clear(&self, lab: &LabName, node: &NodeName, deadline: Instant) -> Result<(), DriverError> {
        self.demand.note();
        let refused = |(class, cause): Refused| refusal("take", format!("the links of node {node}"), cause, class);
        self.take_out(lab, &Place::Node(lab.clone(), node.clone()), deadline).await.map_err(refused)
    }

    async fn take_out(&self, lab: &LabName, place: &Place, deadline: Instant) -> Result<(), Refused> {
        let opened = self.places.open_to_read(vec![place.clone()], deadline).await.map_err(short)?.pop();
        let open = match opened.ok_or_else(|| short(ErrorClass::Transient))? {
            Ok(open) => open,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(failed(&error)),
        };
        let dump = self.dump(&open, deadline).await?;
        let group = self.shared.marks.lab_group(lab);
        let is_ours = |link: &&LinkInfo| match self.shared.marks.read(link) {
            Some(PortMark::Link { lab: of, .. }) => of == *lab,
            _ => is_half_made(link, group),
        };
        let ours = dump.links.iter().filter(is_ours);
        let deletes = ours.map(|link| Request::DeleteLink { place: open.kernel.clone(), ifindex: link.ifindex });
        let deletes: Vec<Request> = deletes.collect();
        if deletes.is_empty() {
            return Ok(());
        }
        let answers = self.rtnl.submit(deletes, deadline).await.map_err(class_of_submit).map_err(short)?;
        // Both ends of one link may have been here.
        let refused = answers.into_iter().filter_map(Result::err).find(|error| !error.is_not_found());
        refused.map_or(Ok(()), |error| Err((class_of(error.kind), error.to_string())))
    }

    async fn follow(&self, old: OpenPlace, netns: &Netns, deadline: Instant) -> Result<usize, Refused> {
        let moving = Moving::begin(&self.shared, &old.place);
        let Place::Node(_, node) = &old.place else {
            return Err((ErrorClass::Permanent, "the host stays where it is".into()));
        };
        let kernel = netloom_kernel::Place::node(netns.clone(), node.as_str());
        let new = OpenPlace { place: old.place.clone(), kernel, nsid: None };
        let moved = self.carry(&old, &new, deadline).await?;
        point!("link.moved");
        let pinned = self.places.repin(old.place.clone(), netns.clone(), deadline).await.map_err(short)?;
        pinned.map_err(|error| failed(&error))?;
        self.arrive(&old.place, deadline).await?;
        drop(moving);
        Ok(moved)
    }

    /// Moves the ends that carry the mark of the node's lab; how many those are: a node of another lab that has the same
    /// namespace goes its own way. Addresses stay behind in the kernel's hands, so those that came with a link are given
    /// again. What else was there went with the process that had put it there.
    ///
    /// An end with addresses or routes is marked as one without until it has them: what is cut off or refused here is a change
    /// of the link that is still to be made.
    async fn carry(&self, old: &OpenPlace, new: &OpenPlace, deadline: Instant) -> Result<usize, Refused> {
        let dump = self.dump(old, deadline).await?;
        let ours = dump.links.iter().filter_map(|link| match self.shared.marks.read(link) {
            Some(PortMark::Link { lab, switched, .. }) if is_of(&old.place, &lab) => {
                let given = dump.addresses.iter().filter(|info| info.ifindex == link.ifindex && is_given(info));
                let (given, state) = (given.map(|info| info.address).collect(), kernel_state(switched));
                Some(Moved { link, state, given, gateways: Marks::gateways(link) })
            }
            _ => None,
        });
        let ours: Vec<Moved<'_>> = ours.collect();
        let bare = ours.iter().filter(|moved| moved.has_more()).filter_map(|moved| {
            let alias = self.shared.marks.as_bare(moved.link)?;
            Some(set(old, moved.link.ifindex, LinkChange { alias: Some(alias), ..LinkChange::default() }))
        });
        self.all_done(bare.collect(), deadline).await?;
        let bridges: Vec<(&LinkInfo, InterfaceName)> = self.bridges(&dump).collect();
        let moves = ours.iter().map(|moved| Request::MoveLink {
            place: old.kernel.clone(),
            ifindex: moved.link.ifindex,
            to: new.kernel.clone(),
            state: moved.state,
        });
        // A bridge stays where it was made.
        let made = bridges.iter().map(|(_, name)| self.bridge_like(name, new));
        self.all_done(made.chain(moves).collect(), deadline).await?;
        point!("link.carried");
        // One whose ifindex was taken there has another now.
        let there = self.dump(new, deadline).await?;
        self.all_done(self.plug_in(&bridges, &ours, &there, new), deadline).await?;
        let arrived = |moved: &Moved<'_>| Some(there.named(&moved.link.name)?.ifindex);
        let give = ours.iter().filter_map(|moved| Some(moved.give(&new.kernel, arrived(moved)?)));
        let refused = self.all_done(give.flatten().collect(), deadline).await.err();
        if let Some((_, cause)) = &refused {
            // An end that went down on its way, for one, has lost what its routes need.
            tracing::warn!(place = %new.kernel, cause, "not all that ends of links had could be given to them again");
        }
        // What was changed of one on its way did not come along, and its mark says that it did. It says again what it was, so
        // that the change is made here too.
        let says = ours.iter().filter_map(|moved| {
            let (wanted, found) = (&moved.link.alias, there.named(&moved.link.name)?);
            let stays_bare = refused.is_some() && moved.has_more();
            let change = LinkChange { alias: wanted.clone(), ..LinkChange::default() };
            (!stays_bare && found.alias != *wanted).then(|| set(new, found.ifindex, change))
        });
        self.all_done(says.collect(), deadline).await?;
        Ok(ours.len())
    }

    /// The bridges of ours in a namespace.
    fn bridges<'d>(&'d self, dump: &'d NamespaceDump) -> impl Iterator<Item = (&'d LinkInfo, InterfaceName)> {
        let ours = dump.links.iter().filter(|link| self.shared.marks.read(link) == Some(PortMark::Bridge));
        ours.filter_map(|link| Some((link, link.name.parse().ok()?)))
    }

    fn bridge_like(&self, name: &InterfaceName, at: &OpenPlace) -> Request {
        Request::CreateBridge {
            place: at.kernel.clone(),
            name: name.clone(),
            ifindex: None,
            mac: Some(self.shared.marks.bridge_mac(&at.place, name)),
            mtu: None,
            group: self.shared.marks.bridge_group(),
        }
    }

    /// Makes bridges that were made in a new namespace ours, and ports of them those that were in the old one.
    fn plug_in(
        &self,
        bridges: &[(&LinkInfo, InterfaceName)],
        moved: &[Moved<'_>],
        there: &NamespaceDump,
        new: &OpenPlace,
    ) -> Vec<Request> {
        let mut requests = Vec::new();
        for (old, name) in bridges {
            let Some(bridge) = there.named(name.as_str()) else { continue };
            let alias = Some(self.shared.marks.bridge_alias());
            let change = LinkChange { state: Some(AdminState::Up), alias, ..LinkChange::default() };
            requests.push(set(new, bridge.ifindex, change));
            let ports = moved.iter().map(|moved| moved.link).filter(|port| port.master == Some(old.ifindex));
            requests.extend(ports.filter_map(|port| {
                let change = LinkChange { master: Some(bridge.ifindex), ..LinkChange::default() };
                Some(set(new, there.named(&port.name)?.ifindex, change))
            }));
        }
        requests
    }

    async fn all_done(&self, batch: Vec<Request>, deadline: Instant) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        let answers = self.rtnl.submit(batch, deadline).await.map_err(class_of_submit).map_err(short)?;
        let is_there = |error: &KernelError| error.kind == KernelErrorKind::AlreadyExists;
        let refused = answers.into_iter().filter_map(Result::err).find(|error| !is_there(error));
        refused.map_or(Ok(()), |error| Err((class_of(error.kind), error.to_string())))
    }

    pub(super) async fn dump(&self, open: &OpenPlace, deadline: Instant) -> Result<NamespaceDump, Refused> {
        let dumps = self.dumper.dump(vec![open.kernel.clone()], deadline).await;
        let dump = dumps.map_err(class_of_submit).map_err(short)?.pop();
        let dump = dump.ok_or_else(|| short(ErrorClass::Transient))?;
        dump.map_err(|error| (class_of(error.kind), error.to_string()))
    }

    /// Takes over what is in the namespace that is pinned now, whose events are heard from here on.
    async fn arrive(&self, place: &Place, deadline: Instant) -> Result<(), Refused> {
        let _dumping = Dumping::begin(&self.shared);
        let opened = self.places.open(vec![place.clone()], deadline).await.map_err(short)?.pop();
        let open = opened.ok_or_else(|| short(ErrorClass::Transient))?.map_err(|error| failed(&error))?;
        let dump = self.dump(&open, deadline).await?;
        self.count_on(&dump);
        let mut mirror = self.shared.mirror();
        let touched = mirror.moved(place, open.nsid, dump);
        self.shared.report(&mut mirror, touched);
        Ok(())
    }
}

/// An end that follows its node, and what it had.
struct Moved<'a> {
    link: &'a LinkInfo,
    state: AdminState,
    given: Vec<Address>,
    gateways: Vec<IpAddr>,
}

impl Moved<'_> {
    /// Whether it had what does not come along.
    fn has_more(&self) -> bool {
        !self.given.is_empty() || !self.gateways.is_empty()
    }

    /// What gives it that again; one that is off gets its routes when it is switched on.
    fn give(&self, place: &netloom_kernel::Place, ifindex: u32) -> Vec<Request> {
        let give = |address: &Address| Request::AddAddress {
            place: place.clone(),
            ifindex,
            address: *address,
            protocol: Some(ADDRESS_PROTOCOL),
        };
        let gateways = self.gateways.iter().filter(|_| self.state == AdminState::Up);
        let routes = gateways.map(|gateway| default_route(place, ifindex, *gateway));
        self.given.iter().map(give).chain(routes).collect()
    }
}

/// Whether an address came with a link. Without the mark of who gave it (kernels before 5.18) it counts as the link's.
fn is_given(info: &AddressInfo) -> bool {
    !info.link_local && info.protocol.is_none_or(|protocol| protocol == ADDRESS_PROTOCOL)
}

fn set(at: &OpenPlace, ifindex: u32, change: LinkChange) -> Request {
    Request::SetLink { place: at.kernel.clone(), ifindex, change }
}

fn is_of(place: &Place, lab: &LabName) -> bool {
    matches!(place, Place::Node(of, _) if of == lab)
}

fn kernel_state(state: netloom_plan::AdminState) -> AdminState {
    match state {
        netloom_plan::AdminState::Up => AdminState::Up,
        netloom_plan::AdminState::Down => AdminState::Down,
    }
}

fn short(class: ErrorClass) -> Refused {
    (class, cause_of(class).to_owned())
}

fn failed(error: &std::io::Error) -> Refused {
    (ErrorClass::Transient, error.to_string())
}

/// A move under way; what is known of the place stays as it was until this is dropped, also when the call is given up.
struct Moving<'a> {
    shared: &'a Shared,
    place: Place,
}

impl<'a> Moving<'a> {
    fn begin(shared: &'a Shared, place: &Place) -> Self {
        shared.mirror().begin_move(place);
        Self { shared, place: place.clone() }
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        if self.shared.mirror().not_moved(&self.place) {
            // Where its interfaces are is not known any more.
            self.shared.reporter.send(Report::Lost(Source::Fabric));
        }
    }
}
