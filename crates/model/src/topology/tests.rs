//! What topology files become, and what is said about those that are wrong.

mod advice;
mod bad;
mod bounds;
mod cascades;
mod docs;
mod examples;
mod fields;
mod format;
mod generated;
mod inherit;
mod kinds;
mod laws;
mod links;
mod management;
mod marks;
mod merging;
mod mistakes;
mod pages;
mod ports;
mod scale;
mod stages;
mod templates;
mod templates_page;
mod values;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Code, Colour, Diagnostic, Host, Input, Kinds, Outcome, Severity, Templates, read, read_as, render};
use crate::lab::{Lab, Node};

// The format's own examples, where the search for bad inputs begins with them.
const E1: &str = include_str!("../../../../fuzz/corpus/topology/e1.clab.yml");
const E2: &str = include_str!("../../../../fuzz/corpus/topology/e2.clab.yml");
const E3: &str = include_str!("../../../../fuzz/corpus/topology/e3.clab.yml");
const E4: &str = include_str!("../../../../fuzz/corpus/topology/e4.clab.yml");
const E5: &str = include_str!("../../../../fuzz/corpus/topology/e5.clab.yml");
const E6: &str = include_str!("../../../../fuzz/corpus/topology/e6.clab.yml");
const E7: &str = include_str!("../../../../fuzz/corpus/topology/e7.clab.yml");
const E8: &str = include_str!("../../../../fuzz/corpus/topology/e8.clab.yml");
const E9: &str = include_str!("../../../../fuzz/corpus/topology/e9.clab.gotmpl");

/// A host with certain paths.
struct Paths(BTreeSet<&'static str>);

impl Host for Paths {
    fn exists(&self, path: &Path) -> bool {
        self.0.contains(path.to_str().unwrap())
    }

    fn home(&self) -> Option<PathBuf> {
        Some("/home/ada".into())
    }

    fn content(&self, path: &Path) -> Result<String, String> {
        match path.to_str() {
            Some("/labs/probe.env") => Ok("# what the probe needs\nREGION=eu\nexport TARGET='10.0.0.1'\n".to_owned()),
            Some("/labs/broken.env") => Ok("two words\n".to_owned()),
            _ => Err("permission denied".to_owned()),
        }
    }
}

/// A host with the paths that the examples speak of.
pub(super) fn everything() -> impl Host {
    Paths(BTreeSet::from([
        "/labs/motd-base",
        "/labs/motd-leaf1",
        "/labs/probe.env",
        "/labs/broken.env",
        "/labs/secret.env",
        "/labs/r1.cfg",
        "/labs/r1.lic",
        "/labs/eos.cfg",
        "/labs/crpd.lic",
        "/labs/agent.yml",
        "/home/ada/keys",
        "/home/ada/ca.pem",
        "/etc/hosts",
    ]))
}

fn read_bytes(text: &[u8]) -> Outcome {
    let host = everything();
    let source = Some(Path::new("/labs/lab.clab.yml"));
    let (kinds, templates) = (Kinds::builtin(), Templates::default());
    read(&Input { text, directory: Path::new("/labs"), source, host: &host, kinds, templates })
}

fn lab(text: &str) -> Lab {
    let outcome = read_bytes(text.as_bytes());
    outcome.lab.unwrap_or_else(|| panic!("{}", shown(text.as_bytes(), &outcome.diagnostics)))
}

fn node<'l>(lab: &'l Lab, name: &str) -> &'l Node {
    &lab.nodes()[&name.parse().unwrap()]
}

fn diagnostics(text: &str) -> Vec<Diagnostic> {
    let outcome = read_bytes(text.as_bytes());
    let errors = outcome.diagnostics.iter().any(|d| d.severity == Severity::Error);
    assert_eq!(outcome.lab.is_none(), errors, "a lab comes exactly when there is no error");
    outcome.diagnostics
}

fn shown(text: &[u8], diagnostics: &[Diagnostic]) -> String {
    render(diagnostics, "lab.clab.yml", text, Colour::Never)
}

/// The rendered diagnostics of a file.
fn said(text: &str) -> String {
    shown(text.as_bytes(), &diagnostics(text))
}

/// A file with these two lists of lines under `nodes` and `links`.
fn file(nodes: &str, links: &str) -> String {
    format!(
        "name: t\ntopology:\n  defaults: {{ kind: linux, runtime: namespace }}\n  nodes: {nodes}\n  links: {links}\n"
    )
}

/// The only diagnostic of a file: its code, its path and what it says.
fn only(text: &str) -> (Code, String, String) {
    let found = diagnostics(text);
    let [one] = found.as_slice() else { panic!("not one diagnostic:\n{}", shown(text.as_bytes(), &found)) };
    (one.code, one.path.clone(), format!("{} | {}", one.message, one.help.as_deref().unwrap_or("")))
}
