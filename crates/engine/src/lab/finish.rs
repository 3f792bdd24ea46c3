//! How an operation of a lab ends: when the snapshot shows what was asked for, and with what is still wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use netloom_failpoint::point;
use netloom_model::{InterfaceName, LabName};
use netloom_plan::{Action, NodeState, Observed, StepId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actor::{Actor, Life, PROVE};
use super::step::within;
use crate::desired::{Phase, Wish, done_key, wish_key};
use crate::driver::{Context, Write};
use crate::engine::Shared;
use crate::inventory::Snapshot;
use crate::operation::{Operation, OperationState};
use crate::task;

/// How long an operation waits for carriers when everything else is as desired.
const CARRIER: Duration = Duration::from_secs(3);

impl Actor {
    /// Nothing is left to do: end what waits for that.
    pub(super) fn rest(&mut self, snapshot: &Snapshot, observed: &Observed) -> Life {
        self.settling = None;
        if self.wish.as_ref().is_none_or(|wish| wish.phase == Phase::Destroy) {
            return self.finish_destroy(observed);
        }
        let Some(active) = &mut self.active else { return Life::Goes };
        let now = Instant::now();
        let wish = self.wish.clone().expect("checked above");
        let unproven = wish.lab.nodes().iter().any(|(name, node)| {
            let runs = snapshot.labs.get(&self.name).and_then(|facts| facts.nodes.get(name));
            runs.is_some_and(|fact| fact.state == NodeState::Running)
                && !(node.cmd.is_empty() && node.entrypoint.is_empty())
                && self.restarts.running_for(name, now).is_none_or(|ran| ran < PROVE)
        });
        let dark = links_without_carrier(&self.name, &wish, snapshot);
        let since = *active.almost.get_or_insert(now);
        if unproven || (!dark.is_empty() && now - since < CARRIER && self.given_up.is_empty()) {
            return Life::Goes;
        }
        let active = self.active.take().expect("checked above");
        self.end_deploy(&active.operation, snapshot, &wish, &dark);
        Life::Goes
    }

    pub(super) fn end_deploy(&mut self, operation: &Operation, snapshot: &Snapshot, wish: &Wish, dark: &[String]) {
        point!("operation.concluded");
        let mut problems: Vec<String> = self.given_up.values().cloned().collect();
        problems.append(&mut self.complaints);
        if let Some(facts) = snapshot.labs.get(&self.name) {
            for fact in facts.nodes.values() {
                let (NodeState::Exited { .. } | NodeState::Failed { .. }) = &fact.state else { continue };
                if self.given_up.contains_key(&start_id(fact)) {
                    continue;
                }
                let again = self.restarts.due_at(&fact.node).map_or("", |_| "; it is tried again");
                let output = fact.last_output.as_deref().unwrap_or("").trim_end();
                let output = if output.is_empty() { String::new() } else { format!("; its last output:\n{output}") };
                problems.push(format!("node {}: {}{again}{output}", fact.node, fact.state));
            }
        }
        problems.extend(dark.iter().map(|link| format!("link {link}: no carrier after {} s", CARRIER.as_secs())));
        let nothing = operation.view().steps.is_empty();
        let (nodes, links) = (wish.lab.nodes().len(), wish.lab.links().len());
        if !problems.is_empty() {
            let one = if problems.len() == 1 { "problem" } else { "problems" };
            let text = format!("{} {one}; the rest of lab {} stands", problems.len(), self.name);
            operation.end(OperationState::Failed, text, problems);
        } else if nothing {
            operation.end(OperationState::Succeeded, "nothing to change", Vec::new());
        } else {
            let text = format!("lab {}: {nodes} nodes, {links} links", self.name);
            operation.end(OperationState::Succeeded, text, Vec::new());
        }
    }

    /// Bridges that were released are not this lab's affair any more; whether they are gone is no question of it.
    pub(super) fn let_go_of_bridges(&mut self, done: &BTreeSet<StepId>) {
        let Some(wish) = self.wish.clone() else { return };
        let held = |bridge: &InterfaceName| !done.contains(&Action::ReleaseBridge { bridge: bridge.clone() }.id());
        let bridges: BTreeSet<InterfaceName> = wish.bridges.iter().filter(|bridge| held(bridge)).cloned().collect();
        if bridges == wish.bridges {
            return;
        }
        // After a crash before that is noted it is released once more, which does no harm.
        let kept = |bridge: &InterfaceName| held(bridge);
        point!("bridge.let-go");
        self.amend(|wish| wish.bridges.retain(kept));
    }

    pub(super) fn finish_destroy(&mut self, observed: &Observed) -> Life {
        let given_up: Vec<String> = self.given_up.values().cloned().collect();
        if !given_up.is_empty() {
            if let Some(active) = self.active.take() {
                let text = format!("lab {} could not be removed completely; destroy it again", self.name);
                active.operation.end(OperationState::Failed, text, given_up);
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
    pub(super) fn forget(&mut self, problems: Vec<String>) {
        self.closing = None;
        self.shared.done.forget(&self.name);
        self.shared.wishes.set(&self.name, None);
        self.wish = None;
        if let Some(active) = self.active.take() {
            if problems.is_empty() {
                let text = format!("lab {} is destroyed", self.name);
                active.operation.end(OperationState::Succeeded, text, Vec::new());
            } else {
                active.operation.end(OperationState::Failed, problems.join("; "), problems);
            }
        }
    }
}

/// Removes what is kept per lab; answers with what went wrong.
async fn close(shared: &Shared, name: &LabName) -> Vec<String> {
    let deadline = (Instant::now() + shared.config.step_limit).into_std();
    let context = Context { deadline, cancel: CancellationToken::new() };
    let mut problems = Vec::new();
    for runtime in shared.runtimes.values() {
        let forget = runtime.write_names(name, None, &context);
        if let Err(error) = within(&context, &format!("lab {name}"), forget).await {
            problems.push(error.to_string());
        }
    }
    point!("operation.destroy.concluded");
    let mut writes = vec![Write::Delete { key: wish_key(name) }];
    let done = shared.done.of(name);
    writes.extend(done.keys().map(|node| Write::Delete { key: done_key(name, node) }));
    if let Err(error) = shared.ledger.write(writes.clone()).await {
        shared.ledger.owe(writes);
        problems.push(format!(
            "lab {name} is gone, but the store could not forget it: {error}. It is forgotten as soon as the store \
             can write; if the agent ends before that, its next start makes or removes the lab once more"
        ));
    }
    point!("operation.destroy.forgotten");
    problems
}

fn start_id(fact: &crate::fact::NodeFact) -> StepId {
    Action::StartNode { node: fact.node.clone(), runtime: fact.runtime }.id()
}

/// The links that should carry traffic and have no carrier on some end. An end that is off (by us or by the
/// router itself) darkens its link on purpose.
fn links_without_carrier(name: &LabName, wish: &Wish, snapshot: &Snapshot) -> Vec<String> {
    let seen = snapshot.links(name);
    let links = wish.lab.links().iter().filter(|link| link.b.is_some());
    let dark = links.filter(|link| {
        let Some(seen) = seen.get(&link.id()) else { return false };
        seen.ports.iter().all(|port| port.admin_up) && seen.ports.iter().any(|port| !port.carrier)
    });
    dark.map(|link| link.id().to_string()).collect()
}
