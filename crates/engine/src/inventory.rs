//! The inventory: what is there, as drivers saw it, in snapshots that anyone reads without waiting.
//!
//! ```text
//!  drivers ──Report──▶ [bounded queue] ──▶ inventory task ──▶ ArcSwap<Snapshot> ──▶ readers (wait-free)
//!                                              │
//!                                              └─▶ watch<version> ──▶ reconcilers
//! ```
//!
//! The task is the only writer. It takes all reports that wait, applies them and publishes one snapshot.
//! An event that is newer than the beginning of a relist wins over the relist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use imbl::OrdMap;
use netloom_model::{LabName, NodeName, RuntimeKind};
use tokio::sync::{mpsc, watch};

use crate::driver::Reporter;
use crate::fact::{Fact, NodeFact, Place, PortFact, PortMark, Report, Source, SwitchTagFact};
use crate::image::ImageFact;
use crate::snapshot::{LabFacts, Snapshot, SourceState};

/// How many batches of facts may wait; more become [`Report::Lost`].
const QUEUE: usize = 1024;

/// The readers' side.
#[derive(Debug, Clone)]
pub struct Inventory {
    current: Arc<ArcSwap<Snapshot>>,
    version: watch::Receiver<u64>,
    lost: Arc<watch::Sender<u64>>,
}

impl Inventory {
    /// The current snapshot; never waits.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Says when there is a newer snapshot.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.clone()
    }

    /// Whether every one of `sources` was looked at whole since `then`.
    pub(crate) fn is_listed_since(&self, sources: &BTreeSet<Source>, then: SystemTime) -> bool {
        let snapshot = self.current.load();
        let listed = |source| snapshot.sources.get(source).and_then(|state| state.listed);
        sources.iter().all(|source| listed(source).is_some_and(|at| at >= then))
    }

    /// Has everything looked at soon: events seem to be missing.
    pub(crate) fn doubt(&self) {
        self.lost.send_modify(|count| *count += 1);
    }

    /// Says when reports were lost.
    pub(crate) fn lost(&self) -> watch::Receiver<u64> {
        self.lost.subscribe()
    }
}

/// The writer's side: what [`channel`] hands to the inventory task.
#[derive(Debug)]
pub struct Writer {
    reports: mpsc::Receiver<Report>,
    current: Arc<ArcSwap<Snapshot>>,
    version: watch::Sender<u64>,
    lost: Arc<watch::Sender<u64>>,
    departed: Departed,
}

/// What events said to be gone, and when: a relist that began before that may still show it.
#[derive(Debug, Default)]
struct Departed {
    nodes: BTreeMap<(LabName, NodeName), SystemTime>,
    /// The names of labs: of one that is gone nothing else says when they went.
    names: BTreeMap<LabName, SystemTime>,
    /// Without an index: the whole place.
    ports: BTreeMap<(Place, Option<u32>), SystemTime>,
}

/// Who made a relist, when it began and when it came.
#[derive(Debug, Clone, Copy)]
struct Look {
    source: Source,
    started: SystemTime,
    now: SystemTime,
}

impl Look {
    /// Whether something was seen after the look began. What lies in the future was seen before the clock was set
    /// back: otherwise no relist would be believed until the clock has caught up.
    fn began_before(self, seen: SystemTime) -> bool {
        seen > self.started && seen <= self.now
    }
}

/// No relist takes longer.
const DEPARTED_KEPT: Duration = Duration::from_secs(300);

impl Departed {
    fn note(&mut self, fact: &Fact, now: SystemTime) {
        match fact {
            Fact::NodeGone(lab, node) => {
                self.nodes.insert((lab.clone(), node.clone()), now);
            }
            Fact::PortGone(place, ifindex) => {
                self.ports.insert((place.clone(), Some(*ifindex)), now);
            }
            Fact::PlaceGone(place) => {
                self.ports.insert((place.clone(), None), now);
            }
            Fact::Names(lab, None) => {
                self.names.insert(lab.clone(), now);
            }
            Fact::Node(_)
            | Fact::Names(_, Some(_))
            | Fact::Port(_)
            | Fact::Network(_)
            | Fact::NetworkGone(..)
            | Fact::SwitchPort(_)
            | Fact::SwitchPortGone(_)
            | Fact::SwitchBridge(_)
            | Fact::SwitchBridgeGone(_)
            | Fact::SwitchTag(_)
            | Fact::SwitchTagGone(..)
            | Fact::Image(_) => {}
        }
    }

