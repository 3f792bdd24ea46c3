//! The defaults of a kind as the farthest level that a node inherits from.

use std::rc::Rc;

use super::KindSpec;
use super::spec::{CommandLine, Text};
use crate::lab::{LinkApplyMode, RestartPolicy};
use crate::topology::Input;
use crate::topology::diagnostic::{Path, Span};
use crate::topology::node::{self, Spec};
use crate::topology::reader::Cx;
use crate::topology::tree::{Data, Entry, Value};

/// Where its fields stand: in no file of a topology.
pub(in crate::topology) const OF_KIND: &str = "(kind)";

/// What a kind says of the fields of its nodes, read as if it stood in the file. A field that nodes do not have yet is
/// passed over.
pub(in crate::topology) fn level(kind: &KindSpec, input: &Input<'_>) -> Spec {
    let mut fields: Vec<Entry> = Vec::new();
    let mut put = |key: &str, value: Option<Value>| {
        fields.extend(value.map(|value| entry(key, value)));
    };
    put("env", map(kind.env.iter()));
    put("sysctls", map(kind.sysctls.iter()));
    put("cap-add", list(&kind.cap_add));
    put("privileged", kind.privileged.map(|privileged| text(if privileged { "true" } else { "false" })));
    put("entrypoint", kind.entrypoint.as_ref().map(CommandLine::as_str).map(text));
    put("cmd", kind.cmd.as_ref().map(CommandLine::as_str).map(text));
    let policy = kind.restart_policy.map(|policy| match policy {
        RestartPolicy::No => "no",
        RestartPolicy::Always => "always",
        RestartPolicy::OnFailure => "on-failure",
        RestartPolicy::UnlessStopped => "unless-stopped",
    });
    put("restart-policy", policy.map(text));
    let apply = kind.link_apply_mode.map(|apply| match apply {
        LinkApplyMode::Live => "live",
        LinkApplyMode::Restart => "restart",
        LinkApplyMode::Recreate => "recreate",
    });
    put("link-apply-mode", apply.map(text));
    // What can be wrong with these was said when the kind was read.
    let mut cx = Cx::new(input);
    node::read(&collection(Data::Map(fields)), &Path::Text(OF_KIND), &mut cx)
}

fn text(text: &str) -> Value {
    Value::leaf(Span::default(), Data::Text(text.to_owned()))
}

fn collection(data: Data) -> Value {
    Value::collection(Span::default(), data)
}

fn entry(key: &str, value: Value) -> Entry {
    Entry { key: key.to_owned(), key_span: Span::default(), value: Rc::new(value) }
}

fn map<'k>(entries: impl Iterator<Item = (&'k String, &'k Text)>) -> Option<Value> {
    let entries: Vec<Entry> = entries.map(|(key, value)| entry(key, text(value.as_str()))).collect();
    (!entries.is_empty()).then(|| collection(Data::Map(entries)))
}

fn list(items: &[Text]) -> Option<Value> {
    let items: Vec<Rc<Value>> = items.iter().map(|item| Rc::new(text(item.as_str()))).collect();
    (!items.is_empty()).then(|| collection(Data::List(items)))
}
