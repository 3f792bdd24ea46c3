//! Measurements of Netloom against the bare kernel, in one run, so that the ratios hold whatever the machine does.
//!
//! `make bench` runs it in mount, network and process namespaces of its own: nothing of the host is touched or
//! disturbed. It prints one table; what each line means stands in docs/performance.md.
#![expect(clippy::print_stdout, reason = "its results go to standard output")]

mod agent;
mod floor;
mod host;
mod ring;
mod rings;
#[path = "../../crates/init/src/spec.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with the init, which reads what is written here")]
mod spec;
mod stats;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Measures Netloom against the bare kernel")]
struct Arguments {
    /// The binary to measure.
    #[arg(long, default_value = "target/release/netloom")]
    netloom: PathBuf,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Deploys and destroys rings of nodes, each time beside the same ring made of the kernel's objects alone.
    Rings {
        /// Sizes of the rings.
        #[arg(default_values_t = [10, 100, 500, 1000])]
        sizes: Vec<usize>,
        /// Pairs of each size.
        #[arg(long, default_value_t = 5)]
        pairs: usize,
    },
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    host::prepare()?;
    let good = match arguments.what {
        What::Rings { sizes, pairs } => {
            table::heading();
            let agent = agent::Agent::start(&arguments.netloom)?;
            measure_rings(&agent, &sizes, pairs)?
        }
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The size at which the bars count, and the one that it is compared with.
const LARGE: usize = 1000;
const SMALL: usize = 100;

fn measure_rings(agent: &agent::Agent, sizes: &[usize], pairs: usize) -> Result<bool> {
    let (floor, kernel) = (floor::Floor::new()?, host::Kernel::new()?);
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
