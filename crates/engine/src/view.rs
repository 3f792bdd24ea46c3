//! Labs as people and programs see them: what is wanted beside what is there, in one value.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use netloom_model::{
    End, Home, Kind, Lab, LabName, Lacking, Link, LinkId, LinkKind, Node, NodeAddresses, NodeName, RuntimeKind, Shape,
};
use netloom_plan::{AdminState, LeftOut, Live, NodeState, Plan, Shortage, commands};
use serde::{Deserialize, Serialize};

use crate::desired::{Authority, Done, Phase, Wish, life_of_host};
use crate::fact::{Health, NodeFact, Place, PortFact, PortMark, Source};
use crate::pause::{Pause, Pauses};
use crate::snapshot::{SeenLink, Snapshot};
use crate::standing::{Standing, Trouble};

/// What a deploy would do, and what the host would be short of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Preview {
    /// The plan; its fields stand beside `shortages`.
    #[serde(flatten)]
    pub plan: Plan,
    /// What this host has too little of. A deploy is refused when one of them says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortages: Vec<Shortage>,
    /// The nodes that a person stopped: no deploy starts them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<NodeName>,
}

/// A lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabView {
    /// Its name.
    pub name: LabName,
    /// Who decides; `None` when no wish is known: it was found by its marks.
    pub authority: Option<Authority>,
    /// Whether it is to be there.
    pub phase: Option<Phase>,
    /// Counts up with every change of the wish.
    pub generation: u64,
    /// The file that it was deployed from.
    pub source: Option<String>,
    /// Why nothing is done for it, when a person has cancelled.
    pub held: Option<String>,
    /// Why nothing is done for it, when what works for it fails again and again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
    /// The nodes by name.
    pub nodes: Vec<NodeView>,
    /// The links by id.
    pub links: Vec<LinkView>,
    /// What live edits made other than that file.
    #[serde(default, skip_serializing_if = "Live::is_empty")]
    pub live: Live,
    /// The steps that fail, each with the reason and when it is tried again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Trouble>,
    /// What could not be looked at lately, if anything: the lab is shown as it was last seen.
    pub stale: Option<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its name.
    pub name: NodeName,
    /// What it is.
    pub kind: Kind,
    /// What it runs on.
    pub runtime: Option<RuntimeKind>,
    /// Its container name.
    pub container: String,
    /// What its runtime calls what runs in it, once it has run: the first 12 digits of a container's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its state.
    pub state: NodeState,
    /// What its health check says, while it runs and has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// Running, with all its links up but those that a person cut and those to nodes that a person stopped, with its commands
    /// run in this life, and healthy if it has a health check.
    pub ready: bool,
    /// Whether a person stopped it; nothing but a person starts it again.
    #[serde(default)]
    pub stopped: bool,
    /// The process id of its init on the host.
    pub pid: Option<u32>,
    /// The addresses of its interfaces, with prefix length; without link-local and loopback.
    pub addresses: Vec<String>,
    /// What it has on the management network, if it is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub management: Option<ManagementView>,
    /// The last lines of its output, once it has ended or failed.
    pub last_output: Option<String>,
    /// Something that a person should know.
    pub note: Option<String>,
    /// What has to be there to make it, when this version cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<Lacking>,
    /// When it was last confirmed.
    #[serde(default, with = "crate::time::option")]
    pub seen: Option<SystemTime>,
}

/// What a node has on the management network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagementView {
    /// The name of the network.
    pub network: String,
    /// The node's interface on it.
    pub interface: String,
    /// Its address there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// Likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkView {
    /// Its id.
    pub id: String,
    /// Its one or two ends.
    pub ends: Vec<EndView>,
    /// The ports of the host's switch that it has, if it is on one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switch: Vec<SwitchPortView>,
    /// What it leads to that the lab has no end of: `host:PARENT` of a macvlan, `remote:HOST vni N` of a tunnel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub far: Option<String>,
    /// Whether the host that it leads to says that its end there is off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub far_off: bool,
    /// `absent`, `down`, `up` (a carrier on every end), or `left-out`: this version cannot make it.
    pub state: String,
    /// The MTU wanted, in bytes.
    pub mtu: u32,
    /// Why it is not made at all, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<String>,
}

/// One end of a link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndView {
    /// `node:interface`.
    pub end: String,
    /// Whether it is switched on; `None` when it is not there.
    pub admin: Option<AdminState>,
    /// Whether a person switched it off.
    pub cut: bool,
    /// Whether it has a carrier.
    pub carrier: bool,
    /// Its index in its namespace.
    pub ifindex: Option<u32>,
    /// Its name in the kernel.
    pub interface: String,
    /// Its MAC address.
    pub mac: String,
    /// Its MTU as the kernel has it, in bytes.
    pub mtu: Option<u32>,
    /// Its addresses with prefix length.
    pub addresses: Vec<String>,
}

