//! The task: what is wanted of the host's interfaces and by whom, and whether it is so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use netloom_failpoint::point;
use netloom_model::InterfaceName;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::change::Host;
use super::kept::{Asked, Kept, Record, Records, Undo, WantedBy, write, write_undo};
use super::plan::{HostView, Management, SeenInterface, Step, Unfit, plan, plan_removal};
use super::wish::{Transport, Uplink};
use super::{Changed, DataPlane, Keep, LIMIT, Origin, Request, TransportEdit, TransportError, Underlay};
use crate::event::{Events, What};
use crate::inventory::Inventory;
use crate::ledger::Ledger;
use crate::operation::{Journal, Operation, OperationId, OperationState};
use crate::snapshot::Snapshot;

/// What operations of this are called.
const KIND: &str = "transport";
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long what is not as it is wanted is let settle: a change is told in several events.
const SETTLE: Duration = Duration::from_secs(1);

/// The task that changes the host's own interfaces.
pub(crate) struct Task {
    pub(super) underlay: Arc<dyn Underlay>,
    pub(super) host: Host,
    pub(super) ledger: Ledger,
    pub(super) journal: Journal,
    events: Events,
    inventory: Inventory,
    pub(super) records: Records,
    /// A change that an earlier life of the agent did not end.
    pub(super) undo: Option<Undo>,
    pub(super) boot: String,
    /// What the configuration says, once that is known; before it nothing is touched.
    configuration: Configuration,
    /// What was wanted of interfaces before, until they are as they are wanted now.
    former: BTreeMap<InterfaceName, Uplink>,
    /// What nobody wants any more and is still there.
    pub(super) leaving: BTreeMap<InterfaceName, Uplink>,
    /// What took away how the host is reached, and why. It is not tried again before something else is wanted.
    given_up: BTreeMap<InterfaceName, String>,
    /// The interfaces that are as they are wanted, as far as was seen last.
    met: BTreeSet<InterfaceName>,
    pub(super) data_plane: watch::Sender<Option<DataPlane>>,
    failures: u32,
    again: Option<Instant>,
    /// What was said last of what is not as it is wanted.
    said: Option<String>,
    /// The same, for who looks.
    pub(super) trouble: Arc<ArcSwapOption<String>>,
    /// Why nothing is made until something else is wanted: somebody cancelled it.
    held: Option<String>,
}

/// What the configuration says of the transport.
#[derive(Debug, PartialEq, Eq)]
enum Configuration {
    /// It was not told yet.
    Unknown,
    /// It says nothing.
    Silent,
    /// It says this.
    Says(Transport),
}

/// What the task works with.
pub(crate) struct Parts {
    pub(crate) underlay: Arc<dyn Underlay>,
    pub(crate) management: Management,
    pub(crate) ledger: Ledger,
    pub(crate) journal: Journal,
    pub(crate) events: Events,
    pub(crate) inventory: Inventory,
    pub(crate) kept: Kept,
    /// The life of the host.
    pub(crate) boot: String,
}

/// A change that was understood: what is wanted of which interface.
struct Meant {
    name: InterfaceName,
    wanted: Option<Uplink>,
    keep: Keep,
}

