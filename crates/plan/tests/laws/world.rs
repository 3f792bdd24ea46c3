//! A small world: what the planner observes, plus the names of interfaces, which must never clash.

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{Endpoint, Lab, Link, LinkId, NamespaceComes, NodeName, RuntimeKind, Shape, Stage};
use netloom_plan::{
    Action, Entries, LeftOut, LinkFingerprint, NodeFingerprint, NodeState, Observed, ObservedBridge, ObservedLink,
    ObservedNode, Plan, Side, Step, StepId, apply, commands, names, names_hash, plan,
};

use super::labs::Wanted;

/// Where an interface is: a node's name, or nothing for the host.
type Name = (Option<String>, String);

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct World {
    pub(crate) seen: Observed,
    interfaces: BTreeMap<Name, LinkId>,
}

impl World {
    pub(crate) fn plan(&self, wanted: &Wanted) -> Plan {
        plan(&"lab".parse().unwrap(), &wanted.desired(), &self.seen)
    }

    /// Carries out one step and checks that no name is given twice.
    pub(crate) fn step(&mut self, action: &Action, wanted: &Wanted) {
        if let Action::ReleaseNetwork { network } = action {
            self.check_left(network, wanted);
        }
        apply(action, &wanted.desired(), &mut self.seen);
        let links = &self.seen.links;
        self.interfaces.retain(|_, link| links.contains_key(link));
        if let Action::CreateLink { link } = action {
            let lab = wanted.lab.as_ref().unwrap();
            let link = lab.links().iter().find(|wanted| &wanted.id() == link).unwrap();
            for end in link.ends() {
                let place = match end.home() {
                    Endpoint::Node(node) => Some(node.to_string()),
                    Endpoint::Host | Endpoint::Bridge(_) => None,
                    Endpoint::Remote(_) => panic!("{} does not end on this host", link.id()),
                };
                let name = (place, end.interface.kernel().to_string());
                let before = self.interfaces.insert(name.clone(), link.id());
                assert_eq!(before, None, "{name:?} is given to {} too", link.id());
            }
        }
        for (node, bridge) in &self.seen.inner_bridges {
            let taken = self.interfaces.get(&(Some(node.to_string()), bridge.to_string()));
            assert_eq!(taken, None, "bridge {bridge} in {node} has the name of an interface");
        }
        for bridge in self.seen.bridges.keys() {
            let taken = self.interfaces.get(&(None, bridge.to_string()));
            assert_eq!(taken, None, "bridge {bridge} has the name of an interface");
        }
    }

    /// Panics when a link is there that leads to a network which is given back.
    fn check_left(&self, network: &str, wanted: &Wanted) {
        assert_ne!(wanted.network, Some(network));
        let (lab, print) = (wanted.lab.as_ref(), |link| LinkFingerprint::of(link, wanted.rebuild));
        for (id, there) in self.seen.links.iter().filter(|(id, _)| is_attachment(id)) {
            let is_another = lab.and_then(|lab| lab.link(id)).is_some_and(|link| print(link) == there.fingerprint);
            assert!(is_another, "{id} leads to the network {network}, which is given back");
        }
    }

    /// The bridge of a network vanishes behind our back, and with it what leads to it counts for nothing.
    pub(crate) fn lose_network(&mut self, at: usize) {
        let Some(network) = self.seen.networks.values_mut().nth(at) else { return };
        network.exists = false;
        let attached: Vec<LinkId> = self.seen.links.keys().filter(|id| is_attachment(id)).cloned().collect();
        for link in attached {
            self.lose_link(&link);
        }
    }

    pub(crate) fn carry_out(&mut self, steps: &[Step], wanted: &Wanted) {
        for step in steps {
            self.step(&step.action, wanted);
        }
    }

