//! Who waits for whom: the nodes and stages of `wait-for` exist, and nobody waits for itself in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::diagnostic::{Code, Path, Span, cut};
use super::facts::AllFacts;
use super::node::Spec;
use super::reader::Cx;
use crate::circle;
use crate::lab::{RuntimeKind, Stage};
use crate::name::NodeName;

/// All `wait-for` of a file.
#[derive(Default)]
pub(super) struct Waits {
    all: Vec<Wait>,
    /// The nodes that have a health check.
    checked: BTreeSet<String>,
    /// The nodes of a runtime without health checks.
    unchecked: BTreeSet<String>,
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
        let topology = Path::Root.key("topology");
        let nodes = topology.key("nodes");
        let node = nodes.key(&self.who.0);
        let stages = node.key("stages");
        let stage = stages.key(self.who.1.as_str());
        stage.key("wait-for").index(self.index).to_string()
    }
}

impl Waits {
    /// Keeps what a node that runs waits for.
    pub(super) fn note(&mut self, name: &NodeName, spec: &Spec, at: &Path<'_>) {
        if spec.runtime.get() == Some(&RuntimeKind::Namespace) {
            self.unchecked.insert(name.to_string());
        } else if spec.healthcheck.get().is_some() {
            self.checked.insert(name.to_string());
        }
        if spec.stages.stages.is_empty() {
            return;
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
    pub(super) fn check(&self, facts: &AllFacts, cx: &mut Cx<'_>) {
        for wait in &self.all {
            let (node, stage) = &wait.what;
            if facts.get(node).is_none() {
                let path = wait.path();
                let nearest = cx.report.nearest(node, facts.names());
                let message = format!("`{}` waits for `{}`, and there is no such node", wait.who.0, cut(node));
                cx.report.error(Code::UnknownNode, wait.span, &Path::Text(&path), message).suggest(nearest);
            } else if *stage == Stage::Healthy && !self.checked.contains(&**node) {
                let path = wait.path();
                let who = &wait.who.0;
                let (has, help) = self.lacks_check(node);
                let message = format!("`{who}` waits until `{node}` is healthy, and {has}");
                cx.report.warning(Code::NoEffect, wait.span, &Path::Text(&path), message).help(help);
            }
        }
        for (node, span, path) in &self.healthy {
            if !self.checked.contains(node) {
                let (has, help) = self.lacks_check(node);
                let message = format!("`{node}` has a stage `healthy`, and {has}");
                cx.report.warning(Code::NoEffect, *span, &Path::Text(path), message).help(help);
            }
        }
        self.check_circles(cx);
    }

    /// What a node without a health check has instead, and what to do.
    fn lacks_check(&self, node: &str) -> (&'static str, String) {
        if self.unchecked.contains(node) {
            let help = format!("give `{node}` the `runtime: docker`, or wait for its stage `configure`");
            return ("a namespace node has no health check", help);
        }
        ("the file gives it no health check", format!("add a `healthcheck` to `{node}`, unless its image has one"))
    }

    fn check_circles(&self, cx: &mut Cx<'_>) {
        let mut waits: circle::Waits<'_, &Wait> = BTreeMap::new();
        for wait in &self.all {
            let what = (&*wait.what.0, wait.what.1);
            waits.entry((&wait.who.0, wait.who.1)).or_default().push((what, wait));
        }
        for circle in circle::circles(&waits) {
            say_circle(&circle, cx);
        }
    }
}

/// A ring of a thousand nodes is shown by its ends.
const SHOWN: usize = 12;

fn say_circle(circle: &[&Wait], cx: &mut Cx<'_>) {
    let Some(first) = circle.iter().min_by_key(|wait| wait.span.start) else { return };
    let begin = circle.iter().position(|wait| std::ptr::eq(*wait, *first)).unwrap_or_default();
    let turned: Vec<&&Wait> = circle[begin..].iter().chain(&circle[..begin]).collect();
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
