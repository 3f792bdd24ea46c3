//! Who waits for whom: `wait-for` of stages as edges between the steps of the plan.
//!
//! A node enters `create` when it is made or, where its namespace comes with that, when it is started: the namespace has to be
//! there for the links of its neighbours. It leaves `create` when it runs, `create-links` when its own ends are there,
//! `configure` when its commands are run. That it is healthy, or has ended, only the world can say: for that a step waits.
//!
//! Waits hold for the first start of a node; how far it has come is noted of it.

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{
    ExecTarget, Lab, Link, LinkId, LinkKind, NamespaceComes, Node, NodeName, RuntimeKind, Stage, WaitFor,
};

use super::Planner;
use crate::commands::{Command, Moment, commands};
use crate::state::{NodeState, ObservedNode};
use crate::step::{Action, StepId};

/// The waits of a lab that are not over.
#[derive(Debug, Default)]
pub(super) struct Waits<'a> {
    /// What a stage of a node waits for.
    pending: BTreeMap<(&'a NodeName, Stage), Vec<&'a WaitFor>>,
    /// The links whose nodes all wait before they may be made, each with the node at whose turn it is made.
    gated: BTreeMap<LinkId, &'a NodeName>,
    /// The nodes whose places are to be reserved for links.
    reserved: BTreeSet<&'a NodeName>,
}

impl<'a> Waits<'a> {
    fn has(&self, node: &'a NodeName, stage: Stage) -> bool {
        self.pending.contains_key(&(node, stage))
    }
}

impl<'a> Planner<'a> {
    /// Finds out which waits are not over.
    pub(super) fn find_waits(&mut self) {
        let waiting = self.running_nodes().filter(|(_, node, _)| !node.stages.is_empty());
        let mut pending = BTreeMap::new();
        for (name, node, runtime) in waiting {
            for (stage, rule) in &node.stages {
                if rule.wait_for.is_empty() || !self.is_ahead(name, runtime, *stage) {
                    continue;
                }
                let left: Vec<&WaitFor> = rule.wait_for.iter().filter(|wait| !self.is_over(wait)).collect();
                if !left.is_empty() {
                    pending.insert((name, *stage), left);
                }
            }
        }
        self.waits.pending = pending;
    }

    /// Finds out which links have to wait for their nodes, and which nodes hold a place for theirs. Few labs wait at all.
    pub(super) fn find_turns(&mut self) {
        if self.waits.pending.is_empty() {
            return;
        }
        let mut ranks = None;
        let (mut gated, mut reserved) = (BTreeMap::new(), BTreeSet::new());
        for id in &self.made {
            let nodes: Vec<&'a NodeName> = self.wanted[id].ends().filter_map(|end| end.at.node()).collect();
            if nodes.iter().all(|node| self.waits_with_links(node)) {
                let ranks = ranks.get_or_insert_with(|| self.turns());
                let first = nodes.iter().min_by_key(|node| ranks.get(*node)).copied();
                gated.extend(first.map(|first| (id.clone(), first)));
            }
            let first = gated.get(id);
            let homes = self.wanted[id].ends().filter_map(|end| end.home().node());
            let later = homes.filter(|node| Some(node) != first && self.waits_to_be_made(node));
            reserved.extend(later.filter(|node| !self.has_place(node)));
        }
        self.waits.gated = gated;
        self.waits.reserved = reserved;
    }

    /// Whether a stage of a node is still to come in this making of it.
    fn is_ahead(&self, name: &'a NodeName, runtime: RuntimeKind, stage: Stage) -> bool {
        let is_first = self.kept.get(name).is_none_or(|kept| !has_run(kept.there));
        if stage == Stage::Create {
            return match runtime.namespace_comes() {
                NamespaceComes::WithCreate => is_first && self.is_started(name),
                NamespaceComes::WithStart => !self.kept.contains_key(name),
            };
        }
        match self.kept.get(name) {
            Some(kept) if !is_first => {
                kept.start.is_none() && kept.there.state == NodeState::Running && kept.there.entered < Some(stage)
            }
            _ => self.is_started(name),
        }
    }

    /// Whether the other node has left the stage.
    fn is_over(&self, wait: &WaitFor) -> bool {
        let (name, stage) = (&wait.node, wait.stage);
        let Some(node) = self.lab.and_then(|lab| lab.nodes().get(name)) else { return false };
        if node.runtime.is_none() {
            // A bridge is there before any node, and will neither be healthy nor end.
            return stage <= Stage::Configure;
        }
        let Some(kept) = self.kept.get(name) else { return false };
        let has_links = || !self.made_on.contains_key(name) && !self.added_to.contains_key(name);
        match stage {
            Stage::Create => has_run(kept.there),
            Stage::CreateLinks => has_run(kept.there) && has_links(),
            Stage::Configure => has_run(kept.there) && has_links() && kept.there.execs_done >= count(node, stage),
            Stage::Healthy | Stage::Exit => kept.there.passed.contains(&stage),
        }
    }

