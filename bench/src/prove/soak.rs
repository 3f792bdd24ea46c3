//! Hours of random labs, edits and faults, in one process of the agent.
//!
//! ```text
//!   one thread a lab ──random commands──▶ agent ◀──a fault of the kit now and then, then all has to be well again
//!        └─ what failed, when                └─ health: changes of capabilities, stalls, probes
//!                      every one of them has to be explained by a fault; nothing may grow
//! ```
//!
//! A fault has a declared reach: the capability that it disturbs, and the work that cannot be done meanwhile. What happens
//! outside of that, or without a fault, is a defect.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use netloom_fault_kit::{Habit, Manner};

use super::fault::{self, Fault};
use super::load::Caller;
use super::transitions::Transition;
use super::world::World;
use crate::agent::Agent;
use crate::containers::IMAGE;
use crate::host::wait;
use crate::prober::Prober;
use crate::ring::{self, Nodes};
use crate::stats::{milliseconds, seconds};

/// How it is run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// For how long.
    #[arg(default_value_t = 60)]
    minutes: u64,
    /// What happens is drawn from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How often a fault comes, how long it lasts at least, and fewer seconds than how many more.
const EVERY: Duration = Duration::from_secs(60);
const LASTS: (Duration, usize) = (Duration::from_secs(8), 12);
/// How long after a fault its traces are its own: a deploy that waited for Docker, a verdict with its dwell.
const AFTER: Duration = Duration::from_secs(60);
/// Labs that come and go; every third is of containers.
const LABS: usize = 4;
/// Problems that are printed.
const SHOWN: usize = 40;
/// Between two commands of a lab.
const PAUSE: Duration = Duration::from_millis(500);
/// What may be more at the end than at the beginning: memory that the allocator keeps, threads of a pool.
const GROWTH: f64 = 24.0 * 1024.0 * 1024.0;
const THREADS: usize = 3;
const DESCRIPTORS: usize = 8;

const FAULTS: &[Fault] = &[
    Fault::Docker(Manner::Late(Duration::from_secs(3))),
    Fault::Docker(Manner::Hung),
    Fault::Docker(Manner::Failing),
    Fault::Docker(Manner::Cut),
    Fault::Docker(Manner::Corrupt),
    Fault::DockerFrozen,
    Fault::Clients(2_000, Habit::Silent),
    Fault::Clients(200, Habit::Slow),
    Fault::Starved,
    Fault::Rtnl,
    Fault::Descriptors,
    Fault::DiskFull,
    Fault::DiskFrozen,
];

/// A fault that was, as the ledger has it.
struct Entry {
    fault: Fault,
    began: Instant,
    ended: Instant,
}

impl Entry {
    fn covers(&self, moment: Instant) -> bool {
        (self.began..self.ended + AFTER).contains(&moment)
    }

    /// Whether it was there for a part of something: a command that it met half-way fails by it too.
    fn meets(&self, failure: &Failure) -> bool {
        failure.began < self.ended + AFTER && failure.ended >= self.began
    }
}

/// A command that failed.
struct Failure {
    began: Instant,
    ended: Instant,
    is_of_containers: bool,
    why: String,
}