impl Task {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { underlay, management, ledger, journal, events, inventory, kept, boot } = parts;
        let Kept { records, undo } = kept;
        Self {
            host: Host { underlay: underlay.clone(), management },
            underlay,
            ledger,
            journal,
            events,
            inventory,
            records,
            undo,
            boot,
            configuration: Configuration::Unknown,
            former: BTreeMap::new(),
            leaving: BTreeMap::new(),
            given_up: BTreeMap::new(),
            met: BTreeSet::new(),
            data_plane: watch::Sender::new(None),
            failures: 0,
            again: None,
            said: None,
            trouble: Arc::default(),
            held: None,
        }
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut changes = self.inventory.changes();
        self.recover().await;
        loop {
            let is_known = self.configuration != Configuration::Unknown;
            let (again, watches) = (self.again, is_known && !self.met.is_empty() && self.held.is_none());
            tokio::select! {
                request = queue.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                    // What fails again and again would fill the journal.
                    let operation = self.said.is_none().then_some(Said::Lazily);
                    self.attempt(operation).await;
                }
                changed = changes.changed(), if watches && again.is_none() => {
                    if changed.is_err() {
                        return;
                    }
                    if self.has_drifted(&self.inventory.snapshot()) {
                        self.again = Some(Instant::now() + SETTLE);
                    }
                }
            }
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            Request::Begin { transport, reply } => {
                let _ = reply.send(self.begin(transport).await);
            }
            Request::Fetched { transport, from } => {
                let known = &mut self.host.management.towards;
                known.extend(from.filter(|from| !known.contains(from)));
                self.fetched(&transport).await;
            }
            Request::Change { edit, asker, deadline, reply } => {
                // Nobody waits any more: what was not begun is not done.
                if !reply.is_closed() {
                    let changed = self.change(edit, asker, deadline).await;
                    let _ = reply.send(changed);
                }
            }
        }
    }

    async fn begin(&mut self, configured: Option<Transport>) -> (Origin, Option<Arc<Operation>>) {
        self.replace(WantedBy::Configured, configured.as_ref().and_then(uplink)).await;
        let is_kept = self.records.values().any(|record| record.by == WantedBy::Provisioned && record.is_transport());
        let origin = match (&configured, is_kept) {
            (Some(_), _) => Origin::Configured,
            (None, true) => Origin::Kept,
            (None, false) => Origin::Nowhere,
        };
        if origin != Origin::Nowhere {
            self.replace(WantedBy::Fetched, None).await;
        }
        self.configuration = configured.map_or(Configuration::Silent, Configuration::Says);
        // What was asked for before this was said is as it is wanted already.
        if self.is_as_wanted() {
            return (origin, None);
        }
        let operation = Said::Begun(self.journal.begin(KIND, None));
        (origin, self.attempt(Some(operation)).await)
    }

    /// The controller's word counts where nobody else has said anything.
    async fn fetched(&mut self, transport: &Transport) {
        let others = self.records.values().any(|record| record.by != WantedBy::Fetched && record.is_transport());
        if others || self.configuration != Configuration::Silent {
            return;
        }
        let before = self.records.clone();
        self.replace(WantedBy::Fetched, uplink(transport)).await;
        if before != self.records || !self.leaving.is_empty() {
            self.attempt(Some(Said::Lazily)).await;
        }
    }

    /// Has just this wanted by somebody, and nothing else.
    async fn replace(&mut self, by: WantedBy, wanted: Option<&Uplink>) {
        let mut writes = Vec::new();
        let old =
            self.records.iter().filter(|(name, record)| record.by == by && wanted.is_none_or(|w| w.name != **name));
        let old: Vec<InterfaceName> = old.map(|(name, _)| name.clone()).collect();
        for name in old {
            // The store has it until it is gone.
            if let Some(record) = self.records.remove(&name) {
                self.met.remove(&name);
                self.given_up.remove(&name);
                self.leaving.insert(name, record.uplink);
            }
        }
        if let Some(wanted) = wanted {
            let there = self.records.get(&wanted.name);
            if there.is_none_or(|there| there.by != by || there.uplink != *wanted) {
                let record = Record { uplink: wanted.clone(), by, since: SystemTime::now() };
                writes.push(write(&wanted.name, Some(&record)));
                self.leaving.remove(&wanted.name);
                self.given_up.remove(&wanted.name);
                self.met.remove(&wanted.name);
                if let Some(there) = self.records.insert(wanted.name.clone(), record) {
                    self.former.insert(wanted.name.clone(), there.uplink);
                }
            }
        }
        if writes.is_empty() {
            return;
        }
        // It is said again at the next start, so it holds all the same.
        let _ = self.ledger.keep(writes).await;
    }

    /// Makes everything as it is wanted, or says what is not and tries again later. Gives the operation, if there is one.
    async fn attempt(&mut self, mut operation: Option<Said>) -> Option<Arc<Operation>> {
        let deadline = Instant::now() + LIMIT;
        let mut problems = Vec::new();
        self.held = None;
        for (name, before) in self.leaving.clone() {
            if Said::is_cancelled(operation.as_ref()) {
                break;
            }
            let steps = |view: &HostView| plan_removal(&name, Some(&before), view);
            match self.bring_about(steps, &mut operation, deadline).await {
                Ok(()) => {
                    self.leaving.remove(&name);
                    let _ = self.ledger.keep(vec![write(&name, None)]).await;
                    point!("transport.let-go");
                }
                Err(error) => problems.push(format!("{name}: {error}")),
            }
        }
        for (name, record) in self.records.clone() {
            if Said::is_cancelled(operation.as_ref()) {
                break;
            }
            if self.given_up.contains_key(&name) {
                continue;
            }
            let steps = |view: &HostView| plan(&record.uplink, self.former.get(&name), view);
            match self.bring_about(steps, &mut operation, deadline).await {
                Ok(()) => {
                    self.former.remove(&name);
                    self.met.insert(name);
                }
                Err(error) => {
                    self.met.remove(&name);
                    let problem = format!("{name}: {error}");
                    if matches!(error, TransportError::Lost(_)) {
                        self.given_up.insert(name, problem);
                    } else {
                        problems.push(problem);
                    }
                }
            }
        }
        self.tell_data_plane();
        self.judge(problems, operation)
    }

    /// Says how an attempt went, and when the next one is due.
    fn judge(&mut self, mut problems: Vec<String>, operation: Option<Said>) -> Option<Arc<Operation>> {
        let cancelled = operation.as_ref().and_then(Said::cancelled);
        if let Some(id) = cancelled.filter(|_| !problems.is_empty() || !self.is_as_wanted()) {
            self.held = Some(format!(
                "operation {id} was cancelled, and what is wanted is left as it is until something else is wanted or the \
                 agent is started again"
            ));
        }
        let is_hopeless = problems.is_empty() || self.held.is_some();
        problems.extend(self.given_up.values().chain(&self.held).cloned());
        let operation = match operation {
            Some(Said::Lazily) if problems.is_empty() => None,
            other => other.map(|said| said.begun(&self.journal)),
        };
        if problems.is_empty() {
            (self.failures, self.again) = (0, None);
            self.trouble.store(None);
            if self.said.take().is_some() {
                self.say("the host's interfaces are as they are wanted".to_owned());
            }
            if let Some(operation) = &operation {
                operation.end(OperationState::Succeeded, "the host's interfaces are as they are wanted", Vec::new());
            }
            return operation;
        }
        let pause = Duration::from_secs(1 << self.failures.min(6)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.again = Some(Instant::now() + pause).filter(|_| !is_hopeless);
        let text = problems.join("; ");
        if self.said.as_ref() != Some(&text) {
            tracing::warn!(why = %text, "the host's interfaces are not as they are wanted; what may work later is tried again");
            self.say(format!("the host's interfaces are not as they are wanted: {text}"));
            self.trouble.store(Some(Arc::new(text.clone())));
            self.said = Some(text);
        }
        if let Some(operation) = &operation {
            let (state, message) = match self.held {
                Some(_) => (OperationState::Cancelled, "cancelled; the host's interfaces are left as they are"),
                None => (OperationState::Failed, "some of the host's interfaces are not as they are wanted"),
            };
            operation.end(state, message, problems);
        }
        operation
    }

    fn say(&self, text: String) {
        self.events.publish(What::Notice { lab: None, text });
    }

    /// Does what it takes for what is seen to be as it is wanted.
    async fn bring_about(
        &self,
        steps: impl FnOnce(&HostView) -> Result<Vec<Step>, Unfit>,
        operation: &mut Option<Said>,
        deadline: Instant,
    ) -> Result<(), TransportError> {
        let view = self.host.look(deadline).await.map_err(TransportError::Unseen)?;
        let steps = steps(&view)?;
        self.host.management.check(&steps, &view)?;
        if steps.is_empty() {
            return Ok(());
        }
        let change = self.host.change_of(steps, deadline).await;
        self.carry_out(&change, &view, operation, deadline).await
    }

    async fn change(
        &mut self,
        edit: TransportEdit,
        asker: Option<IpAddr>,
        deadline: Instant,
    ) -> Result<Changed, TransportError> {
        if deadline <= Instant::now() {
            return Err(TransportError::Late);
        }
        let host = self.host.asked_by(asker);
        let view = host.look(deadline).await.map_err(TransportError::Unseen)?;
        let Meant { name, wanted, keep } = self.meant(edit, &view)?;
        let former = self.records.get(&name).cloned();
        let before = former.as_ref().map(|record| &record.uplink);
        let steps = match &wanted {
            Some(wanted) => plan(wanted, before, &view)?,
            None => plan_removal(&name, before, &view)?,
        };
        host.management.check(&steps, &view)?;
        let change = host.change_of(steps, deadline).await;
        let since = SystemTime::now();
        let record = match keep {
            Keep::Once => former.clone(),
            Keep::Always if before == wanted.as_ref() => former.clone(),
            Keep::Always => wanted.clone().map(|uplink| Record { uplink, by: WantedBy::Provisioned, since }),
        };
        let asked = Asked { interface: name.clone(), former: former.clone() };
        let back = || vec![write(&name, former.as_ref()), write_undo(None)];
        if record != former {
            let mut writes = vec![write(&name, record.as_ref())];
            writes.extend((!change.steps.is_empty()).then(|| write_undo(Some(&self.undo_of(&change, Some(asked))))));
            point!("transport.before-note");
            if let Err(error) = self.ledger.write(writes).await {
                // It may have got there all the same.
                self.ledger.owe(back());
                return Err(error.into());
            }
            point!("transport.noted");
        }
        let after = if change.steps.is_empty() {
            view.clone()
        } else {
            let operation = self.journal.begin(KIND, None);
            let done = host.carry_out(&change, &view, Some(&*operation), deadline).await;
            let done = match done {
                Ok(after) if record != former => self.conclude(&host, &change).await.map(|()| after),
                done => done,
            };
            match done {
                Ok(after) => {
                    operation.end(OperationState::Succeeded, format!("{name} is as it was asked for"), Vec::new());
                    after
                }
                Err(error) => {
                    if record != former {
                        self.ledger.owe(back());
                    }
                    let is_cancelled = operation.cancelled().is_cancelled();
                    let state = if is_cancelled { OperationState::Cancelled } else { OperationState::Failed };
                    operation.end(state, format!("{name} is as it was"), vec![error.to_string()]);
                    if matches!(error, TransportError::Stranded { .. }) {
                        // What is left is cleared away later, or what was wanted before is made again.
                        self.leaving.extend(wanted.filter(|_| former.is_none()).map(|wanted| (name, wanted)));
                        self.again = Some(Instant::now() + SETTLE);
                    }
                    return Err(error);
                }
            }
        };
        self.settle(&name, record);
        let mtu = |view: &HostView| view.interfaces.get(&name).map_or(0, |seen: &SeenInterface| seen.mtu);
        let address = wanted.and_then(|wanted| wanted.address);
        Ok(Changed { former_mtu: mtu(&view), mtu: mtu(&after), address, keep })
    }

    /// What was asked for is so.
    fn settle(&mut self, name: &InterfaceName, record: Option<Record>) {
        if self.leaving.remove(name).is_some() && record.is_none() {
            self.ledger.owe(vec![write(name, None)]);
        }
        self.given_up.remove(name);
        self.former.remove(name);
        if let Some(record) = record {
            self.records.insert(name.clone(), record);
            self.met.insert(name.clone());
        } else {
            self.records.remove(name);
            self.met.remove(name);
        }
        self.tell_data_plane();
        if self.said.is_some() {
            // It may be what was wrong, and whoever held the rest wants something again.
            self.again = Some(Instant::now());
        }
    }

    /// What an edit means, beside what is wanted already.
    fn meant(&self, edit: TransportEdit, view: &HostView) -> Result<Meant, TransportError> {
        let meant = match edit {
            TransportEdit::Create(uplink) => {
                Meant { name: uplink.name.clone(), wanted: Some(uplink), keep: Keep::Always }
            }
            TransportEdit::Configure { name, mtu, address } => {
                let base = self.base(&name, view);
                let wanted = Uplink { mtu: mtu.or(base.mtu), address: address.or(base.address), ..base };
                Meant { name, wanted: Some(wanted), keep: Keep::Always }
            }
            TransportEdit::SetMtu { name, mtu, keep } => {
                let base = self.base(&name, view);
                // What is wanted for good is put right again, so another MTU has to be wanted for good too.
                let keep = if base.mtu.is_some() { Keep::Always } else { keep };
                Meant { name, wanted: Some(Uplink { mtu: Some(mtu), ..base }), keep }
            }
            TransportEdit::Delete(name) => Meant { name, wanted: None, keep: Keep::Always },
        };
        let there = self.records.get(&meant.name).filter(|record| record.by == WantedBy::Configured);
        if there.is_some_and(|there| meant.wanted.as_ref() != Some(&there.uplink)) {
            return Err(TransportError::Configured(meant.name));
        }
        if meant.wanted.as_ref().is_some_and(|wanted| wanted.vlan.is_none()) {
            view.interfaces.get(&meant.name).ok_or_else(|| Unfit::NoInterface(meant.name.clone()))?;
        }
        Ok(meant)
    }

    /// What is wanted of an interface already. One that we made, and of which the store knows nothing, stays what it is.
    fn base(&self, name: &InterfaceName, view: &HostView) -> Uplink {
        let known = self.records.get(name).map(|record| record.uplink.clone());
        known.unwrap_or_else(|| {
            let ours = view.interfaces.get(name).filter(|seen| seen.ownership == super::Ownership::Ours);
            Uplink { vlan: ours.and_then(|seen| seen.vlan.clone()), ..Uplink::of(name.clone()) }
        })
    }

    /// Whether everything is as it is wanted, as far as was seen last.
    fn is_as_wanted(&self) -> bool {
        self.leaving.is_empty() && self.records.keys().all(|name| self.met.contains(name))
    }

    /// Whether what was as it is wanted is not any more, as far as is seen.
    fn has_drifted(&self, snapshot: &Snapshot) -> bool {
        self.records.values().filter(|record| self.met.contains(&record.uplink.name)).any(
            |Record { uplink, .. }| {
                let Some(port) = snapshot.host_port(&uplink.name) else { return true };
                let is_used = uplink.vlan.is_some() || uplink.address.is_some();
                let address = uplink.address.map(|address| address.to_string());
                uplink.mtu.is_some_and(|mtu| mtu.bytes() != port.mtu)
                    || address.is_some_and(|address| !port.addresses.contains(&address))
                    || is_used && !port.admin_up
            },
        )
    }

    /// The address that tunnels are to have: what the configuration says, what was asked for last, what the controller says.
    fn tell_data_plane(&self) {
        let met = || self.records.values().filter(|record| self.met.contains(&record.uplink.name));
        let of = |by| {
            let addresses = met().filter(|record| record.by == by);
            let addresses = addresses.filter_map(|record| Some((record.since, record.uplink.address?.ip())));
            addresses.max().map(|(since, address)| DataPlane { address, by, since })
        };
        let plane = match self.configuration {
            Configuration::Says(Transport::Management) => None,
            _ => of(WantedBy::Configured).or_else(|| of(WantedBy::Provisioned)).or_else(|| of(WantedBy::Fetched)),
        };
        self.data_plane.send_if_modified(|last| std::mem::replace(last, plane) != plane);
    }
}

