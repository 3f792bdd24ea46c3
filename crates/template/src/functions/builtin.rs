//! The functions that Go's templates have by themselves, but comparisons.

use super::{Answer, Function, MANY, Run, encode, quick, text_of, walk, wrong};
use crate::error::Trouble;
use crate::format;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "and", least: 1, most: MANY, run: Run::And },
    Function { name: "or", least: 1, most: MANY, run: Run::Or },
    quick("not", 1, 1, |values| Ok(Value::Bool(!values[0].is_true()))),
    quick("len", 1, 1, length),
    quick("index", 1, MANY, index),
    walk("slice", 0, MANY, slice),
    quick("call", 1, MANY, call),
    walk("print", 0, MANY, |values| Ok(format::print(values).into())),
    walk("println", 0, MANY, |values| Ok(format::print_line(values).into())),
    walk("printf", 1, MANY, printf),
    walk("html", 0, MANY, |values| Ok(encode::html(&encode::joined(values)).into())),
    walk("js", 0, MANY, |values| Ok(encode::js(&encode::joined(values)).into())),
    walk("urlquery", 0, MANY, |values| Ok(encode::url_query(&encode::joined(values)).into())),
];

fn printf(values: &[Value]) -> Answer {
    let format = text_of(&values[0], "the format of `printf`")?;
    Ok(format::printf(format, &values[1..]).into())
}

fn length(values: &[Value]) -> Answer {
    let length = match &values[0] {
        Value::Text(text) => text.len(),
        Value::List(list) => list.items().len(),
        Value::Map(map) => map.entries().len(),
        value => return Err(wrong("`len` needs a text, a list or a map", value)),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// `index x 1 "a"` is `x[1]["a"]`; a key that is not there gives nothing.
pub(super) fn index(values: &[Value]) -> Answer {
    let mut item = values[0].clone();
    if item.is_nothing() {
        return Err(Trouble::new("there is nothing to take an element of"));
    }
    for index in &values[1..] {
        item = match &item {
            Value::Map(map) => match index {
                Value::Text(key) => map.entries().get(&**key).cloned().unwrap_or(Value::Nil),
                // Keys that are numbers in a file of data are texts here.
                Value::Int(number) if map.entries().contains_key(&number.to_string()) => {
                    map.entries().get(&number.to_string()).cloned().unwrap_or(Value::Nil)
                }
                other => return Err(wrong("a key of a map must be a text", other)),
            },
            Value::List(list) => list.items()[position(index, list.items().len(), End::Outside)?].clone(),
            Value::Text(text) => {
                let at = position(index, text.len(), End::Outside)?;
                Value::Int(i64::from(text.as_bytes()[at]))
            }
            Value::Missing | Value::Nil => {
                return Err(Trouble::new("there is nothing to take an element of"));
            }
            other => return Err(wrong("only texts, lists and maps have elements", other)),
        };
    }
    Ok(item)
}

/// Whether the place behind the last element is a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Inside,
    Outside,
}

fn position(index: &Value, length: usize, end: End) -> Result<usize, Trouble> {
    let Value::Int(number) = index else {
        return Err(wrong("a place in a list or text must be a whole number", index));
    };
    let fits = |at: &usize| *at < length || (end == End::Inside && *at == length);
    usize::try_from(*number).ok().filter(fits).ok_or_else(|| {
        let trouble = Trouble::new(format!("there is no place {number} in {length} elements"));
        if length == 0 { trouble } else { trouble.hint("the first one is 0") }
    })
}

/// Part of a text or list; of anything else, a list of all arguments.
fn slice(values: &[Value]) -> Answer {
    let numbers = values.iter().skip(1).all(|value| matches!(value, Value::Int(_) | Value::Float(_)));
    match values.first() {
        Some(Value::Text(_) | Value::List(_)) if numbers => part(values),
        Some(Value::Missing | Value::Nil) if values.len() == 1 || numbers => {
            Err(Trouble::new("there is nothing to take a part of"))
        }
        _ => Ok(Value::list(values.to_vec())),
    }
}

/// `slice x 1 2` is `x[1:2]`.
pub(super) fn part(values: &[Value]) -> Answer {
    if values.len() > 4 {
        return Err(Trouble::new("a part has at most three limits"));
    }
    let length = match &values[0] {
        Value::Text(text) => text.len(),
        Value::List(list) => list.items().len(),
        value => return Err(wrong("only texts and lists have parts", value)),
    };
    if values.len() == 4 && matches!(values[0], Value::Text(_)) {
        return Err(Trouble::new("a part of a text has at most two limits"));
    }
    let mut limits = [0, length, length];
    for (limit, index) in limits.iter_mut().zip(&values[1..]) {
        *limit = position(index, length, End::Inside)?;
    }
    let [from, to, end] = limits;
    if from > to || (values.len() == 4 && to > end) {
        return Err(Trouble::new(format!("a part cannot begin at {from} and end at {to}")));
    }
    match &values[0] {
        Value::List(list) => Ok(Value::list(list.items()[from..to].to_vec())),
        Value::Text(text) => match text.get(from..to) {
            Some(part) => Ok(part.into()),
            None => Err(Trouble::new(format!("the bytes {from} to {to} of this text are not whole characters"))),
        },
        _ => Ok(Value::Missing),
    }
}

fn call(values: &[Value]) -> Answer {
    Err(wrong("`call` needs a function, and data holds none", &values[0]))
}
