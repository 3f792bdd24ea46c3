//! Topology files: what is in them. Which one is meant is found in [`crate::locate`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use netloom_model::topology::{
    self, Colour, Diagnostic, Files, GitHead, Host, Input, Marked, Severity, TemplateFile, Templates,
};
use netloom_model::{Lab, LabName, Node, NodeName};

use crate::failure::{Exit, Failure, Result, plain};
pub(crate) use crate::locate::{Source, find, find_with};
use crate::surroundings::Surroundings;
use crate::{git, kinds, output};

/// A topology file that was read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The lab, unless there is an error.
    pub(crate) lab: Option<Lab>,
    /// All errors and warnings.
    pub(crate) diagnostics: Vec<Diagnostic>,
    text: Vec<u8>,
    shown: PathBuf,
    /// The templates that it may call.
    files: Vec<TemplateFile>,
}

/// The host that the command line runs on.
struct ThisHost;

impl Host for ThisHost {
    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn home(&self) -> Option<PathBuf> {
        std::env::home_dir()
    }

    fn content(&self, path: &Path) -> std::result::Result<String, String> {
        // A byte more than is taken, so that a file that is too large is known to be.
        const MAX: u64 = (1 << 20) + 1;
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX).read_to_string(&mut text));
        read.map(|_| text).map_err(|error| plain(&error))
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn variables(&self) -> BTreeMap<String, String> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(text).collect()
    }

    fn git(&self, directory: &Path) -> Option<GitHead> {
        git::head(directory)
    }
}

/// Reads a file, under another name if one is given. Mistakes in it are in the answer; a file that cannot be read is a failure.
pub(crate) fn read(source: &Source, name: Option<&LabName>) -> Result<Reading> {
    with(source, |input| {
        let outcome = topology::read_as(input, name);
        (outcome.lab, outcome.diagnostics)
    })
}

/// The text of a file with its templates rendered and its variables replaced, after saying what there is to say.
pub(crate) fn rendered(source: &Source) -> Result<String> {
    let mut made = None;
    let reading = with(source, |input| {
        let rendered = topology::rendered(input);
        made = rendered.text;
        (None, rendered.diagnostics)
    })?;
    let said = reading.rendered();
    if !said.is_empty() {
        output::say(&said);
    }
    made.ok_or_else(|| Failure::said(Exit::Input))
}

/// Reads a file and what belongs to it.
fn with(source: &Source, read: impl FnOnce(&Input<'_>) -> (Option<Lab>, Vec<Diagnostic>)) -> Result<Reading> {
    let text = source.whole()?;
    let is_template = text.windows(2).any(|pair| pair == b"{{");
    let around =
        if is_template || !source.vars.is_empty() { Surroundings::read(source)? } else { Surroundings::default() };
    let (directory, file) = (source.directory.as_path(), source.path.as_deref());
    let (kinds, templates) = (kinds::read(directory)?, around.templates());
    let input = Input { text: &text, directory, source: file, host: &ThisHost, kinds: &kinds, templates };
    let (lab, diagnostics) = read(&input);
    Ok(Reading { lab, diagnostics, text, shown: source.shown.clone(), files: around.into_files() })
}

/// Reads a text that is not in a file; what is said of it names `shown`. Relative paths start from `directory`.
pub(crate) fn read_text(text: &[u8], shown: &str, directory: &Path) -> Result<Reading> {
    let kinds = kinds::read(directory)?;
    let templates = Templates::default();
    let outcome = topology::read(&Input { text, directory, source: None, host: &ThisHost, kinds: &kinds, templates });
    let (text, shown, files) = (text.to_owned(), shown.into(), Vec::new());
    Ok(Reading { lab: outcome.lab, diagnostics: outcome.diagnostics, text, shown, files })
}

/// Reads the fields of one node; what is said of them names `shown`. Relative paths start from `directory`.
pub(crate) fn read_node(text: &[u8], shown: &str, directory: &Path, name: &NodeName) -> Result<Node> {
    let (kinds, templates) = (kinds::read(directory)?, Templates::default());
    let input = Input { text, directory, source: None, host: &ThisHost, kinds: &kinds, templates };
    let outcome = topology::read_node(&input, name);
    let colour = if output::coloured() { Colour::Always } else { Colour::Never };
    let said = topology::render(&outcome.diagnostics, shown, text, colour);
    if !said.is_empty() {
        output::say(&said);
    }
    outcome.node.ok_or_else(|| Failure::said(Exit::Input))
}

impl Reading {
    /// The diagnostics for people; empty without any.
    pub(crate) fn rendered(&self) -> String {
        let colour = if output::coloured() { Colour::Always } else { Colour::Never };
        let name = self.shown.display().to_string();
        topology::render_files(&self.diagnostics, &self.all(&name), colour)
    }

    /// The files that the diagnostics are about.
    fn all<'a>(&'a self, name: &'a str) -> Files<'a> {
        Files { name, text: &self.text, templates: &self.files }
    }

    /// The diagnostics as editors want them.
    pub(crate) fn marked(&self) -> Vec<Marked> {
        let name = self.shown.display().to_string();
        topology::marked(&self.diagnostics, &self.all(&name))
    }

    /// Takes warnings for errors.
    pub(crate) fn strict(mut self) -> Self {
        for diagnostic in &mut self.diagnostics {
            diagnostic.severity = Severity::Error;
        }
        let lab = self.lab.take().filter(|_| self.diagnostics.is_empty());
        Self { lab, ..self }
    }

    /// How many errors and warnings there are.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// The lab, after saying what there is to say about the file.
    pub(crate) fn into_lab(self) -> Result<Lab> {
        let said = self.rendered();
        if !said.is_empty() {
            output::say(&said);
        }
        self.lab.ok_or_else(|| Failure::said(Exit::Input))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn another_name_makes_another_lab_of_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.clab.yml");
        fs::write(&path, "name: x\ntopology: { nodes: { a: { kind: linux, runtime: namespace } } }\n").unwrap();
        let source = find(&path).unwrap();
        let lab = read(&source, Some(&"y".parse().unwrap())).unwrap().into_lab().unwrap();
        assert_eq!(lab.name().as_str(), "y");
        assert_eq!(lab.source(), source.path.as_deref().and_then(Path::to_str));
    }
}
