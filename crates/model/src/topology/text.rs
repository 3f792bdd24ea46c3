//! The bytes of a file as the text that is YAML: decoded, rendered, and with its variables replaced.
//!
//! ```text
//! bytes ── UTF-8? ──▶ text ── `{{`? template ──▶ text ── `$`? substitution ──▶ text
//! ```
//!
//! A file without templates and variables passes through as it is, without a copy.

use std::borrow::Cow;

use super::diagnostic::{Code, Diagnostic, Note, Path, Report, Span};
use super::origin::{File, Origin};
use super::substitute::{Refused, substitute};
use super::{Input, MAX_BYTES, jinja, start, template};

/// The text that is to be parsed. Where its parts come from is told to the report, which points its diagnostics there.
pub(super) fn prepare<'a>(input: &Input<'a>, report: &mut Report) -> Option<Cow<'a, str>> {
    let text = decode(input.text, report)?;
    let mut origin = None;
    if text.contains("{{") {
        let (made, result) = template::render(text, input);
        if let Err(errors) = result {
            if let Some(tag) = jinja::first_tag(text) {
                let (_, span) = made.in_file(0, &tag);
                report.error(Code::Template, span, &Path::Root, jinja::MESSAGE).help(jinja::HELP);
            }
            for error in errors {
                let (file, span) = made.in_file(error.source, &error.range);
                let diagnostic = report.error(Code::Template, span, &Path::Root, error.message);
                diagnostic.file = file;
                diagnostic.help = error.hint;
                for (source, range) in error.calls {
                    let (file, span) = made.in_file(source, &range);
                    diagnostic.notes.push(Note { message: "called here".to_owned(), span, file });
                }
            }
            return None;
        }
        if let Some(nul) = made.text().find('\0') {
            let (file, span) = made.locate(nul..nul + 1);
            report.error(Code::NotText, span, &Path::Root, "this produces a NUL character").file = file;
            return None;
        }
        origin = Some(made);
    }
    let current = origin.as_ref().map_or(text, Origin::text);
    match substitute(current, input.host) {
        Ok(None) => {}
        Ok(Some(made)) => {
            let before = origin.get_or_insert_with(|| Origin::new(vec![File::new(None, text.to_owned())]));
            for unset in made.unset {
                let (file, span) = before.locate(unset.range);
                let diagnostic = match unset.name {
                    Some(name) => report
                        .warning(Code::Substitution, span, &Path::Root, format!("the variable `{name}` is not set"))
                        .label(format!("stays as `${name}`"))
                        .help(format!("set it, or write a default: `${{{name}:-text}}`")),
                    None => report
                        .warning(Code::Substitution, span, &Path::Root, "this is no form of a variable that is replaced")
                        .label("stays as it is")
                        .help("`${NAME}`, `${NAME:-default}` and the like with `-`, `=` and `+` are; `$${` says that none is meant"),
                };
                diagnostic.file = file;
            }
            before.stage(made.text, made.pieces);
        }
        Err(Refused { range, message, help }) => {
            let before = origin.get_or_insert_with(|| Origin::new(vec![File::new(None, text.to_owned())]));
            let (file, span) = before.locate(range);
            let diagnostic = report.error(Code::Substitution, span, &Path::Root, message);
            diagnostic.file = file;
            if !help.is_empty() {
                diagnostic.help(help);
            }
            return None;
        }
    }
    let Some(origin) = origin else { return Some(Cow::Borrowed(text)) };
    let made = origin.text().to_owned();
    report.comes_from(origin);
    Some(Cow::Owned(made))
}

pub(super) fn decode<'a>(bytes: &'a [u8], report: &mut Report) -> Option<&'a str> {
    let at = Path::Root;
    if bytes.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", bytes.len());
        report.error(Code::TooLarge, start(), &at, message);
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = &bytes[..error.valid_up_to()];
            let byte = bytes.get(good.len()).copied().unwrap_or_default();
            let message = format!("the file is not UTF-8 text: byte 0x{byte:02x} at offset {}", good.len());
            let error = report.error(Code::NotText, place(good), &at, message);
            if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                error.help("it looks like UTF-16; save it as UTF-8");
            }
            return None;
        }
    };
    if let Some(nul) = text.find('\0') {
        let message = format!("the file is not text: a NUL byte at offset {nul}");
        report.error(Code::NotText, place(&bytes[..nul]), &at, message);
        return None;
    }
    Some(text)
}

/// The place behind some text.
fn place(before: &[u8]) -> Span {
    let text = String::from_utf8_lossy(before);
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Span::new(line, column, before.len()..before.len() + 1)
}

/// A file as the text that is parsed.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// The text, unless there is an error.
    pub text: Option<String>,
    /// Errors and warnings about templates and variables.
    pub diagnostics: Vec<Diagnostic>,
}

/// Renders the templates of a file and replaces its variables; what comes of it need not be a topology.
pub fn rendered(input: &Input<'_>) -> Rendered {
    let mut report = Report::new();
    let text = prepare(input, &mut report).map(Cow::into_owned);
    Rendered { text, diagnostics: report.finish() }
}
