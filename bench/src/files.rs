//! Topology files read, beside the same bytes read into nothing but lists, maps and texts by the same YAML library.

use std::fmt::Write;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use granit_parser::{Event, Parser};
use netloom_model::topology::{self, Host, Input, Kinds, Templates};

use crate::ring;
use crate::stats::{Sample, milliseconds, seconds};
use crate::table::{Line, print_all};

const NODES: usize = 10_000;
const LINKS: usize = 20_000;
const ROUNDS: usize = 7;
/// Runs of `netloom validate`, and how long one may take.
const RUNS: usize = 50;
const VALIDATE: f64 = 0.015;
const RATIO: f64 = 2.0;

/// Measures, and prints its lines; whether the bars hold.
pub(crate) fn measure(netloom: &Path) -> Result<bool> {
    let text = grid();
    let (mut untyped, mut typed, mut ratios) = (Sample::default(), Sample::default(), Sample::default());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        black_box(tree(&text)?);
        let floor = started.elapsed();
        let started = Instant::now();
        let lab = read(&text)?;
        let took = started.elapsed();
        ensure!((lab.nodes().len(), lab.links().len()) == (NODES, LINKS), "the lab that was read is another");
        untyped.time(floor);
        typed.time(took);
        ratios.value(took.as_secs_f64() / floor.as_secs_f64());
    }
    let mut process = Sample::default();
    let file = tempfile::Builder::new().suffix(".clab.yml").tempfile()?;
    std::fs::write(file.path(), ring::topology("small", 10, ring::Nodes::Namespaces))?;
    for _ in 0..RUNS {
        let mut command = Command::new(netloom);
        command.arg("validate").arg(file.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        ensure!(command.status()?.success(), "netloom validate refuses a ring");
        process.time(started.elapsed());
    }
    let ratio = ratios.median();
    Ok(print_all([
        Line {
            what: format!("a file of {NODES} nodes and {LINKS} links read"),
            floor: seconds(untyped.median()),
            figure: seconds(typed.median()),
            more: format!("× {ratio:.2} ({:.2} to {:.2})", ratios.at(0.0), ratios.most()),
            bar: Some((format!("≤ {RATIO} × an untyped parse"), ratio <= RATIO)),
        },
        Line {
            what: "netloom validate of 10 nodes".to_owned(),
            figure: milliseconds(process.median()),
            more: format!("p99 {}, of {RUNS}", milliseconds(process.at(0.99))),
            bar: Some((format!("p50 ≤ {}", milliseconds(VALIDATE)), process.median() <= VALIDATE)),
            ..Line::default()
        },
    ]))
}

/// A file as people write them: a few fields a node, brief links.
fn grid() -> String {
    let mut text = "name: big\ntopology:\n  defaults: { kind: linux, runtime: namespace }\n  nodes:\n".to_owned();
    for node in 0..NODES {
        let _ = writeln!(text, "    r{node}: {{ env: {{ ID: {node} }} }}");
    }
    text += "  links:\n";
    for link in 0..LINKS {
        let (a, b) = (link % NODES, (link * 7 + 1) % NODES);
        let _ = writeln!(text, "    - endpoints: [\"r{a}:a{link}\", \"r{b}:b{link}\"]");
    }
    text
}

/// What the floor makes of a file.
enum Tree {
    Text(#[expect(dead_code, reason = "made because every reader makes it")] String),
    List(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

fn tree(text: &str) -> Result<Tree> {
    let mut open: Vec<Tree> = Vec::new();
    let mut keys: Vec<Option<Tree>> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|error| anyhow::anyhow!("{error}"))?;
        let done = match event {
            Event::Scalar(text, ..) => Tree::Text(text.into_owned()),
            Event::SequenceStart(..) => {
                open.push(Tree::List(Vec::new()));
                keys.push(None);
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Tree::Map(Vec::new()));
                keys.push(None);
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                keys.pop();
                open.pop().context("what ends was begun")?
            }
            _ => continue,
        };
        match (open.last_mut(), keys.last_mut()) {
            (Some(Tree::List(items)), _) => items.push(done),
            (Some(Tree::Map(entries)), Some(key)) => match key.take() {
                Some(key) => entries.push((key, done)),
                None => *key = Some(done),
            },
            _ => root = Some(done),
        }
    }
    root.context("the file is empty")
}

fn read(text: &str) -> Result<netloom_model::Lab> {
    let input = Input {
        text: text.as_bytes(),
        directory: Path::new("/"),
        source: None,
        host: &Nowhere,
        kinds: Kinds::builtin(),
        templates: Templates::default(),
    };
    let outcome = topology::read(&input);
    match outcome.lab {
        Some(lab) => Ok(lab),
        None => bail!("{:?}", outcome.diagnostics.first()),
    }
}

/// A host without files.
struct Nowhere;

impl Host for Nowhere {
    fn exists(&self, _: &Path) -> bool {
        false
    }

    fn home(&self) -> Option<PathBuf> {
        None
    }
}
