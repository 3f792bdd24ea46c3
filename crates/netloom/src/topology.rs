//! Topology files on disk: which one is meant, and what is in it.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use netloom_model::topology::{self, Colour, Diagnostic, Host, Input, Severity};
use netloom_model::{Lab, LabName, Node, NodeName};

use crate::failure::{Exit, Failure, Result, plain};
use crate::{kinds, output};

/// A topology file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Its absolute path without symbolic links: the lab's source.
    pub(crate) path: PathBuf,
    /// Its path as the caller knows it.
    pub(crate) shown: PathBuf,
}

/// A topology file that was read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The lab, unless there is an error.
    pub(crate) lab: Option<Lab>,
    /// All errors and warnings.
    pub(crate) diagnostics: Vec<Diagnostic>,
    text: Vec<u8>,
    shown: PathBuf,
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
}

/// The file itself, or the single `*.clab.yml` or `*.clab.yaml` of a directory.
pub(crate) fn find(path: &Path) -> Result<Source> {
    let unreadable = |error: std::io::Error| Failure::input(format_args!("{}: {}", path.display(), plain(&error)));
    let shown = if fs::metadata(path).map_err(unreadable)?.is_dir() { single(path)? } else { path.to_owned() };
    let path = fs::canonicalize(&shown).map_err(unreadable)?;
    Ok(Source { path, shown })
}

fn single(directory: &Path) -> Result<PathBuf> {
    let unreadable = |error: std::io::Error| Failure::input(format_args!("{}: {}", directory.display(), plain(&error)));
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if (name.ends_with(".clab.yml") || name.ends_with(".clab.yaml")) && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(Failure::input(format_args!(
            "there is no *.clab.yml in {}; name a topology file with -t",
            directory.display()
        ))),
        n => {
            let names: Vec<String> = found.iter().map(|path| path.display().to_string()).collect();
            Err(Failure::input(format_args!(
                "there are {n} topology files in {}; name one of them with -t: {}",
                directory.display(),
                names.join(", ")
            )))
        }
    }
}

/// Reads a file, under another name if one is given. Mistakes in it are in the answer; a file that cannot be read is a failure.
pub(crate) fn read(source: &Source, name: Option<&LabName>) -> Result<Reading> {
    let mut text = Vec::new();
    // One byte more than is read: the reader says that it is too much.
    let limit = topology::MAX_BYTES as u64 + 1;
    let file = File::open(&source.path).and_then(|file| file.take(limit).read_to_end(&mut text));
    file.map_err(|error| Failure::input(format_args!("{}: {}", source.shown.display(), plain(&error))))?;
    let directory = source.path.parent().unwrap_or(Path::new("/"));
    let kinds = kinds::read(directory)?;
    let input = Input { text: &text, directory, source: Some(&source.path), host: &ThisHost, kinds: &kinds };
    let outcome = topology::read_as(&input, name);
    Ok(Reading { lab: outcome.lab, diagnostics: outcome.diagnostics, text, shown: source.shown.clone() })
}

/// Reads the fields of one node; what is said of them names `shown`. Relative paths start from `directory`.
pub(crate) fn read_node(text: &[u8], shown: &str, directory: &Path, name: &NodeName) -> Result<Node> {
    let kinds = kinds::read(directory)?;
    let input = Input { text, directory, source: None, host: &ThisHost, kinds: &kinds };
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
        topology::render(&self.diagnostics, &self.shown.display().to_string(), &self.text, colour)
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
    use super::*;

    #[test]
    fn a_directory_stands_for_its_single_topology_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let none = find(directory.path()).unwrap_err();
        assert_eq!(none.exit, Exit::Input);
        assert!(none.text.unwrap().contains("there is no *.clab.yml in"));

        fs::write(at("other.yml"), "").unwrap();
        fs::write(at("one.clab.yaml"), "").unwrap();
        assert_eq!(find(directory.path()).unwrap().shown, at("one.clab.yaml"));

        fs::write(at("two.clab.yml"), "").unwrap();
        let two = find(directory.path()).unwrap_err().text.unwrap();
        assert!(two.contains("there are 2 topology files") && two.contains("one.clab.yaml, "), "{two}");
        assert_eq!(find(&at("two.clab.yml")).unwrap().shown, at("two.clab.yml"));
    }

    #[test]
    fn another_name_makes_another_lab_of_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.clab.yml");
        fs::write(&path, "name: x\ntopology: { nodes: { a: { kind: linux, runtime: namespace } } }\n").unwrap();
        let source = find(&path).unwrap();
        let lab = read(&source, Some(&"y".parse().unwrap())).unwrap().into_lab().unwrap();
        assert_eq!(lab.name().as_str(), "y");
        assert_eq!(lab.source(), source.path.to_str());
    }
}
