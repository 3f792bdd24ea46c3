//! The life of a client: session after session.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::lock::{Asked, LockState, Locks};
use super::pause::Pauses;
use super::{Config, Link, State};
use crate::connection::{Connection, Event, Events, Notification};
use crate::error::{Error, Result};
use crate::mirror::{Replica, Updates, Writer};
use crate::schema::ColumnType;
use crate::value::{Malformed, Uuid};

/// The name of the monitor in its session. There is only this one.
const MONITOR: &str = "mirror";

type Types = BTreeMap<String, BTreeMap<String, ColumnType>>;

pub(super) struct Keeper {
    config: Config,
    writer: Writer,
    link: watch::Sender<Link>,
    locks: Arc<Locks>,
    /// From where the next session may go on.
    last: Option<Last>,
}

/// What the mirror has: all up to a transaction, in columns of these types.
struct Last {
    transaction: Uuid,
    types: Types,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.locks.close();
    }
}

impl Keeper {
    pub(super) fn new(config: Config, writer: Writer, link: watch::Sender<Link>, locks: Arc<Locks>) -> Self {
        Self { config, writer, link, locks, last: None }
    }

    /// Ends only by being dropped.
    pub(super) async fn run(mut self) {
        let mut pauses = Pauses::new(self.config.first_pause, self.config.longest_pause);
        loop {
            let deadline = Instant::now() + self.config.patience;
            let opened = Connection::open(&self.config.endpoint, self.config.limits.clone(), deadline).await;
            match opened {
                Ok((connection, mut events)) => {
                    let error = self.serve(&connection, &mut events, deadline, &mut pauses).await;
                    if matches!(error, Error::Desync(_) | Error::Protocol(_)) {
                        self.last = None;
                    }
                    self.down(error);
                    // Only now, so that whoever has an answer finds the state that goes with it.
                    events.settle();
                }
                Err(error) => self.down(error),
            }
            self.locks.lost();
            sleep(pauses.next()).await;
        }
    }

    /// Since when there is no session stays what it was while attempts fail; what fails alike is told once.
    fn down(&self, error: Error) {
        let endpoint = &self.config.endpoint;
        self.link.send_modify(|link| {
            let since = match &link.state {
                State::Down { since, why } => {
                    if why.to_string() == error.to_string() {
                        tracing::debug!(%endpoint, %error, "still no session with the database server");
                    } else {
                        tracing::warn!(%endpoint, %error, "no session with the database server");
                    }
                    *since
                }
                State::Connected { .. } => {
                    tracing::warn!(%endpoint, %error, "the session with the database server ended");
                    Instant::now()
                }
            };
            *link = Link { state: State::Down { why: Arc::new(error), since }, connection: None };
        });
    }

    /// Fills the mirror and follows the session to its end.
    async fn serve(
        &mut self,
        connection: &Connection,
        events: &mut Events,
        deadline: Instant,
        pauses: &mut Pauses,
    ) -> Error {
        if let Err(error) = self.fill(connection, deadline).await {
            return match error {
                Error::Deadline => Error::Unfilled(self.config.patience),
                Error::NotConnected { .. } => connection.ended().map_or(error, Error::Ended),
                error => error,
            };
        }
        pauses.reset();
        tracing::info!(endpoint = %self.config.endpoint, "session with the database server");
        let state = State::Connected { since: Instant::now() };
        self.link.send_replace(Link { state, connection: Some(connection.clone()) });
        match self.follow(connection, events).await {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    /// Has the server tell what there is, and what is new from then on.
    async fn fill(&mut self, connection: &Connection, deadline: Instant) -> Result<()> {
        let schema = connection.get_schema(&self.config.database, deadline).await?;
        let types = schema.types(&self.config.mirrored)?;
        let tables: BTreeMap<&String, [Value; 1]> =
            self.config.mirrored.iter().map(|(table, columns)| (table, [json!({"columns": columns})])).collect();
        let last = self.last.as_ref().filter(|last| last.types == types);
        let since = last.map_or(Uuid::NIL, |last| last.transaction);
        let params = (&self.config.database, MONITOR, &tables, since.to_string());
        let (found, transaction, updates) = match connection.call("monitor_cond_since", &params, deadline).await {
            Ok(answer) => since_answer(answer)?,
            // Open vSwitch before 2.12.
            Err(Error::Rpc { error, .. }) if error.starts_with("unknown method") => {
                let params = (&self.config.database, MONITOR, &tables);
                (false, Uuid::NIL, connection.call("monitor_cond", &params, deadline).await?)
            }
            Err(error) => return Err(error),
        };
        let updates = Updates::try_from(updates)?;
        if found && since != Uuid::NIL {
            self.writer.apply(updates)?;
        } else {
            let mut fresh = Replica::new(types.clone());
            fresh.apply(updates)?;
            self.writer.replace(fresh);
        }
        self.last = Some(Last { transaction, types });
        Ok(())
    }

    /// Takes up what the server says, until the session ends.
    async fn follow(&mut self, connection: &Connection, events: &mut Events) -> Result<std::convert::Infallible> {
        let mut asked = Asked::default();
        asked.ask(&self.locks, connection)?;
        loop {
            tokio::select! {
                event = events.next_event() => match event {
                    Some(Event::Notification(notification)) => self.told(&asked, notification)?,
                    Some(Event::Answer(answered)) => {
                        if let Some((call, answer)) = answered.deliver() {
                            asked.answered(&self.locks, call, answer)?;
                            asked.ask(&self.locks, connection)?;
                        }
                    }
                    None => return Err(Error::Ended(events.why())),
                },
                () = self.locks.changed() => asked.ask(&self.locks, connection)?,
            }
        }
    }

    fn told(&mut self, asked: &Asked, Notification { method, mut params }: Notification) -> Result<()> {
        let own = params.get(0).and_then(Value::as_str) == Some(MONITOR);
        match method.as_str() {
            "update3" if own => {
                let transaction = Uuid::try_from(json!(["uuid", params.get(1)]))?;
                self.update(params.get_mut(2), Some(transaction))?;
            }
            "update2" if own => self.update(params.get_mut(1), None)?,
            "monitor_canceled" if own => {
                return Err(Error::Protocol("the server has ended the monitor".to_owned()));
            }
            "locked" => asked.told(&self.locks, &params, LockState::Owned),
            "stolen" => asked.told(&self.locks, &params, LockState::Waiting),
            // Of no monitor and no lock of this session.
            _ => tracing::debug!(method, "a notification for nobody"),
        }
        Ok(())
    }

    fn update(&mut self, updates: Option<&mut Value>, transaction: Option<Uuid>) -> Result<()> {
        let updates = updates.map(Value::take).unwrap_or_default();
        self.writer.apply(Updates::try_from(updates)?)?;
        if let (Some(last), Some(transaction)) = (&mut self.last, transaction) {
            last.transaction = transaction;
        }
        Ok(())
    }
}

/// `[found, last transaction, updates]`.
fn since_answer(answer: Value) -> Result<(bool, Uuid, Value), Malformed> {
    let wrong = |answer: &Value| Malformed::new("whether a transaction was found, the last one, and rows", answer);
    match answer {
        Value::Array(parts) => match <[Value; 3]>::try_from(parts) {
            Ok([Value::Bool(found), Value::String(last), updates]) => {
                let transaction = last.parse().map_err(|_| Malformed::new("a UUID", &Value::String(last)))?;
                Ok((found, transaction, updates))
            }
            Ok(parts) => Err(wrong(&Value::from(parts.to_vec()))),
            Err(parts) => Err(wrong(&Value::Array(parts))),
        },
        other => Err(wrong(&other)),
    }
}
