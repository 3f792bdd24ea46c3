//! Measurements of Netloom against the bare kernel, in one run, so that the ratio holds whatever the machine does.
//!
//! `make bench` runs it in mount and network namespaces of its own: nothing of the host is touched or disturbed.
#![expect(clippy::print_stdout, reason = "its results go to standard output")]

mod floor;
mod health;
mod lab;

use std::path::PathBuf;
use std::time::Duration;

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
    Ring {
        /// Sizes of the rings.
        #[arg(default_values_t = [10, 100])]
        sizes: Vec<usize>,
        /// Rounds of each size.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
    },
    /// Probes `/healthz` while a ring is deployed and destroyed again and again.
    Health {
        /// Size of the ring.
        #[arg(long, default_value_t = 200)]
        size: usize,
        /// Probes a second, whether the last one was answered or not.
        #[arg(long, default_value_t = 20)]
        rate: u32,
        /// Rounds of deploy and destroy.
        #[arg(long, default_value_t = 40)]
        rounds: usize,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    lab::loopback_up()?;
    match arguments.what {
        What::Ring { sizes, rounds } => {
            println!("{:>6} {:>12} {:>12} {:>8} {:>12}", "nodes", "floor", "deploy", "ratio", "destroy");
            for size in sizes {
                ring(&arguments.netloom, size, rounds)?;
            }
        }
        What::Health { size, rate, rounds } => {
            let agent = lab::Agent::start(&arguments.netloom)?;
            let prober = health::Prober::start(rate);
            for _ in 0..rounds {
                agent.deploy(size)?;
                agent.destroy(size)?;
            }
            prober.stop().print();
        }
    }
    Ok(())
}

fn ring(netloom: &std::path::Path, size: usize, rounds: usize) -> Result<()> {
    let agent = lab::Agent::start(netloom)?;
    let (mut floors, mut deploys, mut destroys, mut ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first round warms the caches of both sides and is not counted.
    for round in 0..=rounds {
        let floor = floor::ring(size)?;
        let deploy = agent.deploy(size)?;
        let destroy = agent.destroy(size)?;
        if round > 0 {
            ratios.push(deploy.as_secs_f64() / floor.as_secs_f64());
            floors.push(floor);
            deploys.push(deploy);
            destroys.push(destroy);
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "{size:>6} {:>10.3} s {:>10.3} s {:>8.2} {:>10.3} s",
        median(&mut floors),
        median(&mut deploys),
        ratios[ratios.len() / 2],
        median(&mut destroys)
    );
    Ok(())
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
