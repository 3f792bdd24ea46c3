//! The world that the fakes share: nodes, interfaces and bridges of one host, and what was done to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeBounds;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use netloom_model::{InterfaceName, LabName, LinkId, NodeName, RuntimeKind};
use netloom_plan::{AdminState, NodeFingerprint, NodeState};

use super::files::Files;
use super::images::Shelf;
use super::networks::FakeNetwork;
use super::switch::FakeSwitch;
use super::trouble::{Trouble, Troubles};
use super::{FakeFabric, FakeHostFiles, FakeLimits, FakeRuntime, FakeStore, FakeTraces, FakeUnderlay};
use crate::applied::Applied;
use crate::driver::{DriverError, Reporter, Runtime};
use crate::engine::{Config, Parts};
use crate::fact::{Fact, FailSignals, Health, NodeFact, Place, PortFact, PortKind, PortMark, Report, Source};
use crate::inventory::{Inventory, Writer};
use crate::layout::Layout;
use crate::rates::Count;

/// Whether drivers tell of what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventsAre {
    /// As they should be.
    Sent,
    /// Lost without a word: only a relist shows what happened.
    Lost,
}

/// One host; clones are the same one.
#[derive(Debug, Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    limits: FakeLimits,
    underlay: FakeUnderlay,
    host_files: FakeHostFiles,
    traces: FakeTraces,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) nodes: BTreeMap<(LabName, NodeName), FakeNode>,
    pub(super) names: BTreeMap<LabName, String>,
    pub(super) ports: BTreeMap<u32, PortFact>,
    /// What interfaces have sent.
    pub(super) sent: BTreeMap<u32, Count>,
    /// The other end of a veth pair.
    pub(super) peers: BTreeMap<u32, u32>,
    pub(super) troubles: Troubles,
    /// What the runtime that has images has; `None`: none has.
    pub(super) images: Option<Shelf>,
    calls: Vec<String>,
    reporter: Reporter,
    events: EventsAre,
    unreachable: BTreeMap<Source, String>,
    kinds: BTreeSet<RuntimeKind>,
    last: u32,
    /// How often the host was started again.
    pub(super) boots: u32,
    /// The networks by name, if containers can be on any.
    pub(super) networks: Option<BTreeMap<String, FakeNetwork>>,
    /// The switch, if the host has one.
    pub(super) switch: Option<FakeSwitch>,
}

#[derive(Debug, Clone)]
pub(super) struct FakeNode {
    pub(super) fact: NodeFact,
    pub(super) output: String,
    pub(super) files: Files,
    pub(super) applied: Option<Applied>,
    /// Whether links can end in it.
    pub(super) has_namespace: bool,
}

impl FakeNode {
    pub(super) fn new(fact: NodeFact) -> Self {
        Self { fact, output: String::new(), files: Files::default(), applied: None, has_namespace: false }
    }
}

