//! What a phase has shown, and whether it holds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::load::{Kind, Tally};
use super::phase::Phase;
use super::transitions::Transition;
use super::world::{LATE, RESUMED};
use crate::canary::Song;
use crate::prober::{ENOUGH, Report};
use crate::stats::{Sample, seconds};

/// The share of the work of the reference that is done while a daemon is ill.
const SHARE: f64 = 0.8;

/// How long a controller may hear nothing: heartbeats are sent each ten seconds.
const SILENCE: f64 = 12.0;

/// What a phase has shown.
pub(super) struct Row {
    name: &'static str,
    fault: Fault,
    is_reference: bool,
    /// Before its fault: what changes from then on is due to that.
    began: Instant,
    pub(super) started: Instant,
    pub(super) lasted: Duration,
    pub(super) report: Option<Report>,
    pub(super) song: Option<Song>,
    pub(super) tallies: BTreeMap<Kind, Tally>,
    /// How long it took until the agent answered again, where it could not.
    pub(super) resumed: Option<f64>,
    /// When `/healthz` failed, where it had to.
    pub(super) late: Option<f64>,
    /// The longest time without a heartbeat, where there is a controller.
    pub(super) silence: Option<f64>,
    /// What is wrong.
    pub(super) problems: Vec<String>,
    /// Whether it could be passed: what is wrong with the proof is nothing that it has shown.
    is_whole: bool,
}

impl Row {
    pub(super) fn new(phase: &Phase) -> Self {
        Self {
            name: phase.name,
            fault: phase.fault,
            is_reference: phase.is_reference,
            began: Instant::now(),
            started: Instant::now(),
            lasted: Duration::ZERO,
            report: None,
            song: None,
            tallies: BTreeMap::new(),
            resumed: None,
            late: None,
            silence: None,
            problems: Vec::new(),
            is_whole: true,
        }
    }

    /// That of a phase that could not be passed.
    pub(super) fn failed(phase: &Phase, error: &anyhow::Error) -> Self {
        Self { problems: vec![format!("{error:#}")], is_whole: false, ..Self::new(phase) }
    }

    /// How often work of a kind was done in a second.
    fn rate(&self, kind: Kind) -> f64 {
        self.tallies.get(&kind).map_or(0.0, |tally| f64::from(tally.done) / self.lasted.as_secs_f64())
    }

    /// Looks at everything but the changes of capabilities.
    fn judge(&mut self, reference: Option<&Rates>) {
        if !self.is_whole {
            return;
        }
        let mut problems = Vec::new();
        if let Some(Report { agent, control }) = &self.report {
            let (probes, beside) = (agent.sample(), control.sample());
            if agent.failed() > 0 || agent.sent() == 0 {
                problems.push(format!("{} of {} probes failed", agent.failed(), agent.sent()));
            }
            if agent.lost_checks() > 0 {
                problems.push(format!("{} health checks lost in a row", agent.lost_checks()));
            }
            // Where a thread that does nothing else takes longer to answer, nobody can be faster.
            if probes.most() > (1.5 * beside.most()).max(1.0) {
                problems.push(format!("a probe took {}", seconds(probes.most())));
            }
            let (high, bar) = (probes.at(0.999), 1.5 * beside.at(0.999) + 0.001);
            // The thousandth part of many fewer is a single probe; a few are not sent where the machine itself stood still.
            if agent.sent() >= ENOUGH / 10 * 9 && high > bar {
                problems.push(format!("p99.9 {} of at most {}", seconds(high), seconds(bar)));
            }
        }
        if !self.fault.stops_work() {
            let failures = self.song.iter().flat_map(Song::failures);
            problems.extend(failures.take(1).map(|why| format!("canary: {why}")));
            let work = [Kind::Read, Kind::Namespaces].into_iter().filter_map(|kind| self.tallies.get(&kind));
            problems.extend(work.filter_map(Tally::complaint));
        }
        if let Some(reference) = reference.filter(|_| self.fault.is_of_a_daemon()) {
            for (kind, usual) in reference {
                let share = self.rate(*kind) / usual;
                if share < SHARE {
                    problems.push(format!("{kind:?}: {:.0} % of the usual rate", share * 100.0));
                }
            }
        }
        if let Some(late) = self.late
            && !(LATE.0..LATE.1).contains(&late)
        {
            problems.push(format!("/healthz failed after {late:.1} s, not between {} s and {} s", LATE.0, LATE.1));
        }
        if let Some(silence) = self.silence.filter(|silence| *silence > SILENCE) {
            problems.push(format!("no heartbeat for {silence:.1} s, of at most {SILENCE} s"));
        }
        if self.fault.silences() && self.resumed.is_none_or(|resumed| resumed > RESUMED) {
            problems.push(format!("it answered again after {:?} s, of at most {RESUMED} s", self.resumed));
        }
        self.problems.append(&mut problems);
    }

    /// How much of what a controller asked was done.
    fn answered(&self) -> String {
        let kinds = [(Kind::Read, "reads"), (Kind::Namespaces, "edits")];
        let of = |(kind, what): (Kind, &str)| {
            let tally = self.tallies.get(&kind)?;
            Some(format!("{} of {} {what}", tally.done, tally.done + tally.failed))
        };
        kinds.into_iter().filter_map(of).collect::<Vec<_>>().join(", ")
    }

