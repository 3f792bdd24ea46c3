//! The steps of links: made, set, switched, removed, and what has to be done before.

use std::collections::BTreeSet;

use netloom_model::{Endpoint, InterfaceName, Link, LinkId, NamespaceComes, NodeName, Stage};

use super::{Fate, Place, Planner, Power, Readiness, place};
use crate::state::{AdminState, ObservedNode, Side};
use crate::step::{Action, StepId};

impl<'a> Planner<'a> {
    /// When links can end in a node of the lab.
    pub(super) fn readiness(&self, name: &NodeName) -> Readiness {
        let Some(runtime) = self.lab.and_then(|lab| lab.nodes().get(name)).and_then(|node| node.runtime) else {
            return Readiness::Now;
        };
        let node = || name.clone();
        match (runtime.namespace_comes(), self.kept.get(name)) {
            (NamespaceComes::WithCreate, Some(_)) => Readiness::Now,
            (NamespaceComes::WithCreate, None) => Readiness::After(Action::CreateNode { node: node(), runtime }.id()),
            // Also when it has one: its ends move into the new one when it starts.
            (NamespaceComes::WithStart, _) if self.is_started(name) => {
                Readiness::After(Action::StartNode { node: node(), runtime }.id())
            }
            (NamespaceComes::WithStart, _) if self.has_place(name) => Readiness::Now,
            (NamespaceComes::WithStart, _) => Readiness::Later,
        }
    }

    /// When one link can end in a node. Where the node comes later than its neighbour, the end waits in its place.
    fn readiness_for(&self, link: &LinkId, name: &'a NodeName) -> Readiness {
        if self.turn_of(link) == Some(name) { self.readiness(name) } else { self.readiness_of_place(name) }
    }

    /// When there is a namespace for what neighbours of a node want in it.
    pub(super) fn readiness_of_place(&self, name: &'a NodeName) -> Readiness {
        if !self.waits_to_be_made(name) || !(self.is_reserved(name) || self.has_place(name)) {
            return self.readiness(name);
        }
        let runtime = self.lab.and_then(|lab| lab.nodes().get(name)).and_then(|node| node.runtime);
        let reserve = runtime
            .filter(|_| self.is_reserved(name))
            .map(|runtime| Action::ReserveNode { node: name.clone(), runtime });
        reserve.map_or(Readiness::Now, |reserve| Readiness::After(reserve.id()))
    }

    /// Whether links can end in what is there of a node and stays.
    pub(super) fn has_place(&self, name: &NodeName) -> bool {
        let stays = matches!(self.fate(name), Fate::Keep | Fate::Complete);
        stays && self.observed.nodes.get(name).is_some_and(ObservedNode::takes_links)
    }

    /// Whether a desired link has to be made (anew).
    pub(super) fn link_is_missing(&self, id: &LinkId, link: &Link) -> bool {
        let dies = link
            .ends()
            .filter_map(|end| end.home().node())
            .any(|node| matches!(self.fate(node), Fate::Create | Fate::Recreate));
        let there = self.observed.links.get(id);
        dies || there.is_none_or(|there| there.fingerprint.identity != self.desired.link_fingerprint(id, link).identity)
    }

    /// Whether a link stays when the nodes go that the plan deletes.
    pub(super) fn outlives_nodes(&self, ends: &[Endpoint]) -> bool {
        ends.iter().any(|end| match end {
            Endpoint::Node(node) => !matches!(self.fate(node), Fate::Recreate | Fate::Delete),
            Endpoint::Host | Endpoint::Bridge(_) | Endpoint::Remote(_) => true,
        })
    }