/// Runs it; whether everything is explained and nothing has grown.
pub(crate) fn run(netloom: &Path, options: &Options) -> Result<bool> {
    let mut world = World::new(netloom, None)?;
    let end = Instant::now() + Duration::from_secs(options.minutes * 60);
    let stop = AtomicBool::new(false);
    let mut random = Random(options.seed);
    // Everything has been made once: what is kept from then on is kept.
    for lab in 0..LABS {
        Walker::new(&world.agent, lab, options.seed)?.end()?;
    }
    let before = Objects::count(&world)?;
    let (mut ledger, mut problems) = (Vec::new(), Vec::new());
    let prober = Prober::start()?;
    let mut walkers = (0..LABS).map(|lab| Walker::new(&world.agent, lab, options.seed)).collect::<Result<Vec<_>>>()?;
    let failures = thread::scope(|scope| {
        let walks: Vec<_> = walkers
            .iter_mut()
            .map(|walker| {
                scope.spawn(|| {
                    let failures = walker.walk(&stop);
                    walker.end().map(|()| failures)
                })
            })
            .collect();
        while Instant::now() < end {
            let begins = Instant::now() + EVERY.min(end.saturating_duration_since(Instant::now()) / 2);
            let fault = FAULTS[random.below(FAULTS.len())];
            let lasts = LASTS.0 + Duration::from_secs(1) * u32::try_from(random.below(LASTS.1))?;
            match strike(&mut world, fault, lasts) {
                Ok(entry) => ledger.push(entry),
                Err(error) => problems.push(format!("{fault:?}: {error:#}")),
            }
            problems.extend(world.lost(fault));
            wait(begins.saturating_duration_since(Instant::now()));
        }
        stop.store(true, Ordering::Release);
        let mut failures = Vec::new();
        for walk in walks {
            failures.extend(walk.join().ok().context("a walk panicked")??);
        }
        Ok::<_, anyhow::Error>(failures)
    })?;
    world.settle()?;
    let report = prober.stop()?;
    if report.agent.failed() > 0 {
        problems.push(format!("{} of {} probes failed", report.agent.failed(), report.agent.sent()));
    }
    problems.extend(unexplained(&ledger, &failures, &world.transitions()));
    problems.extend(stalls(&world, &ledger)?);
    problems.extend(before.grown(&Objects::count(&world)?));
    let most = report.agent.sample().most();
    println!(
        "{} min, seed {}: {} faults, {} commands failed under them, {} probes, {} failed, most {}",
        options.minutes,
        options.seed,
        ledger.len(),
        failures.len(),
        report.agent.sent(),
        report.agent.failed(),
        milliseconds(most),
    );
    world.end()?;
    for problem in problems.iter().take(SHOWN) {
        println!("    {problem}");
    }
    println!("check result: {} passed; {} failed", ledger.len(), problems.len());
    Ok(problems.is_empty())
}

/// A fault comes and goes, and everything is well again.
fn strike(world: &mut World, fault: Fault, lasts: Duration) -> Result<Entry> {
    let began = Instant::now();
    {
        let lasting = fault::begin(fault, world)?;
        wait(lasts);
        drop(lasting);
    }
    let ended = Instant::now();
    world.settle()?;
    let settled = ended.elapsed().as_secs_f64();
    println!("  {:<32} {:>4} s, well again {:>8} later", format!("{fault:?}"), lasts.as_secs(), seconds(settled));
    Ok(Entry { fault, began, ended })
}

/// What no fault explains.
fn unexplained(ledger: &[Entry], failures: &[Failure], changes: &[Transition]) -> Vec<String> {
    let reaches = |failure: &Failure| {
        ledger.iter().filter(|entry| entry.meets(failure)).any(|entry| {
            let of_docker = entry.fault.disturbs() == Some("docker");
            entry.fault.stops_work() || entry.fault == Fault::Starved || (of_docker && failure.is_of_containers)
        })
    };
    let failed = failures.iter().filter(|failure| !reaches(failure)).map(|failure| failure.why.clone());
    let explains = |change: &Transition| {
        ledger.iter().any(|entry| entry.covers(change.at) && entry.fault.disturbs() == Some(change.name.as_str()))
    };
    let changed = changes.iter().filter(|change| !explains(change));
    let changed = changed.map(|change| format!("{} became {} and no fault explains it", change.name, change.status));
    failed.chain(changed).collect()
}

/// Loops and threads that were late without a fault that disturbs something.
fn stalls(world: &World, ledger: &[Entry]) -> Result<Vec<String>> {
    let stalls = world.agent.socket().get("/debug/stalls")?;
    let stalls = stalls.as_array().context("stalls")?;
    let may = ledger.iter().any(|entry| entry.fault.disturbs().is_some());
    Ok(stalls.iter().filter(|_| !may).map(|stall| format!("a stall: {stall}")).collect())
}

/// What the agent holds, and what is on the host.
struct Objects {
    memory: f64,
    descriptors: usize,
    threads: usize,
    /// Links, pinned namespaces, mounts, by what they are called.
    others: Vec<(&'static str, usize)>,
}

impl Objects {
    fn count(world: &World) -> Result<Self> {
        let process = world.agent.pid()?;
        let entries = |path: String| -> Result<usize> { Ok(fs::read_dir(path)?.count()) };
        let links = Command::new("ip").args(["-oneline", "link"]).output()?.stdout;
        let mounts = fs::read_to_string(format!("/proc/{process}/mounts"))?;
        Ok(Self {
            memory: crate::idle::resident(process)?,
            descriptors: entries(format!("/proc/{process}/fd"))?,
            threads: entries(format!("/proc/{process}/task"))?,
            others: vec![
                ("links", String::from_utf8_lossy(&links).lines().count()),
                ("mounts", mounts.lines().count()),
                ("nodes", entries(world.agent.root().join("run/netloom/nodes").display().to_string())?),
            ],
        })
    }

