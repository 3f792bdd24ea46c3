//! Values as JSON, and texts as they stand in HTML, JavaScript and addresses.

use std::fmt::Write;

use super::{Answer, Function, family, text_of, walk};
use crate::MAX_OUTPUT;
use crate::format;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    family("data."),
    walk("ToJSON", 1, 1, |values| Ok(json(&values[0], None).into())),
    walk("toJSON", 1, 1, |values| Ok(json(&values[0], None).into())),
    walk("data.ToJSON", 1, 1, |values| Ok(json(&values[0], None).into())),
    walk("ToJSONPretty", 3, 3, json_pretty),
    walk("toJSONPretty", 2, 2, |values| json_pretty(&[values[1].clone(), Value::text(""), values[0].clone()])),
    walk("data.ToJSONPretty", 2, 2, |values| json_pretty(&[values[1].clone(), Value::text(""), values[0].clone()])),
];

/// `ToJSONPretty value prefix indent`: the prefix before each line but the first.
fn json_pretty(values: &[Value]) -> Answer {
    let prefix = text_of(&values[1], "the prefix of the lines")?;
    let indent = text_of(&values[2], "the indentation")?;
    Ok(json(&values[0], Some((prefix, indent))).into())
}

/// JSON with its keys in order. Cut when it becomes too long, which the caller notices.
fn json(value: &Value, lines: Option<(&str, &str)>) -> String {
    let mut out = String::new();
    write_json(&mut out, value, lines, 0);
    out
}

fn write_json(out: &mut String, value: &Value, lines: Option<(&str, &str)>, depth: usize) {
    if out.len() > MAX_OUTPUT {
        return;
    }
    let line = |out: &mut String, depth: usize| {
        if let Some((prefix, indent)) = lines {
            out.push('\n');
            out.push_str(prefix);
            out.push_str(&indent.repeat(depth));
        }
    };
    match value {
        Value::Missing | Value::Nil => out.push_str("null"),
        Value::Bool(value) => {
            let _ = write!(out, "{value}");
        }
        Value::Int(number) => {
            let _ = write!(out, "{number}");
        }
        Value::Float(number) => out.push_str(&json_float(*number)),
        Value::Text(text) => json_text(out, text),
        Value::List(list) if list.items().is_empty() => out.push_str("[]"),
        Value::List(list) => {
            out.push('[');
            for (index, item) in list.items().iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                line(out, depth + 1);
                write_json(out, item, lines, depth + 1);
            }
            line(out, depth);
            out.push(']');
        }
        Value::Map(map) if map.entries().is_empty() => out.push_str("{}"),
        Value::Map(map) => {
            out.push('{');
            for (index, (key, item)) in map.entries().iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                line(out, depth + 1);
                json_text(out, key);
                out.push_str(if lines.is_some() { ": " } else { ":" });
                write_json(out, item, lines, depth + 1);
            }
            line(out, depth);
            out.push('}');
        }
    }
}

/// As JavaScript writes numbers: an exponent below 1e-6 and from 1e21 on, without a zero before its digits.
fn json_float(number: f64) -> String {
    if !number.is_finite() {
        return "null".to_owned();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format::shortest(number, -5);
        return text.replace("e-0", "e-").replace("e+0", "e+");
    }
    format!("{number}")
}

/// A text with the characters escaped that Go escapes: also those that mean something in HTML.
fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            '\u{8}' => write!(out, "\\b"),
            '\u{c}' => write!(out, "\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => write!(out, "\\u{:04x}", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
}

/// What the escaping functions work on: what `print` writes, but nothing as actions write it.
pub(super) fn joined(values: &[Value]) -> String {
    let shown = |value: &Value| if value.is_nothing() { Value::text("<no value>") } else { value.clone() };
    format::print(&values.iter().map(shown).collect::<Vec<_>>())
}

pub(super) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

pub(super) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let _ = match c {
            '\\' | '\'' | '"' => write!(out, "\\{c}"),
            '<' | '>' | '&' | '=' | '\0'..='\u{1f}' => write!(out, "\\u{:04X}", u32::from(c)),
            c if c.is_ascii() || c.is_alphanumeric() => write!(out, "{c}"),
            c => write!(out, "\\u{:04X}", u32::from(c)),
        };
    }
    out
}

pub(super) fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => write!(out, "{}", char::from(byte)),
            b' ' => write!(out, "+"),
            byte => write!(out, "%{byte:02X}"),
        };
    }
    out
}
