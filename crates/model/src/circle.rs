//! Nodes that wait for each other without end.
//!
//! A node enters its stages one after the other, and a stage that waits only after what it waits for. So each stage of
//! a node has steps that must be before it: the stage before, and those that it waits for. A way that leads back to
//! where it came from can never be gone.

use std::collections::{BTreeMap, BTreeSet};

use crate::lab::Stage;

/// A stage of a node.
pub(crate) type Step<'a> = (&'a str, Stage);

/// What each step waits for, each with what the caller knows it by.
pub(crate) type Waits<'a, W> = BTreeMap<Step<'a>, Vec<(Step<'a>, W)>>;

/// The waits of circles, in their order: at least one of each set of nodes that wait for each other. Each step is looked
/// at once.
pub(crate) fn circles<W: Copy>(waits: &Waits<'_, W>) -> Vec<Vec<W>> {
    let mut done = BTreeSet::new();
    waits.keys().filter_map(|root| from(*root, waits, &mut done)).collect()
}

/// A step on the way, the wait that led to it, and what is still to be looked at from it.
struct Visit<'a, W> {
    step: Step<'a>,
    by: Option<W>,
    rest: Vec<(Step<'a>, Option<W>)>,
}

impl<'a, W: Copy> Visit<'a, W> {
    fn new(step: Step<'a>, by: Option<W>, waits: &Waits<'a, W>) -> Self {
        let mut rest: Vec<(Step<'a>, Option<W>)> =
            waits.get(&step).into_iter().flatten().map(|(to, wait)| (*to, Some(*wait))).collect();
        let before = Stage::ALL.into_iter().take_while(|stage| *stage < step.1).last();
        rest.extend(before.map(|stage| ((step.0, stage), None)));
        Self { step, by, rest }
    }
}

/// The first circle that is reached from a step, if none of it was looked at before.
fn from<'a, W: Copy>(root: Step<'a>, waits: &Waits<'a, W>, done: &mut BTreeSet<Step<'a>>) -> Option<Vec<W>> {
    if done.contains(&root) {
        return None;
    }
    let mut found = None;
    let mut open: BTreeMap<Step<'a>, usize> = BTreeMap::from([(root, 0)]);
    let mut way = vec![Visit::new(root, None, waits)];
    while let Some(Visit { step, rest, .. }) = way.last_mut() {
        let step = *step;
        let Some((to, wait)) = rest.pop() else {
            done.insert(step);
            open.remove(&step);
            way.pop();
            continue;
        };
        if let Some(begin) = open.get(&to) {
            let inside = way[begin + 1..].iter().filter_map(|visit| visit.by);
            found = found.or(Some(inside.chain(wait).collect()));
        } else if !done.contains(&to) {
            open.insert(to, way.len());
            way.push(Visit::new(to, wait, waits));
        }
    }
    found
}
