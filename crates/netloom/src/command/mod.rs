//! The commands that talk to an agent, one module each.

mod adopt;
mod agent_process;
mod cp;
mod deploy;
mod destroy;
mod doctor;
mod edit;
mod exec;
mod export;
mod follow;
mod generate;
mod graph;
mod image;
mod inspect;
mod kinds;
mod link;
mod node;
mod operation;
mod output_of;
mod prune;
mod render;
mod save;
mod schema;
mod status;
mod validate;
mod version;
mod watch;

use std::path::{Path, PathBuf};

use netloom_engine::{LabView, Layout};
use netloom_model::LabName;

use crate::cli::{Cli, Command};
use crate::client::Client;
use crate::failure::{Exit, Failure, Result};
use crate::topology::Source;
use crate::{output, topology};

pub(crate) use doctor::{Finding, Verdict};
pub(crate) use save::{Outcome, Saved};
pub(crate) use status::Status;

/// One after the other; one that fails does not stop the others. Each failure is said, the last one by the caller.
async fn each<T>(all: impl IntoIterator<Item = T>, mut one: impl AsyncFnMut(T) -> Result) -> Result {
    let mut failed: Option<Failure> = None;
    for item in all {
        if let Err(failure) = one(item).await {
            if let Some(before) = failed.take().and_then(|failure| failure.text) {
                output::say(&before);
            }
            failed = Some(failure);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// The query that has something done although a controller decides about the lab.
fn forced(force: bool) -> &'static str {
    if force { "?force=true" } else { "" }
}

/// Runs what was asked for. `agent` without more, and completions, need no client and are not in here.
pub(crate) async fn run(cli: Cli, layout: &Layout) -> Result {
    match cli.command {
        Command::Validate(options) => validate::run(&options),
        Command::Kinds(options) => kinds::run(&options),
        Command::Graph(options) => graph::run(&options, layout).await,
        Command::Generate(options) => generate::run(options),
        Command::Schema(options) => schema::run(&options),
        Command::Render(options) => render::run(&options),
        Command::Deploy(options) => deploy::run(options, layout).await,
        Command::Inspect(options) => inspect::run(options, layout).await,
        Command::Exec(options) => {
            let options = options.settled();
            let (target, commands) = options.target().map_err(Failure::input)?;
            ours(exec::run(options, target, commands, layout).await)
        }
        Command::Console(options) => ours(exec::console(&options, layout).await),
        Command::Shell(options) => ours(exec::shell(&options, layout).await),
        Command::Cp(options) => cp::run(options, layout).await,
        Command::Logs { node, follow } => output_of::logs(&node, follow, layout).await,
        Command::Events { follow, json } => output_of::events(follow, json, layout).await,
        Command::Node(command) => node::run(command, layout).await,
        Command::Export { lab, output } => export::run(&lab, output.as_deref(), layout).await,
        Command::Save(options) => save::run(options, layout).await,
        Command::Link(command) => link::run(command, layout).await,
        Command::Adopt(options) => adopt::run(options, layout).await,
        Command::Destroy(options) => destroy::run(options, layout).await,
        Command::Prune(options) => prune::run(options, layout).await,
        Command::Image(command) => image::run(command, layout).await,
        Command::Operation(command) => operation::run(command, layout).await,
        Command::Agent(options) => agent_process::run(&options, layout).await,
        Command::Doctor { fix, json } => doctor::run(fix, json, layout).await,
        Command::Status { json } => status::run(json, layout).await,
        Command::Version { json } => version::run(json, layout).await,
        Command::Completions { shell } => crate::completions(shell),
    }
}

/// `exec` passes the code of the command on, so a failure of ours has one that tells it apart.
fn ours(result: Result) -> Result {
    result.map_err(|failure| match failure.exit {
        Exit::Command(_) => failure,
        _ => Failure { exit: Exit::Command(125), ..failure },
    })
}

/// The lab that is meant: by its name, or by the file that it was deployed from. What the file says now does not
/// matter, unless it was deployed under several names.
async fn lab_name(name: Option<LabName>, topology: Option<&Path>, client: &Client) -> Result<LabName> {
    lab_of(name, topology, &[], client).await
}

/// The same, where the file is rendered with these variables to have its name.
async fn lab_of(name: Option<LabName>, topology: Option<&Path>, vars: &[PathBuf], client: &Client) -> Result<LabName> {
    let (None, Some(path)) = (&name, topology) else {
        return name.ok_or_else(|| Failure::input("say which lab: --name LAB or -t FILE"));
    };
    // A file that is gone is still the source of its lab.
    let found = topology::find_with(path, vars);
    let source = match &found {
        Ok(Source { path: Some(path), .. }) => path.clone(),
        // A stream was no lab's source; the lab is the one that it names.
        Ok(stream) => return Ok(topology::read(stream, None)?.into_lab()?.name().clone()),
        Err(_) => std::path::absolute(path).map_err(Failure::input)?,
    };
    let labs: Vec<LabView> = client.get("/labs").await?;
    let from_it = labs.iter().filter(|lab| lab.source.as_deref().is_some_and(|own| Path::new(own) == source));
    let names: Vec<&LabName> = from_it.map(|lab| &lab.name).collect();
    if let [name] = names.as_slice() {
        return Ok((*name).clone());
    }
    let own = found.and_then(|source| topology::read(&source, None))?.lab.map(|lab| lab.name().clone());
    match own {
        Some(own) if names.contains(&&own) => Ok(own),
        _ if names.is_empty() => Err(Failure::input(format_args!(
            "no lab on this host was deployed from {}; `netloom inspect` lists those that are there",
            source.display()
        ))),
        _ => {
            let names: Vec<&str> = names.into_iter().map(LabName::as_str).collect();
            let source = source.display();
            Err(Failure::input(format_args!("{source} was deployed as {}; say which with --name", names.join(", "))))
        }
    }
}
