//! Limits of the host: what a lab is short of, and limits raised for labs and put back after the last of them.
//!
//! ```text
//!  lab actors ──raise, release──▶ [bounded queue] ──▶ task `limits` ──▶ store (before), host (after)
//! ```
//!
//! One task raises and puts back, so no two labs meet at one sysctl. What is raised is in the store, with the former
//! value, before it is changed. It is put back when nobody who asked for it is left and the labs that remain fit the
//! former value; a value that somebody else has set meanwhile is left as it is, and that is said. At its start the
//! task finishes what an interrupted one left, and raises again what a reboot has reset.

mod raised;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_model::{LabName, NodeName};
use netloom_plan::{HostLimits, Limit, Need, Severity, Shortage, connected, shortages};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::desired::{Phase, Wish, Wishes, put_or_delete};
use crate::driver::{Context, DriverError, ErrorClass, StoreError, Write};
use crate::engine::Shared;
use crate::event::{Events, What};
use crate::fact::{PortKind, PortMark};
use crate::lab::{engine_error, panicked, within};
use crate::ledger::Ledger;
use crate::refusal::Refusal;
use crate::task;
pub(crate) use raised::load;
use raised::{Raised, Setting};

/// How many requests may wait.
const QUEUE: usize = 64;
/// How long a look at the limits, or one change of them, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon what could not be put back is tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// The limits of a host.
#[async_trait]
pub trait Limits: Send + Sync + 'static {
    /// What the threads that it works with have not finished, for whoever supervises them.
    fn backlogs(&self) -> Vec<Backlog> {
        Vec::new()
    }

    /// Reads all limits and what is in use of them; what the host does not say is left out.
    async fn read(&self) -> Result<HostLimits, DriverError>;

    /// The present value of a sysctl, by its dotted name.
    async fn get(&self, sysctl: &str) -> Result<u64, DriverError>;

    /// Sets a sysctl.
    async fn set(&self, sysctl: &str, value: u64) -> Result<(), DriverError>;
}

/// Whether limits of the host may be raised for a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RaiseLimits {
    /// The host stays as it is.
    #[default]
    No,
    /// What a sysctl can do is done.
    Yes,
}

/// What a host is short of for a wish, beside all other labs.
pub(crate) async fn short_of(shared: &Shared, wish: &Wish) -> Vec<Shortage> {
    let limits = shared.limits.clone();
    let host = match drive("the host's limits", async move { limits.read().await }).await {
        Ok(host) => host,
        Err(error) => {
            // A deploy is tried all the same: what is really short shows then.
            tracing::warn!(%error, "the limits of the host are not known");
            return Vec::new();
        }
    };
    judge(shared, wish, host)
}

fn judge(shared: &Shared, wish: &Wish, mut host: HostLimits) -> Vec<Shortage> {
    let (snapshot, all) = (shared.inventory.snapshot(), shared.wishes.all());
    let sessions = shared.config.sessions;
    let others = all.iter().filter(|(name, other)| *name != wish.lab.name() && other.phase == Phase::Run);
    let labs = others.map(|(_, other)| &**other.whole()).chain([&**wish.whole()]);
    let wanted = Need::of(labs, |_, _| true, sessions);
    let is_there =
        |lab: &LabName, node: &NodeName| snapshot.labs.get(lab).is_some_and(|facts| facts.nodes.contains_key(node));
    let there = Need::of(all.values().map(|other| &**other.whole()), is_there, sessions);
    for port in snapshot.host.values().filter(|port| !matches!(port.mark, Some(PortMark::Link { .. }))) {
        let bridge = port.master.and_then(|master| snapshot.host.get(&master));
        if let Some(bridge) = bridge.filter(|bridge| bridge.kind == PortKind::Bridge) {
            *host.foreign_ports.entry(bridge.name.to_string()).or_default() += 1;
        }
    }
    // What Docker has given to nodes of ours looks like a port of somebody's.
    for lab in all.values().map(|other| other.whole()) {
        let Some(bridge) = &lab.management().bridge else { continue };
        let ours = connected(lab).filter(|node| is_there(lab.name(), node)).count();
        if let Some(ports) = host.foreign_ports.get_mut(bridge.as_str()) {
            *ports = ports.saturating_sub(u64::try_from(ours).unwrap_or(u64::MAX));
        }
    }
    shortages(&wanted, &there, &host)
}

/// Whether a deploy can be accepted with these shortages, and the warnings that go with it. With consent, limits
/// are raised; the caller gives them back by [`Raises::release`] if the wish is not stored after all.
pub(crate) async fn admit(shared: &Shared, wish: &Wish, raise: RaiseLimits) -> Result<Vec<Shortage>, Refusal> {
    let mut found = short_of(shared, wish).await;
    if raise == RaiseLimits::Yes && found.iter().any(|shortage| !shortage.raise.is_empty()) {
        shared.raises.raise(wish.lab.name(), &found).await?;
        found = short_of(shared, wish).await;
    }
    let (refused, warnings): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|shortage| shortage.severity == Severity::Refused);
    if refused.is_empty() {
        return Ok(warnings);
    }
    if raise == RaiseLimits::Yes {
        shared.raises.release(wish.lab.name()).await;
    }
    Err(Refusal::Short(refused))
}

