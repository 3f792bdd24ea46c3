//! The crash matrix: the agent is killed at every place where it changes state, and started again.
//!
//! ```text
//!   netloom-crash all ──▶ for each case: unshare ──▶ bash (PID 1 of the sandbox) ──▶ netloom-crash inside <case>
//!        │  ▲                                                                            │  prepares labs, traffic
//!        │  └──────────────────── one line of JSON ◀─────────────────────────────────────┤  runs the command
//!        └──▶ ledger (JSON lines), summary                                               └─▶ netloom …, its agent
//! ```
//!
//! A case is a scenario (a deploy, a change, …) and what happens to the agent in it: a fail point kills it at its
//! n-th passage, or it is killed at some moment. Then the agent is started again as it is, and has ten seconds to come
//! to what is desired: what was stored before the crash is completed, what was not leaves nothing. Links that nobody
//! touches carry numbered datagrams and a stream all the while. At the end everything is destroyed and the host has
//! to be as it was before.
//!
//! Some cases have a fault of the host too: from the kill on Docker hangs or is late, or the disk is full. The agent that
//! is started answers at once, says so, and harms nothing that runs.
//!
//! A case with a fail point counts only if that point is what killed the agent.
#![expect(clippy::print_stdout, reason = "its results go to standard output")]

mod case;
mod controller;
mod disk;
mod host;
mod inherited;
mod inside;
mod ledger;
mod outside;
mod pings;
mod running;
mod scenario;
mod switch;
mod table;
mod topology;
mod traces;
mod traffic;
mod uplink;
mod wanted;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use case::Case;

#[derive(Parser)]
#[command(about = "Kills the agent at every place where it changes state, and looks at what comes of it")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Every fail point in every scenario that passes it, random moments, and faults of the host.
    All(outside::Options),
    /// Twenty-four cases, one or two of each kind.
    Few(outside::Options),
    /// Only the cases whose name begins with this, for example `change/link.`; or the one of this name, for example
    /// `deploy/store.after-commit:1` or `destroy/moment:73210us`.
    Only {
        /// The name, or the beginning of several.
        name: String,
        #[command(flatten)]
        options: outside::Options,
    },
    /// One case, in the sandbox that it is run in.
    #[command(hide = true)]
    Inside {
        case: String,
        #[arg(long)]
        netloom: PathBuf,
        #[arg(long)]
        root: PathBuf,
    },
    /// Asks the agent for something, in that sandbox, as a controller does. Fails if it is refused.
    #[command(hide = true)]
    Ask { path: String, body: String },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().what {
        What::All(options) => outside::run(&options, &outside::Choice::All),
        What::Few(options) => outside::run(&options, &outside::Choice::Few),
        What::Only { name, options } => outside::run(&options, &outside::Choice::Only(name)),
        What::Inside { case, netloom, root } => {
            let case: Case = serde_json::from_str(&case).context("the case")?;
            println!("{}", serde_json::to_string(&inside::run(&case, netloom, &root))?);
            Ok(ExitCode::SUCCESS)
        }
        What::Ask { path, body } => {
            let answer = controller::ask(&path, &body)?;
            println!("{answer}");
            Ok(if controller::is_done(&answer) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
