//! Events as lines.

use netloom_engine::{Event, What};

/// One event: when, which lab, what.
pub(crate) fn event(event: &Event) -> String {
    let (lab, what) = match &event.what {
        What::Operation { operation, lab, kind, state, message } => {
            let state = super::operation::state(*state);
            let text = match message {
                Some(message) => format!("{kind} {operation} {state}: {message}"),
                None => format!("{kind} {operation} {state}"),
            };
            (lab.as_ref(), text)
        }
        What::Step { lab, text, state, error, progress, .. } => {
            let state = super::operation::step_state(*state);
            let text = match (error, progress) {
                (Some(error), _) => format!("{text}: {state}: {error}"),
                (None, Some(progress)) => format!("{text}: {state}: {progress}"),
                (None, None) => format!("{text}: {state}"),
            };
            (lab.as_ref(), text)
        }
        What::Node { lab, node, state } => (Some(lab), format!("node {node} is {state}")),
        What::Capability { name, status, reason } => (
            None,
            format!("{name} is {status}{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()),
        ),
        What::Notice { lab, text } => (lab.as_ref(), text.clone()),
    };
    let time = humantime::format_rfc3339_millis(event.time);
    match lab {
        Some(lab) => format!("{time}  {lab}  {what}\n"),
        None => format!("{time}  {what}\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use netloom_engine::{OperationId, OperationState, StepState};

    use super::*;

    #[test]
    fn events_are_lines_with_time_lab_and_what_happened() {
        let lab = || "ospf".parse().unwrap();
        let whats = [
            What::Operation {
                operation: OperationId("6a-1".into()),
                lab: Some(lab()),
                kind: "deploy".into(),
                state: OperationState::Running,
                message: None,
            },
            What::Step {
                operation: None,
                lab: Some(lab()),
                step: "node/r1/start".into(),
                text: "start node r1".into(),
                state: StepState::Failed,
                error: Some("no such file".into()),
                output: None,
                progress: None,
            },
            What::Node { lab: lab(), node: "r1".parse().unwrap(), state: "exited(1)".into() },
            What::Capability { name: "docker".into(), status: "degraded".into(), reason: Some("no answer".into()) },
            What::Notice { lab: None, text: "events were lost".into() },
        ];
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        let lines: String = (1..).zip(whats).map(|(seq, what)| event(&Event { seq, time, what })).collect();
        insta::assert_snapshot!(lines, @r"
        2027-01-15T08:00:00.123Z  ospf  deploy 6a-1 running
        2027-01-15T08:00:00.123Z  ospf  start node r1: failed: no such file
        2027-01-15T08:00:00.123Z  ospf  node r1 is exited(1)
        2027-01-15T08:00:00.123Z  docker is degraded: no answer
        2027-01-15T08:00:00.123Z  events were lost
        ");
    }
}
