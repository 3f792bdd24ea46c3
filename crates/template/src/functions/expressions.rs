//! Regular expressions. Their syntax is that of RE2, as in Go, and their time grows with the text, never faster.

use regex_automata::meta::{Config, Regex};
use regex_automata::util::{interpolate, syntax};

use super::convert::{to_int, to_text};
use super::text::within_limits;
use super::{Answer, Function, family, text_of, walk};
use crate::MAX_OUTPUT;
use crate::error::{Trouble, cut};
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    family("regexp."),
    walk("regexp.Match", 2, 2, |values| Ok(compiled(&values[0])?.is_match(&to_text(&values[1])).into())),
    walk("regexp.Find", 2, 2, find),
    walk("regexp.FindAll", 2, 3, find_all),
    walk("regexp.Replace", 3, 3, |values| replace(values, Replacement::Expanded)),
    walk("regexp.ReplaceLiteral", 3, 3, |values| replace(values, Replacement::Literal)),
    walk("regexp.Split", 2, 3, split),
    walk("regexp.QuoteMeta", 1, 1, |values| Ok(quote(&to_text(&values[0])).into())),
];

fn compiled(expression: &Value) -> Result<Regex, Trouble> {
    /// What a compiled expression may take in memory.
    const SIZE: usize = 1 << 20;
    let text = text_of(expression, "a regular expression")?;
    let limits = Config::new().nfa_size_limit(Some(SIZE)).onepass_size_limit(Some(SIZE)).hybrid_cache_capacity(SIZE);
    let syntax = syntax::Config::new().nest_limit(50);
    Regex::builder().configure(limits).syntax(syntax).build(text).map_err(|error| {
        let why = error.syntax_error().map_or_else(|| error.to_string(), |error| first_line(&error.to_string()));
        Trouble::new(format!("`{}` is not a regular expression: {why}", cut(text)))
    })
}

/// The last line says what is wrong; those before are a drawing.
fn first_line(text: &str) -> String {
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