    fn node(&self, fact: &NodeFact, look: Look) -> bool {
        self.nodes.get(&(fact.lab.clone(), fact.node.clone())).is_some_and(|gone| look.began_before(*gone))
    }

    fn port(&self, port: &PortFact, look: Look) -> bool {
        let keys = [Some(port.ifindex), None].map(|ifindex| (port.place.clone(), ifindex));
        keys.iter().any(|key| self.ports.get(key).is_some_and(|gone| look.began_before(*gone)))
    }

    fn names(&self, lab: &LabName, look: Look) -> bool {
        self.names.get(lab).is_some_and(|gone| look.began_before(*gone))
    }

    fn forget_old(&mut self, now: SystemTime) {
        let young = |gone: &SystemTime| now.duration_since(*gone).is_ok_and(|age| age < DEPARTED_KEPT);
        self.nodes.retain(|_, gone| young(gone));
        self.names.retain(|_, gone| young(gone));
        self.ports.retain(|_, gone| young(gone));
    }
}

/// Makes an inventory: where drivers report, where readers look, and what the task needs.
pub fn channel() -> (Reporter, Inventory, Writer) {
    let (sender, reports) = mpsc::channel(QUEUE);
    let current = Arc::new(ArcSwap::from_pointee(Snapshot::default()));
    let (version_sender, version) = watch::channel(0);
    let lost = Arc::new(watch::Sender::new(0));
    let reporter = Reporter { reports: sender, lost: lost.clone() };
    let inventory = Inventory { current: current.clone(), version, lost: lost.clone() };
    (reporter, inventory, Writer { reports, current, version: version_sender, lost, departed: Departed::default() })
}

impl Writer {
    /// Applies reports until every reporter is gone.
    pub async fn run(mut self) {
        while let Some(first) = self.reports.recv().await {
            let mut next = Snapshot::clone(&self.current.load());
            next.version += 1;
            self.apply(&mut next, first);
            // One snapshot for all that waits: a wave of a thousand links is published once.
            for _ in 0..QUEUE {
                match self.reports.try_recv() {
                    Ok(report) => self.apply(&mut next, report),
                    Err(_) => break,
                }
            }
            let version = next.version;
            next.labs.retain(|_, lab| !(lab.nodes.is_empty() && lab.ports.is_empty() && lab.names.is_none()));
            self.current.store(Arc::new(next));
            self.version.send_replace(version);
        }
    }

    fn apply(&mut self, next: &mut Snapshot, report: Report) {
        let now = SystemTime::now();
        let fresh = SourceState { listed: None, error: None, strain: None, since: now, mended: 0 };
        match report {
            Report::Events(_, facts) => {
                for fact in facts {
                    self.departed.note(&fact, now);
                    next.put(fact);
                }
            }
            Report::Relist { source, started, facts, unseen } => {
                self.departed.forget_old(now);
                let error = complaint(&unseen);
                let look = Look { source, started, now };
                let mended = next.relist(look, facts, unseen.into_keys().collect(), &self.departed);
                let state = next.sources.entry(source).or_insert(fresh);
                if state.error.is_some() != error.is_some() {
                    state.since = now;
                }
                state.error = error;
                if state.listed.replace(started).is_some() {
                    state.mended += mended;
                }
            }
            Report::Unreachable(source, why) => {
                let state = next.sources.entry(source).or_insert(fresh);
                if state.error.replace(why).is_none() {
                    state.since = now;
                }
            }
            Report::Strained(source, why) => next.sources.entry(source).or_insert(fresh).strain = why,
            Report::Lost(_) => self.lost.send_modify(|count| *count += 1),
        }
    }
}

