//! Docker frozen in the middle of a deploy: whether anything but that deploy notices, and whether that ends by itself.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::canary::{self, Canary};
use crate::containers::{Bare, IMAGE};
use crate::host::LIMIT;
use crate::prober::Prober;
use crate::ring::Nodes;
use crate::stats::{Sample, milliseconds, seconds};
use crate::table::{Line, print_all};

/// Containers of the lab that is being deployed, and how many of them run when Docker is frozen.
const SIZE: usize = 50;
const HALF: usize = SIZE / 2;
const LAB: &str = "frozen";
/// Nodes of the lab that is deployed, edited and destroyed meanwhile.
const OTHER: usize = 20;
/// How long the same is measured while Docker is well.
const BEFORE: Duration = Duration::from_secs(20);
/// The most that work on namespaces may take of what it takes otherwise: four fifths of its rate.
const RATE: f64 = 1.25;
const INSPECT: f64 = 0.010;

/// What goes on beside Docker.
#[derive(Default)]
struct Beside {
    deploy: Sample,
    edit: Sample,
    destroy: Sample,
    inspect: Sample,
}

/// Freezes Docker for so long.
pub(crate) fn measure(netloom: &Path, frozen: Duration) -> Result<bool> {
    let bare = Bare::start()?;
    let agent = Agent::start_on(netloom, "127.0.0.1:8001", Some(bare.socket()))?;
    agent.deploy(canary::LAB, 2)?;
    let mut usual = Beside::default();
    usual.go_on_for(&agent, BEFORE)?;
    let (prober, canary) = (Prober::start()?, Canary::start(agent.socket())?);
    let (meanwhile, rest) = thread::scope(|scope| {
        let deploy = scope.spawn(|| agent.deploy_ring(LAB, SIZE, Nodes::Containers(IMAGE)));
        wait_until_half(&agent)?;
        bare.daemon().freeze();
        let mut meanwhile = Beside::default();
        let went = meanwhile.go_on_for(&agent, frozen);
        bare.daemon().thaw();
        let thawed = Instant::now();
        deploy.join().ok().context("the deploy panicked")??;
        went?;
        Ok::<_, anyhow::Error>((meanwhile, thawed.elapsed()))
    })?;
    let running = running(&agent)?;
    let (report, song) = (prober.stop()?, canary.stop()?);
    agent.destroy(LAB)?;
    let beside = |what: &str, usual: &Sample, now: &Sample| {
        let ratio = now.median() / usual.median();
        Line {
            what: format!("Docker frozen: {what} a lab of {OTHER} namespaces"),
            floor: seconds(usual.median()),
            figure: seconds(now.median()),
            more: format!("× {ratio:.2}, most {}", seconds(now.most())),
            bar: Some((format!("≤ {RATE} × usual"), ratio <= RATE)),
        }
    };
    let inspect = Line {
        what: format!("Docker frozen: inspect of its {SIZE} containers"),
        floor: milliseconds(usual.inspect.median()),
        figure: milliseconds(meanwhile.inspect.median()),
        more: format!("p99 {}", milliseconds(meanwhile.inspect.at(0.99))),
        bar: Some((format!("≤ {}", milliseconds(INSPECT)), meanwhile.inspect.median() <= INSPECT)),
    };
    let end = Line {
        what: format!("Docker frozen for {} s: its deploy ends", frozen.as_secs()),
        figure: seconds(rest.as_secs_f64()),
        more: format!("after the thaw, {running} run"),
        bar: Some((format!("{SIZE} run"), running == SIZE)),
        ..Line::default()
    };
    let good = print_all([
        beside("deploy", &usual.deploy, &meanwhile.deploy),
        beside("edit", &usual.edit, &meanwhile.edit),
        beside("destroy", &usual.destroy, &meanwhile.destroy),
        inspect,
        end,
    ]);
    Ok(good & report.print() & song.print())
}

impl Beside {
    /// Deploys, edits and destroys a lab of namespaces again and again, and looks at the lab of containers.
    fn go_on_for(&mut self, agent: &Agent, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        let mut is_stale = false;
        while Instant::now() < until {
            self.deploy.time(agent.deploy("beside", OTHER)?);
            let started = Instant::now();
            let operation = agent.socket().patch("beside", &json!({ "links": { "n0:more n9:more": {} } }))?;
            agent.socket().wait(&operation)?;
            self.edit.time(started.elapsed());
            let started = Instant::now();
            is_stale |= lab(agent)?.is_some_and(|lab| lab["stale"].is_string());
            self.inspect.time(started.elapsed());
            self.destroy.time(agent.destroy("beside")?);
        }
        // A lab that is there is shown with the age of what is known, once Docker has been silent for a while.
        ensure!(is_stale || lab(agent)?.is_none(), "nothing says how old it is what is shown of the containers");
        Ok(())
    }
}

/// The lab of containers, if it is there.
fn lab(agent: &Agent) -> Result<Option<Value>> {
    let labs = agent.socket().get("/labs")?;
    Ok(labs.as_array().context("labs")?.iter().find(|lab| lab["name"] == LAB).cloned())
}

fn running(agent: &Agent) -> Result<usize> {
    let lab = lab(agent)?;
    let nodes = lab.as_ref().and_then(|lab| lab["nodes"].as_array());
    Ok(nodes.into_iter().flatten().filter(|node| node["pid"].is_u64()).count())
}

fn wait_until_half(agent: &Agent) -> Result<()> {
    let until = Instant::now() + LIMIT;
    while running(agent)? < HALF {
        ensure!(Instant::now() < until, "half of the containers do not come to run");
        thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}
