//! A client that stays: it makes a session, mirrors what it is told to, and makes the next session when that one ends.
//!
//! ```text
//!   Client (clones share it) ── transact ──▶ Connection ⇄ server         (no session: an error at once)
//!          ◀── watch: Link ───┐                  │
//!   Mirror ◀──── Writer ── task `ovsdb client` ◀─┘ events: updates, locks, answers to transactions
//! ```
//!
//! The task takes up events in order, so what a transaction has changed is in the mirror when its caller has the answer.
//! It ends when the last clone is dropped.

mod config;
mod keep;
mod lock;
mod pause;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub use config::Config;
pub use lock::{Claim, Lock, LockState, Tenure};

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::mirror::{Mirror, Writer};
use crate::op::{Outcome, Transaction};
use crate::task::{self, Owned};

use lock::Locks;

/// A client of one database of one server. Clones share it; it ends when the last is dropped.
#[derive(Debug, Clone)]
pub struct Client {
    database: Arc<str>,
    link: watch::Receiver<Link>,
    mirror: Mirror,
    locks: Arc<Locks>,
    _task: Arc<Owned>,
}

/// Whether there is a session.
#[derive(Debug, Clone)]
pub enum State {
    /// There is, and the mirror follows it.
    Connected {
        /// Since when.
        since: Instant,
    },
    /// There is none; the mirror is as it was. Another one is tried for by itself.
    Down {
        /// Why the last one ended, or could not be made.
        why: Arc<Error>,
        /// Since when there is none.
        since: Instant,
    },
}

impl State {
    /// Whether there is a session.
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Connected { since }, Self::Connected { since: other }) => since == other,
            (Self::Down { why, .. }, Self::Down { why: other, .. }) => Arc::ptr_eq(why, other),
            _ => false,
        }
    }
}

/// The state, with what only the client may see of it.
#[derive(Debug, Clone)]
struct Link {
    state: State,
    connection: Option<Connection>,
}

impl Client {
    /// Starts a client, which connects by itself. It needs a runtime of tokio with I/O and time.
    pub fn start(config: Config) -> Self {
        let (writer, mirror) = Writer::new(config.lag);
        let down = State::Down { why: Arc::new(Error::Starting), since: Instant::now() };
        let (sender, link) = watch::channel(Link { state: down, connection: None });
        let locks = Arc::new(Locks::new(config.locks));
        let database = config.database.as_str().into();
        let keeper = keep::Keeper::new(config, writer, sender, locks.clone());
        let task = Arc::new(task::spawn("ovsdb client", keeper.run()));
        Self { database, link, mirror, locks, _task: task }
    }

    /// Does a transaction. Without a session it fails at once. When it returns, the mirror shows what it changed. Dropped,
    /// or when the deadline comes, it is given up, and cancelled as far as the server can.
    pub async fn transact(&self, transaction: &Transaction, deadline: Instant) -> Result<Outcome> {
        self.connection()?.transact_in_order(&self.database, transaction, deadline).await
    }

    /// Asks whether the server answers.
    pub async fn echo(&self, deadline: Instant) -> Result<()> {
        self.connection()?.echo(deadline).await
    }

    /// The present session; its errors are told by it.
    fn connection(&self) -> Result<Connection> {
        let link = self.link.borrow();
        match (&link.connection, &link.state) {
            (Some(connection), _) => Ok(connection.clone()),
            (None, State::Down { why, .. }) => Err(Error::NotConnected { why: why.clone() }),
            (None, State::Connected { .. }) => Err(Error::Dropped),
        }
    }

    /// What is mirrored.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    /// Whether there is a session now.
    pub fn state(&self) -> State {
        self.link.borrow().state.clone()
    }

    /// Waits for another state than this one; each session that cannot be made is another reason, and so another state.
    /// Cancel-safe.
    pub async fn state_changed(&self, from: &State, deadline: Instant) -> Result<State> {
        let changed = self.reached(deadline, |state| !state.is_same(from)).await;
        changed.map_err(|error| error.unwrap_or(Error::Deadline))
    }

    /// Waits for a session. At the deadline the error says why there is none.
    pub async fn connected(&self, deadline: Instant) -> Result<()> {
        match self.reached(deadline, State::is_connected).await {
            Ok(_) => Ok(()),
            Err(Some(error)) => Err(error),
            Err(None) => self.connection().map(drop),
        }
    }

    /// `Err(None)` at the deadline.
    async fn reached(&self, deadline: Instant, good: impl Fn(&State) -> bool) -> Result<State, Option<Error>> {
        let mut link = self.link.clone();
        match timeout_at(deadline, link.wait_for(|link| good(&link.state))).await {
            Ok(Ok(link)) => Ok(link.state.clone()),
            Ok(Err(_)) => Err(Some(Error::Dropped)),
            Err(_) => Err(None),
        }
    }

    /// Asks for a lock of the server, now and in each session to come, until it is dropped. [`Lock::owned`] waits for it.
    pub fn lock(&self, name: &str, claim: Claim) -> Result<Lock> {
        self.locks.want(name, claim)
    }
}