/// What a source says that saw all but these.
fn complaint(unseen: &BTreeMap<(LabName, NodeName), String>) -> Option<String> {
    let ((lab, node), why) = unseen.first_key_value()?;
    let more = unseen.len() - 1;
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    Some(format!("node {node} of lab {lab}: {why}{more}"))
}

impl Snapshot {
    fn lab(&mut self, name: &LabName) -> &mut LabFacts {
        let version = self.version;
        let facts = Arc::make_mut(self.labs.entry(name.clone()).or_default());
        facts.changed = version;
        facts
    }

    fn touch_host(&mut self) -> &mut OrdMap<u32, Arc<PortFact>> {
        // Ends of a lab's links may be on the host: its reconciler must look again.
        self.host_changed = self.version;
        &mut self.host
    }

    /// A port of the switch changed: the lab whose link it is of has to look again.
    fn touch_wired(&mut self, lab: &LabName) {
        self.host_changed = self.version;
        if self.labs.contains_key(lab) {
            self.lab(lab);
        }
    }

    fn touch_owner(&mut self, port: Option<&PortFact>) {
        if let Some(PortFact { mark: Some(PortMark::Link { lab, .. }), .. }) = port
            && self.labs.contains_key(lab)
        {
            self.lab(&lab.clone());
        }
    }

    fn put(&mut self, fact: Fact) {
        match fact {
            Fact::Node(fact) => {
                let lab = self.lab(&fact.lab.clone());
                lab.nodes.insert(fact.node.clone(), Arc::new(fact));
            }
            Fact::NodeGone(lab, node) => {
                self.lab(&lab).nodes.remove(&node);
            }
            Fact::Names(lab, names) => {
                let lab = self.lab(&lab);
                lab.names = names;
                lab.names_seen = Some(SystemTime::now());
            }
            Fact::Port(port) => match &port.place {
                Place::Host => {
                    self.touch_owner(Some(&port));
                    self.touch_host().insert(port.ifindex, Arc::new(port));
                }
                Place::Node(lab, node) => {
                    let key = (node.clone(), port.ifindex);
                    self.lab(&lab.clone()).ports.insert(key, Arc::new(port));
                }
            },
            Fact::PortGone(Place::Host, ifindex) => {
                let gone = self.touch_host().remove(&ifindex);
                self.touch_owner(gone.as_deref());
            }
            Fact::PortGone(Place::Node(lab, node), ifindex) => {
                self.lab(&lab).ports.remove(&(node, ifindex));
            }
            Fact::PlaceGone(Place::Node(lab, node)) => {
                let ports = &mut self.lab(&lab).ports;
                let inside: Vec<_> =
                    ports.range((node.clone(), 0)..=(node, u32::MAX)).map(|(key, _)| key.clone()).collect();
                for key in inside {
                    ports.remove(&key);
                }
            }
            Fact::PlaceGone(Place::Host) => {}
            Fact::Network(network) => {
                self.networks.entry(network.runtime).or_default().insert(network.name, network.members);
            }
            Fact::NetworkGone(runtime, name) => {
                if let Some(networks) = self.networks.get_mut(&runtime) {
                    networks.remove(&name);
                }
            }
            Fact::SwitchPort(port) => {
                let before = self.switch.put(port.clone());
                self.touch_wired(&port.lab);
                if let Some(before) = before.filter(|before| before.lab != port.lab) {
                    self.touch_wired(&before.lab);
                }
            }
            Fact::SwitchPortGone(name) => {
                if let Some(gone) = self.switch.remove(&name) {
                    self.touch_wired(&gone.lab);
                }
            }
            Fact::SwitchBridge(bridge) => {
                self.switch.put_bridge(bridge);
                self.touch_host();
            }
            Fact::SwitchBridgeGone(name) => {
                self.switch.remove_bridge(&name);
                self.touch_host();
            }
            Fact::SwitchTag(tag) => {
                let before = self.switch.put_tag(tag.clone());
                self.touch_wired(&tag.lab);
                if let Some(before) = before.filter(|before| before.lab != tag.lab) {
                    self.touch_wired(&before.lab);
                }
            }
            Fact::SwitchTagGone(bridge, tag) => {
                if let Some(gone) = self.switch.remove_tag(&bridge, tag) {
                    self.touch_wired(&gone.lab);
                }
            }
            Fact::Image(image) => {
                self.images_changed = self.version;
                Arc::make_mut(self.images.entry(image.runtime).or_default()).insert(image.id.clone(), image);
            }
        }
    }