/// A port of the host's switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchPortView {
    /// Its name, which is that of an interface on the host.
    pub port: String,
    /// The bridge that it is a port of.
    pub bridge: String,
    /// The VLAN tag on the bridge of what has none in front of it. If nothing else passes, that is all; none if everything does.
    pub tag: Option<u16>,
    /// The VLANs that pass with their tags, if not all do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trunks: Vec<u16>,
    /// Why nothing passes through it, in the words of the switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl LabView {
    /// The same of a lab that may be paused.
    #[must_use]
    pub fn with_pause(self, pauses: &Pauses) -> Self {
        let paused = pauses.of(&self.name);
        Self { paused, ..self }
    }

    /// The view of one lab, or `None` when it is neither wanted nor there.
    pub fn of(name: &LabName, wish: Option<&Wish>, standing: &Standing, snapshot: &Snapshot) -> Option<Self> {
        let facts = snapshot.labs.get(name);
        if wish.is_none() && facts.is_none() {
            return None;
        }
        let seen = snapshot.links(name);
        let left_out = wish.map(|wish| LeftOut::of(wish.whole())).unwrap_or_default();
        let mut links: Vec<LinkView> = wish
            .map(|wish| wish.lab.links().iter().map(|link| link_view(name, wish, link, seen.get(&link.id()))).collect())
            .unwrap_or_default();
        if let Some(lab) = wish.map(|wish| &**wish.whole()).filter(|lab| lab.has_switch_ports()) {
            show_switch(&mut links, lab, snapshot);
        }
        for link in &mut links {
            if let Some(why) = left_out.link(&LinkId::from_text(link.id.as_str())) {
                LEFT_OUT.clone_into(&mut link.state);
                link.left_out = Some(why.to_owned());
            }
        }
        let attachments = wish.map(|wish| attachments(name, wish, &seen)).unwrap_or_default();
        let mut dark = wish.map(|wish| nodes_in_the_dark(&links, wish)).unwrap_or_default();
        dark.extend(wish.into_iter().flat_map(|wish| nodes_in_the_dark(&attachments, wish)));
        let mut nodes: Vec<NodeView> = Vec::new();
        if let Some(wish) = wish {
            for (node, spec) in wish.lab.nodes() {
                let fact = facts.and_then(|facts| facts.nodes.get(node)).map(|fact| &**fact);
                let mut view = node_view(node, spec.kind.clone(), wish.lab.container_name(node), fact);
                view.runtime = spec.runtime;
                if let Some(there) = is_there(&wish.lab, node, spec, snapshot) {
                    view.state = if there { NodeState::Running } else { NodeState::Absent };
                }
                view.management = management(node, spec, wish);
                view.left_out = left_out.node(node);
                if let Some(needs) = view.left_out {
                    view.note = Some(format!("left out: it needs {needs}"));
                }
                view.stopped = wish.stopped.contains(node);
                if view.stopped && view.state == NodeState::Created {
                    // It has never run, and does not have to.
                    view.state = NodeState::Stopped;
                }
                let healthy = view.health.is_none_or(|health| health == Health::Healthy);
                let configured =
                    is_configured(spec, standing.done.get(node), life(spec, fact, standing, wish).as_ref());
                let wired = !dark.contains(node.as_str());
                view.ready = view.state == NodeState::Running && wired && configured && healthy;
                nodes.push(view);
            }
        }
        for (node, fact) in facts.map(|facts| &facts.nodes).into_iter().flatten() {
            if wish.is_none_or(|wish| !wish.lab.nodes().contains_key(node)) {
                nodes.push(node_view(node, Kind::linux(), fact.container.clone(), Some(fact)));
            }
        }
        for view in &mut nodes {
            let all = (view.name.clone(), 0)..=(view.name.clone(), u32::MAX);
            let ports = facts.map(|facts| facts.ports.range(all)).into_iter().flatten();
            let own = ports.flat_map(|(_, port)| &port.addresses);
            view.addresses = own.filter(|address| !is_local(address)).cloned().collect();
        }
        Some(Self {
            name: name.clone(),
            authority: wish.map(|wish| wish.authority.clone()),
            phase: wish.map(|wish| wish.phase),
            generation: wish.map_or(0, |wish| wish.generation),
            source: wish.and_then(|wish| wish.lab.source().map(str::to_owned)),
            held: wish.and_then(|wish| wish.held.clone()),
            paused: None,
            nodes,
            links,
            live: wish.map(|wish| wish.live.clone()).unwrap_or_default(),
            troubles: standing.troubles.clone(),
            stale: stale(name, wish, snapshot),
        })
    }
}

