//! Labs as a few small numbers: a pool of nodes and of links, so that an edit of a lab hits the same names again
//! and interfaces pass from one link to another.

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{
    End, Endpoint, ExecPhase, ExecTarget, Interface, Kind, Lab, LabParts, Link, LinkId, Management, Mtu, NetworkMode,
    Node, NodeAddresses, NodeName, OnNetwork, RuntimeKind, Shape, Stage, StageExec, Stages, WaitFor, derived_mac,
};
use netloom_plan::{Desired, Side};
use proptest::prelude::*;

/// The last is a bridge in the first, if that is a node that runs.
const NODES: [&str; 6] = ["n0", "n1", "n2", "n3", "n4", "in|n0"];
const INSIDE: [&str; 3] = ["eth1", "eth2", "an-interface-whose-name-is-long"];
/// The host's names include those of nodes: a bridge may become an interface and the other way round.
const OUTSIDE: [&str; 4] = ["p0", "p1", "n0", "n1"];

/// The management networks that a lab may be on.
const NETWORKS: [&str; 2] = ["one", "two"];

/// One entry of the pool of nodes.
#[derive(Debug, Clone)]
pub(crate) struct NodeSlot {
    kind: u8,
    runtime: u8,
    image: u8,
    cmd: u8,
    execs: usize,
    cpu: u8,
    stopped: bool,
    /// 0: no network of its own choice, 1: connected by the owner of the network, else by a link.
    managed: u8,
    restarts: u64,
    /// At which stage it waits for which node's stage.
    waits: Vec<(usize, usize, usize)>,
    /// Commands of stages.
    staged: Vec<(usize, bool)>,
}

/// One entry of the pool of links.
#[derive(Debug, Clone)]
pub(crate) struct LinkSlot {
    there: bool,
    a: (usize, usize),
    b: (usize, usize),
    mtu: u8,
    mac: u32,
    address: u8,
    down: (bool, bool),
}

/// What is wanted of one lab, owned.
#[derive(Clone)]
pub(crate) struct Want {
    nodes: Vec<NodeSlot>,
    links: Vec<LinkSlot>,
    /// Which of the networks; none of them.
    network: Option<usize>,
    /// Whether its links are ports of a switch.
    switched: bool,
    pub(crate) rebuild: u64,
}

fn node_slot() -> impl Strategy<Value = NodeSlot> {
    let fields = (0..9_u8, 0..3_u8, 0..2_u8, 0..2_u8, 0..3_usize, 0..2_u8);
    let waits = prop::collection::vec((0..5_usize, 0..NODES.len(), 0..5_usize), 0..3);
    let staged = prop::collection::vec((0..5_usize, any::<bool>()), 0..2);
    // Most labs have no stages.
    let stages = prop_oneof![Just((Vec::new(), Vec::new())), (waits, staged)];
    let life = (prop::bool::weighted(0.25), 0..2_u64);
    (fields, 0..4_u8, life, stages).prop_map(|(fields, managed, (stopped, restarts), (waits, staged))| {
        let (kind, runtime, image, cmd, execs, cpu) = fields;
        NodeSlot { kind, runtime, image, cmd, execs, cpu, stopped, managed, restarts, waits, staged }
    })
}

fn link_slot() -> impl Strategy<Value = LinkSlot> {
    let end = || (0..8_usize, 0..4_usize);
    (any::<bool>(), end(), end(), 0..2_u8, 0..2_u32, 0..2_u8, any::<(bool, bool)>())
        .prop_map(|(there, a, b, mtu, mac, address, down)| LinkSlot { there, a, b, mtu, mac, address, down })
}

/// A lab.
pub(crate) fn want() -> impl Strategy<Value = Want> {
    let nodes = prop::collection::vec(node_slot(), NODES.len());
    let links = prop::collection::vec(link_slot(), 7);
    let network = prop::option::of(0..NETWORKS.len());
    (nodes, links, network, any::<bool>(), 0..2_u64).prop_map(|(nodes, links, network, switched, rebuild)| Want {
        nodes,
        links,
        network,
        switched,
        rebuild,
    })
}

/// A lab and an edit of it: each entry stays with a chance of two in three.
pub(crate) fn edited() -> impl Strategy<Value = (Want, Want)> {
    let stays = prop::collection::vec(prop::bool::weighted(0.66), NODES.len() + 7);
    (want(), want(), stays, prop::bool::weighted(0.66)).prop_map(|(first, other, stays, on_network)| {
        let mut second = other;
        if on_network {
            (second.network, second.switched) = (first.network, first.switched);
        }
        for (at, _) in stays.into_iter().enumerate().filter(|(_, stays)| *stays) {
            if let Some(link) = at.checked_sub(NODES.len()) {
                second.links[link] = first.links[link].clone();
            } else {
                second.nodes[at] = first.nodes[at].clone();
            }
        }
        (first, second)
    })
}

