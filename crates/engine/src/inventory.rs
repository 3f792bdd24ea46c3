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
use netloom_model::{InterfaceName, LabName, LinkId, NodeName, RuntimeKind};
use netloom_plan::{LinkFingerprint, Side};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use crate::driver::Reporter;
use crate::fact::{Fact, NodeFact, Place, PortFact, PortMark, Report, Source, SwitchTagFact};
use crate::image::ImageFact;
use crate::switchboard::Switchboard;

/// How many batches of facts may wait; more become [`Report::Lost`].
const QUEUE: usize = 1024;

/// Everything that is known at one moment. Never changes; the next moment is another snapshot, which shares with this
/// one whatever is the same: a snapshot costs what has changed, not what is there.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Counts up with each snapshot.
    pub version: u64,
    /// What is there of each lab.
    pub labs: BTreeMap<LabName, Arc<LabFacts>>,
    /// The interfaces in the host's namespace, by index.
    pub host: OrdMap<u32, Arc<PortFact>>,
    /// The version of the snapshot that changed the host's interfaces last.
    pub host_changed: u64,
    /// The images of each runtime that was seen to have any, by id.
    pub images: BTreeMap<RuntimeKind, Arc<BTreeMap<String, ImageFact>>>,
    /// The version of the snapshot that changed them last.
    pub images_changed: u64,
    /// The management networks of ours that each runtime keeps, with how many are on them that we did not put there.
    pub networks: BTreeMap<RuntimeKind, BTreeMap<String, usize>>,
    /// What the switch of the host has.
    pub switch: Switchboard,
    /// How well each source answers.
    pub sources: BTreeMap<Source, SourceState>,
}

/// What is there of one lab, all of it with our mark.
#[derive(Debug, Clone, Default)]
pub struct LabFacts {
    /// The version of the snapshot that changed it last.
    pub changed: u64,
    /// The nodes.
    pub nodes: OrdMap<NodeName, Arc<NodeFact>>,
    /// The interfaces in the nodes' namespaces, foreign ones too.
    pub ports: OrdMap<(NodeName, u32), Arc<PortFact>>,
    /// Hash of the names file.
    pub names: Option<String>,
    names_seen: Option<SystemTime>,
}

/// How well a source answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SourceState {
    /// When it was last listed whole.
    #[serde(with = "crate::time::option")]
    pub listed: Option<SystemTime>,
    /// What it said when it last could not look.
    pub error: Option<String>,
    /// What runs short of it, though it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strain: Option<String>,
    /// Since when it has been as it is: fresh or unreachable.
    #[serde(with = "crate::time")]
    pub since: SystemTime,
    /// How many facts a relist had to mend that no event had told.
    pub mended: u64,
}

/// A link as its marked interfaces show it.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenLink {
    /// The spec that was applied.
    pub fingerprint: LinkFingerprint,
    /// The interfaces that carry its mark.
    pub ports: Vec<Arc<PortFact>>,
}

impl SeenLink {
    /// Whether it carries traffic, as far as its interfaces that are there tell.
    ///
    /// A cable has one carrier: there when all its ends are switched on. The kernel says so of the end that was switched
    /// on last at once; of the other one its linkwatch does, with a hundred others at a time and up to a second later.
    pub fn has_carrier(&self) -> bool {
        self.ports.iter().all(|port| port.admin_up) && self.ports.iter().any(|port| port.carrier)
    }
}

impl Snapshot {
    /// Whether every one of `sources` was listed at least once: before that nothing may be concluded from absence.
    pub fn is_complete(&self, sources: &BTreeSet<Source>) -> bool {
        sources.iter().all(|source| self.sources.get(source).is_some_and(|state| state.listed.is_some()))
    }

    /// The links of a lab, of which at least one end is there.
    pub fn links(&self, lab: &LabName) -> BTreeMap<LinkId, SeenLink> {
        let mut links: BTreeMap<LinkId, SeenLink> = BTreeMap::new();
        let inside = self.labs.get(lab).map(|facts| facts.ports.values());
        for port in inside.into_iter().flatten().chain(self.host.values()) {
            if let Some(PortMark::Link { lab: of, link, fingerprint, .. }) = &port.mark
                && of == lab
            {
                let seen = links
                    .entry(link.clone())
                    .or_insert_with(|| SeenLink { fingerprint: fingerprint.clone(), ports: Vec::new() });
                seen.fingerprint = seen.fingerprint.and(fingerprint);
                seen.ports.push(port.clone());
            }
        }
        links
    }

    /// A host interface by its name.
    pub fn host_port(&self, name: &InterfaceName) -> Option<&PortFact> {
        self.host.values().map(|port| &**port).find(|port| &port.name == name)
    }

    /// A bridge of ours in the namespace of a node.
    pub fn inner_bridge(&self, lab: &LabName, node: &NodeName, bridge: &InterfaceName) -> Option<&PortFact> {
        self.inner_bridges(lab).find(|port| port.place.node() == Some(node) && &port.name == bridge)
    }

    /// The bridges of ours in the namespaces of a lab's nodes.
    pub(crate) fn inner_bridges(&self, lab: &LabName) -> impl Iterator<Item = &PortFact> {
        let ports = self.labs.get(lab).map(|facts| facts.ports.values()).into_iter().flatten();
        ports.map(|port| &**port).filter(|port| port.mark == Some(PortMark::Bridge))
    }

    /// Names of host interfaces that are not ends of links of `lab`, also second names; bridges too, whoever made them.
    pub fn taken(&self, lab: &LabName) -> BTreeSet<InterfaceName> {
        let ours = |port: &PortFact| matches!(&port.mark, Some(PortMark::Link { lab: of, .. }) if of == lab);
        let foreign = self.host.values().filter(|port| !ours(port));
        let names = |port: &Arc<PortFact>| {
            let others: Vec<InterfaceName> = port.altnames.iter().filter_map(|name| name.parse().ok()).collect();
            std::iter::once(port.name.clone()).chain(others)
        };
        foreign.flat_map(names).collect()
    }
}

impl SeenLink {
    /// The interface at one end, found by place and name.
    pub fn port(&self, place: &Place, name: &InterfaceName) -> Option<&PortFact> {
        self.ports.iter().map(|port| &**port).find(|port| &port.place == place && &port.name == name)
    }
}

/// Which end of a link an interface is, given the place and name of each end.
pub(crate) fn sides(lab: &LabName, link: &netloom_model::Link) -> Vec<(Side, Place, InterfaceName)> {
    let place = |end: &netloom_model::End| Place::of(lab, end);
    let a = std::iter::once((Side::A, place(&link.a), link.a.interface.kernel().clone()));
    a.chain(link.b.iter().map(|end| (Side::B, place(end), end.interface.kernel().clone()))).collect()
}

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
                    let known = self.labs.get(&fact.lab).and_then(|lab| lab.nodes.get(&fact.node));
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
