//! What came of the cases: a line of JSON each, and a summary for machines and for people.
//!
//! The ledger is a file of JSON lines. Each line but the last is a case ([`Entry`]):
//!
//! ```text
//!   case             its name: `<scenario>/<point>:<passage>`, `<scenario>/moment:<µs>us`, `<scenario>/node:<µs>us`,
//!                    `<scenario>/nothing`, `stop/upgrade`, where the host has a fault `<scenario>/<fault>+…`; `netloom-crash only <case>` runs it again (moments: with the seed)
//!   scenario, point  the parts of the name; `point` is null where the kill came at a moment
//!   seed             what the choice of a victim comes from
//!   killed           whether it came to the kill; null where nothing was to be killed
//!   killed_by_point  whether the point named is what killed the process; null where there is no point
//!   converged_ms     from the command that starts the agent again to what is desired; null: never
//!   leftovers        what the host has after everything was destroyed that it had not before, or lacks
//!   udp_sent, udp_lost, udp_ms   numbered datagrams over links that nobody touches, and for how long they were sent
//!                    (of all links together, so that `udp_sent` is about `udp_ms`)
//!   answers_ms, runs (with a fault of the host) from that command to the first answer to `/livez`; how many processes and
//!                    interfaces of the lab ran at the kill that had to be let be
//!   tcp_ok           whether every byte of the streams beside them arrived; null: there was no traffic
//!   verdict          `ok`; `failed`: see `problems`, `leftovers`, `udp_lost`, `tcp_ok`; `not-reached`: the kill did not come,
//!                    or not from the point, and the case says nothing
//!   problems         what is wrong, in words, then the end of the agent's log
//!   command_us       how long the disturbed command took
//!   said             (where the kill did not come) what the command said
//!   passed           (where nothing happened) each point that was passed, and how often by one process
//! ```
//!
//! The last line is the summary of all of them ([`Summary`]): `cases`, how many are `ok`, `failed` and `not_reached`,
//! `points_killed` of `points`, `impossible` (the pairs of scenario and point that are declared never to be passed),
//! the `seed` of the random moments, `seconds`, and `problems` of the matrix itself: a point that is passed where that
//! is declared impossible, not passed where it is declared to be, or that never killed anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::case::{Case, Event};

/// How a case ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// All is as it should be.
    Ok,
    /// Something is not.
    Failed,
    /// What was to be killed was not, or not by the point: the case says nothing.
    NotReached,
}

/// What is known of one case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Its name.
    pub(crate) case: String,
    pub(crate) scenario: String,
    /// The fail point; `None` where the kill came at a moment.
    pub(crate) point: Option<String>,
    pub(crate) seed: u64,
    /// Whether it came to the kill; `None` where nothing was to be killed.
    pub(crate) killed: Option<bool>,
    /// Whether the point is what killed the agent; `None` where there is no point.
    pub(crate) killed_by_point: Option<bool>,
    /// From the command that starts the agent again to the state that is desired, in milliseconds.
    pub(crate) converged_ms: Option<u64>,
    /// From that command to the first answer to `/livez`, in milliseconds; only with a fault of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answers_ms: Option<u64>,
    /// How many processes and interfaces of the lab ran at the kill that had to be let be; only with a fault of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) runs: Option<usize>,
    /// What the host has at the end that it did not have before, or lacks.
    pub(crate) leftovers: Vec<String>,
    pub(crate) udp_sent: u64,
    pub(crate) udp_lost: u64,
    /// For how long they were sent, in milliseconds.
    pub(crate) udp_ms: u64,
    /// Whether every byte of the streams arrived; `None` where there are none.
    pub(crate) tcp_ok: Option<bool>,
    pub(crate) verdict: Verdict,
    /// What is wrong.
    pub(crate) problems: Vec<String>,
    /// How long the command took that was disturbed, in microseconds.
    pub(crate) command_us: u64,
    /// What the disturbed command said; only where the kill did not come.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) said: String,
    /// The points that were passed and how often by one process; only where nothing happened.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) passed: BTreeMap<String, usize>,
}

impl Entry {
    /// One of which nothing is known yet.
    pub(crate) fn new(case: &Case) -> Self {
        let point = match &case.event {
            Event::Point { name, .. } => Some(name.clone()),
            _ => None,
        };
        Self {
            case: case.to_string(),
            scenario: case.scenario.to_string(),
            point,
            seed: case.seed,
            killed: None,
            killed_by_point: None,
            converged_ms: None,
            answers_ms: None,
            runs: None,
            leftovers: Vec::new(),
            udp_sent: 0,
            udp_lost: 0,
            udp_ms: 0,
            tcp_ok: None,
            verdict: Verdict::Ok,
            problems: Vec::new(),
            command_us: 0,
            said: String::new(),
            passed: BTreeMap::new(),
        }
    }