    /// The line of the table.
    fn line(&self, changes: &str, reference: Option<&Rates>) -> String {
        let (agent, control) = self.report.as_ref().map_or_else(Default::default, |report| {
            let (agent, control) = (report.agent.sample(), report.control.sample());
            let of = |sample: &Sample| [0.5, 0.99, 0.999, 1.0].map(|share| seconds(sample.at(share)));
            (of(&agent), of(&control))
        });
        let probes = self.report.as_ref().map_or((0, 0), |report| (report.agent.failed(), report.agent.sent()));
        let share = |kind| match reference.and_then(|reference| reference.get(&kind)) {
            Some(usual) if !self.tallies.is_empty() => format!("{:.0} %", self.rate(kind) / usual * 100.0),
            _ => String::new(),
        };
        let more = [(self.late, "ill after"), (self.resumed, "back after")];
        let more = more.into_iter().filter_map(|(time, what)| Some(format!("{what} {}", seconds(time?))));
        let more =
            more.chain(self.silence.map(|silence| format!("{}, heartbeats {silence:.1} s apart", self.answered())));
        let more = more.chain((!changes.is_empty()).then(|| changes.to_owned())).collect::<Vec<_>>().join(", ");
        format!(
            "{:<21} {:>6} of {:<6} {:>8} {:>8} {:>8} {:>8}  {:>8} {:>8} {:>8}  {:>6} {:>6}  {}  {more}",
            self.name,
            probes.0,
            probes.1,
            agent[0],
            agent[1],
            agent[2],
            agent[3],
            control[1],
            control[2],
            control[3],
            share(Kind::Read),
            share(Kind::Namespaces),
            match (self.is_whole, self.problems.as_slice()) {
                (false, _) => "BROKEN",
                (true, []) => "holds ",
                (true, _) => "MISSED",
            },
        )
        .trim_end()
        .to_owned()
    }
}

/// How often work of each kind is done in a second when nothing is wrong.
type Rates = BTreeMap<Kind, f64>;

/// The rates of the phase that others are compared with.
pub(super) fn rates(rows: &[Row]) -> Option<Rates> {
    let row = rows.iter().find(|row| row.is_reference)?;
    Some([Kind::Read, Kind::Namespaces].map(|kind| (kind, row.rate(kind))).into())
}

/// Prints the heading.
pub(super) fn heading() {
    println!(
        "{:<21} {:>6}    {:<6} {:>8} {:>8} {:>8} {:>8}  {:>8} {:>8} {:>8}  {:>6} {:>6}",
        "", "failed", "probes", "p50", "p99", "p99.9", "most", "p99", "p99.9", "most", "reads", "work"
    );
    println!("{:<21} {:>67} {:>26}  {:>13}", "", "of the agent", "of the control", "of the usual");
}

/// Prints how many hold, as tests do.
pub(super) fn result(rows: &[Row]) {
    let failed = rows.iter().filter(|row| !row.problems.is_empty()).count();
    println!("check result: {} passed; {failed} failed", rows.len() - failed);
}

/// Judges and prints phases from one whose fault may change a capability to the last one before the next of those; whether
/// they hold. `changes` are all that there were.
pub(super) fn print(rows: &mut [Row], reference: Option<&Rates>, changes: &[Transition]) -> bool {
    let Some(first) = rows.first() else { return true };
    let (began, disturbed) = (first.began, first.fault.disturbs());
    let changes = changes.iter().filter(|change| change.at >= began);
    let (own, foreign): (Vec<&Transition>, Vec<&Transition>) =
        changes.partition(|change| Some(change.name.as_str()) == disturbed);
    let mut ends: Vec<Option<Instant>> = rows.iter().skip(1).map(|row| Some(row.began)).collect();
    ends.push(None);
    for (at, (row, end)) in rows.iter_mut().zip(ends).enumerate() {
        row.judge(reference);
        let during = |change: &&&Transition| change.at >= row.began && end.is_none_or(|end| change.at < end);
        let said = foreign.iter().filter(during).map(|change| {
            let reason = change.reason.as_deref().unwrap_or_default();
            format!("{} became {} {reason}", change.name, change.status)
        });
        let said: Vec<String> = said.collect();
        row.problems.extend(said);
        let mut words = String::new();
        if at == 0 {
            row.problems.extend(flaps(&own));
            words = own.iter().map(|change| change.status.as_str()).collect::<Vec<_>>().join(" ");
        }
        println!("{}", row.line(&words, reference));
        for problem in &row.problems {
            println!("    {}", problem.trim_end());
        }
    }
    rows.iter().all(|row| row.problems.is_empty())
}

/// What one fault may do to a capability: it becomes worse once, and well once.
fn flaps(changes: &[&Transition]) -> Option<String> {
    let falls = changes.iter().enumerate().filter(|(at, change)| {
        let before_was_good = at.checked_sub(1).is_none_or(|before| changes[before].is_good());
        !change.is_good() && before_was_good
    });
    let (falls, rises) = (falls.count(), changes.iter().filter(|change| change.is_good()).count());
    (falls > 1 || falls != rises).then(|| format!("{falls} times ill, {rises} times well again"))
}
