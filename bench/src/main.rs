//! Measurements of Netloom against the bare kernel, in one run, so that the ratios hold whatever the machine does.
//!
//! `make bench` runs it in mount, network and process namespaces of its own: nothing of the host is touched or
//! disturbed. It prints one table; what each line means stands in docs/performance.md.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its results go to standard output, and why there are none to standard error"
)]

mod agent;
mod canary;
mod containers;
mod contract;
mod files;
mod floor;
mod frozen;
mod host;
mod http;
mod idle;
mod live;
mod ovs;
mod pairs;
mod prober;
mod prove;
mod reboot;
mod restarts;
mod ring;
mod rings;
mod same;
#[path = "../../crates/init/src/spec.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the init, which reads what is written here")]
mod spec;
mod stats;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures Netloom against the bare kernel")]
struct Arguments {
    /// The binary to measure.
    #[arg(long, default_value = "target/release/netloom")]
    netloom: PathBuf,
    /// Only a part; everything, with probes of health meanwhile, when nothing is said.
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    #[command(flatten)]
    Part(Part),
    /// Proves that the agent is never unhealthy: probes and work through a cascade of loads and faults.
    Prove(prove::Options),
    /// Has an agent live through random labs, edits and faults: each change of health has to be explained by one.
    Soak(prove::soak::Options),
    /// Probes health until its standard input ends.
    #[command(hide = true)]
    Prober,
}

#[derive(Subcommand)]
enum Part {
    /// Deploys and destroys rings of nodes, each time beside the same ring made of the kernel's objects alone.
    Rings {
        /// Sizes of the rings.
        #[arg(default_values_t = SIZES)]
        sizes: Vec<usize>,
        /// Pairs of each size.
        #[arg(long, default_value_t = PAIRS)]
        pairs: usize,
    },
    /// Adds and removes links of a lab of 500 nodes that runs.
    Live,
    /// Watches an agent that has nothing to do: with a small lab, and with one of 50 containers.
    Idle,
    /// Reads a file of 10,000 nodes, and checks one of 10.
    Files,
    /// Deploys and destroys rings of containers, each time beside the same ring made by bare calls of Docker's API.
    Containers {
        /// Sizes of the rings.
        #[arg(default_values_t = CONTAINERS)]
        sizes: Vec<usize>,
        /// Pairs of each size.
        #[arg(long, default_value_t = PAIRS)]
        pairs: usize,
    },
    /// Has Docker restart a container while its neighbour pings it: when it answers again, each time.
    Restarts {
        /// How many times.
        #[arg(default_value_t = RESTARTS)]
        times: usize,
    },
    /// Freezes Docker in the middle of a deploy, and looks whether anything else notices.
    Frozen {
        /// For how many seconds.
        #[arg(default_value_t = FROZEN)]
        seconds: u64,
    },
    /// Makes and removes ports of Open vSwitch, each time beside one `ovs-vsctl` that does; changes links among them; kills
    /// the agent and the database under traffic; makes 2,000 in one plan.
    Ovs(ovs::Options),
    /// Asks and edits as a controller does, on containers that it has deployed; restarts the agent beside them.
    Contract(contract::Options),
    /// Takes a lab of 200 nodes away as a reboot does, and waits until it is back.
    Reboot,
}

const SIZES: [usize; 4] = [10, 100, 500, LARGE];
const CONTAINERS: [usize; 3] = [10, 50, 100];
const PAIRS: usize = 5;
const RESTARTS: usize = 20;
const FROZEN: u64 = 120;

fn main() -> ExitCode {
    measure(Arguments::parse()).unwrap_or_else(|error| {
        // In a line, and without a backtrace, which says nothing of what is measured.
        eprintln!("Error: {error:#}");
        ExitCode::FAILURE
    })
}

fn measure(Arguments { netloom, what }: Arguments) -> Result<ExitCode> {
    let part = match what {
        Some(What::Prober) => {
            println!("{}", prober::run()?);
            return Ok(ExitCode::SUCCESS);
        }
        Some(What::Prove(options)) => {
            host::prepare()?;
            println!("{}", host::facts()?);
            return Ok(code(prove::run(&netloom, &options)?));
        }
        Some(What::Soak(options)) => {
            host::prepare()?;
            println!("{}", host::facts()?);
            return Ok(code(prove::soak::run(&netloom, &options)?));
        }
        Some(What::Part(part)) => Some(part),
        None => None,
    };
    host::prepare()?;
    println!("{}", host::facts()?);
    table::heading();
    let agent = || agent::Agent::start(&netloom);
    let good = match part {
        None => everything(&netloom)?,
        Some(Part::Rings { sizes, pairs }) => measure_rings(&agent()?, &sizes, pairs)?,
        Some(Part::Live) => live::measure(&agent()?, &host::Kernel::new()?)?,
        Some(Part::Idle) => idle::watch(&agent()?)? & idle::watch_containers(&netloom)?,
        Some(Part::Files) => files::measure(&netloom)?,
        Some(Part::Containers { sizes, pairs }) => containers::measure(&netloom, &sizes, pairs)?,
        Some(Part::Restarts { times }) => restarts::measure(&netloom, times)?,
        Some(Part::Frozen { seconds }) => frozen::measure(&netloom, Duration::from_secs(seconds))?,
        Some(Part::Ovs(options)) => ovs::measure(&netloom, &options)?,
        Some(Part::Contract(options)) => contract::measure(&netloom, &options)?,
        Some(Part::Reboot) => reboot::measure(&netloom, &host::Kernel::new()?)?,
    };
    Ok(code(good))
}

fn code(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All of it. Idle first, so that nobody probes; the reboot last, since its agents are killed.
fn everything(netloom: &Path) -> Result<bool> {
    let mut good = idle::watch(&agent::Agent::start(netloom)?)?;
    good &= idle::watch_containers(netloom)?;
    let agent = agent::Agent::start(netloom)?;
    agent.deploy(canary::LAB, 2)?;
    let (prober, canary) = (prober::Prober::start()?, canary::Canary::start(agent.socket())?);
    good &= measure_rings(&agent, &SIZES, PAIRS)?;
    good &= live::measure(&agent, &host::Kernel::new()?)?;
    good &= prober.stop()?.print();
    good &= canary.stop()?.print();
    drop(agent);
    good &= files::measure(netloom)?;
    good &= reboot::measure(netloom, &host::Kernel::new()?)?;
    good &= containers::measure(netloom, &CONTAINERS, PAIRS)?;
    good &= restarts::measure(netloom, RESTARTS)?;
    good &= ovs::measure(netloom, &ovs::Options::default())?;
    good &= contract::measure(netloom, &contract::Options::default())?;
    good &= frozen::measure(netloom, Duration::from_secs(FROZEN))?;
    Ok(good)
}

/// The size at which the bars count, and the one that it is compared with.
const LARGE: usize = 1000;
const SMALL: usize = 100;

fn measure_rings(agent: &agent::Agent, sizes: &[usize], pairs: usize) -> Result<bool> {
    let (floor, kernel) = (floor::Floor::new()?, host::Kernel::new()?);
    same::check(agent, &floor, &kernel)?;
    let mut good = true;
    let mut small = None;
    for size in sizes {
        let rings = rings::measure(agent, &floor, &kernel, *size, pairs)?;
        good &= rings.print(*size == LARGE);
        match (*size, &small) {
            (SMALL, _) => small = Some(rings),
            (LARGE, Some(small)) => good &= rings.print_growth(small),
            _ => {}
        }
    }
    Ok(good)
}
