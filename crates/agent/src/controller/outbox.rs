//! What is on its way to the controller: of each node and interface the newest message, in order, until it has arrived.
//!
//! ```text
//!   watch ──put──▶ Outbox (of each subject one message) ──next──▶ task `controller-outbox`: at most four calls at once
//!                     │                                              │ fails: the subject goes to the end of the line,
//!                     └──too old, too many, refused──▶ dead letters ◀┘ and after a pause one call is tried
//! ```
//!
//! A message that is overtaken by a newer one of its subject is never sent; two of one subject are never under way at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use netloom_model::LabName;
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::call::Failure;
use super::profile::iso;
use super::told::{Message, Subject};

/// How many subjects may have a message under way.
const ROOM: usize = 4096;
/// For how long a message is tried.
const GIVE_UP: Duration = Duration::from_secs(3600);
/// How many dead letters are kept, and for how long.
const LETTERS: usize = 256;
const LETTERS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What is on its way.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    pub(super) woken: Notify,
    /// Changes whenever a message has ended.
    ends: watch::Sender<()>,
    pub(crate) counts: Counts,
}

/// What became of messages so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Those that were to be sent.
    pub(crate) queued: AtomicU64,
    /// Those that arrived.
    pub(crate) sent: AtomicU64,
    /// Those that never will: overtaken by a newer one.
    pub(crate) overtaken: AtomicU64,
    /// Those that never will: dead letters.
    pub(crate) dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<Subject, Waiting>,
    /// The subjects whose message is not under way just now, the next one first.
    line: VecDeque<Subject>,
    letters: VecDeque<DeadLetter>,
}

#[derive(Debug)]
struct Waiting {
    message: Message,
    since: Instant,
    created: SystemTime,
    attempts: u32,
    /// What has come while the message was being sent.
    newer: Option<Message>,
    is_under_way: bool,
}

impl Waiting {
    fn new(message: Message) -> Self {
        let (since, created) = (Instant::now(), SystemTime::now());
        Self { message, since, created, attempts: 0, newer: None, is_under_way: false }
    }
}

/// A message that did not arrive, as `GET /callbacks/dead-letters` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeadLetter {
    /// What it was about: `lab/node` or `lab/node/interface`.
    job_id: String,
    /// The path of the controller that it was for.
    callback_url: String,
    /// What it said.
    status: String,
    /// When it was written.
    #[serde(serialize_with = "iso")]
    created_at: SystemTime,
    /// How often it was tried.
    attempts: u32,
    /// Why it did not arrive.
    error: String,
}

/// The body of `GET /callbacks/dead-letters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct DeadLetters {
    dead_letters: Vec<DeadLetter>,
}

impl Outbox {
    /// Takes a message; never waits. With no room left the one that waits longest is given up.
    pub(super) fn put(&self, message: Message) {
        count(&self.counts.queued);
        let subject = message.subject();
        let mut state = self.lock();
        if let Some(waiting) = state.waiting.get_mut(&subject) {
            let is_overtaking = !waiting.is_under_way || waiting.newer.is_some();
            if waiting.is_under_way {
                waiting.newer = Some(message);
            } else {
                waiting.renew(message);
            }
            if is_overtaking {
                count(&self.counts.overtaken);
            }
        } else {
            if state.waiting.len() >= ROOM
                && let Some(oldest) = state.line.pop_front()
                && let Some(given_up) = state.waiting.remove(&oldest)
            {
                self.bury(&mut state, &oldest, &given_up, "too many others wait");
            }
            state.waiting.insert(subject.clone(), Waiting::new(message));
            state.line.push_back(subject);
        }
        drop(state);
        self.woken.notify_one();
    }

    /// The next message to send. Whoever takes it says with [`Self::ended`] what became of it.
    pub(super) fn next(&self) -> Option<Message> {
        let mut state = self.lock();
        let subject = state.line.pop_front()?;
        let waiting = state.waiting.get_mut(&subject)?;
        waiting.is_under_way = true;
        waiting.attempts += 1;
        Some(waiting.message.clone())
    }

    /// A message arrived, or not.
    pub(super) fn ended(&self, subject: &Subject, result: &Result<(), Failure>) {
        self.settle(&mut self.lock(), subject, result);
        self.ends.send_replace(());
    }

