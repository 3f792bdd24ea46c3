//! The steps of images: those that are missing, or that are always to be fetched, come before the nodes that are made
//! from them.

use std::collections::BTreeMap;

use netloom_model::{NodeName, PullPolicy, RuntimeKind};

use super::Planner;
use crate::state::ImageStock;
use crate::step::{Action, StepId};

/// So many nodes of an image are named.
const NAMED: usize = 3;

impl<'a> Planner<'a> {
    /// Comes last: of a lab of which nothing is there, all steps wait for all images. A lab that has been made is worked on
    /// while an image is fetched for a node of it.
    pub(super) fn images(&mut self) {
        let pulls = self.pulls();
        for ((runtime, image), nodes) in &pulls {
            let action = Action::PullImage { image: (*image).to_owned(), runtime: *runtime };
            let pull = self.add(action, &reason(nodes), Vec::new());
            for node in nodes {
                self.hold_up(node, *runtime, &pull);
            }
        }
        if !pulls.is_empty() && self.observed.nodes.is_empty() {
            let all: Vec<StepId> = pulls
                .keys()
                .map(|(runtime, image)| Action::PullImage { image: (*image).to_owned(), runtime: *runtime }.id())
                .collect();
            let others = self.steps.values_mut().filter(|step| !matches!(step.action, Action::PullImage { .. }));
            others.for_each(|step| step.after.extend(all.iter().cloned()));
        }
    }

    /// The images that are fetched, each with the nodes that are made from it.
    fn pulls(&self) -> BTreeMap<(RuntimeKind, &'a str), Vec<&'a NodeName>> {
        let mut pulls: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, node, runtime) in self.running_nodes() {
            let Some(image) = node.image.as_deref() else { continue };
            let Some(stock) = self.observed.images.get(&(runtime, image.to_owned())) else { continue };
            let is_due = match node.container.pull_policy {
                PullPolicy::Never => false,
                PullPolicy::IfNotPresent => *stock == ImageStock::Missing,
                PullPolicy::Always => *stock != ImageStock::Fetched,
            };
            if is_due && self.steps.contains_key(&Action::CreateNode { node: name.clone(), runtime }.id()) {
                pulls.entry((runtime, image)).or_default().push(name);
            }
        }
        pulls
    }

    /// A node is made, and what it replaces removed, when its image is there.
    fn hold_up(&mut self, node: &NodeName, runtime: RuntimeKind, pull: &StepId) {
        let first =
            [Action::ReserveNode { node: node.clone(), runtime }, Action::CreateNode { node: node.clone(), runtime }];
        let mut waiting: Vec<StepId> = first.iter().map(Action::id).collect();
        let there = self.observed.nodes.get(node);
        let delete = there.map(|there| Action::DeleteNode { node: node.clone(), runtime: there.runtime }.id());
        if let Some(step) = delete.as_ref().and_then(|delete| self.steps.get(delete)) {
            waiting.extend(step.after.iter().cloned());
        }
        for id in waiting.iter().chain(&delete) {
            self.steps.entry(id.clone()).and_modify(|step| step.after.push(pull.clone()));
        }
    }
}

fn reason(nodes: &[&NodeName]) -> String {
    let named: Vec<&str> = nodes.iter().take(NAMED).map(|node| node.as_str()).collect();
    let more = match nodes.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let made = if nodes.len() == 1 { "is" } else { "are" };
    format!("{}{more} {made} made from it", named.join(", "))
}