    fn grown(&self, after: &Self) -> Vec<String> {
        let mut grown = Vec::new();
        if after.memory > self.memory + GROWTH {
            let mib = |bytes: f64| bytes / f64::from(1 << 20);
            grown.push(format!("memory grew from {:.1} to {:.1} MiB", mib(self.memory), mib(after.memory)));
        }
        let counts = [
            ("descriptors", self.descriptors, after.descriptors, DESCRIPTORS),
            ("threads", self.threads, after.threads, THREADS),
        ];
        let others =
            self.others.iter().zip(&after.others).map(|((what, before), (_, after))| (*what, *before, *after, 0));
        for (what, before, after, more) in counts.into_iter().chain(others) {
            if after > before + more {
                grown.push(format!("{what} grew from {before} to {after}"));
            }
        }
        grown
    }
}

/// One lab and the random commands that it is given.
struct Walker {
    caller: Caller,
    name: String,
    is_of_containers: bool,
    /// Its topology file, which is another one for each deploy.
    file: PathBuf,
    nodes: Nodes,
    /// How many nodes it has at most.
    most: usize,
    /// How many nodes it has, if it is there.
    there: Option<usize>,
    random: Random,
}

impl Walker {
    fn new(agent: &Agent, number: usize, seed: u64) -> Result<Self> {
        let name = format!("soak{number}");
        let is_of_containers = number % 3 == 2;
        let (nodes, most) = if is_of_containers { (Nodes::Containers(IMAGE), 4) } else { (Nodes::Namespaces, 8) };
        let file = agent.ring_file(&name, most, nodes)?;
        let random = Random(seed.wrapping_mul(31).wrapping_add(number as u64));
        let mut walker = Self {
            caller: Caller::within(agent, AFTER),
            name,
            is_of_containers,
            file,
            nodes,
            most,
            there: None,
            random,
        };
        walker.deploy()?;
        Ok(walker)
    }

    fn deploy(&mut self) -> Result<()> {
        let size = 2 + self.random.below(self.most - 1);
        fs::write(&self.file, ring::topology(&self.name, size, self.nodes))?;
        self.there = Some(size);
        let file = self.file.to_str().context("a path in UTF-8")?;
        self.caller.run(&["deploy", "-t", file, "--timeout", "15s"])
    }

    fn walk(&mut self, stop: &AtomicBool) -> Vec<Failure> {
        let mut failures = Vec::new();
        while !stop.load(Ordering::Acquire) {
            let began = Instant::now();
            if let Err(error) = self.step() {
                let (ended, is_of_containers) = (Instant::now(), self.is_of_containers);
                let why = format!("lab {}: {error:#}", self.name);
                failures.push(Failure { began, ended, is_of_containers, why });
            }
            wait(PAUSE);
        }
        failures
    }

    fn step(&mut self) -> Result<()> {
        let Some(size) = self.there else { return self.deploy() };
        let one = self.random.below(size);
        let node = format!("{}/n{one}", self.name);
        match self.random.below(8) {
            0 => {
                self.caller.run(&["destroy", "--name", &self.name])?;
                self.there = None;
                Ok(())
            }
            1 | 2 => self.deploy(),
            3 => self.caller.run(&["node", "restart", &node]),
            4 => {
                self.caller.run(&["node", "stop", &node])?;
                self.caller.run(&["node", "start", &node])
            }
            5 => self.caller.run(&["exec", &node, "--", "true"]),
            _ => {
                let (a, b) = (format!("n{one}:soak"), format!("n{}:soak", (one + 1) % size));
                self.caller.run(&["link", "add", &self.name, &a, &b])?;
                self.caller.run(&["link", "rm", &self.name, &a, &b])
            }
        }
    }

    /// Nothing of it stays.
    fn end(&mut self) -> Result<()> {
        let until = Instant::now() + AFTER * 2;
        while let Err(error) = self.caller.run(&["destroy", "--name", &self.name]) {
            if self.caller.run(&["inspect", &self.name]).is_err() {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{error:#}");
            wait(PAUSE);
        }
        Ok(())
    }
}

/// Numbers that are the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap_or_default()
    }
}
