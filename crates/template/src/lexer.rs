//! A source as tokens: text outside of `{{ … }}`, and the words inside.
//!
//! White space inside of actions is a token, for `.a .b` are two operands and `.a.b` is one. Text that trim markers
//! take away is in no token; comments are none.
//!
//! An action that is no sequence of words ends in a [`Kind::Wrong`]; what follows on it is read all the same.

use crate::error::{Fault, Faults, Span, Trouble, cut};

/// Tokens of one source: 100,000 actions, which take 100 MB. Large labs are written with loops.
const MAX_TOKENS: usize = 600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Left,
    Right,
    Space,
    /// `.name`
    Field,
    /// `$` or `$name`
    Variable,
    /// A word: a function or a keyword.
    Word,
    /// `'a'`
    Char,
    Number,
    /// `"…"`
    Quoted,
    /// `` `…` ``
    Raw,
    Pipe,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    Open,
    Close,
    Comma,
    Dot,
    /// Another character that can be printed; no rule wants one.
    Other,
    /// What cannot be read and has been said; the rest of its action is left out.
    Wrong,
    End,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// What Go takes as white space.
pub(crate) const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// All tokens, the last one is [`Kind::End`], and what is wrong. Each [`Kind::Left`] has its [`Kind::Right`].
pub(crate) fn tokens(source: &str) -> (Vec<Token>, Faults) {
    let mut faults = Faults::default();
    let mut lexer = Lexer { source, at: 0, tokens: Vec::new(), parentheses: Vec::new(), place: Place::Outside };
    while lexer.at < source.len() {
        if let Err(fault) = lexer.outside() {
            let fault = lexer.recover(fault);
            if faults.push(fault).is_err() || lexer.tokens.len() >= MAX_TOKENS {
                break;
            }
        }
    }
    let end = Span { start: source.len(), end: source.len() };
    lexer.tokens.push(Token { kind: Kind::End, span: end });
    (lexer.tokens, faults)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    /// Behind a [`Kind::Left`] at this offset.
    Action(usize),
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    tokens: Vec<Token>,
    /// Where the open ones of this action are.
    parentheses: Vec<usize>,
    /// Where the lexer is: what is wrong in an action needs its end.
    place: Place,
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_numeric()
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Ends a token that begins at `start` where the lexer is.
    fn emit(&mut self, kind: Kind, start: usize) -> Result<(), Fault> {
        let span = Span { start, end: self.at };
        if self.tokens.len() >= MAX_TOKENS {
            return Err(Trouble::new(format!("the template has more than {MAX_TOKENS} words")).at(span));
        }
        self.tokens.push(Token { kind, span });
        Ok(())
    }

    fn fault<T>(&self, start: usize, message: impl Into<String>) -> Result<T, Fault> {
        let end = self.at.max(start + self.source[start..].chars().next().map_or(0, char::len_utf8));
        Err(Trouble::new(message).at(Span { start, end }))
    }

    /// Text up to the next action, then the action.
    fn outside(&mut self) -> Result<(), Fault> {
        let start = self.at;
        let Some(found) = self.rest().find("{{") else {
            self.at = self.source.len();
            return self.emit(Kind::Text, start);
        };
        let open = start + found;
        let trims = trims_left(&self.source[open + 2..]);
        let text = &self.source[start..open];
        let kept = if trims { text.trim_end_matches(SPACES).len() } else { text.len() };
        if kept > 0 {
            self.at = start + kept;
            self.emit(Kind::Text, start)?;
        }
        self.at = open + 2;
        let marker = if trims { 2 } else { 0 };
        if self.source[self.at + marker..].starts_with("/*") {
            self.at += marker;
            return self.comment(open);
        }
        self.emit(Kind::Left, open)?;
        self.place = Place::Action(open);
        self.at += marker;
        self.parentheses.clear();
        while !self.inside(open)? {}
        self.place = Place::Outside;
        Ok(())
    }

    /// Goes behind the action that has this fault, or to the next one if it has no end: then that is the fault.
    fn recover(&mut self, fault: Fault) -> Fault {
        let rest = self.rest();
        let next = rest.find("{{").unwrap_or(rest.len());
        let end = rest.find("}}").map(|end| end + 2).filter(|end| *end <= next);
        self.at += end.unwrap_or(next);
        let Place::Action(open) = self.place else { return fault };
        self.place = Place::Outside;
        let behind = Span { start: self.at, end: self.at };
        self.tokens.extend([Token { kind: Kind::Wrong, span: fault.span }, Token { kind: Kind::Right, span: behind }]);
        if end.is_none() { self.not_closed(open) } else { fault }
    }

    fn not_closed(&self, open: usize) -> Fault {
        let end = (open + 2).min(self.source.len());
        Trouble::new("this action is not closed: `}}` is missing").at(Span { start: open, end })
    }

    fn comment(&mut self, open: usize) -> Result<(), Fault> {
        self.at += 2;
        let Some(end) = self.rest().find("*/") else {
            return self.fault(open, "this comment is not closed: `*/` is missing");
        };
        self.at += end + 2;
        if self.right_delimiter().is_none() {
            return self.fault(open, "a comment is an action of its own: `}}` must follow on `*/`");
        }
        self.leave();
        Ok(())
    }

    /// Whether the action ends here, and with a trim marker.
    fn right_delimiter(&self) -> Option<Trim> {
        let rest = self.rest();
        if rest.starts_with("}}") {
            return Some(Trim::No);
        }
        let marked = rest.starts_with(SPACES) && rest[1..].starts_with("-}}");
        marked.then_some(Trim::Yes)
    }

    /// Goes behind the delimiter that is here, and behind the white space that it trims.
    fn leave(&mut self) -> usize {
        let trim = self.right_delimiter();
        self.at += if trim == Some(Trim::Yes) { 4 } else { 2 };
        let end = self.at;
        if trim == Some(Trim::Yes) {
            self.at = self.source.len() - self.rest().trim_start_matches(SPACES).len();
        }
        end
    }

    /// One token of an action; true when it was the last one.
    fn inside(&mut self, open: usize) -> Result<bool, Fault> {
        if self.right_delimiter().is_some() {
            if let Some(open) = self.parentheses.last() {
                return self.fault(*open, "this parenthesis is not closed");
            }
            let start = self.at;
            let end = self.leave();
            let behind = std::mem::replace(&mut self.at, end);
            self.emit(Kind::Right, start)?;
            self.at = behind;
            return Ok(true);
        }
        let start = self.at;
        let Some(c) = self.peek().filter(|_| !self.rest().starts_with("{{")) else { return Err(self.not_closed(open)) };
        if SPACES.contains(&c) {
            let spaces = self.rest().len() - self.rest().trim_start_matches(SPACES).len();
            // The last one belongs to a trim marker, if there is one.
            let marked = self.source[start + spaces..].starts_with("-}}");
            self.at += if marked { spaces - 1 } else { spaces };
            return if self.at > start { self.emit(Kind::Space, start).map(|()| false) } else { Ok(false) };
        }
        self.at += c.len_utf8();
        let kind = match c {
            '=' => Kind::Assign,
            ':' => {
                if self.peek() != Some('=') {
                    return self.fault(start, "`:` stands alone; `:=` declares a variable");
                }
                self.at += 1;
                Kind::Declare
            }
            '|' => Kind::Pipe,
            ',' => Kind::Comma,
            '"' => self.quoted('"', start).map(|()| Kind::Quoted)?,
            '\'' => self.quoted('\'', start).map(|()| Kind::Char)?,
            '`' => {
                let Some(end) = self.rest().find('`') else {
                    return self.fault(start, "this raw text is not closed: a second backtick is missing");
                };
                self.at += end + 1;
                Kind::Raw
            }
            '$' => self.name().and_then(|()| self.terminated()).map(|()| Kind::Variable)?,
            '.' if !self.peek().is_some_and(|c| c.is_ascii_digit()) => {
                let dot = self.at;
                self.name()?;
                self.terminated()?;
                if self.at == dot { Kind::Dot } else { Kind::Field }
            }
            '.' | '+' | '-' | '0'..='9' => {
                self.at = start;
                self.number(start)?;
                Kind::Number
            }
            '(' => {
                self.parentheses.push(start);
                Kind::Open
            }
            ')' => {
                if self.parentheses.pop().is_none() {
                    return self.fault(start, "this parenthesis closes nothing");
                }
                Kind::Close
            }
            c if is_word(c) => {
                self.name()?;
                self.terminated()?;
                Kind::Word
            }
            ' '..='~' => Kind::Other,
            c => return self.fault(start, format!("the character {c:?} cannot stand in an action")),
        };
        self.emit(kind, start)?;
        Ok(false)
    }

    /// The letters and digits that are here.
    #[expect(clippy::unnecessary_wraps, reason = "so that it chains with the check of what follows")]
    fn name(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        self.at += rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        Ok(())
    }

    /// What may follow on a name.
    fn terminated(&self) -> Result<(), Fault> {
        let rest = self.rest();
        if rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n', '.', ',', '|', ':', ')', '(']) {
            return Ok(());
        }
        if rest.starts_with("}}") {
            return Ok(());
        }
        let c = rest.chars().next().unwrap_or_default();
        let at = Span { start: self.at, end: self.at + c.len_utf8() };
        let trouble = Trouble::new(format!("{c:?} cannot follow directly on a name"));
        Err(match c {
            '-' => trouble.hint("`-` cannot be in a name; write `index . \"a-b\"` for such a key"),
            '=' => trouble.hint("put a space before it"),
            _ => trouble,
        }
        .at(at))
    }

    fn quoted(&mut self, quote: char, start: usize) -> Result<(), Fault> {
        let mut escaped = false;
        for (at, c) in self.rest().char_indices() {
            match c {
                '\n' => break,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                c if c == quote => {
                    self.at += at + 1;
                    return Ok(());
                }
                _ => {}
            }
        }
        self.fault(start, "this text is not closed: its quote is missing on this line")
    }

    /// The characters that a number may be made of; whether they make one is found when it is parsed.
    fn number(&mut self, start: usize) -> Result<(), Fault> {
        let bytes = self.source.as_bytes();
        let mut at = self.at;
        let accept = |at: &mut usize, set: &[u8]| {
            let found = bytes.get(*at).is_some_and(|byte| set.contains(byte));
            *at += usize::from(found);
            found
        };
        accept(&mut at, b"+-");
        let mut digits: &[u8] = b"0123456789_";
        if accept(&mut at, b"0") {
            if accept(&mut at, b"xX") {
                digits = b"0123456789abcdefABCDEF_";
            } else if accept(&mut at, b"oO") {
                digits = b"01234567_";
            } else if accept(&mut at, b"bB") {
                digits = b"01_";
            }
        }
        while accept(&mut at, digits) {}
        if accept(&mut at, b".") {
            while accept(&mut at, digits) {}
        }
        let exponent: &[u8] = if digits.len() > 11 { b"pP" } else { b"eE" };
        if digits.len() >= 11 && accept(&mut at, exponent) {
            accept(&mut at, b"+-");
            while accept(&mut at, b"0123456789_") {}
        }
        self.at = at;
        if self.peek().is_some_and(is_word) {
            self.name()?;
            let text = cut(&self.source[start..self.at]);
            return self.fault(start, format!("`{text}` is not a number"));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trim {
    Yes,
    No,
}

/// A `-` with white space behind it, at the begin of an action.
fn trims_left(action: &str) -> bool {
    action.strip_prefix('-').is_some_and(|rest| rest.starts_with(SPACES))
}
