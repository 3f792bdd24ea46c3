//! Nodes that share a namespace of another one (`network-mode: container:…`, `pid-mode: container:…`): they come after it, and
//! go with it into its next one.
//!
//! A container stays in the namespaces that it was started in, and knows whose they are by an id: where the other one is made
//! anew or started again, it would be alone in what is left.

use std::collections::BTreeSet;

use netloom_model::{Home, NamespaceComes, NetworkMode, Node, NodeName, PidMode, RuntimeKind};

use super::{Fate, Planner};
use crate::state::NodeState;
use crate::step::{Action, StepId};

impl<'a> Planner<'a> {
    /// The nodes of the lab whose namespaces this one shares, as far as those come with a start.
    fn owners(&self, node: &Node) -> Vec<(&'a NodeName, RuntimeKind)> {
        let network = if let NetworkMode::Container(word) = &node.network_mode { Some(word) } else { None };
        let processes = if let PidMode::Container(word) = &node.container.pid_mode { Some(word) } else { None };
        let owner = |word: &String| {
            let (owner, other) = self.lab?.nodes().get_key_value(&word.parse::<NodeName>().ok()?)?;
            let runtime = other.runtime?;
            (runtime.namespace_comes() == NamespaceComes::WithStart).then_some((owner, runtime))
        };
        network.into_iter().chain(processes).filter_map(owner).collect()
    }

    /// Has nodes follow whose namespaces they share, and those follow that share theirs.
    pub(super) fn follow(&mut self) {
        self.catch_up();
        let all: Vec<_> = self.running_nodes().map(|(name, node, _)| (name, self.owners(node))).collect();
        let sharing: Vec<_> = all.into_iter().filter(|(_, owners)| !owners.is_empty()).collect();
        for (name, _) in &sharing {
            self.follows_into_the_next_life(name);
        }
        while sharing.iter().any(|(name, owners)| owners.iter().any(|(owner, _)| self.follows(name, owner))) {}
    }

    /// Has nodes follow that a container outside of the lab has left behind.
    fn catch_up(&mut self) {
        for (name, kept) in &mut self.kept {
            let runs = kept.there.state == NodeState::Running && kept.start.is_none();
            if kept.there.left_behind && runs && !self.desired.stopped.contains(*name) {
                kept.start = Some("it is in a namespace that its container has left");
            }
        }
    }

    /// Has a node follow that was left behind: the one whose network it shares has another namespace by now, as nobody asked
    /// for.
    fn follows_into_the_next_life(&mut self, name: &'a NodeName) {
        let Some(Home::Node(owner)) = self.lab.map(|lab| lab.home(name)) else { return };
        let namespace = |of: &NodeName| {
            let kept = self.kept.get(of).filter(|kept| kept.there.state == NodeState::Running && kept.start.is_none());
            kept.and_then(|kept| kept.there.namespace)
        };
        let (Some(own), Some(owners)) = (namespace(name), namespace(owner)) else { return };
        if own != owners
            && !self.desired.stopped.contains(name)
            && let Some(kept) = self.kept.get_mut(name)
        {
            kept.start = Some("it is in a namespace that its node has left");
        }
    }

    /// Has a node follow one of those. False: it does already, or does not have to.
    fn follows(&mut self, name: &'a NodeName, owner: &NodeName) -> bool {
        let Some(mut kept) = self.kept.get(name).copied() else { return false };
        if matches!(self.fate(owner), Fate::Create | Fate::Complete | Fate::Recreate) {
            self.kept.remove(name);
            self.fates.insert(name, Fate::Recreate);
            return self.followers.insert(name);
        }
        let starts = self.kept.get(owner).is_some_and(|owner| owner.start.is_some());
        let goes_on = kept.there.state == NodeState::Running && kept.start.is_none();
        if !starts || !goes_on || self.desired.stopped.contains(name) {
            return false;
        }
        kept.start = Some("it shares the namespace of a node that is started");
        self.kept.insert(name, kept);
        true
    }

    /// Why a node that is there is made anew.
    pub(super) fn why_anew(&self, name: &NodeName) -> &'static str {
        if self.followers.contains(name) {
            "it shares the namespace of a node that is made anew"
        } else {
            "a field changed that needs a new node"
        }
    }

    /// The starts of the nodes whose namespaces this one shares, as far as the plan starts them and they do not wait for it.
    pub(super) fn starts_of_owners(&self, name: &NodeName, node: &Node) -> impl Iterator<Item = StepId> {
        let starts = self.owners(node).into_iter();
        let starts = starts.filter(|(owner, _)| self.is_started(owner) && !self.waits_for(owner, name));
        starts.map(|(owner, runtime)| Action::StartNode { node: owner.clone(), runtime }.id())
    }

    fn waits_for(&self, who: &'a NodeName, whom: &NodeName) -> bool {
        let (mut seen, mut all) = (BTreeSet::new(), vec![who]);
        while let Some(name) = all.pop() {
            if name == whom {
                return true;
            }
            let Some(node) = self.lab.and_then(|lab| lab.nodes().get(name)).filter(|_| seen.insert(name)) else {
                continue;
            };
            all.extend(node.stages.values().flat_map(|rule| rule.wait_for.iter().map(|wait| &wait.node)));
            all.extend(self.owners(node).into_iter().map(|(owner, _)| owner));
        }
        false
    }
}
