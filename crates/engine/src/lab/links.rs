//! The links of one wave of a plan: allotted their tags if they are on a switch, made, changed and removed in one batch.

use std::collections::{BTreeMap, BTreeSet};

use netloom_failpoint::point;
use netloom_model::{Link, LinkId};
use netloom_plan::{Action, LinkFingerprint, Step, StepId};

use super::execute::Outcome;
use super::step::{StepContext, cancelled, engine_error, within};
use crate::driver::{Context, DriverError, ErrorClass, Joins, LinkOrder, Switch, TagClaim};
use crate::engine::Shared;
use crate::tags;

impl StepContext {
    /// Carries out a batch of links.
    pub(crate) async fn run_links(&self, steps: Vec<Step>, context: &Context) -> Vec<(StepId, Outcome)> {
        if let Err(error) = self.leave_switch(&steps, context).await {
            tracing::warn!(lab = %self.lab, %error, "links that leave the switch keep their tags");
        }
        let allotted = self.allot(&steps, context).await;
        let mut orders = Vec::with_capacity(steps.len());
        let mut ended = Vec::new();
        let mut ids = Vec::with_capacity(steps.len());
        for step in steps {
            match self.link_order(&step.action, &allotted) {
                Ok(order) => {
                    orders.push(order);
                    ids.push(step.id);
                }
                Err(error) => ended.push((step.id, Outcome::Failed(error))),
            }
        }
        let count = orders.len();
        let removed: Vec<Option<LinkId>> = orders.iter().map(removes).collect();
        let call = async { Ok(self.shared.fabric.apply(orders, context).await) };
        let mut answers = within(context, "links", call).await.unwrap_or_else(|error| vec![Err(error); count]);
        let is_gone = |at: &usize| removed[*at].is_some() && answers[*at].is_ok();
        let gone: Vec<usize> = (0..count).filter(is_gone).collect();
        let links = gone.iter().filter_map(|at| removed[*at].clone()).collect();
        if let Err(error) = self.give_back(links, context).await {
            // It is not gone before its tag is free.
            let tagged = self.tagged();
            let held = gone.into_iter().filter(|at| removed[*at].as_ref().is_some_and(|link| tagged.contains(link)));
            held.for_each(|at| answers[at] = Err(error.clone()));
        }
        let outcomes = answers.into_iter().map(|answer| answer.map_or_else(Outcome::Failed, |()| Outcome::Done));
        ended.extend(ids.into_iter().zip(outcomes));
        ended
    }

    fn link_order(
        &self,
        action: &Action,
        allotted: &BTreeMap<LinkId, Result<u16, DriverError>>,
    ) -> Result<LinkOrder, DriverError> {
        if let Action::DeleteLink { link } = action {
            return Ok(LinkOrder::Delete { lab: self.lab.clone(), link: link.clone() });
        }
        let wish = self.wish.as_ref().ok_or_else(|| cancelled("link"))?;
        let lab = wish.whole().clone();
        let print = |id: &LinkId| {
            let link = lab.link(id).ok_or_else(|| cancelled("link"))?;
            Ok::<_, DriverError>(LinkFingerprint::of(link, wish.rebuild))
        };
        let segment = |id: &LinkId| lab.link(id).map(Link::segment).ok_or_else(|| cancelled("link"));
        Ok(match action {
            Action::CreateLink { link } => {
                let tag = allotted.get(&segment(link)?).cloned().transpose()?;
                LinkOrder::Create { fingerprint: print(link)?, lab: lab.clone(), link: link.clone(), tag }
            }
            Action::UpdateLink { link } => {
                let name = segment(link)?;
                let new = allotted.get(&name).cloned().transpose()?;
                let tag = new.or_else(|| self.shared.tags.of(&self.lab).get(&name).copied());
                LinkOrder::Update { fingerprint: print(link)?, lab: lab.clone(), link: link.clone(), tag }
            }
            Action::SetLink { link, side, admin } => {
                LinkOrder::Set { lab, link: link.clone(), side: *side, admin: *admin }
            }
            Action::CarryLink { link, side, carrier } => {
                LinkOrder::Carry { lab, link: link.clone(), side: *side, carrier: *carrier }
            }
            other => unreachable!("{other} is no link's"),
        })
    }

