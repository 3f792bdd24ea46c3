//! One container restarted by Docker again and again while its neighbour pings it: how long each time until the first answer.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agent::Agent;
use crate::containers::{Bare, IMAGE};
use crate::ring::{self, Nodes};
use crate::stats::{Sample, milliseconds};
use crate::table::{Line, print_all};

/// From the start of the container to the first answer, and from one answer to the next, in seconds.
const BAR: f64 = 1.0;
/// How long after its start answers are listened for: the first may still come from the namespace of its last life.
const LISTEN: f64 = 1.5;
const LAB: &str = "restarts";
/// The neighbours and the one between them that is restarted.
const SIZE: usize = 3;

/// Restarts a node so many times; whether it was back in time each time, and its neighbours kept their interfaces.
pub(crate) fn measure(netloom: &Path, times: usize) -> Result<bool> {
    let bare = Bare::start()?;
    let agent = Agent::start_with_docker(netloom, bare.socket())?;
    agent.deploy_ring(LAB, SIZE, Nodes::Containers(IMAGE))?;
    let good = restarts(&bare, &agent, times);
    agent.destroy(LAB)?;
    good
}

fn restarts(bare: &Bare, agent: &Agent, times: usize) -> Result<bool> {
    let neighbours = || Ok::<_, anyhow::Error>([interfaces(agent, "n0")?, interfaces(agent, "n2")?]);
    let before = neighbours()?;
    let mut pings = Pings::start(agent)?;
    pings.answer_after(0.0)?;
    let (mut sample, mut silence, mut all) = (Sample::default(), Sample::default(), Vec::new());
    for _ in 0..times {
        docker(bare, &["restart", "-t", "0", &container()])?;
        let started = docker(bare, &["inspect", "-f", "{{.State.StartedAt}}", &container()])?;
        let started = seconds(&started)?;
        let taken = pings.answer_after(started)? - started;
        pings.answer_after(started + LISTEN)?;
        let longest = std::mem::take(&mut pings.longest);
        all.push(format!("{taken:.2}/{longest:.2}"));
        sample.time(Duration::from_secs_f64(taken));
        silence.time(Duration::from_secs_f64(longest));
        ensure!(neighbours()? == before, "a neighbour's interface is another one: {before:?}");
    }
    println!("restarts of a container, seconds until it answers / of the longest silence: {}", all.join(" "));
    let line = |what: &str, sample: &Sample| Line {
        what: format!("{times} restarts of a container: {what}"),
        figure: milliseconds(sample.most()),
        more: format!("median {}", milliseconds(sample.median())),
        bar: Some((format!("≤ {}", milliseconds(BAR)), sample.most() <= BAR)),
        ..Line::default()
    };
    Ok(print_all([line("it answers", &sample), line("silence", &silence)]))
}

fn container() -> String {
    format!("clab-{LAB}-n1")
}

fn docker(bare: &Bare, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("docker");
    let output = command.arg("-H").arg(format!("unix://{}", bare.socket().display())).args(arguments).output()?;
    ensure!(output.status.success(), "docker {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A time of Docker's in seconds since 1970.
fn seconds(time: &str) -> Result<f64> {
    let output = Command::new("date").args(["-d", time, "+%s.%N"]).output()?;
    String::from_utf8(output.stdout)?.trim().parse().with_context(|| format!("`{time}` is no time"))
}

fn in_namespace(agent: &Agent, node: &str) -> Command {
    crate::host::in_namespace(&agent.pin(LAB, node))
}

/// Index and name of each interface of a node.
fn interfaces(agent: &Agent, node: &str) -> Result<Vec<String>> {
    let output = in_namespace(agent, node).args(["ip", "-o", "link"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().filter_map(|line| Some(line.split('@').next()?.to_owned())).collect())
}

/// Pings without a pause, from the node before the one that is restarted.
struct Pings {
    ping: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
    /// When the last answer came.
    last: Option<f64>,
    /// The longest time between two answers.
    longest: f64,
}

impl Pings {
    fn start(agent: &Agent) -> Result<Self> {
        let address = ring::addresses(0)[1].clone();
        let address = address.split('/').next().context("an address")?.to_owned();
        let mut ping = in_namespace(agent, "n0");
        let mut ping = ping.args(["ping", "-D", "-i", "0.02", &address]).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(ping.stdout.take().context("its output")?).lines();
        Ok(Self { ping, lines, last: None, longest: 0.0 })
    }

    /// When the first answer came after a time.
    fn answer_after(&mut self, time: f64) -> Result<f64> {
        loop {
            let line = self.lines.next().context("ping has ended")??;
            let at = line.strip_prefix('[').and_then(|line| line.split(']').next()?.parse::<f64>().ok());
            let Some(at) = at.filter(|_| line.contains("bytes from")) else { continue };
            self.longest = self.longest.max(at - self.last.replace(at).unwrap_or(at));
            if at > time {
                return Ok(at);
            }
        }
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        let _ = self.ping.kill();
        let _ = self.ping.wait();
    }
}
