//! The links of one wave of a plan: allotted their tags if they are on a switch, made, changed and removed in one batch.

use std::collections::BTreeMap;

use netloom_model::LinkId;
use netloom_plan::{Action, LinkFingerprint, Step, StepId};

use super::execute::Outcome;
use super::step::{StepContext, cancelled, engine_error, within};
use crate::driver::{Context, DriverError, ErrorClass, LinkOrder, Switch, TagClaim};
use crate::tags;

impl StepContext {
    /// Carries out a batch of links.
    pub(crate) async fn run_links(&self, steps: Vec<Step>, context: &Context) -> Vec<(StepId, Outcome)> {
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
        let answers = within(context, "links", call).await.unwrap_or_else(|error| vec![Err(error); count]);
        let gone = removed.into_iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).filter_map(|(link, _)| link);
        self.give_back(gone.collect(), context).await;
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
        Ok(match action {
            Action::CreateLink { link } => {
                let tag = allotted.get(link).cloned().transpose()?;
                LinkOrder::Create { fingerprint: print(link)?, lab: lab.clone(), link: link.clone(), tag }
            }
            Action::UpdateLink { link } => {
                let tag = self.shared.tags.of(&self.lab).get(link).copied();
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

    fn switch(&self) -> Result<&dyn Switch, DriverError> {
        let none = || DriverError {
            class: ErrorClass::Permanent,
            ..engine_error("reach", "the switch", "this agent has no fabric of Open vSwitch".into())
        };
        self.shared.fabric.switch().ok_or_else(none)
    }

    /// Claims a tag for each link that is made on a switch, and has the store note those that are new.
    async fn allot(&self, steps: &[Step], context: &Context) -> BTreeMap<LinkId, Result<u16, DriverError>> {
        let Some(wish) = &self.wish else { return BTreeMap::new() };
        let mut tags = self.shared.tags.of(&self.lab);
        let claims: Vec<TagClaim> = steps
            .iter()
            .filter_map(|step| match &step.action {
                Action::CreateLink { link } => Some(link),
                _ => None,
            })
            .filter_map(|id| {
                let bridge = wish.whole().link(id)?.switch()?.clone();
                let (lab, link, known) = (self.lab.clone(), id.clone(), tags.get(id).copied());
                Some(TagClaim { lab, link, bridge, known })
            })
            .collect();
        if claims.is_empty() {
            return BTreeMap::new();
        }
        let links: Vec<LinkId> = claims.iter().map(|claim| claim.link.clone()).collect();
        let fail = |error: &DriverError| links.iter().map(|link| (link.clone(), Err(error.clone()))).collect();
        let answers = match self.switch() {
            Ok(switch) => within(context, "tags", async { Ok(switch.claim(claims, context).await) }).await,
            Err(error) => Err(error),
        };
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => return fail(&error),
        };
        let before = tags.clone();
        tags.extend(links.iter().zip(&answers).filter_map(|(link, tag)| Some((link.clone(), *tag.as_ref().ok()?))));
        if tags != before
            && let Err(error) = self.shared.ledger.write(vec![tags::note(&self.lab, &tags)]).await
        {
            // The switch knows whose they are, and gives them to the same links again.
            let cause = format!("the store could not note its tag: {error}");
            return fail(&engine_error("make", "link", cause));
        }
        self.shared.tags.set(&self.lab, tags);
        links.into_iter().zip(answers).collect()
    }

    /// Gives back the tags of links that are gone. One that cannot be given back now is when the lab is looked at again.
    async fn give_back(&self, gone: Vec<LinkId>, context: &Context) {
        let mut tags = self.shared.tags.of(&self.lab);
        let gone: Vec<LinkId> = gone.into_iter().filter(|link| tags.contains_key(link)).collect();
        let Some(switch) = self.shared.fabric.switch().filter(|_| !gone.is_empty()) else { return };
        let call = switch.release(&self.lab, &gone, context);
        if let Err(error) = within(context, "tags", call).await {
            tracing::warn!(lab = %self.lab, %error, "tags of links that are gone are not given back yet");
            return;
        }
        tags.retain(|link, _| !gone.contains(link));
        self.shared.ledger.owe(vec![tags::note(&self.lab, &tags)]);
        self.shared.tags.set(&self.lab, tags);
    }
}

fn removes(order: &LinkOrder) -> Option<LinkId> {
    match order {
        LinkOrder::Delete { link, .. } => Some(link.clone()),
        LinkOrder::Create { .. } | LinkOrder::Update { .. } | LinkOrder::Set { .. } | LinkOrder::Carry { .. } => None,
    }
}
