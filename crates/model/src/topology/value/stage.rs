//! Stages and health checks.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::lab::{ExecPhase, ExecTarget, Healthcheck, Stage};

use super::super::diagnostic::{Code, Path, Span, cut};
use super::super::reader::{At, Cx, Field, Read, Table, get, optional, required};
use super::super::tree::{Data, Value};
use super::Command;

/// What a level says of the stages; lists are appended, the farthest level first.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct StagesSpec {
    pub(in super::super) stages: BTreeMap<Stage, StageSpec>,
    span: Option<Span>,
}

/// What a level says of one stage.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct StageSpec {
    pub(in super::super) wait_for: Vec<At<WaitSpec>>,
    pub(in super::super) exec: Vec<At<ExecSpec>>,
}

/// A node that is waited for; whether it is there is known when all nodes are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct WaitSpec {
    pub(in super::super) node: Rc<str>,
    pub(in super::super) stage: Stage,
}

/// A command of a stage; its words may hold placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct ExecSpec {
    pub(in super::super) command: Vec<String>,
    pub(in super::super) target: ExecTarget,
    pub(in super::super) phase: ExecPhase,
}

const STAGES: Table =
    Table { what: "`stages`", acted: &["create", "create-links", "configure", "healthy", "exit"], later: &[] };
const STAGE: Table = Table { what: "a stage", acted: &["wait-for", "exec"], later: &[] };

impl Field for StagesSpec {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Self {
        let mut found = Self { stages: BTreeMap::new(), span: Some(value.span) };
        for entry in cx.fields(value, at, &STAGES).unwrap_or_default() {
            let Some(stage) = Stage::ALL.into_iter().find(|stage| stage.as_str() == entry.key) else { continue };
            let at = at.key(entry.key);
            let Some(entries) = cx.fields(&entry.value, &at, &STAGE) else { continue };
            let waits = get(entries, "wait-for").map(|value| located(value, &at.key("wait-for"), cx));
            let exec = get(entries, "exec").map(|value| execs(value, &at.key("exec"), cx));
            let rule = StageSpec { wait_for: waits.unwrap_or_default(), exec: exec.unwrap_or_default() };
            found.stages.insert(stage, rule);
        }
        found
    }

    fn inherit(&mut self, farther: &Self) {
        for (stage, theirs) in &farther.stages {
            let own = self.stages.entry(*stage).or_default();
            let mut joined = theirs.clone();
            joined.wait_for.append(&mut own.wait_for);
            joined.exec.append(&mut own.exec);
            *own = joined;
        }
        self.span = self.span.or(farther.span);
    }

    fn span(&self) -> Option<Span> {
        self.span.filter(|_| !self.stages.is_empty())
    }
}

fn located<T: Read>(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Vec<At<T>> {
    let mut found = Vec::new();
    for (index, item) in cx.list(value, at).unwrap_or_default().iter().enumerate() {
        if let Some(value) = T::read(item, &at.index(index), cx) {
            found.push(At { value, span: item.span });
        }
    }
    found
}

/// The commands of a stage. The format's published schema has a map here, its reader has not.
fn execs(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Vec<At<ExecSpec>> {
    let Data::Map(entries) = &value.data else { return located(value, at, cx) };
    let first = entries.iter().find_map(|entry| match &entry.value.data {
        Data::List(items) => items.iter().find_map(|item| match &item.data {
            Data::Text(text) => Some((*text, entry.key)),
            _ => None,
        }),
        Data::Text(text) => Some((*text, entry.key)),
        _ => None,
    });
    let (command, phase) = first.unwrap_or(("ip link show", "on-enter"));
    let phase = if phase == "on-exit" { ", phase: on-exit" } else { "" };
    cx.report
        .error(Code::WrongType, value.span, at, "the commands of a stage are a list, and this is a map")
        .help(format!("write `exec: [{{ command: {}{phase} }}]`", cut(command)));
    Vec::new()
}

impl Read for WaitSpec {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const WAIT: Table = Table { what: "`wait-for`", acted: &["node", "stage"], later: &[] };
        if let Data::Text(text) = &value.data {
            let message = "an entry of `wait-for` is a map, and this is a text";
            let help = format!("write `{{ node: {}, stage: healthy }}`", cut(text));
            cx.report.error(Code::WrongType, value.span, at, message).help(help);
            return None;
        }
        let entries = cx.fields(value, at, &WAIT)?;
        let node = required::<String>((value, entries), "node", at, cx);
        let stage = required((value, entries), "stage", at, cx);
        Some(Self { node: node?.into(), stage: stage? })
    }
}

impl Read for Stage {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        cx.choice(value, at, &Self::ALL.map(|stage| (stage.as_str(), stage)), &[])
    }
}

impl Read for ExecSpec {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const EXEC: Table = Table { what: "a command of a stage", acted: &["command", "target", "phase"], later: &[] };
        if let Data::Text(text) = &value.data {
            let message = "a command of a stage is a map, and this is a text";
            let help = format!("write `{{ command: {} }}`", cut(text));
            cx.report.error(Code::WrongType, value.span, at, message).help(help);
            return None;
        }
        let entries = cx.fields(value, at, &EXEC)?;
        let command = required::<Command>((value, entries), "command", at, cx);
        Some(Self {
            target: optional(entries, "target", at, cx).unwrap_or_default(),
            phase: optional(entries, "phase", at, cx).unwrap_or_default(),
            command: command?.0,
        })
    }
}

impl Read for ExecTarget {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        cx.choice(value, at, &[("container", Self::Container), ("host", Self::Host)], &[])
    }
}

impl Read for ExecPhase {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        cx.choice(value, at, &[("on-enter", Self::OnEnter), ("on-exit", Self::OnExit)], &[])
    }
}

impl Read for Healthcheck {
    fn is_unset(_text: &str) -> bool {
        false
    }

    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const HEALTH: Table = Table {
            what: "`healthcheck`",
            acted: &["test", "interval", "timeout", "retries", "start-period"],
            later: &[],
        };
        let entries = cx.fields(value, at, &HEALTH)?;
        let test: Vec<String> = optional(entries, "test", at, cx).unwrap_or_default();
        if let Some(first) = test.first()
            && !["CMD", "CMD-SHELL", "NONE"].contains(&first.as_str())
        {
            let message =
                format!("a health check begins with `CMD`, `CMD-SHELL` or `NONE`, and this with `{}`", cut(first));
            cx.report
                .warning(Code::InvalidValue, value.span, &at.key("test"), message)
                .help("write for example `test: [CMD-SHELL, \"test -e /tmp/ready\"]`");
        }
        Some(Self {
            test,
            interval: optional(entries, "interval", at, cx),
            timeout: optional(entries, "timeout", at, cx),
            retries: optional(entries, "retries", at, cx),
            start_period: optional(entries, "start-period", at, cx),
        })
    }
}
