//! What a lab costs while nothing happens: memory, wake-ups, processor time, processes started.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::agent::Agent;
use crate::containers::{Bare, IMAGE};
use crate::host::wait;
use crate::ring::Nodes;
use crate::stats::{Sample, milliseconds, seconds};
use crate::table::{Line, print_all};

/// How long what a deploy has set off takes to come to rest.
const REST: Duration = Duration::from_secs(5);
/// For how long it is watched.
const WATCHED: Duration = Duration::from_secs(30);
const KIB: f64 = 1024.0;
const MIB: f64 = KIB * KIB;
/// How often leftovers are looked for.
const LOOKS: usize = 20;
/// How many inits are looked at.
const INITS: usize = 50;

/// Lines about a lab that was just deployed: memory of the agent and of an init, a deploy that has nothing to do.
pub(crate) fn measure(agent: &Agent, lab: &str, size: usize, memory: f64) -> Result<bool> {
    let resident = resident(agent.pid()?)?;
    let memory = Line {
        what: format!("ring of {size}: memory of the agent"),
        figure: format!("{:.1} MiB", resident / MIB),
        more: "resident".to_owned(),
        bar: Some((format!("≤ {} MiB", memory / MIB), resident <= memory)),
        ..Line::default()
    };
    let lab_view = agent.socket().get(&format!("/labs/{lab}"))?;
    let pids = lab_view["nodes"].as_array().context("nodes")?.iter().filter_map(|node| node["pid"].as_u64());
    let inits = pids.take(INITS).map(private).collect::<Result<Vec<f64>>>()?;
    let init = inits.into_iter().fold(0.0, f64::max);
    let init = Line {
        what: format!("ring of {size}: private memory of an idle init"),
        figure: format!("{:.0} KiB", init / KIB),
        more: format!("the most of {}", INITS.min(size)),
        bar: Some(("≤ 256 KiB".to_owned(), init <= 256.0 * KIB)),
        ..Line::default()
    };
    let nothing = agent.deploy(lab, size)?.as_secs_f64();
    let nothing = Line {
        what: format!("ring of {size}: deploy with nothing to do"),
        figure: milliseconds(nothing),
        bar: Some(("≤ 200 ms".to_owned(), nothing <= 0.2)),
        ..Line::default()
    };
    Ok(print_all([memory, init, nothing]))
}

/// Watches an agent that has a small lab and nothing to do.
pub(crate) fn watch(agent: &Agent) -> Result<bool> {
    const SIZE: usize = 10;
    agent.deploy("idle", SIZE)?;
    let good = measure(agent, "idle", SIZE, 20.0 * MIB)?;
    let spent = Spent::watched(agent.pid()?)?;
    agent.destroy("idle")?;
    let what = |what: &str| format!("idle with {SIZE} nodes: {what}");
    let started = Line {
        what: what("processes and threads started"),
        figure: format!("{}", spent.forked),
        more: format!("in {:.0} s", spent.seconds),
        bar: Some(("0".to_owned(), spent.forked == 0)),
        ..Line::default()
    };
    let processor = Line {
        what: what("processor"),
        figure: format!("{:.3} %", spent.runs / spent.seconds * 100.0),
        more: format!("{} in all", seconds(spent.runs)),
        bar: Some(("< 0.3 % of a core".to_owned(), spent.runs / spent.seconds < 0.003)),
        ..Line::default()
    };
    Ok(print_all([started, spent.wake_ups(what("wake-ups")), processor]) && good)
}