impl World {
    /// An empty host that reports here. It has a loopback and an uplink, both foreign.
    pub fn new(reporter: Reporter) -> Self {
        let state = State {
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            ports: BTreeMap::new(),
            sent: BTreeMap::new(),
            peers: BTreeMap::new(),
            troubles: Troubles::default(),
            images: None,
            calls: Vec::new(),
            reporter,
            events: EventsAre::Sent,
            unreachable: BTreeMap::new(),
            kinds: BTreeSet::from([RuntimeKind::Namespace]),
            last: 0,
            boots: 0,
            networks: None,
            switch: None,
        };
        let world = Self {
            state: Arc::new(Mutex::new(state)),
            limits: FakeLimits::default(),
            underlay: FakeUnderlay::default(),
            host_files: FakeHostFiles::default(),
            traces: FakeTraces::default(),
        };
        world.add_foreign("lo", PortKind::Other);
        world.add_foreign("uplink", PortKind::Other);
        world
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on facts go to another engine.
    pub fn report_to(&self, reporter: Reporter) {
        self.lock().reporter = reporter;
    }

    /// The host is another life of itself from now on; what is there stays.
    pub fn boot(&self) {
        self.lock().boots += 1;
    }

    /// The runtime `namespace` of this host.
    pub fn runtime(&self) -> FakeRuntime {
        self.runtime_of(RuntimeKind::Namespace)
    }

    /// Another runtime of this host.
    pub fn runtime_of(&self, kind: RuntimeKind) -> FakeRuntime {
        FakeRuntime::new(self.clone(), kind)
    }

    /// From its next engine on this host has another runtime too.
    pub fn add_runtime(&self, kind: RuntimeKind) {
        self.lock().kinds.insert(kind);
    }

    /// From its next engine on this host has containers that can be on networks, of which there are none yet.
    pub fn add_networks(&self) {
        self.add_runtime(RuntimeKind::Docker);
        self.lock().networks = Some(BTreeMap::new());
    }

    /// The networks as `name: bridge`.
    pub fn networks(&self) -> Vec<String> {
        let state = self.lock();
        let all = state.networks.iter().flatten();
        all.map(|(name, network)| format!("{name}: {}", network.bridge)).collect()
    }

    /// Those of them that others than this host reach.
    pub fn open_networks(&self) -> Vec<String> {
        let state = self.lock();
        state.networks.iter().flatten().filter(|(_, network)| network.open).map(|(name, _)| name.clone()).collect()
    }

    /// Somebody takes away that others reach a network.
    pub fn shut_network(&self, network: &str) {
        let mut state = self.lock();
        state.networks.get_or_insert_default().get_mut(network).expect("the network is there").open = false;
    }

    /// A network that is not ours comes to the host, with a bridge and somebody on it who has this address.
    pub fn add_foreign_network(&self, network: &str, bridge: &str, address: std::net::IpAddr) {
        self.add_foreign(bridge, PortKind::Bridge);
        let foreign = FakeNetwork { bridge: name(bridge), ours: false, taken: Some(address), open: false };
        self.lock().networks.get_or_insert_default().insert(network.to_owned(), foreign);
    }

    /// All runtimes of this host.
    pub fn runtimes(&self) -> Vec<Arc<dyn Runtime>> {
        let kinds = self.lock().kinds.clone();
        kinds.into_iter().map(|kind| -> Arc<dyn Runtime> { Arc::new(self.runtime_of(kind)) }).collect()
    }

    /// What an engine on this host is made of; tests change what they need otherwise.
    pub fn parts(&self, layout: Layout, store: &FakeStore, inventory: Inventory, writer: Writer) -> Parts {
        Parts {
            layout,
            store: Arc::new(store.clone()),
            runtimes: self.runtimes(),
            fabric: Arc::new(self.fabric()),
            host_files: Arc::new(self.host_files()),
            limits: Arc::new(self.limits()),
            underlay: Arc::new(self.underlay()),
            traces: Arc::new(self.traces()),
            predecessor: None,
            inventory,
            writer,
            config: Config::default(),
        }
    }

    /// The limits of this host.
    pub fn limits(&self) -> FakeLimits {
        self.limits.clone()
    }

    /// The interfaces of this host that are its own.
    pub fn underlay(&self) -> FakeUnderlay {
        self.underlay.clone()
    }

    /// Where this host is told of labs.
    pub fn host_files(&self) -> FakeHostFiles {
        self.host_files.clone()
    }

    /// What labs have left behind on it.
    pub fn traces(&self) -> FakeTraces {
        self.traces.clone()
    }

    /// The fabric of this host.
    pub fn fabric(&self) -> FakeFabric {
        FakeFabric::new(self.clone())
    }

    /// Orders a trouble for the calls of this name within `calls`, counted from 0 since now. Names are `create lab/r1`,
    /// `start lab/r1`, `create lab/r1:eth1-r2:eth1`, `ensure bridge/br0`, `relist fabric`; a `*` at the end stands for
    /// anything.
    pub fn trouble(&self, name: &str, calls: impl RangeBounds<usize>, trouble: Trouble) {
        self.lock().troubles.order(name, &calls, trouble);
    }

    /// No trouble any more.
    pub fn calm(&self) {
        let mut state = self.lock();
        state.troubles.clear();
        state.unreachable.clear();
    }

    /// Whether events are sent.
    pub fn set_events(&self, events: EventsAre) {
        self.lock().events = events;
    }

    /// From now on a source cannot be looked at.
    pub fn make_unreachable(&self, source: Source, why: &str) {
        self.lock().unreachable.insert(source, why.to_owned());
    }

    /// All calls that change something, oldest first, and forgets them.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().calls)
    }

