//! Lists and maps: making them, their parts, their order. None is changed in place: what changes one gives a new one.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::convert::{to_int, to_text};
use super::{Answer, Function, MANY, builtin, equal, family, quick, text_of, walk, wrong};
use crate::error::Trouble;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    family("coll."),
    walk("coll.Slice", 0, MANY, |values| Ok(Value::list(values.to_vec()))),
    walk("coll.GoSlice", 1, 4, builtin::part),
    walk("coll.Dict", 0, MANY, dict),
    walk("dict", 0, MANY, dict),
    walk("coll.Has", 2, 2, has),
    walk("has", 2, 2, has),
    quick("coll.Index", 2, MANY, index),
    walk("coll.Keys", 1, MANY, keys),
    walk("keys", 1, MANY, keys),
    walk("coll.Values", 1, MANY, in_order),
    walk("values", 1, MANY, in_order),
    walk("coll.Append", 2, 2, append),
    walk("append", 2, 2, append),
    walk("coll.Prepend", 2, 2, prepend),
    walk("prepend", 2, 2, prepend),
    walk("coll.Uniq", 1, 1, uniq),
    walk("uniq", 1, 1, uniq),
    walk("coll.Reverse", 1, 1, reverse),
    walk("reverse", 1, 1, reverse),
    walk("coll.Sort", 1, 2, sort),
    walk("sort", 1, 2, sort),
    walk("coll.Merge", 1, MANY, merge),
    walk("merge", 1, MANY, merge),
    walk("coll.Flatten", 1, 2, flatten),
    walk("flatten", 1, 2, flatten),
    walk("coll.Set", 3, 3, set),
    walk("set", 3, 3, set),
    walk("coll.Unset", 2, 2, unset),
    walk("unset", 2, 2, unset),
    walk("coll.Pick", 2, MANY, |values| chosen(values, Keep::Named)),
    walk("coll.Omit", 2, MANY, |values| chosen(values, Keep::Others)),
];

fn list(value: &Value) -> Result<&[Value], Trouble> {
    match value {
        Value::List(list) => Ok(list.items()),
        value => Err(wrong("a list is needed", value)),
    }
}

fn map(value: &Value) -> Result<&BTreeMap<String, Value>, Trouble> {
    match value {
        Value::Map(map) => Ok(map.entries()),
        value => Err(wrong("a map is needed", value)),
    }
}

/// `dict "key" value …`; a last key without a value gets an empty text.
fn dict(values: &[Value]) -> Answer {
    let pair = |pair: &[Value]| (to_text(&pair[0]), pair.get(1).cloned().unwrap_or_else(|| Value::text("")));
    Ok(Value::map(values.chunks(2).map(pair).collect()))
}

/// Whether a map has a key, or a list an element.
fn has(values: &[Value]) -> Answer {
    let found = match &values[0] {
        Value::Map(map) => map.entries().contains_key(&to_text(&values[1])),
        Value::List(list) => list.items().contains(&values[1]),
        _ => false,
    };
    Ok(found.into())
}

/// `index` with the value last, and strict about keys.
fn index(values: &[Value]) -> Answer {
    let Some((item, indexes)) = values.split_last() else { return Ok(Value::Missing) };
    let mut item = item.clone();
    for index in indexes {
        if let (Value::Map(map), Value::Text(key)) = (&item, index)
            && !map.entries().contains_key(&**key)
        {
            let trouble = Trouble::new(format!("the map has no key `{key}`"));
            return Err(trouble.nearest(key, map.entries().keys().map(String::as_str)));
        }
        item = builtin::index(&[item, index.clone()])?;
    }
    Ok(item)
}

fn keys(values: &[Value]) -> Answer {
    let mut found = Vec::new();
    for value in values {
        found.extend(map(value)?.keys().map(|key| Value::from(key.as_str())));
    }
    Ok(Value::list(found))
}

/// The values of maps in the order of their keys.
fn in_order(values: &[Value]) -> Answer {
    let mut found = Vec::new();
    for value in values {
        found.extend(map(value)?.values().cloned());
    }
    Ok(Value::list(found))
}

