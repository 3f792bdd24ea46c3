//! How an operation of a lab ends: when the snapshot shows what was asked for, and with what is still wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use netloom_failpoint::point;
use netloom_model::{InterfaceName, Lab, LabName, Link, LinkId, NodeName, Stage};
use netloom_plan::{Action, NodeState, Observed, Plan, StepId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actor::{Active, Actor, Life, PROVE};
use super::edit::Scope;
use super::step::within;
use crate::desired::{Authority, Phase, Wish, done_key, wish_key};
use crate::driver::{Context, Write};
use crate::engine::Shared;
use crate::fact::NodeFact;
use crate::operation::OperationState;
use crate::snapshot::Snapshot;
use crate::tags::{self, LabTags};
use crate::task;

/// How long an operation waits for carriers when everything else is as desired.
const CARRIER: Duration = Duration::from_secs(3);

impl Actor {
    /// Nothing is left to do: end what waits for that.
    pub(super) fn rest(&mut self, snapshot: &Snapshot, observed: &Observed) -> Life {
        self.settling = None;
        self.fetched.clear();
        if self.wish.as_ref().is_none_or(|wish| wish.phase == Phase::Destroy) {
            return self.finish_destroy(observed);
        }
        self.end_edits(snapshot, None);
        Life::Goes
    }

    /// Ends the operations of which nothing is left in the plan, if the snapshot shows that what they made also works.
    pub(super) fn end_edits(&mut self, snapshot: &Snapshot, plan: Option<&Plan>) {
        let Some(wish) = self.wish.clone().filter(|wish| wish.phase == Phase::Run && !self.active.is_empty()) else {
            return;
        };
        let now = Instant::now();
        let unproven = self.unproven(&wish, snapshot, now);
        let dark = links_without_carrier(&self.name, &wish, snapshot);
        let mut ended = Vec::new();
        for active in std::mem::take(&mut self.active) {
            let scope = &active.scope;
            if plan.is_some_and(|plan| plan.steps.iter().any(|step| scope.has_step(&step.id))) {
                self.active.push(active);
                continue;
            }
            let since = active.almost.unwrap_or(now);
            let fails = self.given_up.keys().any(|step| scope.has_step(step));
            let waits = dark.iter().any(|link| scope.has_link(link)) && now - since < CARRIER && !fails;
            if waits || unproven.iter().any(|node| scope.has_node(node)) {
                self.active.push(Active { almost: Some(since), ..active });
            } else {
                ended.push(active);
            }
        }
        for active in ended {
            self.end(&active, snapshot, &wish, &dark);
        }
    }

    /// Nodes that run a command and have not lived long enough to be called running.
    fn unproven(&self, wish: &Wish, snapshot: &Snapshot, now: Instant) -> Vec<NodeName> {
        let facts = snapshot.labs.get(&self.name);
        let unproven = wish.lab.nodes().iter().filter(|(name, node)| {
            let runs = facts.and_then(|facts| facts.nodes.get(*name));
            runs.is_some_and(|fact| fact.state == NodeState::Running)
                && !(node.cmd.is_empty() && node.entrypoint.is_empty())
                && self.restarts.running_for(name, now).is_none_or(|ran| ran < PROVE)
        });
        unproven.map(|(name, _)| name.clone()).collect()
    }

    fn end(&mut self, active: &Active, snapshot: &Snapshot, wish: &Wish, dark: &[LinkId]) {
        point!("operation.concluded");
        let Active { operation, scope, .. } = active;
        let given_up = self.given_up.iter().filter(|(step, _)| scope.has_step(step));
        let mut problems: Vec<String> = given_up.map(|(_, why)| why.clone()).collect();
        problems.extend(self.complaints.extract_if(.., |(step, _)| scope.has_step(step)).map(|(_, why)| why));
        if let Some(facts) = snapshot.labs.get(&self.name) {
            let asked_for = |node: &NodeName| scope.has_node(node) && !wish.stopped.contains(node);
            for fact in facts.nodes.values().filter(|fact| asked_for(&fact.node)) {
                let (NodeState::Exited { .. } | NodeState::Failed { .. }) = &fact.state else { continue };
                if self.given_up.contains_key(&start_id(fact)) || has_done_its_work(fact, &wish.lab) {
                    continue;
                }
                let tried = fact.restarting || self.restarts.due_at(&fact.node).is_some();
                let again = if tried { "; it is tried again" } else { "" };
                let output = fact.last_output.as_deref().unwrap_or("").trim_end();
                let output = if output.is_empty() { String::new() } else { format!("; its last output:\n{output}") };
                problems.push(format!("node {}: {}{again}{output}", fact.node, fact.state));
            }
        }
        let dark = dark.iter().filter(|link| scope.has_link(link));
        problems.extend(dark.map(|link| format!("link {link}: no carrier after {} s", CARRIER.as_secs())));
        let nothing = operation.view().steps.is_empty();
        let (nodes, links) = (wish.lab.nodes().len(), wish.lab.links().len());
        if !problems.is_empty() {
            let one = if problems.len() == 1 { "problem" } else { "problems" };
            let text = format!("{} {one}; the rest of lab {} stands", problems.len(), self.name);
            operation.end(OperationState::Failed, text, problems);
        } else if nothing {
            let mut text = String::from("nothing to change");
            if *scope == Scope::Lab && !wish.stopped.is_empty() {
                let stopped: Vec<&str> = wish.stopped.iter().map(NodeName::as_str).collect();
                let (lab, all) = (&self.name, stopped.join(", "));
                let _ = write!(text, "; stopped until `netloom node start {lab}/{}`: {all}", stopped[0]);
            }
            operation.end(OperationState::Succeeded, text, Vec::new());
        } else {
            let text = format!("lab {}: {nodes} nodes, {links} links", self.name);
            operation.end(OperationState::Succeeded, text, Vec::new());
        }
    }

    /// Bridges that were released are not this lab's affair any more; whether they are gone is no question of it.
    pub(super) fn let_go_of_bridges(&mut self, done: &BTreeMap<StepId, Action>) {
        let Some(wish) = self.wish.clone() else { return };
        let held = |bridge: &InterfaceName| !done.contains_key(&Action::ReleaseBridge { bridge: bridge.clone() }.id());
        let bridges: BTreeSet<InterfaceName> = wish.bridges.iter().filter(|bridge| held(bridge)).cloned().collect();
        if bridges == wish.bridges {
            return;
        }
        // After a crash before that is noted it is released once more, which does no harm.
        let kept = |bridge: &InterfaceName| held(bridge);
        point!("bridge.let-go");
        self.amend(|wish| wish.bridges.retain(kept));
    }

    /// Likewise the networks.
    pub(super) fn let_go_of_networks(&mut self, done: &BTreeMap<StepId, Action>) {
        let Some(wish) = self.wish.clone() else { return };
        let held = |network: &String| !done.contains_key(&Action::ReleaseNetwork { network: network.clone() }.id());
        if wish.networks.iter().all(held) {
            return;
        }
        point!("network.let-go");
        self.amend(|wish| wish.networks.retain(held));
    }

    pub(super) fn finish_destroy(&mut self, observed: &Observed) -> Life {
        let given_up: Vec<String> = self.given_up.values().cloned().collect();
        if !given_up.is_empty() {
            for active in self.active.drain(..) {
                let text = format!("lab {} could not be removed completely; destroy it again", self.name);
                active.operation.end(OperationState::Failed, text, given_up.clone());
            }
            return Life::Goes;
        }
        if self.pending.is_some() {
            // Another wish is on its way; what it comes to is seen when the store has answered.
            return Life::Goes;
        }
        debug_assert!(observed.nodes.is_empty(), "a plan without steps leaves no nodes");
        let (shared, name) = (self.shared.clone(), self.name.clone());
        self.closing = Some(task::own(format!("end of lab {name}"), async move { close(&shared, &name).await }));
        Life::Goes
    }

    /// The lab is gone, from the host and from the store; or the store forgets it as soon as it can.
    pub(super) fn forget(&mut self, ended: &Closed) {
        let Closed { problems, notices } = ended;
        self.closing = None;
        self.shared.done.forget(&self.name);
        self.shared.troubles.set(&self.name, Vec::new());
        self.shared.wishes.set(&self.name, None);
        self.wish = None;
        for active in self.active.drain(..) {
            if problems.is_empty() {
                let text = format!("lab {} is destroyed", self.name);
                let text = std::iter::once(&text).chain(notices).cloned().collect::<Vec<_>>().join("; ");
                active.operation.end(OperationState::Succeeded, text, Vec::new());
            } else {
                active.operation.end(OperationState::Failed, problems.join("; "), problems.clone());
            }
        }
    }
}

/// What the end of a lab came to.
#[derive(Debug)]
pub(super) struct Closed {
    /// What went wrong.
    pub(super) problems: Vec<String>,
    /// What is worth saying all the same.
    pub(super) notices: Vec<String>,
}

/// Removes what is kept per lab, and gives back what of the host was raised for it.
async fn close(shared: &Shared, name: &LabName) -> Closed {
    let deadline = (Instant::now() + shared.config.step_limit).into_std();
    let context = Context { deadline, cancel: CancellationToken::new() };
    let mut problems = Vec::new();
    for runtime in shared.runtimes.values() {
        let forget = runtime.write_names(name, None, &context);
        if let Err(error) = within(&context, &format!("lab {name}"), forget).await {
            problems.push(error.to_string());
        }
    }
    // What was left out when it was adopted goes with it.
    let is_controllers = shared.wishes.get(name).is_some_and(|wish| wish.authority == Authority::controller());
    if let Some(predecessor) = shared.predecessor.as_ref().filter(|_| is_controllers) {
        let clear = predecessor.clear(name, &context);
        if let Err(error) = within(&context, &format!("lab {name}"), clear).await {
            problems.push(error.to_string());
        }
    }
    point!("operation.destroy.concluded");
    // What no link gave back, since the store was not to be had.
    let mut writes = vec![Write::Delete { key: wish_key(name) }, tags::note(name, &LabTags::new())];
    let done = shared.done.of(name);
    writes.extend(done.keys().map(|node| Write::Delete { key: done_key(name, node) }));
    if let Err(error) = shared.ledger.keep(writes).await {
        problems.push(format!(
            "lab {name} is gone, but the store could not forget it: {error}. It is forgotten as soon as the store \
             can write; if the agent ends before that, its next start makes or removes the lab once more"
        ));
    }
    point!("operation.destroy.forgotten");
    let notices = shared.raises.release(name).await;
    Closed { problems, notices }
}

/// Whether a node ended well and others wait for that.
fn has_done_its_work(fact: &NodeFact, lab: &Lab) -> bool {
    let waits = lab.nodes().values().flat_map(|node| node.stages.values()).flat_map(|rule| &rule.wait_for);
    fact.state == NodeState::Exited { code: 0 }
        && waits.into_iter().any(|wait| wait.node == fact.node && wait.stage == Stage::Exit)
}

fn start_id(fact: &NodeFact) -> StepId {
    Action::StartNode { node: fact.node.clone(), runtime: fact.runtime }.id()
}

/// The links that should carry traffic and have no carrier on some end. An end that is off (by us or by the
/// router itself) darkens its link on purpose.
fn links_without_carrier(name: &LabName, wish: &Wish, snapshot: &Snapshot) -> Vec<LinkId> {
    let seen = snapshot.links(name);
    let links = wish.whole().links().iter().filter(|link| link.b.is_some()).map(Link::id);
    let is_dark = |link: &LinkId| {
        let Some(seen) = seen.get(link) else { return false };
        seen.ports.iter().all(|port| port.admin_up) && !seen.has_carrier()
    };
    links.filter(is_dark).collect()
}
