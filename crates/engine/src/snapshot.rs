//! What is known at one moment, and what is read from it. Pure; [`crate::inventory`] keeps it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use imbl::OrdMap;
use netloom_model::{InterfaceName, LabName, LinkId, NodeName, RuntimeKind};
use netloom_plan::{LinkFingerprint, Side};
use serde::Serialize;

use crate::fact::{NodeFact, Place, PortFact, PortMark, Source};
use crate::image::ImageFact;
use crate::switchboard::Switchboard;

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
    pub(crate) names_seen: Option<SystemTime>,
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

    /// What is seen of a node.
    pub fn node(&self, lab: &LabName, node: &NodeName) -> Option<&NodeFact> {
        self.labs.get(lab)?.nodes.get(node).map(|fact| &**fact)
    }

    /// What is seen of the nodes of a lab.
    pub fn nodes(&self, lab: &LabName) -> impl Iterator<Item = &NodeFact> {
        self.labs.get(lab).into_iter().flat_map(|facts| facts.nodes.values()).map(|fact| &**fact)
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
