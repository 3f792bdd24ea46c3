//! Templates with the semantics of Go's `text/template`, and a map of where each byte of their output comes from.
//!
//! ```text
//! sources ── lexer ──▶ tokens ── parser ──▶ templates ── evaluator ──▶ text + runs
//!                                   functions ──┘             data ──┘
//! ```
//!
//! The engines that others maintain give text only; a reader that must show which line of the template a mistake in
//! that text comes from needs the runs as well, so this one is our own.
//!
//! Pure: nothing is read from files, the environment or the network. For any input the work, the output and the
//! memory are bounded, and nothing panics. What is right and what is wrong is what Go says (the cases in `golden/` are
//! rendered by Go itself); the words of the errors are our own. Not here: complex numbers, methods of Go's types,
//! other delimiters than `{{` and `}}`.

mod ast;
mod error;
mod evaluator;
mod format;
mod functions;
mod lexer;
mod literal;
mod output;
mod parser;
mod value;

pub use error::Error;
pub use output::{Made, Rendered, Run};
pub use value::{List, Map, Value};

use std::ops::Range;

use error::Fault;
use evaluator::Evaluator;

/// The largest output, in bytes; also the largest text that an expression may make.
pub const MAX_OUTPUT: usize = 16 << 20;

/// A text with templates in it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Its name, by which `{{ template "name" }}` calls it.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Renders the first source with the others as templates that it may call.
///
/// What a later source defines replaces what an earlier one does, unless it is empty. Without sources the output is
/// empty.
///
/// # Errors
///
/// What is wrong with the sources, each by its place; or, if they can be read, the one thing that ended their execution.
/// Never empty, and not more than a few hundred.
pub fn render(sources: &[Source<'_>], data: &Value) -> Result<Rendered, Vec<Error>> {
    /// Errors in several sources; each has a hundred at most.
    const MOST: usize = 300;
    let (mut set, mut errors) = (parser::Set::new(), Vec::new());
    for (index, source) in sources.iter().enumerate() {
        let faults = parser::parse(source.name, source.text, index, &mut set);
        errors.extend(faults.into_iter().map(|fault| placed(index, fault, Vec::new())));
        if errors.len() >= MOST {
            break;
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let Some(main) = sources.first() else { return Ok(Rendered::default()) };
    let mut evaluator = Evaluator::new(sources, &set);
    match evaluator.run(main.name, data) {
        Ok(()) => Ok(evaluator.finish()),
        Err(fault) => Err(vec![placed(evaluator.source(), fault, evaluator.into_calls())]),
    }
}

/// The names of all functions that templates may call, in no order that means something.
pub fn function_names() -> impl Iterator<Item = &'static str> {
    functions::names()
}

fn placed(source: usize, fault: Fault, calls: Vec<(usize, Range<usize>)>) -> Error {
    let Fault { span, trouble } = fault;
    Error { source, range: span.start..span.end, message: trouble.message, hint: trouble.hint, calls }
}