fn node(slot: &NodeSlot, name: &str) -> Option<Node> {
    let kind = match slot.kind {
        0..=7 if name.contains('|') => Kind::bridge(),
        0..=4 => Kind::linux(),
        5 => Kind::bridge(),
        6 => Kind::host(),
        7 => "ovs-bridge".parse().unwrap(),
        _ => return None,
    };
    let runs = kind == Kind::linux();
    let executes = runs || kind == Kind::host();
    let mut stages = Stages::new();
    for (stage, leaves) in slot.staged.iter().filter(|_| runs) {
        let phase = if *leaves { ExecPhase::OnExit } else { ExecPhase::OnEnter };
        let exec = StageExec { command: vec!["staged".to_owned()], target: ExecTarget::Container, phase };
        stages.entry(Stage::ALL[*stage]).or_default().exec.push(exec);
    }
    let network_mode = if slot.managed == 0 { NetworkMode::None } else { NetworkMode::Default };
    let mut made = Node::new(kind, name);
    if runs && slot.managed == 1 {
        made.container.ports = vec!["8080:80".parse().unwrap()];
    }
    Some(Node {
        network_mode: if runs { network_mode } else { NetworkMode::default() },
        runtime: runs.then_some(if slot.runtime == 0 { RuntimeKind::Docker } else { RuntimeKind::Namespace }),
        image: (slot.image == 1).then(|| "image".to_owned()),
        cmd: if slot.cmd == 1 { vec!["daemon".to_owned()] } else { Vec::new() },
        exec: (0..if executes { slot.execs } else { 0 }).map(|n| vec!["run".to_owned(), n.to_string()]).collect(),
        cpu_millis: (slot.cpu == 1).then_some(500),
        stages,
        ..made
    })
}

impl std::fmt::Debug for Want {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lab = serde_json::to_string_pretty(&self.lab()).unwrap();
        let Wanted { stopped, restarts, down, .. } = Wanted::of(self);
        write!(f, "rebuild {}, down {down:?}, stopped {stopped:?}, restarts {restarts:?}, {lab}", self.rebuild)
    }
}

impl Want {
    /// The lab itself; links that do not fit are left out.
    pub(crate) fn lab(&self) -> Lab {
        let nodes: BTreeMap<NodeName, Node> = NODES
            .iter()
            .zip(&self.nodes)
            .filter_map(|(name, slot)| Some((name.parse().unwrap(), node(slot, name)?)))
            .collect();
        let mut parts = LabParts { nodes, ..LabParts::new("lab".parse().unwrap()) };
        for (name, slot) in NODES.iter().zip(&self.nodes) {
            Self::add_waits(&mut parts, &name.parse().unwrap(), slot);
        }
        for slot in self.links.iter().filter(|slot| slot.there) {
            let Some(link) = link(&parts, slot) else { continue };
            parts.links.push(link);
            if Lab::new(parts.clone()).is_err() {
                parts.links.pop();
            }
        }
        Lab::new(parts).unwrap()
    }

    /// The lab on its management network, and the name of that: what is made on a host.
    pub(crate) fn whole(&self) -> (Lab, Option<&'static str>) {
        let (lab, network) = self.on_network();
        (if self.switched { lab.on_switch(&"sw".parse().unwrap()) } else { lab }, network)
    }

    fn on_network(&self) -> (Lab, Option<&'static str>) {
        let lab = self.lab();
        let Some(at) = self.network.filter(|_| lab.is_on_network()) else { return (lab, None) };
        let name = NETWORKS[at];
        let bridge = Some(format!("br-{name}").parse().unwrap());
        let network = Management { network: name.to_owned(), bridge, ..Management::default() };
        let addresses = NODES.iter().zip(2..).map(|(node, last)| {
            let ipv4 = Some([172, 20, 20, last].into());
            (node.parse().unwrap(), NodeAddresses { ipv4, ipv6: None })
        });
        let on = OnNetwork { network, others_ipv4: None, others_ipv6: None, nodes: addresses.collect() };
        (lab.on_network(&on), Some(name))
    }