    /// One that could not be run.
    pub(crate) fn failed(case: &Case, why: String) -> Self {
        Self { verdict: Verdict::Failed, problems: vec![why], ..Self::new(case) }
    }

    /// What all that is known comes to.
    pub(crate) fn judge(&mut self) {
        let good = self.problems.is_empty() && self.leftovers.is_empty();
        self.verdict = if !good || self.udp_lost > 0 || self.tcp_ok == Some(false) {
            Verdict::Failed
        } else if self.killed == Some(false) || self.killed_by_point == Some(false) {
            Verdict::NotReached
        } else {
            Verdict::Ok
        };
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let word = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Failed => "FAILED",
            Verdict::NotReached => "NOT REACHED",
        };
        let mut line = format!("{word:11} {}", self.case);
        if let Some(took) = self.converged_ms {
            let _ = write!(line, "  {took} ms");
        }
        if self.udp_sent > 0 {
            let _ = write!(line, "  {}/{} lost", self.udp_lost, self.udp_sent);
        }
        for problem in self.problems.iter().chain(&self.leftovers) {
            let _ = write!(line, "\n            {}", problem.trim_end().replace('\n', "\n            "));
        }
        line
    }
}

/// What all cases came to; the last line of the ledger.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) cases: usize,
    pub(crate) ok: usize,
    pub(crate) failed: usize,
    pub(crate) not_reached: usize,
    /// How many different points killed an agent, of so many.
    pub(crate) points_killed: usize,
    pub(crate) points: usize,
    /// Pairs of scenario and point that are declared impossible.
    pub(crate) impossible: usize,
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
    /// What is wrong with the matrix itself.
    pub(crate) problems: Vec<String>,
}

impl Summary {
    pub(crate) fn of(entries: &[Entry], impossible: usize, seed: u64, seconds: u64, problems: Vec<String>) -> Self {
        Self {
            cases: entries.len(),
            ok: count(entries, Verdict::Ok),
            failed: count(entries, Verdict::Failed),
            not_reached: count(entries, Verdict::NotReached),
            points_killed: killers(entries).len(),
            points: netloom_failpoint::ALL.len(),
            impossible,
            seed,
            seconds,
            problems,
        }
    }

    /// Whether every case is as it should be, and so is the matrix.
    pub(crate) fn is_good(&self) -> bool {
        self.ok == self.cases && self.problems.is_empty()
    }

    /// For people. Its last line is what `.ci/run` counts: a problem of the matrix is a failure like one of a case.
    pub(crate) fn text(&self, entries: &[Entry]) -> String {
        let mut text = table(entries);
        for problem in &self.problems {
            let _ = writeln!(text, "{problem}");
        }
        let Self { cases, ok, failed, not_reached, points_killed, points, impossible, seed, seconds, .. } = self;
        let _ = writeln!(
            text,
            "{cases} cases: {ok} ok, {failed} failed, {not_reached} not reached; {points_killed} of {points} fail points \
             killed the agent; {impossible} pairs of scenario and point are declared impossible; {seconds} s, seed {seed}"
        );
        let bad = cases - ok + self.problems.len();
        let _ = writeln!(text, "check result: {ok} passed; {bad} failed");
        text
    }
}

fn count<'a>(entries: impl IntoIterator<Item = &'a Entry>, verdict: Verdict) -> usize {
    entries.into_iter().filter(|entry| entry.verdict == verdict).count()
}

/// The points that killed an agent.
pub(crate) fn killers(entries: &[Entry]) -> BTreeSet<&str> {
    entries
        .iter()
        .filter(|entry| entry.killed_by_point == Some(true))
        .filter_map(|entry| entry.point.as_deref())
        .collect()
}

/// A line for each scenario, and one for all.
fn table(entries: &[Entry]) -> String {
    let mut text = String::from("\nscenario     cases   ok  failed  not reached  slowest   sent       lost\n");
    let mut scenarios: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        scenarios.entry(&entry.scenario).or_default().push(entry);
    }
    let all = ("all", entries.iter().collect::<Vec<_>>());
    for (name, entries) in scenarios.into_iter().chain([all]) {
        let count = |verdict| count(entries.iter().copied(), verdict);
        let slowest = entries.iter().filter_map(|entry| entry.converged_ms).max().unwrap_or_default();
        let (sent, lost) = entries.iter().fold((0, 0), |(s, l), entry| (s + entry.udp_sent, l + entry.udp_lost));
        let _ = writeln!(
            text,
            "{name:12} {:5} {:4} {:7} {:12} {slowest:5} ms   {sent:<9}  {lost}",
            entries.len(),
            count(Verdict::Ok),
            count(Verdict::Failed),
            count(Verdict::NotReached),
        );
    }
    text
}
