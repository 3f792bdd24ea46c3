//! Diagnostics as text: where, what, the line it stands in, and what to write instead.
//!
//! ```text
//! lab.clab.yml:4:44: error[unknown-field]: node has no field `memmory`
//!    |
//!  4 |     n1: { kind: linux, memmory: 1G }
//!    |                        ^^^^^^^
//!    = help: did you mean `memory`?
//! ```

use std::fmt::Write;

use super::TemplateFile;
use super::diagnostic::{Diagnostic, Note, Severity, Span};

/// Whether the text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Never,
    /// With ANSI escapes (SGR) for a terminal.
    Always,
}

#[derive(Clone, Copy)]
enum Style {
    Error,
    Warning,
    Frame,
    Note,
    Bold,
}

/// Columns of a source line that are shown; a longer line is cut around the marked text.
const WIDTH: usize = 110;

/// The files that diagnostics point into.
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    /// The topology file's name as the reader knows it.
    pub name: &'a str,
    /// The content that was read.
    pub text: &'a [u8],
    /// The templates that it may call.
    pub templates: &'a [TemplateFile],
}

/// All diagnostics of a file without templates of its own; see [`render_files`].
pub fn render(diagnostics: &[Diagnostic], name: &str, text: &[u8], colour: Colour) -> String {
    render_files(diagnostics, &Files { name, text, templates: &[] }, colour)
}

/// All diagnostics one after the other, then how many there are; empty without diagnostics. Control characters of the
/// files are never written out.
pub fn render_files(diagnostics: &[Diagnostic], files: &Files<'_>, colour: Colour) -> String {
    let Files { name, text, templates } = *files;
    let main = Lines::new(text);
    let called: Vec<(&str, Lines<'_>)> =
        templates.iter().map(|file| (file.path.as_str(), Lines::new(file.text.as_bytes()))).collect();
    let nothing = Lines::new(b"");
    let mut out = String::new();
    for diagnostic in diagnostics {
        let (name, lines) = match &diagnostic.file {
            None => (name, &main),
            Some(path) => {
                (path.as_str(), called.iter().find(|(own, _)| own == path).map_or(&nothing, |(_, lines)| lines))
            }
        };
        one(&mut out, diagnostic, &Shown { name, lines, main: files.name }, colour);
        out.push('\n');
    }
    if !diagnostics.is_empty() {
        let count = |severity: Severity| {
            let n = diagnostics.iter().filter(|d| d.severity == severity).count();
            (n > 0).then(|| format!("{n} {}{}", severity.as_str(), if n == 1 { "" } else { "s" }))
        };
        let counts: Vec<String> = [Severity::Error, Severity::Warning].into_iter().filter_map(count).collect();
        let _ = writeln!(out, "{}: {}", printable(name), counts.join(", "));
    }
    out
}

/// The file that a diagnostic is in.
struct Shown<'a> {
    name: &'a str,
    lines: &'a Lines<'a>,
    /// The name of the topology file.
    main: &'a str,
}

fn one(out: &mut String, diagnostic: &Diagnostic, file: &Shown<'_>, colour: Colour) {
    let Shown { name, lines, main } = *file;
    let Diagnostic { severity, code, message, span, label, notes, help, .. } = diagnostic;
    let style = match severity {
        Severity::Error => Style::Error,
        Severity::Warning => Style::Warning,
    };
    let heading = paint(&format!("{}[{code}]", severity.as_str()), style, colour);
    let message = paint(&printable(message), Style::Bold, colour);
    let _ = writeln!(out, "{}:{}:{}: {heading}: {message}", printable(name), span.line, span.column);

    let mut places: Vec<(Span, &str, Style)> = vec![(*span, label.as_deref().unwrap_or_default(), style)];
    let (here, elsewhere): (Vec<&Note>, Vec<&Note>) = notes.iter().partition(|note| note.file == diagnostic.file);
    places.extend(here.iter().map(|note| (note.span, note.message.as_str(), Style::Note)));
    // In the order of the file; what it is about comes first on one line.
    places.sort_by_key(|(span, _, _)| span.line);
    let gutter = places.iter().map(|(span, _, _)| span.line.to_string().len()).max().unwrap_or(1) + 1;
    let bar = |number: &str| paint(&format!("{number:>gutter$} |"), Style::Frame, colour);
    let mut last = None;
    let windows: Vec<Option<Window>> = places.iter().map(|(span, _, _)| lines.window(*span)).collect();
    if windows.iter().flatten().any(|window| !window.text.trim().is_empty()) {
        let _ = writeln!(out, "{}", bar(""));
        for ((span, label, style), window) in places.into_iter().zip(windows) {
            let Some(window) = window else { continue };
            if last != Some(span.line) || window.cut {
                if last.is_some_and(|last| last + 1 < span.line) {
                    let _ = writeln!(out, "{}", paint(&format!("{:>gutter$}", "…"), Style::Frame, colour));
                }
                let _ = writeln!(out, "{} {}", bar(&span.line.to_string()), window.text);
            }
            last = Some(span.line);
            let mark = if matches!(style, Style::Note) { "-" } else { "^" }.repeat(window.marked);
            let under = format!("{mark}{}{}", if label.is_empty() { "" } else { " " }, printable(label));
            let _ = writeln!(out, "{} {}{}", bar(""), " ".repeat(window.before), paint(&under, style, colour));
        }
    }
    let tail = |word: &str, text: &str| {
        format!("{} {}: {}\n", paint(&format!("{:>gutter$} =", ""), Style::Frame, colour), word, printable(text))
    };
    if !diagnostic.path.is_empty() {
        out.push_str(&tail("at", &diagnostic.path));
    }
    for Note { message, span, file } in elsewhere {
        let file = file.as_deref().unwrap_or(main);
        out.push_str(&tail("note", &format!("{message}: {file}:{}:{}", span.line, span.column)));
    }
    if let Some(help) = help {
        out.push_str(&tail(&paint("help", Style::Note, colour), help));
    }
}

