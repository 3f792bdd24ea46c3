//! YAML text as a tree whose values know where they stand.
//!
//! A tree of our own, rather than typed structs, so that all mistakes of a file are found and not only the
//! first; and so that a scalar keeps its raw text: the format wants `image: 1.10`, `ports: [22:22]` and
//! `restart-policy: no` as they are written.
//!
//! A text is a part of the file where it can be, and what cannot be stands in an arena with all lists and maps: a tree
//! is made without a look back, and gone at once. Aliases share the lists and maps of the value that they name. Size and
//! depth are counted as if they were copies, so that a file of nested aliases is refused while it is read.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bumpalo::Bump;
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError};

use super::diagnostic::{Code, Path, Report, Span, cut};
use super::jinja;

/// Values of a file with its aliases written out. A lab of 10,000 nodes and 20,000 links has 150,000.
const MAX_VALUES: u32 = 2_000_000;

/// Values that aliases copy, and as many that merges (`<<`) copy: each becomes some 150 bytes of a node. 10,000 nodes with
/// 100 each are 1,000,000.
const MAX_COPIED: u32 = 1_000_000;

/// What to do instead of copying.
const SHARE: &str = "write what nodes share once, in `defaults`, `kinds` or `groups`";

/// Keys of one map. Nodes are the most that a map of a lab holds, and there are at most 100,000.
const MAX_KEYS: usize = 200_000;

/// How deep lists and maps may be nested; the format needs 9.
const MAX_DEPTH: u16 = 64;

/// One value.
#[derive(Clone, Copy)]
pub(super) struct Value<'t> {
    pub(super) span: Span,
    pub(super) data: Data<'t>,
    /// How many values it is with aliases written out.
    pub(super) weight: u32,
    depth: u16,
    /// Whether it is a scalar with quotes, a block or a tag: what is meant as text, whatever it looks like.
    pub(super) quoted: bool,
    /// Whether aliases may name it.
    pub(super) anchored: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Data<'t> {
    Null,
    /// Any scalar, as it is written.
    Text(&'t str),
    List(&'t [Value<'t>]),
    Map(&'t [Entry<'t>]),
    /// Already reported; to be passed over in silence.
    Broken,
}

/// One key with its value. Keys are unique within their map.
#[derive(Clone, Copy)]
pub(super) struct Entry<'t> {
    pub(super) key: &'t str,
    pub(super) key_span: Span,
    pub(super) value: Value<'t>,
}

impl<'t> Value<'t> {
    pub(super) fn leaf(span: Span, data: Data<'t>) -> Self {
        // A long text counts as several, so that copies of it are bounded as well.
        let weight = if let Data::Text(text) = data { 1 + number(text.len() / 64) } else { 1 };
        Self { span, data, weight, depth: 0, quoted: false, anchored: false }
    }

    pub(super) fn collection(span: Span, data: Data<'t>) -> Self {
        let (mut weight, mut depth) = (1_u32, 0);
        let mut count = |child: &Value<'_>| {
            weight = weight.saturating_add(child.weight);
            depth = depth.max(child.depth + 1);
        };
        match data {
            Data::List(items) => items.iter().for_each(count),
            Data::Map(entries) => entries.iter().for_each(|entry| count(&entry.value)),
            Data::Null | Data::Text(_) | Data::Broken => {}
        }
        Self { span, data, weight, depth, quoted: false, anchored: false }
    }

    /// How many entries a map has.
    pub(super) fn len(&self) -> usize {
        if let Data::Map(entries) = &self.data { entries.len() } else { 0 }
    }

    /// What it is, for messages.
    pub(super) fn describe(&self) -> &'static str {
        match self.data {
            Data::Null => "nothing",
            Data::Text(_) => "a text",
            Data::List(_) => "a list",
            Data::Map(_) => "a map",
            Data::Broken => "something else",
        }
    }
}

