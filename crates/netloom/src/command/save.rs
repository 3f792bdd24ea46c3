//! `netloom save`: the running configurations of nodes, as their kinds know to write them, into the lab's directory.
//!
//! A configuration is replaced by a whole one or stays: a command that fails, writes nothing or does not end in time
//! changes no file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use netloom_engine::{Document, ExecRequest, LabView, Layout, NodeEntry, NodeView, Terminal};
use netloom_model::{DeviceConfig, LabName, NodeName};
use netloom_plan::NodeState;
use serde::Serialize;

use super::exec::capture;
use super::lab_name;
use crate::cli::{LabOrNode, Save};
use crate::client::{Client, segment};
use crate::failure::{Exit, Failure, Result, plain};
use crate::labdir::{LabDirectory, Owner, Readers, beside};
use crate::{output, render};

/// Nodes that write their configuration at once: some take a whole processor for it.
const AT_ONCE: usize = 8;
/// How long one may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What became of a node.
#[derive(Debug, Serialize)]
pub(crate) struct Saved {
    /// The node.
    pub(crate) node: NodeName,
    /// What became of it.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What can become of a node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
pub(crate) enum Outcome {
    /// Its configuration is in this file.
    Saved {
        /// Its absolute path.
        file: PathBuf,
    },
    /// It would be.
    WouldSave {
        /// Its absolute path.
        file: PathBuf,
    },
    /// There is nothing to save.
    Skipped {
        /// Why.
        why: String,
    },
    /// It could not be saved.
    Failed {
        /// Why.
        why: String,
    },
}

/// Exit code 1 when one of them failed.
pub(crate) async fn run(options: Save, layout: &Layout) -> Result {
    let client = Client::connect(layout).await?;
    let (lab, only) = match options.from {
        Some(LabOrNode { lab, node }) => (lab, node),
        None => (lab_name(None, Some(options.topology.as_deref().unwrap_or(Path::new("."))), &client).await?, None),
    };
    let wanted: Document = client.get(&format!("/labs/{}/desired", segment(&lab))).await?;
    let view: LabView = client.get(&format!("/labs/{}", segment(&lab))).await?;
    let nodes = chosen(&wanted, only.as_ref())?;
    let directory = directory(&view)?;
    let job = Job { client: &client, lab: &lab, directory: &directory, dry_run: options.dry_run };
    let each = nodes.into_iter().map(|(name, entry)| {
        let (job, seen) = (&job, view.nodes.iter().find(|seen| seen.name == *name));
        async move { Saved { node: name.clone(), outcome: job.one(name, entry, seen).await } }
    });
    let all: Vec<Saved> = futures::stream::iter(each).buffered(AT_ONCE).collect().await;
    if options.json {
        output::json(&all)?;
    } else {
        output::result(&render::saved(&all))?;
    }
    let has_failed = all.iter().any(|saved| matches!(saved.outcome, Outcome::Failed { .. }));
    if has_failed { Err(Failure::said(Exit::Failed)) } else { Ok(()) }
}

/// All nodes in which something runs, or the one that is meant.
fn chosen<'w>(wanted: &'w Document, only: Option<&NodeName>) -> Result<Vec<(&'w NodeName, &'w NodeEntry)>> {
    let Some(only) = only else {
        return Ok(wanted.nodes.iter().filter(|(_, entry)| entry.node.runtime.is_some()).collect());
    };
    let found = wanted.nodes.get_key_value(only);
    found
        .map(|found| vec![found])
        .ok_or_else(|| Failure::input(format_args!("there is no node `{only}` in lab `{}`", wanted.name)))
}

/// The directory of the lab: beside its topology, or here if that came in on standard input.
fn directory(view: &LabView) -> Result<PathBuf> {
    match &view.source {
        Some(source) => Ok(beside(Path::new(source), &view.name)),
        None => Ok(beside(&std::env::current_dir().map_err(Failure::input)?.join("-"), &view.name)),
    }
}

/// What is the same for all nodes.
struct Job<'a> {
    client: &'a Client,
    lab: &'a LabName,
    directory: &'a Path,
    dry_run: bool,
}

impl Job<'_> {
    async fn one(&self, name: &NodeName, entry: &NodeEntry, seen: Option<&NodeView>) -> Outcome {
        let Some(config) = entry.node.device.config.as_ref().filter(|config| !config.extract.is_empty()) else {
            let why = format!("kind `{}` has no command that writes its configuration", entry.node.kind);
            return Outcome::Skipped { why };
        };
        let state = seen.map_or(NodeState::Absent, |seen| seen.state.clone());
        if state != NodeState::Running {
            let why = format!("it is {}", state.word());
            let by_a_person = seen.is_some_and(|seen| seen.stopped);
            return if by_a_person { Outcome::Skipped { why } } else { Outcome::Failed { why } };
        }
        let file = self.directory.join(name.as_str()).join(config.file_name());
        if self.dry_run {
            return Outcome::WouldSave { file };
        }
        match self.save(name, config).await {
            Ok(()) => Outcome::Saved { file },
            Err(why) => Outcome::Failed { why },
        }
    }

    async fn save(&self, name: &NodeName, config: &DeviceConfig) -> std::result::Result<(), String> {
        let request = ExecRequest { argv: config.extract.clone(), terminal: Terminal::None, env: Vec::new() };
        let words = config.extract.join(" ");
        let captured = tokio::time::timeout(LIMIT, capture(self.client, self.lab, name, &request)).await;
        let captured = captured.map_err(|_| format!("`{words}` does not end within {} s", LIMIT.as_secs()))?;
        let captured = captured.map_err(|failure| failure.text.unwrap_or_default())?;
        if captured.code != 0 {
            let said = String::from_utf8_lossy(&captured.err).trim_end().lines().last().map(str::to_owned);
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            return Err(format!("`{words}` ended with {}{said}", captured.code));
        }
        if captured.out.iter().all(u8::is_ascii_whitespace) {
            return Err(format!("`{words}` wrote nothing"));
        }
        self.write(name, config.file_name(), &captured.out)
            .map_err(|error| format!("{}: {}", self.directory.display(), plain(&error)))
    }

    fn write(&self, name: &NodeName, file: &str, content: &[u8]) -> std::io::Result<()> {
        let lab = LabDirectory::make(self.directory, Owner::behind_sudo())?;
        lab.below(name.as_str())?.write(file, content, Readers::Owner)
    }
}
