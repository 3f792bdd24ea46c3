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
const RATE: u32 = 100;
/// As the health checks of containers have it.
const PATIENCE: Duration = Duration::from_secs(5);
/// As that of the agent's health thread.
const NICE: i32 = -10;
const AGENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8001);
/// What a percentile is held against.
const BESIDE: &str = "≤ 1.5 × control + 1 ms";
/// How many probes make a run worth its percentiles.
const ENOUGH: usize = 10_000;

/// What came of the probes of one target: seconds, and failures.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Probes {
    answered: Vec<f64>,
    failed: usize,
}

/// What a prober found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    agent: Probes,
    control: Probes,
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
    thread::Builder::new().name("control".into()).spawn(move || answer(&control))?;
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
    let mut found = Probes::default();
    loop {
        tokio::select! {
            () = sleep_until(next) => {
                under_way.push(probe(target, next));
                next += period;
            }
            Some(took) = under_way.next() => found.note(took),
            _ = stopped.changed() => break,
        }
    }
    while let Some(took) = under_way.next().await {
        found.note(took);
    }
    found
}

async fn probe(target: SocketAddr, due: Instant) -> Option<Duration> {
    let ask = async {
        let mut stream = TcpStream::connect(target).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout_at(due + PATIENCE, ask).await.ok()?.ok()?;
    answer.starts_with(b"HTTP/1.1 200").then(|| due.elapsed())
}

impl Probes {
    fn note(&mut self, took: Option<Duration>) {
        match took {
            Some(took) => self.answered.push(took.as_secs_f64()),
            None => self.failed += 1,
        }
    }

    fn sample(&self) -> Sample {
        let mut sample = Sample::default();
        self.answered.iter().for_each(|value| sample.value(*value));
        sample
    }
}

impl Report {
    /// Its lines; whether the bars hold.
    pub(crate) fn print(&self) -> bool {
        let (agent, control) = (self.agent.sample(), self.control.sample());
        let sent = self.agent.answered.len() + self.agent.failed;
        let line = |what: &str, floor: String, figure: String, bar: (String, bool)| Line {
            what: format!("/healthz under all of this: {what}"),
            floor,
            figure,
            more: format!("of {sent} at {RATE}/s"),
            bar: Some(bar),
        };
        let at = |what: &str, share: f64, bar| line(what, seconds(control.at(share)), seconds(agent.at(share)), bar);
        let (none, beside) = (self.agent.failed == 0 && sent >= ENOUGH, |share| 1.5 * control.at(share) + 0.001);
        let (failed, failed_of_control) = (self.agent.failed.to_string(), self.control.failed.to_string());
        print_all([
            line("failed", failed_of_control, failed, (format!("0 of ≥ {ENOUGH}"), none)),
            // Where the kernel itself takes longer to let anybody answer, nobody can be faster.
            at("p99", 0.99, (format!("< 5 ms, or {BESIDE}"), agent.at(0.99) < beside(0.99).max(0.005))),
            at("p99.9", 0.999, (BESIDE.to_owned(), agent.at(0.999) <= beside(0.999))),
            at("most", 1.0, ("≤ 1 s".to_owned(), agent.most() <= 1.0)),
        ])
    }
}
