//! `desired × observed → plan`. Pure: the same inputs give the same plan, byte by byte.
//!
//! Order of a deploy: bridges and names, then nodes, then the links between them, then what runs in the
//! nodes (so that it sees its interfaces), then `exec`. A removal goes the other way.

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{Endpoint, InterfaceName, Lab, LabName, Link, LinkId, Node, NodeName, RuntimeKind};

use crate::fingerprint::{Effect, NodeFingerprint};
use crate::left_out::LeftOut;
use crate::state::{AdminState, Desired, NodeState, Observed, ObservedNode, Side};
use crate::step::{Action, Plan, Step, StepId};

/// Makes the plan that leads from `observed` to `desired`.
pub fn plan(name: &LabName, desired: &Desired<'_>, observed: &Observed) -> Plan {
    let mut planner = Planner::new(desired, observed);
    planner.nodes();
    planner.links();
    planner.names();
    planner.bridges();
    let left_out = planner.left_out.omissions();
    Plan { lab: name.clone(), steps: planner.finish(), left_out }
}

/// What a node has to go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Keep,
    Create,
    Recreate,
    Delete,
}

/// A node that is there and stays.
#[derive(Debug, Clone, Copy)]
struct Kept<'a> {
    there: &'a ObservedNode,
    /// What its change means, if it changed.
    change: Option<Effect>,
    /// Why the plan starts it, if it does.
    start: Option<&'static str>,
}

/// What the life of a node means for its ends of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    /// They are on.
    On,
    /// They are off, for this reason.
    Off(&'static str),
    /// It is started: they are on before.
    Comes,
    /// It ends and is started again: they go off and on between, and what it had learnt over them is gone.
    Cycled,
}

struct Planner<'a> {
    lab: Option<&'a Lab>,
    desired: Desired<'a>,
    observed: &'a Observed,
    fates: BTreeMap<&'a NodeName, Fate>,
    /// Of the nodes whose fate is to be kept.
    kept: BTreeMap<&'a NodeName, Kept<'a>>,
    /// The desired links that are made on this host.
    wanted: BTreeMap<LinkId, &'a Link>,
    /// Those of them that the plan makes (anew).
    made: BTreeSet<LinkId>,
    /// The links that the plan makes, by the nodes they end on.
    made_on: BTreeMap<&'a NodeName, Vec<LinkId>>,
    /// The ends of the links that it keeps, likewise.
    kept_on: BTreeMap<&'a NodeName, Vec<(LinkId, Side)>>,
    /// The links that are removed by a step of their own, by where they end.
    removed_from: BTreeMap<Place<'a>, Vec<LinkId>>,
    /// Whether the names file is to be written; found out once, since it takes as long as the lab is large.
    names_change: bool,
    /// What of the lab cannot be made.
    left_out: LeftOut,
    steps: BTreeMap<StepId, Step>,
}

/// A network namespace: that of a node or that of the host, where the ports of bridges live too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    Node(&'a NodeName),
    Host,
}

fn place(end: &Endpoint) -> Option<Place<'_>> {
    match end {
        Endpoint::Node(node) => Some(Place::Node(node)),
        Endpoint::Host | Endpoint::Bridge(_) => Some(Place::Host),
        Endpoint::Remote(_) => None,
    }
}

/// Whether it carries our mark but cannot take links yet.
fn is_begun(node: &ObservedNode) -> bool {
    matches!(node.state, NodeState::Absent | NodeState::Creating)
}

impl<'a> Planner<'a> {
    fn new(desired: &Desired<'a>, observed: &'a Observed) -> Self {
        let left_out = desired.lab.map(LeftOut::of).unwrap_or_default();
        let made = desired.lab.into_iter().flat_map(|lab| left_out.made(lab));
        let wanted = made.map(|link| (link.id(), link)).collect();
        let names_wanted = desired.names();
        let mut planner = Self {
            lab: desired.lab,
            desired: *desired,
            observed,
            fates: BTreeMap::new(),
            kept: BTreeMap::new(),
            wanted,
            made: BTreeSet::new(),
            made_on: BTreeMap::new(),
            kept_on: BTreeMap::new(),
            removed_from: BTreeMap::new(),
            names_change: names_wanted.is_some() && names_wanted != observed.names,
            left_out,
            steps: BTreeMap::new(),
        };
        planner.decide();
        planner.index_links();
        planner
    }

