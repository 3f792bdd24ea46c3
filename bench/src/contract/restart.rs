//! The agent killed and started beside labs that run: when it says that it is well, and when it knows all of them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::client::Client;
use super::{Controlled, until};
use crate::stats::{Sample, seconds};
use crate::table::{Line, print_all};

const TIMES: usize = 3;
/// The bars, in seconds.
pub(super) const FIRST: f64 = 0.5;
pub(super) const WHOLE: f64 = 2.0;
/// Nobody waits longer for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Kills the agent and starts it: after how long `/healthz` is answered, and what `then` says, which is told when it was killed.
pub(super) fn again<T>(controlled: &Controlled, then: impl FnOnce(Instant) -> Result<T>) -> Result<(Duration, T)> {
    let process = Pid::from_raw(i32::try_from(controlled.agent.pid()?)?).context("a process")?;
    kill_process(process, Signal::KILL)?;
    let started = Instant::now();
    thread::scope(|scope| {
        let again = scope.spawn(|| controlled.agent.again());
        let client = Client::new(PATIENCE);
        until(|| Ok(client.get("/healthz").is_ok()))?;
        let first = started.elapsed();
        let said = then(started)?;
        again.join().ok().context("the start panicked")??;
        Ok((first, said))
    })
}

/// Does it a few times; whether the bars hold.
pub(super) fn measure(controlled: &Controlled, containers: usize) -> Result<bool> {
    let (mut first, mut whole) = (Sample::default(), Sample::default());
    for _ in 0..TIMES {
        let (answers, known) = again(controlled, |started| {
            until(|| Ok(controlled.set.is_whole().unwrap_or(false)))?;
            Ok(started.elapsed())
        })?;
        first.time(answers);
        whole.time(known);
    }
    let line = |what: &str, before: &str, sample: &Sample, bar: f64| Line {
        what: format!("controller: restart beside {containers}: {what}"),
        floor: before.to_owned(),
        figure: seconds(sample.most()),
        more: format!("the most of {TIMES}, median {}", seconds(sample.median())),
        bar: Some((format!("≤ {}", seconds(bar)), sample.most() <= bar)),
    };
    Ok(print_all([line("first 200", "8.9 s", &first, FIRST), line("all statuses whole", "34 s", &whole, WHOLE)]))
}
