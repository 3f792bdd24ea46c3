//! Who waits for whom: the nodes and stages of `wait-for` exist, and nobody waits for itself in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::diagnostic::{Code, Path, Span, cut};
use super::node::{Facts, Spec};
use super::reader::Cx;
use crate::lab::Stage;
use crate::name::NodeName;

/// All `wait-for` of a file.
#[derive(Default)]
pub(super) struct Waits {
    all: Vec<Wait>,
    /// The nodes that have a health check.
    checked: BTreeSet<String>,
    /// The nodes that have something at the stage `healthy`.
    healthy: Vec<(String, Span, String)>,
}

struct Wait {
    /// Who waits, and before which stage.
    who: Step,
    /// What has to be over.
    what: Step,
    span: Span,
    /// Which one of its list it is.
    index: usize,
}

/// A stage of a node.
type Step = (Rc<str>, Stage);

impl Wait {
    fn path(&self) -> String {
        let (topology, nodes) = (Path::Root.key("topology"), "nodes");
        let (node, stages) = (topology.key(nodes), "stages");
        let (node, stage) = (node.key(&self.who.0), self.who.1.as_str());
        let (stages, wait_for) = (node.key(stages), "wait-for");
        stages.key(stage).key(wait_for).index(self.index).to_string()
    }
}

impl Waits {
    /// Keeps what a node that runs waits for.
    pub(super) fn note(&mut self, name: &NodeName, spec: &Spec, at: &Path<'_>) {
        if spec.healthcheck.get().is_some() {
            self.checked.insert(name.to_string());
        }
        let who: Rc<str> = name.as_str().into();
        for (stage, rule) in &spec.stages.stages {
            let at_stages = at.key("stages");
            let at = at_stages.key(stage.as_str());
            let first = rule.wait_for.first().map(|wait| wait.span).or(rule.exec.first().map(|exec| exec.span));
            if let (Stage::Healthy, Some(span)) = (stage, first) {
                self.healthy.push((name.to_string(), span, at.to_string()));
            }
            for (index, wait) in rule.wait_for.iter().enumerate() {
                self.all.push(Wait {
                    who: (Rc::clone(&who), *stage),
                    what: (Rc::clone(&wait.value.node), wait.value.stage),
                    span: wait.span,
                    index,
                });
            }
        }
    }

    /// Says what cannot be.
    pub(super) fn check(&self, facts: &BTreeMap<String, Facts>, cx: &mut Cx<'_>) {
        for wait in &self.all {
            let (node, stage) = &wait.what;
            if !facts.contains_key(&**node) {
                let path = wait.path();
                let nearest = cx.report.nearest(node, facts.keys().map(String::as_str));
                let message = format!("`{}` waits for `{}`, and there is no such node", wait.who.0, cut(node));
                cx.report.error(Code::UnknownNode, wait.span, &Path::Text(&path), message).suggest(nearest);
            } else if *stage == Stage::Healthy && !self.checked.contains(&**node) {
                let path = wait.path();
                let message =
                    format!("`{}` waits until `{node}` is healthy, and the file gives it no health check", wait.who.0);
                cx.report
                    .warning(Code::NoEffect, wait.span, &Path::Text(&path), message)
                    .help(format!("add a `healthcheck` to `{node}`, unless its image has one"));
            }
        }
        for (node, span, path) in &self.healthy {
            if !self.checked.contains(node) {
                let message = format!("`{node}` has a stage `healthy`, and the file gives it no health check");
                cx.report
                    .warning(Code::NoEffect, *span, &Path::Text(path), message)
                    .help("add a `healthcheck`, unless its image has one");
            }
        }
        self.check_cycles(cx);
    }

