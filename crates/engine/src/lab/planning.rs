//! What is to do for a lab: the plan from what is seen to what is wanted, and what of it is left out now.

use std::collections::BTreeSet;
use std::sync::Arc;

use netloom_model::NodeName;
use netloom_plan::{Action, Desired, Observed, Plan, Prints, Step, StepId, plan};
use tokio::time::Instant;

use super::actor::Actor;
use super::hands_off::{ended_life, hands_off};
use super::observe::{Once, observe};
use crate::desired::{Authority, Phase, Wish, life_of_host};
use crate::snapshot::Snapshot;

impl Actor {
    /// Reckons the fingerprints of the wish, unless they are known.
    pub(super) fn reckon(&mut self) {
        self.prints = match (&self.wish, self.prints.take()) {
            (None, _) => None,
            (Some(wish), Some((of, prints))) if Arc::ptr_eq(wish, &of) => Some((of, prints)),
            (Some(wish), Some((of, prints))) => Some((wish.clone(), prints.then(of.printed(), wish.printed()))),
            (Some(wish), None) => Some((wish.clone(), Prints::of(wish.printed()))),
        };
    }

    pub(super) fn plan(&self, wish: Option<&Arc<Wish>>, snapshot: &Snapshot) -> (Observed, Plan) {
        let now = Instant::now();
        let theirs = wish.filter(|wish| wish.authority != Authority::Local && wish.phase == Phase::Run).map(|wish| {
            let facts = snapshot.labs.get(&self.name).map(|facts| &**facts);
            hands_off(wish, facts, &self.shared.boot(), |node| {
                self.active.iter().any(|active| active.scope.has_node(node))
            })
        });
        let whole = wish.filter(|wish| wish.phase == Phase::Run).map(|wish| &**wish.whole());
        let lab = theirs.as_ref().and_then(|theirs| theirs.lab.as_ref()).or(whole);
        let done = self.shared.done.of(&self.name);
        let told = self.shared.host.told(&self.name);
        let stock = self.shared.stock(&self.fetched);
        let host = life_of_host(&self.shared.boot(), wish.map_or(0, |wish| wish.rebuild));
        let tags = self.shared.tags.of(&self.name);
        let told = told.as_deref();
        let once = Once { done: &done, host: &host, passed: &self.passed, stock, told, tags: &tags };
        let observed = observe(&self.name, lab, wish.map(|wish| &**wish), once, snapshot);
        let mut due = self.restarts.due(now);
        if theirs.is_some() {
            due.extend(self.asked_to_live_again(snapshot));
        }
        let prints = self.prints.as_ref().filter(|(of, _)| wish.is_some_and(|wish| Arc::ptr_eq(wish, of)));
        let prints = prints.map(|(_, prints)| prints);
        let desired = wish.map_or(Desired::NOTHING, |wish| Desired { prints, ..wish.desired(&due) });
        let desired = match &theirs {
            Some(theirs) => Desired { lab, stopped: &theirs.stopped, ..desired },
            None => desired,
        };
        let mut steps = plan(&self.name, &desired, &observed);
        self.leave_out_given_up(&mut steps);
        if self.active.iter().any(|active| active.operation.kind() == "deploy") {
            steps.name_live_edits(&self.undone);
        }
        (observed, steps)
    }

    /// The nodes that had ended when an operation about them began, and have not lived since: they are as good as stopped. One that
    /// ends again has had another life, and is not tried once more.
    fn asked_to_live_again<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = NodeName> + 'a {
        let is_over = |(node, life): &(&NodeName, &String)| {
            snapshot.node(&self.name, node).is_some_and(|fact| ended_life(fact) == Some(life.as_str()))
        };
        self.active.iter().flat_map(|active| &active.ended).filter(is_over).map(|(node, _)| node.clone())
    }

    /// What failed for good is not tried again, nor what waits for it, until the wish changes.
    fn leave_out_given_up(&self, plan: &mut Plan) {
        if !self.given_up.is_empty() {
            leave_out(plan, |step| self.given_up.contains_key(&step.id));
        }
    }

    /// The steps that do not wait for what lingers. What lingers on a node that is to end is ended.
    pub(super) fn leave_out_lingering(&self, mut plan: Plan) -> Plan {
        if self.lingering.is_empty() {
            return plan;
        }
        let busy: BTreeSet<&NodeName> =
            self.lingering.iter().flat_map(|(execution, _)| execution.lingers_on()).collect();
        let planned: BTreeSet<&StepId> = plan.steps.iter().map(|step| &step.id).collect();
        self.lingering.iter().for_each(|(execution, _)| execution.give_up_waits_beside(&planned));
        let waits: BTreeSet<&StepId> =
            self.lingering.iter().flat_map(|(execution, _)| execution.lingering_waits()).collect();
        for step in &plan.steps {
            if let Action::StopNode { node, .. } | Action::DeleteNode { node, .. } = &step.action {
                self.lingering.iter().for_each(|(execution, _)| execution.give_up(node));
            }
        }
        leave_out(&mut plan, |step| match &step.action {
            Action::Await { .. } | Action::PullImage { .. } => waits.contains(&step.id),
            action => action.node().is_some_and(|node| busy.contains(node)),
        });
        plan
    }
}

/// Takes steps out of a plan, and all that wait for them.
fn leave_out(plan: &mut Plan, is_out: impl Fn(&Step) -> bool) {
    let mut out: BTreeSet<StepId> = BTreeSet::new();
    plan.steps.retain(|step| {
        let stays = !is_out(step) && !step.after.iter().any(|id| out.contains(id));
        if !stays {
            out.insert(step.id.clone());
        }
        stays
    });
}