/// The links to the management network that are not in the file: they show in their nodes.
fn attachments(lab: &LabName, wish: &Wish, seen: &BTreeMap<LinkId, SeenLink>) -> Vec<LinkView> {
    if wish.on_network.is_none() {
        return Vec::new();
    }
    let links = wish.whole().links().iter().filter(|link| matches!(link.kind, LinkKind::Attachment(_)));
    links.map(|link| link_view(lab, wish, link, seen.get(&link.id()))).collect()
}

fn management(name: &NodeName, node: &Node, wish: &Wish) -> Option<ManagementView> {
    let on = wish.on_network.as_ref()?;
    let NodeAddresses { ipv4, ipv6 } = *on.nodes.get(name)?;
    let interface = node.management_interface().to_string();
    Some(ManagementView { network: on.network.network.clone(), interface, ipv4, ipv6 })
}

/// Adds what the switch has of links: without its ports a link is not there, whatever the kernel has.
fn show_switch(views: &mut [LinkView], lab: &Lab, snapshot: &Snapshot) {
    let mut ports: BTreeMap<&LinkId, Vec<SwitchPortView>> = BTreeMap::new();
    for port in snapshot.switch.ports_of(lab.name()) {
        ports.entry(&port.link).or_default().push(SwitchPortView {
            port: port.name.to_string(),
            bridge: port.bridge.to_string(),
            tag: port.vlan.tag,
            trunks: port.vlan.trunks.iter().copied().collect(),
            fault: port.fault.clone(),
        });
    }
    for view in views {
        let id = LinkId::from_text(view.id.as_str());
        view.switch = ports.remove(&id).unwrap_or_default();
        let wanted = lab.link(&id).map(|link| lab.switch_ports(link).len()).unwrap_or_default();
        if view.switch.iter().filter(|port| port.fault.is_none()).count() < wanted {
            "absent".clone_into(&mut view.state);
        }
    }
}

/// The state of a link that no plan makes.
const LEFT_OUT: &str = "left-out";

/// The nodes that have a link which is not up although it should be.
fn nodes_in_the_dark<'a>(links: &'a [LinkView], wish: &Wish) -> BTreeSet<&'a str> {
    let stopped: BTreeSet<&str> = wish.stopped.iter().map(NodeName::as_str).collect();
    let mut dark = BTreeSet::new();
    for link in links.iter().filter(|link| link.state != "up" && link.state != LEFT_OUT) {
        let nodes = || link.ends.iter().filter_map(|end| Some(end.end.split_once(':')?.0));
        if !link.ends.iter().any(|end| end.cut) && !nodes().any(|node| stopped.contains(node)) {
            dark.extend(nodes());
        }
    }
    dark
}

