//! Operations as text.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use netloom_engine::{OperationState, OperationView, StepState};

use super::{table, text};

/// The word for a state.
pub(crate) fn state(state: OperationState) -> &'static str {
    match state {
        OperationState::Running => "running",
        OperationState::Succeeded => "succeeded",
        OperationState::Failed => "failed",
        OperationState::Cancelled => "cancelled",
        OperationState::Deadline => "deadline passed",
        OperationState::Superseded => "superseded",
    }
}

/// The word for a state of a step.
pub(crate) fn step_state(state: StepState) -> &'static str {
    match state {
        StepState::Waiting => "waiting",
        StepState::Running => "running",
        StepState::Done => "done",
        StepState::Failed => "failed",
        StepState::Skipped => "skipped",
    }
}

/// A duration as people say it: three figures at most.
pub(crate) fn duration(duration: Duration) -> String {
    match duration.as_millis() {
        millis @ 0..1000 => format!("{millis} ms"),
        1000..100_000 => format!("{:.1} s", duration.as_secs_f64()),
        _ => format!("{} s", duration.as_secs()),
    }
}

/// How long something took, if it began and ended.
pub(crate) fn between(started: Option<SystemTime>, ended: Option<SystemTime>) -> Option<Duration> {
    ended?.duration_since(started?).ok()
}

/// One operation with its steps.
pub(crate) fn operation(view: &OperationView) -> String {
    let of = view.lab.as_ref().map(|lab| format!(" of lab {lab}")).unwrap_or_default();
    let mut out = format!("{}{of}: {}", view.kind, state(view.state));
    if let Some(took) = between(Some(view.created), view.ended) {
        let _ = write!(out, " after {}", duration(took));
    }
    if let Some(message) = &view.message {
        let _ = write!(out, ": {message}");
    }
    out.push('\n');
    if !view.steps.is_empty() {
        let mut table = table(&["STEP", "STATE", "TOOK", "WHY"]);
        for step in &view.steps {
            table.add_row(vec![
                step.text.clone(),
                step_state(step.state).to_owned(),
                between(step.started, step.ended).map(duration).unwrap_or_default(),
                step.reason.clone(),
            ]);
        }
        let _ = write!(out, "\n{}", text(table));
    }
    for step in &view.steps {
        if let Some(output) = &step.output {
            let _ = write!(out, "\n{} wrote:\n{output}\n", step.text);
        }
    }
    if !view.problems.is_empty() {
        out.push('\n');
        out.extend(view.problems.iter().map(|problem| format!("{problem}\n")));
    }
    if !view.shortages.is_empty() {
        out.push('\n');
        out.extend(view.shortages.iter().map(|shortage| format!("warning: {shortage}\n")));
    }
    if !view.left_out.is_empty() {
        out.push('\n');
        out.extend(view.left_out.iter().map(|omission| format!("{omission}\n")));
    }
    out
}

/// Operations, one line each.
pub(crate) fn operations(views: &[OperationView]) -> String {
    let mut table = table(&["OPERATION", "WHAT", "LAB", "STATE", "SINCE", "STEPS"]);
    for view in views {
        let done = view.steps.iter().filter(|step| step.state == StepState::Done).count();
        table.add_row(vec![
            view.id.to_string(),
            view.kind.clone(),
            view.lab.as_ref().map(ToString::to_string).unwrap_or_default(),
            state(view.state).to_owned(),
            humantime::format_rfc3339_seconds(view.created).to_string(),
            format!("{done}/{}", view.steps.len()),
        ]);
    }
    text(table)
}

#[cfg(test)]
pub(super) mod tests {
    use netloom_engine::{OperationId, StepRecord};

    use super::*;

    fn at(millis: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_000 + millis)
    }

    fn step(id: &str, text: &str, state: StepState) -> StepRecord {
        StepRecord {
            id: serde_json::from_value(id.into()).unwrap(),
            text: text.into(),
            reason: "it is not there".into(),
            state,
            started: (state != StepState::Skipped).then(|| at(5)),
            ended: (state != StepState::Skipped).then(|| at(17)),
            error: None,
            output: None,
            progress: None,
        }
    }

    pub(in crate::render) fn sample() -> OperationView {
        OperationView {
            id: OperationId("6a-1".into()),
            kind: "deploy".into(),
            lab: Some("ospf".parse().unwrap()),
            state: OperationState::Failed,
            created: at(0),
            ended: Some(at(1234)),
            steps: vec![
                step("node/r1/create", "create node r1", StepState::Done),
                step("node/r1/start", "start node r1", StepState::Failed),
                step("node/r1/exec/0", "exec on r1: true", StepState::Skipped),
            ],
            message: Some("1 of 3 steps failed".into()),
            problems: vec!["start node r1 (namespace): `frr` was not found".into()],
            shortages: Vec::new(),
            left_out: Vec::new(),
            stuck: None,
        }
    }

    #[test]
    fn an_operation_shows_its_steps_and_what_went_wrong() {
        insta::assert_snapshot!(operation(&sample()), @r"
        deploy of lab ospf: failed after 1.2 s: 1 of 3 steps failed

        STEP              STATE    TOOK   WHY
        create node r1    done     12 ms  it is not there
        start node r1     failed   12 ms  it is not there
        exec on r1: true  skipped         it is not there

        start node r1 (namespace): `frr` was not found
        ");
    }

    #[test]
    fn operations_are_listed_one_per_line() {
        insta::assert_snapshot!(operations(&[sample()]), @r"
        OPERATION  WHAT    LAB   STATE   SINCE                 STEPS
        6a-1       deploy  ospf  failed  2027-01-15T08:00:00Z  1/3
        ");
    }

    #[test]
    fn durations_have_three_figures() {
        let all = [0, 999, 1000, 99_940, 100_000].map(|millis| duration(Duration::from_millis(millis)));
        assert_eq!(all, ["0 ms", "999 ms", "1.0 s", "99.9 s", "100 s"]);
    }
}
