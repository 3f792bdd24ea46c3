//! The agent, and the server of the database, killed and started again while packets pass.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netloom_kernel::{Process, Signal};
use netloom_ovs_fixture::Daemon;

use super::Host;
use super::pings::{Loss, Pings};
use crate::host::{LIMIT, wait};
use crate::stats::{Sample, milliseconds};
use crate::table::{Line, print_all};

const LAB: &str = "lives";
/// Links of the lab; each is two ports.
const LINKS: usize = 100;
const ROUNDS: usize = 5;
/// Links that carry traffic, packets on each, and how far apart.
const BUSY: usize = 5;
const PINGS: usize = 800;
const PAUSE: &str = "0.005";
/// A look at the agent so often: each costs it one.
const LOOK: Duration = Duration::from_millis(5);
/// The bars, in seconds.
const AGENT: f64 = 1.0;
const DATABASE: f64 = 2.0;

/// Measures, and prints its lines; whether the bars hold.
pub(super) fn measure(host: &Host) -> Result<bool> {
    host.deploy(LAB, LINKS)?;
    let before = host.ports();
    ensure!(before.len() == 2 * LINKS, "{} ports", before.len());
    let (mut agent, mut database) = (Sample::default(), Sample::default());
    let (mut lost, mut lost_there) = (Loss::default(), Loss::default());
    for _ in 0..ROUNDS {
        let (took, loss) = host.under_traffic(Host::restart_agent)?;
        agent.time(took);
        lost.add(loss);
        ensure!(host.ports() == before, "ports or tags are other ones after a restart of the agent");
        let (took, loss) = host.under_traffic(Host::restart_database)?;
        database.time(took);
        lost_there.add(loss);
        ensure!(host.ports() == before, "ports or tags are other ones after a restart of the database");
    }
    host.agent.destroy(LAB)?;
    let line = |what: &str, sample: &Sample, bar: f64| Line {
        what: format!("{} ports: {what}", 2 * LINKS),
        figure: milliseconds(sample.most()),
        more: format!("median {}, of {}", milliseconds(sample.median()), sample.count()),
        bar: Some((format!("≤ {}", milliseconds(bar)), sample.most() <= bar)),
        ..Line::default()
    };
    let loss = |loss: Loss| Line {
        what: "… packets lost meanwhile".to_owned(),
        figure: format!("{}", loss.lost),
        more: format!("of {}; all tags the same", loss.sent),
        bar: Some(("0".to_owned(), loss.lost == 0)),
        ..Line::default()
    };
    Ok(print_all([
        line("agent killed and started", &agent, AGENT),
        loss(lost),
        line("ovsdb-server killed and started", &database, DATABASE),
        loss(lost_there),
    ]))
}

impl Host {
    /// What is done while packets pass: how long it takes, and what is lost.
    fn under_traffic(&self, work: impl FnOnce(&Self) -> Result<Duration>) -> Result<(Duration, Loss)> {
        let mut pings = Pings::start(self, LAB, BUSY, PINGS, PAUSE)?;
        let took = work(self)?;
        ensure!(pings.go_on()?, "the traffic has ended before what it was to be there for");
        Ok((took, pings.end()?))
    }

    /// From the start of the agent until its state is complete.
    fn restart_agent(&self) -> Result<Duration> {
        let process = Process::open(u32::try_from(self.agent.pid()?)?)?.context("the agent")?;
        process.signal(Signal::KILL)?;
        ensure!(process.wait_until(Instant::now() + LIMIT)?, "the agent does not end");
        let started = Instant::now();
        self.agent.again()?;
        self.until_whole(started)
    }

    /// From the start of the server until the agent has a session with it and its state is complete.
    fn restart_database(&self) -> Result<Duration> {
        self.ovs.kill(Daemon::Database);
        let killed = Instant::now();
        while self.has_switch() {
            ensure!(killed.elapsed() < LIMIT, "the agent does not notice that the database is gone");
            wait(LOOK);
        }
        let started = Instant::now();
        self.ovs.start_again(Daemon::Database);
        self.until_whole(started)
    }

    fn until_whole(&self, started: Instant) -> Result<Duration> {
        while started.elapsed() < LIMIT {
            if self.has_switch() && self.is_whole(LAB, LINKS)? {
                return Ok(started.elapsed());
            }
            wait(LOOK);
        }
        bail!("it is not whole again: {}", self.agent.socket().get(&format!("/labs/{LAB}"))?)
    }

    /// Whether the agent has a session with the database; what is down makes the answer an error.
    fn has_switch(&self) -> bool {
        let Ok(ready) = self.agent.socket().get("/readyz?verbose") else { return false };
        let all = ready["capabilities"].as_array();
        all.is_some_and(|all| all.iter().any(|one| one["name"] == "ovs" && one["status"] == "ok"))
    }
}