    /// What is seen, but for what a node that is to be stopped still has of its last life, and for the links that one
    /// takes only when it is started for the first time.
    pub(crate) fn seen_beside_last_lives(&self, wanted: &Wanted) -> Observed {
        let mut seen = self.seen.clone();
        // What was run on the host is noted until the lab goes, also when it is not wanted any more.
        seen.hosts = hosts(wanted.lab.as_ref().unwrap())
            .map(|(name, execs)| {
                let ran = seen.hosts.get(&name).copied().unwrap_or_default();
                (name, ran.min(execs))
            })
            .collect();
        for there in seen.nodes.values_mut() {
            // How it came to be as it is.
            there.entered = None;
            there.passed.clear();
        }
        let desired = wanted.desired();
        let later = |node: &NodeName| {
            let comes = wanted.lab.as_ref().unwrap().nodes()[node].runtime.map(RuntimeKind::namespace_comes);
            wanted.stopped.contains(node) && comes == Some(NamespaceComes::WithStart)
        };
        let ideal = ideal(wanted);
        seen.inner_bridges.extend(ideal.inner_bridges.into_iter().filter(|(node, _)| later(node)));
        for (link, there) in ideal.links {
            if there.ends.iter().filter_map(Endpoint::node).any(later) {
                seen.links.entry(link).or_insert(there);
            }
        }
        for (name, node) in wanted.lab.iter().flat_map(Lab::nodes) {
            if let Some(there) = seen.nodes.get_mut(name) {
                // What is not wanted any more may have been run.
                there.execs_done = there.execs_done.min(commands(node).len());
            }
            let there = seen.nodes.get_mut(name).filter(|_| wanted.stopped.contains(name));
            let Some(there) = there.filter(|there| matches!(there.state, NodeState::Created | NodeState::Stopped))
            else {
                continue;
            };
            there.state = NodeState::Stopped;
            there.execs_done = 0;
            there.reserved = false;
            // Its next start takes over whatever has changed.
            there.fingerprint = desired.fingerprint(name, node);
        }
        seen
    }

    /// A link vanishes behind our back.
    pub(crate) fn lose_link(&mut self, link: &LinkId) {
        self.seen.links.remove(link);
        self.interfaces.retain(|_, of| of != link);
    }
}

impl World {
    /// Panics when a step lets a node into a stage before what it waits for is over. Nobody is stopped.
    pub(crate) fn check_waits(&self, action: &Action, lab: &Lab) {
        let (name, stage) = match action {
            Action::CreateNode { node, runtime: RuntimeKind::Docker }
            | Action::StartNode { node, runtime: RuntimeKind::Namespace } => (node, Stage::Create),
            Action::Enter { node, stage } => (node, *stage),
            _ => return,
        };
        for wait in lab.nodes()[name].stages.get(&stage).into_iter().flat_map(|rule| &rule.wait_for) {
            assert!(self.has_left(&wait.node, wait.stage, lab), "{action} before {} left {:?}", wait.node, wait.stage);
        }
    }

    fn has_left(&self, name: &NodeName, stage: Stage, lab: &Lab) -> bool {
        let node = &lab.nodes()[name];
        if node.runtime.is_none() {
            return true;
        }
        let Some(there) = self.seen.nodes.get(name) else { return false };
        let left_out = LeftOut::of(lab);
        let ours = |link: &&Link| link.ends().any(|end| end.at.node() == Some(name));
        let mut links = left_out.made(lab).filter(ours);
        let commands = commands(node);
        let until = commands.iter().filter(|command| command.stage <= stage.min(Stage::Configure)).count();
        there.state == NodeState::Running
            && (stage < Stage::CreateLinks || links.all(|link| self.seen.links.contains_key(&link.id())))
            && there.execs_done >= until
            && (stage <= Stage::Configure || there.passed.contains(&stage))
    }
}

/// Whether a link leads to a management network.
fn is_attachment(link: &LinkId) -> bool {
    link.as_str().contains("host:mg")
}