fn uplink(transport: &Transport) -> Option<&Uplink> {
    match transport {
        Transport::Management => None,
        Transport::Subinterface(uplink) | Transport::Dedicated(uplink) => Some(uplink),
    }
}

/// An operation that tells of an attempt.
pub(super) enum Said {
    /// It is begun when there is something to tell.
    Lazily,
    /// It has begun.
    Begun(Arc<Operation>),
}

impl Said {
    fn begun(self, journal: &Journal) -> Arc<Operation> {
        match self {
            Self::Lazily => journal.begin(KIND, None),
            Self::Begun(operation) => operation,
        }
    }

    /// The number of the operation, if somebody has cancelled it.
    fn cancelled(&self) -> Option<&OperationId> {
        match self {
            Self::Begun(operation) if operation.cancelled().is_cancelled() => Some(operation.id()),
            Self::Begun(_) | Self::Lazily => None,
        }
    }

    fn is_cancelled(said: Option<&Self>) -> bool {
        said.and_then(Self::cancelled).is_some()
    }

    pub(super) fn begin(said: &mut Option<Self>, journal: &Journal) -> Option<Arc<Operation>> {
        let operation = said.take()?.begun(journal);
        *said = Some(Self::Begun(operation.clone()));
        Some(operation)
    }
}
