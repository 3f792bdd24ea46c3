//! The proof that the agent is never unhealthy: probes of its health, and work on it, through a cascade of loads and faults.
//!
//! ```text
//!   prober (process) ──100/s──▶ /healthz        canary ──1/s──▶ a status, an operation (main runtime)
//!   load (threads, fixed rates) ──▶ reads, edits, deploys …     transitions ◀── /events
//!            agent ──▶ fault proxies ──▶ dockerd, ovsdb-server;   its state on a disk of its own;   a fault of the kit for each phase
//! ```
//!
//! The phases stand in [`phase`] and, those of an agent that belongs to a controller, in [`cascade`]; what is offered meanwhile in [`load`], what is done to the agent in [`fault`], and what a
//! phase has to show in [`row`]. It runs, as the other measurements, in namespaces of its own.

mod cascade;
mod fault;
mod load;
mod phase;
mod row;
pub(crate) mod soak;
mod transitions;
mod world;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::host::wait;
use crate::prober::RATE;
use phase::{PHASES, Phase};
use row::Row;
use world::World;

/// How many probes each phase has where none is left out.
const WHOLE: u32 = 10_000;

/// How long the agent may take to see that a daemon is ill: phases that are shorter may end before.
const VERDICT: Duration = Duration::from_secs(10);
/// How long a question that was asked under a fault may wait for its answer.
const QUESTION: Duration = Duration::from_secs(4);

/// How it is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Probes in each phase.
    #[arg(long, default_value_t = WHOLE)]
    probes: u32,
    /// Only these phases, and what they are compared with.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Containers that the controller of the cascade has deployed, in five labs; 50, or 10 where phases are short.
    #[arg(long)]
    containers: Option<usize>,
    /// The same program with fail points: its workers are blocked on purpose.
    #[arg(long)]
    failpoints: Option<PathBuf>,
    /// List the phases.
    #[arg(long)]
    list: bool,
}

/// Runs the phases; whether all bars hold.
pub(crate) fn run(netloom: &std::path::Path, options: &Options) -> Result<bool> {
    let names: Vec<&str> = PHASES.iter().chain(cascade::PHASES).map(|phase| phase.name).collect();
    if options.list {
        println!("{}", names.join("\n"));
        return Ok(true);
    }
    if let Some(unknown) = options.only.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("there is no phase `{unknown}`; there are: {}", names.join(", "));
    }
    let chosen = |phases: &'static [Phase]| phases.iter().filter(|phase| options.chooses(phase)).collect::<Vec<_>>();
    let (usual, cascade) = (chosen(PHASES), chosen(cascade::PHASES));
    let mut rows: Vec<Row> = Vec::new();
    let mut good = true;
    row::heading();
    // What others are compared with is not run for itself.
    if cascade.is_empty() || usual.iter().any(|phase| !phase.is_reference) {
        let mut world = World::new(netloom, options.failpoints.clone())?;
        good &= pass(&mut world, &usual, options.time(), &mut rows);
        world.end()?;
    }
    if !cascade.is_empty() {
        let mut world = World::controlled(netloom, options.containers())?;
        let mut asked = Vec::new();
        good &= pass(&mut world, &cascade, options.time(), &mut asked);
        rows.append(&mut asked);
        world.end()?;
    }
    ensure!(!rows.is_empty(), "no phase was run");
    row::result(&rows);
    Ok(good)
}

/// Passes phases one after the other; whether all hold.
fn pass(world: &mut World, phases: &[&Phase], time: Duration, rows: &mut Vec<Row>) -> bool {
    let mut printed = 0;
    let mut good = true;
    for phase in phases {
        if phase.fault.disturbs().is_some() || phase.fault.restarts() {
            // What changes from here on is this fault's, and an agent that is started anew tells of no change before.
            settle(world, rows);
            good &= print(rows, printed, world);
            printed = rows.len();
        }
        match world.pass(phase, time) {
            Ok(row) => rows.push(row),
            Err(error) => rows.push(Row::failed(phase, &error)),
        }
        // The others have one without a fault after them.
        if world.controlled.is_some() && time < VERDICT {
            // What comes of such a question is still this fault's.
            wait(QUESTION);
        }
    }
    settle(world, rows);
    good & print(rows, printed, world)
}

/// Waits until all is as before; that it does not become so is the last phase's fault.
fn settle(world: &mut World, rows: &mut [Row]) {
    if let (Err(error), Some(last)) = (world.settle(), rows.last_mut()) {
        last.problems.push(format!("{error:#}"));
    }
}

/// Judges and prints the rows from `first` on.
fn print(rows: &mut [Row], first: usize, world: &World) -> bool {
    let reference = row::rates(rows);
    row::print(&mut rows[first..], reference.as_ref(), &world.transitions())
}

impl Options {
    /// How long a phase lasts.
    fn time(&self) -> Duration {
        Duration::from_secs(1) * self.probes / RATE
    }

    fn containers(&self) -> usize {
        self.containers.unwrap_or(if self.probes < WHOLE { 10 } else { 50 })
    }

    fn chooses(&self, phase: &Phase) -> bool {
        let is_left_out = phase.is_rare && self.probes < WHOLE;
        let needs = phase.fault.needs_failpoints() && self.failpoints.is_none();
        let named = (self.only.is_empty() && !is_left_out)
            || self.only.iter().any(|name| name == phase.name)
            || phase.is_reference;
        named && !needs
    }
}
