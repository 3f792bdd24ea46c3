//! Files of environment variables (`env-files`): `NAME=value` lines, `#` comments, values may be quoted.

use std::collections::BTreeMap;

use super::diagnostic::{Code, Path, cut};
use super::path::advice;
use super::reader::{At, Cx};
use crate::check::is_variable;

/// The largest file of variables that is read, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// The variables of a file. Says it if it is not there, cannot be read, or holds something else.
pub(super) fn read(path: &str, written: At<&str>, at: &Path<'_>, cx: &mut Cx<'_>) -> BTreeMap<String, String> {
    if !cx.input.host.exists(path.as_ref()) {
        let help = advice(written.value, path);
        cx.report.error(Code::MissingFile, written.span, at, "this file of variables does not exist").help(help);
        return BTreeMap::new();
    }
    let text = match cx.input.host.content(path.as_ref()) {
        Ok(text) if text.len() > MAX_BYTES => {
            let message = format!("`{path}` has {} bytes; at most {MAX_BYTES} are read", text.len());
            cx.report.error(Code::TooLarge, written.span, at, message);
            return BTreeMap::new();
        }
        Ok(text) => text,
        Err(why) => {
            cx.report.error(Code::MissingFile, written.span, at, format!("`{path}` cannot be read: {why}"));
            return BTreeMap::new();
        }
    };
    let mut found = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        match variable(line) {
            Line::Nothing => {}
            Line::Variable(key, value) => {
                found.insert(key, value);
            }
            Line::Wrong => {
                let message = format!("line {} of `{path}` is not `NAME=value`: `{}`", number + 1, cut(line));
                cx.report.error(Code::InvalidValue, written.span, at, message);
            }
        }
    }
    found
}

enum Line {
    Nothing,
    Variable(String, String),
    Wrong,
}

fn variable(line: &str) -> Line {
    let line = line.trim().trim_start_matches('\u{feff}');
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    let line = line.strip_prefix("export ").unwrap_or(line);
    // A name alone has no value.
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let key = key.trim();
    if !is_variable(key) || key.contains(char::is_whitespace) || value.contains('\0') {
        return Line::Wrong;
    }
    let value = value.trim();
    let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote));
    let value = match quote.and_then(|quote| value[1..].split_once(quote).map(|(inside, _)| (quote, inside))) {
        Some(('"', inside)) => inside.replace("\\n", "\n").replace("\\t", "\t"),
        Some((_, inside)) => inside.to_owned(),
        // A `#` behind a space begins a comment.
        None => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
    };
    Line::Variable(key.to_owned(), value)
}

#[cfg(test)]
mod tests {
    use super::{Line, variable};

    #[test]
    fn lines_of_variables_are_read() {
        for (line, expected) in [
            ("A=1", Some(("A", "1"))),
            ("  A = two words ", Some(("A", "two words"))),
            ("export A=x", Some(("A", "x"))),
            ("A=\"x # y\" # why", Some(("A", "x # y"))),
            ("A='$x'", Some(("A", "$x"))),
            ("A=x # why", Some(("A", "x"))),
            ("A=a#b", Some(("A", "a#b"))),
            ("A=a=b", Some(("A", "a=b"))),
            ("A=", Some(("A", ""))),
            ("A", Some(("A", ""))),
            ("A=\"", Some(("A", "\""))),
            ("", None),
            ("# A=1", None),
        ] {
            match (variable(line), expected) {
                (Line::Variable(key, value), Some(expected)) => assert_eq!((key.as_str(), value.as_str()), expected),
                (Line::Nothing, None) => {}
                _ => panic!("{line}"),
            }
        }
        assert!(matches!(variable("=x"), Line::Wrong));
        assert!(matches!(variable("two words"), Line::Wrong));
    }
}
