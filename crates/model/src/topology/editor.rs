//! Diagnostics in the form that editors want them: positions as in the Language Server Protocol (version 3.17,
//! section "Position"), so lines and characters count from 0 and characters are UTF-16 code units.

use std::collections::BTreeMap;

use serde::Serialize;

use super::diagnostic::{Code, Diagnostic, Severity, Span};
use super::render::Files;

/// A diagnostic for an editor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Marked {
    /// The file as the caller knows it.
    pub file: String,
    /// How bad it is: `error` or `warning`.
    pub severity: Severity,
    /// What it is about; the texts are stable.
    pub code: Code,
    /// One sentence, without a full stop.
    pub message: String,
    /// The marked text.
    pub range: Range,
    /// The path in the file, for example `topology.links[3].endpoints[1]`; empty for the whole file.
    pub path: String,
    /// A few words about the marked text.
    pub label: Option<String>,
    /// What to write instead, as a sentence.
    pub help: Option<String>,
    /// The name to put in the place of the wrong one, if one is near.
    pub suggestion: Option<String>,
    /// Other places that belong to it.
    pub related: Vec<Related>,
}

/// Another place that a diagnostic speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Related {
    /// The file as the caller knows it.
    pub file: String,
    /// What is there.
    pub message: String,
    /// Where.
    pub range: Range,
}

/// A part of a file; the end is behind its last character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Range {
    /// Its first character.
    pub start: Position,
    /// The place behind its last character.
    pub end: Position,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// Line, from 0.
    pub line: usize,
    /// UTF-16 code units before it in its line.
    pub character: usize,
}

/// All diagnostics, each with its place in the file that it is about: the topology, or a template that it calls.
pub fn marked(diagnostics: &[Diagnostic], files: &Files<'_>) -> Vec<Marked> {
    let mut spans: BTreeMap<Option<&str>, Vec<Span>> = BTreeMap::new();
    for found in diagnostics {
        spans.entry(found.file.as_deref()).or_default().push(found.span);
        for note in &found.notes {
            spans.entry(note.file.as_deref()).or_default().push(note.span);
        }
    }
    let text = |file: Option<&str>| match file {
        None => files.text,
        Some(path) => files.templates.iter().find(|own| own.path == path).map_or(&[][..], |own| own.text.as_bytes()),
    };
    let places: BTreeMap<Option<&str>, Places> =
        spans.into_iter().map(|(file, spans)| (file, Places::of(text(file), spans.into_iter()))).collect();
    let name = |file: &Option<String>| file.as_deref().unwrap_or(files.name).to_owned();
    let range = |file: &Option<String>, span: Span| places[&file.as_deref()].range(span);
    let one = |found: &Diagnostic| Marked {
        file: name(&found.file),
        severity: found.severity,
        code: found.code,
        message: found.message.clone(),
        range: range(&found.file, found.span),
        path: found.path.clone(),
        label: found.label.clone(),
        help: found.help.clone(),
        suggestion: found.suggestion.clone(),
        related: found
            .notes
            .iter()
            .map(|note| Related {
                file: name(&note.file),
                message: note.message.clone(),
                range: range(&note.file, note.span),
            })
            .collect(),
    };
    diagnostics.iter().map(one).collect()
}

/// The positions of the bytes that diagnostics speak of, found in one pass over the text: a line may be the whole file.
struct Places(BTreeMap<usize, Position>);

impl Places {
    fn of(text: &[u8], spans: impl Iterator<Item = Span>) -> Self {
        let mut places: BTreeMap<usize, Position> =
            spans.flat_map(ends).map(|at| (at, Position { line: 0, character: 0 })).collect();
        // A byte order mark is no character of the text.
        let mut at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let mut here = Position { line: 0, character: 0 };
        for (wanted, place) in &mut places {
            while at < (*wanted).min(text.len()) {
                match text[at] {
                    b'\r' if text.get(at + 1) == Some(&b'\n') => here.character += 1,
                    b'\n' | b'\r' => here = Position { line: here.line + 1, character: 0 },
                    // UTF-8: bytes that go on with a character, the first of one beyond U+FFFF, and of all others.
                    0x80..=0xbf => {}
                    0xf0.. => here.character += 2,
                    _ => here.character += 1,
                }
                at += 1;
            }
            *place = here;
        }
        Self(places)
    }

    fn range(&self, span: Span) -> Range {
        let [start, end] = ends(span).map(|at| self.0[&at]);
        Range { start, end }
    }
}

fn ends(span: Span) -> [usize; 2] {
    let range = span.range();
    [range.start, range.end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range_of(text: &str, start: usize, len: usize) -> [usize; 4] {
        let [start, len] = [start, len].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let span = Span { start, len, ..Span::default() };
        let Range { start, end } = Places::of(text.as_bytes(), std::iter::once(span)).range(span);
        [start.line, start.character, end.line, end.character]
    }

    fn range(text: &str, part: &str) -> [usize; 4] {
        range_of(text, text.find(part).unwrap(), part.len())
    }

    #[test]
    fn characters_are_utf_16_code_units_and_lines_end_as_editors_end_them() {
        assert_eq!(range("abc", "b"), [0, 1, 0, 2]);
        assert_eq!(range("é😀x", "x"), [0, 3, 0, 4]);
        assert_eq!(range("é😀x", "😀"), [0, 1, 0, 3]);
        assert_eq!(range("a\r\nb\rc\nd", "b"), [1, 0, 1, 1]);
        assert_eq!(range("a\r\nb\rc\nd", "d"), [3, 0, 3, 1]);
        assert_eq!(range("a: [1,\n  2]", "[1,\n  2]"), [0, 3, 1, 4]);
        assert_eq!(range("\u{feff}name: x", "name"), [0, 0, 0, 4]);
    }

    #[test]
    fn a_place_outside_of_the_text_is_at_its_end() {
        assert_eq!(range_of("ab\n", 90, usize::MAX), [1, 0, 1, 0]);
        assert_eq!(range_of("", 0, 1), [0, 0, 0, 0]);
        assert_eq!(range_of("\u{feff}", 0, 0), [0, 0, 0, 0]);
    }
}
