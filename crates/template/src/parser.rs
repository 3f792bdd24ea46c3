//! Tokens as templates. The grammar is that of Go's text/template.
//!
//! An action that is wrong is left out and what follows is parsed, so that all wrong actions are found at once; where
//! the blocks themselves are wrong, nothing that follows can be said rightly, and the search ends.

mod pipe;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ast::{Branches, Call, Node, Pipe, Range, Template};
use crate::error::{Fault, Faults, Span, Trouble, cut};
use crate::lexer::{Kind, SPACES, Token, tokens};

/// How deep blocks and parentheses may be nested within one template.
const MAX_DEPTH: usize = 60;

/// The words that begin an action of another sort than a pipeline.
const KEYWORDS: [&str; 11] =
    ["block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"];

/// Templates by name.
pub(crate) type Set = BTreeMap<String, Template>;

/// Adds a source and all that it defines to a set; what is there already is replaced by what is not empty. Gives what is
/// wrong with the source; a set is of no use then.
pub(crate) fn parse(name: &str, text: &str, source: usize, set: &mut Set) -> Vec<Fault> {
    let (tokens, faults) = tokens(text);
    let mut parser = Parser {
        text,
        source,
        tokens,
        at: 0,
        variables: vec![Arc::from("$")],
        ranges: 0,
        depth: 0,
        found: BTreeMap::new(),
        faults,
    };
    let end = Span { start: text.len(), end: text.len() };
    let parsed = parser.top().and_then(|body| parser.add(name.to_owned(), body, end));
    let Parser { found, mut faults, .. } = parser;
    if let Err(fault) = parsed {
        // A block that seems to have no end may have lost it to an action that is wrong.
        faults.push_if_none_before(text.len(), fault);
    }
    for (name, template) in found {
        let replaces = !is_empty(&template.body, text) || !set.contains_key(&name);
        if replaces {
            set.insert(name, template);
        }
    }
    faults.sorted()
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
    faults: Faults,
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

    /// What stands between here and the end of the action; `fallback` in the place of what is wrong.
    fn action<T>(&mut self, fallback: T, parse: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        let (begin, depth) = (self.at, self.depth);
        let fault = match parse(self) {
            Ok(parsed) => return Ok(parsed),
            Err(fault) => fault,
        };
        let end = self.end_of_action(begin);
        if self.tokens[begin..end].iter().all(|token| token.kind != Kind::Wrong) {
            self.faults.push(fault)?;
        }
        (self.at, self.depth) = (end + 1, depth);
        Ok(fallback)
    }

    /// Where the action ends that `begin` is in.
    fn end_of_action(&self, begin: usize) -> usize {
        let end = self.tokens[begin..].iter().position(|token| token.kind == Kind::Right);
        end.map_or(self.tokens.len(), |end| begin + end)
    }

    fn add(&mut self, name: String, body: Vec<Node>, span: Span) -> Result<(), Fault> {
        let (source, text) = (self.source, self.text);
        if self.found.get(&name).is_some_and(|before| !is_empty(&before.body, text)) {
            if is_empty(&body, text) {
                return Ok(());
            }
            return self.faults.push(Trouble::new(format!("the template `{}` is defined twice", cut(&name))).at(span));
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
                // What would have opened the block may be the action that was wrong.
                Err((Stop::End, span)) => {
                    let fault = Trouble::new("`end` closes nothing here").at(span);
                    self.faults.push_if_none_before(span.start, fault);
                }
                Err((Stop::Else(_), span)) => {
                    let fault = Trouble::new("`else` belongs to nothing here").at(span);
                    self.faults.push_if_none_before(span.start, fault);
                    if self.peek().kind == Kind::Word {
                        self.at = self.end_of_action(self.at) + 1;
                    }
                }
            }
        }
        Ok(body)
    }

    fn definition(&mut self, open: Span) -> Result<(), Fault> {
        let name = self.action(None, |parser| {
            let name = parser.template_name("behind `define`")?;
            parser.right("behind the name of a template")?;
            Ok(Some(name))
        })?;
        let body = self.own_scope(open, "define")?;
        name.map_or(Ok(()), |name| self.add(name, body, open))
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
            "template" => {
                let nothing = Call { span: open.span, name: String::new(), dot: None };
                Node::Call(self.action(nothing, |parser| parser.call(open.span))?)
            }
            "block" => Node::Call(self.block(open.span)?),
            "break" | "continue" => {
                let is_outside = self.ranges == 0;
                self.action((), |parser| {
                    let end = parser.right("behind `break` and `continue`")?;
                    let message = format!("`{keyword}` is outside of every `range`");
                    if is_outside { Err(Trouble::new(message).at(open.span.to(end))) } else { Ok(()) }
                })?;
                if keyword == "break" { Node::Break } else { Node::Continue }
            }
            "end" => {
                let end = self.action(word.span, |parser| parser.right("behind `end`"))?;
                return Ok(Err((Stop::End, open.span.to(end))));
            }
            "else" => {
                self.skip_space();
                let next = self.peek();
                if !self.is_keyword(next, "if") && !self.is_keyword(next, "with") {
                    self.action(word.span, |parser| parser.right("behind `else`"))?;
                }
                return Ok(Err((Stop::Else(open.span), open.span.to(word.span))));
            }
            "define" => {
                let trouble = Trouble::new("templates cannot be defined inside of other actions");
                return Err(trouble.hint("move the `define` out, or use `block`").at(open.span.to(word.span)));
            }
            _ => {
                self.at = begin;
                let (pipe, end) = self.whole_pipe("action")?;
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
            let (pipe, _) = self.whole_pipe(what)?;
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
        let (over, _) = self.whole_pipe("range")?;
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
        let nothing = (String::new(), Pipe::nothing(open), open);
        let (name, pipe, end) = self.action(nothing, |parser| {
            let name = parser.template_name("behind `block`")?;
            let (pipe, end) = parser.pipe(Kind::Right, "block")?;
            Ok((name, pipe, end))
        })?;
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
}