    fn settle(&self, state: &mut State, subject: &Subject, result: &Result<(), Failure>) {
        let Some(mut waiting) = state.waiting.remove(subject) else { return };
        waiting.is_under_way = false;
        match result {
            Ok(()) => count(&self.counts.sent),
            Err(_) if waiting.newer.is_some() => count(&self.counts.overtaken),
            Err(failure) if failure.is_final() || waiting.since.elapsed() >= GIVE_UP => {
                self.bury(state, subject, &waiting, &failure.to_string());
            }
            Err(_) => {
                // Behind all others: one that the controller stumbles over holds up nobody else.
                state.waiting.insert(subject.clone(), waiting);
                state.line.push_back(subject.clone());
                return;
            }
        }
        if let Some(newer) = waiting.newer.take() {
            state.waiting.insert(subject.clone(), Waiting::new(newer));
            state.line.push_back(subject.clone());
        }
    }

    /// Whoever took messages is gone, and says no more what became of them: they are sent again.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        let State { waiting, line, .. } = &mut *state;
        for (subject, waiting) in waiting.iter_mut().filter(|(_, waiting)| waiting.is_under_way) {
            waiting.is_under_way = false;
            line.push_back(subject.clone());
            if let Some(newer) = waiting.newer.take() {
                waiting.renew(newer);
            }
        }
    }

    /// Waits until what is to be told of the nodes of a lab has been told, or was tried in vain.
    pub(super) async fn tried(&self, lab: &LabName) {
        let mut ends = self.ends.subscribe();
        // The sender lives as long as this.
        while self.lock().is_new_of(lab) && ends.changed().await.is_ok() {}
    }

    /// How many messages wait or are under way.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// What did not arrive within the last day.
    pub(crate) fn dead_letters(&self) -> DeadLetters {
        let mut state = self.lock();
        state.forget_old_letters();
        DeadLetters { dead_letters: state.letters.iter().cloned().collect() }
    }

    fn bury(&self, state: &mut State, subject: &Subject, waiting: &Waiting, why: &str) {
        count(&self.counts.dropped);
        state.forget_old_letters();
        if state.letters.len() == LETTERS {
            state.letters.pop_front();
        }
        state.letters.push_back(DeadLetter {
            job_id: subject.to_string(),
            callback_url: waiting.message.path().to_owned(),
            status: waiting.message.status(),
            created_at: waiting.created,
            attempts: waiting.attempts,
            error: why.to_owned(),
        });
    }

    /// Held only for what takes no time.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// A newer message takes the place of the one that waits, and has a time of its own.
    fn renew(&mut self, message: Message) {
        *self = Self::new(message);
    }
}

impl State {
    /// Whether something of a node of a lab was not sent yet, or is being sent.
    fn is_new_of(&self, lab: &LabName) -> bool {
        let is_of = |subject: &Subject| matches!(subject, Subject::Node(of, _) if of == lab);
        let mut of_lab = self.waiting.iter().filter(|(subject, _)| is_of(subject)).map(|(_, waiting)| waiting);
        of_lab.any(|waiting| waiting.is_under_way || waiting.attempts == 0)
    }

