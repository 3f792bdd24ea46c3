//! Probes of `/healthz`, and of a responder that does nothing else, in the same rhythm: the control tells what of a
//! slow answer is the machine's.
//!
//! ```text
//!   netloom-bench (measures) ──starts──▶ netloom-bench prober ─┬─ thread `control`: answers, nothing else
//!        └── standard input closed ─────▶ prints its report    ├─ thread: 100 probes a second of the agent
//!                                                              └─ thread: 100 probes a second of the control
//! ```
//!
//! A process of its own, at the priority of the agent's health thread, so that neither the measuring program nor the
//! load is in the way. Open loop: a probe leaves at its time, whether the one before was answered or not, and its time
//! counts from the moment at which it should have left.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::stats::{Sample, seconds};
use crate::table::{Line, print_all};

/// Probes a second.
pub(crate) const RATE: u32 = 100;
/// As the health checks of containers have it.
const PATIENCE: Duration = Duration::from_secs(5);
/// As that of the agent's health thread.
const NICE: i32 = -10;
const AGENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8001);
/// What a percentile is held against.
const BESIDE: &str = "≤ 1.5 × control + 1 ms";
/// Health checks of containers are made every half minute: of so many probes one.
const CHECKED_EACH: usize = 30 * RATE as usize;
/// How many probes make a run worth its percentiles.
pub(crate) const ENOUGH: usize = 10_000;

/// What came of the probes of one target, by their number: seconds, or nothing for one that failed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Probes(BTreeMap<u32, Option<f64>>);

/// What a prober found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) agent: Probes,
    pub(crate) control: Probes,
}

/// A prober that runs.
pub(crate) struct Prober(Child);

impl Prober {
    /// Starts one.
    pub(crate) fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.arg("prober").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Ok(Self(child.context("the prober")?))
    }

    /// Ends it; what it has found.
    pub(crate) fn stop(mut self) -> Result<Report> {
        drop(self.0.stdin.take());
        let mut text = String::new();
        self.0.stdout.take().context("its output")?.read_to_string(&mut text)?;
        ensure!(self.0.wait()?.success(), "the prober failed");
        Ok(serde_json::from_str(&text)?)
    }
}

/// The process: probes until its standard input ends, and prints what it has found.
pub(crate) fn run() -> Result<String> {
    rustix::process::setpriority_process(None, NICE).context("the priority")?;
    let control = TcpListener::bind("127.0.0.1:0")?;
    let address = control.local_addr()?;
    thread::Builder::new().name("control".into()).spawn(move || {
        // As the agent's own thread.
        drop(netloom_kernel::take_turns_first());
        answer(&control);
    })?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let probe = |name: &str, target, after| {
        let stopped = stopped.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || runtime.block_on(probes(target, after, stopped));
        thread::Builder::new().name(name.into()).spawn(work)
    };
    let agent = probe("agent", AGENT, Duration::ZERO)?;
    let control = probe("control", address, Duration::from_secs(1) / RATE / 2)?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    stop.send(true)?;
    let join = |thread: thread::JoinHandle<Probes>| thread.join().ok().context("a prober's thread panicked");
    Ok(serde_json::to_string(&Report { agent: join(agent)?, control: join(control)? })?)
}

/// The control: one thread that answers one connection after the other.
fn answer(listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let mut request = [0; 1024];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
}

async fn probes(target: SocketAddr, after: Duration, mut stopped: tokio::sync::watch::Receiver<bool>) -> Probes {
    let period = Duration::from_secs(1) / RATE;
    let mut next = Instant::now() + after;
    let mut under_way = FuturesUnordered::new();
    let mut found = BTreeMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            () = sleep_until(next) => {
                let (this, probe) = (number, probe(target, next));
                under_way.push(async move { (this, probe.await) });
                next += period;
                number += 1;
            }
            Some((number, took)) = under_way.next() => {
                found.insert(number, took);
            }
            _ = stopped.changed() => break,
        }
    }
    while let Some((number, took)) = under_way.next().await {
        found.insert(number, took);
    }
    Probes(found)
}

/// How many seconds it took.
async fn probe(target: SocketAddr, due: Instant) -> Option<f64> {
    let ask = async {
        let mut stream = TcpStream::connect(target).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout_at(due + PATIENCE, ask).await.ok()?.ok()?;
    answer.starts_with(b"HTTP/1.1 200").then(|| due.elapsed().as_secs_f64())
}

impl Probes {
    /// How many were sent.
    pub(crate) fn sent(&self) -> usize {
        self.0.len()
    }

    /// How many had no answer, or not the right one.
    pub(crate) fn failed(&self) -> usize {
        self.0.values().filter(|took| took.is_none()).count()
    }

    /// How long those took that were answered.
    pub(crate) fn sample(&self) -> Sample {
        let mut sample = Sample::default();
        self.0.values().flatten().for_each(|value| sample.value(*value));
        sample
    }

    /// The longest run of health checks in a row that would have been lost, one each half minute, whenever the first of them
    /// had been made.
    pub(crate) fn lost_checks(&self) -> usize {
        let apart = CHECKED_EACH;
        let all: Vec<bool> = self.0.values().map(Option::is_none).collect();
        let runs = (0..apart.min(all.len())).filter_map(|first| {
            let checks: Vec<bool> = all.iter().skip(first).step_by(apart).copied().collect();
            checks.split(|is_lost| !is_lost).map(<[bool]>::len).max()
        });
        runs.max().unwrap_or(0)
    }
}

impl Report {
    /// Its lines; whether the bars hold.
    pub(crate) fn print(&self) -> bool {
        let (agent, control) = (self.agent.sample(), self.control.sample());
        let sent = self.agent.sent();
        let line = |what: &str, floor: String, figure: String, bar: (String, bool)| Line {
            what: format!("/healthz under all of this: {what}"),
            floor,
            figure,
            more: format!("of {sent} at {RATE}/s"),
            bar: Some(bar),
        };
        let at = |what: &str, share: f64, bar| line(what, seconds(control.at(share)), seconds(agent.at(share)), bar);
        let (none, beside) = (self.agent.failed() == 0 && sent >= ENOUGH, |share| 1.5 * control.at(share) + 0.001);
        let (failed, failed_of_control) = (self.agent.failed().to_string(), self.control.failed().to_string());
        print_all([
            line("failed", failed_of_control, failed, (format!("0 of ≥ {ENOUGH}"), none)),
            // Where the kernel itself takes longer to let anybody answer, nobody can be faster.
            at("p99", 0.99, (format!("< 5 ms, or {BESIDE}"), agent.at(0.99) < beside(0.99).max(0.005))),
            at("p99.9", 0.999, (BESIDE.to_owned(), agent.at(0.999) <= beside(0.999))),
            at("most", 1.0, ("≤ 1 s".to_owned(), agent.most() <= 1.0)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_checks_are_lost_in_a_row_at_whatever_moment_they_are_made() {
        let apart = 3000;
        let lost = |lost: &[u32]| {
            Probes((0..4 * apart).map(|number| (number, (!lost.contains(&number)).then_some(0.001))).collect())
                .lost_checks()
        };
        assert_eq!(lost(&[]), 0);
        assert_eq!(lost(&[7, 8, 9]), 1);
        assert_eq!(lost(&[7, 7 + apart, 8 + 2 * apart]), 2);
        assert_eq!(lost(&[7, 7 + 2 * apart]), 1, "not in a row");
    }
}
