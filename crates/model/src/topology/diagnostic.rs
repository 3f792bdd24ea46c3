//! Diagnostics: what is wrong with a topology file, where, and what to write instead.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::nearest::nearest;
use super::origin::Origin;
use super::substitute::left_over;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used; something in it has no effect, or an unexpected one.
    Warning,
}

impl Severity {
    /// `error` or `warning`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a diagnostic is about. The texts are stable: scripts may match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// All codes. Each has a section in `docs/topology/diagnostics.md`.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The stable text, for example `unknown-field`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The file holds nothing.
    EmptyFile = "empty-file",
    /// The file is not UTF-8 text.
    NotText = "not-text",
    /// The file, what its aliases expand to, or its nesting is larger than any lab.
    TooLarge = "too-large",
    /// The text is not YAML.
    Syntax = "syntax",
    /// A template that is wrong.
    Template = "template",
    /// A variable that is not set, or is written in a way that is none.
    Substitution = "substitution",
    /// A key appears twice in one map.
    DuplicateKey = "duplicate-key",
    /// The format has no such field here.
    UnknownField = "unknown-field",
    /// A field of the format that Netloom does not act on yet.
    IgnoredField = "ignored-field",
    /// A list where a text is wanted, and the like.
    WrongType = "wrong-type",
    /// Something that must be there is not.
    Missing = "missing",
    /// A lab, node or interface name that cannot be one.
    InvalidName = "invalid-name",
    /// A value that is out of range or not of the form that its field has.
    InvalidValue = "invalid-value",
    /// A kind that does not exist.
    UnknownKind = "unknown-kind",
    /// A link type that does not exist.
    UnknownLinkType = "unknown-link-type",
    /// A part of the format that Netloom cannot do yet and must not skip.
    Unsupported = "unsupported",
    /// A group that looks like a defined one but is not.
    UnknownGroup = "unknown-group",
    /// A link that ends on a node that is not there.
    UnknownNode = "unknown-node",
    /// A link with more or fewer ends than its type has.
    EndpointCount = "endpoint-count",
    /// An endpoint that is not `node:interface`.
    EndpointSyntax = "endpoint-syntax",
    /// An interface that its node cannot have from a link.
    ReservedInterface = "reserved-interface",
    /// An interface name that the kernel does not take; another one stands in for it.
    KernelName = "kernel-name",
    /// Two links want one interface.
    DuplicateInterface = "duplicate-interface",
    /// Two interfaces want one MAC address.
    DuplicateMac = "duplicate-mac",
    /// The source of a bind does not exist.
    BindSource = "bind-source",
    /// Something that is valid but does nothing here.
    NoEffect = "no-effect",
    /// A file that the topology names does not exist or cannot be read.
    MissingFile = "missing-file",
    /// Two nodes want one address of the management network.
    DuplicateAddress = "duplicate-address",
    /// Nodes that wait for each other without end.
    WaitCycle = "wait-cycle",
    /// A field by a name that it no longer has.
    OldName = "old-name",
    /// A node that is part of the lab and cannot be made yet: plans leave it and its links out.
    LeftOut = "left-out",
    /// An interface name that the kind of its node does not have.
    InterfaceRule = "interface-rule",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A part of the file. Its numbers fit: a file has at most [`super::MAX_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Span {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Offset of the first byte.
    pub start: u32,
    /// Length in bytes; may run over several lines.
    pub len: u32,
}

impl Span {
    pub(super) fn new(line: usize, column: usize, range: Range<usize>) -> Self {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let len = range.end.saturating_sub(range.start);
        Self { line: number(line), column: number(column), start: number(range.start), len: number(len) }
    }

    /// The bytes that it is.
    pub fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start.saturating_add(self.len as usize)
    }
}

/// A second place in the file that a diagnostic refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What is there, for example "first used here".
    pub message: String,
    /// Where.
    pub span: Span,
    /// The file with a template that it is in; nothing for the topology file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

/// One thing that is wrong or worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub code: Code,
    /// One sentence, without a full stop.
    pub message: String,
    /// The path in the file, for example `topology.links[3].endpoints[1]`; empty for the whole file.
    pub path: String,
    /// Where; always points into the file.
    pub span: Span,
    /// The file with a template that it is in; nothing for the topology file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A few words to put under the marked text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Other places that belong to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The name that may be meant instead of the marked one; `help` says so in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl Diagnostic {
    fn new(severity: Severity, code: Code, span: Span, message: String) -> Self {
        let (path, notes) = (String::new(), Vec::new());
        Self { severity, code, message, path, span, file: None, label: None, notes, help: None, suggestion: None }
    }

    pub(super) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(label.into());
        self
    }

    pub(super) fn note(&mut self, span: Span, message: impl Into<String>) -> &mut Self {
        self.notes.push(Note { message: message.into(), span, file: None });
        self
    }

    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// "did you mean …" if there is something to mean; keeps a help that is already there.
    pub(super) fn suggest(&mut self, name: Option<String>) -> &mut Self {
        if let Some(name) = name {
            self.help = Some(format!("did you mean `{name}`?"));
            self.suggestion = Some(name);
        }
        self
    }
}

/// The way to a value, for the `path` of diagnostics. Lives on the stack; text is made only when needed.
#[derive(Clone, Copy)]
pub(super) enum Path<'a> {
    Root,
    /// A way that was written down before.
    Text(&'a str),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    pub(super) fn key(&'a self, key: &'a str) -> Self {
        Self::Key(self, key)
    }

    pub(super) fn index(&'a self, index: usize) -> Self {
        Self::Index(self, index)
    }

    /// The end of the way, for messages: `exec[1]`.
    pub(super) fn last(&self) -> String {
        match self {
            Self::Root => "the file".to_owned(),
            Self::Text(text) => (*text).to_owned(),
            Self::Key(_, key) => cut(key),
            Self::Index(parent, index) => format!("{}[{index}]", parent.last()),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Text(text) => f.write_str(text),
            Self::Key(parent, key) => {
                parent.fmt(f)?;
                if !matches!(parent, Self::Root | Self::Text("")) {
                    f.write_str(".")?;
                }
                let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "-_|".contains(c)) && !key.is_empty();
                if plain { f.write_str(key) } else { write!(f, "{:?}", cut(key)) }
            }
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A text from the file, cut so that one bad value cannot fill the screen.
pub(super) fn cut(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Collects diagnostics. Bounded: a hostile file cannot make it grow without end.
pub(super) struct Report {
    found: Vec<Diagnostic>,
    seen: HashSet<(Code, u32, String)>,
    /// Fields that were said to have no effect: where they were first seen and how often since.
    ignored: BTreeMap<(&'static str, String), (usize, usize)>,
    dropped: usize,
    errors: usize,
    scratch: Diagnostic,
    comparisons: usize,
    /// Where the text comes from if it is not the file itself, and how many diagnostics are about the files already.
    origin: Option<(Origin, usize)>,
}

/// More than anyone reads; the rest is counted.
const MAX_DIAGNOSTICS: usize = 1000;

/// Names compared in search of suggestions: 10,000 nodes for 100 misspelt names.
const MAX_COMPARISONS: usize = 1_000_000;

impl AsMut<Self> for Report {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            found: Vec::new(),
            seen: HashSet::new(),
            ignored: BTreeMap::new(),
            dropped: 0,
            errors: 0,
            scratch: Diagnostic::new(Severity::Error, Code::Syntax, Span::default(), String::new()),
            comparisons: MAX_COMPARISONS,
            origin: None,
        }
    }

    /// From here on diagnostics are about a text that was made of the files.
    pub(super) fn comes_from(&mut self, origin: Origin) {
        // What was found before does not hide what is at the same offset of another text.
        self.seen.clear();
        self.origin = Some((origin, self.found.len()));
    }

    pub(super) fn error(
        &mut self,
        code: Code,
        span: Span,
        at: &Path<'_>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Severity::Error, code, span, at, message.into())
    }

    pub(super) fn warning(
        &mut self,
        code: Code,
        span: Span,
        at: &Path<'_>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        self.push(Severity::Warning, code, span, at, message.into())
    }

    fn push(&mut self, severity: Severity, code: Code, span: Span, at: &Path<'_>, message: String) -> &mut Diagnostic {
        if severity == Severity::Error {
            self.errors += 1;
        }
        let full = self.found.len() >= MAX_DIAGNOSTICS;
        // A value that several nodes share (an anchor, a default) is wrong once.
        if full || !self.seen.insert((code, span.start, message.clone())) {
            self.dropped += usize::from(full);
            self.scratch.notes.clear();
            return &mut self.scratch;
        }
        let mut diagnostic = Diagnostic::new(severity, code, span, message);
        diagnostic.path = at.to_string();
        self.found.push(diagnostic);
        self.found.last_mut().unwrap_or(&mut self.scratch)
    }

    /// Says once per field that it has no effect, however many nodes have it.
    pub(super) fn ignored(&mut self, what: &'static str, field: &str, span: Span, at: &Path<'_>) {
        if let Some((_, more)) = self.ignored.get_mut(&(what, field.to_owned())) {
            *more += 1;
            return;
        }
        let index = self.found.len();
        self.warning(Code::IgnoredField, span, at, format!("`{field}` is not acted on yet"));
        if self.found.len() > index {
            self.ignored.insert((what, field.to_owned()), (index, 0));
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The candidate that looks most like `name`, if one looks like it at all. Not looked for when nobody would read it.
    pub(super) fn nearest<'c>(&mut self, name: &str, candidates: impl Iterator<Item = &'c str>) -> Option<String> {
        if self.found.len() >= MAX_DIAGNOSTICS {
            return None;
        }
        let budget = &mut self.comparisons;
        let candidates = candidates.take_while(|_| {
            *budget = budget.saturating_sub(1);
            *budget > 0
        });
        nearest(name, candidates).map(str::to_owned)
    }

    /// All diagnostics by position.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        for (index, more) in self.ignored.into_values() {
            if let Some(diagnostic) = self.found.get_mut(index).filter(|_| more > 0) {
                diagnostic.label = Some(format!("and in {more} more {}", if more == 1 { "place" } else { "places" }));
            }
        }
        if let Some((origin, settled)) = self.origin {
            self.found.iter_mut().skip(settled).for_each(|diagnostic| origin.settle(diagnostic));
            // A loop repeats what is wrong in it.
            let mut seen = HashSet::new();
            self.found.retain(|d| seen.insert((d.code, d.file.clone(), d.span.start, d.message.clone())));
        }
        for diagnostic in self.found.iter_mut().filter(|d| d.severity == Severity::Error && d.help.is_none()) {
            if let Some(name) = left_over(&diagnostic.message).map(str::to_owned) {
                diagnostic.help(format!(
                    "`${name}` stays when the variable is not set; set it, or write `${{{name}:-text}}`"
                ));
            }
        }
        let place = |d: &Diagnostic| (d.span.start, d.severity);
        self.found.sort_by(|a, b| a.file.cmp(&b.file).then_with(|| place(a).cmp(&place(b))));
        if self.dropped > 0 {
            let message = format!("{} more diagnostics are not shown", self.dropped);
            let (file, span) = self.found.last().map(|d| (d.file.clone(), d.span)).unwrap_or_default();
            let last = Diagnostic { file, ..Diagnostic::new(Severity::Error, Code::TooLarge, span, message) };
            self.found.push(last);
        }
        self.found
    }
}
