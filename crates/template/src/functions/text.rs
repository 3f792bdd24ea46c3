//! Texts: what they begin with, their parts, their case. In families the text comes last, for pipelines; the plain
//! names that Go's own library has (`contains`, `hasPrefix`, `hasSuffix`, `split`, `splitN`, `trim`) take it first.

use super::convert::{to_int, to_text};
use super::{Answer, Function, MANY, family, text_of, walk};
use crate::MAX_OUTPUT;
use crate::error::Trouble;
use crate::format;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    family("strings."),
    walk("strings.ToUpper", 1, 1, |values| Ok(to_text(&values[0]).to_uppercase().into())),
    walk("toUpper", 1, 1, |values| Ok(to_text(&values[0]).to_uppercase().into())),
    walk("strings.ToLower", 1, 1, |values| Ok(to_text(&values[0]).to_lowercase().into())),
    walk("toLower", 1, 1, |values| Ok(to_text(&values[0]).to_lowercase().into())),
    walk("strings.Title", 1, 1, title),
    walk("title", 1, 1, title),
    walk("strings.TrimSpace", 1, 1, |values| Ok(to_text(&values[0]).trim().into())),
    walk("trimSpace", 1, 1, |values| Ok(to_text(&values[0]).trim().into())),
    walk("strings.Trim", 2, 2, |values| trimmed(values, Side::Both)),
    walk("strings.TrimLeft", 2, 2, |values| trimmed(values, Side::Left)),
    walk("strings.TrimRight", 2, 2, |values| trimmed(values, Side::Right)),
    walk("trim", 2, 2, |values| trimmed(&turned(values), Side::Both)),
    walk("strings.TrimPrefix", 2, 2, without_prefix),
    walk("strings.TrimSuffix", 2, 2, without_suffix),
    walk("strings.Contains", 2, 2, |values| test(values, |text, part| text.contains(part))),
    walk("contains", 2, 2, |values| test(&turned(values), |text, part| text.contains(part))),
    walk("strings.HasPrefix", 2, 2, |values| test(values, |text, part| text.starts_with(part))),
    walk("hasPrefix", 2, 2, |values| test(&turned(values), |text, part| text.starts_with(part))),
    walk("strings.HasSuffix", 2, 2, |values| test(values, |text, part| text.ends_with(part))),
    walk("hasSuffix", 2, 2, |values| test(&turned(values), |text, part| text.ends_with(part))),
    walk("strings.Split", 2, 2, |values| split(&values[0], None, &values[1])),
    walk("split", 2, 2, |values| split(&values[1], None, &values[0])),
    walk("strings.SplitN", 3, 3, |values| split(&values[0], Some(&values[1]), &values[2])),
    walk("splitN", 3, 3, |values| split(&values[1], Some(&values[2]), &values[0])),
    walk("strings.ReplaceAll", 3, 3, replace),
    walk("replaceAll", 3, 3, replace),
    walk("strings.Repeat", 2, 2, repeat),
    walk("repeat", 2, 2, repeat),
    walk("strings.Indent", 1, 3, indent),
    walk("indent", 1, 3, indent),
    walk("strings.Quote", 1, 1, |values| Ok(format::quoted(&to_text(&values[0]), false).into())),
    walk("quote", 1, 1, |values| Ok(format::quoted(&to_text(&values[0]), false).into())),
    walk("strings.Squote", 1, 1, squote),
    walk("squote", 1, 1, squote),
    walk("strings.ShellQuote", 1, 1, shell_quote),
    walk("shellQuote", 1, 1, shell_quote),
    walk("strings.Trunc", 2, 2, truncate),
    walk("strings.SkipLines", 2, 2, skip_lines),
    walk("strings.RuneCount", 0, MANY, count),
    walk("strings.CamelCase", 1, 1, |values| Ok(camel_case(&to_text(&values[0])).into())),
    walk("strings.SnakeCase", 1, 1, |values| Ok(joined_words(&to_text(&values[0]), "_").into())),
    walk("strings.KebabCase", 1, 1, |values| Ok(joined_words(&to_text(&values[0]), "-").into())),
];

/// Whether a text of this many bytes may be made.
pub(super) fn within_limits(bytes: usize) -> Result<(), Trouble> {
    if bytes > MAX_OUTPUT {
        return Err(Trouble::new(format!("this makes a text of more than {MAX_OUTPUT} bytes")));
    }
    Ok(())
}

fn turned(values: &[Value]) -> [Value; 2] {
    [values[1].clone(), values[0].clone()]
}

fn test(values: &[Value], holds: fn(&str, &str) -> bool) -> Answer {
    Ok(holds(&to_text(&values[1]), &to_text(&values[0])).into())
}

/// Which end of a text is trimmed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
    Both,
}

fn trimmed(values: &[Value], side: Side) -> Answer {
    let (set, text) = (text_of(&values[0], "the characters to trim")?, to_text(&values[1]));
    let in_set = |c: char| set.contains(c);
    let mut rest = text.as_str();
    if side != Side::Right {
        rest = rest.trim_start_matches(in_set);
    }
    if side != Side::Left {
        rest = rest.trim_end_matches(in_set);
    }
    Ok(rest.into())
}

