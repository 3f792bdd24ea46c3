//! What callers and the task of a session have in common: the calls that are not answered, and what is to be sent.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use super::{Limits, Strays};
use crate::error::{Ended, Error, Unanswered};
use crate::message;

/// How many answers, probes and cancellations may wait to be sent.
const ASIDE: usize = 64;

/// The id of a probe. Calls count from 1.
pub(super) const PROBE: u64 = 0;

/// The method of which it matters whether it was done.
pub(super) const TRANSACT: &str = "transact";

/// The result of a request, or the server's error.
pub(crate) type Answer = Result<Value, Error>;

#[derive(Debug)]
pub(super) struct Shared {
    limits: Limits,
    next: AtomicU64,
    wake: Notify,
    /// Never held across an await.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    calls: HashMap<u64, Call>,
    queue: VecDeque<Frame>,
    /// The bytes of the calls in the queue.
    length: usize,
    /// How many frames in the queue are of no call.
    aside: usize,
    ended: Option<Arc<Ended>>,
    strays: Strays,
}

/// A call without an answer.
#[derive(Debug)]
struct Call {
    method: &'static str,
    to: To,
    /// Whether the server may have seen something of it.
    sent: bool,
}

/// How an answer reaches the caller.
#[derive(Debug)]
pub(super) enum To {
    /// At once.
    Caller(oneshot::Sender<Answer>),
    /// In order with all that the server said before it; the caller, if there is one, has it from whoever reads that.
    Events(Option<oneshot::Sender<Answer>>),
}

#[derive(Debug)]
struct Frame {
    call: Option<u64>,
    bytes: Bytes,
}

/// What became of a call that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The server has seen nothing of it.
    Unsent,
    /// The server may do it, or have done it.
    Sent,
    /// There was an answer, which is on its way to the caller, or the end of the session.
    Over,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, next: AtomicU64::new(PROBE + 1), wake: Notify::new(), inner: Mutex::default() }
    }

    /// Puts a request into the queue; gives its id.
    pub(super) fn submit(
        &self,
        method: &'static str,
        params: &(impl serde::Serialize + ?Sized),
        to: To,
    ) -> Result<u64, Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let bytes = message::request(Some(id), method, params).map_err(|error| Error::Protocol(error.to_string()))?;
        let limit = self.limits.queued;
        if bytes.len() > limit {
            return Err(Error::TooLarge { length: bytes.len(), limit });
        }
        let mut inner = self.lock();
        if let Some(why) = &inner.ended {
            return Err(not_connected(why));
        }
        // Requests that nobody waits for are counted by who makes them.
        if !matches!(to, To::Events(None)) {
            if inner.calls.len() >= self.limits.calls {
                return Err(Error::Busy { what: "calls", limit: self.limits.calls });
            }
            if inner.length + bytes.len() > limit {
                return Err(Error::Busy { what: "bytes of requests", limit });
            }
        }
        inner.length += bytes.len();
        inner.queue.push_back(Frame { call: Some(id), bytes });
        inner.calls.insert(id, Call { method, to, sent: false });
        drop(inner);
        self.wake.notify_one();
        Ok(id)
    }

    /// Puts something into the queue that is no call of anybody; says whether there was room.
    pub(super) fn aside(&self, bytes: Bytes) -> bool {
        let mut inner = self.lock();
        let room = inner.aside < ASIDE;
        if room {
            inner.aside += 1;
            inner.queue.push_back(Frame { call: None, bytes });
        }
        drop(inner);
        self.wake.notify_one();
        room
    }

    /// What is to be sent next. From here on the server may see it.
    pub(super) fn next_frame(&self) -> Option<Bytes> {
        let mut inner = self.lock();
        let frame = inner.queue.pop_front()?;
        match frame.call {
            None => inner.aside -= 1,
            Some(id) => {
                inner.length -= frame.bytes.len();
                if let Some(call) = inner.calls.get_mut(&id) {
                    call.sent = true;
                }
            }
        }
        Some(frame.bytes)
    }

    /// Ends when there may be something to send.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Gives an answer to whoever waits for it; gives back one that goes with the events.
    pub(super) fn answer(
        &self,
        id: &Value,
        outcome: Result<Value, Value>,
    ) -> Option<(u64, Option<oneshot::Sender<Answer>>, Answer)> {
        let mut inner = self.lock();
        let number = id.as_u64();
        let Some((number, call)) = number.and_then(|number| Some((number, inner.calls.remove(&number)?))) else {
            match number {
                Some(PROBE) => {}
                Some(number) if number < self.next.load(Ordering::Relaxed) => inner.strays.late += 1,
                _ => {
                    inner.strays.unknown += 1;
                    tracing::debug!(%id, "an answer to a request that was never made");
                }
            }
            return None;
        };
        drop(inner);
        let answer = outcome.map_err(|error| rpc_error(call.method, &error));
        match call.to {
            To::Caller(caller) => {
                // Whoever does not wait any more does not want it.
                let _ = caller.send(answer);
                None
            }
            To::Events(caller) => Some((number, caller, answer)),
        }
    }

    /// Nobody waits for this call any more. The server is told where it can cancel it.
    pub(super) fn give_up(&self, id: u64) -> Fate {
        let mut inner = self.lock();
        // Its answer has come in between.
        let Some(call) = inner.calls.remove(&id) else { return Fate::Over };
        if !call.sent {
            if let Some(at) = inner.queue.iter().position(|frame| frame.call == Some(id)) {
                let frame = inner.queue.remove(at);
                inner.length -= frame.map_or(0, |frame| frame.bytes.len());
            }
            return Fate::Unsent;
        }
        drop(inner);
        if call.method == TRANSACT {
            // A list of numbers is always written.
            let cancel = message::request(None, "cancel", &[id]).unwrap_or_default();
            self.aside(cancel);
        }
        Fate::Sent
    }

    /// The session has ended: so have all calls. Only the first reason counts.
    pub(super) fn end(&self, why: Ended) {
        let why = Arc::new(why);
        let mut inner = self.lock();
        if inner.ended.is_some() {
            return;
        }
        inner.ended = Some(why.clone());
        inner.queue.clear();
        let calls = std::mem::take(&mut inner.calls);
        drop(inner);
        tracing::debug!(%why, calls = calls.len(), "session ended");
        for call in calls.into_values() {
            let (To::Caller(caller) | To::Events(Some(caller))) = call.to else { continue };
            let error = match call.sent {
                true if call.method == TRANSACT => Error::OutcomeUnknown(Unanswered::Ended(why.clone())),
                true => Error::Ended(why.clone()),
                false => not_connected(&why),
            };
            let _ = caller.send(Err(error));
        }
    }

    pub(super) fn ended(&self) -> Option<Arc<Ended>> {
        self.lock().ended.clone()
    }

    /// How many calls have no answer.
    pub(super) fn waiting(&self) -> usize {
        self.lock().calls.len()
    }

    pub(super) fn strays(&self) -> Strays {
        self.lock().strays
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn not_connected(why: &Arc<Ended>) -> Error {
    Error::NotConnected { why: Arc::new(Error::Ended(why.clone())) }
}

/// An error of JSON-RPC. That of a transaction is a refusal; which it was is known by the method.
fn rpc_error(method: &'static str, error: &Value) -> Error {
    use crate::op::{Place, Refusal};
    let refusal = Refusal::new(Place::Request, error);
    if method == TRANSACT {
        return Error::Refused(refusal);
    }
    let error =
        if refusal.details.is_empty() { refusal.error } else { format!("{}: {}", refusal.error, refusal.details) };
    Error::Rpc { method, error }
}