    /// Whether the plan itself leads a node through a stage; otherwise only the world, or a person, can.
    fn leads_through(&self, name: &NodeName, stage: Stage) -> bool {
        let runs = |name| self.kept.get(name).is_some_and(|kept| kept.there.state == NodeState::Running);
        stage <= Stage::Configure && self.runtime_of(name).is_some() && (self.is_started(name) || runs(name))
    }

    /// Whether a node waits before it is made, and its namespace comes with that.
    pub(super) fn waits_to_be_made(&self, name: &'a NodeName) -> bool {
        let with_start = || self.runtime_of(name).is_some_and(|of| of.namespace_comes() == NamespaceComes::WithStart);
        self.waits.has(name, Stage::Create) && !self.desired.stopped.contains(name) && with_start()
    }

    /// Whether it is not a node's turn yet to have its links made.
    fn waits_with_links(&self, name: &'a NodeName) -> bool {
        self.waits.has(name, Stage::CreateLinks) || self.waits_to_be_made(name)
    }

    /// The node at whose turn a link is made, if all its nodes wait.
    pub(super) fn turn_of(&self, link: &LinkId) -> Option<&'a NodeName> {
        self.waits.gated.get(link).copied()
    }

    /// Whether a place is to be reserved for the links of a node.
    pub(super) fn is_reserved(&self, name: &'a NodeName) -> bool {
        self.waits.reserved.contains(name)
    }

    /// The nodes in the order in which they may have their links made, as far as they take part in waits: one that follows
    /// what waits and stages demand, so that no step ever waits for a later one; nodes that wait for the world come last.
    fn turns(&self) -> BTreeMap<&'a NodeName, usize> {
        let mut before: BTreeMap<(&'a NodeName, Stage), Vec<(&'a NodeName, Stage)>> = BTreeMap::new();
        for (name, node) in self.lab.map(Lab::nodes).into_iter().flatten() {
            for (stage, rule) in &node.stages {
                for wait in &rule.wait_for {
                    before.entry((name, *stage)).or_default().push((&wait.node, wait.stage));
                    before.entry((&wait.node, wait.stage)).or_default();
                }
            }
        }
        let nodes: BTreeSet<&'a NodeName> = before.keys().map(|(name, _)| *name).collect();
        let mut after: BTreeMap<(&'a NodeName, Stage), Vec<(&'a NodeName, Stage)>> = BTreeMap::new();
        let mut counts: BTreeMap<(&'a NodeName, Stage), usize> = BTreeMap::new();
        for name in nodes {
            for (index, stage) in Stage::ALL.into_iter().enumerate() {
                let mut all = before.remove(&(name, stage)).unwrap_or_default();
                all.extend(index.checked_sub(1).map(|earlier| (name, Stage::ALL[earlier])));
                counts.insert((name, stage), all.len());
                for earlier in all {
                    after.entry(earlier).or_default().push((name, stage));
                }
            }
        }
        let waits_for_world = |vertex: &(&'a NodeName, Stage)| {
            let pending = self.waits.pending.get(vertex).into_iter().flatten();
            pending.into_iter().any(|wait| !self.leads_through(&wait.node, wait.stage))
        };
        let mut late: BTreeSet<(&'a NodeName, Stage)> =
            counts.keys().filter(|vertex| waits_for_world(vertex)).copied().collect();
        let free = counts.iter().filter(|(_, count)| **count == 0);
        let mut ready: BTreeSet<(bool, (&'a NodeName, Stage))> =
            free.map(|(vertex, _)| (late.contains(vertex), *vertex)).collect();
        let mut ranks = BTreeMap::new();
        while let Some((is_late, vertex)) = ready.pop_first() {
            if vertex.1 == Stage::CreateLinks {
                ranks.insert(vertex.0, ranks.len());
            }
            for next in after.remove(&vertex).unwrap_or_default() {
                if is_late {
                    late.insert(next);
                }
                let count = counts.get_mut(&next).expect("all are counted");
                *count -= 1;
                if *count == 0 {
                    ready.insert((late.contains(&next), next));
                }
            }
        }
        ranks
    }

    /// What has to be done before a node enters a stage, because it waits for others.
    pub(super) fn gate(&mut self, name: &'a NodeName, stage: Stage) -> Vec<StepId> {
        let pending = self.waits.pending.get(&(name, stage)).cloned().unwrap_or_default();
        let mut before = Vec::new();
        for wait in pending {
            if self.leads_through(&wait.node, wait.stage) {
                before.extend(self.steps_until(&wait.node, wait.stage));
            } else {
                let after = self.steps_until(&wait.node, wait.stage.min(Stage::Configure));
                before.push(self.await_of(name, &wait.node, wait.stage, after));
                if wait.stage == Stage::Healthy {
                    before.extend(self.steps_until(&wait.node, wait.stage));
                }
            }
        }
        before
    }

    /// The step in which one node waits until the world says that another one has left a stage.
    fn await_of(&mut self, waiter: &NodeName, name: &NodeName, stage: Stage, after: Vec<StepId>) -> StepId {
        let action = Action::Await { waiter: waiter.clone(), node: name.clone(), stage };
        let reason = if waiter == name { "a command is run then" } else { "a stage waits for it" };
        self.add(action, reason, after)
    }

    /// The steps by which a node leaves a stage that the plan leads it through; some may not be part of the plan.
    fn steps_until(&self, name: &NodeName, stage: Stage) -> Vec<StepId> {
        let Some((node, runtime)) =
            self.lab.and_then(|lab| lab.nodes().get(name)).and_then(|node| Some((node, node.runtime?)))
        else {
            return Vec::new();
        };
        let this = || name.clone();
        let mut steps =
            vec![Action::CreateNode { node: this(), runtime }.id(), Action::StartNode { node: this(), runtime }.id()];
        if stage >= Stage::CreateLinks {
            steps.extend(self.made_links_of(name));
        }
        let stages = node.stages.keys().filter(|entered| **entered <= stage);
        steps.extend(stages.map(|stage| Action::Enter { node: this(), stage: *stage }.id()));
        // They are run one after the other.
        let last = count(node, stage).checked_sub(1);
        let target = ExecTarget::Container;
        let exec = |index| Action::Exec { node: this(), runtime, index, argv: Vec::new(), target };
        steps.extend(last.map(|index| exec(index).id()));
        steps
    }

    /// The steps with which a node that runs, or is started, enters the stages at which it waits.
    pub(super) fn enters(&mut self, name: &'a NodeName, node: &'a Node, runtime: RuntimeKind) {
        for (stage, rule) in &node.stages {
            if *stage == Stage::Create || rule.wait_for.is_empty() || !self.is_ahead(name, runtime, *stage) {
                continue;
            }
            let earlier = Stage::ALL.into_iter().take_while(|earlier| earlier < stage).last().unwrap_or(*stage);
            let mut after = self.steps_until(name, earlier.min(Stage::Configure));
            after.extend(self.gate(name, *stage));
            let all: Vec<String> =
                rule.wait_for.iter().map(|wait| format!("{}: {}", wait.node, wait.stage.as_str())).collect();
            let reason = format!("it waits for {}", all.join(", "));
            self.add(Action::Enter { node: name.clone(), stage: *stage }, &reason, after);
        }
    }

    /// What has to be done before a command of a node is run, beside those before it.
    pub(super) fn before_command(&mut self, name: &NodeName, node: &Node, command: &Command<'_>) -> Vec<StepId> {
        let mut before = Vec::new();
        if (command.stage, command.moment) > (Stage::CreateLinks, Moment::Enters) {
            before.extend(self.made_links_of(name));
        } else if !waits_for_its_links(node) {
            before.extend(self.made_attachments_of(name));
        }
        let entered = node.stages.keys().filter(|stage| **stage <= command.stage);
        before.extend(entered.map(|stage| Action::Enter { node: name.clone(), stage: *stage }.id()));
        let is_healthy = || self.kept.get(name).is_some_and(|kept| kept.there.passed.contains(&Stage::Healthy));
        if (command.stage, command.moment) == (Stage::Healthy, Moment::Leaves) && !is_healthy() {
            let after = self.steps_until(name, Stage::Configure);
            before.push(self.await_of(name, name, Stage::Healthy, after));
        }
        before
    }

    /// The last of the commands that a node runs before its links are made, which it does after this step if that is its
    /// start. An interface of the management network is none of them.
    pub(super) fn commands_before_links(&self, link: &Link, name: &NodeName, step: &StepId) -> Option<StepId> {
        let node = self.lab.and_then(|lab| lab.nodes().get(name)).filter(|node| !node.stages.is_empty())?;
        let runtime = node.runtime.filter(|runtime| runtime.namespace_comes() == NamespaceComes::WithStart)?;
        let start = Action::StartNode { node: name.clone(), runtime }.id();
        if *step != start || matches!(link.kind, LinkKind::Attachment(_)) {
            return None;
        }
        // Where it waits to have its links, others may wait for those that it has before.
        let waits = waits_for_its_links(node);
        let until = if waits { (Stage::Create, Moment::Leaves) } else { (Stage::CreateLinks, Moment::Enters) };
        let all = commands(node);
        let index = all.iter().take_while(|command| (command.stage, command.moment) <= until).count().checked_sub(1)?;
        let (argv, target) = (Vec::new(), ExecTarget::Container);
        Some(Action::Exec { node: name.clone(), runtime, index, argv, target }.id())
    }

    fn runtime_of(&self, name: &NodeName) -> Option<RuntimeKind> {
        self.lab.and_then(|lab| lab.nodes().get(name)).and_then(|node| node.runtime)
    }
}

/// Whether a node has run at least once.
fn has_run(there: &ObservedNode) -> bool {
    matches!(there.state, NodeState::Running | NodeState::Stopping | NodeState::Stopped | NodeState::Exited { .. })
}

/// Whether a node waits before its links are made, all those that are made at its turn.
fn waits_for_its_links(node: &Node) -> bool {
    node.stages.get(&Stage::CreateLinks).is_some_and(|rule| !rule.wait_for.is_empty())
}

/// How many commands a node has until it leaves a stage.
fn count(node: &Node, stage: Stage) -> usize {
    commands(node).iter().filter(|command| command.stage <= stage).count()
}
