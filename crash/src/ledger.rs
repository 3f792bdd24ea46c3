//! What came of the cases: a line of JSON each, and a summary for people.

use std::collections::BTreeMap;
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
    /// The point was not what killed the agent: the case says nothing.
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
    /// Whether the point is what killed the agent; `None` where there is no point.
    pub(crate) killed_by_point: Option<bool>,
    /// From the command that starts the agent again to the state that is desired, in milliseconds.
    pub(crate) converged_ms: Option<u64>,
    /// What the host has at the end that it did not have before, or lacks.
    pub(crate) leftovers: Vec<String>,
    pub(crate) udp_sent: u64,
    pub(crate) udp_lost: u64,
    /// Whether every byte of the streams arrived; `None` where there are none.
    pub(crate) tcp_ok: Option<bool>,
    pub(crate) verdict: Verdict,
    /// What is wrong.
    pub(crate) problems: Vec<String>,
    /// How long the command took that was disturbed, in microseconds.
    pub(crate) command_us: u64,
    /// The points that were passed; only where nothing happened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) trace: Vec<String>,
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
            killed_by_point: None,
            converged_ms: None,
            leftovers: Vec::new(),
            udp_sent: 0,
            udp_lost: 0,
            tcp_ok: None,
            verdict: Verdict::Ok,
            problems: Vec::new(),
            command_us: 0,
            trace: Vec::new(),
        }
    }

    /// One that could not be run.
    pub(crate) fn failed(case: &Case, why: String) -> Self {
        Self { verdict: Verdict::Failed, problems: vec![why], ..Self::new(case) }
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

/// The summary of all cases. Its last line is what `.ci/run` counts.
pub(crate) fn summary(entries: &[Entry], impossible: usize) -> String {
    let mut text = String::from("\nscenario     cases   ok  failed  not reached  slowest   sent       lost\n");
    let mut scenarios: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        scenarios.entry(&entry.scenario).or_default().push(entry);
    }
    let all = ("all", entries.iter().collect::<Vec<_>>());
    for (name, entries) in scenarios.into_iter().chain([all]) {
        let count = |verdict| entries.iter().filter(|entry| entry.verdict == verdict).count();
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
    let points: std::collections::BTreeSet<&str> =
        entries.iter().filter(|e| e.killed_by_point == Some(true)).filter_map(|e| e.point.as_deref()).collect();
    let _ = writeln!(
        text,
        "{} of {} fail points killed the agent; {impossible} pairs of point and scenario are declared impossible",
        points.len(),
        netloom_failpoint::ALL.len()
    );
    let passed = entries.iter().filter(|entry| entry.verdict == Verdict::Ok).count();
    let _ = writeln!(text, "check result: {passed} passed; {} failed", entries.len() - passed);
    text
}
