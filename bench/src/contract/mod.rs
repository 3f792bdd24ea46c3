//! An agent as a controller has it: what it asks again and again, one link, an audit, and a restart beside labs that run.
//!
//! ```text
//!   load (one thread, 16 connections) ──▶ agent ──▶ counting proxy ──▶ dockerd
//!   controller (takes heartbeats)     ◀──   └─────▶ Open vSwitch in user space
//! ```
//!
//! In place of a floor the table has what the agent that Netloom replaces took for the same (docs/performance.md).

pub(crate) mod client;
pub(crate) mod controller;
mod hung;
mod links;
mod load;
mod restart;
pub(crate) mod set;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netloom_fault_kit::Proxy;
use netloom_ovs_fixture::Ovs;
use serde_json::json;

use crate::agent::Agent;
use crate::containers::Bare;
use crate::host::{LIMIT, wait};
use crate::idle;
use crate::stats::{Sample, milliseconds};
use crate::table::{Line, print_all};
use controller::Controller;
use set::Set;

/// What the controllers of these measurements prove themselves with.
const SECRET: &str = "bench-secret";
/// Where the agent listens.
const AGENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8001);
const LISTEN: &str = "127.0.0.1:8001";
/// How long what a deploy has set off takes to come to rest.
const REST: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(2);
const AUDITS: usize = 20;
/// The bars: of an audit, in seconds, and of the memory, in mebibytes.
const AUDIT: f64 = 0.010;
const MEMORY: f64 = 40.0;
const MIB: f64 = 1024.0 * 1024.0;

/// How it is run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Containers, in five labs.
    #[arg(long, default_value_t = 50)]
    containers: usize,
    /// For how many seconds each question is asked.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Links made and removed.
    #[arg(long, default_value_t = 30)]
    links: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { containers: 50, seconds: 10, links: 30 }
    }
}

/// What is measured. Fields go in this order: an agent before what it needs.
struct Controlled {
    set: Set,
    agent: Agent,
    /// Its end is heard by nobody.
    _controller: Controller,
    calls: Proxy,
    ovs: Ovs,
    _bare: Bare,
}

impl Controlled {
    fn start(netloom: &Path, containers: usize) -> Result<Self> {
        let bare = Bare::start()?;
        let calls = Proxy::start(&bare.socket())?;
        let ovs = Ovs::start_with_switch().context("Open vSwitch (Debian package openvswitch-switch)")?;
        let controller = Controller::listen()?;
        let mut agent = Agent::prepare(netloom, LISTEN, Some(calls.socket()))?;
        agent.finds_ovs(ovs.socket());
        set::belongs(&mut agent, &controller);
        agent.again()?;
        until(|| Ok(controller.has_heard()))?;
        let client = client::Client::new(LIMIT);
        until(|| Ok(client.get("/ovs/status")?["initialized"] == true))?;
        let set = Set::deploy(containers)?;
        Ok(Self { set, agent, _controller: controller, calls, ovs, _bare: bare })
    }
}

/// Measures, and prints its lines; whether the bars hold.
pub(crate) fn measure(netloom: &Path, options: &Options) -> Result<bool> {
    let controlled = Controlled::start(netloom, options.containers)?;
    wait(REST);
    let mut good = memory(&controlled, options.containers)?;
    good &= load::measure(&controlled, Duration::from_secs(options.seconds))?;
    good &= audit(&controlled)?;
    good &= links::measure(&controlled, options.links)?;
    good &= restart::measure(&controlled, options.containers)?;
    good &= hung::measure(&controlled, options.containers)?;
    controlled.set.end()?;
    Ok(good)
}

fn memory(controlled: &Controlled, containers: usize) -> Result<bool> {
    let resident = idle::resident(controlled.agent.pid()?)? / MIB;
    let line = Line {
        what: format!("controller: memory with {containers} containers"),
        floor: "99 MB".to_owned(),
        figure: format!("{resident:.1} MiB"),
        more: "resident, at rest".to_owned(),
        bar: Some((format!("≤ {MEMORY} MiB"), resident <= MEMORY)),
    };
    Ok(line.print())
}

fn audit(controlled: &Controlled) -> Result<bool> {
    let mut audit = Sample::default();
    let process = controlled.agent.pid()?;
    let before = idle::children(process)?;
    for _ in 0..AUDITS {
        let started = Instant::now();
        controlled.set.client.post("/cleanup/audit", &json!({ "include_ovs": true }))?;
        audit.time(started.elapsed());
    }
    let started = idle::children(process)? - before;
    Ok(print_all([
        Line {
            what: "controller: an audit".to_owned(),
            floor: "280 ms".to_owned(),
            figure: milliseconds(audit.median()),
            more: format!("most {}", milliseconds(audit.most())),
            bar: Some((format!("≤ {}", milliseconds(AUDIT)), audit.median() <= AUDIT)),
        },
        no_processes("an audit", "53", started),
    ]))
}

/// The line that no process was started for something.
fn no_processes(what: &str, before: &str, faults: u64) -> Line {
    Line {
        what: format!("controller: processes for {what}"),
        floor: before.to_owned(),
        figure: faults.to_string(),
        more: "page faults of children".to_owned(),
        bar: Some(("0".to_owned(), faults == 0)),
    }
}

/// Looks until something is so.
fn until(so: impl Fn() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        if so()? {
            return Ok(());
        }
        wait(LOOK);
    }
    bail!("it does not come to that within {} s", LIMIT.as_secs())
}
