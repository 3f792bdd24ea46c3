//! The matrix: which cases there are, and how each is run in a sandbox of its own.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use netloom_engine::Layout;
use netloom_failpoint::ALL;
use serde::Serialize;

use crate::case::{Case, Event, Fault, Random};
use crate::ledger::{Entry, Summary, Verdict, killers};
use crate::scenario::{Kind, STOP, Scenario};
use crate::table;
use crate::traces::cgroups;

/// How long a case may take before it counts as hung, in seconds.
const LIMIT: u64 = 300;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The binary, built with the feature `failpoints`.
    #[arg(long)]
    netloom: PathBuf,
    /// Where what came of each case is written, a line of JSON each.
    #[arg(long, default_value = "target/crash-ledger.jsonl")]
    ledger: PathBuf,
    /// What random moments come from; the time of day unless given.
    #[arg(long)]
    seed: Option<u64>,
    /// Random moments for each scenario.
    #[arg(long, default_value_t = 8)]
    moments: usize,
    /// Cases at once.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

/// Which cases are run.
#[derive(Debug)]
pub(crate) enum Choice {
    All,
    Few,
    Only(String),
}

/// Runs the cases, writes the ledger, prints the summary. Fails unless every case is as it should be.
pub(crate) fn run(options: &Options, choice: &Choice) -> Result<ExitCode> {
    let netloom =
        options.netloom.canonicalize().with_context(|| format!("{}: build it first", options.netloom.display()))?;
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let seed = options.seed.unwrap_or_else(now);
    println!("seed {seed}");
    let ledger = fs::File::create(&options.ledger).with_context(|| format!("{}", options.ledger.display()))?;
    let bench = Bench { netloom, ledger: Mutex::new(ledger), entries: Mutex::default() };
    let started = Instant::now();
    let impossible = table::impossible().len();
    let mut problems = match choice {
        Choice::Few => {
            bench.all(&table::few(seed), options.jobs)?;
            Vec::new()
        }
        Choice::All => matrix(&bench, options, seed, "")?,
        Choice::Only(name) => match Case::named(name, seed) {
            Some(case) => bench.all(&[case], 1).map(|_| Vec::new())?,
            None => matrix(&bench, options, seed, name)?,
        },
    };
    let entries = bench.entries.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(!entries.is_empty(), "there is no such case");
    if matches!(choice, Choice::All) {
        let killers = killers(&entries);
        let never = ALL.iter().filter(|name| !killers.contains(*name));
        problems.extend(never.map(|name| format!("{name}: killed no agent in any scenario")));
    }
    let summary = Summary::of(&entries, impossible, seed, started.elapsed().as_secs(), problems);
    write_line(&mut bench.ledger.into_inner().unwrap_or_else(PoisonError::into_inner), &summary)?;
    println!("ledger {}\n{}", options.ledger.display(), summary.text(&entries).trim_end());
    Ok(if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_line(ledger: &mut fs::File, line: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(line)? + "\n";
    Ok(ledger.write_all(line.as_bytes())?)
}

/// Looks at what each scenario passes when nothing happens, compares that with what is declared, and runs the cases.
fn matrix(bench: &Bench, options: &Options, seed: u64, only: &str) -> Result<Vec<String>> {
    let wanted =
        |scenario: &Scenario| only.starts_with(&format!("{scenario}/")) || format!("{scenario}/").starts_with(only);
    let scenarios: Vec<Scenario> = Scenario::ALL.into_iter().filter(wanted).collect();
    let calm = scenarios.iter().map(|scenario| Case::new(*scenario, Event::Nothing, seed));
    let calm = bench.all(&calm.collect::<Vec<_>>(), options.jobs)?;
    let mut problems = Vec::new();
    let mut cases = Vec::new();
    let mut random = Random::new(seed);
    for (scenario, entry) in scenarios.into_iter().zip(calm) {
        let passed = entry.passed;
        let declared: BTreeSet<&str> = table::passed_in(scenario).collect();
        for name in ALL.iter().filter(|name| !table::is_open(scenario, name)) {
            match (passed.get(*name), declared.contains(name)) {
                (Some(_), false) => problems.push(format!("{scenario}/{name}: declared impossible, but it is passed")),
                (None, true) => {
                    problems.push(format!("{scenario}/{name}: not passed; declare it impossible or reach it"));
                }
                (Some(_), true) | (None, false) => {}
            }
        }
        for (fault, name) in table::with_faults(scenario) {
            let count = passed.get(name).copied().unwrap_or(1);
            let passage = 1 + usize::try_from(random.below(count as u64))?;
            cases.push(Case::new(scenario, Event::point(name, passage), seed).with(fault));
        }
        let faults: BTreeSet<Fault> = table::with_faults(scenario).map(|(fault, _)| fault).collect();
        for fault in faults {
            let after = random.below(entry.command_us);
            cases.push(Case::new(scenario, Event::Moment { after }, random.below(u64::MAX)).with(fault));
        }
        for (name, count) in passed {
            let passages = passages(scenario, &name, count, &mut random);
            cases.extend(passages.into_iter().map(|passage| Case::new(scenario, Event::point(&name, passage), seed)));
        }
        for _ in 0..options.moments {
            let after = random.below(entry.command_us);
            cases.push(Case::new(scenario, Event::Moment { after }, random.below(u64::MAX)));
            if scenario.turns_nodes() {
                let after = random.below(entry.command_us);
                cases.push(Case::new(scenario, Event::Node { after }, random.below(u64::MAX)));
            }
        }
        if scenario == STOP {
            cases.push(Case::new(scenario, Event::Upgrade, seed));
        }
    }
    cases.retain(|case| case.to_string().starts_with(only));
    bench.all(&cases, options.jobs)?;
    Ok(problems)
}

/// At which passages of a point the agent is killed: the first, one in the middle and the last; in a large lab at one of them,
/// and not where the agent has nothing to do with the lab; on a switch only where links are the matter.
fn passages(scenario: Scenario, name: &str, count: usize, random: &mut Random) -> BTreeSet<usize> {
    match scenario.kind {
        Kind::Many if name.starts_with("agent.") => BTreeSet::new(),
        Kind::Many => usize::try_from(random.below(count as u64)).map(|before| before + 1).into_iter().collect(),
        // Of the rest what matters is where the switch has no part in it.
        Kind::Switched if !table::is_of_links(name) => BTreeSet::new(),
        Kind::Namespaces
        | Kind::Switched
        | Kind::Containers
        | Kind::Managed
        | Kind::Around
        | Kind::Inherited
        | Kind::Host => [1, count.div_ceil(2), count].into(),
    }
}

/// What the cases are run with.
struct Bench {
    netloom: PathBuf,
    ledger: Mutex<fs::File>,
    entries: Mutex<Vec<Entry>>,
}

impl Bench {
    /// Runs cases, some at once; the answer has their order.
    fn all(&self, cases: &[Case], jobs: usize) -> Result<Vec<Entry>> {
        let next = AtomicUsize::new(0);
        let done: Vec<Mutex<Option<Entry>>> = cases.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            let work = || -> Result<()> {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let entry = self.one(case.clone())?;
                    println!("{}", entry.line());
                    write_line(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner), &entry)?;
                    self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry.clone());
                    let at = cases.iter().position(|other| std::ptr::eq(other, case)).expect("it is one of them");
                    *done[at].lock().unwrap_or_else(PoisonError::into_inner) = Some(entry);
                }
                Ok(())
            };
            let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        })?;
        let taken = done.into_iter().map(|entry| entry.into_inner().unwrap_or_else(PoisonError::into_inner));
        taken.map(|entry| entry.context("a case was not run")).collect()
    }

    /// Runs a case; when its passage or its moment is not reached this time, an earlier one.
    fn one(&self, mut case: Case) -> Result<Entry> {
        loop {
            let entry = self.sandboxed(&case)?;
            match &mut case.event {
                _ if entry.verdict != Verdict::NotReached => return Ok(entry),
                // How often a point is passed depends on how steps fall together, and how long all takes on the machine.
                Event::Point { passage, .. } if *passage > 1 => *passage /= 2,
                Event::Moment { after } | Event::Node { after } if *after > 0 => *after /= 2,
                _ => return Ok(entry),
            }
        }
    }

    fn sandboxed(&self, case: &Case) -> Result<Entry> {
        let root = tempfile::Builder::new().prefix("netloom-crash-").tempdir()?;
        let own = std::env::current_exe()?;
        let mut sandbox = Command::new("timeout")
            .args([
                "--signal=KILL",
                &LIMIT.to_string(),
                "unshare",
                "--mount",
                "--net",
                "--pid",
                "--fork",
                "--kill-child",
            ])
            // The shell buries what has lost its parent.
            .args(["--mount-proc", "bash", "-c", "\"$@\"; exit $?", "bash"])
            .arg(own)
            .args(["inside", &serde_json::to_string(case)?])
            .arg("--netloom")
            .arg(&self.netloom)
            .arg("--root")
            .arg(root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare")?;
        let mut line = String::new();
        let stdout = sandbox.stdout.take().context("its output")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let status = sandbox.wait()?;
        let layout = Layout::new(root.path())?;
        let entry = match serde_json::from_str(&line) {
            Ok(entry) => entry,
            Err(_) if status.success() => bail!("case {case} said `{line}`"),
            Err(_) => Entry::failed(case, format!("it did not end within {LIMIT} s ({status})")),
        };
        remove_cgroups(&layout);
        Ok(entry)
    }
}

/// What a failed case leaves of cgroups, which are the machine's, can go as soon as its last process has.
fn remove_cgroups(layout: &Layout) {
    let deadline = Instant::now() + Duration::from_secs(5);
    for group in cgroups(layout) {
        while fs::remove_dir(&group).is_err() && group.exists() && Instant::now() < deadline {
            std::thread::yield_now();
        }
    }
}
