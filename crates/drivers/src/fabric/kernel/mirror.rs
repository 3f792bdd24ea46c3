//! What the kernel has told, put together: links and addresses come in messages of their own, a fact has both.
//!
//! Fed by events in their order and by dumps. A dump takes a while, so events that arrive meanwhile are
//! applied at once *and* again to its result; each carries the whole state of its object, so the last one wins.
//! Pure: it does no I/O and asks for no time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::SystemTime;

use netloom_engine::{Fact, FailSignals, Place, PortFact, PortKind, PortMark};
use netloom_kernel::{AddressInfo, Change, LinkInfo, MonitorEvent, NamespaceDump};

use super::mark::{ADDRESS_PROTOCOL, Marks};

#[derive(Debug, Default)]
pub(crate) struct Mirror {
    spaces: HashMap<Place, Space>,
    /// The places by the id of their namespace: nodes of several labs may have the one of a container outside of them.
    places: HashMap<i32, BTreeSet<Place>>,
    /// Events since the first of the dumps in flight began.
    replay: Vec<MonitorEvent>,
    dumps_in_flight: usize,
    /// Places whose interfaces are moving to another namespace: what is known of them stays as it was until they are there.
    moving: HashSet<Place>,
    /// What is said in tunnels of the host, where it is that something is off.
    signals: BTreeMap<u32, FailSignals>,
}

#[derive(Debug, Default)]
struct Space {
    nsid: Option<i32>,
    links: BTreeMap<u32, LinkInfo>,
    addresses: BTreeMap<u32, BTreeSet<AddressInfo>>,
}

/// What changed: interfaces to tell anew, and places that are gone.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    ports: BTreeSet<(Place, u32)>,
    gone: Vec<Place>,
    /// Events were lost: only a dump helps.
    pub(crate) overrun: bool,
}

impl Touched {
    /// The interfaces of the host that were.
    pub(crate) fn on_host(&self) -> impl Iterator<Item = u32> {
        self.ports.iter().filter(|(place, _)| *place == Place::Host).map(|(_, ifindex)| *ifindex)
    }
}

impl Mirror {
    /// Notes which id a place's namespace has. `None` if that was known; otherwise what follows from it: a place with
    /// a new namespace starts empty.
    pub(crate) fn know(&mut self, place: &Place, nsid: Option<i32>) -> Option<Touched> {
        let mut touched = Touched::default();
        if let Some(known) = self.spaces.get(place) {
            if known.nsid == nsid {
                return None;
            }
            // The event that it has ended will not find it any more.
            let old = known.nsid;
            self.leave(old, place);
            touched.gone.push(place.clone());
        }
        self.enter(nsid, place);
        self.spaces.insert(place.clone(), Space { nsid, ..Space::default() });
        Some(touched)
    }

    fn enter(&mut self, nsid: Option<i32>, place: &Place) {
        if let Some(nsid) = nsid {
            self.places.entry(nsid).or_default().insert(place.clone());
        }
    }

    fn leave(&mut self, nsid: Option<i32>, place: &Place) {
        let Some(nsid) = nsid else { return };
        let Some(places) = self.places.get_mut(&nsid) else { return };
        places.remove(place);
        if places.is_empty() {
            self.places.remove(&nsid);
        }
    }

    /// The interfaces with a mark that is wanted.
    pub(crate) fn marked(&self, marks: &Marks, wanted: impl Fn(&PortMark) -> bool) -> HashSet<(Place, u32)> {
        let spaces = self.spaces.iter();
        let links = spaces.flat_map(|(place, space)| space.links.values().map(move |link| (place, link)));
        let marked = links.filter(|(_, link)| marks.read(link).is_some_and(|mark| wanted(&mark)));
        marked.map(|(place, link)| (place.clone(), link.ifindex)).collect()
    }

    /// The places that hold an interface for which `wanted` is true.
    pub(crate) fn places_with(&self, wanted: impl Fn(&LinkInfo) -> bool) -> Vec<Place> {
        let holds = self.spaces.iter().filter(|(_, space)| space.links.values().any(&wanted));
        holds.map(|(place, _)| place.clone()).collect()
    }

