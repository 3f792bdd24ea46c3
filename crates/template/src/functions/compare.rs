//! Comparisons, with Go's rules about what can be compared.

use std::cmp::Ordering;

use super::{Function, MANY, walk, wrong};
use crate::error::Trouble;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    walk("eq", 1, MANY, |values| eq(values).map(Value::Bool)),
    walk("ne", 2, 2, |values| eq(values).map(|equal| Value::Bool(!equal))),
    walk("lt", 2, 2, |values| Ok(Value::Bool(order(values)? == Ordering::Less))),
    walk("le", 2, 2, |values| Ok(Value::Bool(order(values)? != Ordering::Greater && comparable(values)))),
    walk("gt", 2, 2, |values| Ok(Value::Bool(order(values)? == Ordering::Greater))),
    walk("ge", 2, 2, |values| Ok(Value::Bool(order(values)? != Ordering::Less && comparable(values)))),
];

/// Whether the first one equals any of the others.
fn eq(values: &[Value]) -> Result<bool, Trouble> {
    let (first, others) = values.split_first().ok_or_else(|| Trouble::new("there is nothing to compare"))?;
    if others.is_empty() {
        return Err(Trouble::new("there is nothing to compare it with").hint("`eq a b` compares `a` and `b`"));
    }
    for other in others {
        if equal(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether two values of one type are equal; nothing equals only nothing.
pub(crate) fn equal(a: &Value, b: &Value) -> Result<bool, Trouble> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) => Ok(a == b),
        #[expect(clippy::float_cmp, reason = "as Go compares")]
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (a, b) if a.is_nothing() || b.is_nothing() => Ok(a.is_nothing() && b.is_nothing()),
        (Value::List(_), Value::List(_)) | (Value::Map(_), Value::Map(_)) => {
            Err(Trouble::new("lists and maps cannot be compared").hint("compare their `len`, or one element"))
        }
        (a, b) => Err(unlike(a, b)),
    }
}

fn order(values: &[Value]) -> Result<Ordering, Trouble> {
    let ordering = match (&values[0], &values[1]) {
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (a @ (Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Missing | Value::Nil), _)
        | (_, a @ (Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Missing | Value::Nil)) => {
            return Err(wrong("only numbers and texts have an order", a));
        }
        (a, b) => return Err(unlike(a, b)),
    };
    // Only a float that is no number has no order.
    Ok(ordering.unwrap_or(Ordering::Equal))
}

fn comparable(values: &[Value]) -> bool {
    values.iter().all(|value| !matches!(value, Value::Float(number) if number.is_nan()))
}

fn unlike(a: &Value, b: &Value) -> Trouble {
    let trouble = Trouble::new(format!("{} cannot be compared with {}", a.describe(), b.describe()));
    match (a, b) {
        (Value::Text(_), Value::Int(_)) | (Value::Int(_), Value::Text(_)) => {
            trouble.hint("`conv.ToInt` makes a text a number, `conv.ToString` a number a text")
        }
        (Value::Int(_), Value::Float(_)) | (Value::Float(_), Value::Int(_)) => {
            trouble.hint("write `conv.ToFloat64` before the whole number, or it as `1.0`")
        }
        _ => trouble,
    }
}
