//! Templates and data as output.

use std::ops::Range as Bytes;
use std::sync::Arc;

use crate::ast::{Binding, Branches, Call, Command, Node, Operand, Pipe, Range, What};
use crate::error::{Fault, Span, Trouble, cut};
use crate::format;
use crate::functions::{Function, Run};
use crate::output::{Made, Rendered};
use crate::parser::Set;
use crate::value::Value;
use crate::{MAX_OUTPUT, Source};

/// Templates that call each other.
const MAX_CALLS: usize = 100;

/// Bodies and parentheses inside of each other, over all templates that are being run. What the stack of a thread
/// holds bounds it.
const MAX_DEPTH: usize = 250;

/// What is evaluated, called and walked through: a minute's work is far more than a lab needs.
const MAX_STEPS: u64 = 20_000_000;

/// Values that functions make, in units of [`Value`]'s size.
const MAX_MADE: u64 = 4_000_000;

/// Pieces that output is made of.
const MAX_RUNS: usize = 1_000_000;

/// How much dearer a step through a text is for a regular expression: 16 for each byte.
const EXPRESSION: u64 = 16 * 64;

/// Values that one value may hold, and how deep.
const MAX_WEIGHT: u64 = 2_000_000;
const MAX_NESTING: u32 = 64;

/// Calls that are told with an error.
const MAX_TRACE: usize = 3;

/// How the work goes on behind a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

/// Which pipelines set the dot for the body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dot {
    Kept,
    Set,
}