    /// What an interface of the host is, if it is there.
    pub(crate) fn on_host(&self, ifindex: u32) -> Option<&LinkInfo> {
        self.spaces.get(&Place::Host)?.links.get(&ifindex)
    }

    /// Something else is said in a tunnel of the host that is there.
    pub(crate) fn signal(&mut self, ifindex: u32, change: impl FnOnce(&mut FailSignals)) -> Touched {
        let mut touched = Touched::default();
        if self.on_host(ifindex).is_some() {
            change(self.signals.entry(ifindex).or_default());
            touched.ports.insert((Place::Host, ifindex));
        }
        touched
    }

    /// Nothing is said in it any more.
    pub(crate) fn hang_up(&mut self, ifindex: u32) {
        self.signals.remove(&ifindex);
    }

    /// To be called before a dump begins; each call is answered by one [`Mirror::end_dump`].
    pub(crate) fn begin_dump(&mut self) {
        self.dumps_in_flight += 1;
    }

    /// To be called when the result of a dump was taken over, or the dump was given up.
    pub(crate) fn end_dump(&mut self) {
        self.dumps_in_flight -= 1;
        if self.dumps_in_flight == 0 {
            self.replay = Vec::new();
        }
    }

    /// To be called before the interfaces of a place move to another namespace; answered by [`Mirror::moved`] or
    /// [`Mirror::not_moved`]. Meanwhile neither events nor dumps change what is known of it.
    pub(crate) fn begin_move(&mut self, place: &Place) {
        self.moving.insert(place.clone());
    }

    /// The interfaces of a place are where they go, in a namespace with that id. Those that came through as they were are
    /// no news.
    pub(crate) fn moved(&mut self, place: &Place, nsid: Option<i32>, dump: NamespaceDump) -> Touched {
        self.moving.remove(place);
        let space = self.spaces.entry(place.clone()).or_default();
        let old = std::mem::replace(&mut space.nsid, nsid);
        self.leave(old, place);
        self.enter(nsid, place);
        self.install(place, nsid, dump)
    }

    /// The move of a place is over; whether nobody said how it went: only a dump tells then.
    pub(crate) fn not_moved(&mut self, place: &Place) -> bool {
        self.moving.remove(place)
    }

    /// Takes over a dump of one place, whose namespace has that id.
    pub(crate) fn install(&mut self, place: &Place, nsid: Option<i32>, dump: NamespaceDump) -> Touched {
        if self.moving.contains(place) {
            return Touched::default();
        }
        let mut touched = self.know(place, nsid).unwrap_or_default();
        let space = self.spaces.entry(place.clone()).or_default();
        let before = (std::mem::take(&mut space.links), std::mem::take(&mut space.addresses));
        for address in dump.addresses {
            space.addresses.entry(address.ifindex).or_default().insert(address);
        }
        space.links = dump.links.into_iter().map(|link| (link.ifindex, link)).collect();
        let all: BTreeSet<u32> = before.0.keys().chain(space.links.keys()).copied().collect();
        let differs = |ifindex: &u32| {
            before.0.get(ifindex) != space.links.get(ifindex) || before.1.get(ifindex) != space.addresses.get(ifindex)
        };
        touched.ports.extend(all.into_iter().filter(differs).map(|ifindex| (place.clone(), ifindex)));
        let replay: Vec<_> = self.replay.iter().filter(|event| is_about(event, nsid)).cloned().collect();
        for event in &replay {
            self.change(event, &mut touched);
        }
        touched
    }

    /// Forgets the places that are not in the list; a relist found their pins gone.
    pub(crate) fn retain(&mut self, there: &BTreeSet<Place>) {
        self.spaces.retain(|place, _| there.contains(place));
        self.places.retain(|_, places| {
            places.retain(|place| there.contains(place));
            !places.is_empty()
        });
    }

    /// Takes over events.
    pub(crate) fn apply(&mut self, events: &[MonitorEvent]) -> Touched {
        if self.dumps_in_flight > 0 {
            self.replay.extend_from_slice(events);
        }
        let mut touched = Touched::default();
        for event in events {
            self.change(event, &mut touched);
        }
        touched
    }

