//! `print`, `println` and `printf` as Go's fmt does them.
//!
//! What goes wrong stands in the output, as in Go: `%!d(string=a)`, `%!s(MISSING)`. The output is cut at
//! [`MAX_OUTPUT`](crate::MAX_OUTPUT), which the caller notices.

use std::fmt::Write;

use crate::MAX_OUTPUT;
use crate::value::Value;

/// The operands, with a space between two that are both no texts.
pub(crate) fn print(values: &[Value]) -> String {
    let mut out = Printer::default();
    for (index, value) in values.iter().enumerate() {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if index > 0 && !is_text(value) && !is_text(&values[index - 1]) {
            out.text.push(' ');
        }
        out.value(value, 'v', Spec::default(), 0);
    }
    out.text
}

/// The operands with a space between them, and a line end.
pub(crate) fn print_line(values: &[Value]) -> String {
    let mut out = Printer::default();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.text.push(' ');
        }
        out.value(value, 'v', Spec::default(), 0);
    }
    out.text.push('\n');
    out.text
}

/// One value as it is printed by an action.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Missing | Value::Nil => "<no value>".to_owned(),
        Value::Text(text) => text.to_string(),
        value => print(std::slice::from_ref(value)),
    }
}

/// The flags, width and precision of a verb.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own in the format")]
struct Spec {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// The largest width and precision that Go takes.
const MAX_WIDTH: usize = 1_000_000;

/// The operands as a format says.
pub(crate) fn printf(format: &str, values: &[Value]) -> String {
    let mut out = Printer::default();
    let mut operands = Operands { values, next: 0, reordered: false, good: true };
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if out.is_full() {
            return out.text;
        }
        rest = out.directive(rest, &mut operands);
    }
    out.text.push_str(rest);
    if !operands.reordered && operands.next < values.len() {
        out.text.push_str("%!(EXTRA ");
        for (index, value) in values[operands.next..].iter().enumerate() {
            if index > 0 {
                out.text.push_str(", ");
            }
            if value.is_nothing() {
                out.text.push_str("<nil>");
                continue;
            }
            out.text.push_str(value.go_type());
            out.text.push('=');
            out.value(value, 'v', Spec::default(), 0);
        }
        out.text.push(')');
    }
    out.text
}

struct Operands<'v> {
    values: &'v [Value],
    next: usize,
    /// Whether `[n]` was used.
    reordered: bool,
    /// Whether the last `[n]` named an operand.
    good: bool,
}

impl<'v> Operands<'v> {
    fn take(&mut self) -> Option<&'v Value> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        Some(value)
    }

    /// `[n]` at the begin of `rest`.
    fn index<'f>(&mut self, rest: &'f str) -> (&'f str, bool) {
        let Some(inner) = rest.strip_prefix('[') else { return (rest, false) };
        self.reordered = true;
        let Some((number, behind)) = inner.split_once(']') else {
            self.good = false;
            return (inner, false);
        };
        match number.parse::<usize>() {
            Ok(number) if (1..=self.values.len()).contains(&number) => self.next = number - 1,
            _ => self.good = false,
        }
        (behind, true)
    }
}

fn digits(rest: &str) -> (Option<usize>, &str) {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    if end == 0 {
        return (None, rest);
    }
    (Some(rest[..end].parse().unwrap_or(usize::MAX)), &rest[end..])
}

#[derive(Default)]
struct Printer {
    text: String,
}

impl Printer {
    fn is_full(&self) -> bool {
        self.text.len() > MAX_OUTPUT
    }