pub(crate) struct Evaluator<'a> {
    sources: &'a [Source<'a>],
    set: &'a Set,
    out: Rendered,
    /// The source of the template that is being run.
    source: usize,
    variables: Vec<(Arc<str>, Value)>,
    /// Where the variables of the template that is being run begin.
    own: usize,
    calls: usize,
    depth: usize,
    steps: u64,
    made: u64,
    /// Where the template was called that an error is in.
    trace: Vec<(usize, Bytes<usize>)>,
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(sources: &'a [Source<'a>], set: &'a Set) -> Self {
        Self {
            sources,
            set,
            out: Rendered::default(),
            source: 0,
            variables: Vec::new(),
            own: 0,
            calls: 0,
            depth: 0,
            steps: 0,
            made: 0,
            trace: Vec::new(),
        }
    }

    /// The source that is being run, or where an error was.
    pub(crate) fn source(&self) -> usize {
        self.source
    }

    pub(crate) fn into_calls(self) -> Vec<(usize, Bytes<usize>)> {
        self.trace
    }

    pub(crate) fn finish(self) -> Rendered {
        self.out
    }

    pub(crate) fn run(&mut self, name: &str, data: &Value) -> Result<(), Fault> {
        let start = Span { start: 0, end: 0 };
        if data.size().depth > MAX_NESTING || data.size().weight > MAX_WEIGHT {
            return Err(Trouble::new("the data of the template is too large").at(start));
        }
        self.template(name, start, data)
    }

    fn template(&mut self, name: &str, span: Span, dot: &Value) -> Result<(), Fault> {
        let Some(template) = self.set.get(name) else {
            let trouble = Trouble::new(format!("there is no template `{}`", cut(name)));
            let file = format!("{name}.gotmpl");
            if self.set.contains_key(&file) {
                return Err(trouble
                    .hint(format!("a template has the whole name of its file: `{}`", cut(&file)))
                    .at(span));
            }
            return Err(trouble.nearest(name, self.set.keys().map(String::as_str)).at(span));
        };
        if self.calls > MAX_CALLS {
            let message = format!("templates call each other more than {MAX_CALLS} deep");
            return Err(Trouble::new(message).at(span));
        }
        let before = (self.source, self.own, self.variables.len());
        self.calls += 1;
        (self.source, self.own) = (template.source, self.variables.len());
        self.variables.push((Arc::from("$"), dot.clone()));
        self.body(&template.body, dot)?;
        (self.source, self.own) = (before.0, before.1);
        self.variables.truncate(before.2);
        self.calls -= 1;
        Ok(())
    }

    fn step(&mut self, cost: u64, span: Span) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(cost);
        if self.steps > MAX_STEPS {
            return Err(Trouble::new("the template takes too long: it does more than any lab needs").at(span));
        }
        Ok(())
    }

    fn enter(&mut self, span: Span) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Trouble::new("templates, blocks and parentheses are nested too deep").at(span));
        }
        Ok(())
    }

    fn write(&mut self, text: &str, span: Span, made: Made) -> Result<(), Fault> {
        if self.out.runs.len() >= MAX_RUNS {
            return Err(Trouble::new(format!("the template's output is made of more than {MAX_RUNS} pieces")).at(span));
        }
        if self.out.text.len() + text.len() > MAX_OUTPUT {
            return Err(Trouble::new(format!("the template makes more than {MAX_OUTPUT} bytes")).at(span));
        }
        self.out.push(text, self.source, span, made);
        Ok(())
    }

    fn body(&mut self, nodes: &[Node], dot: &Value) -> Result<Flow, Fault> {
        for node in nodes {
            let flow = match node {
                Node::Text(span) => {
                    self.step(1, *span)?;
                    let text = self.sources.get(self.source).map_or("", |source| source.text);
                    self.write(text.get(span.start..span.end).unwrap_or_default(), *span, Made::Copied)?;
                    Flow::On
                }
                Node::Action(span, pipe) => {
                    self.action(*span, pipe, dot)?;
                    Flow::On
                }
                Node::If(branches) => self.branches(branches, dot, Dot::Kept)?,
                Node::With(branches) => self.branches(branches, dot, Dot::Set)?,
                Node::Range(range) => self.range(range, dot)?,
                Node::Call(call) => {
                    self.call(call, dot)?;
                    Flow::On
                }
                Node::Break => Flow::Break,
                Node::Continue => Flow::Continue,
            };
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    fn action(&mut self, span: Span, pipe: &Pipe, dot: &Value) -> Result<(), Fault> {
        let value = self.pipe(pipe, dot)?;
        if pipe.variables.is_empty() {
            self.step(value.size().weight, span)?;
            self.write(&format::shown(&value), span, Made::Produced)?;
        }
        Ok(())
    }

    fn branches(&mut self, branches: &Branches, dot: &Value, sets: Dot) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        let mut flow = None;
        for (pipe, body) in &branches.branches {
            let value = self.pipe(pipe, dot)?;
            if value.is_true() {
                self.enter(pipe.span)?;
                flow = Some(self.body(body, if sets == Dot::Set { &value } else { dot })?);
                self.depth -= 1;
                break;
            }
        }
        let flow = match (flow, branches.branches.first()) {
            (Some(flow), _) => flow,
            (None, Some((pipe, _))) => {
                self.enter(pipe.span)?;
                let flow = self.body(&branches.otherwise, dot)?;
                self.depth -= 1;
                flow
            }
            (None, None) => Flow::On,
        };
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn range(&mut self, range: &Range, dot: &Value) -> Result<Flow, Fault> {
        let scope = self.variables.len();
        let over = self.pipe(&range.over, dot)?;
        let span = range.over.span;
        self.enter(span)?;
        let mut ran = false;
        match &over {
            Value::Int(_) if range.over.variables.len() > 1 => {
                let trouble = Trouble::new("a number can be counted with one variable only");
                return Err(trouble.hint("write `range $i := …`").at(span));
            }
            Value::Int(count) => {
                for number in 0..*count {
                    ran = true;
                    if self.turn(range, Value::Missing, &Value::Int(number))? == Flow::Break {
                        break;
                    }
                }
            }
            Value::List(list) => {
                for (index, item) in list.items().iter().enumerate() {
                    ran = true;
                    let index = Value::Int(i64::try_from(index).unwrap_or(i64::MAX));
                    if self.turn(range, index, item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, item) in map.entries() {
                    ran = true;
                    if self.turn(range, key.as_str().into(), item)? == Flow::Break {
                        break;
                    }
                }
            }
            Value::Missing | Value::Nil => {}
            other => {
                let message =
                    format!("`range` needs a list, a map or a whole number, and this is {}", other.describe());
                return Err(Trouble::new(message).at(span));
            }
        }
        let flow = if ran { Flow::On } else { self.body(&range.otherwise, dot)? };
        self.depth -= 1;
        self.variables.truncate(scope);
        Ok(flow)
    }

    /// One turn of a loop. Nothing but a `break` is seen outside of it.
    fn turn(&mut self, range: &Range, index: Value, item: &Value) -> Result<Flow, Fault> {
        self.step(1, range.over.span)?;
        let scope = self.variables.len();
        let names = &range.over.variables;
        let values = if names.len() > 1 { vec![index, item.clone()] } else { vec![item.clone()] };
        match range.over.binding {
            Binding::Assign => {
                for (name, value) in names.iter().zip(values) {
                    self.assign(name, value, range.over.span)?;
                }
            }
            // The pipeline has declared them already.
            Binding::Declare => {
                let first = scope - names.len();
                for (slot, value) in self.variables[first..].iter_mut().zip(values) {
                    slot.1 = value;
                }
            }
        }
        let flow = self.body(&range.body, item)?;
        self.variables.truncate(scope);
        Ok(flow)
    }

    fn call(&mut self, call: &Call, dot: &Value) -> Result<(), Fault> {
        self.step(1, call.span)?;
        let dot = match &call.dot {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Value::Missing,
        };
        self.enter(call.span)?;
        let (caller, exists) = (self.source, self.set.contains_key(&call.name));
        let result = self.template(&call.name, call.span, &dot);
        if result.is_err() && exists && self.trace.len() < MAX_TRACE {
            self.trace.push((caller, call.span.start..call.span.end));
        }
        self.depth -= 1;
        result
    }

    fn assign(&mut self, name: &Arc<str>, value: Value, span: Span) -> Result<(), Fault> {
        let Some(slot) = self.variables[self.own..].iter_mut().rev().find(|(own, _)| own == name) else {
            let trouble = Trouble::new(format!("there is no variable `{name}` to assign to"));
            return Err(trouble.hint("`:=` declares one").at(span));
        };
        slot.1 = value;
        Ok(())
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, Fault> {
        let mut value = None;
        for command in &pipe.commands {
            self.step(1, pipe.span)?;
            let result = match self.command(command, dot, value.take())? {
                // A key that holds nothing is nothing from here on.
                Value::Nil => Value::Missing,
                result => result,
            };
            value = Some(result);
        }
        let value = value.unwrap_or_default();
        for name in &pipe.variables {
            match pipe.binding {
                Binding::Declare => self.variables.push((Arc::clone(name), value.clone())),
                Binding::Assign => self.assign(name, value.clone(), pipe.span)?,
            }
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Value, last: Option<Value>) -> Result<Value, Fault> {
        let Command { head, arguments } = command;
        if let What::Function(function) = head.what {
            return self.function(function, head.span, arguments, dot, last);
        }
        if !arguments.is_empty() || last.is_some() {
            let span = arguments.first().map_or(head.span, |argument| argument.span);
            let trouble = Trouble::new("only functions take arguments, and this is none");
            return Err(trouble.at(if last.is_some() { head.span } else { span }));
        }
        if matches!(head.what, What::Nil) {
            return Err(Trouble::new("`nil` alone is no value that can be used").at(head.span));
        }
        self.operand(head, dot)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, Fault> {
        let span = operand.span;
        self.step(1, span)?;
        match &operand.what {
            What::Dot => Ok(dot.clone()),
            What::Nil => Ok(Value::Nil),
            What::Constant(value) => Ok(value.clone()),
            What::Function(function) => self.function(function, span, &[], dot, None),
            What::Field(fields) => field(dot.clone(), fields, span),
            What::Variable(name, fields) => {
                let found = self.variables[self.own..].iter().rev().find(|(own, _)| own == name);
                field(found.map(|(_, value)| value.clone()).unwrap_or_default(), fields, span)
            }
            What::Pipe(pipe, fields) => {
                self.enter(span)?;
                let value = self.pipe(pipe, dot)?;
                self.depth -= 1;
                field(value, fields, span)
            }
            What::Chain(function, fields) => {
                let value = self.function(function, span, &[], dot, None)?;
                field(value, fields, span)
            }
        }
    }

    fn function(
        &mut self,
        function: &'static Function,
        span: Span,
        arguments: &[Operand],
        dot: &Value,
        last: Option<Value>,
    ) -> Result<Value, Fault> {
        let count = arguments.len() + usize::from(last.is_some());
        if count < function.least || count > function.most {
            return Err(arity(function, count).at(span));
        }
        if let Run::And | Run::Or = function.run {
            let wanted = matches!(function.run, Run::Or);
            let mut value = Value::Missing;
            for argument in arguments {
                value = self.operand(argument, dot)?;
                if value.is_true() == wanted {
                    return Ok(value);
                }
            }
            return Ok(last.unwrap_or(value));
        }
        let mut values = Vec::with_capacity(count);
        for argument in arguments {
            values.push(self.operand(argument, dot)?);
        }
        values.extend(last);
        for value in &mut values {
            if matches!(value, Value::Missing) {
                *value = Value::Nil;
            }
        }
        let (run, cost) = match function.run {
            Run::Quick(run) => (run, weight(&values, |value| matches!(value, Value::Text(_)))),
            Run::Walk(run) => (run, weight(&values, |_| true)),
            Run::Expression(run) => (run, weight(&values, |_| true).saturating_mul(EXPRESSION)),
            Run::And | Run::Or | Run::Family => return Ok(Value::Missing),
        };
        self.step(cost, span)?;
        let value = run(&values).map_err(|trouble| self.explained(trouble, arguments, &values).at(span))?;
        if !matches!(function.run, Run::Quick(_)) {
            self.made(&value, span)?;
        }
        Ok(value)
    }

    /// Says which argument has no value, if that may be why.
    fn explained(&self, trouble: Trouble, arguments: &[Operand], values: &[Value]) -> Trouble {
        let missing = arguments.iter().zip(values).find(|(_, value)| value.is_nothing());
        let text = self.sources.get(self.source).map_or("", |source| source.text);
        match missing.and_then(|(argument, _)| text.get(argument.span.start..argument.span.end)) {
            Some(argument) if trouble.hint.is_none() => {
                trouble.hint(format!("`{}` has no value; is it in the data?", cut(argument)))
            }
            _ => trouble,
        }
    }

    /// Counts what a function has made.
    fn made(&mut self, value: &Value, span: Span) -> Result<(), Fault> {
        let size = value.size();
        self.made = self.made.saturating_add(size.weight);
        let too_long = matches!(value, Value::Text(text) if text.len() > MAX_OUTPUT);
        if too_long || size.weight > MAX_WEIGHT || size.depth > MAX_NESTING || self.made > MAX_MADE {
            return Err(Trouble::new("the values of this template become too large").at(span));
        }
        Ok(())
    }
}

/// What it takes to walk through those values that are walked through.
fn weight(values: &[Value], walked: fn(&Value) -> bool) -> u64 {
    values.iter().filter(|value| walked(value)).fold(1, |sum: u64, value| sum.saturating_add(value.size().weight))
}

fn arity(function: &Function, count: usize) -> Trouble {
    let Function { name, least, most, .. } = function;
    let (least, most) = (*least, *most);
    let plural = |count: usize| if count == 1 { "1 argument".to_owned() } else { format!("{count} arguments") };
    let wanted = match most {
        usize::MAX => format!("at least {}", plural(least)),
        most if most == least => plural(least),
        most => format!("{least} to {most} arguments"),
    };
    Trouble::new(format!("`{name}` takes {wanted}, and here {} {count}", if count == 1 { "is" } else { "are" }))
}

/// `.a.b` of a value.
fn field(mut value: Value, fields: &[String], span: Span) -> Result<Value, Fault> {
    for name in fields {
        value = match &value {
            Value::Missing => Value::Missing,
            Value::Map(map) => map.entries().get(name).cloned().unwrap_or_default(),
            Value::Nil => {
                let trouble = Trouble::new(format!("there is no `{}` in nothing", cut(name)));
                return Err(trouble.hint("the key before it holds nothing").at(span));
            }
            other => {
                let message = format!("there is no `{}` in {}: only maps have fields", cut(name), other.describe());
                return Err(Trouble::new(message).at(span));
            }
        };
    }
    Ok(value)
}