    fn forget_old_letters(&mut self) {
        let now = SystemTime::now();
        let is_old = |letter: &DeadLetter| now.duration_since(letter.created_at).is_ok_and(|age| age > LETTERS_KEPT);
        self.letters.retain(|letter| !is_old(letter));
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::super::told::{Carrier, CarrierChange};
    use super::*;

    fn change(node: &str, carrier_state: Carrier) -> Message {
        let (lab_id, node, interface) = ("lab".parse().unwrap(), node.parse().unwrap(), "eth1".parse().unwrap());
        Message::Carrier(CarrierChange { lab_id, node, interface, carrier_state })
    }

    fn away() -> Result<(), Failure> {
        Err(Failure::NoAnswer("connection refused".into()))
    }

    fn counted(outbox: &Outbox) -> [u64; 4] {
        let Counts { queued, sent, overtaken, dropped } = &outbox.counts;
        [queued, sent, overtaken, dropped].map(|counter| counter.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn of_each_subject_only_the_newest_is_sent_and_one_at_a_time() {
        let outbox = Outbox::default();
        for state in [Carrier::Off, Carrier::On, Carrier::Off] {
            outbox.put(change("r1", state));
        }
        outbox.put(change("r2", Carrier::Off));
        let first = outbox.next().unwrap();
        assert_eq!(first, change("r1", Carrier::Off));
        outbox.put(change("r1", Carrier::On));
        assert_eq!(outbox.next(), Some(change("r2", Carrier::Off)));
        assert_eq!(outbox.next(), None, "the newer one waits for the one under way");
        outbox.ended(&first.subject(), &Ok(()));
        assert_eq!(outbox.next(), Some(change("r1", Carrier::On)));
        outbox.ended(&first.subject(), &Ok(()));
        assert_eq!((outbox.next(), outbox.waiting()), (None, 1));
        assert_eq!(counted(&outbox), [5, 2, 2, 0]);
    }

    #[tokio::test]
    async fn what_failed_goes_behind_the_others_and_is_overtaken_by_what_is_newer() {
        let outbox = Outbox::default();
        outbox.put(change("r1", Carrier::Off));
        outbox.put(change("r2", Carrier::Off));
        let first = outbox.next().unwrap();
        outbox.ended(&first.subject(), &away());
        let second = outbox.next().unwrap();
        assert_eq!(second, change("r2", Carrier::Off));
        outbox.put(change("r2", Carrier::On));
        outbox.ended(&second.subject(), &away());
        assert_eq!(outbox.next(), Some(change("r1", Carrier::Off)));
        assert_eq!(outbox.next(), Some(change("r2", Carrier::On)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_or_too_old_is_a_dead_letter() {
        let outbox = Outbox::default();
        outbox.put(change("r1", Carrier::Off));
        outbox.put(change("r2", Carrier::On));
        let refused = outbox.next().unwrap();
        outbox.ended(&refused.subject(), &Err(Failure::Refused("422".into())));
        let late = outbox.next().unwrap();
        outbox.ended(&late.subject(), &away());
        tokio::time::advance(GIVE_UP).await;
        assert_eq!(outbox.next(), Some(late.clone()), "it is tried once more");
        outbox.ended(&late.subject(), &away());
        assert_eq!((outbox.next(), outbox.waiting()), (None, 0));
        let told = serde_json::to_value(outbox.dead_letters()).unwrap();
        let letters: Vec<_> = told["dead_letters"].as_array().unwrap().iter().collect();
        let of = |at: usize, key: &str| letters[at][key].clone();
        assert_eq!((of(0, "job_id"), of(0, "status")), ("lab/r1/eth1".into(), "carrier off".into()));
        assert_eq!((of(1, "job_id"), of(1, "attempts")), ("lab/r2/eth1".into(), 2.into()));
        assert_eq!(of(1, "callback_url"), "/callbacks/carrier-state");
        assert_eq!(counted(&outbox), [2, 0, 0, 2]);
    }

    #[tokio::test]
    async fn what_was_under_way_with_a_sender_that_is_gone_is_sent_by_the_next_one() {
        let outbox = Outbox::default();
        outbox.put(change("r1", Carrier::Off));
        outbox.put(change("r2", Carrier::Off));
        assert!(outbox.next().is_some() && outbox.next().is_some());
        outbox.put(change("r2", Carrier::On));
        outbox.resume();
        let again = [outbox.next(), outbox.next(), outbox.next()];
        assert_eq!(again, [Some(change("r1", Carrier::Off)), Some(change("r2", Carrier::On)), None]);
    }

    #[tokio::test]
    async fn there_is_an_end_to_what_waits_and_to_dead_letters() {
        let outbox = Outbox::default();
        for node in 0..ROOM + LETTERS + 10 {
            outbox.put(change(&format!("r{node}"), Carrier::Off));
        }
        assert_eq!(outbox.waiting(), ROOM);
        assert_eq!(outbox.dead_letters().dead_letters.len(), LETTERS);
        assert_eq!(outbox.next(), Some(change(&format!("r{}", LETTERS + 10), Carrier::Off)), "the oldest went");
    }
}
