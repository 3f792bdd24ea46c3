//! What is wrong with the host from the kill on, and how an agent that starts has to live with it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use netloom_fault_kit::Manner;

use super::{PATIENCE, Run};
use crate::case::Fault;
use crate::disk;
use crate::host::until;
use crate::ledger::Entry;
use crate::running::Running;
use crate::scenario::Act;
use crate::topology::TURNED;

/// How late the daemon says what it says.
const LATE: Duration = Duration::from_secs(3);
/// Within how long its health is answered by an agent that starts: a tenth of a second is usual.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Within how long it says what is wrong: two looks at a daemon that does not answer.
const SAID: Duration = Duration::from_secs(30);

impl Run<'_> {
    /// The fault of the case begins, if it has one; the agent is about to be killed.
    pub(super) fn begin_fault(&mut self) -> Result<()> {
        match self.case.fault {
            None => return Ok(()),
            Some(Fault::DockerHangs) => self.host.daemon()?.freeze(),
            Some(Fault::DockerLate) => self.host.behave(Manner::Late(LATE)),
            Some(Fault::DiskFull) => disk::fill(&self.host.layout.state())?,
        }
        Ok(())
    }

    /// It ends, where nothing can be as desired before. Whether it did.
    pub(super) fn end_fault(&self, fault: Fault) -> Result<bool> {
        match fault {
            Fault::DockerHangs => self.host.daemon()?.thaw(),
            Fault::DockerLate => return Ok(false),
            Fault::DiskFull => disk::empty(&self.host.layout.state())?,
        }
        Ok(true)
    }

    /// The agent has been started again and the fault is still there: it answers at once, says what is wrong, and lets be
    /// what runs.
    pub(super) fn live_with(&mut self, fault: Fault, started: Instant, entry: &mut Entry) -> Result<()> {
        let lives = || self.host.get("/livez").is_some_and(|(status, _)| status == 200);
        ensure!(until(PATIENCE, || Ok(lives()))?, "the agent does not answer to /livez");
        let took = started.elapsed();
        (entry.answers_ms, entry.runs) = (u64::try_from(took.as_millis()).ok(), Some(self.runs.count()));
        if took > AT_ONCE {
            entry.problems.push(format!("it answers to /livez only after {took:?}"));
        }
        let mut shown = String::new();
        let said = until(SAID, || {
            shown = self.complaint(fault)?;
            Ok(says(fault, &shown))
        })?;
        if !said {
            entry.problems.push(format!("it does not say what is wrong ({fault}): {shown}"));
        }
        ensure!(lives(), "the agent does not answer to /livez any more");
        if fault == Fault::DockerHangs {
            let now = self.running()?;
            if let Err(error) = self.runs.is_in(&now) {
                entry.problems.push(format!("{error:#}"));
            }
        }
        Ok(())
    }

    /// What the agent says of what is wrong.
    fn complaint(&self, fault: Fault) -> Result<String> {
        let name = match fault {
            Fault::DockerHangs | Fault::DockerLate => "docker",
            Fault::DiskFull => {
                // It is there when something is to be written, and that is refused.
                let large = "y".repeat(1 << 20);
                let file = self.host.file("y", &format!(
                    "name: y\ntopology:\n  nodes: {{ a: {{ kind: linux, runtime: namespace, labels: {{ text: {large} }} }} }}\n"
                ))?;
                return Ok(self.host.netloom(&["deploy", "-t", &file])?.text);
            }
        };
        let (_, ready) = self.host.get("/readyz?verbose").unwrap_or_default();
        let all = ready["capabilities"].as_array().cloned().unwrap_or_default();
        Ok(all.into_iter().find(|one| one["name"] == name).unwrap_or_default().to_string())
    }

    /// What runs of what the command does not touch.
    pub(super) fn running(&self) -> Result<Running> {
        let touched: &[&str] = match self.case.scenario.act {
            Act::Change => &[TURNED, "gone"],
            Act::Restart => &[TURNED],
            _ => &[],
        };
        let all = self.case.scenario.act == Act::Destroy;
        let pins = self.host.layout.pins().join("x");
        Running::look(&pins, |node| !all && !touched.contains(&node))
    }
}

/// Whether a complaint names the fault.
fn says(fault: Fault, complaint: &str) -> bool {
    let capability: serde_json::Value = serde_json::from_str(complaint).unwrap_or_default();
    let has_reason = capability["reason"].as_str().is_some_and(|reason| !reason.is_empty());
    match fault {
        Fault::DockerHangs => capability["status"] == "down" && has_reason,
        Fault::DockerLate => capability["status"] != "ok" && has_reason,
        Fault::DiskFull => {
            ["no space left on device", "os error 28"].iter().any(|words| complaint.to_lowercase().contains(words))
        }
    }
}
