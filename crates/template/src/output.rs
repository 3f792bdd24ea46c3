//! Output, and where it comes from.

use std::ops::Range;

use crate::error::Span;

/// A text that was rendered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// Where its bytes come from: in order, without gaps.
    pub runs: Vec<Run>,
}

/// Bytes of the output that come from one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Offset of the first byte in the output.
    pub start: usize,
    /// How many bytes of output.
    pub len: usize,
    /// Index of the source.
    pub source: usize,
    /// The bytes of that source: the same ones, or the action that made them.
    pub from: Range<usize>,
    /// Which of the two.
    pub made: Made,
}

/// How output comes from its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It stands there, byte for byte.
    Copied,
    /// An action made it.
    Produced,
}

impl Rendered {
    pub(crate) fn push(&mut self, text: &str, source: usize, span: Span, made: Made) {
        if text.is_empty() {
            return;
        }
        let (start, from) = (self.text.len(), span.start..span.end);
        self.text.push_str(text);
        self.runs.push(Run { start, len: text.len(), source, from, made });
    }
}