/// Reads the text of one document and gives what `then` makes of its tree. Nothing after a mistake that leaves none.
pub(super) fn parse<C: AsMut<Report>, R>(
    text: &str,
    cx: &mut C,
    then: impl FnOnce(&Value<'_>, &mut C) -> R,
) -> Option<R> {
    /// Comments that are set apart: each takes another reading.
    const MOST: usize = 64;
    let mut text = Cow::Borrowed(text);
    for _ in 0..MOST {
        let arena = Bump::new();
        match attempt(&text, &arena, cx.as_mut()) {
            // What was said before is said once only.
            Attempt::Joined(at) => text = Cow::Owned(set_apart(&text, at)),
            Attempt::Done(root) => return root.map(|root| then(&root, cx)),
        }
    }
    cx.as_mut().error(
        Code::Syntax,
        Span { line: 1, column: 1, start: 0, len: 0 },
        &Path::Root,
        "comments need a space before their `#`",
    );
    None
}

/// What came of one reading.
enum Attempt<'t> {
    Done(Option<Value<'t>>),
    /// A comment follows a token without a space, at this byte: YAML does not have it, other readers take it.
    Joined(usize),
}

/// The text with the `#` at a byte moved on by one, over the first character of the comment, so that nothing else moves.
fn set_apart(text: &str, at: usize) -> String {
    let (before, comment) = text.split_at(at);
    let mut chars = comment.chars();
    chars.next();
    match chars.next().filter(|c| !matches!(c, '\n' | '\r')) {
        Some(c) => format!("{before} #{:1$}{2}", "", c.len_utf8() - 1, chars.as_str()),
        None => format!("{before} {}", comment.get(1..).unwrap_or_default()),
    }
}

fn attempt<'t>(text: &'t str, arena: &'t Bump, report: &mut Report) -> Attempt<'t> {
    let options = granit_parser::options! {
        emit_unresolved_aliases: true,
        emit_comments: false,
    };
    let mut builder = Builder {
        text,
        arena,
        report,
        stack: Vec::new(),
        items: Vec::new(),
        entries: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        documents: 0,
        placed: 0,
        aliased: 0,
        merged: 0,
    };
    for next in Parser::new_from_str_with_options(text, options) {
        match next {
            Ok((event, span)) => {
                if builder.event(event, convert(&span)).is_err() {
                    return Attempt::Done(None);
                }
            }
            Err(error) => {
                let at = error.marker().byte_offset().filter(|at| text[*at..].starts_with('#'));
                if let (ErrorKind::CommentNotSeparated, Some(at)) = (error.kind(), at) {
                    return Attempt::Joined(at);
                }
                builder.syntax_error(&error);
                return Attempt::Done(None);
            }
        }
    }
    let nothing = || Value::leaf(Span { line: 1, column: 1, start: 0, len: 0 }, Data::Null);
    Attempt::Done(Some(builder.root.unwrap_or_else(nothing)))
}

/// The tree cannot be used; it has been said why.
struct Stop;

struct Builder<'t, 'r> {
    text: &'t str,
    arena: &'t Bump,
    report: &'r mut Report,
    stack: Vec<Frame<'t>>,
    /// What is in the lists that are open, those of the innermost last.
    items: Vec<Value<'t>>,
    /// What is in the maps that are open, those of the innermost last.
    entries: Vec<Entry<'t>>,
    /// Anchors by the parser's id; `None` while what they name is still open.
    anchors: HashMap<usize, Option<Value<'t>>>,
    root: Option<Value<'t>>,
    documents: usize,
    /// Values that are in a list or a map so far; an alias is one, whatever it copies.
    placed: u32,
    /// Values copied by aliases.
    aliased: u32,
    /// Entries copied by `<<`.
    merged: u32,
}

struct Frame<'t> {
    span: Span,
    anchor: usize,
    open: Open<'t>,
}

/// A list or a map that is open; what is in it begins at `first` among all that is in open ones.
enum Open<'t> {
    List { first: usize },
    Map { first: usize, keys: Keys<'t>, merges: Vec<Value<'t>>, key: Key<'t> },
}

/// Where the keys of a map stand: looked for one by one while they are few, as in nearly every map of a lab.
#[derive(Default)]
struct Keys<'t>(HashMap<&'t str, u32>);