    fn check_cycles(&self, cx: &mut Cx<'_>) {
        let mut of_step: BTreeMap<(&str, Stage), Vec<&Wait>> = BTreeMap::new();
        for wait in &self.all {
            of_step.entry((&wait.who.0, wait.who.1)).or_default().push(wait);
        }
        let mut done: BTreeSet<(&str, Stage)> = BTreeSet::new();
        let roots: Vec<(&str, Stage)> = of_step.keys().copied().collect();
        for root in roots {
            if let Some(cycle) = find_cycle(root, &of_step, &mut done) {
                say_cycle(&cycle, cx);
            }
        }
    }
}

/// A way from a step to what has to be before it; without a wait it is the stage before.
struct Edge<'a> {
    to: (&'a str, Stage),
    wait: Option<&'a Wait>,
}

fn edges<'a>(step: (&'a str, Stage), of_step: &BTreeMap<(&'a str, Stage), Vec<&'a Wait>>) -> Vec<Edge<'a>> {
    let waits = of_step.get(&step).into_iter().flatten();
    let mut edges: Vec<Edge<'a>> =
        waits.map(|wait| Edge { to: (&wait.what.0, wait.what.1), wait: Some(*wait) }).collect();
    let before = Stage::ALL.into_iter().take_while(|stage| *stage < step.1).last();
    edges.extend(before.map(|stage| Edge { to: (step.0, stage), wait: None }));
    edges
}

/// A step on the way, the wait that led to it, and what is still to be looked at from it.
struct Visit<'a> {
    step: (&'a str, Stage),
    by: Option<&'a Wait>,
    rest: Vec<Edge<'a>>,
}

/// The waits of the first cycle that is reached from a step. Each step is looked at once, whatever the root.
fn find_cycle<'a>(
    root: (&'a str, Stage),
    of_step: &BTreeMap<(&'a str, Stage), Vec<&'a Wait>>,
    done: &mut BTreeSet<(&'a str, Stage)>,
) -> Option<Vec<&'a Wait>> {
    if done.contains(&root) {
        return None;
    }
    let mut found = None;
    let mut open: BTreeMap<(&str, Stage), usize> = BTreeMap::from([(root, 0)]);
    let mut way = vec![Visit { step: root, by: None, rest: edges(root, of_step) }];
    while let Some(Visit { step, rest, .. }) = way.last_mut() {
        let step = *step;
        let Some(Edge { to, wait }) = rest.pop() else {
            done.insert(step);
            open.remove(&step);
            way.pop();
            continue;
        };
        if let Some(from) = open.get(&to) {
            let inside = way[from + 1..].iter().filter_map(|visit| visit.by);
            found = found.or(Some(inside.chain(wait).collect()));
        } else if !done.contains(&to) {
            open.insert(to, way.len());
            way.push(Visit { step: to, by: wait, rest: edges(to, of_step) });
        }
    }
    found
}

/// A ring of a thousand nodes is shown by its ends.
const SHOWN: usize = 12;

fn say_cycle(cycle: &[&Wait], cx: &mut Cx<'_>) {
    let Some(first) = cycle.iter().min_by_key(|wait| wait.span.start) else { return };
    let begin = cycle.iter().position(|wait| std::ptr::eq(*wait, *first)).unwrap_or_default();
    let turned: Vec<&&Wait> = cycle[begin..].iter().chain(&cycle[..begin]).collect();
    let mut names: Vec<&str> = turned.iter().map(|wait| &*wait.who.0).collect();
    names.push(&first.who.0);
    let way = if names.len() > SHOWN {
        let (head, tail) = (&names[..SHOWN - 2], names[names.len() - 1]);
        format!("{} → … → {tail}", head.join(" → "))
    } else {
        names.join(" → ")
    };
    let diagnostic = cx.report.error(
        Code::WaitCycle,
        first.span,
        &Path::Text(&first.path()),
        format!("nodes wait for each other without end: {way}"),
    );
    for wait in turned.iter().skip(1).take(SHOWN) {
        diagnostic.note(wait.span, format!("`{}` waits for `{}` here", wait.who.0, wait.what.0));
    }
    diagnostic.help("remove one of these `wait-for`");
}