fn without_prefix(values: &[Value]) -> Answer {
    let (prefix, text) = (to_text(&values[0]), to_text(&values[1]));
    Ok(text.strip_prefix(&prefix).unwrap_or(&text).into())
}

fn without_suffix(values: &[Value]) -> Answer {
    let (suffix, text) = (to_text(&values[0]), to_text(&values[1]));
    Ok(text.strip_suffix(&suffix).unwrap_or(&text).into())
}

/// Every word with a capital.
fn title(values: &[Value]) -> Answer {
    let mut begins = true;
    let mut out = String::new();
    for c in to_text(&values[0]).chars() {
        if begins {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        begins = !(c.is_alphanumeric() || c == '_' || c == '\'');
    }
    Ok(out.into())
}

fn split(separator: &Value, limit: Option<&Value>, text: &Value) -> Answer {
    let (separator, text) = (text_of(separator, "the separator")?, to_text(text));
    let limit = match limit.map(to_int).transpose()? {
        Some(0) => return Ok(Value::list(Vec::new())),
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    if !separator.is_empty() {
        return Ok(Value::list(text.splitn(limit, separator).map(Value::from).collect()));
    }
    let mut parts: Vec<Value> = Vec::new();
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        let end = if parts.len() + 1 < limit { c.len_utf8() } else { rest.len() };
        parts.push(rest[..end].into());
        rest = &rest[end..];
    }
    Ok(Value::list(parts))
}

/// `replaceAll old new text`.
fn replace(values: &[Value]) -> Answer {
    let [old, new, text] = [&values[0], &values[1], &values[2]].map(to_text);
    let places = if old.is_empty() { text.chars().count() + 1 } else { text.matches(&old).count() };
    within_limits(text.len().saturating_add(places.saturating_mul(new.len())))?;
    Ok(text.replace(&old, &new).into())
}

/// `repeat count text`.
fn repeat(values: &[Value]) -> Answer {
    let (count, text) = (to_int(&values[0])?, to_text(&values[1]));
    let count = usize::try_from(count).map_err(|_| Trouble::new(format!("a text cannot be repeated {count} times")))?;
    within_limits(count.saturating_mul(text.len()))?;
    Ok(text.repeat(count).into())
}

/// `indent text`, `indent width text`, `indent "with" text`, `indent width "with" text`: before each line that is
/// not empty.
fn indent(values: &[Value]) -> Answer {
    let (width, with) = match values {
        [_] => (1, " ".to_owned()),
        [Value::Text(with), _] => (1, with.to_string()),
        [width, _] => (to_int(width)?, " ".to_owned()),
        [width, with, ..] => (to_int(width)?, text_of(with, "what a text is indented with")?.to_owned()),
        [] => (0, String::new()),
    };
    let text = values.last().map(to_text).unwrap_or_default();
    let width = usize::try_from(width).map_err(|_| Trouble::new(format!("{width} is no width")))?;
    if with.contains('\n') {
        return Err(Trouble::new("a text cannot be indented with line ends"));
    }
    let lines = text.matches('\n').count() + 1;
    within_limits(text.len().saturating_add(lines.saturating_mul(width.saturating_mul(with.len()))))?;
    let before = with.repeat(width);
    let mut out = String::new();
    for line in text.split_inclusive('\n') {
        if line != "\n" {
            out.push_str(&before);
        }
        out.push_str(line);
    }
    Ok(out.into())
}

fn squote(values: &[Value]) -> Answer {
    Ok(format!("'{}'", to_text(&values[0]).replace('\'', "''")).into())
}

/// One word for a POSIX shell; a list becomes several.
fn shell_quote(values: &[Value]) -> Answer {
    let quote = |value: &Value| format!("'{}'", to_text(value).replace('\'', "'\"'\"'"));
    match &values[0] {
        Value::List(list) => Ok(list.items().iter().map(quote).collect::<Vec<_>>().join(" ").into()),
        value => Ok(quote(value).into()),
    }
}

/// `strings.Trunc length text`: at most that many bytes, in whole characters.
fn truncate(values: &[Value]) -> Answer {
    let (length, text) = (to_int(&values[0])?, to_text(&values[1]));
    let Ok(mut end) = usize::try_from(length) else { return Ok(text.into()) };
    end = end.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Ok(text[..end].into())
}

fn skip_lines(values: &[Value]) -> Answer {
    let (skip, text) = (to_int(&values[0])?, to_text(&values[1]));
    let skip = usize::try_from(skip).map_err(|_| Trouble::new(format!("{skip} lines cannot be skipped")))?;
    Ok(text.split_inclusive('\n').skip(skip).collect::<String>().into())
}

fn count(values: &[Value]) -> Answer {
    let count: usize = values.iter().map(|value| to_text(value).chars().count()).sum();
    Ok(i64::try_from(count).unwrap_or(i64::MAX).into())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn joined_words(text: &str, between: &str) -> String {
    words(text).collect::<Vec<_>>().join(between)
}

fn camel_case(text: &str) -> String {
    let mut out = String::new();
    for (index, word) in words(text).enumerate() {
        let mut characters = word.chars();
        match characters.next() {
            Some(first) if index > 0 => out.extend(first.to_uppercase()),
            first => out.extend(first),
        }
        out.push_str(characters.as_str());
    }
    out
}
