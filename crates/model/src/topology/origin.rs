//! Where a text comes from that the stages before the tree have made of a file: diagnostics point at what a person
//! wrote, not at what became of it.
//!
//! Each stage gives the pieces of its output in order. A piece is copied from the text before, byte for byte, or made
//! of a part of it as a whole: by an action of a template, by a variable.

use std::cell::OnceCell;
use std::ops::Range;

use super::diagnostic::{Diagnostic, Note, Span, cut};

/// Bytes of a stage's output that come from one place of its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    /// Offset in the output.
    pub(super) start: usize,
    pub(super) len: usize,
    /// Which file of the input; only templates have more than one.
    pub(super) file: usize,
    pub(super) from: Range<usize>,
    pub(super) kind: Kind,
}

/// How a piece comes from its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Copied,
    Made,
}

/// A file that people write.
pub(super) struct File {
    /// Nothing for the topology file itself.
    path: Option<String>,
    text: String,
    /// Where its lines begin.
    lines: OnceCell<Vec<usize>>,
}

impl File {
    pub(super) fn new(path: Option<String>, text: String) -> Self {
        Self { path, text, lines: OnceCell::new() }
    }

    fn span(&self, range: &Range<usize>) -> Span {
        let lines = self
            .lines
            .get_or_init(|| std::iter::once(0).chain(self.text.match_indices('\n').map(|(at, _)| at + 1)).collect());
        let start = range.start.min(self.text.len());
        let line = lines.partition_point(|begin| *begin <= start).max(1);
        let before = self.text.get(lines[line - 1]..start).unwrap_or_default();
        Span::new(line, before.chars().count() + 1, start..range.end.min(self.text.len()))
    }
}

/// The files, the stages, and what they made.
#[derive(Default)]
pub(super) struct Origin {
    files: Vec<File>,
    stages: Vec<Vec<Piece>>,
    made: String,
}

/// What a part of the text after the stages is in the files.
struct Place {
    file: usize,
    range: Range<usize>,
    kind: Kind,
}

impl Origin {
    /// The files that a topology is made of, itself first; no stage has run.
    pub(super) fn new(files: Vec<File>) -> Self {
        Self { files, stages: Vec::new(), made: String::new() }
    }

    /// Adds what a stage has made of what was there before.
    pub(super) fn stage(&mut self, made: String, pieces: Vec<Piece>) {
        self.made = made;
        self.stages.push(pieces);
    }

    /// The text after all stages.
    pub(super) fn text(&self) -> &str {
        &self.made
    }

    /// Part of a file, for a mistake that a stage finds itself.
    pub(super) fn in_file(&self, file: usize, range: &Range<usize>) -> (Option<String>, Span) {
        self.files.get(file).map_or((None, Span::default()), |file| (file.path.clone(), file.span(range)))
    }

    /// Part of the text as it is now.
    pub(super) fn locate(&self, range: Range<usize>) -> (Option<String>, Span) {
        let place = self.place(range);
        self.in_file(place.file, &place.range)
    }

    fn place(&self, range: Range<usize>) -> Place {
        let mut place = Place { file: 0, range, kind: Kind::Copied };
        for pieces in self.stages.iter().rev() {
            let before = back(pieces, place.range);
            let kind = if before.kind == Kind::Made { Kind::Made } else { place.kind };
            place = Place { kind, ..before };
        }
        place
    }

    /// Turns a diagnostic about the text into one about the files.
    pub(super) fn settle(&self, diagnostic: &mut Diagnostic) {
        let first_line = self.first_line(diagnostic.span);
        let place = self.place(diagnostic.span.range());
        let shown = self.place(first_line);
        let produced = (shown.kind == Kind::Made).then(|| self.line(diagnostic.span.range().start));
        (diagnostic.file, diagnostic.span) = self.in_file(place.file, &place.range);
        for Note { span, file, .. } in &mut diagnostic.notes {
            (*file, *span) = self.locate(span.range());
        }
        if diagnostic.message.contains("<no value>") {
            diagnostic.help("a template writes `<no value>` for what its data does not have");
        }
        let Some(line) = produced.filter(|line| !line.is_empty()) else { return };
        let message = format!("produces `{}`", cut(line));
        if diagnostic.label.is_none() {
            diagnostic.label = Some(message);
        } else {
            diagnostic.notes.push(Note { message, span: diagnostic.span, file: diagnostic.file.clone() });
        }
    }

    /// The part of a span that is on its first line.
    fn first_line(&self, span: Span) -> Range<usize> {
        let range = span.range();
        let text = self.made.get(range.clone()).unwrap_or_default();
        range.start..range.start + text.lines().next().unwrap_or_default().len()
    }

    /// The line of the text that an offset is in, without white space around it.
    fn line(&self, at: usize) -> &str {
        let (before, behind) = self.made.split_at_checked(at).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |end| end + 1);
        let end = behind.find('\n').map_or(self.made.len(), |end| at + end);
        self.made.get(start..end).unwrap_or_default().trim()
    }
}

/// A part of a stage's output in its input.
fn back(pieces: &[Piece], range: Range<usize>) -> Place {
    /// Pieces that are looked at; a span with more of them is a large part of the file.
    const LOOKED_AT: usize = 64;
    let at = |offset: usize| pieces.partition_point(|piece| piece.start <= offset).saturating_sub(1);
    let (first, last) = (at(range.start), at(range.end.saturating_sub(1).max(range.start)));
    let (Some(begin), Some(end)) = (pieces.get(first), pieces.get(last)) else {
        return Place { file: 0, range: 0..0, kind: Kind::Copied };
    };
    let made = pieces[first..=last].iter().take(LOOKED_AT).any(|piece| piece.kind == Kind::Made);
    let start = match begin.kind {
        Kind::Copied => (begin.from.start + (range.start - begin.start)).min(begin.from.end),
        Kind::Made => begin.from.start,
    };
    let stop = match end.kind {
        Kind::Copied => (end.from.start + range.end.saturating_sub(end.start)).min(end.from.end),
        Kind::Made => end.from.end,
    };
    // A loop or another file lies between: what begins here is what can be shown.
    let stop = if begin.file == end.file && stop >= start { stop } else { begin.from.end };
    Place { file: begin.file, range: start..stop, kind: if made { Kind::Made } else { Kind::Copied } }
}