/// The part of a line that is shown, with the columns of the mark under it.
struct Window {
    text: String,
    before: usize,
    marked: usize,
    cut: bool,
}

impl Window {
    /// Of a line, without its end, and the byte of it at which the mark begins. Only what is around the mark is looked
    /// at: a file may be one line. Nothing if that is not text.
    fn new(line: &[u8], at: usize, len: usize) -> Option<Self> {
        // The most bytes that so many characters have.
        const MOST: usize = 4 * WIDTH;
        let at = before(line, at.min(line.len()));
        let (from, to) = if line.len() <= MOST {
            (0, line.len())
        } else {
            (before(line, at.saturating_sub(MOST)), before(line, (at + MOST).min(line.len())))
        };
        let end = before(line, at.saturating_add(len).min(to)).max(at);
        let piece = |from: usize, to: usize| std::str::from_utf8(&line[from..to]).ok();
        let (text, column, marked) = (piece(from, to)?, piece(from, at)?.chars().count(), piece(at, end)?);
        let total = text.chars().count();
        let first = if total > WIDTH { column.saturating_sub(WIDTH / 3) } else { 0 };
        let shown: String = text.chars().skip(first).take(WIDTH).map(blank).collect();
        let (begins, ends) = (from == 0 && first == 0, to == line.len() && first + WIDTH >= total);
        let (head, tail) = (if begins { "" } else { "…" }, if ends { "" } else { "…" });
        let room = (WIDTH + 1).saturating_sub(column - first).max(1);
        Some(Self {
            text: format!("{head}{}{tail}", shown.trim_end()),
            before: column - first + usize::from(!begins),
            marked: marked.trim_end().chars().count().max(1).min(room),
            cut: total > WIDTH,
        })
    }
}

/// The place itself, or the beginning of the character that it is in.
fn before(text: &[u8], mut at: usize) -> usize {
    // Bytes that go on with a character (RFC 3629).
    while at > 0 && text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80) {
        at -= 1;
    }
    at
}

/// One column for one character, and nothing that moves the cursor.
fn blank(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { ' ' } else { blank(c) }).collect()
}

fn paint(text: &str, style: Style, colour: Colour) -> String {
    let code = match (colour, style) {
        (Colour::Never, _) => return text.to_owned(),
        (Colour::Always, Style::Error) => "1;31",
        (Colour::Always, Style::Warning) => "1;33",
        (Colour::Always, Style::Frame) => "1;34",
        (Colour::Always, Style::Note) => "36",
        (Colour::Always, Style::Bold) => "1",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// The lines of a file by number. Found once: a file with a thousand mistakes is not read a thousand times.
struct Lines<'a> {
    text: &'a [u8],
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a [u8]) -> Self {
        let breaks = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// What is shown of the line that a span starts in; nothing if it is not text.
    fn window(&self, span: Span) -> Option<Window> {
        let index = (span.line as usize).checked_sub(1)?;
        let mut start = *self.starts.get(index)?;
        let end = self.starts.get(index + 1).map_or(self.text.len(), |next| next - 1).max(start);
        // A byte order mark takes no column.
        if start == 0 && self.text.starts_with(b"\xef\xbb\xbf") {
            start = 3;
        }
        let line = &self.text[start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        Window::new(line, span.range().start.saturating_sub(start), span.range().len())
    }
}