    /// All images of a runtime are these. Whoever lists them does so one list after the other.
    fn replace_images(&mut self, runtime: RuntimeKind, facts: Vec<Fact>) {
        let images = facts.into_iter().filter_map(|fact| match fact {
            Fact::Image(image) => Some((image.id.clone(), image)),
            _ => None,
        });
        let images: BTreeMap<String, ImageFact> = images.collect();
        if self.images.get(&runtime).is_none_or(|there| **there != images) {
            self.images_changed = self.version;
            self.images.insert(runtime, Arc::new(images));
        }
    }

    /// Replaces all that the source knew before the look began, but for the nodes that it could not look at; returns
    /// how many facts differed.
    fn relist(
        &mut self,
        look: Look,
        facts: Vec<Fact>,
        unseen: BTreeSet<(LabName, NodeName)>,
        departed: &Departed,
    ) -> u64 {
        if let Source::Images(runtime) = look.source {
            self.replace_images(runtime, facts);
            return 0;
        }
        if look.source == Source::Switch {
            return self.relist_switch(look, facts);
        }
        if let Source::Runtime(runtime) = look.source {
            self.networks.remove(&runtime);
        }
        let mut mended = 0;
        let mut nodes = unseen;
        let mut ports = BTreeSet::new();
        let mut names = BTreeSet::new();
        for fact in facts {
            let outdated = match &fact {
                Fact::Node(fact) => {
                    nodes.insert((fact.lab.clone(), fact.node.clone()));
                    let known = self.node(&fact.lab, &fact.node);
                    let outdated =
                        known.map_or_else(|| departed.node(fact, look), |known| look.began_before(known.seen));
                    mended += u64::from(!outdated && known.is_none_or(|known| known.state != fact.state));
                    outdated
                }
                Fact::Port(port) => {
                    ports.insert((port.place.clone(), port.ifindex));
                    let known = self.port(&port.place, port.ifindex);
                    let outdated =
                        known.map_or_else(|| departed.port(port, look), |known| look.began_before(known.seen));
                    mended += u64::from(!outdated && known.is_none_or(|known| !known.same_as(port)));
                    outdated
                }
                Fact::Names(lab, _) => {
                    names.insert(lab.clone());
                    let seen = self.labs.get(lab).and_then(|lab| lab.names_seen);
                    departed.names(lab, look) || seen.is_some_and(|seen| look.began_before(seen))
                }
                _ => false,
            };
            if !outdated {
                self.put(fact);
            }
        }
        mended + self.forget_unseen(look, &nodes, &ports, &names)
    }