    /// All calls so far that change something, oldest first.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// Notes a call that changes something and lets its trouble happen.
    pub(super) async fn enter(&self, operation: &str, object: &str) -> Result<(), DriverError> {
        self.lock().calls.push(format!("{operation} {object}"));
        self.look(operation, object).await
    }

    /// As [`Self::enter`], for calls that change nothing.
    pub(super) async fn look(&self, operation: &str, object: &str) -> Result<(), DriverError> {
        let trouble = self.lock().troubles.next(&format!("{operation} {object}"));
        match trouble {
            Some(trouble) => trouble.happen(operation, object).await,
            None => Ok(()),
        }
    }

    // ---- what happens behind the engine's back ----------------------------------------------------------

    /// The main process of a node ends.
    pub fn exit(&self, lab: &str, node: &str, code: i32, output: &str) {
        let mut state = self.lock();
        let key = (name(lab), name(node));
        let there = state.nodes.get_mut(&key).expect("the node is there");
        there.output += output;
        there.fact.state = NodeState::Exited { code };
        there.fact.last_output = Some(there.output.clone());
        there.fact.pid = None;
        there.fact.health = None;
        state.tell_node(&key);
    }

    /// The health check of a node says something.
    pub fn set_health(&self, lab: &str, node: &str, health: Health) {
        let mut state = self.lock();
        let key = (name(lab), name(node));
        state.nodes.get_mut(&key).expect("the node is there").fact.health = Some(health);
        state.tell_node(&key);
    }

    /// An interface that is not ours comes to the host.
    pub fn add_foreign(&self, interface: &str, kind: PortKind) {
        let mut state = self.lock();
        let port = state.new_port(Place::Host, name(interface), kind, None);
        state.tell_ports(&[port]);
    }

    /// As [`Self::add_foreign`], in the namespace of a node.
    pub fn add_foreign_in(&self, lab: &str, node: &str, interface: &str) {
        let mut state = self.lock();
        let place = Place::Node(name(lab), name(node));
        let port = state.new_port(place, name(interface), PortKind::Other, None);
        state.tell_ports(&[port]);
    }

    /// Somebody deletes an interface (`ip link del`), and with it the other end of its link.
    pub fn delete_port(&self, place: &Place, interface: &str) {
        let mut state = self.lock();
        let port = state.find(place, interface).expect("the interface is there");
        state.remove_ports(&[port]);
    }

    /// Somebody (a router's `shutdown`) switches an interface off without us.
    pub fn shut_down(&self, place: &Place, interface: &str) {
        let mut state = self.lock();
        let port = state.find(place, interface).expect("the interface is there");
        state.ports.get_mut(&port).expect("just found").admin_up = false;
        let touched = state.settle(&[port]);
        state.tell_ports(&touched);
    }

    /// Somebody switches an interface on without us.
    pub fn open_up(&self, place: &Place, interface: &str) {
        let mut state = self.lock();
        let port = state.find(place, interface).expect("the interface is there");
        state.ports.get_mut(&port).expect("just found").admin_up = true;
        let touched = state.settle(&[port]);
        state.tell_ports(&touched);
    }

    /// An interface sends one packet of so many bytes.
    pub fn send(&self, place: &Place, interface: &str, bytes: u64) {
        let mut state = self.lock();
        let port = state.find(place, interface).expect("the interface is there");
        let sent = state.sent.entry(port).or_default();
        sent.bytes += bytes;
        sent.packets += 1;
    }

