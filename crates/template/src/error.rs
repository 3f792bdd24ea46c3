//! What is wrong with a template, and where.

use std::fmt;
use std::ops::Range;

/// Why a template cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Which source it is in: its index, the main one is 0.
    pub source: usize,
    /// The bytes of that source.
    pub range: Range<usize>,
    /// One sentence, without a full stop.
    pub message: String,
    /// What to write instead, if that is known.
    pub hint: Option<String>,
    /// Where the template that it is in was called, the innermost call first; source and bytes as above. Not more than
    /// a few.
    pub calls: Vec<(usize, Range<usize>)>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Part of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn to(self, end: Self) -> Self {
        Self { start: self.start, end: end.end.max(self.start) }
    }
}

/// What is wrong at a place, before it is known in which source that is.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) trouble: Trouble,
}

/// What is wrong with one source, in the order in which it was found.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    /// More than anyone reads.
    const MOST: usize = 100;

    /// Takes one more; it is given back when these are enough, to end the search with it.
    pub(crate) fn push(&mut self, fault: Fault) -> Result<(), Fault> {
        if self.0.len() >= Self::MOST {
            return Err(fault);
        }
        self.0.push(fault);
        Ok(())
    }

    /// Takes one that may only follow from another: it counts if there is none before this place.
    pub(crate) fn push_if_none_before(&mut self, place: usize, fault: Fault) {
        if self.0.iter().all(|other| other.span.start >= place) {
            self.0.push(fault);
        }
    }

    /// By their place.
    pub(crate) fn sorted(mut self) -> Vec<Fault> {
        self.0.sort_by_key(|fault| fault.span.start);
        self.0
    }
}

/// What is wrong, before it is known where.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Trouble {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn at(self, span: Span) -> Fault {
        Fault { span, trouble: self }
    }

    /// "did you mean …" if one of the candidates looks like the name.
    pub(crate) fn nearest<'c>(self, name: &str, candidates: impl Iterator<Item = &'c str>) -> Self {
        const LONGEST: usize = 64;
        /// Comparisons; a name has few neighbours.
        const MOST: usize = 10_000;
        if name.len() > LONGEST {
            return self;
        }
        let wanted = name.to_lowercase();
        let allowed = (name.chars().count() / 3).max(1);
        let near = candidates
            .take(MOST)
            .filter(|candidate| candidate.len() <= LONGEST)
            .map(|candidate| (strsim::osa_distance(&wanted, &candidate.to_lowercase()), candidate))
            .filter(|(edits, candidate)| *edits <= allowed && *edits < candidate.chars().count())
            .min_by_key(|(edits, candidate)| (*edits, !candidate.to_lowercase().starts_with(&wanted)));
        match near {
            Some((_, near)) => self.hint(format!("did you mean `{near}`?")),
            None => self,
        }
    }
}

/// A text from a template, cut so that it cannot fill the screen.
pub(crate) fn cut(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
