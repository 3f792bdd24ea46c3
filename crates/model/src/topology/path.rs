//! Paths of the host in a topology file: relative to the file, `~` is the caller's home.

use super::diagnostic::{Code, Path, Span, cut};
use super::reader::Cx;
use super::tree::Value;
use crate::check::clean_path;

/// The absolute path that is meant, with `.` and `..` taken out. Says it if there is none.
pub(super) fn resolve(text: &str, value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<String> {
    resolve_at(text, value.span, at, cx)
}

/// The same for a text that stands at a place.
pub(super) fn resolve_at(text: &str, span: Span, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<String> {
    let full = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let Some(home) = cx.input.host.home() else {
                let message = "`~` cannot be replaced: no home directory is known";
                cx.report.error(Code::InvalidValue, span, at, message).help("write the whole path");
                return None;
            };
            home.join(rest.trim_start_matches('/'))
        }
        Some(_) => {
            let message = format!("`{}`: home directories of other users are not supported", cut(text));
            cx.report.error(Code::InvalidValue, span, at, message).help("write the whole path");
            return None;
        }
        None => cx.input.directory.join(text),
    };
    let full = full.to_str().filter(|full| !full.contains('\0'));
    let Some(full) = full else {
        cx.report.error(Code::InvalidValue, span, at, format!("`{}` cannot be a path", cut(text)));
        return None;
    };
    Some(clean_path(full))
}

/// What to do about a path that leads nowhere: which one it is, unless that is what is written.
pub(super) fn advice(written: &str, path: &str) -> String {
    match written.chars().next() {
        Some('/') => "make it, or correct the path".to_owned(),
        Some('~') => format!("`{}` is `{path}`", cut(written)),
        _ => format!("`{}` is `{path}`; paths are relative to the topology file", cut(written)),
    }
}
