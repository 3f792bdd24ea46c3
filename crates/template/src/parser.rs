//! Tokens as templates. The grammar is that of Go's text/template.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Binding, Branches, Call, Command, Node, Operand, Pipe, Range, Template, What};
use crate::error::{Fault, Span, Trouble, cut};
use crate::functions::{self, Function};
use crate::lexer::{Kind, SPACES, Token, tokens};
use crate::literal;
use crate::value::Value;

/// How deep blocks and parentheses may be nested within one template.
const MAX_DEPTH: usize = 60;

/// Variables that one place sees at most.
const MAX_VARIABLES: usize = 1_000;

/// The words that begin an action of another sort than a pipeline.
const KEYWORDS: [&str; 11] =
    ["block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"];

/// Templates by name.
pub(crate) type Set = BTreeMap<String, Template>;

/// Adds a source and all that it defines to a set; what is there already is replaced by what is not empty.
pub(crate) fn parse(name: &str, text: &str, source: usize, set: &mut Set) -> Result<(), Fault> {
    let mut parser = Parser {
        text,
        source,
        tokens: tokens(text)?,
        at: 0,
        variables: vec![Arc::from("$")],
        ranges: 0,
        depth: 0,
        found: BTreeMap::new(),
    };
    let body = parser.top()?;
    let end = Span { start: text.len(), end: text.len() };
    parser.add(name.to_owned(), body, end)?;
    let Parser { found, .. } = parser;
    for (name, template) in found {
        let replaces = !is_empty(&template.body, text) || !set.contains_key(&name);
        if replaces {
            set.insert(name, template);
        }
    }
    Ok(())
}

/// Whether there is nothing but white space in it.
fn is_empty(body: &[Node], text: &str) -> bool {
    body.iter()
        .all(|node| matches!(node, Node::Text(span) if text[span.start..span.end].trim_matches(SPACES).is_empty()))
}

struct Parser<'s> {
    text: &'s str,
    source: usize,
    tokens: Vec<Token>,
    at: usize,
    variables: Vec<Arc<str>>,
    /// How many `range` are around.
    ranges: usize,
    depth: usize,
    found: Set,
}

/// Why a list of nodes ended.
enum Stop {
    End,
    /// `{{ else`; what follows is still to be read.
    Else(Span),
}

impl<'s> Parser<'s> {
    fn peek(&self) -> Token {
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
    }

    fn next_word(&mut self) -> Token {
        self.skip_space();
        self.next()
    }