/// Some other order in which the steps may be carried out: `seed` chooses among those that wait for nothing.
pub(crate) fn other_order(plan: &Plan, mut seed: u64) -> Vec<Step> {
    let mut left: Vec<&Step> = plan.steps.iter().collect();
    let mut done: BTreeSet<&StepId> = BTreeSet::new();
    let mut order = Vec::new();
    while !left.is_empty() {
        let ready: Vec<usize> =
            (0..left.len()).filter(|at| left[*at].after.iter().all(|id| done.contains(id))).collect();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chosen = ready[usize::try_from(seed >> 33).unwrap() % ready.len()];
        let step = left.remove(chosen);
        done.insert(&step.id);
        order.push(step.clone());
    }
    order
}

/// What is there when everything wanted is there; made without the planner.
pub(crate) fn ideal(wanted: &Wanted) -> Observed {
    let Some(lab) = &wanted.lab else { return Observed::default() };
    Observed {
        images: BTreeMap::new(),
        networks: wanted
            .network
            .map(|name| (name.to_owned(), ObservedBridge { exists: true, held: true }))
            .into_iter()
            .collect(),
        nodes: nodes(lab, wanted),
        hosts: hosts(lab).collect(),
        links: links(lab, wanted),
        inner_bridges: lab.inner_bridges().map(|bridge| (bridge.node.clone(), bridge.interface().unwrap())).collect(),
        bridges: lab
            .nodes()
            .iter()
            .filter_map(|(name, node)| node.host_bridge(name))
            .map(|bridge| (bridge, ObservedBridge { exists: true, held: true }))
            .collect(),
        names: Some(names_hash(&names(lab))),
        entries: Entries::of(lab).map(|entries| entries.hash()),
        taken: BTreeSet::new(),
    }
}

/// The nodes that are the host itself, with how many commands each has.
fn hosts(lab: &Lab) -> impl Iterator<Item = (NodeName, usize)> {
    let hosts = lab.nodes().iter().filter(|(_, node)| node.kind.shape() == Shape::Host);
    hosts.map(|(name, node)| (name.clone(), node.exec.len())).filter(|(_, execs)| *execs > 0)
}

fn nodes(lab: &Lab, wanted: &Wanted) -> BTreeMap<NodeName, ObservedNode> {
    let running = lab.nodes().iter().filter_map(|(name, node)| {
        let fingerprint = NodeFingerprint::of(node, wanted.rebuild, wanted.restarts[name]);
        let (runtime, stopped) = (node.runtime?, wanted.stopped.contains(name));
        let state = if stopped { NodeState::Stopped } else { NodeState::Running };
        let execs_done = if stopped { 0 } else { commands(node).len() };
        let there = ObservedNode { fingerprint, execs_done, ..ObservedNode::new(runtime, state) };
        Some((name.clone(), there))
    });
    running.collect()
}

fn links(lab: &Lab, wanted: &Wanted) -> BTreeMap<LinkId, ObservedLink> {
    let left_out = LeftOut::of(lab);
    let made = left_out.made(lab);
    let local = made.filter(|link| !link.ends().any(|end| matches!(end.at, Endpoint::Remote(_))));
    let there = local.map(|link| {
        let sides = [Side::A, Side::B].into_iter().take(link.ends().count());
        let there = ObservedLink {
            behind: BTreeMap::new(),
            fingerprint: LinkFingerprint::of(link, wanted.rebuild),
            ends: link.ends().map(|end| end.home().clone()).chain(link.switch().map(|_| Endpoint::Host)).collect(),
            down: sides
                .zip(link.ends())
                .filter(|(side, end)| {
                    let is_off = matches!(end.home(), Endpoint::Node(node) if wanted.stopped.contains(node));
                    is_off || wanted.down.contains(&(link.id(), *side))
                })
                .map(|(side, _)| side)
                .collect(),
        };
        (link.id(), there)
    });
    there.collect()
}