/// What a limit of the host was raised to, for whom.
pub(crate) type Records = BTreeMap<Limit, Raised>;

enum Request {
    Raise { lab: LabName, wanted: Vec<(Limit, BTreeMap<String, u64>)>, reply: oneshot::Sender<Result<(), DriverError>> },
    Release { lab: LabName, reply: oneshot::Sender<Vec<String>> },
}

/// Asks the task that raises limits.
#[derive(Debug, Clone)]
pub(crate) struct Raises {
    requests: mpsc::Sender<Request>,
}

impl Raises {
    /// Makes the handle and the task's future, which first looks at what is noted in the store.
    pub(crate) fn new(task: Task) -> (Self, impl Future<Output = ()>) {
        let (requests, queue) = mpsc::channel(QUEUE);
        (Self { requests }, task.run(queue))
    }

    async fn raise(&self, lab: &LabName, short: &[Shortage]) -> Result<(), DriverError> {
        let wanted = short.iter().filter(|shortage| !shortage.raise.is_empty());
        let wanted = wanted.map(|shortage| (shortage.limit, shortage.raise.clone())).collect();
        let (reply, answer) = oneshot::channel();
        if self.requests.try_send(Request::Raise { lab: lab.clone(), wanted, reply }).is_err() {
            let mut busy = engine_error("raise", "limits of the host", "too many requests wait".into());
            busy.class = ErrorClass::Busy;
            return Err(busy);
        }
        let gone = |_| Err(engine_error("raise", "limits of the host", "the task ended".into()));
        answer.await.unwrap_or_else(gone)
    }

    /// A lab needs nothing any more. What a person should know of what was put back or not.
    pub(crate) async fn release(&self, lab: &LabName) -> Vec<String> {
        let (reply, answer) = oneshot::channel();
        // A full queue means that others are releasing: the last of them finds this lab gone, too.
        if self.requests.try_send(Request::Release { lab: lab.clone(), reply }).is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }
}

