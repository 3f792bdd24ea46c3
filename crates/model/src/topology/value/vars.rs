//! Free data: the types that YAML 1.1 gives to what is not in quotes.

use serde_json::{Map, Number, Value as Json};

use super::super::diagnostic::Path;
use super::super::reader::{Cx, Read};
use super::super::tree::{Data, Value};

/// One value of free data.
#[derive(Debug, Clone)]
pub(in super::super) struct Var(pub(in super::super) Json);

impl Read for Var {
    fn read(value: &Value<'_>, _at: &Path<'_>, _cx: &mut Cx<'_>) -> Option<Self> {
        Some(Self(typed(value)))
    }

    fn empty() -> Option<Self> {
        Some(Self(Json::Null))
    }
}

/// Not deeper than the tree is, which is bounded.
fn typed(value: &Value<'_>) -> Json {
    match &value.data {
        Data::Null | Data::Broken => Json::Null,
        Data::Text(text) if value.quoted => Json::String((*text).to_owned()),
        Data::Text(text) => scalar(text),
        Data::List(items) => Json::Array(items.iter().map(|item| typed(item)).collect()),
        Data::Map(entries) => {
            Json::Object(entries.iter().map(|entry| (entry.key.to_owned(), typed(&entry.value))).collect::<Map<_, _>>())
        }
    }
}

fn scalar(text: &str) -> Json {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => return Json::Bool(true),
        "false" | "no" | "off" => return Json::Bool(false),
        _ => {}
    }
    integer(text).or_else(|| float(text)).map_or_else(|| Json::String(text.to_owned()), Json::Number)
}

/// Decimal, `0x`, `0o` or `0b`; with `_` between digits. A leading zero is left as text: its base is disputed.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (base, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0o") => (8, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') => return None,
        _ => (10, digits),
    };
    let digits = digits.replace('_', "");
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    let number = u64::from_str_radix(&digits, base).ok()?;
    if !negative {
        return Some(number.into());
    }
    i64::try_from(-i128::from(number)).ok().map(Number::from)
}

/// A number with a point or an exponent. Infinities and NaN have no JSON and stay text.
fn float(text: &str) -> Option<Number> {
    let digits = text.trim_start_matches(['-', '+']);
    let numeric = text.chars().all(|c| c.is_ascii_digit() || "+-.eE".contains(c));
    let begins = digits.starts_with(|c: char| c.is_ascii_digit()) || digits.starts_with('.');
    if !numeric || !begins || !text.contains(['.', 'e', 'E']) {
        return None;
    }
    Number::from_f64(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::scalar;

    #[test]
    fn plain_scalars_have_the_types_of_yaml() {
        for (text, value) in [
            ("10", json!(10)),
            ("-3", json!(-3)),
            ("0x1f", json!(31)),
            ("1_000", json!(1000)),
            ("1.5", json!(1.5)),
            ("1e3", json!(1000.0)),
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("007", json!("007")),
            ("10.0.0.1", json!("10.0.0.1")),
            ("22:22", json!("22:22")),
            ("e", json!("e")),
            (".nan", json!(".nan")),
            ("18446744073709551616", json!("18446744073709551616")),
        ] {
            assert_eq!(scalar(text), value, "{text}");
        }
    }
}