impl<'t> Keys<'t> {
    fn find(&mut self, entries: &[Entry<'t>], key: &str) -> Option<Span> {
        const FEW: usize = 16;
        if entries.len() <= FEW {
            return entries.iter().find(|entry| entry.key == key).map(|entry| entry.key_span);
        }
        // Keys of a map are unique, so the index holds as many as there were when it was last looked at.
        let known = self.0.len();
        let new = entries[known..].iter().enumerate();
        self.0.extend(new.map(|(index, entry)| (entry.key, number(known + index))));
        self.0.get(key).map(|index| entries[*index as usize].key_span)
    }
}

enum Key<'t> {
    Wanted,
    Is(&'t str, Span),
    Merge,
    /// A key that was refused: its value goes nowhere.
    Refused,
}

impl<'t> Builder<'t, '_> {
    fn event(&mut self, event: Event<'t>, span: Span) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(..) => self.documents += 1,
            Event::Scalar(text, style, anchor, tag) => {
                if self.documents > 1 && self.stack.is_empty() && span.len == 0 {
                    return Ok(()); // A file that ends in `---`.
                }
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let is_null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let is_merge = plain && text == "<<";
                if let Some(Frame { open: Open::Map { key: key @ Key::Wanted, .. }, .. }) = self.stack.last_mut() {
                    if is_merge {
                        *key = Key::Merge;
                        return Ok(());
                    }
                    // A key is what is written, also `null` and `~`.
                    let text = self.keep(text);
                    self.remember(anchor, Value::leaf(span, Data::Text(text)));
                    let key = self.new_key(text, span);
                    self.put_key(key);
                    return Ok(());
                }
                let data = if is_null { Data::Null } else { Data::Text(self.keep(text)) };
                let value = Value { quoted: !plain, anchored: anchor != 0, ..Value::leaf(span, data) };
                self.remember(anchor, value);
                self.place(value)?;
            }
            Event::SequenceStart(_, anchor, _) => self.open(span, anchor, Open::List { first: self.items.len() }),
            Event::MappingStart(_, anchor, _) => {
                let first = self.entries.len();
                let (keys, merges) = (Keys::default(), Vec::new());
                self.open(span, anchor, Open::Map { first, keys, merges, key: Key::Wanted });
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(span),
            Event::Alias(id) => {
                let value = self.anchors.get(&id).copied().flatten().unwrap_or_else(|| {
                    let message = "this alias is inside of what it names";
                    self.report.error(Code::Syntax, span, &Path::Root, message);
                    Value::leaf(span, Data::Broken)
                });
                self.aliased = self.aliased.saturating_add(value.weight);
                if self.aliased > MAX_COPIED {
                    let message = format!("the aliases of this file copy more than {MAX_COPIED} values up to here");
                    return Err(self.too_large(span, message, SHARE));
                }
                self.place(value)?;
            }
            Event::UnresolvedAlias(name) => {
                let message = format!("there is no anchor `&{}` before this alias", cut(&name));
                self.report.error(Code::Syntax, span, &Path::Root, message);
                self.place(Value::leaf(span, Data::Broken))?;
            }
            // Streams, ends, and events that are switched off.
            _ => {}
        }
        Ok(())
    }

