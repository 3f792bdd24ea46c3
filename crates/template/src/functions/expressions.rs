//! Regular expressions. Their syntax is that of RE2, as in Go, and their time grows with the text, never faster.
//! As in Go, `\d`, `\w`, `\s` and `\b` know ASCII only.

use regex_automata::meta::{Config, Regex};
use regex_automata::util::{interpolate, syntax};

use super::convert::{to_int, to_text};
use super::text::within_limits;
use super::{Answer, Function, expression, family, text_of};
use crate::MAX_OUTPUT;
use crate::error::{Trouble, cut};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    family("regexp."),
    expression("regexp.Match", 2, 2, |values| Ok(compiled(&values[0])?.is_match(&to_text(&values[1])).into())),
    expression("regexp.Find", 2, 2, find),
    expression("regexp.FindAll", 2, 3, find_all),
    expression("regexp.Replace", 3, 3, |values| replace(values, Replacement::Expanded)),
    expression("regexp.ReplaceLiteral", 3, 3, |values| replace(values, Replacement::Literal)),
    expression("regexp.Split", 2, 3, split),
    expression("regexp.QuoteMeta", 1, 1, |values| Ok(quote(&to_text(&values[0])).into())),
];

fn compiled(expression: &Value) -> Result<Regex, Trouble> {
    /// What a compiled expression may take in memory.
    const SIZE: usize = 64 << 10;
    let text = text_of(expression, "a regular expression")?;
    let limits = Config::new().nfa_size_limit(Some(SIZE)).onepass_size_limit(Some(SIZE)).hybrid_cache_capacity(1 << 20);
    let syntax = syntax::Config::new().nest_limit(50);
    Regex::builder().configure(limits).syntax(syntax).build(&ascii(text)).map_err(|error| {
        let why = match error.syntax_error() {
            Some(error) => last_line(&error.to_string()),
            None if error.size_limit().is_some() => "it is too large".to_owned(),
            None => error.to_string(),
        };
        Trouble::new(format!("`{}` is not a regular expression: {why}", cut(text)))
    })
}

/// The same with the classes of Perl as those of ASCII.
fn ascii(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('d') => out.push_str("[0-9]"),
            Some('D') => out.push_str("[^0-9]"),
            Some('w') => out.push_str("[0-9A-Za-z_]"),
            Some('W') => out.push_str("[^0-9A-Za-z_]"),
            Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
            Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
            Some('b') => out.push_str("(?-u:\\b)"),
            Some('B') => out.push_str("(?-u:\\B)"),
            next => {
                out.push('\\');
                out.extend(next);
            }
        }
    }
    out
}

/// The last line says what is wrong; those before are a drawing.
fn last_line(text: &str) -> String {
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

fn find(values: &[Value]) -> Answer {
    let text = to_text(&values[1]);
    Ok(compiled(&values[0])?.find(&text).map_or("", |found| &text[found.range()]).into())
}

/// How many, if the second of three arguments says it; a negative number is all.
fn limited(values: &[Value]) -> Result<(usize, String), Trouble> {
    match values {
        [_, limit, text] => Ok((usize::try_from(to_int(limit)?).unwrap_or(usize::MAX), to_text(text))),
        values => Ok((usize::MAX, values.last().map(to_text).unwrap_or_default())),
    }
}

/// `regexp.FindAll expression text` or `regexp.FindAll expression count text`.
fn find_all(values: &[Value]) -> Answer {
    let (limit, text) = limited(values)?;
    let expression = compiled(&values[0])?;
    Ok(Value::list(expression.find_iter(&text).take(limit).map(|found| text[found.range()].into()).collect()))
}

fn split(values: &[Value]) -> Answer {
    let (limit, text) = limited(values)?;
    if limit == 0 {
        return Ok(Value::list(Vec::new()));
    }
    let expression = compiled(&values[0])?;
    Ok(Value::list(expression.splitn(&text, limit).map(|part| text[part.range()].into()).collect()))
}

/// What stands for a match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Replacement {
    /// With `$1` and `${name}` replaced.
    Expanded,
    Literal,
}

fn replace(values: &[Value], replacement: Replacement) -> Answer {
    let (with, text) = (to_text(&values[1]), to_text(&values[2]));
    let expression = compiled(&values[0])?;
    let (mut out, mut behind) = (String::new(), 0);
    for found in expression.captures_iter(&text) {
        let Some(range) = found.get_match().map(|found| found.range()) else { continue };
        out.push_str(&text[behind..range.start]);
        behind = range.end;
        match replacement {
            Replacement::Literal => out.push_str(&with),
            Replacement::Expanded => interpolate::string(
                &with,
                |index, out| out.push_str(found.get_group(index).map_or("", |group| &text[group.range()])),
                |name| expression.group_info().to_index(found.pattern()?, name),
                &mut out,
            ),
        }
        if out.len() > MAX_OUTPUT {
            break;
        }
    }
    out.push_str(&text[behind..]);
    within_limits(out.len())?;
    Ok(out.into())
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