    fn change(&mut self, event: &MonitorEvent, touched: &mut Touched) {
        let nsid = match event {
            MonitorEvent::Link { nsid, .. } | MonitorEvent::Address { nsid, .. } => *nsid,
            MonitorEvent::NamespaceGone { nsid } => return self.gone(*nsid, touched),
            MonitorEvent::Overrun => {
                touched.overrun = true;
                return;
            }
        };
        match nsid {
            None => self.change_in(&Place::Host, event, touched),
            // Namespaces of others have ids on the host too.
            Some(nsid) => {
                for place in self.places.get(&nsid).cloned().unwrap_or_default() {
                    self.change_in(&place, event, touched);
                }
            }
        }
    }

    fn gone(&mut self, nsid: i32, touched: &mut Touched) {
        for place in self.places.get(&nsid).cloned().unwrap_or_default() {
            if self.moving.contains(&place) {
                continue;
            }
            self.leave(Some(nsid), &place);
            if self.spaces.get(&place).is_some_and(|space| space.nsid == Some(nsid)) {
                self.spaces.remove(&place);
                touched.ports.retain(|(of, _)| *of != place);
                touched.gone.push(place);
            }
        }
    }

    fn change_in(&mut self, place: &Place, event: &MonitorEvent, touched: &mut Touched) {
        if self.moving.contains(place) {
            return;
        }
        let Some(space) = self.spaces.get_mut(place) else { return };
        let ifindex = match event {
            MonitorEvent::Link { change: Change::New, link, .. } => {
                space.links.insert(link.ifindex, (**link).clone());
                link.ifindex
            }
            MonitorEvent::Link { change: Change::Deleted, link, .. } => {
                space.links.remove(&link.ifindex);
                space.addresses.remove(&link.ifindex);
                link.ifindex
            }
            MonitorEvent::Address { change, address, .. } => {
                let addresses = space.addresses.entry(address.ifindex).or_default();
                // One address has one entry, whatever else is said of it.
                addresses.retain(|known| known.address != address.address);
                if *change == Change::New {
                    addresses.insert(*address);
                }
                if !space.links.contains_key(&address.ifindex) {
                    // It is there, and not known before a dump has told of it: to say that it is gone would outlive that dump.
                    return;
                }
                address.ifindex
            }
            MonitorEvent::NamespaceGone { .. } | MonitorEvent::Overrun => return,
        };
        touched.ports.insert((place.clone(), ifindex));
    }

    /// The facts that follow from what was touched, as things are now.
    pub(crate) fn facts(&self, touched: Touched, marks: &Marks, seen: SystemTime) -> Vec<Fact> {
        let gone = touched.gone.into_iter().map(Fact::PlaceGone);
        let ports = touched.ports.into_iter().filter_map(|(place, ifindex)| {
            let space = self.spaces.get(&place)?;
            match space.links.get(&ifindex) {
                Some(link) => {
                    let signals = self.signals_of(&place, ifindex);
                    port(&place, link, space.addresses.get(&ifindex), signals, marks, seen).map(Fact::Port)
                }
                None => Some(Fact::PortGone(place, ifindex)),
            }
        });
        gone.chain(ports).collect()
    }

    /// Everything.
    pub(crate) fn all(&self, marks: &Marks, seen: SystemTime) -> Vec<Fact> {
        let mut ports: Vec<PortFact> = Vec::new();
        for (place, space) in &self.spaces {
            ports.extend(space.links.values().filter_map(|link| {
                let signals = self.signals_of(place, link.ifindex);
                port(place, link, space.addresses.get(&link.ifindex), signals, marks, seen)
            }));
        }
        ports.sort_by(|a, b| (&a.place, a.ifindex).cmp(&(&b.place, b.ifindex)));
        ports.into_iter().map(Fact::Port).collect()
    }
}

impl Mirror {
    fn signals_of(&self, place: &Place, ifindex: u32) -> FailSignals {
        let said = self.signals.get(&ifindex).filter(|_| *place == Place::Host);
        said.copied().unwrap_or_default()
    }
}

/// Whether an event is about the namespace with that id (`None`: the host's).
fn is_about(event: &MonitorEvent, of: Option<i32>) -> bool {
    match event {
        MonitorEvent::Link { nsid, .. } | MonitorEvent::Address { nsid, .. } => *nsid == of,
        MonitorEvent::NamespaceGone { nsid } => Some(*nsid) == of,
        MonitorEvent::Overrun => false,
    }
}

