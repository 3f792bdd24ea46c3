//! Whole numbers as the format's usual reader takes them: what YAML 1.1 and 1.2 have together.
//!
//! Go's `yaml.v2` and `yaml.v3` leave `_` out and read the rest with the prefixes of Go (`strconv.ParseInt`, base 0):
//! `0x10` is 16, `0o10` and `010` are 8, `0b10` is 2. `089` is no octal number, and a decimal one to them.

use super::super::diagnostic::{Code, Path, cut};
use super::super::reader::Cx;
use super::super::tree::Value;

/// A number that a text may be taken for by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Plain(u64),
    /// It begins with `0`, and in decimal digits it would be another one.
    Octal(u64, u64),
}

/// The number that a text is, if it is one and fits. That it may be another than it seems is said.
pub(in super::super) fn whole<T: TryFrom<u64>>(
    value: &Value<'_>,
    text: &str,
    at: &Path<'_>,
    cx: &mut Cx<'_>,
) -> Option<T> {
    let number = match parse(text)? {
        Reading::Plain(number) => number,
        Reading::Octal(number, decimal) => {
            cx.report
                .warning(Code::InvalidValue, value.span, at, format!("`{}` is {number}: it begins with `0`", cut(text)))
                .label("an octal number")
                .help(format!("write `{decimal}` if that is meant, else `{number}` or `0o{number:o}`"));
            number
        }
    };
    T::try_from(number).ok()
}

fn parse(text: &str) -> Option<Reading> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let digits = digits.replace('_', "");
    let in_base = |base, digits: &str| {
        let all = digits.chars().all(|c| c.is_digit(base));
        all.then(|| u64::from_str_radix(digits, base).ok()).flatten()
    };
    let prefixed = |base| in_base(base, &digits[2..]).map(Reading::Plain);
    match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => prefixed(16),
        [b'0', b'o' | b'O', ..] => prefixed(8),
        [b'0', b'b' | b'B', ..] => prefixed(2),
        _ => {
            let decimal = in_base(10, &digits)?;
            let octal = in_base(8, &digits).filter(|octal| digits.starts_with('0') && *octal != decimal);
            Some(octal.map_or(Reading::Plain(decimal), |octal| Reading::Octal(octal, decimal)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_as_go_reads_them() {
        for (text, number) in [
            ("0", 0),
            ("42", 42),
            ("+42", 42),
            ("1_500", 1500),
            ("0x10", 16),
            ("0XfF", 255),
            ("0o10", 8),
            ("0b101", 5),
            ("0x_ff", 255),
            ("007", 7),
            ("00", 0),
            ("089", 89),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Some(Reading::Plain(number)), "{text}");
        }
        assert_eq!(parse("010"), Some(Reading::Octal(8, 10)));
        assert_eq!(parse("0_1500"), Some(Reading::Octal(832, 1500)));
        for text in
            ["", "+", "-1", "_1", "0x", "0x1g", "0o8", "0b2", "1 0", "1.5", "ten", "é", "0é", "18446744073709551616"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
