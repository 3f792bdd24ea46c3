//! What must hold for any input of the readers of topologies and of OVSDB. A target is a function that panics when it does not.
//!
//! Two programs drive the targets: libFuzzer (by cargo-fuzz, which needs a nightly compiler and watches which code
//! an input reaches) and `netloom-fuzz` (stable Rust, blind mutations of the corpus). `make fuzz` takes the first that
//! there is.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use netloom_model::topology::{
    self, Colour, Diagnostic, Files, Host, Input, Kinds, Severity, TemplateFile, Templates, graph::Graph,
};
use netloom_model::{Lab, NodeName};

mod ovsdb;

pub use ovsdb::{frames as ovsdb_frames, updates as ovsdb_updates};

/// A target.
pub type Target = fn(&[u8]);

/// All targets by name; each has a corpus of that name.
pub const TARGETS: [(&str, Target); 5] = [
    ("topology", topology),
    ("node", node),
    ("template", template),
    ("ovsdb-frames", ovsdb_frames),
    ("ovsdb-updates", ovsdb_updates),
];

/// A host that has every file.
struct Everything;

impl Host for Everything {
    fn exists(&self, _: &Path) -> bool {
        true
    }

    fn home(&self) -> Option<PathBuf> {
        Some("/home/ada".into())
    }

    fn content(&self, _: &Path) -> Result<String, String> {
        Ok("A=1\n".to_owned())
    }

    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "LAB" => Some("lab".to_owned()),
            "TRAP" => Some("a: b # ${LAB}\n  - {{ $LAB".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }
}

fn input(text: &[u8]) -> Input<'_> {
    let (directory, kinds, templates) = (Path::new("/labs"), Kinds::builtin(), Templates::default());
    Input { text, directory, source: None, host: &Everything, kinds, templates }
}

/// A topology file: bytes to lab, with everything that is made of a lab.
pub fn topology(bytes: &[u8]) {
    let outcome = topology::read(&input(bytes));
    check(&outcome.diagnostics, bytes, outcome.lab.is_some());
    let Some(lab) = outcome.lab else { return };
    let graph = Graph::of(&lab);
    let _ = (graph.dot(), graph.mermaid());
    let written = topology::write(&lab, None);
    let again = topology::read(&input(written.as_bytes()));
    assert_eq!(again.lab.as_ref(), Some(&lab), "a lab that is written reads as another one:\n{written}");
    let made = Lab::new(lab.into_parts());
    assert!(made.is_ok(), "a lab of the reader is no lab: {made:?}");
}

/// A template, its variables replaced: the text that comes of it, and what is said of it.
pub fn template(bytes: &[u8]) {
    let data = b"n: 3\nname: lab\nlist: [a, b, 7]\nlab: { spines: 2, f: 1.5, yes: true, none: null }\n";
    let Ok(data) = topology::read_vars(data) else { return };
    let files = [TemplateFile {
        name: "leaf.gotmpl".into(),
        path: "clab_templates/leaf.gotmpl".into(),
        text: "leaf{{ .n }}: {}\n".into(),
    }];
    let input = Input { templates: Templates { data: Some(&data), files: &files }, ..input(bytes) };
    let rendered = topology::rendered(&input);
    check(&rendered.diagnostics, bytes, rendered.text.is_some());
    let outcome = topology::read(&input);
    check(&outcome.diagnostics, bytes, outcome.lab.is_some());
}

/// The fields of one node.
pub fn node(bytes: &[u8]) {
    let name: NodeName = "n".parse().expect("a name");
    let outcome = topology::read_node(&input(bytes), &name);
    check(&outcome.diagnostics, bytes, outcome.node.is_some());
}

/// There is a result or an error; each diagnostic is about the text, and none is said twice.
fn check(diagnostics: &[Diagnostic], text: &[u8], result: bool) {
    let error = diagnostics.iter().any(|found| found.severity == Severity::Error);
    assert_ne!(result, error, "a result comes exactly when there is no error: {diagnostics:?}");
    let mut said = HashSet::new();
    for found in diagnostics {
        // What is about a template that is called is about another text.
        let own = found.file.is_none().then_some(found.span);
        let notes = found.notes.iter().filter(|note| note.file.is_none()).map(|note| note.span);
        for span in own.into_iter().chain(notes) {
            // What is missing may be missed behind the last byte.
            assert!(span.range().end <= text.len() + 1, "outside of the text: {found:?}");
            assert!(span.line >= 1 && span.column >= 1, "lines and columns count from 1: {found:?}");
        }
        assert!(said.insert((found.code, found.span.start, &found.message)), "said twice: {found:?}");
    }
    assert!(diagnostics.is_sorted_by_key(|found| found.span.start), "not in the order of the text: {diagnostics:?}");
    for colour in [Colour::Never, Colour::Always] {
        let _ = topology::render(diagnostics, "fuzzed.clab.yml", text, colour);
    }
    let files = Files { name: "fuzzed.clab.yml", text, templates: &[] };
    for marked in topology::marked(diagnostics, &files) {
        assert!(marked.range.start <= marked.range.end, "ends before it begins: {marked:?}");
    }
}