    /// What follows on a `%`; gives what is behind it.
    fn directive<'f>(&mut self, format: &'f str, operands: &mut Operands<'_>) -> &'f str {
        let mut spec = Spec::default();
        let mut rest = format;
        operands.good = true;
        while let Some(flag) = rest.chars().next() {
            match flag {
                '+' => spec.plus = true,
                '-' => (spec.minus, spec.zero) = (true, false),
                '#' => spec.sharp = true,
                ' ' => spec.space = true,
                '0' => spec.zero = !spec.minus,
                _ => break,
            }
            rest = &rest[1..];
        }
        let mut indexed;
        (rest, indexed) = operands.index(rest);
        if let Some(behind) = rest.strip_prefix('*') {
            rest = behind;
            match star(operands) {
                Some(width) => {
                    spec.minus |= width < 0;
                    spec.zero &= width >= 0;
                    spec.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => self.text.push_str("%!(BADWIDTH)"),
            }
            indexed = false;
        } else {
            let (width, behind) = digits(rest);
            if width.is_some() && indexed {
                operands.good = false;
            }
            (spec.width, rest) = (width.filter(|width| *width <= MAX_WIDTH), behind);
            if width.is_some() && spec.width.is_none() {
                self.text.push_str("%!(BADWIDTH)");
            }
        }
        if let Some(behind) = rest.strip_prefix('.') {
            rest = behind;
            if indexed {
                operands.good = false;
            }
            (rest, indexed) = operands.index(rest);
            if let Some(behind) = rest.strip_prefix('*') {
                rest = behind;
                match star(operands) {
                    Some(precision @ 0..) => spec.precision = usize::try_from(precision).ok(),
                    _ => self.text.push_str("%!(BADPREC)"),
                }
                indexed = false;
            } else {
                let (precision, behind) = digits(rest);
                rest = behind;
                spec.precision = Some(precision.unwrap_or(0)).filter(|precision| *precision <= MAX_WIDTH);
                if spec.precision.is_none() {
                    self.text.push_str("%!(BADPREC)");
                }
            }
        }
        if !indexed {
            (rest, _) = operands.index(rest);
        }
        let Some(verb) = rest.chars().next() else {
            self.text.push_str("%!(NOVERB)");
            return rest;
        };
        rest = &rest[verb.len_utf8()..];
        if verb == '%' {
            self.text.push('%');
        } else if !operands.good {
            let _ = write!(self.text, "%!{verb}(BADINDEX)");
        } else if let Some(value) = operands.take() {
            self.operand(value, verb, spec);
        } else {
            let _ = write!(self.text, "%!{verb}(MISSING)");
        }
        rest
    }

    fn operand(&mut self, value: &Value, verb: char, spec: Spec) {
        match verb {
            'T' => self.pad(value.go_type(), spec),
            'v' if spec.sharp => self.value(value, '#', Spec { sharp: false, ..spec }, 0),
            'v' => self.value(value, 'v', Spec { plus: false, ..spec }, 0),
            verb => self.value(value, verb, spec, 0),
        }
    }

    /// `#` is the verb `%#v`.
    fn value(&mut self, value: &Value, verb: char, spec: Spec, depth: usize) {
        if self.is_full() {
            return;
        }
        match (value, verb) {
            (Value::Missing | Value::Nil, '#') if depth > 0 => self.pad("interface {}(nil)", spec),
            (Value::Missing | Value::Nil, _) if depth > 0 => self.text.push_str("<nil>"),
            (Value::Missing | Value::Nil, 'v' | '#') => self.pad("<nil>", spec),
            (Value::Missing | Value::Nil, verb) => {
                let _ = write!(self.text, "%!{verb}(<nil>)");
            }
            (Value::Bool(value), 't' | 'v' | '#') => self.pad(if *value { "true" } else { "false" }, spec),
            (Value::Int(number), _) => self.integer(*number, verb, spec, value),
            (Value::Float(number), _) => self.float(*number, verb, spec, value),
            (Value::Text(text), _) => self.string(text, verb, spec, value),
            (Value::List(list), verb) => {
                self.text.push_str(if verb == '#' { "[]interface {}{" } else { "[" });
                for (index, item) in list.items().iter().enumerate() {
                    if index > 0 {
                        self.text.push_str(if verb == '#' { ", " } else { " " });
                    }
                    self.value(item, verb, spec, depth + 1);
                }
                self.text.push(if verb == '#' { '}' } else { ']' });
            }
            (Value::Map(map), verb) => {
                self.text.push_str(if verb == '#' { "map[string]interface {}{" } else { "map[" });
                for (index, (key, item)) in map.entries().iter().enumerate() {
                    if index > 0 {
                        self.text.push_str(if verb == '#' { ", " } else { " " });
                    }
                    self.value(&Value::from(key.as_str()), verb, spec, depth + 1);
                    self.text.push(':');
                    self.value(item, verb, spec, depth + 1);
                }
                self.text.push(if verb == '#' { '}' } else { ']' });
            }
            (Value::Bool(_), verb) => self.bad(verb, value),
        }
    }

    fn bad(&mut self, verb: char, value: &Value) {
        let _ = write!(self.text, "%!{verb}({}=", value.go_type());
        self.value(value, 'v', Spec::default(), 1);
        self.text.push(')');
    }

    fn pad(&mut self, text: &str, spec: Spec) {
        let length = text.chars().count();
        let missing = spec.width.unwrap_or(0).saturating_sub(length);
        let fill = if spec.zero { "0" } else { " " };
        if spec.minus {
            self.text.push_str(text);
            self.text.push_str(&" ".repeat(missing));
        } else {
            self.text.push_str(&fill.repeat(missing));
            self.text.push_str(text);
        }
    }

    /// A number: zeros of the padding come behind its sign.
    fn pad_number(&mut self, sign: &str, digits: &str, spec: Spec) {
        let length = sign.len() + digits.chars().count();
        let missing = spec.width.unwrap_or(0).saturating_sub(length);
        if spec.zero && !spec.minus {
            let _ = write!(self.text, "{sign}{}{digits}", "0".repeat(missing));
        } else {
            self.pad(&format!("{sign}{digits}"), Spec { zero: false, ..spec });
        }
    }

    fn integer(&mut self, number: i64, verb: char, spec: Spec, value: &Value) {
        let size = number.unsigned_abs();
        let character = || u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
        let digits = match verb {
            'd' | 'v' | '#' => size.to_string(),
            'b' => format!("{}{size:b}", if spec.sharp { "0b" } else { "" }),
            'o' => format!("{}{size:o}", if spec.sharp { "0" } else { "" }),
            'O' => format!("0o{size:o}"),
            'x' => format!("{}{size:x}", if spec.sharp { "0x" } else { "" }),
            'X' => format!("{}{size:X}", if spec.sharp { "0X" } else { "" }),
            'c' => return self.pad(&character().to_string(), spec),
            'q' => return self.pad(&quoted_character(character()), spec),
            'U' => {
                let shown = if spec.sharp { format!(" '{}'", character()) } else { String::new() };
                let digits = format!("{size:04X}");
                return self.pad(&format!("U+{digits}{shown}"), Spec { zero: false, ..spec });
            }
            verb => return self.bad(verb, value),
        };
        let digits = match spec.precision {
            Some(0) if number == 0 => String::new(),
            Some(precision) => format!("{}{digits}", "0".repeat(precision.saturating_sub(digits.len()))),
            None => digits,
        };
        let zero = spec.zero && spec.precision.is_none();
        self.pad_number(sign(number < 0, spec), &digits, Spec { zero, ..spec });
    }

    fn float(&mut self, number: f64, verb: char, spec: Spec, value: &Value) {
        let size = number.abs();
        let digits = match verb {
            'v' | '#' | 'g' | 'G' => general(size, spec.precision, 6),
            'f' | 'F' => format!("{size:.*}", spec.precision.unwrap_or(6)),
            'x' | 'X' if spec.precision.is_none() => hexadecimal(size),
            'e' | 'E' => exponent(&format!("{size:.*e}", spec.precision.unwrap_or(6))),
            verb => return self.bad(verb, value),
        };
        let digits = if verb.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
        self.pad_number(sign(number.is_sign_negative(), spec), &digits, spec);
    }

    fn string(&mut self, text: &str, verb: char, spec: Spec, value: &Value) {
        let cut = |text: &str| match spec.precision {
            Some(precision) => text.chars().take(precision).collect(),
            None => text.to_owned(),
        };
        match verb {
            's' | 'v' => self.pad(&cut(text), spec),
            'q' if spec.sharp && !text.contains('`') && !text.contains(char::is_control) => {
                self.pad(&format!("`{}`", cut(text)), spec);
            }
            'q' | '#' => self.pad(&quoted(&cut(text), spec.plus), spec),
            'x' | 'X' => {
                let bytes = text.as_bytes();
                let bytes = &bytes[..spec.precision.unwrap_or(bytes.len()).min(bytes.len())];
                let prefix = if !spec.sharp || bytes.is_empty() { "" } else { "0x" };
                let between = if spec.space { if spec.sharp { " 0x" } else { " " } } else { "" };
                let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                let hex = format!("{prefix}{}", hex.join(between));
                self.pad(&if verb == 'X' { hex.to_uppercase() } else { hex }, spec);
            }
            verb => self.bad(verb, value),
        }
    }
}

fn star(operands: &mut Operands<'_>) -> Option<i64> {
    match operands.take() {
        Some(Value::Int(number)) if number.unsigned_abs() <= MAX_WIDTH as u64 => Some(*number),
        _ => None,
    }
}

fn sign(negative: bool, spec: Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

/// `1.5e3` as Go writes it: `1.5e+03`.
fn exponent(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

/// `%x` of a float: `0x1.8p+00`.
fn hexadecimal(number: f64) -> String {
    if number == 0.0 {
        return "0x0p+00".to_owned();
    }
    let bits = number.to_bits();
    // Those below the smallest normal number have no leading one; shifted they do.
    let (scaled, shift) = if bits >> 52 == 0 { ((number * 2_f64.powi(64)).to_bits(), 64) } else { (bits, 0) };
    let power = i64::try_from(scaled >> 52).unwrap_or(0) - 1023 - shift;
    let digits = format!("{:013x}", scaled & ((1 << 52) - 1));
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("0x1{point}{digits}p{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

/// `%g`: the shortest digits, or as many as the precision says; with an exponent where that is large.
fn general(number: f64, precision: Option<usize>, limit: i32) -> String {
    let scientific = match precision {
        None => format!("{number:e}"),
        Some(precision) => format!("{number:.*e}", precision.max(1) - 1),
    };
    let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let all: String = digits.chars().filter(char::is_ascii_digit).collect();
    let all = all.trim_end_matches('0');
    let all = if all.is_empty() { "0" } else { all };
    let limit = match precision {
        None => limit,
        Some(precision) => {
            let (precision, count) = (i32::try_from(precision.max(1)).unwrap_or(i32::MAX), all.len());
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            if precision > count && count > power { count.max(power + 1) } else { precision }
        }
    };
    if power < -4 || power >= limit {
        let (first, more) = all.split_at(1);
        let point = if more.is_empty() { "" } else { "." };
        return exponent(&format!("{first}{point}{more}e{power}"));
    }
    if power < 0 {
        let zeros = "0".repeat(usize::try_from(-power - 1).unwrap_or(0));
        return format!("0.{zeros}{all}");
    }
    let whole = usize::try_from(power + 1).unwrap_or(1);
    if all.len() <= whole {
        return format!("{all}{}", "0".repeat(whole - all.len()));
    }
    format!("{}.{}", &all[..whole], &all[whole..])
}

/// A float as JSON and `%v` of few digits have it, with an exponent from `limit` on.
pub(crate) fn shortest(number: f64, limit: i32) -> String {
    let digits = general(number.abs(), None, limit);
    if number.is_sign_negative() { format!("-{digits}") } else { digits }
}

/// A text between double quotes, with Go's escapes.
pub(crate) fn quoted(text: &str, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        escaped(&mut out, c, '"', ascii);
    }
    out.push('"');
    out
}

fn quoted_character(c: char) -> String {
    let mut out = String::from("'");
    escaped(&mut out, c, '\'', false);
    out.push('\'');
    out
}

fn escaped(out: &mut String, c: char, quote: char, ascii: bool) {
    let simple = match c {
        '\u{7}' => Some('a'),
        '\u{8}' => Some('b'),
        '\u{c}' => Some('f'),
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        '\u{b}' => Some('v'),
        '\\' => Some('\\'),
        c if c == quote => Some(quote),
        _ => None,
    };
    let code = u32::from(c);
    let _ = match simple {
        Some(simple) => write!(out, "\\{simple}"),
        None if code < 0x20 || code == 0x7f => write!(out, "\\x{code:02x}"),
        None if is_printable(c) && (!ascii || c.is_ascii()) => write!(out, "{c}"),
        None if code <= 0xffff => write!(out, "\\u{code:04x}"),
        None => write!(out, "\\U{code:08x}"),
    };
}

/// What Go prints as it is: letters, marks, numbers, signs and the plain space.
fn is_printable(c: char) -> bool {
    let invisible = matches!(u32::from(c), 0xad | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff);
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}
