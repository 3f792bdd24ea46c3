//! One session with a server, from its connection to its end. It does not come back: that is for a [`crate::Client`].
//!
//! ```text
//!   call ──▶ Shared: calls without an answer (bounded), what is to be sent (bounded) ◀──▶ task `ovsdb session` ⇄ server
//!        ◀── oneshot: the answer ─────────────────────────────────────────────────────────┤
//!   Events ◀──[bounded]── notifications, and answers that keep their place among them ────┘
//! ```
//!
//! One task owns both halves of the stream, so that it reads while it cannot write. Where nobody takes the events it
//! stops reading: the server waits, calls go into their deadlines, nothing grows.
//!
//! What the server asks (`echo`) is answered. A server that is silent is asked the same, and is taken for dead when it
//! stays silent. An answer to an id that is unknown is counted ([`Connection::strays`]) and otherwise of no consequence:
//! it may come late for a call that was given up. What is no message ends the session: nothing behind it can be trusted.

mod driver;
mod event;
mod limits;
mod shared;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::endpoint::{Endpoint, Stream};
use crate::error::{Ended, Error, Result, Unanswered};
use crate::frame::Scanner;
use crate::op::{Op, Outcome, Transaction};
use crate::schema::Schema;
use crate::task::{self, Owned};

use driver::Driver;
pub(crate) use event::Event;
pub use event::{Events, Notification};
pub use limits::{Limits, Strays};
pub(crate) use shared::Answer;
use shared::{Fate, Shared, TRANSACT, To};

/// A session. Clones share it; it ends when the last is dropped.
#[derive(Debug, Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    _task: Arc<Owned>,
}

impl Connection {
    /// Connects to a server.
    pub async fn open(endpoint: &Endpoint, limits: Limits, deadline: Instant) -> Result<(Self, Events)> {
        let connected = timeout_at(deadline, endpoint.connect()).await.unwrap_or_else(|_| {
            // A queue of connections that nobody takes, or an address that nobody has.
            Err(std::io::ErrorKind::TimedOut.into())
        });
        let stream = connected.map_err(|source| Error::Connect { endpoint: endpoint.clone(), source })?;
        Ok(Self::start(stream, limits))
    }

    /// A session over a stream that is there already.
    pub fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, limits: Limits) -> (Self, Events) {
        Self::start(Box::new(stream), limits)
    }

    fn start(stream: Box<dyn Stream>, limits: Limits) -> (Self, Events) {
        let (reader, writer) = tokio::io::split(stream);
        let (events, queue) = mpsc::channel(limits.events.max(1));
        let (scanner, probe) = (Scanner::new(limits.frame), limits.probe);
        let shared = Arc::new(Shared::new(limits));
        let driver = Driver { reader, writer, shared: shared.clone(), events, scanner, probe };
        let task = task::spawn("ovsdb session", driver.run());
        (Self { shared: shared.clone(), _task: Arc::new(task) }, Events { queue, shared })
    }

    /// Calls a method and gives its result. Dropped, or when the deadline comes, it is given up: what was not sent is not
    /// sent, and a transaction that was sent is cancelled as far as the server can.
    pub async fn call(
        &self,
        method: &'static str,
        params: &(impl Serialize + ?Sized),
        deadline: Instant,
    ) -> Result<Value> {
        let (caller, answer) = oneshot::channel();
        let id = self.shared.submit(method, params, To::Caller(caller))?;
        self.wait((id, method), answer, deadline).await
    }

    /// Sends a request whose answer comes as an [`Event::Answer`], for nobody else; gives its number. No limit counts it:
    /// whoever uses this has one.
    pub(crate) fn post(&self, method: &'static str, params: &(impl Serialize + ?Sized)) -> Result<u64> {
        self.shared.submit(method, params, To::Events(None))
    }

    /// Does a transaction.
    pub async fn transact(&self, database: &str, transaction: &Transaction, deadline: Instant) -> Result<Outcome> {
        let params = Params { database, ops: transaction.ops() };
        Outcome::read(transaction, self.call(TRANSACT, &params, deadline).await?)
    }

    /// As [`Self::transact`]; whoever reads the events has the answer first, and hands it on.
    pub(crate) async fn transact_in_order(
        &self,
        database: &str,
        transaction: &Transaction,
        deadline: Instant,
    ) -> Result<Outcome> {
        let params = Params { database, ops: transaction.ops() };
        let (caller, answer) = oneshot::channel();
        let id = self.shared.submit(TRANSACT, &params, To::Events(Some(caller)))?;
        Outcome::read(transaction, self.wait((id, TRANSACT), answer, deadline).await?)
    }

    /// What the database is made of.
    pub async fn get_schema(&self, database: &str, deadline: Instant) -> Result<Schema> {
        Ok(Schema::try_from(self.call("get_schema", &[database], deadline).await?)?)
    }

    /// Asks whether the server is there.
    pub async fn echo(&self, deadline: Instant) -> Result<()> {
        self.call("echo", &[0; 0], deadline).await.map(drop)
    }

    async fn wait(
        &self,
        (id, method): (u64, &'static str),
        mut answer: oneshot::Receiver<Answer>,
        deadline: Instant,
    ) -> Result<Value> {
        let mut call = Waiting { shared: &self.shared, id, over: false };
        let unanswered = match timeout_at(deadline, &mut answer).await {
            Ok(Ok(answer)) => {
                call.over = true;
                return answer;
            }
            // Whoever reads the events let the answer go with them.
            Ok(Err(_)) => Unanswered::Ended(self.shared.ended().unwrap_or_else(|| Arc::new(Ended::Dropped))),
            Err(_) => {
                let fate = call.give_up();
                // It may have come in this moment.
                if let Ok(answer) = answer.try_recv() {
                    return answer;
                }
                if fate == Fate::Unsent {
                    return Err(Error::Deadline);
                }
                Unanswered::Deadline
            }
        };
        Err(match unanswered {
            unanswered if method == TRANSACT => Error::OutcomeUnknown(unanswered),
            Unanswered::Deadline => Error::Deadline,
            Unanswered::Ended(why) => Error::Ended(why),
        })
    }

    /// Why the session has ended, if it has.
    pub fn ended(&self) -> Option<Arc<Ended>> {
        self.shared.ended()
    }

    /// How many calls are without an answer.
    pub fn waiting(&self) -> usize {
        self.shared.waiting()
    }

    /// Answers that nobody waited for, so far.
    pub fn strays(&self) -> Strays {
        self.shared.strays()
    }
}

/// A call that is waited for. Dropped, it is given up.
struct Waiting<'c> {
    shared: &'c Shared,
    id: u64,
    over: bool,
}

impl Waiting<'_> {
    fn give_up(&mut self) -> Fate {
        self.over = true;
        self.shared.give_up(self.id)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.give_up();
        }
    }
}

/// The database, then the operations, all in one array.
struct Params<'t> {
    database: &'t str,
    ops: &'t [Op],
}

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut params = serializer.serialize_seq(Some(1 + self.ops.len()))?;
        params.serialize_element(self.database)?;
        for op in self.ops {
            params.serialize_element(op)?;
        }
        params.end()
    }
}
