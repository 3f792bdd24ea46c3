//! `netloom`: the host agent and the command line.
//!
//! ```text
//!   main ─┬─ netloom agent ────────▶ agent.rs: configuration, log, runtime with 2 workers ──▶ compose.rs: drivers,
//!         │                                                                                   engine, HTTP API
//!         └─ everything else ──────▶ command/: one thread ──HTTP──▶ agent's unix socket
//! ```
//!
//! Composition only: what a lab is, what has to be done and how it is done are in other crates.

mod agent;
mod background;
mod clab;
mod cli;
mod client;
mod command;
mod compose;
mod config;
mod failure;
mod git;
mod kinds;
mod labdir;
mod locate;
mod output;
mod remote;
mod render;
mod save;
mod streams;
mod surroundings;
mod term;
mod topology;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use netloom_engine::Layout;

use cli::{Agent, Cli, Command, Shell};
use failure::{Failure, Result};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and versions are results; everything else is wrong input: exit code 2.
            let wrong = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let _ = error.print();
            if let Some(hint) = Some(&error).filter(|_| wrong).and_then(Cli::hint) {
                output::say(&hint);
            }
            return if wrong { failure::Exit::Input.into() } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, text }) => {
            if let Some(text) = text {
                output::say(&format!("netloom: {text}"));
            }
            exit.into()
        }
    }
}

fn run(cli: Cli) -> Result {
    if let Command::Completions { shell } = cli.command {
        return completions(shell);
    }
    let root = host_root();
    let layout = Layout::new(&root)
        .map_err(|error| Failure::input(format_args!("NETLOOM_ROOT {}: {}", root.display(), failure::plain(&error))))?;
    if let Command::Agent(Agent { background: false, command: None, detached }) = cli.command {
        return agent::run(&layout, detached);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(failure::plain(&error)))?;
    let result = runtime.block_on(command::run(cli, &layout));
    // The thread that reads standard input may never end.
    runtime.shutdown_background();
    result
}

/// The directory below which everything of the host is: `/`, or what `NETLOOM_ROOT` says.
fn host_root() -> OsString {
    std::env::var_os("NETLOOM_ROOT").filter(|root| !root.is_empty()).unwrap_or_else(|| OsString::from("/"))
}

fn completions(shell: Shell) -> Result {
    let mut command = Cli::definition();
    let mut text = Vec::new();
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut command, "netloom", &mut text);
    output::bytes(&mut std::io::stdout().lock(), &text)
}