    /// All that the switch has is this, but for what an event told after the look began.
    fn relist_switch(&mut self, look: Look, facts: Vec<Fact>) -> u64 {
        let known = self.switch.clone();
        let is_news = |fact: &Fact| match fact {
            Fact::SwitchPort(port) => known.port(&port.name).is_none_or(|there| !there.same_as(port)),
            Fact::SwitchBridge(bridge) => {
                known.bridge(&bridge.name).is_none_or(|there| there.is_ours != bridge.is_ours)
            }
            Fact::SwitchTag(tag) => known.tag(&tag.bridge, tag.tag).is_none_or(|there| !there.same_as(tag)),
            _ => false,
        };
        let is_outdated = |fact: &Fact| match fact {
            Fact::SwitchPort(port) => known.port(&port.name).is_some_and(|there| look.began_before(there.seen)),
            Fact::SwitchBridge(bridge) => known.bridge(&bridge.name).is_some_and(|there| look.began_before(there.seen)),
            Fact::SwitchTag(tag) => known.tag(&tag.bridge, tag.tag).is_some_and(|there| look.began_before(there.seen)),
            _ => true,
        };
        let (mut ports, mut bridges, mut tags, mut mended) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
        for fact in facts {
            match &fact {
                Fact::SwitchPort(port) => drop(ports.insert(port.name.clone())),
                Fact::SwitchBridge(bridge) => drop(bridges.insert(bridge.name.clone())),
                Fact::SwitchTag(tag) => drop(tags.insert((tag.bridge.clone(), tag.tag))),
                _ => {}
            }
            if !is_outdated(&fact) {
                mended += u64::from(is_news(&fact));
                self.put(fact);
            }
        }
        let ports = known.ports().filter(|port| !ports.contains(&port.name) && !look.began_before(port.seen));
        let bridges =
            known.bridges().filter(|bridge| !bridges.contains(&bridge.name) && !look.began_before(bridge.seen));
        let is_gone = |tag: &&SwitchTagFact| !tags.contains(&(tag.bridge.clone(), tag.tag));
        let tags = known.tags().filter(|tag| is_gone(tag) && !look.began_before(tag.seen));
        let gone: Vec<Fact> = ports
            .map(|port| Fact::SwitchPortGone(port.name.clone()))
            .chain(bridges.map(|bridge| Fact::SwitchBridgeGone(bridge.name.clone())))
            .chain(tags.map(|tag| Fact::SwitchTagGone(tag.bridge.clone(), tag.tag)))
            .collect();
        mended += gone.len() as u64;
        for fact in gone {
            self.put(fact);
        }
        mended
    }

    fn port(&self, place: &Place, ifindex: u32) -> Option<&PortFact> {
        match place {
            Place::Host => self.host.get(&ifindex).map(|port| &**port),
            Place::Node(lab, node) => self.labs.get(lab)?.ports.get(&(node.clone(), ifindex)).map(|port| &**port),
        }
    }

    fn forget_unseen(
        &mut self,
        look: Look,
        nodes: &BTreeSet<(LabName, NodeName)>,
        ports: &BTreeSet<(Place, u32)>,
        names: &BTreeSet<LabName>,
    ) -> u64 {
        let mut gone = Vec::new();
        for (name, lab) in &self.labs {
            match look.source {
                Source::Runtime(kind) => {
                    let old = lab.nodes.values().filter(|fact| fact.runtime == kind && !look.began_before(fact.seen));
                    let unseen = old.filter(|fact| !nodes.contains(&(name.clone(), fact.node.clone())));
                    gone.extend(unseen.map(|fact| Fact::NodeGone(name.clone(), fact.node.clone())));
                    let old_names = lab.names.is_some() && lab.names_seen.is_some_and(|seen| !look.began_before(seen));
                    // The names of all labs are kept by one runtime, and no other says that there are none.
                    if kind == RuntimeKind::Namespace && old_names && !names.contains(name) {
                        gone.push(Fact::Names(name.clone(), None));
                    }
                }
                Source::Fabric => {
                    let old = lab.ports.values().filter(|port| !look.began_before(port.seen));
                    let unseen = old.filter(|port| !ports.contains(&(port.place.clone(), port.ifindex)));
                    gone.extend(unseen.map(|port| Fact::PortGone(port.place.clone(), port.ifindex)));
                }
                Source::Images(_) | Source::Switch => {}
            }
        }
        if look.source == Source::Fabric {
            let old = self.host.values().filter(|port| !look.began_before(port.seen));
            let unseen = old.filter(|port| !ports.contains(&(Place::Host, port.ifindex)));
            gone.extend(unseen.map(|port| Fact::PortGone(Place::Host, port.ifindex)));
        }
        let count = gone.len() as u64;
        for fact in gone {
            self.put(fact);
        }
        count
    }
}

impl PortFact {
    /// Whether two sightings show the same.
    fn same_as(&self, other: &Self) -> bool {
        Self { seen: other.seen, ..self.clone() } == *other
    }
}
