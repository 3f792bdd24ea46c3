//! Locks of the server (RFC 7047, section 4.1.8): advisory, one owner each, asked for again in each session.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::connection::{Answer, Connection};
use crate::error::{Error, Result};
use crate::value::NamedUuid;

/// A lock of the server that this client has, or waits for. Dropped, it is given back.
///
/// What is written under a lock belongs into a transaction that [asserts](crate::Transaction::assert) it: between two
/// looks at [`Self::state`] a session may have ended, and the lock with it.
#[derive(Debug)]
pub struct Lock {
    name: String,
    number: u64,
    state: watch::Receiver<Standing>,
    locks: Arc<Locks>,
}

/// Whether a lock is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    /// There is no session; it is asked for in the next one.
    Unasked,
    /// It was asked for. Another client has it, or had it stolen from this one, or the server has not answered.
    Waiting,
    /// This client has it.
    Owned,
}

/// One time of having a lock, from when it was had until it was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tenure(u64);

/// The state, and which time of having it this is, or was.
#[derive(Debug, Clone, Copy)]
struct Standing {
    state: LockState,
    tenure: u64,
}

/// How a lock is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// After those who have it or wait for it.
    Wait,
    /// Before them: who has it loses it. Only in the first session that asks; it is waited for in later ones.
    Steal,
}

/// The locks that are wanted.
#[derive(Debug)]
pub(super) struct Locks {
    most: usize,
    changed: Notify,
    wishes: Mutex<Wishes>,
}

#[derive(Debug, Default)]
struct Wishes {
    next: u64,
    by_name: BTreeMap<String, Wish>,
}

#[derive(Debug)]
struct Wish {
    number: u64,
    claim: Claim,
    state: watch::Sender<Standing>,
}

/// What a session has been asked of locks.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The number of the wish for which a lock was asked, by name.
    locks: BTreeMap<String, u64>,
    /// Which call asked for which lock; `None` for one that gave a lock back.
    calls: HashMap<u64, Option<String>>,
}

impl Locks {
    pub(super) fn new(most: usize) -> Self {
        Self { most, changed: Notify::new(), wishes: Mutex::default() }
    }

    pub(super) fn want(self: &Arc<Self>, name: &str, claim: Claim) -> Result<Lock> {
        // A name that the server does not take would cost each session.
        name.parse::<NamedUuid>().map_err(|source| Error::LockName { name: name.to_owned(), source })?;
        let mut wishes = self.lock();
        if wishes.by_name.contains_key(name) {
            return Err(Error::LockInUse(name.to_owned()));
        }
        if wishes.by_name.len() >= self.most {
            return Err(Error::Busy { what: "locks", limit: self.most });
        }
        let number = wishes.next;
        wishes.next += 1;
        let (sender, state) = watch::channel(Standing { state: LockState::Unasked, tenure: 0 });
        wishes.by_name.insert(name.to_owned(), Wish { number, claim, state: sender });
        drop(wishes);
        self.changed.notify_one();
        Ok(Lock { name: name.to_owned(), number, state, locks: self.clone() })
    }

    /// Ends when other locks are wanted. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The session has ended, and all locks with it.
    pub(super) fn lost(&self) {
        for wish in self.lock().by_name.values_mut() {
            wish.claim = Claim::Wait;
            wish.state.send_modify(|standing| standing.state = LockState::Unasked);
        }
    }

    /// The client is gone: nobody will have a lock any more.
    pub(super) fn close(&self) {
        self.lock().by_name.clear();
    }

    fn set(&self, name: &str, number: u64, state: LockState) {
        if let Some(wish) = self.lock().by_name.get(name).filter(|wish| wish.number == number) {
            wish.state.send_modify(|standing| {
                if state == LockState::Owned && standing.state != state {
                    standing.tenure += 1;
                }
                standing.state = state;
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Asks for what is wanted and was not asked for, and gives back what is not wanted any more. The answers come among
    /// the events, in their place.
    pub(super) fn ask(&mut self, locks: &Locks, connection: &Connection) -> Result<()> {
        let wanted: Vec<(String, u64, Claim)> = {
            let wishes = locks.lock();
            wishes.by_name.iter().map(|(name, wish)| (name.clone(), wish.number, wish.claim)).collect()
        };
        let wants = |name: &str, number: u64| wanted.iter().any(|wish| wish.0 == name && wish.1 == number);
        let back: Vec<String> =
            self.locks.iter().filter(|(name, number)| !wants(name, **number)).map(|(name, _)| name.clone()).collect();
        // So many calls at most are without an answer; with the next answer this comes again.
        let most = 2 * locks.most;
        for name in back {
            if self.calls.len() >= most {
                return Ok(());
            }
            self.calls.insert(connection.post("unlock", &[&name])?, None);
            self.locks.remove(&name);
        }
        for (name, number, claim) in wanted {
            if self.calls.len() >= most {
                return Ok(());
            }
            if self.locks.contains_key(&name) {
                continue;
            }
            let method = if claim == Claim::Steal { "steal" } else { "lock" };
            let call = connection.post(method, &[&name])?;
            locks.set(&name, number, LockState::Waiting);
            self.calls.insert(call, Some(name.clone()));
            self.locks.insert(name, number);
        }
        Ok(())
    }

    /// Takes up the answer to a request for a lock.
    pub(super) fn answered(&mut self, locks: &Locks, call: u64, answer: Answer) -> Result<()> {
        let name = self.calls.remove(&call).flatten();
        let locked = answer?.get("locked").and_then(Value::as_bool);
        if let (Some(name), Some(true)) = (name, locked) {
            self.tell(locks, &name, LockState::Owned);
        }
        Ok(())
    }

    /// Takes up what the server says of a lock by itself.
    pub(super) fn told(&self, locks: &Locks, params: &Value, state: LockState) {
        if let Some(name) = params.get(0).and_then(Value::as_str) {
            self.tell(locks, name, state);
        }
    }

    fn tell(&self, locks: &Locks, name: &str, state: LockState) {
        if let Some(number) = self.locks.get(name) {
            tracing::info!(lock = name, ?state, "lock");
            locks.set(name, *number, state);
        }
    }
}

impl Lock {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this client has it, as far as is known.
    pub fn state(&self) -> LockState {
        self.state.borrow().state
    }

    /// Waits until this client has it. Cancel-safe; it is still wanted after the deadline.
    pub async fn owned(&self, deadline: Instant) -> Result<Tenure> {
        let standing = self.reached(deadline, |standing| standing.state == LockState::Owned).await?;
        Ok(Tenure(standing.tenure))
    }

    /// Waits until this time of having it is over: it was stolen, or the session ended, even if it is had again since.
    /// Cancel-safe.
    pub async fn lost(&self, tenure: Tenure, deadline: Instant) -> Result<()> {
        let over = |standing: &Standing| standing.state != LockState::Owned || standing.tenure != tenure.0;
        self.reached(deadline, over).await.map(drop)
    }

    async fn reached(&self, deadline: Instant, good: impl Fn(&Standing) -> bool) -> Result<Standing> {
        let mut state = self.state.clone();
        match timeout_at(deadline, state.wait_for(good)).await {
            Ok(Ok(standing)) => Ok(*standing),
            Ok(Err(_)) => Err(Error::Dropped),
            Err(_) => Err(Error::Deadline),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let mut wishes = self.locks.lock();
        if wishes.by_name.get(&self.name).is_some_and(|wish| wish.number == self.number) {
            wishes.by_name.remove(&self.name);
        }
        drop(wishes);
        self.locks.changed.notify_one();
    }
}
