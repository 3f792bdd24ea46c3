//! The stalls of this process: which loop was late, since when, where its threads were, and what was done about it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use netloom_engine::Engine;

use super::lateness::{Lagging, Mend};
use super::threads;
use crate::wire::Stall;

/// How many are kept.
const KEPT: usize = 64;

/// The last stalls, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Stalls(Mutex<VecDeque<Stall>>);

impl Stalls {
    /// All that are kept.
    pub(crate) fn all(&self) -> Vec<Stall> {
        self.kept().iter().cloned().collect()
    }

    /// Takes over which loops are late now: new ones are looked at and said, those that get on again are closed.
    pub(super) fn note(&self, late: &[Lagging], engine: Option<&Engine>, now: SystemTime) {
        let mut kept = self.kept();
        for stall in kept.iter_mut().filter(|stall| stall.ended.is_none()) {
            if let Some(late) = late.iter().find(|late| late.of.name == stall.name) {
                stall.seconds = late.age.as_secs_f64();
            } else {
                stall.ended = Some(now);
                tracing::info!(stalled = %stall.name, seconds = stall.seconds, "it gets on again");
            }
        }
        for late in late {
            if kept.iter().any(|stall| stall.ended.is_none() && stall.name == late.of.name) {
                continue;
            }
            let stall = record(late, engine, now);
            tracing::error!(
                stalled = %stall.name, seconds = stall.seconds, threads = ?stall.threads,
                operations = ?stall.operations, "{}", stall.decision
            );
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(stall);
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, VecDeque<Stall>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn record(late: &Lagging, engine: Option<&Engine>, now: SystemTime) -> Stall {
    let ids = if late.of.threads.is_empty() { threads::of_main_runtime() } else { late.of.threads.clone() };
    let operations = engine.map(|engine| engine.journal().all()).unwrap_or_default();
    let under_way = operations.iter().filter(|operation| !operation.state().borrow().is_final());
    let decision = match late.of.mend {
        Mend::Restart => "a restart would mend this: the process is no longer vouched for".to_owned(),
        Mend::Wait(capability) => format!("it waits for something else: `{capability}` counts as degraded until then"),
    };
    Stall {
        name: late.of.name.clone(),
        since: now.checked_sub(late.age).unwrap_or(now),
        seconds: late.age.as_secs_f64(),
        ended: None,
        decision,
        operations: under_way.map(|operation| operation.id().clone()).collect(),
        threads: ids.into_iter().filter_map(threads::look_at).collect(),
    }
}
