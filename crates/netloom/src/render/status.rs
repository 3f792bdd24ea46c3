//! The state of the agent as one screen.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use netloom_agent::wire::{Capability, LABS, Ready, TRANSPORT};
use netloom_engine::{LabView, OperationView, StepState};

use super::operation::duration;
use super::tables::paused;
use super::{count, table, text};
use crate::command::Status;

/// What is wrong, since when, who is affected, what is being done.
pub(crate) fn status(status: &Status) -> String {
    let mut out = String::new();
    let overall = match status.ready.status {
        Ready::Ok => "ready",
        Ready::Degraded => "ready, but not for everything",
        Ready::Down => "not ready",
    };
    match status.live.late.first() {
        None => {
            let _ = writeln!(out, "the agent is live and {overall}");
        }
        Some(late) => {
            let seconds = duration(Duration::from_secs_f64(late.seconds));
            let _ = writeln!(out, "the agent is late: `{}` has been at the same work for {seconds}", late.name);
        }
    }
    let mut rows = table(&["CAPABILITY", "STATUS", "FOR", "AFFECTED", "WHY"]);
    for capability in &status.ready.capabilities {
        let affected = match capability.status {
            Ready::Ok => String::new(),
            Ready::Degraded | Ready::Down => affected(capability, &status.labs),
        };
        rows.add_row([
            capability.name.clone(),
            capability.status.word().to_owned(),
            ago(capability.since),
            affected,
            why(capability),
        ]);
    }
    let _ = write!(out, "\n{}", text(rows));
    for view in &status.labs {
        if let Some(paused) = paused(view) {
            let _ = writeln!(out, "\nlab {} is {paused}", view.name);
        }
    }
    for stall in &status.stalls {
        let seconds = duration(Duration::from_secs_f64(stall.seconds));
        let _ = writeln!(out, "\n{} has been at the same work for {seconds}: {}", stall.name, stall.decision);
        for thread in &stall.threads {
            let place = thread.wchan.as_ref().map(|wchan| format!(", in {wchan}")).unwrap_or_default();
            let _ = writeln!(out, "  thread {} ({}): {}{place}", thread.id, thread.name, thread.state);
        }
    }
    if !status.operations.is_empty() {
        out.push_str("\nunder way:\n");
        out.extend(status.operations.iter().map(under_way));
    }
    out
}

/// What is said of labs that are paused stands below the table, for each of them.
fn why(capability: &Capability) -> String {
    if capability.name == LABS { "paused, see below".to_owned() } else { capability.reason.clone().unwrap_or_default() }
}

/// Labs that have to do with a capability: all of them where it is not a runtime. By the transport go links out of the host alone.
fn affected(capability: &Capability, labs: &[LabView]) -> String {
    let labs = labs.iter().filter(|lab| capability.name != LABS || lab.paused.is_some());
    let is_runtime = ["namespace", "docker", "libvirt"].contains(&capability.name.as_str());
    let word = |node: &netloom_engine::NodeView| node.runtime.map(|kind| netloom_engine::Source::Runtime(kind).word());
    let uses = |lab: &&LabView| !is_runtime || lab.nodes.iter().any(|node| word(node) == Some(&capability.name));
    let leads_out = |lab: &&LabView| capability.name != TRANSPORT || lab.links.iter().any(|link| link.far.is_some());
    let names: Vec<&str> = labs.filter(uses).filter(leads_out).map(|lab| lab.name.as_str()).collect();
    match names.as_slice() {
        [] => "no lab".to_owned(),
        names if names.len() > 3 => format!("{}, …: {}", names[..2].join(", "), count(names.len(), "lab")),
        names => names.join(", "),
    }
}

fn under_way(view: &OperationView) -> String {
    let of = view.lab.as_ref().map(|lab| format!(" of lab {lab}")).unwrap_or_default();
    let done = view.steps.iter().filter(|step| step.state == StepState::Done).count();
    let mut line =
        format!("  {}{of}, for {}: {done} of {}", view.kind, ago(view.created), count(view.steps.len(), "step"));
    if let Some(failed) = view.steps.iter().rev().find_map(|step| step.error.as_ref()) {
        let _ = write!(line, "; last: {failed}");
    }
    if let Some(stuck) = &view.stuck {
        let steps: Vec<String> = stuck.steps.iter().map(|step| format!("{} ({})", step.text, step.owner)).collect();
        let at = if steps.is_empty() { "no step in hand".to_owned() } else { steps.join(", ") };
        let _ = write!(line, "\n    stuck for {:.0} s, {at}: it waits for {}", stuck.seconds, stuck.waits_for);
    }
    line + "\n"
}

fn ago(since: SystemTime) -> String {
    let passed = SystemTime::now().duration_since(since).unwrap_or_default();
    match passed.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use netloom_agent::wire::{Late, Liveness, Readiness, Stall, ThreadState};
    use netloom_engine::Pause;

    use super::super::tables::tests::sample;
    use super::*;

    #[test]
    fn what_is_wrong_is_shown_with_since_when_whom_it_affects_and_where_threads_are() {
        let since = SystemTime::now() - Duration::from_secs(300);
        let capability = |name: &str, status, reason: Option<&str>| Capability {
            name: name.into(),
            status,
            reason: reason.map(str::to_owned),
            since,
            last_good: None,
            queue: 0,
        };
        let thread = ThreadState {
            id: 42,
            name: "nl-writer".into(),
            state: "D".into(),
            wchan: Some("rtnl_lock".into()),
            syscall: None,
        };
        let stall = Stall {
            name: "thread nl-writer".into(),
            since,
            seconds: 31.0,
            ended: None,
            decision: "it waits for something else".into(),
            operations: Vec::new(),
            threads: vec![thread],
        };
        let paused = Pause { why: "it panicked: on purpose".into(), since: SystemTime::UNIX_EPOCH };
        let status = Status {
            live: Liveness { status: "late".into(), late: vec![Late { name: "main runtime".into(), seconds: 12.0 }] },
            ready: Readiness {
                status: Ready::Degraded,
                capabilities: vec![
                    capability("agent", Ready::Ok, None),
                    capability("docker", Ready::Degraded, Some("no answer")),
                    capability("labs", Ready::Degraded, Some("lab ospf is paused: it panicked: on purpose")),
                ],
            },
            stalls: vec![stall],
            labs: vec![LabView { paused: Some(paused), ..sample() }],
            operations: Vec::new(),
        };
        insta::assert_snapshot!(super::status(&status), @r"
        the agent is late: `main runtime` has been at the same work for 12.0 s

        CAPABILITY  STATUS    FOR    AFFECTED  WHY
        agent       ok        5 min
        docker      degraded  5 min  no lab    no answer
        labs        degraded  5 min  ospf      paused, see below

        lab ospf is paused since 1970-01-01T00:00:00Z: it panicked: on purpose; `netloom deploy` goes on, `netloom destroy --name ospf` removes it

        thread nl-writer has been at the same work for 31.0 s: it waits for something else
          thread 42 (nl-writer): D, in rtnl_lock
        ");
    }
}
