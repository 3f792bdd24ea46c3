//! Files, resources and texts that a node is configured with.

use crate::lab::Document;
use crate::name::NodeName;

use super::super::diagnostic::{Code, Path, Span};
use super::super::path::{advice, resolve, resolve_at};
use super::super::placeholder::{fill, has_placeholder, in_lab_directory};
use super::super::reader::{At, Cx, Read};
use super::super::tree::Value;

/// A document as a level gives it.
#[derive(Debug, Clone)]
pub(in super::super) enum DocumentSpec {
    /// What it is, whichever node has it; a path with the text that was written.
    Known(Document, String),
    /// A path with placeholders, as it is written.
    Open(String),
}

impl Read for DocumentSpec {
    fn read(value: &Value<'_>, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<Self> {
        let text = cx.text(value, at)?;
        if text.contains('\n') {
            return Some(Self::Known(Document::Text(text.to_owned()), String::new()));
        }
        if is_url(text) {
            return Some(Self::Known(Document::Url(text.to_owned()), String::new()));
        }
        if text.trim().is_empty() {
            cx.invalid(value, at, format!("`{}` is empty", at.last()), "write a path, a URL, or several lines of text");
            return None;
        }
        if has_placeholder(text) {
            return Some(Self::Open(text.to_owned()));
        }
        Some(Self::Known(Document::Path(resolve(text, value, at, cx)?), text.to_owned()))
    }
}

/// Whether it is fetched rather than read.
pub(in super::super) fn is_url(text: &str) -> bool {
    ["http://", "https://", "s3://"].iter().any(|scheme| {
        text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)) && text.len() > scheme.len()
    })
}

/// The document of a node; says it if it is a file that is not there.
pub(in super::super) fn document(
    found: At<&DocumentSpec>,
    node: &NodeName,
    at: &Path<'_>,
    cx: &mut Cx<'_>,
) -> Option<Document> {
    let (document, written) = match found.value {
        DocumentSpec::Known(document, written) => (document.clone(), written.clone()),
        DocumentSpec::Open(text) => {
            let path = fill(At { value: text, span: found.span }, node, at, cx)?;
            (Document::Path(resolve_at(&path, found.span, at, cx)?), text.clone())
        }
    };
    if let Document::Path(path) = &document {
        if in_lab_directory(path, cx) && !cx.input.host.exists(path.as_ref()) {
            let message = format!("the file of `{}` does not exist yet", at.last());
            let help = format!("it is `{path}`; make it before the lab is deployed");
            cx.report.warning(Code::MissingFile, found.span, at, message).help(help);
        } else {
            exists(path, At { value: &written, span: found.span }, at, cx);
        }
    }
    Some(document)
}

/// Says it if there is no such file.
pub(in super::super) fn exists(path: &str, written: At<&str>, at: &Path<'_>, cx: &mut Cx<'_>) {
    if !cx.input.host.exists(path.as_ref()) {
        let message = format!("the file of `{}` does not exist", at.last());
        cx.report.error(Code::MissingFile, written.span, at, message).help(advice(written.value, path));
    }
}

/// Where a field's value stands, with the value.
pub(in super::super) fn at_span<T>(value: Option<&T>, span: Option<Span>) -> Option<At<&T>> {
    Some(At { value: value?, span: span? })
}