fn port(
    place: &Place,
    link: &LinkInfo,
    addresses: Option<&BTreeSet<AddressInfo>>,
    signals: FailSignals,
    marks: &Marks,
    seen: SystemTime,
) -> Option<PortFact> {
    // Every node has one, and nothing can be done with it.
    if link.name == "lo" && *place != Place::Host {
        return None;
    }
    let kind = match link.kind.as_deref() {
        Some("veth") => PortKind::Veth,
        Some("bridge") => PortKind::Bridge,
        Some("dummy") => PortKind::Dummy,
        _ => PortKind::Other,
    };
    let addresses = addresses.into_iter().flatten().filter(|info| !info.link_local);
    let mut addresses: Vec<_> = addresses.map(|info| (info.address.to_string(), info.protocol)).collect();
    addresses.sort();
    let ours = addresses.iter().filter(|(_, protocol)| *protocol == Some(ADDRESS_PROTOCOL));
    let given = ours.map(|(address, _)| address.clone()).collect();
    Some(PortFact {
        place: place.clone(),
        ifindex: link.ifindex,
        // The kernel's rules for names are the model's, so this fails for none.
        name: link.name.parse().ok()?,
        altnames: link.altnames.clone(),
        kind,
        admin_up: link.up,
        carrier: link.lower_up,
        mtu: link.mtu,
        mac: link.mac,
        addresses: addresses.into_iter().map(|(address, _)| address).collect(),
        given,
        master: link.master,
        signals,
        mark: marks.read(link),
        seen,
    })
}

#[cfg(test)]
mod tests {
    use netloom_kernel::Address;

    use super::*;

    fn appeared(nsid: i32, ifindex: u32) -> MonitorEvent {
        let link = LinkInfo {
            ifindex,
            name: format!("eth{ifindex}"),
            altnames: Vec::new(),
            kind: Some("veth".to_owned()),
            up: true,
            lower_up: true,
            mtu: 1500,
            mac: None,
            group: 0,
            alias: None,
            master: None,
            peer: None,
            peer_nsid: None,
            vni: None,
            vlan: None,
            between: None,
        };
        MonitorEvent::Link { nsid: Some(nsid), change: Change::New, link: Box::new(link) }
    }

    #[test]
    fn an_address_of_an_interface_that_no_dump_has_told_of_yet_says_nothing_of_that() {
        let mut mirror = Mirror::default();
        mirror.know(&Place::Host, None);
        mirror.begin_dump();
        let address = AddressInfo {
            ifindex: 2,
            address: Address::V6("fe80::1/64".parse().unwrap()),
            link_local: true,
            tentative: false,
            secondary: false,
            protocol: None,
        };
        let event = MonitorEvent::Address { nsid: None, change: Change::New, address };
        let touched = mirror.apply(&[event]);
        assert_eq!(mirror.facts(touched, &Marks::new("0123456789ab"), SystemTime::UNIX_EPOCH), []);
        let MonitorEvent::Link { link, .. } = appeared(7, 2) else { unreachable!() };
        let touched = mirror.install(&Place::Host, None, NamespaceDump { links: vec![*link], addresses: Vec::new() });
        assert_eq!(touched.ports.into_iter().collect::<Vec<_>>(), [(Place::Host, 2)]);
    }

    #[test]
    fn nodes_of_two_labs_in_one_namespace_both_hear_of_it_until_one_leaves() {
        let place = |lab: &str| Place::Node(lab.parse().unwrap(), "r1".parse().unwrap());
        let told = |touched: Touched| touched.ports.into_iter().map(|(place, _)| place).collect::<Vec<_>>();
        let mut mirror = Mirror::default();
        for lab in ["x", "y"] {
            mirror.know(&place(lab), Some(7));
        }
        assert_eq!(told(mirror.apply(&[appeared(7, 2)])), [place("x"), place("y")]);
        mirror.know(&place("x"), Some(8));
        assert_eq!(told(mirror.apply(&[appeared(7, 3)])), [place("y")]);
        assert_eq!(mirror.apply(&[MonitorEvent::NamespaceGone { nsid: 7 }]).gone, [place("y")]);
        assert_eq!(told(mirror.apply(&[appeared(8, 2)])), [place("x")]);
    }
}