/// The same with containers; what the daemon does is not the agent's.
pub(crate) fn watch_containers(netloom: &Path) -> Result<bool> {
    const SIZE: usize = 50;
    let bare = Bare::start()?;
    let agent = Agent::start_with_docker(netloom, bare.socket())?;
    agent.deploy_ring("idle", SIZE, Nodes::Containers(IMAGE))?;
    let pid = agent.pid()?;
    let (children, threads) = (children(pid)?, threads(pid)?);
    let spent = Spent::watched(pid)?;
    let mut look = Sample::default();
    for _ in 0..LOOKS {
        look.value(agent.socket().get("/leftovers")?["seconds"].as_f64().context("how long a look took")?);
    }
    let ended = self::children(pid)? - children;
    let now = self::threads(pid)?;
    let resident = resident(pid)?;
    agent.destroy("idle")?;
    let what = |what: &str| format!("idle with {SIZE} containers: {what}");
    Ok(print_all([
        Line {
            what: what("memory of the agent"),
            figure: format!("{:.1} MiB", resident / MIB),
            more: "resident".to_owned(),
            bar: Some(("≤ 40 MiB".to_owned(), resident <= 40.0 * MIB)),
            ..Line::default()
        },
        Line {
            what: what("page faults of children"),
            figure: format!("{ended}"),
            more: "none: no process was started".to_owned(),
            bar: Some(("0".to_owned(), ended == 0)),
            ..Line::default()
        },
        Line {
            what: what("threads"),
            figure: format!("{now}"),
            more: format!("{threads} before"),
            bar: Some(("as before".to_owned(), now == threads)),
            ..Line::default()
        },
        spent.wake_ups(what("wake-ups")),
        Line {
            what: what("a look for leftovers"),
            figure: milliseconds(look.median()),
            more: format!("most {}", milliseconds(look.most())),
            bar: Some(("≤ 10 ms".to_owned(), look.median() <= 0.010)),
            ..Line::default()
        },
    ]))
}

/// What a process has spent while it was watched.
struct Spent {
    wakes: f64,
    runs: f64,
    seconds: f64,
    /// Processes and threads that were started meanwhile, by whomever in this process namespace.
    forked: u64,
}

impl Spent {
    /// Watches a process, once what was done before has come to rest.
    fn watched(pid: u64) -> Result<Self> {
        wait(REST);
        let (before, forks, started) = (Threads::of(pid)?, last_pid()?, Instant::now());
        wait(WATCHED);
        let (after, forked, seconds) = (Threads::of(pid)?, last_pid()? - forks, started.elapsed().as_secs_f64());
        Ok(Self { wakes: after.wakes - before.wakes, runs: after.runs - before.runs, seconds, forked })
    }

    fn wake_ups(&self, what: String) -> Line {
        let wakes = self.wakes / self.seconds;
        Line {
            what,
            figure: format!("{wakes:.1}/s"),
            more: "of all threads of the agent".to_owned(),
            bar: Some(("≤ 5/s".to_owned(), wakes <= 5.0)),
            ..Line::default()
        }
    }
}

/// How many page faults the children had that a process has waited for: none, if it has started none (proc(5), `cminflt`).
pub(crate) fn children(pid: u64) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after) = stat.rsplit_once(')').context("stat")?;
    Ok(after.split_whitespace().nth(8).context("cminflt")?.parse()?)
}

fn threads(pid: u64) -> Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

/// What the threads of a process have done: times they have waited, seconds they have run.
struct Threads {
    wakes: f64,
    runs: f64,
}

impl Threads {
    fn of(pid: u64) -> Result<Self> {
        let mut all = Self { wakes: 0.0, runs: 0.0 };
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let thread = thread?.path();
            // proc(5): nanoseconds on the processor come first.
            let runs = fs::read_to_string(thread.join("schedstat"))?;
            let nanoseconds: f64 = runs.split(' ').next().context("schedstat")?.parse()?;
            all.runs += nanoseconds / 1e9;
            all.wakes += field(&fs::read_to_string(thread.join("status"))?, "voluntary_ctxt_switches:")?;
        }
        Ok(all)
    }
}

/// The number behind a name in a file of /proc.
fn field(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
    Ok(line.split_whitespace().next().context("a number")?.parse()?)
}

/// The memory of a process that is in memory, in bytes.
pub(crate) fn resident(pid: u64) -> Result<f64> {
    Ok(field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:")? * KIB)
}

fn private(pid: u64) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok((field(&text, "Private_Clean:")? + field(&text, "Private_Dirty:")?) * KIB)
}

/// The number of the process or thread that was started last; this program has a process namespace of its own.
fn last_pid() -> Result<u64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split_whitespace().last().context("loadavg")?.parse()?)
}
