//! The data of templates: YAML, and so JSON too, as values with the types that YAML 1.1 gives them.

use std::collections::HashMap;

use netloom_template::Value as Datum;

use super::diagnostic::{Code, Diagnostic, Path, Report};
use super::tree::{self, Data, Value};

/// Reads a file of data. JSON is YAML too. The top is a map, or nothing at all.
///
/// # Errors
///
/// All that is wrong with it.
pub fn read_vars(text: &[u8]) -> Result<Datum, Vec<Diagnostic>> {
    let mut report = Report::new();
    let datum = parse(text, &mut report);
    match datum {
        Some(datum) if !report.has_errors() => Ok(datum),
        _ => Err(report.finish()),
    }
}

fn parse(bytes: &[u8], report: &mut Report) -> Option<Datum> {
    let text = super::text::decode(bytes, report)?;
    let made = tree::parse(text, report, |root, report| {
        if !matches!(root.data, Data::Map(_) | Data::Null) {
            let message = format!("the data of templates is a map, and this is {}", root.describe());
            report.error(Code::WrongType, root.span, &Path::Root, message).help("write `name: value`, one per line");
            return None;
        }
        Some(datum(root, &mut Shared::new()))
    });
    made.flatten()
}

/// Values of the tree that aliases share, by where they are in memory, with what became of them.
type Shared = HashMap<usize, Datum>;

/// The tree counts its depth, so this ends; what is shared there is shared here.
fn datum(value: &Value<'_>, shared: &mut Shared) -> Datum {
    let place = if value.anchored { place(value) } else { None };
    if let Some(before) = place.and_then(|place| shared.get(&place)) {
        return before.clone();
    }
    let made = match value.data {
        Data::Null | Data::Broken => Datum::Nil,
        Data::Text(text) if !value.quoted => scalar(text),
        Data::Text(text) => Datum::from(text),
        Data::List(items) => Datum::list(items.iter().map(|item| datum(item, shared)).collect()),
        Data::Map(entries) => {
            Datum::map(entries.iter().map(|entry| (entry.key.to_owned(), datum(&entry.value, shared))).collect())
        }
    };
    if let Some(place) = place {
        shared.insert(place, made.clone());
    }
    made
}

/// Where what is in a value is in memory; it is there once, and aliases have it from there.
fn place(value: &Value<'_>) -> Option<usize> {
    match value.data {
        Data::Null | Data::Broken => None,
        Data::Text(text) => Some(text.as_ptr().addr()).filter(|_| !text.is_empty()),
        Data::List(items) => Some(items.as_ptr().addr()).filter(|_| !items.is_empty()),
        Data::Map(entries) => Some(entries.as_ptr().addr()).filter(|_| !entries.is_empty()),
    }
}

/// What a word without quotes is.
fn scalar(text: &str) -> Datum {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return true.into(),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return false.into(),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return f64::INFINITY.into(),
        "-.inf" | "-.Inf" | "-.INF" => return f64::NEG_INFINITY.into(),
        ".nan" | ".NaN" | ".NAN" => return f64::NAN.into(),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
        return Datum::from(text);
    }
    let plain = text.replace('_', "");
    whole(&plain).map(Datum::from).or_else(|| real(&plain).map(Datum::from)).unwrap_or_else(|| Datum::from(text))
}

fn whole(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    let number = i128::from_str_radix(digits, base).ok()?;
    i64::try_from(if negative { -number } else { number }).ok()
}

fn real(text: &str) -> Option<f64> {
    let digits = text.trim_start_matches(['+', '-']);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let number =
        digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.contains(|c: char| c.is_ascii_digit());
    text.parse().ok().filter(|_| plain && number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_keeps_its_types() {
        let text = "a: 1\nb: 1.5\nc: yes\nd: off\ne: text\nf: \"1\"\ng: 22:22\nh: 0x1f\ni: 017\nj: ~\nk: 1_000\nl: 1e3\nm: 'no'\nn: !!str 5\no: 1.2.3\np: -4\nq: 10.0.0.1/24\nr: [1, two, { x: 3 }]\ns: 2026-01-01\n";
        let data = read_vars(text.as_bytes()).unwrap();
        let Datum::Map(map) = &data else { panic!() };
        let text = |text: &str| Datum::from(text);
        for (key, wanted) in [
            ("a", 1.into()),
            ("b", 1.5.into()),
            ("c", true.into()),
            ("d", false.into()),
            ("e", text("text")),
            ("f", text("1")),
            ("g", text("22:22")),
            ("h", 31.into()),
            ("i", 15.into()),
            ("j", Datum::Nil),
            ("k", 1000.into()),
            ("l", 1000.0.into()),
            ("m", text("no")),
            ("n", text("5")),
            ("o", text("1.2.3")),
            ("p", (-4).into()),
            ("q", text("10.0.0.1/24")),
            ("s", text("2026-01-01")),
        ] {
            assert_eq!(map.entries()[key], wanted, "{key}");
        }
        assert_eq!(read_vars(b"{\"a\": [1, 2.5, true, null]}").unwrap(), {
            let list = Datum::list(vec![1.into(), 2.5.into(), true.into(), Datum::Nil]);
            Datum::map([("a".to_owned(), list)].into())
        });
        assert_eq!(read_vars(b"").unwrap(), Datum::Nil);
        assert_eq!(read_vars(b"- a\n").unwrap_err()[0].code, Code::WrongType);
        assert_eq!(read_vars(b"a: 1\na: 2\n").unwrap_err()[0].code, Code::DuplicateKey);
    }
}