    /// Somebody sets an interface without us (`ip link set`, `ip address`).
    pub fn change_port(&self, place: &Place, interface: &str, change: impl FnOnce(&mut PortFact)) {
        let mut state = self.lock();
        let port = state.find(place, interface).expect("the interface is there");
        change(state.ports.get_mut(&port).expect("just found"));
        state.tell_ports(&[port]);
    }

    /// A node turns out to be the work of a version that kept nothing beside it.
    pub fn age(&self, lab: &str, node: &str) {
        self.lock().nodes.get_mut(&(name(lab), name(node))).expect("the node is there").applied = None;
    }

    /// The namespace of a node is there, with nothing that runs in it.
    pub fn add_node(&self, lab: &str, node: &str) {
        let mut state = self.lock();
        let key: (LabName, NodeName) = (name(lab), name(node));
        let none = NodeFingerprint::default();
        let fact = NodeFact {
            lab: key.0.clone(),
            node: key.1.clone(),
            runtime: RuntimeKind::Namespace,
            state: NodeState::Created,
            pid: None,
            incarnation: None,
            health: None,
            reserved: false,
            namespace: None,
            left_behind: false,
            restarting: false,
            fingerprint: none,
            container: format!("clab-{lab}-{node}"),
            runtime_id: None,
            image: None,
            last_output: None,
            note: None,
            seen: SystemTime::now(),
        };
        state.nodes.insert(key.clone(), FakeNode { has_namespace: true, ..FakeNode::new(fact) });
        state.tell_node(&key);
    }

    /// Everything of a node vanishes, as after a crash of its runtime.
    pub fn lose_node(&self, lab: &str, node: &str) {
        self.lock().remove_node(&(name(lab), name(node)));
    }

    // ---- looking ----------------------------------------------------------------------------------------

    /// The nodes as `lab/node state`.
    pub fn nodes(&self) -> Vec<String> {
        self.lock().nodes.values().map(|n| format!("{}/{} {}", n.fact.lab, n.fact.node, n.fact.state)).collect()
    }

