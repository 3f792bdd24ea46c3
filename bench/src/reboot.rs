//! A reboot: nothing is left but the state file, and the agent's start wires the lab that should run.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use netloom_kernel::{Process, Signal};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::agent::Agent;
use crate::host::{Kernel, LIMIT};
use crate::stats::{Sample, seconds};
use crate::table::Line;

const SIZE: usize = 200;
const ROUNDS: usize = 3;
const BAR: f64 = 1.5;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Measures, and prints its line; whether the bar holds.
pub(crate) fn measure(netloom: &Path, kernel: &Kernel) -> Result<bool> {
    let (mut first, mut again, mut ratio) = (Sample::default(), Sample::default(), Sample::default());
    for round in 0..ROUNDS {
        let agent = Agent::start_quietly(netloom)?;
        kernel.wait_until_quiet()?;
        let deployed = agent.deploy("reboot", SIZE)?;
        crash(&agent)?;
        kernel.wait_until_quiet()?;
        let boot = Boot::new(&agent, round)?;
        let started = Instant::now();
        agent.again()?;
        wired(&agent, started)?;
        let took = started.elapsed();
        agent.destroy("reboot")?;
        drop(agent);
        drop(boot);
        first.time(deployed);
        again.time(took);
        ratio.value(took.as_secs_f64() / deployed.as_secs_f64());
    }
    let median = ratio.median();
    let line = Line {
        what: format!("ring of {SIZE}: wired again after a reboot"),
        floor: seconds(first.median()),
        figure: seconds(again.median()),
        more: format!("× {median:.2} (floor: first deploy)"),
        bar: Some((format!("≤ {BAR} × first deploy"), median <= BAR)),
    };
    Ok(line.print())
}

/// Ends everything as a power cut does: the agent, then all nodes, then what was in memory.
fn crash(agent: &Agent) -> Result<()> {
    let lab = agent.socket().get("/labs/reboot")?;
    let nodes = lab["nodes"].as_array().context("nodes")?;
    let pids = nodes.iter().filter_map(|node| node["pid"].as_u64()).chain([agent.pid()?]);
    let processes =
        pids.map(|pid| Process::open(u32::try_from(pid)?)?.context("it lives")).collect::<Result<Vec<_>>>()?;
    for process in processes.iter().rev() {
        process.signal(Signal::KILL)?;
    }
    for process in &processes {
        if !process.wait_until(Instant::now() + LIMIT)? {
            bail!("a process does not end");
        }
    }
    let netns = agent.root().join("run/netloom/netns");
    // With all pins in it.
    unmount(&netns, UnmountFlags::DETACH)?;
    fs::remove_dir_all(agent.root().join("run"))?;
    Ok(())
}

/// Another boot id, until it is dropped.
struct Boot(PathBuf);

impl Boot {
    fn new(agent: &Agent, round: usize) -> Result<Self> {
        let file = agent.root().join("boot_id");
        fs::write(&file, format!("b007b007-0000-4000-8000-{round:012}\n"))?;
        mount_bind(&file, BOOT_ID)?;
        Ok(Self(file))
    }
}

impl Drop for Boot {
    fn drop(&mut self) {
        let _ = unmount(BOOT_ID, UnmountFlags::DETACH);
        let _ = fs::remove_file(&self.0);
    }
}

/// Waits until every node runs and every link is up.
fn wired(agent: &Agent, since: Instant) -> Result<()> {
    let all = |of: &serde_json::Value, is: &dyn Fn(&serde_json::Value) -> bool| {
        of.as_array().is_some_and(|some| some.len() == SIZE && some.iter().all(is))
    };
    while since.elapsed() < LIMIT {
        let lab = agent.socket().get("/labs/reboot")?;
        if all(&lab["nodes"], &|node| node["ready"] == true) && all(&lab["links"], &|link| link["state"] == "up") {
            return Ok(());
        }
        // A look every few milliseconds: each costs the agent one.
        let (_keep, never) = std::sync::mpsc::sync_channel::<()>(0);
        let _ = never.recv_timeout(Duration::from_millis(5));
    }
    bail!("the lab does not come back")
}
