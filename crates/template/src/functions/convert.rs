//! Values of one type as another.

use super::{Answer, Function, MANY, family, quick, text_of, walk, wrong};
use crate::error::{Trouble, cut};
use crate::format;
use crate::literal;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    family("conv."),
    family("test."),
    quick("conv.ToInt", 1, 1, |values| to_int(&values[0]).map(Value::Int)),
    quick("conv.ToInt64", 1, 1, |values| to_int(&values[0]).map(Value::Int)),
    quick("conv.Atoi", 1, 1, |values| parse_int(&[values[0].clone(), Value::Int(10)])),
    quick("conv.ParseInt", 1, 3, parse_int),
    quick("conv.ParseUint", 1, 3, parse_int),
    quick("conv.ToFloat64", 1, 1, |values| to_float(&values[0]).map(Value::Float)),
    quick("conv.ParseFloat", 1, 2, |values| to_float(&values[0]).map(Value::Float)),
    quick("conv.ToBool", 1, 1, |values| Ok(to_bool(&values[0]).into())),
    quick("conv.Bool", 1, 1, |values| Ok(to_bool(&values[0]).into())),
    quick("bool", 1, 1, |values| Ok(to_bool(&values[0]).into())),
    walk("conv.ToString", 1, 1, |values| Ok(to_text(&values[0]).into())),
    walk("conv.ToInts", 0, MANY, |values| each(values, |value| to_int(value).map(Value::Int))),
    walk("conv.ToInt64s", 0, MANY, |values| each(values, |value| to_int(value).map(Value::Int))),
    walk("conv.ToFloat64s", 0, MANY, |values| each(values, |value| to_float(value).map(Value::Float))),
    walk("conv.ToBools", 0, MANY, |values| each(values, |value| Ok(to_bool(value).into()))),
    walk("conv.ToStrings", 0, MANY, |values| each(values, |value| Ok(to_text(value).into()))),
    quick("conv.Default", 2, 2, default),
    quick("default", 2, 2, default),
    walk("conv.Join", 2, 2, join),
    walk("join", 2, 2, join),
    quick("test.Ternary", 3, 3, ternary),
    quick("ternary", 3, 3, ternary),
    walk("test.Required", 1, 2, required),
    walk("required", 1, 2, required),
    walk("test.Fail", 0, 1, fail),
    walk("fail", 0, 1, fail),
];

fn each(values: &[Value], convert: fn(&Value) -> Answer) -> Answer {
    Ok(Value::list(values.iter().map(convert).collect::<Result<_, _>>()?))
}

/// A value as a whole number; what follows on the point is cut off.
pub(super) fn to_int(value: &Value) -> Result<i64, Trouble> {
    match value {
        Value::Int(number) => Ok(*number),
        #[expect(clippy::cast_possible_truncation, reason = "as Go cuts; too large ones saturate")]
        Value::Float(number) => Ok(*number as i64),
        Value::Bool(value) => Ok(i64::from(*value)),
        Value::Text(text) => {
            let plain = text.replace(',', "");
            if let Ok(number) = literal::integer(&plain) {
                return Ok(number);
            }
            match literal::float(&plain) {
                Some(number) => to_int(&Value::Float(number)),
                None => Err(Trouble::new(format!("`{}` is not a number", cut(text)))),
            }
        }
        value => Err(wrong("a number is needed", value)),
    }
}

/// A value as a float.
pub(super) fn to_float(value: &Value) -> Result<f64, Trouble> {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "as Go converts")]
        Value::Int(number) => Ok(*number as f64),
        Value::Float(number) => Ok(*number),
        Value::Bool(value) => Ok(f64::from(u8::from(*value))),
        Value::Text(text) => {
            let plain = text.replace(',', "");
            if let Ok(number) = literal::integer(&plain) {
                return to_float(&Value::Int(number));
            }
            literal::float(&plain).ok_or_else(|| Trouble::new(format!("`{}` is not a number", cut(text))))
        }
        value => Err(wrong("a number is needed", value)),
    }
}

pub(super) fn is_int(value: &Value) -> bool {
    match value {
        Value::Int(_) => true,
        Value::Text(text) => literal::integer(text).is_ok(),
        _ => false,
    }
}

pub(super) fn is_float(value: &Value) -> bool {
    match value {
        Value::Float(_) => true,
        Value::Text(text) => literal::integer(text).is_err() && literal::float(text).is_some(),
        _ => false,
    }
}

fn to_bool(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::Text(text) => {
            let text = text.to_ascii_lowercase();
            matches!(text.as_str(), "true" | "t" | "yes" | "y" | "on" | "1")
                || literal::float(&text).is_some_and(is_one)
        }
        value => to_float(value).is_ok_and(is_one),
    }
}

#[expect(clippy::float_cmp, reason = "only 1 itself is true")]
fn is_one(number: f64) -> bool {
    number == 1.0
}

/// A value as a text: what `print` writes, but `nil` for nothing.
pub(super) fn to_text(value: &Value) -> String {
    match value {
        Value::Missing | Value::Nil => "nil".to_owned(),
        value => format::shown(value),
    }
}

/// `conv.ParseInt "ff" 16`.
fn parse_int(values: &[Value]) -> Answer {
    let text = to_text(&values[0]);
    let base = values.get(1).map_or(Ok(0), to_int)?;
    let parsed = match u32::try_from(base) {
        Ok(0) => literal::integer(&text).ok(),
        Ok(base @ 2..=36) => i64::from_str_radix(&text, base).ok(),
        _ => return Err(Trouble::new(format!("{base} is not the base of a number"))),
    };
    parsed.map(Value::Int).ok_or_else(|| Trouble::new(format!("`{}` is not a whole number", cut(&text))))
}

/// `default fallback value`: the value, unless it is nothing, false, zero or empty.
fn default(values: &[Value]) -> Answer {
    Ok(if values[1].is_true() { values[1].clone() } else { values[0].clone() })
}

/// `join list separator`.
fn join(values: &[Value]) -> Answer {
    let Value::List(list) = &values[0] else {
        return Err(wrong("`join` needs a list", &values[0]).hint("write `join LIST SEPARATOR`"));
    };
    let separator = text_of(&values[1], "the separator of `join`")?;
    super::text::within_limits(list.items().len().saturating_mul(separator.len()))?;
    let parts: Vec<String> = list.items().iter().map(to_text).collect();
    Ok(parts.join(separator).into())
}

/// `ternary yes no condition`.
fn ternary(values: &[Value]) -> Answer {
    Ok(values[usize::from(!to_bool(&values[2]))].clone())
}

/// `required "message" value`: the value, unless it is nothing or an empty text.
fn required(values: &[Value]) -> Answer {
    let (message, value) = match values {
        [message, value] => (to_text(message), value),
        _ => ("a value that is required is not there".to_owned(), &values[0]),
    };
    if value.is_nothing() || matches!(value, Value::Text(text) if text.is_empty()) {
        return Err(Trouble::new(message));
    }
    Ok(value.clone())
}

fn fail(values: &[Value]) -> Answer {
    Err(Trouble::new(values.first().map_or_else(|| "the template fails here".to_owned(), to_text)))
}