/// What is shown may be older, or less, than what is there: a source cannot be looked at, or was not yet.
fn stale(name: &LabName, wish: Option<&Wish>, snapshot: &Snapshot) -> Option<String> {
    let kinds = wish.into_iter().flat_map(|wish| wish.lab.nodes().values().filter_map(|node| node.runtime));
    let seen = snapshot.labs.get(name).into_iter().flat_map(|facts| facts.nodes.values().map(|fact| fact.runtime));
    // Of others nothing is shown.
    let asked = kinds.chain(seen).map(Source::Runtime).chain([Source::Fabric]);
    let switch = wish.filter(|wish| wish.whole().has_switch_ports()).map(|_| Source::Switch);
    let asked: BTreeSet<Source> = asked.chain(switch).collect();
    let unlisted = asked.iter().filter(|source| {
        snapshot.sources.get(source).is_none_or(|state| state.listed.is_none() && state.error.is_none())
    });
    let unlisted = unlisted.map(|source| format!("{} was not looked at yet", source.word()));
    // Of a lab that nobody wants any source may know something.
    let tells_of_labs = |source: &Source| wish.is_none() && !matches!(source, Source::Images(_));
    let of_lab = snapshot.sources.iter().filter(|(source, _)| tells_of_labs(source) || asked.contains(source));
    let errors = of_lab.filter_map(|(source, state)| {
        let (error, since) = (state.error.as_ref()?, humantime::format_rfc3339_seconds(state.since));
        Some(format!("{} cannot be looked at since {since}: {error}", source.word()))
    });
    let all: Vec<String> = unlisted.chain(errors).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// The life that a node has, in which its commands are run once.
fn life(node: &Node, fact: Option<&NodeFact>, standing: &Standing, wish: &Wish) -> Option<String> {
    match node.kind.shape() {
        Shape::Host => Some(life_of_host(&standing.boot, wish.rebuild)),
        Shape::Runs | Shape::External | Shape::Bridge | Shape::OvsBridge => fact?.incarnation.clone(),
    }
}

/// Whether the commands of a node were run in the life that it has, whatever they answered.
fn is_configured(node: &Node, done: Option<&Done>, life: Option<&String>) -> bool {
    let all = commands(node);
    done.map_or(0, |done| done.execs_in(life, &all)) >= all.len()
}

fn is_local(address: &str) -> bool {
    address.starts_with("127.") || address.starts_with("fe80:") || address.starts_with("::1/")
}

/// Whether a node is there that has no process of ours; nothing of one that runs.
fn is_there(lab: &Lab, name: &NodeName, node: &Node, snapshot: &Snapshot) -> Option<bool> {
    if let (Some((bridge, _)), Home::Node(home)) = (name.inner_bridge(), lab.home(name)) {
        let bridge = bridge.parse().ok()?;
        return Some(snapshot.inner_bridge(lab.name(), home, &bridge).is_some());
    }
    match node.kind.shape() {
        Shape::Runs | Shape::External => None,
        Shape::Host => Some(true),
        Shape::Bridge => Some(node.host_bridge(name).is_some_and(|bridge| snapshot.host_port(&bridge).is_some())),
        Shape::OvsBridge => {
            Some(node.host_bridge(name).is_some_and(|bridge| snapshot.switch.bridge(&bridge).is_some()))
        }
    }
}

fn node_view(name: &NodeName, kind: Kind, container: String, fact: Option<&NodeFact>) -> NodeView {
    NodeView {
        name: name.clone(),
        kind,
        runtime: fact.map(|fact| fact.runtime),
        container,
        id: fact
            .and_then(|fact| fact.incarnation.as_deref())
            .map(|life| life.split('@').next().unwrap_or(life).to_owned()),
        state: fact.map_or(NodeState::Absent, |fact| fact.state.clone()),
        health: fact.and_then(|fact| fact.health),
        ready: false,
        stopped: false,
        pid: fact.and_then(|fact| fact.pid),
        addresses: Vec::new(),
        management: None,
        last_output: fact.and_then(|fact| fact.last_output.clone()),
        note: fact.and_then(|fact| fact.note.clone()),
        left_out: None,
        seen: fact.map(|fact| fact.seen),
    }
}

fn link_view(lab: &LabName, wish: &Wish, link: &Link, seen: Option<&SeenLink>) -> LinkView {
    let id = link.id();
    let ports: Vec<Option<&PortFact>> = link.ends().map(|end| find_port(lab, end, seen)).collect();
    let carries = seen.is_some_and(SeenLink::has_carrier);
    let state = if ports.iter().any(Option::is_none) {
        "absent"
    } else if carries {
        "up"
    } else {
        "down"
    };
    let sides = [netloom_plan::Side::A, netloom_plan::Side::B];
    let ends = link.ends().zip(ports).zip(sides).map(|((end, port), side)| EndView {
        end: end.label(),
        admin: port.map(|port| AdminState::of(port.admin_up)),
        cut: wish.down.contains(&(id.clone(), side)),
        carrier: port.is_some_and(|port| port.carrier || carries),
        ifindex: port.map(|port| port.ifindex),
        interface: end.interface.kernel().to_string(),
        mac: port.and_then(|port| port.mac).unwrap_or(end.mac).to_string(),
        mtu: port.map(|port| port.mtu),
        addresses: port.map(|port| port.addresses.clone()).unwrap_or_default(),
    });
    LinkView {
        id: id.to_string(),
        ends: ends.collect(),
        switch: Vec::new(),
        far: far(link),
        far_off: seen.is_some_and(|seen| seen.ports.iter().any(|port| port.signals.heard)),
        state: state.to_owned(),
        mtu: link.mtu.bytes(),
        left_out: None,
    }
}

fn far(link: &Link) -> Option<String> {
    let to = link.kind.leads_to()?;
    Some(match link.kind.tunnel() {
        Some(tunnel) => format!("{to} vni {}", tunnel.vni),
        None => to,
    })
}

fn find_port<'a>(lab: &LabName, end: &End, seen: Option<&'a SeenLink>) -> Option<&'a PortFact> {
    let port = seen?.port(&Place::of(lab, end), end.interface.kernel())?;
    matches!(port.mark, Some(PortMark::Link { .. })).then_some(port)
}