    /// Claims the tags that links need which are made on a switch, or come to another segment, and has the store note those that
    /// are new. By what they go by ([`Link::segment`]).
    async fn allot(&self, steps: &[Step], context: &Context) -> BTreeMap<LinkId, Result<u16, DriverError>> {
        let Some(wish) = &self.wish else { return BTreeMap::new() };
        let mut tags = self.shared.tags.of(&self.lab);
        let mut claims: BTreeMap<LinkId, TagClaim> = BTreeMap::new();
        for step in steps {
            let (id, is_made) = match &step.action {
                Action::CreateLink { link } => (link, true),
                Action::UpdateLink { link } => (link, false),
                _ => continue,
            };
            let link = wish.whole().link(id);
            let Some((link, bridge)) = link.and_then(|link| Some((link, link.switch()?))) else { continue };
            // One that stays where it is has what it needs.
            let needs = names_of_tags(link).into_iter().filter(|(name, _)| is_made || !tags.contains_key(name));
            claims.extend(needs.map(|(name, joins)| {
                let known = tags.get(&name).copied().or_else(|| self.shared.tags.take_proposed(&self.lab, &name));
                let (lab, bridge) = (self.lab.clone(), bridge.clone());
                (name.clone(), TagClaim { lab, link: name, bridge, known, joins })
            }));
        }
        if claims.is_empty() {
            return BTreeMap::new();
        }
        let (names, claims): (Vec<LinkId>, Vec<TagClaim>) = claims.into_iter().unzip();
        let fail = |error: &DriverError| names.iter().map(|name| (name.clone(), Err(error.clone()))).collect();
        let answers = match switch_of(&self.shared) {
            Ok(switch) => within(context, "tags", async { Ok(switch.claim(claims, context).await) }).await,
            Err(error) => Err(error),
        };
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => return fail(&error),
        };
        point!("tags.claimed");
        let before = tags.clone();
        tags.extend(names.iter().zip(&answers).filter_map(|(name, tag)| Some((name.clone(), *tag.as_ref().ok()?))));
        if tags != before
            && let Err(error) = self.shared.ledger.write(vec![tags::note(&self.lab, &tags)]).await
        {
            // The switch knows whose they are, and gives them to the same links again.
            let cause = format!("the store could not note its tag: {error}");
            return fail(&engine_error("make", "link", cause));
        }
        point!("tags.noted");
        self.shared.tags.set(&self.lab, tags);
        names.into_iter().zip(answers).collect()
    }

    /// Gives back the tags that links have on the switch and in the store.
    async fn give_back(&self, links: Vec<LinkId>, context: &Context) -> Result<(), DriverError> {
        let tagged = self.tagged();
        let links: Vec<LinkId> = links.into_iter().filter(|link| tagged.contains(link)).collect();
        if links.is_empty() {
            return Ok(());
        }
        within(context, "tags", switch_of(&self.shared)?.release(&self.lab, &links, context)).await?;
        point!("tags.released");
        let mut tags = self.shared.tags.of(&self.lab);
        let before = tags.len();
        let gone: BTreeSet<&LinkId> = links.iter().collect();
        tags.retain(|link, _| !gone.contains(link));
        if tags.len() < before {
            self.shared.ledger.owe(vec![tags::note(&self.lab, &tags)]);
            self.shared.tags.set(&self.lab, tags);
        }
        Ok(())
    }

    /// The links for which a tag is noted, or claimed: one may be without the other after a crash.
    fn tagged(&self) -> BTreeSet<LinkId> {
        let snapshot = self.shared.inventory.snapshot();
        let claimed = snapshot.switch.tags_of(&self.lab).map(|tag| tag.link.clone());
        self.shared.tags.of(&self.lab).into_keys().chain(claimed).collect()
    }

    /// Gives back what links have that are made anew without a switch, before they are.
    async fn leave_switch(&self, steps: &[Step], context: &Context) -> Result<(), DriverError> {
        let Some(wish) = &self.wish else { return Ok(()) };
        let is_plain = |id: &&LinkId| wish.whole().link(id).is_some_and(|link| link.switch().is_none());
        self.give_back(created(steps).filter(is_plain).cloned().collect(), context).await
    }
}

/// The switch of the host.
pub(super) fn switch_of(shared: &Shared) -> Result<&dyn Switch, DriverError> {
    let none = || DriverError {
        class: ErrorClass::Permanent,
        ..engine_error("reach", "the switch", "this agent has no fabric of Open vSwitch".into())
    };
    shared.fabric.switch().ok_or_else(none)
}

/// By what the tags go that a link needs on its switch: an access port of a node keeps one of its own, wherever it is.
fn names_of_tags(link: &Link) -> Vec<(LinkId, Joins)> {
    let Some(port) = link.access_port() else { return vec![(link.id(), Joins::Link)] };
    let own = port.is_of_node().then(|| (link.id(), Joins::Nothing));
    own.into_iter().chain(port.segment.clone().map(|segment| (segment, Joins::Segment))).collect()
}

/// The links that are made.
fn created(steps: &[Step]) -> impl Iterator<Item = &LinkId> {
    steps.iter().filter_map(|step| match &step.action {
        Action::CreateLink { link } => Some(link),
        _ => None,
    })
}

fn removes(order: &LinkOrder) -> Option<LinkId> {
    match order {
        LinkOrder::Delete { link, .. } => Some(link.clone()),
        LinkOrder::Create { .. }
        | LinkOrder::Adopt { .. }
        | LinkOrder::Update { .. }
        | LinkOrder::Set { .. }
        | LinkOrder::Carry { .. } => None,
    }
}
