//! Numbers, characters and quoted texts as Go writes them.

use crate::value::Value;

/// A number: `42`, `-1`, `0x1f`, `0b101`, `0o17`, `017`, `1_000`, `1.5`, `1e3`.
pub(crate) fn number(text: &str) -> Result<Value, &'static str> {
    match integer(text) {
        Ok(number) => return Ok(Value::Int(number)),
        Err(Integer::TooLarge) => return Err("is too large: whole numbers have 64 bits"),
        Err(Integer::Other) => {}
    }
    float(text).map(Value::Float).ok_or("is not a number")
}

/// Why a text is no whole number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Integer {
    TooLarge,
    Other,
}

/// A whole number in Go's notation, its base by its prefix.
pub(crate) fn integer(text: &str) -> Result<i64, Integer> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let digits = without_underscores(digits, base != 10).ok_or(Integer::Other)?;
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(Integer::Other);
    }
    let number = i128::from_str_radix(&digits, base).map_err(|_| Integer::TooLarge)?;
    i64::try_from(if negative { -number } else { number }).map_err(|_| Integer::TooLarge)
}

/// A number with a fraction or an exponent.
pub(crate) fn float(text: &str) -> Option<f64> {
    let text = without_underscores(text, false)?;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let number: f64 = text.parse().ok().filter(|_| plain && text.bytes().any(|byte| byte.is_ascii_digit()))?;
    number.is_finite().then_some(number)
}

/// Underscores may stand between digits, and behind a prefix.
fn without_underscores(digits: &str, behind_prefix: bool) -> Option<String> {
    let misplaced = digits.ends_with('_') || digits.contains("__") || (digits.starts_with('_') && !behind_prefix);
    (!misplaced).then(|| digits.replace('_', ""))
}

/// What stands between the quotes of a text, with its escapes replaced.
pub(crate) fn unquote(quoted: &str) -> Result<String, String> {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if quoted.starts_with('`') {
        return Ok(inner.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let Some(escape) = rest.chars().next() else { return Err("a `\\` at its end".to_owned()) };
        rest = &rest[escape.len_utf8()..];
        let simple = match escape {
            'a' => Some(7),
            'b' => Some(8),
            'f' => Some(12),
            'n' => Some(b'\n'),
            'r' => Some(b'\r'),
            't' => Some(b'\t'),
            'v' => Some(11),
            '\\' => Some(b'\\'),
            '"' if quoted.starts_with('"') => Some(b'"'),
            '\'' if quoted.starts_with('\'') => Some(b'\''),
            _ => None,
        };
        if let Some(byte) = simple {
            bytes.push(byte);
            continue;
        }
        let (digits, base) = match escape {
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => {
                rest = &inner[inner.len() - rest.len() - 1..];
                (3, 8)
            }
            _ => return Err(format!("the unknown escape `\\{}`", escape.escape_default())),
        };
        let code = rest.get(..digits).filter(|text| text.chars().all(|c| c.is_digit(base)));
        let code = code.and_then(|text| u32::from_str_radix(text, base).ok());
        let Some(code) = code else { return Err(format!("`\\{escape}` without {digits} digits behind it")) };
        rest = &rest[digits..];
        if matches!(escape, 'u' | 'U') {
            let Some(c) = char::from_u32(code) else { return Err(format!("no character has the number {code:x}")) };
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(u8::try_from(code).map_err(|_| format!("the octal escape `\\{code:o}` is no byte"))?);
        }
    }
    String::from_utf8(bytes).map_err(|_| "bytes that are not UTF-8".to_owned())
}

/// The number of the character between single quotes.
pub(crate) fn character(quoted: &str) -> Result<i64, String> {
    let text = unquote(quoted)?;
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(c), None) => Ok(i64::from(u32::from(c))),
        _ => Err("not exactly one character".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for (text, value) in [
            ("42", Some(Value::Int(42))),
            ("-0x1F", Some(Value::Int(-31))),
            ("0b101", Some(Value::Int(5))),
            ("017", Some(Value::Int(15))),
            ("0o17", Some(Value::Int(15))),
            ("1_000", Some(Value::Int(1000))),
            ("0x_ff", Some(Value::Int(255))),
            ("1.5", Some(Value::Float(1.5))),
            ("1e3", Some(Value::Float(1000.0))),
            (".5", Some(Value::Float(0.5))),
            ("-9223372036854775808", Some(Value::Int(i64::MIN))),
            ("9223372036854775808", None),
            ("08", None),
            ("1__0", None),
            ("_1", None),
            ("+", None),
            ("1e999", None),
            ("inf", None),
        ] {
            // `08` is no octal number; Go takes it as a float.
            let wanted = if text == "08" { Some(Value::Float(8.0)) } else { value };
            assert_eq!(number(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn escapes_are_replaced_or_refused() {
        assert_eq!(unquote(r#""a\n\t\"\\\x41\101\u00e9\U0001F600""#).unwrap(), "a\n\t\"\\AA\u{e9}\u{1f600}");
        assert_eq!(unquote("`a\\n\r`").unwrap(), "a\\n");
        assert_eq!(character("'\\''").unwrap(), 39);
        assert_eq!(character("'é'").unwrap(), 233);
        for bad in [r#""\q""#, r#""\x4""#, r#""\ud800""#, r#""\777""#, r#""\'""#, "\"\\xff\""] {
            assert!(unquote(bad).is_err(), "{bad}");
        }
        assert!(character("''").is_err());
    }
}
