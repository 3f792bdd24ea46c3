//! The defaults of a kind as the farthest level that a node inherits from.

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
    let (env, sysctls) = (entries(kind.env.iter()), entries(kind.sysctls.iter()));
    let cap_add: Vec<Value<'_>> = kind.cap_add.iter().map(|item| text(item.as_str())).collect();
    let mut fields: Vec<Entry<'_>> = Vec::new();
    let mut put = |key, value: Option<_>| fields.extend(value.map(|value| entry(key, value)));
    put("env", (!env.is_empty()).then(|| collection(Data::Map(&env))));
    put("sysctls", (!sysctls.is_empty()).then(|| collection(Data::Map(&sysctls))));
    put("cap-add", (!cap_add.is_empty()).then(|| collection(Data::List(&cap_add))));
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
    node::read(&collection(Data::Map(&fields)), &Path::Text(OF_KIND), &mut cx)
}

fn text(text: &str) -> Value<'_> {
    Value::leaf(Span::default(), Data::Text(text))
}

fn collection(data: Data<'_>) -> Value<'_> {
    Value::collection(Span::default(), data)
}

fn entry<'k>(key: &'k str, value: Value<'k>) -> Entry<'k> {
    Entry { key, key_span: Span::default(), value }
}

fn entries<'k>(texts: impl Iterator<Item = (&'k String, &'k Text)>) -> Vec<Entry<'k>> {
    texts.map(|(key, value)| entry(key, text(value.as_str()))).collect()
}
