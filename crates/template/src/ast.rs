//! What a template says, with the place of each part.

use std::sync::Arc;

use crate::error::Span;
use crate::functions::Function;
use crate::value::Value;

/// One template: a source, a `define` or a `block`.
#[derive(Debug)]
pub(crate) struct Template {
    /// Index of the source that it stands in.
    pub(crate) source: usize,
    pub(crate) body: Vec<Node>,
}

#[derive(Debug)]
pub(crate) enum Node {
    /// Text as it is.
    Text(Span),
    /// `{{ pipeline }}`
    Action(Span, Pipe),
    If(Branches),
    With(Branches),
    Range(Box<Range>),
    Call(Call),
    Break,
    Continue,
}

/// `if` or `with`: the first pipeline that is true decides.
#[derive(Debug)]
pub(crate) struct Branches {
    pub(crate) branches: Vec<(Pipe, Vec<Node>)>,
    pub(crate) otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(crate) struct Range {
    pub(crate) over: Pipe,
    pub(crate) body: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
}

/// `{{ template "name" pipeline }}`
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) span: Span,
    pub(crate) name: String,
    pub(crate) dot: Option<Pipe>,
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) span: Span,
    /// The variables that get the result.
    pub(crate) variables: Vec<Arc<str>>,
    pub(crate) binding: Binding,
    pub(crate) commands: Vec<Command>,
}

impl Pipe {
    /// Stands for one that is wrong; never executed.
    pub(crate) fn nothing(span: Span) -> Self {
        Self { span, variables: Vec::new(), binding: Binding::Declare, commands: Vec::new() }
    }
}

/// What becomes of the variables before a pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// `:=`
    Declare,
    /// `=`
    Assign,
}

/// An operand that is called or read, and its arguments.
#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) head: Operand,
    pub(crate) arguments: Vec<Operand>,
}

#[derive(Debug)]
pub(crate) struct Operand {
    pub(crate) span: Span,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Dot,
    Nil,
    Constant(Value),
    Function(&'static Function),
    /// `.a.b`
    Field(Vec<String>),
    /// `$x.a.b`
    Variable(Arc<str>, Vec<String>),
    /// `(pipeline).a.b`, with or without fields.
    Pipe(Box<Pipe>, Vec<String>),
    /// `f.a.b`: a function without arguments, then fields.
    Chain(&'static Function, Vec<String>),
}