    fn index_links(&mut self) {
        for (id, link) in &self.wanted {
            let is_made = self.link_is_made(id, link);
            if is_made {
                self.made.insert(id.clone());
            }
            for (end, side) in link.ends().zip([Side::A, Side::B]) {
                match &end.at {
                    Endpoint::Node(node) if is_made => self.made_on.entry(node).or_default().push(id.clone()),
                    Endpoint::Node(node) => self.kept_on.entry(node).or_default().push((id.clone(), side)),
                    Endpoint::Host | Endpoint::Bridge(_) | Endpoint::Remote(_) => {}
                }
            }
        }
        for (id, there) in &self.observed.links {
            let goes = !self.wanted.contains_key(id) || self.made.contains(id);
            if goes && self.outlives_nodes(&there.ends) {
                for place in there.ends.iter().filter_map(place) {
                    self.removed_from.entry(place).or_default().push(id.clone());
                }
            }
        }
    }

    fn decide(&mut self) {
        for (name, node, _) in self.running_nodes() {
            let fate = match self.observed.nodes.get(name) {
                None => Fate::Create,
                Some(there) => match there.fingerprint.change_to(&self.desired.fingerprint(name, node)) {
                    Some(Effect::Recreate) => Fate::Recreate,
                    // Its maker died over it: making it completes what is there.
                    _ if is_begun(there) => Fate::Create,
                    change => {
                        let start = self.start_reason(name, node, there, change);
                        self.kept.insert(name, Kept { there, change, start });
                        Fate::Keep
                    }
                },
            };
            self.fates.insert(name, fate);
        }
        for name in self.observed.nodes.keys() {
            self.fates.entry(name).or_insert(Fate::Delete);
        }
    }