    /// The marked links as `lab/link`.
    pub fn links(&self) -> Vec<String> {
        let state = self.lock();
        let marks = state.ports.values().filter_map(|port| match &port.mark {
            Some(PortMark::Link { lab, link, .. }) => Some(format!("{lab}/{link}")),
            _ => None,
        });
        marks.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The interfaces in the host's namespace.
    pub fn host(&self) -> Vec<String> {
        let state = self.lock();
        let host = state.ports.values().filter(|port| port.place == Place::Host);
        host.map(|port| port.name.to_string()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// One interface, if it is there.
    pub fn port(&self, place: &Place, interface: &str) -> Option<PortFact> {
        let state = self.lock();
        state.find(place, interface).map(|port| state.ports[&port].clone())
    }

    /// The labs that have a names file.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().map(ToString::to_string).collect()
    }

    /// Which life of a node this is.
    pub fn incarnation(&self, lab: &str, node: &str) -> Option<String> {
        self.lock().nodes.get(&(name(lab), name(node)))?.fact.incarnation.clone()
    }
}

pub(super) fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("a test gives a valid name")
}

impl State {
    pub(super) fn fresh(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    pub(super) fn find(&self, place: &Place, interface: &str) -> Option<u32> {
        let found = self.ports.values().find(|port| &port.place == place && port.name.as_str() == interface);
        found.map(|port| port.ifindex)
    }

    /// The interfaces that carry a link's mark.
    pub(super) fn marked(&self, lab: &LabName, link: &LinkId) -> Vec<u32> {
        let ours = self.ports.values().filter(
            |port| matches!(&port.mark, Some(PortMark::Link { lab: of, link: id, .. }) if of == lab && id == link),
        );
        ours.map(|port| port.ifindex).collect()
    }

    pub(super) fn new_port(
        &mut self,
        place: Place,
        name: InterfaceName,
        kind: PortKind,
        mark: Option<PortMark>,
    ) -> u32 {
        let ifindex = self.fresh();
        let port = PortFact {
            place,
            ifindex,
            name,
            altnames: Vec::new(),
            kind,
            admin_up: true,
            carrier: true,
            mtu: 1500,
            mac: None,
            addresses: Vec::new(),
            given: Vec::new(),
            master: None,
            signals: FailSignals::default(),
            mark,
            seen: SystemTime::now(),
        };
        self.ports.insert(ifindex, port);
        ifindex
    }

    /// Deletes interfaces and the other ends of their links.
    pub(super) fn remove_ports(&mut self, ports: &[u32]) {
        let mut gone = Vec::new();
        for ifindex in ports {
            let peer = self.peers.remove(ifindex);
            if let Some(peer) = peer {
                self.peers.remove(&peer);
            }
            for ifindex in [Some(*ifindex), peer].into_iter().flatten() {
                gone.extend(self.ports.remove(&ifindex).map(|port| Fact::PortGone(port.place, ifindex)));
            }
        }
        self.send(Source::Fabric, gone);
    }

    pub(super) fn remove_node(&mut self, key: &(LabName, NodeName)) {
        let Some(node) = self.nodes.remove(key) else { return };
        let place = Place::Node(key.0.clone(), key.1.clone());
        let inside: Vec<u32> = self.ports.values().filter(|p| p.place == place).map(|p| p.ifindex).collect();
        self.remove_ports(&inside);
        self.send(Source::Fabric, vec![Fact::PlaceGone(place)]);
        self.send(Source::Runtime(node.fact.runtime), vec![Fact::NodeGone(key.0.clone(), key.1.clone())]);
    }

    /// Sets what follows from both ends of each link: its carriers.
    pub(super) fn settle(&mut self, ports: &[u32]) -> Vec<u32> {
        let mut touched: BTreeSet<u32> = ports.iter().copied().collect();
        touched.extend(ports.iter().filter_map(|port| self.peers.get(port)));
        for ifindex in &touched {
            let up = |of: u32| self.ports.get(&of).is_some_and(|port| port.admin_up);
            let carrier = up(*ifindex) && self.peers.get(ifindex).is_none_or(|peer| up(*peer));
            if let Some(port) = self.ports.get_mut(ifindex) {
                port.carrier = carrier;
            }
        }
        touched.into_iter().collect()
    }

    pub(super) fn switch(&mut self, ifindex: u32, admin: AdminState) {
        let Some(port) = self.ports.get_mut(&ifindex) else { return };
        port.admin_up = admin == AdminState::Up;
        if let Some(PortMark::Link { switched, .. }) = &mut port.mark {
            *switched = admin;
        }
    }

    // ---- telling ----------------------------------------------------------------------------------------

    pub(super) fn tell_node(&mut self, key: &(LabName, NodeName)) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        node.fact.seen = SystemTime::now();
        let (source, fact) = (Source::Runtime(node.fact.runtime), Fact::Node(node.fact.clone()));
        self.send(source, vec![fact]);
    }

    pub(super) fn tell_ports(&mut self, ports: &[u32]) {
        let now = SystemTime::now();
        let mut facts = Vec::new();
        for ifindex in ports {
            if let Some(port) = self.ports.get_mut(ifindex) {
                port.seen = now;
                facts.push(Fact::Port(port.clone()));
            }
        }
        self.send(Source::Fabric, facts);
    }

    pub(super) fn send(&self, source: Source, facts: Vec<Fact>) {
        if self.events == EventsAre::Sent && !facts.is_empty() {
            self.reporter.send(Report::Events(source, facts));
        }
    }

    /// Reports everything that a source sees, or that it sees nothing.
    pub(super) fn relist(
        &self,
        source: Source,
        facts: impl FnOnce(&Self, SystemTime) -> Vec<Fact>,
    ) -> Result<(), String> {
        if let Some(why) = self.unreachable.get(&source) {
            self.reporter.send(Report::Unreachable(source, why.clone()));
            return Err(why.clone());
        }
        let started = SystemTime::now();
        let facts = facts(self, started);
        self.reporter.send(Report::Relist { source, started, facts, unseen: BTreeMap::new() });
        Ok(())
    }
}
