//! The steps of nodes: made, started, stopped, updated, removed, and what is run in them once.

use netloom_model::{Endpoint, LinkKind, NamespaceComes, Node, NodeName, RuntimeKind, Stage};

use super::{Fate, Kept, Place, Planner, Power};
use crate::commands::commands;
use crate::fingerprint::{Effect, NodeFingerprint};
use crate::state::{AdminState, NodeState, ObservedNode};
use crate::step::{Action, StepId};

impl<'a> Planner<'a> {
    pub(super) fn nodes(&mut self) {
        for (name, there) in &self.observed.nodes {
            let reason = match self.fate(name) {
                Fate::Delete if self.lab.is_none() => "the lab is destroyed",
                Fate::Delete => "not in the topology",
                Fate::Recreate => self.why_anew(name),
                Fate::Keep | Fate::Create | Fate::Complete => continue,
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
                    self.new_node(name, node, runtime, self.why_anew(name), vec![delete]);
                }
                (Fate::Complete, _) => self.new_node(name, node, runtime, "only its place is reserved", Vec::new()),
                (_, there) => {
                    let reason = if there.is_some() { "only begun" } else { "not there" };
                    self.new_node(name, node, runtime, reason, Vec::new());
                }
            }
        }
    }

    fn new_node(&mut self, name: &'a NodeName, node: &'a Node, runtime: RuntimeKind, reason: &str, after: Vec<StepId>) {
        let mut after = after;
        if self.is_reserved(name) {
            let action = Action::ReserveNode { node: name.clone(), runtime };
            after = vec![self.add(action, "its neighbours come before it", after)];
        }
        if runtime.namespace_comes() == NamespaceComes::WithStart {
            after.extend(self.gate(name, Stage::Create));
            after.extend(self.starts_of_owners(name, node));
        }
        after.extend(self.before_connected(node));
        let create = self.add(Action::CreateNode { node: name.clone(), runtime }, reason, after);
        if self.desired.stopped.contains(name) {
            return;
        }
        let reason = match runtime.namespace_comes() {
            NamespaceComes::WithCreate => "its namespace is new",
            NamespaceComes::WithStart => "it is new",
        };
        self.start(name, node, runtime, reason, vec![create]);
    }

    fn kept_node(&mut self, name: &'a NodeName, node: &'a Node, runtime: RuntimeKind, kept: Kept<'a>) {
        let Kept { there, change, start } = kept;
        if let Some(reason) = start {
            let mut after = Vec::new();
            if there.state == NodeState::Running {
                after.push(self.add(Action::StopNode { node: name.clone(), runtime }, reason, Vec::new()));
            }
            // What runs in it finds its interfaces switched on.
            for (link, side) in self.kept_on.get(name).into_iter().flatten() {
                after.push(Action::SetLink { link: link.clone(), side: *side, admin: AdminState::Up }.id());
                if runtime.namespace_comes() == NamespaceComes::WithStart {
                    // Its ends move into the namespace that comes with the start: nothing else is done to them then.
                    after.push(Action::UpdateLink { link: link.clone() }.id());
                }
            }
            if runtime.namespace_comes() == NamespaceComes::WithStart {
                after.extend(self.removed_from(Place::Node(name)));
                after.extend(self.starts_of_owners(name, node));
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
            self.enters(name, node, runtime);
            self.execs(name, node, runtime, there.execs_done, None);
        }
    }

    /// Why the plan starts a node that is there, if it does.
    pub(super) fn start_reason(
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
    pub(super) fn power(&self, end: &Endpoint) -> Power {
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

    fn start(
        &mut self,
        name: &'a NodeName,
        node: &'a Node,
        runtime: RuntimeKind,
        reason: &str,
        mut after: Vec<StepId>,
    ) {
        if runtime.namespace_comes() == NamespaceComes::WithCreate {
            // Its interfaces exist before its command runs, but for those whose turn comes after that.
            let links = self.made_on.get(name).into_iter().flatten().filter(|link| self.turn_of(link).is_none());
            after.extend(links.map(|link| Action::CreateLink { link: link.clone() }.id()));
            after.extend(self.bridges_added_to(name));
            after.extend(self.gate(name, Stage::Create));
        }
        if self.names_change {
            after.push(Action::WriteNames.id());
        }
        after.extend(self.before_connected(node));
        let start = self.add(Action::StartNode { node: name.clone(), runtime }, reason, after);
        self.enters(name, node, runtime);
        self.execs(name, node, runtime, 0, Some(start));
    }

    /// The steps by which a node gets its links, and the bridges in it.
    pub(super) fn made_links_of(&self, name: &NodeName) -> impl Iterator<Item = StepId> {
        let links = self.made_on.get(name).into_iter().flatten();
        links.map(|link| Action::CreateLink { link: link.clone() }.id()).chain(self.bridges_added_to(name))
    }

    /// The steps by which it gets what it has of the management network.
    pub(super) fn made_attachments_of(&self, name: &NodeName) -> impl Iterator<Item = StepId> {
        let links = self.made_on.get(name).into_iter().flatten();
        let attachments = links.filter(|link| matches!(self.wanted[*link].kind, LinkKind::Attachment(_)));
        attachments.map(|link| Action::CreateLink { link: link.clone() }.id())
    }

    /// Whether the plan starts it.
    pub(super) fn is_started(&self, name: &NodeName) -> bool {
        match self.kept.get(name) {
            Some(kept) => kept.start.is_some(),
            None => !self.desired.stopped.contains(name),
        }
    }

    fn execs(&mut self, name: &NodeName, node: &Node, runtime: RuntimeKind, done: usize, start: Option<StepId>) {
        let mut after: Vec<StepId> = start.into_iter().collect();
        if after.is_empty() {
            // One that came back by itself may have its ends off still, as it had ended: routes want them on.
            let ends = self.kept_on.get(name).into_iter().flatten();
            let on =
                ends.map(|(link, side)| Action::SetLink { link: link.clone(), side: *side, admin: AdminState::Up });
            after.extend(on.map(|action| action.id()));
        }
        for (index, command) in commands(node).iter().enumerate().skip(done) {
            after.extend(self.before_command(name, node, command));
            let (argv, target) = (command.argv.to_vec(), command.target);
            let action = Action::Exec { node: name.clone(), runtime, index, argv, target };
            after = vec![self.add(action, "once for each start of the node", after)];
        }
    }
}