/// The task that raises limits and puts them back.
pub(crate) struct Task {
    pub(crate) limits: Arc<dyn Limits>,
    pub(crate) ledger: Ledger,
    pub(crate) wishes: Wishes,
    pub(crate) events: Events,
    /// What is noted in the store.
    pub(crate) records: Records,
    /// How many sessions run at once.
    pub(crate) sessions: usize,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        self.recover().await;
        loop {
            // Only a host that refused, or a store that is full, leaves something to be tried again.
            let request = if self.records.values().any(|record| record.labs.is_empty()) {
                tokio::time::timeout(AGAIN, queue.recv()).await
            } else {
                Ok(queue.recv().await)
            };
            match request {
                Err(_) => {
                    self.put_back().await;
                }
                Ok(None) => return,
                Ok(Some(Request::Raise { lab, wanted, reply })) => {
                    let answer = self.raise(&lab, wanted).await;
                    if answer.is_err() {
                        self.leave(&lab).await;
                        self.put_back().await;
                    }
                    let _ = reply.send(answer);
                }
                Ok(Some(Request::Release { lab, reply })) => {
                    self.leave(&lab).await;
                    let _ = reply.send(self.put_back().await);
                }
            }
        }
    }

    /// After a start: labs that are no longer wanted need nothing, and what a reboot has reset is raised again. A
    /// deploy that was interrupted before its wish was stored is found here as well.
    async fn recover(&mut self) {
        let wishes = self.wishes.all();
        for record in self.records.values_mut() {
            record.labs.retain(|lab| wishes.get(lab).is_some_and(|wish| wish.phase == Phase::Run));
        }
        self.put_back().await;
        for record in self.records.values() {
            for (sysctl, setting) in &record.settings {
                match self.get(sysctl).await {
                    Ok(present) if present == setting.former && setting.former != setting.value() => {
                        if let Err(error) = self.set(sysctl, setting.value()).await {
                            self.say(format!("{sysctl} could not be raised again: {error}"));
                        }
                    }
                    Ok(_) => {}
                    Err(error) => self.say(format!("{sysctl} cannot be read: {error}")),
                }
            }
        }
    }

    async fn raise(&mut self, lab: &LabName, wanted: Vec<(Limit, BTreeMap<String, u64>)>) -> Result<(), DriverError> {
        for (limit, settings) in wanted {
            let mut record = self.records.get(&limit).cloned().unwrap_or_default();
            record.labs.insert(lab.clone());
            let mut changes = Vec::new();
            for (sysctl, value) in settings {
                let present = self.get(&sysctl).await?;
                if present < value {
                    record.settings.entry(sysctl.clone()).or_insert_with(|| Setting::of(present)).raise(present, value);
                    changes.push((sysctl, value));
                }
            }
            // In the store before anything is changed: a crash from here on is found by the next start.
            let former = self.records.get(&limit).cloned();
            self.note(limit, Some(record)).await.map_err(|error| {
                // It may have got there all the same.
                self.ledger.owe(vec![write(limit, former.as_ref())]);
                let mut failed = engine_error("raise", "limits of the host", error.to_string());
                failed.hint = Some("the former values must be noted first; nothing was changed".to_owned());
                failed
            })?;
            // The highest first: the thresholds are never the wrong way round.
            for (sysctl, value) in changes.into_iter().rev() {
                self.set(&sysctl, value).await?;
                tracing::info!(%sysctl, value, %lab, "raised a limit of the host");
            }
        }
        Ok(())
    }

    async fn leave(&mut self, lab: &LabName) {
        let held: Vec<Limit> =
            self.records.iter().filter(|(_, record)| record.labs.contains(lab)).map(|(limit, _)| *limit).collect();
        for limit in held {
            let mut record = self.records[&limit].clone();
            record.labs.remove(lab);
            if self.note(limit, Some(record.clone())).await.is_err() {
                self.ledger.owe(vec![write(limit, Some(&record))]);
                self.records.insert(limit, record);
            }
        }
    }

    /// Puts back what nobody needs any more; what is worth saying about it.
    async fn put_back(&mut self) -> Vec<String> {
        let wishes = self.wishes.all();
        let labs = wishes.values().filter(|wish| wish.phase == Phase::Run).map(|wish| &**wish.whole());
        let need = Need::of(labs, |_, _| true, self.sessions);
        let unneeded: Vec<Limit> =
            self.records.iter().filter(|(limit, record)| record.is_unneeded(**limit, &need)).map(|(l, _)| *l).collect();
        let mut said = Vec::new();
        for limit in unneeded {
            let record = self.records[&limit].clone();
            let mut whole = true;
            for (sysctl, setting) in &record.settings {
                match self.put_back_one(sysctl, setting).await {
                    Ok(None) => {}
                    Ok(Some(text)) => said.push(text),
                    Err(error) => {
                        whole = false;
                        said.push(format!("{sysctl} could not be put back to {}: {error}", setting.former));
                    }
                }
            }
            if whole && self.note(limit, None).await.is_err() {
                self.ledger.owe(vec![write(limit, None)]);
                self.records.remove(&limit);
            }
        }
        for text in &said {
            self.say(text.clone());
        }
        said
    }

    async fn put_back_one(&self, sysctl: &str, setting: &Setting) -> Result<Option<String>, DriverError> {
        let present = self.get(sysctl).await?;
        if present == setting.former {
            return Ok(None);
        }
        if !setting.is_ours(present) {
            return Ok(Some(format!(
                "{sysctl} is {present}, not {} as netloom had set it: left as it is (it was {} before)",
                setting.value(),
                setting.former
            )));
        }
        self.set(sysctl, setting.former).await?;
        tracing::info!(%sysctl, value = setting.former, "put back a limit of the host");
        Ok(None)
    }

    async fn get(&self, sysctl: &str) -> Result<u64, DriverError> {
        let (limits, name) = (self.limits.clone(), sysctl.to_owned());
        drive(sysctl, async move { limits.get(&name).await }).await
    }

    async fn set(&self, sysctl: &str, value: u64) -> Result<(), DriverError> {
        let (limits, name) = (self.limits.clone(), sysctl.to_owned());
        drive(sysctl, async move { limits.set(&name, value).await }).await
    }

    async fn note(&mut self, limit: Limit, record: Option<Raised>) -> Result<(), StoreError> {
        self.ledger.write(vec![write(limit, record.as_ref())]).await?;
        match record {
            Some(record) => self.records.insert(limit, record),
            None => self.records.remove(&limit),
        };
        Ok(())
    }

    fn say(&self, text: String) {
        self.events.publish(What::Notice { lab: None, text });
    }
}

fn write(limit: Limit, record: Option<&Raised>) -> Write {
    put_or_delete(raised::key(limit), record)
}

/// Calls the driver in a task of its own, which may hang or panic.
async fn drive<T: Send + 'static>(
    object: &str,
    call: impl Future<Output = Result<T, DriverError>> + Send + 'static,
) -> Result<T, DriverError> {
    let context = Context { deadline: (Instant::now() + PATIENCE).into_std(), cancel: CancellationToken::new() };
    let name = object.to_owned();
    let call = task::own("limits of the host", async move { within(&context, &name, call).await });
    call.await.unwrap_or_else(|panic| Err(panicked(object, &panic)))
}