    pub(super) fn links(&mut self) {
        for (id, there) in &self.observed.links {
            let reason = match (self.wanted.contains_key(id), self.is_replaced(id)) {
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
        if self.put_off.contains(id) {
            return;
        }
        let there = self.observed.links.get(id);
        let mut down = there.map(|there| there.down.clone()).unwrap_or_default();
        let mut last = None;
        if self.made.contains(id) {
            let reason = if there.is_some() { "its ends changed" } else { "not there" };
            let after = self.before_link(id, link);
            last = Some(self.add(Action::CreateLink { link: id.clone() }, reason, after));
            down = BTreeSet::new();
        } else if let Some(there) = there
            && there.fingerprint.config != self.desired.link_fingerprint(id, link).config
        {
            let action = Action::UpdateLink { link: id.clone() };
            last = Some(self.add(action, "MTU, addresses or VLANs changed", Vec::new()));
        }
        let mut switched = BTreeSet::new();
        for (end, side) in link.ends().zip([Side::A, Side::B]) {
            let steps = self.steps.len();
            let cut = self.desired.down.contains(&(id.clone(), side));
            let power = self.power(end.home());
            let is_down = down.contains(&side);
            let mut after: Vec<StepId> = last.clone().into_iter().collect();
            let stop = end.home().node().and_then(|node| self.stop_of(node));
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
            if self.steps.len() > steps {
                switched.insert(side);
            }
        }
        // Of one that the plan makes all ends are on; what is at them says so when it is there.
        for (side, carrier) in there.filter(|_| last.is_none()).into_iter().flat_map(|there| there.behind.clone()) {
            // Of an end that is being switched it is seen afterwards.
            if switched.iter().any(|other| *other != side) {
                continue;
            }
            let reason = match carrier {
                AdminState::Up => "the far end is on",
                AdminState::Down => "the far end is off",
            };
            self.add(Action::CarryLink { link: id.clone(), side, carrier }, reason, Vec::new());
        }
    }

    /// The step that ends what runs in a node; it may not be part of the plan.
    fn stop_of(&self, node: &NodeName) -> Option<StepId> {
        let runtime = self.lab?.nodes().get(node)?.runtime?;
        Some(Action::StopNode { node: node.clone(), runtime }.id())
    }

    /// What must have happened before a link can be made: its nodes can take it, whatever had one of its
    /// interfaces is gone, its bridges exist.
    fn before_link(&self, id: &LinkId, link: &'a Link) -> Vec<StepId> {
        let turn = self.turn_of(id).map(|node| Action::Enter { node: node.clone(), stage: Stage::CreateLinks }.id());
        let mut after: Vec<StepId> = turn.into_iter().collect();
        for end in link.ends() {
            match end.home() {
                Endpoint::Node(node) => {
                    if let Readiness::After(step) = self.readiness_for(id, node) {
                        after.extend(self.commands_before_links(link, node, &step));
                        after.push(step);
                    }
                    if matches!(end.at, Endpoint::Bridge(_)) {
                        after.extend(self.bridges_added_to(node));
                    }
                }
                Endpoint::Bridge(bridge) => {
                    if let Ok(bridge) = bridge.as_str().parse::<InterfaceName>()
                        && self.bridge_is_asked_for(&bridge)
                    {
                        after.push(Action::EnsureBridge { bridge }.id());
                    }
                }
                Endpoint::Host | Endpoint::Remote(_) => {}
            }
        }
        after.extend(self.before_attachment(link));
        // An interface's name may pass from one link to another, so removals in the same places go first.
        for place in link.ends().map(|end| place(end.home())) {
            after.extend(self.removed_from(place));
        }
        // So may the name of a bridge of the lab that goes.
        for end in link.ends().filter(|end| place(end.home()) == Place::Host) {
            after.push(Action::ReleaseBridge { bridge: end.interface.kernel().clone() }.id());
        }
        after
    }

    pub(super) fn removed_from(&self, place: Place<'a>) -> Vec<StepId> {
        self.removed_from.get(&place).into_iter().flatten().map(|id| delete_link(id).id()).collect()
    }
}

fn delete_link(id: &LinkId) -> Action {
    Action::DeleteLink { link: id.clone() }
}
