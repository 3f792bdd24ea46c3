//! Binds: files and directories of the host that are seen in a node.

use super::diagnostic::{Code, Path, cut};
use super::path::resolve;
use super::placeholder::has_placeholder;
use super::reader::{Cx, Read, Targeted};
use super::tree::{Data, Value};
use crate::check::clean_path;
use crate::lab::Access;

/// One bind, split; whether its source exists is asked when it is known that a node has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BindSpec {
    /// As the file has it.
    pub(super) written: String,
    /// Absolute, with `.` and `..` taken out; as it is written while it holds placeholders.
    pub(super) source: String,
    pub(super) target: String,
    pub(super) access: Access,
}

impl Targeted for BindSpec {
    fn target(&self) -> &str {
        &self.target
    }
}

impl Read for BindSpec {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        const FORM: &str = "write `source:target` or `source:target:ro`";
        if let Data::Map(_) = value.data {
            cx.invalid(value, at, "a bind is one text, and this is a map", FORM);
            return None;
        }
        let text = cx.text(value, at)?;
        let mut parts = text.splitn(3, ':');
        let (source, Some(target)) = (parts.next().unwrap_or_default(), parts.next()) else {
            cx.invalid(value, at, format!("bind `{}` has no target", cut(text)), FORM);
            return None;
        };
        if source.is_empty() || text.contains('\0') {
            cx.invalid(value, at, format!("bind `{}` has no source", cut(text)), FORM);
            return None;
        }
        let target_clean = clean_path(target);
        let by_placeholder = has_placeholder(target) && target.starts_with("__clab");
        if !by_placeholder && (!target.starts_with('/') || target_clean == "/") {
            let message = format!("bind target `{}` must be an absolute path below `/`", cut(target));
            cx.invalid(value, at, message, FORM);
            return None;
        }
        let access = parts.next().map_or(Some(Access::ReadWrite), |options| bind_options(options, value, at, cx))?;
        let source = if has_placeholder(source) { source.to_owned() } else { resolve(source, value, at, cx)? };
        let target = if by_placeholder { target.to_owned() } else { target_clean };
        Some(Self { written: text.to_owned(), source, target, access })
    }
}

/// Docker's options of a bind. Only the access has a meaning for every runtime.
fn bind_options(options: &str, value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Access> {
    const KNOWN: [&str; 14] = [
        "z",
        "Z",
        "nocopy",
        "cached",
        "delegated",
        "consistent",
        "shared",
        "rshared",
        "slave",
        "rslave",
        "private",
        "rprivate",
        "bind",
        "rbind",
    ];
    let mut access = Access::ReadWrite;
    for option in options.split(',') {
        match option {
            "rw" => access = Access::ReadWrite,
            "ro" => access = Access::ReadOnly,
            _ if KNOWN.contains(&option) => {
                let message = format!("the bind option `{option}` is not acted on yet");
                cx.report.warning(Code::IgnoredField, value.span, at, message);
            }
            _ => {
                let nearest = cx.report.nearest(option, ["ro", "rw"].into_iter().chain(KNOWN));
                let message = format!("a bind has no option `{}`", cut(option));
                cx.report
                    .error(Code::InvalidValue, value.span, at, message)
                    .help("possible: `ro` or `rw`")
                    .suggest(nearest);
                return None;
            }
        }
    }
    Some(access)
}
