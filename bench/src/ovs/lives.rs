//! The agent, and the server of the database, killed and started again while packets pass.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netloom_kernel::{Process, Signal};
use netloom_ovs_fixture::Daemon;

use super::Host;
use super::traffic::{Loss, Traffic};
use crate::host::{LIMIT, wait};
use crate::stats::{Sample, milliseconds};
use crate::table::{Line, print_all};

const LAB: &str = "lives";
/// Links of the lab; each is two ports.
const LINKS: usize = 100;
const ROUNDS: usize = 5;
/// Links that carry traffic, and how far apart the packets on each are.
const BUSY: usize = 5;
const PAUSE: Duration = Duration::from_millis(5);
/// How long the server of the database is away where it does not come back at once.
const AWAY: Duration = Duration::from_secs(5);
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
    let (mut agent, mut database, mut away) = (Sample::default(), Sample::default(), Sample::default());
    let (mut lost, mut lost_there, mut lost_away) = (Loss::default(), Loss::default(), Loss::default());
    for _ in 0..ROUNDS {
        let (took, loss) = host.under_traffic(|| host.restart_agent(LAB, LINKS))?;
        agent.time(took);
        lost.add(loss);
        ensure!(host.ports() == before, "ports or tags are other ones after a restart of the agent");
        for (time, sample, lost) in
            [(Duration::ZERO, &mut database, &mut lost_there), (AWAY, &mut away, &mut lost_away)]
        {
            let (took, loss) = host.under_traffic(|| host.restart_database(LAB, LINKS, time))?;
            sample.time(took);
            lost.add(loss);
            ensure!(host.ports() == before, "ports or tags are other ones after a restart of the database");
            host.until_well()?;
        }
    }
    host.agent.destroy(LAB)?;
    let line = |what: &str, sample: &Sample, bar: Option<f64>| Line {
        what: format!("{} ports: {what}", 2 * LINKS),
        figure: milliseconds(sample.most()),
        more: format!("median {}, of {}", milliseconds(sample.median()), sample.count()),
        bar: bar.map(|bar| (format!("≤ {}", milliseconds(bar)), sample.most() <= bar)),
        ..Line::default()
    };
    let loss = |loss: Loss| Line {
        what: "… packets lost meanwhile".to_owned(),
        figure: format!("{}", loss.lost),
        more: format!("of {}, longest silence {}", loss.sent, milliseconds(loss.silence.as_secs_f64())),
        ..Line::default()
    };
    let none = |lost: Loss| Line { bar: Some(("0".to_owned(), lost.lost == 0)), ..loss(lost) };
    Ok(print_all([
        line("agent killed and started", &agent, Some(AGENT)),
        none(lost),
        line("ovsdb-server killed and started", &database, Some(DATABASE)),
        none(lost_there),
        line(&format!("ovsdb-server started after {} s", AWAY.as_secs()), &away, None),
        // A switch in user space forwards nothing while it has no session with its database.
        loss(lost_away),
    ]))
}

impl Host {
    /// What is done while packets pass: how long it takes, and what is lost from before it until after it.
    fn under_traffic(&self, work: impl FnOnce() -> Result<Duration>) -> Result<(Duration, Loss)> {
        let traffic = Traffic::start(self, LAB, BUSY, PAUSE)?;
        let took = work()?;
        Ok((took, traffic.end()?))
    }

    /// From the start of the agent until its state is complete.
    pub(super) fn restart_agent(&self, lab: &str, links: usize) -> Result<Duration> {
        let process = Process::open(u32::try_from(self.agent.pid()?)?)?.context("the agent")?;
        process.signal(Signal::KILL)?;
        ensure!(process.wait_until(Instant::now() + LIMIT)?, "the agent does not end");
        let started = Instant::now();
        self.agent.again()?;
        self.until(started, lab, || Ok(self.has_switch() && self.is_whole(lab, links)?))
    }

    /// From the start of the server, so long after it was killed, until the agent has read everything anew and its state is
    /// complete.
    fn restart_database(&self, lab: &str, links: usize, away: Duration) -> Result<Duration> {
        let resyncs = || self.agent.socket().metric("netloom_ovs_resyncs_total");
        let before = resyncs()?;
        self.ovs.kill(Daemon::Database);
        wait(away);
        let started = Instant::now();
        self.ovs.start_again(Daemon::Database);
        self.until(started, lab, || Ok(resyncs()? > before && self.is_whole(lab, links)?))
    }

    fn until(&self, started: Instant, lab: &str, is_so: impl Fn() -> Result<bool>) -> Result<Duration> {
        while started.elapsed() < LIMIT {
            if is_so()? {
                return Ok(started.elapsed());
            }
            wait(LOOK);
        }
        bail!("it is not whole again: {}", self.agent.socket().get(&format!("/labs/{lab}"))?)
    }

    /// Waits until what was interrupted is said to be well, which takes ten seconds after the last bad look.
    fn until_well(&self) -> Result<Duration> {
        self.until(Instant::now(), LAB, || Ok(self.has_switch()))
    }

    /// Whether the agent has a session with the database; what is down makes the answer an error.
    fn has_switch(&self) -> bool {
        let Ok(ready) = self.agent.socket().get("/readyz?verbose") else { return false };
        let all = ready["capabilities"].as_array();
        all.is_some_and(|all| all.iter().any(|one| one["name"] == "ovs" && one["status"] == "ok"))
    }
}