    fn text(&self, token: Token) -> &'s str {
        &self.text[token.span.start..token.span.end]
    }

    fn is_keyword(&self, token: Token, word: &str) -> bool {
        token.kind == Kind::Word && self.text(token) == word
    }

    fn unexpected<T>(&self, token: Token, place: &str) -> Result<T, Fault> {
        let what = match token.kind {
            Kind::End => "the end of the file".to_owned(),
            Kind::Right => "`}}`".to_owned(),
            Kind::Space => "a space".to_owned(),
            _ => format!("`{}`", cut(self.text(token))),
        };
        Err(Trouble::new(format!("{what} is not expected {place}")).at(token.span))
    }

    fn enter(&mut self, span: Span) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Trouble::new(format!("this is nested more than {MAX_DEPTH} deep")).at(span));
        }
        Ok(())
    }

    fn right(&mut self, place: &str) -> Result<Span, Fault> {
        let token = self.next_word();
        if token.kind == Kind::Right { Ok(token.span) } else { self.unexpected(token, place) }
    }

    fn add(&mut self, name: String, body: Vec<Node>, span: Span) -> Result<(), Fault> {
        let (source, text) = (self.source, self.text);
        if self.found.get(&name).is_some_and(|before| !is_empty(&before.body, text)) {
            if is_empty(&body, text) {
                return Ok(());
            }
            return Err(Trouble::new(format!("the template `{}` is defined twice", cut(&name))).at(span));
        }
        self.found.insert(name, Template { source, body });
        Ok(())
    }

    /// The whole source; only here may templates be defined.
    fn top(&mut self) -> Result<Vec<Node>, Fault> {
        let mut body = Vec::new();
        while self.peek().kind != Kind::End {
            let (begin, open) = (self.at, self.peek());
            if open.kind == Kind::Left {
                self.next();
                let word = self.next_word();
                if self.is_keyword(word, "define") {
                    self.definition(open.span)?;
                    continue;
                }
                self.at = begin;
            }
            match self.node()? {
                Ok(node) => body.push(node),
                Err((Stop::End, span)) => {
                    return Err(Trouble::new("`end` closes nothing here").at(span));
                }
                Err((Stop::Else(_), span)) => {
                    return Err(Trouble::new("`else` belongs to nothing here").at(span));
                }
            }
        }
        Ok(body)
    }

    fn definition(&mut self, open: Span) -> Result<(), Fault> {
        let name = self.template_name("behind `define`")?;
        self.right("behind the name of a template")?;
        let body = self.own_scope(open, "define")?;
        self.add(name, body, open)
    }

    /// The body of a template of its own: no variable of what is around is seen in it.
    fn own_scope(&mut self, open: Span, what: &str) -> Result<Vec<Node>, Fault> {
        let variables = std::mem::replace(&mut self.variables, vec![Arc::from("$")]);
        let ranges = std::mem::take(&mut self.ranges);
        let (body, stop, span) = self.list(open, what)?;
        (self.variables, self.ranges) = (variables, ranges);
        match stop {
            Stop::End => Ok(body),
            Stop::Else(_) => Err(Trouble::new(format!("`{what}` has no `else`")).at(span)),
        }
    }

    /// Nodes up to `end` or `else`, and where that is.
    fn list(&mut self, open: Span, what: &str) -> Result<(Vec<Node>, Stop, Span), Fault> {
        self.enter(open)?;
        let mut nodes = Vec::new();
        loop {
            self.skip_space();
            if self.peek().kind == Kind::End {
                let trouble = Trouble::new(format!("this `{what}` is not closed"));
                return Err(trouble.hint("write `{{ end }}` where it ends").at(open));
            }
            match self.node()? {
                Ok(node) => nodes.push(node),
                Err((stop, span)) => {
                    self.depth -= 1;
                    return Ok((nodes, stop, span));
                }
            }
        }
    }

    /// Text, or an action; the inner error is an `end` or `else`.
    fn node(&mut self) -> Result<Result<Node, (Stop, Span)>, Fault> {
        let open = self.next_word();
        match open.kind {
            Kind::Text => return Ok(Ok(Node::Text(open.span))),
            Kind::Left => {}
            _ => return self.unexpected(open, "here"),
        }
        let begin = self.at;
        let word = self.next_word();
        let keyword = if word.kind == Kind::Word { self.text(word) } else { "" };
        let node = match keyword {
            "if" => Node::If(self.branches(open.span, "if")?),
            "with" => Node::With(self.branches(open.span, "with")?),
            "range" => Node::Range(Box::new(self.range(open.span)?)),
            "template" => Node::Call(self.call(open.span)?),
            "block" => Node::Call(self.block(open.span)?),
            "break" | "continue" => {
                let end = self.right("behind `break` and `continue`")?;
                if self.ranges == 0 {
                    let message = format!("`{keyword}` is outside of every `range`");
                    return Err(Trouble::new(message).at(open.span.to(end)));
                }
                if keyword == "break" { Node::Break } else { Node::Continue }
            }
            "end" => {
                let end = self.right("behind `end`")?;
                return Ok(Err((Stop::End, open.span.to(end))));
            }
            "else" => {
                self.skip_space();
                let next = self.peek();
                if !self.is_keyword(next, "if") && !self.is_keyword(next, "with") {
                    self.right("behind `else`")?;
                }
                return Ok(Err((Stop::Else(open.span), open.span.to(word.span))));
            }
            "define" => {
                let trouble = Trouble::new("templates cannot be defined inside of other actions");
                return Err(trouble.hint("move the `define` out, or use `block`").at(open.span.to(word.span)));
            }
            _ => {
                self.at = begin;
                let (pipe, end) = self.pipe(Kind::Right, "action")?;
                Node::Action(open.span.to(end), pipe)
            }
        };
        Ok(Ok(node))
    }

    /// `if` and `with`, with all their `else if` and `else with`.
    fn branches(&mut self, open: Span, what: &'static str) -> Result<Branches, Fault> {
        let scope = self.variables.len();
        let (mut branches, mut otherwise) = (Vec::new(), Vec::new());
        loop {
            let (pipe, _) = self.pipe(Kind::Right, what)?;
            let (body, stop, _) = self.list(open, what)?;
            branches.push((pipe, body));
            let Stop::Else(span) = stop else { break };
            let next = self.peek();
            if self.is_keyword(next, what) {
                self.next();
                continue;
            }
            if next.kind == Kind::Word {
                return self.unexpected(next, &format!("behind the `else` of `{what}`"));
            }
            otherwise = self.last_list(span, "else")?;
            break;
        }
        self.variables.truncate(scope);
        Ok(Branches { branches, otherwise })
    }

    fn last_list(&mut self, open: Span, what: &str) -> Result<Vec<Node>, Fault> {
        let (body, stop, span) = self.list(open, what)?;
        match stop {
            Stop::End => Ok(body),
            Stop::Else(_) => Err(Trouble::new("here is a second `else`; `end` is expected").at(span)),
        }
    }

    fn range(&mut self, open: Span) -> Result<Range, Fault> {
        let scope = self.variables.len();
        let (over, _) = self.pipe(Kind::Right, "range")?;
        self.ranges += 1;
        let (body, stop, _) = self.list(open, "range")?;
        self.ranges -= 1;
        let otherwise = match stop {
            Stop::End => Vec::new(),
            Stop::Else(span) => {
                let next = self.peek();
                if next.kind == Kind::Word {
                    return self.unexpected(next, "behind the `else` of `range`");
                }
                self.last_list(span, "else")?
            }
        };
        self.variables.truncate(scope);
        Ok(Range { over, body, otherwise })
    }

    fn call(&mut self, open: Span) -> Result<Call, Fault> {
        let name = self.template_name("behind `template`")?;
        self.skip_space();
        if self.peek().kind == Kind::Right {
            let end = self.next().span;
            return Ok(Call { span: open.to(end), name, dot: None });
        }
        let (pipe, end) = self.pipe(Kind::Right, "template")?;
        Ok(Call { span: open.to(end), name, dot: Some(pipe) })
    }

    /// A template that is defined where it is used.
    fn block(&mut self, open: Span) -> Result<Call, Fault> {
        let name = self.template_name("behind `block`")?;
        let (pipe, end) = self.pipe(Kind::Right, "block")?;
        let body = self.own_scope(open, "block")?;
        self.add(name.clone(), body, open)?;
        Ok(Call { span: open.to(end), name, dot: Some(pipe) })
    }

    fn template_name(&mut self, place: &str) -> Result<String, Fault> {
        let token = self.next_word();
        if !matches!(token.kind, Kind::Quoted | Kind::Raw) {
            return self.unexpected(token, &format!("{place}; the name of a template stands in quotes"));
        }
        self.unquoted(token)
    }

    fn unquoted(&self, token: Token) -> Result<String, Fault> {
        literal::unquote(self.text(token)).map_err(|why| Trouble::new(format!("this text has {why}")).at(token.span))
    }

    /// A pipeline up to `end`; gives also where that is.
    fn pipe(&mut self, end: Kind, what: &str) -> Result<(Pipe, Span), Fault> {
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
                _ => What::Function(find(text, span, None)?),
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