    /// The desired nodes that run something, with what they run on.
    fn running_nodes(&self) -> impl Iterator<Item = (&'a NodeName, &'a Node, RuntimeKind)> + use<'a> {
        let nodes = self.lab.map(Lab::nodes).into_iter().flatten();
        nodes.filter_map(|(name, node)| node.runtime.map(|runtime| (name, node, runtime)))
    }

    fn fate(&self, node: &NodeName) -> Fate {
        self.fates.get(node).copied().unwrap_or(Fate::Keep)
    }

    fn add(&mut self, action: Action, reason: &str, after: Vec<StepId>) -> StepId {
        let id = action.id();
        let owner = action.owner();
        self.steps.insert(id.clone(), Step { id: id.clone(), action, owner, reason: reason.to_owned(), after });
        id
    }

    fn nodes(&mut self) {
        for (name, there) in &self.observed.nodes {
            let reason = match self.fate(name) {
                Fate::Delete if self.lab.is_none() => "the lab is destroyed",
                Fate::Delete => "not in the topology",
                Fate::Recreate => "a field changed that needs a new node",
                Fate::Keep | Fate::Create => continue,
            };
            // A link with an end outside is removed by itself: the kernel tears namespaces down late, and the
            // host's name would stay taken. All others go with the node's namespace.
            let first = self.removed_from(Place::Node(name));
            self.add(Action::DeleteNode { node: name.clone(), runtime: there.runtime }, reason, first);
        }
        for (name, node, runtime) in self.running_nodes() {
            if let Some(kept) = self.kept.get(name) {
                self.kept_node(name, node, runtime, *kept);
                continue;
            }
            match (self.fate(name), self.observed.nodes.get(name)) {
                (Fate::Recreate, Some(there)) => {
                    let delete = Action::DeleteNode { node: name.clone(), runtime: there.runtime }.id();
                    self.new_node(name, node, runtime, "a field changed that needs a new node", vec![delete]);
                }
                (_, there) => {
                    let reason = if there.is_some() { "only begun" } else { "not there" };
                    self.new_node(name, node, runtime, reason, Vec::new());
                }
            }
        }
    }

    fn new_node(&mut self, name: &NodeName, node: &Node, runtime: RuntimeKind, reason: &str, after: Vec<StepId>) {
        let create = self.add(Action::CreateNode { node: name.clone(), runtime }, reason, after);
        if self.desired.stopped.contains(name) {
            return;
        }
        self.start(name, node, runtime, "its namespace is new", vec![create]);
    }

    fn kept_node(&mut self, name: &NodeName, node: &Node, runtime: RuntimeKind, kept: Kept<'a>) {
        let Kept { there, change, start } = kept;
        if let Some(reason) = start {
            let mut after = Vec::new();
            if there.state == NodeState::Running {
                after.push(self.add(Action::StopNode { node: name.clone(), runtime }, reason, Vec::new()));
            }
            // What runs in it finds its interfaces switched on.
            for (link, side) in self.kept_on.get(name).into_iter().flatten() {
                after.push(Action::SetLink { link: link.clone(), side: *side, admin: AdminState::Up }.id());
            }
            self.start(name, node, runtime, reason, after);
            return;
        }
        if change == Some(Effect::Live) {
            self.add(Action::UpdateNode { node: name.clone(), runtime }, "limits or labels changed", Vec::new());
        }
        if self.desired.stopped.contains(name) {
            if !matches!(there.state, NodeState::Created | NodeState::Stopped) {
                // One that has ended by itself too: it shows as stopped then.
                self.add(Action::StopNode { node: name.clone(), runtime }, "stopped by a person", Vec::new());
            }
        } else if there.state == NodeState::Running {
            self.execs(name, node, runtime, there.execs_done, None);
        }
    }

    /// Why the plan starts a node that is there, if it does.
    fn start_reason(
        &self,
        name: &NodeName,
        node: &Node,
        there: &ObservedNode,
        change: Option<Effect>,
    ) -> Option<&'static str> {
        if self.desired.stopped.contains(name) {
            return None;
        }
        if change == Some(Effect::Restart) {
            let asked_for = self.is_asked_for(name, node, &there.fingerprint);
            return Some(if asked_for { "a restart was asked for" } else { "a field changed that needs a restart" });
        }
        match &there.state {
            NodeState::Absent
            | NodeState::Creating
            | NodeState::Created
            | NodeState::Starting
            | NodeState::Stopping
            | NodeState::Stopped => Some("it does not run"),
            NodeState::Exited { .. } | NodeState::Failed { .. } => {
                let due = self.desired.restart_due.contains(name);
                due.then_some("it ended; its restart policy starts it again")
            }
            NodeState::Running => None,
        }
    }

    /// Whether the counter of restarts is all that differs from what was applied. A look at the last ones is enough: the
    /// text of a reason is all that hangs on it.
    fn is_asked_for(&self, name: &NodeName, node: &Node, applied: &NodeFingerprint) -> bool {
        let restarts = self.desired.restarts.get(name).copied().unwrap_or_default();
        let before = (0..restarts).rev().take(8);
        before
            .into_iter()
            .any(|count| NodeFingerprint::of(node, self.desired.rebuild, count).restart == applied.restart)
    }

    /// What the life of a node means for its ends of links. Its namespace stays, so nothing else would tell a neighbour
    /// that it is off.
    fn power(&self, end: &Endpoint) -> Power {
        let Endpoint::Node(name) = end else { return Power::On };
        if self.desired.stopped.contains(name) {
            return Power::Off("its node is stopped");
        }
        let Some(Kept { there, start, .. }) = self.kept.get(name) else { return Power::On };
        match (&there.state, start) {
            (NodeState::Running, Some(_)) => Power::Cycled,
            (_, Some(_)) => Power::Comes,
            (NodeState::Exited { .. } | NodeState::Failed { .. }, None) => Power::Off("its node has ended"),
            (_, None) => Power::On,
        }
    }

    fn start(&mut self, name: &NodeName, node: &Node, runtime: RuntimeKind, reason: &str, mut after: Vec<StepId>) {
        // Its interfaces exist before its command runs.
        for link in self.made_on.get(name).into_iter().flatten() {
            after.push(Action::CreateLink { link: link.clone() }.id());
        }
        if self.names_change {
            after.push(Action::WriteNames.id());
        }
        let start = self.add(Action::StartNode { node: name.clone(), runtime }, reason, after);
        self.execs(name, node, runtime, 0, Some(start));
    }

    fn execs(&mut self, name: &NodeName, node: &Node, runtime: RuntimeKind, done: usize, start: Option<StepId>) {
        let mut before = start;
        for (index, argv) in node.exec.iter().enumerate().skip(done) {
            let after = before.into_iter().collect();
            let action = Action::Exec { node: name.clone(), runtime, index, argv: argv.clone() };
            before = Some(self.add(action, "once for each start of the node", after));
        }
    }

    /// Whether the plan makes this desired link (anew).
    fn link_is_made(&self, id: &LinkId, link: &Link) -> bool {
        let dies = link
            .ends()
            .filter_map(|end| end.at.node())
            .any(|node| matches!(self.fate(node), Fate::Create | Fate::Recreate));
        let there = self.observed.links.get(id);
        dies || there.is_none_or(|there| there.fingerprint.identity != self.desired.link_fingerprint(id, link).identity)
    }

    /// Whether a link stays when the nodes go that the plan deletes.
    fn outlives_nodes(&self, ends: &[Endpoint]) -> bool {
        ends.iter().any(|end| match end {
            Endpoint::Node(node) => !matches!(self.fate(node), Fate::Recreate | Fate::Delete),
            Endpoint::Host | Endpoint::Bridge(_) | Endpoint::Remote(_) => true,
        })
    }

    fn links(&mut self) {
        for (id, there) in &self.observed.links {
            let reason = match (self.wanted.contains_key(id), self.made.contains(id)) {
                (false, _) if self.lab.is_none() => "the lab is destroyed",
                (false, _) => "not in the topology",
                (true, true) => "its ends changed",
                (true, false) => continue,
            };
            if self.outlives_nodes(&there.ends) {
                self.add(delete_link(id), reason, Vec::new());
            }
        }
        for (id, link) in self.wanted.clone() {
            self.wanted_link(&id, link);
        }
    }

    fn wanted_link(&mut self, id: &LinkId, link: &'a Link) {
        let there = self.observed.links.get(id);
        let mut down = there.map(|there| there.down.clone()).unwrap_or_default();
        let mut last = None;
        if self.made.contains(id) {
            let reason = if there.is_some() { "its ends changed" } else { "not there" };
            let after = self.before_link(link);
            last = Some(self.add(Action::CreateLink { link: id.clone() }, reason, after));
            down = BTreeSet::new();
        } else if let Some(there) = there
            && there.fingerprint.config != self.desired.link_fingerprint(id, link).config
        {
            let action = Action::UpdateLink { link: id.clone() };
            last = Some(self.add(action, "MTU or addresses changed", Vec::new()));
        }
        for (end, side) in link.ends().zip([Side::A, Side::B]) {
            let cut = self.desired.down.contains(&(id.clone(), side));
            let power = self.power(&end.at);
            let is_down = down.contains(&side);
            let mut after: Vec<StepId> = last.clone().into_iter().collect();
            let stop = end.at.node().and_then(|node| self.stop_of(node));
            let set = |admin| Action::SetLink { link: id.clone(), side, admin };
            match (cut, power) {
                (true, _) if !is_down => {
                    self.add(set(AdminState::Down), "switched off by a person", after);
                }
                (false, Power::Off(reason)) if !is_down => {
                    after.extend(stop);
                    self.add(set(AdminState::Down), reason, after);
                }
                (false, Power::Cycled) if !is_down => {
                    after.extend(stop);
                    let down = self.add(set(AdminState::Down), "its node is started again", after);
                    self.add(set(AdminState::Up), "its node is started again", vec![down]);
                }
                (false, Power::Comes) if is_down => {
                    self.add(set(AdminState::Up), "its node is started", after);
                }
                (false, Power::On | Power::Cycled) if is_down => {
                    self.add(set(AdminState::Up), "no longer switched off", after);
                }
                _ => {}
            }
        }
    }

    /// The step that ends what runs in a node; it may not be part of the plan.
    fn stop_of(&self, node: &NodeName) -> Option<StepId> {
        let runtime = self.lab?.nodes().get(node)?.runtime?;
        Some(Action::StopNode { node: node.clone(), runtime }.id())
    }

    /// What must have happened before a link can be made: its nodes are there, whatever had one of its
    /// interfaces is gone, its bridges exist.
    fn before_link(&self, link: &'a Link) -> Vec<StepId> {
        let mut after = Vec::new();
        for end in link.ends() {
            match &end.at {
                Endpoint::Node(node) if matches!(self.fate(node), Fate::Create | Fate::Recreate) => {
                    let runtime = self.lab.and_then(|lab| lab.nodes().get(node)).and_then(|node| node.runtime);
                    after.extend(runtime.map(|runtime| Action::CreateNode { node: node.clone(), runtime }.id()));
                }
                Endpoint::Bridge(bridge) => {
                    if let Ok(bridge) = bridge.as_str().parse::<InterfaceName>()
                        && self.bridge_is_asked_for(&bridge)
                    {
                        after.push(Action::EnsureBridge { bridge }.id());
                    }
                }
                _ => {}
            }
        }
        // An interface's name may pass from one link to another, so removals in the same places go first.
        for place in link.ends().filter_map(|end| place(&end.at)) {
            after.extend(self.removed_from(place));
        }
        // So may the name of a bridge of the lab that goes.
        for end in link.ends().filter(|end| place(&end.at) == Some(Place::Host)) {
            after.push(Action::ReleaseBridge { bridge: end.interface.kernel().clone() }.id());
        }
        after
    }

    fn removed_from(&self, place: Place<'a>) -> Vec<StepId> {
        self.removed_from.get(&place).into_iter().flatten().map(|id| delete_link(id).id()).collect()
    }

    fn names(&mut self) {
        if self.names_change {
            self.add(Action::WriteNames, "the lab's nodes or addresses changed", Vec::new());
        }
    }

    fn desired_bridges(&self) -> BTreeSet<InterfaceName> {
        let nodes = self.lab.map(Lab::nodes).into_iter().flatten();
        nodes.filter_map(|(name, node)| node.host_bridge(name)).collect()
    }

    fn bridge_is_asked_for(&self, bridge: &InterfaceName) -> bool {
        self.observed.bridges.get(bridge).is_none_or(|there| !there.exists || !there.held)
    }

    fn bridges(&mut self) {
        let wanted = self.desired_bridges();
        for bridge in &wanted {
            if self.bridge_is_asked_for(bridge) {
                // An interface on the host may have had its name.
                let after = self.removed_from(Place::Host);
                self.add(Action::EnsureBridge { bridge: bridge.clone() }, "a node of kind bridge", after);
            }
        }
        let leaving: Vec<StepId> = self
            .steps
            .values()
            .filter(|step| matches!(step.action, Action::DeleteLink { .. } | Action::DeleteNode { .. }))
            .map(|step| step.id.clone())
            .collect();
        for (bridge, there) in &self.observed.bridges {
            if there.held && !wanted.contains(bridge) {
                let action = Action::ReleaseBridge { bridge: bridge.clone() };
                self.add(action, "the lab needs it no longer", leaving.clone());
            }
        }
    }

    /// Orders the steps: each after what it waits for, otherwise by id, so that equal inputs give equal plans.
    fn finish(self) -> Vec<Step> {
        let mut waiting: BTreeMap<StepId, usize> = BTreeMap::new();
        let mut waiters: BTreeMap<StepId, Vec<StepId>> = BTreeMap::new();
        let mut steps = self.steps;
        let known: BTreeSet<StepId> = steps.keys().cloned().collect();
        for step in steps.values_mut() {
            step.after.retain(|id| known.contains(id));
            step.after.sort();
            step.after.dedup();
            waiting.insert(step.id.clone(), step.after.len());
            for id in &step.after {
                waiters.entry(id.clone()).or_default().push(step.id.clone());
            }
        }
        let mut ready: BTreeSet<(u8, StepId)> = waiting
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(id, _)| (rank(&steps[id].action), id.clone()))
            .collect();
        let mut ordered = Vec::with_capacity(steps.len());
        while let Some((_, id)) = ready.pop_first() {
            for waiter in waiters.remove(&id).unwrap_or_default() {
                let count = waiting.get_mut(&waiter).expect("every waiter is a step");
                *count -= 1;
                if *count == 0 {
                    ready.insert((rank(&steps[&waiter].action), waiter));
                }
            }
            ordered.push(steps.remove(&id).expect("each step becomes ready once"));
        }
        debug_assert!(steps.is_empty(), "steps wait for each other: {:?}", steps.keys());
        ordered
    }
}

fn delete_link(id: &LinkId) -> Action {
    Action::DeleteLink { link: id.clone() }
}

/// Removals read better first, then what is made in the order of its making.
fn rank(action: &Action) -> u8 {
    match action {
        Action::DeleteLink { .. } => 0,
        Action::StopNode { .. } | Action::DeleteNode { .. } => 1,
        Action::ReleaseBridge { .. } => 2,
        Action::EnsureBridge { .. } => 3,
        Action::WriteNames => 4,
        Action::CreateNode { .. } | Action::UpdateNode { .. } => 5,
        Action::CreateLink { .. } | Action::UpdateLink { .. } => 6,
        Action::SetLink { .. } => 7,
        Action::StartNode { .. } => 8,
        Action::Exec { .. } => 9,
    }
}