    /// Those that can come true.
    fn add_waits(parts: &mut LabParts, name: &NodeName, slot: &NodeSlot) {
        for (stage, other, of) in &slot.waits {
            let before = parts.clone();
            let Some(node) = parts.nodes.get_mut(name).filter(|node| node.runtime.is_some()) else { return };
            let wait = WaitFor { node: NODES[*other].parse().unwrap(), stage: Stage::ALL[*of] };
            node.stages.entry(Stage::ALL[*stage]).or_default().wait_for.push(wait);
            if Lab::new(parts.clone()).is_err() {
                *parts = before;
            }
        }
    }

    /// The ends that are switched off. Also one of a link that is long gone.
    pub(crate) fn down(&self) -> BTreeSet<(LinkId, Side)> {
        let (lab, _) = self.whole();
        let mut down = BTreeSet::from([(LinkId::from_text("x:gone-y:gone"), Side::A)]);
        for (link, slot) in lab.links().iter().zip(&self.links) {
            if slot.down.0 {
                down.insert((link.id(), Side::A));
            }
            if slot.down.1 {
                down.insert((link.id(), Side::B));
            }
        }
        down
    }
}

fn end(parts: &LabParts, (at, interface): (usize, usize), slot: &LinkSlot, octet: u8) -> Option<End> {
    let (at, interface): (Endpoint, Interface) = match NODES.get(at) {
        Some(name) => {
            let name: NodeName = name.parse().unwrap();
            match parts.nodes.get(&name)?.kind.shape() {
                Shape::Runs | Shape::External => (Endpoint::Node(name), INSIDE.get(interface)?.parse().unwrap()),
                Shape::Bridge | Shape::OvsBridge => {
                    let inner = name.inner_bridge().is_some();
                    let interface = if inner { INSIDE.get(interface)? } else { &OUTSIDE[interface] };
                    (Endpoint::Bridge(name), interface.parse().unwrap())
                }
                Shape::Host => return None,
            }
        }
        None if at == NODES.len() => (Endpoint::Host, OUTSIDE[interface].parse().unwrap()),
        None if interface == 0 => (Endpoint::Remote("far".to_owned()), "eth1".parse().unwrap()),
        None => return None,
    };
    let mut end = End::new(at, interface, derived_mac(&parts.name, "", 0));
    end.mac = derived_mac(&parts.name, &end.label(), slot.mac);
    end.ipv4 = (slot.address == 1).then(|| format!("10.0.0.{octet}/24").parse().unwrap());
    Some(end)
}

fn link(parts: &LabParts, slot: &LinkSlot) -> Option<Link> {
    let a = end(parts, slot.a, slot, 1)?;
    let b = end(parts, slot.b, slot, 2);
    if b.is_none() && !matches!(a.at, Endpoint::Node(_)) {
        return None;
    }
    let mtu = if slot.mtu == 1 { Mtu::try_from(1500).unwrap() } else { Mtu::DEFAULT };
    Some(Link { mtu, ..Link::new(a, b) })
}

/// A desire that owns its parts.
pub(crate) struct Wanted {
    pub(crate) lab: Option<Lab>,
    pub(crate) network: Option<&'static str>,
    pub(crate) down: BTreeSet<(LinkId, Side)>,
    pub(crate) rebuild: u64,
    pub(crate) stopped: BTreeSet<NodeName>,
    pub(crate) restarts: BTreeMap<NodeName, u64>,
    pub(crate) due: BTreeSet<NodeName>,
}

impl Wanted {
    pub(crate) fn of(want: &Want) -> Self {
        // Also of nodes that are not there, or run nothing.
        let names = || NODES.iter().map(|name| name.parse().unwrap());
        let slots = || names().zip(&want.nodes);
        let (lab, network) = want.whole();
        Self {
            lab: Some(lab),
            network,
            down: want.down(),
            rebuild: want.rebuild,
            stopped: slots().filter(|(_, slot)| slot.stopped).map(|(name, _)| name).collect(),
            restarts: slots().map(|(name, slot): (NodeName, _)| (name, slot.restarts)).collect(),
            due: names().collect(),
        }
    }

    pub(crate) fn nothing() -> Self {
        Self {
            lab: None,
            network: None,
            down: BTreeSet::new(),
            rebuild: 0,
            stopped: BTreeSet::new(),
            restarts: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }

    pub(crate) fn desired(&self) -> Desired<'_> {
        let Self { lab, network, down, rebuild, stopped, restarts, due } = self;
        Desired {
            lab: lab.as_ref(),
            rebuild: *rebuild,
            down,
            stopped,
            restarts,
            restart_due: due,
            prints: None,
            network: *network,
        }
    }
}
