//! Labs that are paused: whoever works for them fails again and again, so nothing is done for them until a person says so.
//!
//! A pause is of this process and not part of what is wanted: the wish stays, what runs goes on, everybody else is served.
//! `deploy` and `destroy` end it, and so does a start of the agent unless its crashes are the reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use netloom_model::LabName;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::budget::{PANICS, Panics, Verdict, WITHIN};
use crate::engine::{Engine, Shared};
use crate::event::What;
#[cfg(feature = "testing")]
use crate::lab::Command;
use crate::operation::OperationState;
use crate::refusal::Refusal;
use crate::task::Panicked;

/// Why and since when nothing is done for a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// What failed again and again, with the text of its last panic if there was one.
    pub why: String,
    /// Since when.
    #[serde(with = "crate::time")]
    pub since: SystemTime,
}

/// The labs that the agent pauses when it starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Safe {
    /// None.
    #[default]
    No,
    /// These, each with the reason.
    Labs(BTreeMap<LabName, String>),
    /// All that are wanted then, for this reason.
    All(String),
}

/// The labs that are paused, and how often each has panicked. Read without waiting.
#[derive(Debug, Default)]
pub struct Pauses {
    current: ArcSwap<BTreeMap<LabName, Pause>>,
    panics: Mutex<BTreeMap<LabName, Panics>>,
}

impl Pauses {
    /// All labs that are paused.
    pub fn all(&self) -> Arc<BTreeMap<LabName, Pause>> {
        self.current.load_full()
    }

    /// Whether and why a lab is paused.
    pub fn of(&self, lab: &LabName) -> Option<Pause> {
        self.current.load().get(lab).cloned()
    }

    pub(crate) fn is_paused(&self, lab: &LabName) -> bool {
        self.current.load().contains_key(lab)
    }

    /// Refuses what is not to be done for a lab that is paused.
    pub(crate) fn check(&self, lab: &LabName) -> Result<(), Refusal> {
        self.of(lab).map_or(Ok(()), |pause| Err(Refusal::Paused { lab: lab.clone(), why: pause.why }))
    }

    pub(crate) fn pause(&self, lab: &LabName, why: String) {
        let pause = Pause { why, since: SystemTime::now() };
        self.change(|all| all.insert(lab.clone(), pause.clone()));
    }

    /// A person wants it to go on; what was before counts no more.
    pub(crate) fn end(&self, lab: &LabName) {
        self.panics().remove(lab);
        if self.is_paused(lab) {
            self.change(|all| all.remove(lab));
        }
    }

    /// Whoever works for a lab has panicked.
    pub(crate) fn panicked(&self, lab: &LabName) -> Verdict {
        self.panics().entry(lab.clone()).or_default().note(Instant::now())
    }

    fn change(&self, change: impl Fn(&mut BTreeMap<LabName, Pause>) -> Option<Pause>) {
        self.current.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            change(&mut all);
            all
        });
    }

    fn panics(&self) -> MutexGuard<'_, BTreeMap<LabName, Panics>> {
        self.panics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// A lab's actor has panicked: how long to wait before the next one; `None` if there is none until a command comes.
    pub(crate) fn panicked(&self, lab: &LabName, panic: &Panicked) -> Option<Duration> {
        let shared = &self.shared;
        let verdict = shared.pauses.panicked(lab);
        let (text, again) = match verdict {
            Verdict::Again(pause) => {
                let text =
                    format!("what works for lab {lab} failed ({panic}) and is started anew; please report its log");
                (text, Some(pause))
            }
            Verdict::Spent => {
                let minutes = WITHIN.as_secs() / 60;
                let why = format!(
                    "what works for it failed {PANICS} times in {minutes} minutes, the last time because {panic}"
                );
                shared.pause(lab, &why);
                (format!("lab {lab} is paused: {why}"), None)
            }
        };
        tracing::error!(%lab, %panic, paused = again.is_none(), "what works for a lab failed");
        if again.is_some() {
            shared.events.publish(What::Notice { lab: Some(lab.clone()), text: text.clone() });
        }
        let all = shared.journal.all();
        for operation in all.iter().filter(|operation| operation.lab() == Some(lab)) {
            operation.end(OperationState::Failed, text.clone(), vec![text.clone()]);
        }
        again
    }

    /// Pauses what the process may have died of.
    pub(crate) fn pause_unsafe<'a>(&self, wanted: impl Iterator<Item = &'a LabName>) {
        let shared = &self.shared;
        for lab in wanted {
            match &shared.config.safe {
                Safe::No => {}
                Safe::Labs(labs) => labs.get(lab).into_iter().for_each(|why| shared.pause(lab, why)),
                Safe::All(why) => shared.pause(lab, why),
            }
        }
    }

    /// Has the actor of a lab panic.
    #[cfg(feature = "testing")]
    pub fn panic_in(&self, lab: &LabName, text: &'static str) {
        let _ = self.actor(lab).try_send(Command::Panic(text));
    }
}

impl Shared {
    /// Nothing is done for a lab any more until a person deploys or destroys it.
    fn pause(&self, lab: &LabName, why: &str) {
        self.pauses.pause(lab, why.to_owned());
        tracing::error!(%lab, why, "a lab is paused");
        let text = format!(
            "lab {lab} is paused: {why}. What runs of it runs on; `netloom deploy` goes on with it, `netloom destroy --name \
             {lab}` removes it"
        );
        self.events.publish(What::Notice { lab: Some(lab.clone()), text });
    }
}
