//! Pipelines: commands, their operands, and the functions, fields and variables that these name.

use std::sync::Arc;

use super::{KEYWORDS, Parser};
use crate::ast::{Binding, Command, Operand, Pipe, What};
use crate::error::{Fault, Span, Trouble, cut};
use crate::functions::{self, Function};
use crate::lexer::{Kind, Token};
use crate::literal;
use crate::value::Value;

/// Variables that one place sees at most.
const MAX_VARIABLES: usize = 1_000;

impl Parser<'_> {
    pub(super) fn unquoted(&self, token: Token) -> Result<String, Fault> {
        literal::unquote(self.text(token)).map_err(|why| Trouble::new(format!("this text has {why}")).at(token.span))
    }

    /// A pipeline up to the end of its action, and where that is.
    pub(super) fn whole_pipe(&mut self, what: &str) -> Result<(Pipe, Span), Fault> {
        let here = self.peek().span;
        self.action((Pipe::nothing(here), here), |parser| parser.pipe(Kind::Right, what))
    }

    /// A pipeline up to `end`; gives also where that is.
    pub(super) fn pipe(&mut self, end: Kind, what: &str) -> Result<(Pipe, Span), Fault> {
        self.skip_space();
        let begin = self.peek().span;
        let (variables, binding) = self.declarations(what)?;
        let mut commands = Vec::new();
        loop {
            let token = self.next_word();
            if token.kind == end {
                if commands.is_empty() {
                    let message = if what == "action" {
                        "this action is empty".to_owned()
                    } else {
                        format!("`{what}` needs a value")
                    };
                    return Err(Trouble::new(message).at(begin.to(token.span)));
                }
                let span = begin.to(Span { start: token.span.start, end: token.span.start });
                return Ok((Pipe { span, variables, binding, commands }, token.span));
            }
            match token.kind {
                Kind::Word
                | Kind::Char
                | Kind::Number
                | Kind::Dot
                | Kind::Field
                | Kind::Quoted
                | Kind::Raw
                | Kind::Variable
                | Kind::Open => {
                    self.at -= 1;
                    let command = self.command()?;
                    let constant = matches!(command.head.what, What::Dot | What::Nil | What::Constant(_));
                    if !commands.is_empty() && constant {
                        let trouble = Trouble::new("only a function or a field can take the value of a pipeline");
                        return Err(trouble.at(command.head.span));
                    }
                    commands.push(command);
                }
                _ => return self.unexpected(token, &format!("in this {what}")),
            }
        }
    }

    /// `$x :=`, `$x =`, and for `range` also `$i, $x :=`.
    fn declarations(&mut self, what: &str) -> Result<(Vec<Arc<str>>, Binding), Fault> {
        let mut names = Vec::new();
        loop {
            self.skip_space();
            let (begin, token) = (self.at, self.peek());
            if token.kind != Kind::Variable {
                if names.is_empty() {
                    return Ok((names, Binding::Declare));
                }
                return self.unexpected(token, "where a second variable is declared");
            }
            self.next();
            if self.variables.len() > MAX_VARIABLES {
                let message = format!("here are more than {MAX_VARIABLES} variables");
                return Err(Trouble::new(message).at(token.span));
            }
            let sign = self.next_word();
            let name: Arc<str> = Arc::from(self.text(token));
            match sign.kind {
                Kind::Declare | Kind::Assign => {
                    self.variables.push(Arc::clone(&name));
                    names.push(name);
                    let binding = if sign.kind == Kind::Assign { Binding::Assign } else { Binding::Declare };
                    return Ok((names, binding));
                }
                Kind::Comma if what == "range" && names.is_empty() => {
                    self.variables.push(Arc::clone(&name));
                    names.push(name);
                }
                Kind::Comma => {
                    return Err(Trouble::new(format!("`{what}` declares too many variables")).at(sign.span));
                }
                _ if names.is_empty() => {
                    self.at = begin;
                    return Ok((names, Binding::Declare));
                }
                _ => return self.unexpected(sign, "behind the variables of `range`; `:=` is"),
            }
        }
    }

    /// Operands with space between them.
    fn command(&mut self) -> Result<Command, Fault> {
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            if let Some(operand) = self.operand()? {
                operands.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::Right | Kind::Close => self.at -= 1,
                Kind::Pipe => {}
                _ => return self.unexpected(token, "here; operands have a space between them"),
            }
            if operands.is_empty() {
                return Err(Trouble::new("this command is empty").at(token.span));
            }
            let head = operands.remove(0);
            return Ok(Command { head, arguments: operands });
        }
    }

    /// Whether the word that was just read has no arguments as Go writes them: `x`, `x.y`, `x | y`, `x(y)`.
    fn stands_alone(&self) -> bool {
        let kind = |at: usize| self.tokens.get(at).map(|token| token.kind);
        match kind(self.at) {
            Some(Kind::Space) => matches!(kind(self.at + 1), Some(Kind::Right | Kind::Pipe)),
            next => matches!(next, Some(Kind::Right | Kind::Pipe | Kind::Field | Kind::Open)),
        }
    }

    /// A term and the fields that are read from it.
    fn operand(&mut self) -> Result<Option<Operand>, Fault> {
        let Some(mut operand) = self.term()? else { return Ok(None) };
        let first = self.at;
        while self.peek().kind == Kind::Field {
            self.at += 1;
        }
        let names: Vec<String> =
            self.tokens[first..self.at].iter().map(|token| self.text(*token)[1..].to_owned()).collect();
        if names.is_empty() {
            if let What::Function(function) = operand.what
                && function.name.ends_with('.')
            {
                let family = function.name;
                let trouble = Trouble::new(format!("`{}` is a family of functions", &family[..family.len() - 1]));
                return Err(trouble.hint(family_hint(family)).at(operand.span));
            }
            return Ok(Some(operand));
        }
        operand.span = operand.span.to(self.tokens[self.at - 1].span);
        operand.what = match operand.what {
            What::Field(mut fields) => {
                fields.extend(names);
                What::Field(fields)
            }
            What::Variable(name, mut fields) => {
                fields.extend(names);
                What::Variable(name, fields)
            }
            What::Pipe(pipe, _) => What::Pipe(pipe, names),
            What::Function(family) if family.name.ends_with('.') => {
                let full = format!("{}{}", family.name, names[0]);
                let function = find(&full, operand.span, Some(family.name))?;
                match &names[1..] {
                    [] => What::Function(function),
                    fields => What::Chain(function, fields.to_vec()),
                }
            }
            What::Function(function) => What::Chain(function, names),
            What::Dot | What::Nil | What::Constant(_) | What::Chain(..) => {
                return Err(Trouble::new("no field can be read from this").at(operand.span));
            }
        };
        Ok(Some(operand))
    }

    fn term(&mut self) -> Result<Option<Operand>, Fault> {
        let token = self.next_word();
        let text = self.text(token);
        let mut span = token.span;
        let what = match token.kind {
            Kind::Word => match text {
                "true" | "false" => What::Constant(Value::Bool(text == "true")),
                "nil" => What::Nil,
                _ if KEYWORDS.contains(&text) => return self.unexpected(token, "here; it begins an action"),
                _ => match find(text, span, None) {
                    Ok(function) => What::Function(function),
                    Err(fault) if self.stands_alone() => return Err(as_value(fault, text)),
                    Err(fault) => return Err(fault),
                },
            },
            Kind::Dot => What::Dot,
            Kind::Variable => {
                if !self.variables.iter().any(|name| **name == *text) {
                    let trouble = Trouble::new(format!("there is no variable `{}` here", cut(text)));
                    let names = self.variables.iter().rev().map(|name| &**name);
                    return Err(trouble.nearest(text, names).at(span));
                }
                What::Variable(Arc::from(text), Vec::new())
            }
            Kind::Field => What::Field(vec![text[1..].to_owned()]),
            Kind::Char => {
                let code = literal::character(text)
                    .map_err(|why| Trouble::new(format!("this character has {why}")).at(span))?;
                What::Constant(Value::Int(code))
            }
            Kind::Number => {
                let number =
                    literal::number(text).map_err(|why| Trouble::new(format!("`{}` {why}", cut(text))).at(span))?;
                What::Constant(number)
            }
            Kind::Quoted | Kind::Raw => What::Constant(Value::from(self.unquoted(token)?)),
            Kind::Open => {
                self.enter(span)?;
                let (pipe, end) = self.pipe(Kind::Close, "parenthesis")?;
                self.depth -= 1;
                span = span.to(end);
                What::Pipe(Box::new(pipe), Vec::new())
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Operand { span, what }))
    }
}

/// A word that is no function and takes nothing, as it would be written in Jinja.
fn as_value(fault: Fault, word: &str) -> Fault {
    let Fault { span, trouble } = fault;
    let near = trouble.hint.as_ref().map(|near| format!("{near} ")).unwrap_or_default();
    let hint = format!(
        "{near}a value of the data is written `.{}`; if this is a template of Jinja or Ansible, render it with that first",
        cut(word)
    );
    trouble.hint(hint).at(span)
}

fn find(name: &str, span: Span, family: Option<&str>) -> Result<&'static Function, Fault> {
    functions::find(name).ok_or_else(|| {
        let trouble = Trouble::new(format!("there is no function `{}`", cut(name)));
        let keywords = KEYWORDS.into_iter().filter(|_| family.is_none());
        let near = trouble.nearest(name, functions::names().chain(keywords));
        match family {
            Some(family) if near.hint.is_none() => near.hint(family_hint(family)),
            _ => near,
        }
        .at(span)
    })
}

/// The functions of a family, for example of `strings.`.
fn family_hint(family: &str) -> String {
    let names: Vec<String> =
        functions::names().filter(|name| name.starts_with(family)).map(|name| format!("`{name}`")).collect();
    format!("there are {}", names.join(", "))
}
