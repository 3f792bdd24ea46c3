//! The functions that templates may call, by name; families such as `strings.` have a dot in their names.
//!
//! A function gets its arguments as values and converts them itself; what is wrong with them it says without a
//! place, which the evaluator knows. None reads anything from outside.

#![expect(clippy::unnecessary_wraps, reason = "all functions of templates have one type")]

mod builtin;
mod collections;
mod compare;
mod convert;
mod encode;
mod expressions;
mod network;
mod numbers;
mod text;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::error::Trouble;
use crate::value::Value;

pub(crate) use compare::equal;

/// What a function gives.
pub(crate) type Answer = Result<Value, Trouble>;

/// One function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// How many arguments it takes at least and at most.
    pub(crate) least: usize,
    pub(crate) most: usize,
    pub(crate) run: Run,
}

/// How a function is run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Run {
    /// In a time that does not depend on how large the lists and maps among its arguments are.
    Quick(fn(&[Value]) -> Answer),
    /// Walks through its arguments.
    Walk(fn(&[Value]) -> Answer),
    /// Walks through its arguments with a regular expression.
    Expression(fn(&[Value]) -> Answer),
    /// The first argument that is false, or the last one; no more are evaluated.
    And,
    /// The first argument that is true, or the last one; no more are evaluated.
    Or,
    /// No function, but a family of functions: its name ends with a dot.
    Family,
}

/// Any number of arguments.
const MANY: usize = usize::MAX;

const fn quick(name: &'static str, least: usize, most: usize, run: fn(&[Value]) -> Answer) -> Function {
    Function { name, least, most, run: Run::Quick(run) }
}

const fn walk(name: &'static str, least: usize, most: usize, run: fn(&[Value]) -> Answer) -> Function {
    Function { name, least, most, run: Run::Walk(run) }
}

const fn expression(name: &'static str, least: usize, most: usize, run: fn(&[Value]) -> Answer) -> Function {
    Function { name, least, most, run: Run::Expression(run) }
}

const fn family(name: &'static str) -> Function {
    Function { name, least: 0, most: 0, run: Run::Family }
}

static TABLES: [&[Function]; 9] = [
    builtin::FUNCTIONS,
    compare::FUNCTIONS,
    numbers::FUNCTIONS,
    text::FUNCTIONS,
    convert::FUNCTIONS,
    collections::FUNCTIONS,
    encode::FUNCTIONS,
    expressions::FUNCTIONS,
    network::FUNCTIONS,
];

static BY_NAME: LazyLock<HashMap<&'static str, &'static Function>> = LazyLock::new(|| {
    let all = TABLES.iter().copied().flatten();
    all.map(|function| (function.name.strip_suffix('.').unwrap_or(function.name), function)).collect()
});

/// The function, or family, of this name.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    BY_NAME.get(name).copied()
}

/// All names of functions, in no order that means something.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().copied().flatten().map(|function| function.name).filter(|name| !name.ends_with('.'))
}

/// The name of an argument that is wrong, for messages.
fn wrong(what: &str, value: &Value) -> Trouble {
    Trouble::new(format!("{what}, and this is {}", value.describe()))
}

/// A text, of a text only.
fn text_of<'v>(value: &'v Value, what: &str) -> Result<&'v str, Trouble> {
    match value {
        Value::Text(text) => Ok(text),
        value => Err(wrong(&format!("{what} must be a text"), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once() {
        assert_eq!(BY_NAME.len(), TABLES.iter().map(|table| table.len()).sum::<usize>());
    }

    #[test]
    fn every_member_has_its_family() {
        for name in names() {
            if let Some((family, _)) = name.split_once('.') {
                assert!(matches!(find(family).unwrap().run, Run::Family), "{name}");
            }
        }
    }
}