    /// A text that is a part of the file, or one that is made for the tree.
    fn keep(&self, text: Cow<'t, str>) -> &'t str {
        match text {
            Cow::Borrowed(text) => text,
            Cow::Owned(text) => self.arena.alloc_str(&text),
        }
    }

    fn open(&mut self, span: Span, anchor: usize, open: Open<'t>) {
        if anchor != 0 {
            self.anchors.insert(anchor, None);
        }
        self.stack.push(Frame { span, anchor, open });
    }

    fn remember(&mut self, anchor: usize, value: Value<'t>) {
        if anchor != 0 {
            self.anchors.insert(anchor, Some(value));
        }
    }

    fn close(&mut self, end: Span) -> Result<(), Stop> {
        let Some(Frame { mut span, anchor, open }) = self.stack.pop() else { return Ok(()) };
        span.len = (end.start + end.len).saturating_sub(span.start);
        let data = match open {
            Open::List { first } => {
                let items = self.arena.alloc_slice_copy(&self.items[first..]);
                self.items.truncate(first);
                Data::List(items)
            }
            Open::Map { first, merges, .. } => {
                self.merge(first, &merges)?;
                let entries = self.arena.alloc_slice_copy(&self.entries[first..]);
                self.entries.truncate(first);
                Data::Map(entries)
            }
        };
        let value = Value { anchored: anchor != 0, ..Value::collection(span, data) };
        if value.weight.saturating_add(self.merged) > MAX_VALUES {
            let message = format!("this is more than {MAX_VALUES} values, with all aliases written out");
            return Err(self.too_large(span, message, "no lab needs that many; aliases of aliases grow very fast"));
        }
        if value.depth > MAX_DEPTH {
            let message = format!("lists and maps are nested more than {MAX_DEPTH} deep");
            self.report.error(Code::TooLarge, span, &Path::Root, message);
            return Err(Stop);
        }
        self.remember(anchor, value);
        self.place(value)
    }

    /// The key that an alias, a list or a map in the place of one is.
    fn key_of(&mut self, value: Value<'t>) -> Key<'t> {
        let Data::Text(text) = value.data else {
            let message = format!("a key must be a text, and this is {}", value.describe());
            if !matches!(value.data, Data::Broken) {
                let here = self.here(None);
                self.report
                    .error(Code::WrongType, value.span, &Path::Text(&here), message)
                    .help("if this is meant as a text, put it in quotes");
            }
            return Key::Refused;
        };
        self.new_key(text, value.span)
    }

    fn new_key(&mut self, text: &'t str, span: Span) -> Key<'t> {
        let Some(Frame { open: Open::Map { first, keys, .. }, .. }) = self.stack.last_mut() else {
            return Key::Refused;
        };
        let Some(first) = keys.find(&self.entries[*first..], text) else { return Key::Is(text, span) };
        let here = self.here(Some(text));
        self.report
            .error(Code::DuplicateKey, span, &Path::Text(&here), format!("`{}` is already in this map", cut(text)))
            .label("the second one")
            .note(first, "the first one");
        Key::Refused
    }

    /// Puts the key where its value will look for it.
    fn put_key(&mut self, key: Key<'t>) {
        if let Some(Frame { open: Open::Map { key: slot, .. }, .. }) = self.stack.last_mut() {
            *slot = key;
        }
    }

    /// The way to the place that is being read.
    fn here(&self, key: Option<&str>) -> String {
        let mut way = String::new();
        for (index, frame) in self.stack.iter().enumerate() {
            match &frame.open {
                Open::List { first } => {
                    let inner = self.stack[index + 1..].iter().find_map(|inner| match inner.open {
                        Open::List { first } => Some(first),
                        Open::Map { .. } => None,
                    });
                    way = Path::Text(&way).index(inner.unwrap_or(self.items.len()) - first).to_string();
                }
                Open::Map { key: Key::Is(key, _), .. } => way = Path::Text(&way).key(key).to_string(),
                Open::Map { .. } => {}
            }
        }
        if let Some(key) = key {
            way = Path::Text(&way).key(key).to_string();
        }
        way
    }

    /// Puts a finished value where it belongs: into the open list or map, or at the top.
    fn place(&mut self, value: Value<'t>) -> Result<(), Stop> {
        let is_key = matches!(self.stack.last(), Some(Frame { open: Open::Map { key: Key::Wanted, .. }, .. }));
        if is_key {
            let key = self.key_of(value);
            self.put_key(key);
            return Ok(());
        }
        let Some(frame) = self.stack.last_mut() else {
            if self.documents > 1 {
                let message = "a topology is one YAML document, and here a second one begins";
                self.report.error(Code::Syntax, value.span, &Path::Root, message);
                return Err(Stop);
            }
            self.root = Some(value);
            return Ok(());
        };
        match &mut frame.open {
            Open::List { .. } => self.items.push(value),
            Open::Map { first, merges, key, .. } => match std::mem::replace(key, Key::Wanted) {
                Key::Is(_, span) if self.entries.len() - *first >= MAX_KEYS => {
                    let message = format!("this map has more than {MAX_KEYS} keys up to here");
                    return Err(self.too_large(span, message, "no lab needs that many in one map"));
                }
                Key::Is(key, key_span) => self.entries.push(Entry { key, key_span, value }),
                Key::Merge => merges.push(value),
                Key::Refused | Key::Wanted => {}
            },
        }
        self.placed += 1;
        if self.placed > MAX_VALUES {
            let message = format!("the file has more than {MAX_VALUES} values up to here");
            return Err(self.too_large(value.span, message, "no lab needs that many; split it into several"));
        }
        Ok(())
    }

    /// `<<`: what the map says itself wins, then the earlier of several.
    fn merge(&mut self, first: usize, merges: &[Value<'t>]) -> Result<(), Stop> {
        if merges.is_empty() {
            return Ok(());
        }
        let mut taken: HashSet<&str> = self.entries[first..].iter().map(|entry| entry.key).collect();
        let sources = merges.iter().flat_map(|value| match value.data {
            Data::List(items) => items,
            _ => std::slice::from_ref(value),
        });
        for source in sources {
            match source.data {
                Data::Map(found) => {
                    self.merged = self.merged.saturating_add(source.weight);
                    if self.merged > MAX_COPIED {
                        let message = format!("the merges (`<<`) of this file copy more than {MAX_COPIED} values");
                        return Err(self.too_large(source.span, message, SHARE));
                    }
                    self.entries.extend(found.iter().filter(|entry| taken.insert(entry.key)));
                }
                Data::Null | Data::Broken => {}
                Data::Text(_) | Data::List(_) => {
                    let message = format!("`<<` merges maps, and this is {}", source.describe());
                    self.report.error(Code::WrongType, source.span, &Path::Root, message);
                }
            }
        }
        Ok(())
    }

    fn too_large(&mut self, span: Span, message: String, help: &str) -> Stop {
        let here = self.here(None);
        self.report.error(Code::TooLarge, span, &Path::Text(&here), message).help(help);
        Stop
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let marker = error.marker();
        let start = marker.byte_offset().unwrap_or(self.text.len()).min(self.text.len());
        let span = Span::new(marker.line(), marker.col() + 1, start..start + 1);
        let line = self.text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        let deep = matches!(error.kind(), ErrorKind::RecursionLimitExceeded);
        let (code, message) = if deep {
            (Code::TooLarge, "lists and maps are nested too deep".to_owned())
        } else {
            (Code::Syntax, format!("this is not valid YAML: {}", error.kind()))
        };
        let open = self.stack.iter().rev().filter_map(|frame| {
            let first = self.text.get(frame.span.range().start..)?.chars().next()?;
            matches!(first, '[' | '{').then_some((first, Span { len: 1, ..frame.span }))
        });
        let bracket = open
            .into_iter()
            .next()
            .filter(|(_, open)| open.range().start != start && *error.kind() != ErrorKind::UnclosedQuotedScalar);
        let here = self.here(None);
        let diagnostic = self.report.error(code, span, &Path::Text(&here), message);
        if indent.contains('\t') {
            diagnostic.help("indent with spaces; YAML does not allow tabs there");
        } else if jinja::is_tag(line) {
            diagnostic.help(jinja::HELP);
        } else if matches!(error.kind(), ErrorKind::MappingValueNotAllowed) {
            diagnostic.help("put a value that contains `: ` in quotes");
        } else if let Some((bracket, span)) = bracket {
            diagnostic.note(span, format!("inside the `{bracket}` that opens here"));
        }
    }
}

fn convert(span: &granit_parser::Span) -> Span {
    let start = span.start.byte_offset().unwrap_or_default();
    let end = span.end.byte_offset().unwrap_or(start);
    Span::new(span.start.line(), span.start.col() + 1, start..end)
}

/// Numbers of what is in a file fit: it is refused before it is read if it has more than 16 MiB.
fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