/// `append value list`.
fn append(values: &[Value]) -> Answer {
    Ok(Value::list(list(&values[1])?.iter().chain([&values[0]]).cloned().collect()))
}

fn prepend(values: &[Value]) -> Answer {
    Ok(Value::list([&values[0]].into_iter().chain(list(&values[1])?).cloned().collect()))
}

fn uniq(values: &[Value]) -> Answer {
    /// The cost is the square of the length.
    const MOST: usize = 1_000;
    let items = list(&values[0])?;
    if items.len() > MOST {
        return Err(Trouble::new(format!("`uniq` takes at most {MOST} values, and here are {}", items.len())));
    }
    let mut found: Vec<Value> = Vec::new();
    for item in items {
        let is_same = |other: &Value| match equal(item, other) {
            Ok(same) => same,
            Err(_) => item == other,
        };
        if !found.iter().any(is_same) {
            found.push(item.clone());
        }
    }
    Ok(Value::list(found))
}

fn reverse(values: &[Value]) -> Answer {
    Ok(Value::list(list(&values[0])?.iter().rev().cloned().collect()))
}

/// `sort list` or `sort "key" list`: numbers before texts, each in their order; other values stay where they are.
fn sort(values: &[Value]) -> Answer {
    let (key, items) = match values {
        [key, items] => (to_text(key), items),
        values => (String::new(), &values[0]),
    };
    let mut items = list(items)?.to_vec();
    let by = |value: &Value| match value {
        Value::Map(map) if !key.is_empty() => map.entries().get(&key).cloned().unwrap_or_default(),
        value => value.clone(),
    };
    items.sort_by(|a, b| compare(&by(a), &by(b)));
    Ok(Value::list(items))
}

/// A total order: by rank of the type, then by value.
fn compare(a: &Value, b: &Value) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Missing | Value::Nil => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Float(_) => 2,
        Value::Text(_) => 3,
        Value::List(_) | Value::Map(_) => 4,
    };
    #[expect(clippy::cast_precision_loss, reason = "only their order is wanted")]
    let number = |value: &Value| match value {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        _ => 0.0,
    };
    rank(a).cmp(&rank(b)).then_with(|| match (a, b) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (a, b) => number(a).total_cmp(&number(b)),
    })
}

/// What an earlier map has wins.
fn merge(values: &[Value]) -> Answer {
    let mut merged = Value::Missing;
    for value in values.iter().rev() {
        map(value)?;
        merged = if merged.is_nothing() { value.clone() } else { merged.merged(value.clone()) };
    }
    Ok(merged)
}

/// `flatten list` or `flatten depth list`.
fn flatten(values: &[Value]) -> Answer {
    fn into(out: &mut Vec<Value>, items: &[Value], depth: i64) {
        for item in items {
            match item {
                Value::List(list) if depth != 0 => into(out, list.items(), depth - 1),
                item => out.push(item.clone()),
            }
        }
    }
    let (depth, items) = match values {
        [depth, items] => (to_int(depth)?, items),
        values => (-1, &values[0]),
    };
    let mut out = Vec::new();
    into(&mut out, list(items)?, depth);
    Ok(Value::list(out))
}

/// `set "key" value map`.
fn set(values: &[Value]) -> Answer {
    let mut entries = map(&values[2])?.clone();
    entries.insert(text_of(&values[0], "a key")?.to_owned(), values[1].clone());
    Ok(Value::map(entries))
}

/// `unset "key" map`.
fn unset(values: &[Value]) -> Answer {
    let mut entries = map(&values[1])?.clone();
    entries.remove(text_of(&values[0], "a key")?);
    Ok(Value::map(entries))
}

/// Which entries of a map stay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Named,
    Others,
}

fn chosen(values: &[Value], keep: Keep) -> Answer {
    let Some((from, names)) = values.split_last() else { return Ok(Value::Missing) };
    let names = match names {
        [Value::List(list)] => list.items(),
        names => names,
    };
    let names: BTreeSet<String> = names.iter().map(to_text).collect();
    let mut entries = map(from)?.clone();
    entries.retain(|key, _| names.contains(key) == (keep == Keep::Named));
    Ok(Value::map(entries))
}
