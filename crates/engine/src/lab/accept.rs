//! What a lab's actor is asked to do: a command makes a new wish, then an operation begins.
//!
//! The wish is in the store before it is accepted; a refusal stores nothing and touches nothing. The actor does not
//! wait for the store: it goes on with what is accepted, and takes no other command meanwhile. When it is not
//! known whether the store has a wish that was refused, the store is owed the one that holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use netloom_failpoint::point;
use netloom_model::{LabName, NodeName};
use netloom_plan::{NodeState, Obstacle};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actor::{Active, Actor};
use super::admit::{check_complete, check_host, next_wish, no_more_than};
use super::adopt::{Adoption, Kept, adopt, done_on_host, may_be_switched};
use super::command::{Accepted, Command, DeployRequest, Rebuild, Taken};
use super::controlled::{ControlledEdit, Ground, next_controlled};
use super::edit::{Draft, EditRequest, Edited, Scope, next_edit};
use super::hands_off::ended_life;
use super::links::switch_of;
use super::step::within;
use crate::desired::{Authority, Done, Phase, Wish, done_key, put, put_or_delete, wish_key};
use crate::driver::{Context, DriverError, ErrorClass, StoreError, Surveyed, TagClaim, Write};
use crate::engine::Shared;
use crate::event::What;
use crate::fact::{Place, Source};
use crate::operation::{Operation, OperationId, OperationState};
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;
use crate::tags::{self, LabTags};
use crate::task::{self, Owned};

/// What a command comes to.
pub(super) enum Next {
    /// This operation is the answer; nothing has to be stored.
    Answer(Arc<Operation>),
    /// The wish is stored first.
    Store(Box<Wish>, Then),
}

/// What follows when the store has answered.
pub(super) enum Then {
    /// The wish is accepted and an operation of this kind begins; otherwise it is refused.
    Begin(&'static str, Scope),
    /// As `Begin`, but a store that fails at once does not stop it: a full disk must not keep a lab alive.
    Destroy,
    /// The wish is accepted as what is there already, these commands as run, and these tags as allotted.
    Adopt(BTreeMap<NodeName, Done>, Tagged),
    /// The operation ends; its lab is held already.
    Cancelled(Arc<Operation>),
}

/// The tags of a lab that is adopted.
pub(super) struct Tagged {
    tags: LabTags,
    /// Claims that are lost: made again before the store has the tags.
    lost: Vec<TagClaim>,
}

/// Why a wish is not in the store.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unkept {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store was not asked: tags cannot be claimed.
    #[error(transparent)]
    Claim(#[from] DriverError),
}

impl Unkept {
    /// Whether the store may have it all the same.
    fn is_doubtful(&self) -> bool {
        !matches!(self, Self::Store(StoreError::Busy) | Self::Claim(_))
    }

    fn refusal(self, lab: &LabName) -> Refusal {
        match self {
            Self::Store(error) => error.into(),
            Self::Claim(error) if error.class == ErrorClass::Permanent => {
                Refusal::Unadoptable { lab: lab.clone(), why: vec![error.cause] }
            }
            Self::Claim(error) => error.into(),
        }
    }
}

/// A wish on its way into the store.
pub(super) struct Pending {
    wish: Box<Wish>,
    then: Then,
    reply: oneshot::Sender<Accepted>,
    answer: Owned<Result<(), Unkept>>,
    /// Whether the accepted wish was changed meanwhile, and this one with it.
    touched: bool,
}

impl Pending {
    /// Waits for the store; cancel safe.
    pub(super) async fn answer(&mut self) -> Result<(), Unkept> {
        let answer = (&mut self.answer).await;
        answer.unwrap_or_else(|panic| Err(StoreError::Failed { operation: "write", cause: panic.to_string() }.into()))
    }
}

impl Actor {
    pub(super) fn handle(&mut self, command: Command) {
        self.served = true;
        let (next, reply) = match command {
            Command::Deploy { request, found, reply } => (self.deploy(&request, found.as_deref()), reply),
            Command::Destroy { reply } => (self.destroy(), reply),
            Command::Edit { request, draft, found, reply } => (self.edit(&request, draft, found.as_deref()), reply),
            Command::Controlled { request, reply } => (self.controlled(&request), reply),
            Command::Adopt { kept, reply } => (self.adopt(&kept), reply),
            Command::Seize { reply } => (self.seize(), reply),
            Command::TakeOver { taken, reply } => (self.take_over(*taken), reply),
            Command::Cancel { operation, reply } => (self.cancel(&operation), reply),
            #[cfg(feature = "testing")]
            Command::Panic(text) => panic!("{text}"),
            Command::Sweep { operation, things, report, reply } => (self.sweep(operation, things, report), reply),
        };
        if !matches!(next, Ok(Next::Store(..))) {
            self.shared.addresses.settle(&self.name);
        }
        // A reply that nobody waits for any more is fine: a client that hangs up cancels nothing.
        let _ = match next {
            Ok(Next::Store(wish, then)) => return self.propose(wish, then, reply),
            Ok(Next::Answer(operation)) => reply.send(Ok(operation)),
            Err(refusal) => reply.send(Err(refusal)),
        };
    }

    fn propose(&mut self, wish: Box<Wish>, then: Then, reply: oneshot::Sender<Accepted>) {
        let (shared, mut writes) = (self.shared.clone(), vec![put(wish_key(&self.name), &*wish)]);
        let (name, mut lost) = (format!("wish of lab {}", self.name), Vec::new());
        match &then {
            Then::Begin(..) => point!("operation.before-store"),
            Then::Destroy => point!("operation.destroy.before-store"),
            Then::Adopt(done, tagged) => {
                point!("operation.adopt.before-store");
                writes.extend(done.iter().map(|(node, done)| put(done_key(&self.name, node), done)));
                writes.push(tags::note(&self.name, &tagged.tags));
                lost.clone_from(&tagged.lost);
            }
            Then::Cancelled(_) => {}
        }
        let answer = task::own(name, async move {
            if !lost.is_empty() {
                reclaim(&shared, lost).await?;
            }
            Ok(shared.ledger.write(writes).await?)
        });
        self.pending = Some(Pending { wish, then, reply, answer, touched: false });
    }

    /// The store has answered.
    pub(super) fn settle(&mut self, answer: Result<(), Unkept>) {
        let Some(Pending { wish, then, reply, touched, .. }) = self.pending.take() else { return };
        let answer = match (then, answer) {
            (Then::Cancelled(operation), answer) => {
                self.end_cancelled(&operation, answer.err());
                Ok(operation)
            }
            (Then::Begin(kind, scope), Ok(())) => {
                point!("operation.stored");
                Ok(self.accept_and_begin(*wish, kind, scope))
            }
            (Then::Destroy, Ok(())) => {
                point!("operation.destroy.stored");
                Ok(self.accept_and_begin(*wish, "destroy", Scope::Lab))
            }
            (Then::Adopt(done, tagged), Ok(())) => {
                point!("operation.adopt.stored");
                Ok(self.take_back(*wish, done, tagged.tags))
            }
            (Then::Adopt(done, _), Err(unkept)) => {
                if unkept.is_doubtful() {
                    self.owe_wish();
                    let forget = done.keys().map(|node| Write::Delete { key: done_key(&self.name, node) });
                    let forget = forget.chain([tags::note(&self.name, &self.shared.tags.of(&self.name))]);
                    self.shared.ledger.owe(forget.collect());
                }
                Err(unkept.refusal(&self.name))
            }
            (Then::Destroy, Err(Unkept::Store(error)))
                if !matches!(error, StoreError::Busy | StoreError::NoAnswer { .. }) =>
            {
                // If the agent dies before the end and the store never recovers, the lab comes back.
                let text = format!("lab {} is destroyed although the store could not note it: {error}", self.name);
                self.shared.events.publish(What::Notice { lab: Some(self.name.clone()), text });
                let operation = self.accept_and_begin(*wish, "destroy", Scope::Lab);
                self.owe_wish();
                Ok(operation)
            }
            (_, Err(unkept)) => {
                if unkept.is_doubtful() {
                    self.owe_wish();
                }
                Err(unkept.refusal(&self.name))
            }
        };
        if touched {
            self.owe_wish();
        }
        self.shared.addresses.settle(&self.name);
        // Whatever it was, there is a reason to look again.
        self.planned = None;
        let _ = reply.send(answer);
    }

    fn accept_and_begin(&mut self, wish: Wish, kind: &'static str, scope: Scope) -> Arc<Operation> {
        if kind == "destroy" {
            self.supersede("a destroy took its place");
        }
        // Said of the steps that undo them.
        let replaced = self.wish.as_ref().filter(|_| kind == "deploy");
        self.undone = replaced.map(|there| there.live.clone()).unwrap_or_default();
        self.accept(wish);
        self.begin(kind, scope)
    }

    /// What the store has of this lab is to be what is accepted, as soon as it works.
    pub(super) fn owe_wish(&self) {
        self.shared.ledger.owe(vec![put_or_delete(wish_key(&self.name), self.wish.as_deref())]);
    }

    /// Changes the accepted wish by something that is true already: the store follows when it can.
    pub(super) fn amend(&mut self, change: impl Fn(&mut Wish)) {
        let Some(there) = &self.wish else { return };
        let mut wish = Wish::clone(there);
        change(&mut wish);
        self.accept(wish);
        match &mut self.pending {
            Some(pending) => {
                change(&mut pending.wish);
                pending.touched = true;
            }
            None => self.owe_wish(),
        }
    }

    pub(super) fn in_progress(&self) -> Option<Refusal> {
        let operation = &self.active.first()?.operation;
        let (kind, id) = (operation.kind().to_owned(), operation.id().clone());
        Some(Refusal::InProgress { lab: self.name.clone(), kind, operation: id })
    }

    fn deploy(&mut self, request: &DeployRequest, found: Option<&Surveyed>) -> Result<Next, Refusal> {
        let mut wish = next_wish(self.wish.as_deref(), request)?;
        wish.put_on_switch(&self.shared.config);
        self.shared.addresses.claim(&mut wish, found)?;
        if let Some(active) = self.active.first() {
            let same = active.operation.kind() == "deploy"
                && request.rebuild == Rebuild::No
                && self.wish.as_ref().is_some_and(|there| there.lab == wish.lab && there.held.is_none());
            // The same wish twice, or from two clients at once, is one effect.
            return if same {
                Ok(Next::Answer(active.operation.clone()))
            } else {
                Err(self.in_progress().expect("active"))
            };
        }
        check_host(&self.shared, self.wish.as_deref(), &wish)?;
        let unchanged = self.wish.as_ref().is_some_and(|there| {
            Wish { generation: there.generation, bridges: there.bridges.clone(), ..wish.clone() } == **there
        });
        if unchanged {
            return Ok(Next::Answer(self.begin("deploy", Scope::Lab)));
        }
        Ok(Next::Store(Box::new(wish), Then::Begin("deploy", Scope::Lab)))
    }

    fn destroy(&mut self) -> Result<Next, Refusal> {
        if let Some(active) = self.active.first()
            && active.operation.kind() == "destroy"
        {
            return Ok(Next::Answer(active.operation.clone()));
        }
        if let Some(there) = self.wish.as_deref() {
            let wish = Wish { phase: Phase::Destroy, held: None, generation: there.generation + 1, ..there.clone() };
            return Ok(Next::Store(Box::new(wish), Then::Destroy));
        }
        let snapshot = self.shared.inventory.snapshot();
        if !snapshot.labs.contains_key(&self.name) {
            return Err(Refusal::NoLab(self.name.clone()));
        }
        Ok(Next::Store(Box::new(no_more_than(&self.name, &snapshot)), Then::Destroy))
    }

    fn edit(
        &mut self,
        request: &EditRequest,
        draft: Option<Box<Draft>>,
        found: Option<&Surveyed>,
    ) -> Result<Next, Refusal> {
        let there = self.wish.clone().ok_or_else(|| Refusal::NoLab(self.name.clone()))?;
        self.shared.pauses.check(&self.name)?;
        let Edited { mut wish, mut scope } = match draft {
            Some(draft) if Arc::ptr_eq(&draft.of, &there) => draft.edited,
            _ => next_edit(&there, request)?,
        };
        wish.put_on_switch(&self.shared.config);
        self.shared.addresses.claim(&mut wish, found)?;
        scope.extend_to(wish.whole());
        // Edits may follow each other quickly; each ends when what it named is as it should be.
        if self.active.iter().any(|active| active.scope == Scope::Lab) {
            return Err(self.in_progress().expect("one is under way"));
        }
        if wish == *there {
            return Ok(Next::Answer(self.begin("edit", scope)));
        }
        check_host(&self.shared, Some(&there), &wish)?;
        Ok(Next::Store(Box::new(wish), Then::Begin("edit", scope)))
    }

    /// An edit of a controller's. Where it leaves nothing of the lab, that goes.
    fn controlled(&mut self, request: &ControlledEdit) -> Result<Next, Refusal> {
        self.shared.pauses.check(&self.name)?;
        let there = self.wish.clone();
        let boot = self.shared.boot();
        let ground = Ground { switch: &self.shared.config.switch, boot: &boot };
        let Edited { wish, scope } = next_controlled(&self.name, there.as_deref(), ground, request)?;
        if self.active.iter().any(|active| active.scope == Scope::Lab) {
            return Err(self.in_progress().expect("one is under way"));
        }
        if wish.lab.nodes().is_empty() && wish.lab.links().is_empty() {
            if there.is_none() {
                // Of what was not there nothing is to be removed.
                let operation = self.shared.journal.begin("edit", Some(&self.name));
                operation.end(OperationState::Succeeded, "nothing to change", Vec::new());
                return Ok(Next::Answer(operation));
            }
            return self.destroy();
        }
        if there.as_deref() == Some(&wish) {
            return Ok(Next::Answer(self.begin("edit", scope)));
        }
        match check_host(&self.shared, there.as_deref(), &wish) {
            // What it does not name stays as it is, whatever stands in its way.
            Err(Refusal::Obstacles(found)) => {
                let found: Vec<Obstacle> = found.into_iter().filter_map(|obstacle| scope.of(obstacle)).collect();
                if !found.is_empty() {
                    return Err(Refusal::Obstacles(found));
                }
            }
            checked => checked?,
        }
        Ok(Next::Store(Box::new(wish), Then::Begin("edit", scope)))
    }

    /// What has to have been seen of a lab that nobody wants. Where links end in a node that nobody knows, any source
    /// that did not answer may: adopted without it, the node would be removed as soon as it is seen.
    fn sources_of_unknown(&self, snapshot: &Snapshot, kept: &Kept) -> BTreeSet<Source> {
        let known = snapshot.labs.get(&self.name);
        let is_known = |node: &NodeName| known.is_some_and(|facts| facts.nodes.contains_key(node));
        let ends = snapshot.links(&self.name).into_values().flat_map(|seen| seen.ports);
        let mut places = ends.map(|port| port.place.clone());
        if places.any(|place| matches!(place, Place::Node(_, node) if !is_known(&node))) {
            return self.shared.sources.clone();
        }
        let mut sources = self.shared.sources_of(&self.name, [], snapshot);
        if may_be_switched(&self.name, kept, snapshot) {
            sources.extend(self.shared.sources.get(&Source::Switch));
        }
        sources
    }

    /// What runs without a wish is wanted again, just as it is.
    fn adopt(&mut self, kept: &Kept) -> Result<Next, Refusal> {
        if let Some(in_progress) = self.in_progress() {
            return Err(in_progress);
        }
        if self.wish.is_some() {
            return Err(Refusal::Known(self.name.clone()));
        }
        let snapshot = self.shared.inventory.snapshot();
        check_complete(&self.sources_of_unknown(&snapshot, kept), &snapshot)?;
        if !snapshot.labs.contains_key(&self.name) {
            return Err(Refusal::NoLab(self.name.clone()));
        }
        let Adoption { wish, mut done, tags, lost } = adopt(&self.name, kept, &snapshot, &self.shared.config)
            .map_err(|why| Refusal::Unadoptable { lab: self.name.clone(), why })?;
        done.extend(done_on_host(&wish, &self.shared.boot()));
        Ok(Next::Store(Box::new(wish), Then::Adopt(done, Tagged { tags, lost })))
    }

    /// What a controller decided about is wanted here from now on, and as it is: what does not run stays stopped.
    fn seize(&mut self) -> Result<Next, Refusal> {
        if let Some(in_progress) = self.in_progress() {
            return Err(in_progress);
        }
        let there = self.wish.as_deref().ok_or_else(|| Refusal::NoLab(self.name.clone()))?;
        if there.authority == Authority::Local {
            return Err(Refusal::Known(self.name.clone()));
        }
        let snapshot = self.shared.inventory.snapshot();
        check_complete(&self.shared.sources_of(&self.name, [there], &snapshot), &snapshot)?;
        let runs =
            |name: &NodeName| snapshot.node(&self.name, name).is_some_and(|fact| fact.state == NodeState::Running);
        let stopped = there.lab.nodes().keys().filter(|name| !runs(name)).cloned().collect();
        let wish = Wish { authority: Authority::Local, stopped, generation: there.generation + 1, ..there.clone() };
        Ok(Next::Store(Box::new(wish), Then::Begin("adopt", Scope::Lab)))
    }

    /// What another agent has left is marked, and wanted from now on.
    fn take_over(&mut self, Taken { before, wish, tags, claims }: Taken) -> Result<Next, Refusal> {
        if let Some(in_progress) = self.in_progress() {
            return Err(in_progress);
        }
        if self.wish != before {
            // Somebody was quicker; what is wanted now is read again by whoever asks again.
            let [current, expected] = [&self.wish, &before].map(|wish| wish.as_ref().map_or(0, |wish| wish.generation));
            return Err(Refusal::Changed { lab: self.name.clone(), current, expected });
        }
        let tagged = Tagged { tags, lost: claims };
        Ok(Next::Store(Box::new(wish), Then::Adopt(self.booted_before(), tagged)))
    }

    /// What runs has booted for the other agent, which has done what its device wanted after that.
    fn booted_before(&self) -> BTreeMap<NodeName, Done> {
        let (snapshot, known) = (self.shared.inventory.snapshot(), self.shared.done.of(&self.name));
        let booted = snapshot.nodes(&self.name).filter(|fact| !known.contains_key(&fact.node)).filter_map(|fact| {
            let done = Done { booted: true, ..Done::nothing(fact.incarnation.clone()?) };
            Some((fact.node.clone(), done))
        });
        booted.collect()
    }

    /// The operation has ended when it begins: there is nothing to do.
    fn take_back(&mut self, wish: Wish, done: BTreeMap<NodeName, Done>, tags: LabTags) -> Arc<Operation> {
        let (nodes, links) = (wish.lab.nodes().len(), wish.lab.links().len());
        let execs: usize = done.values().map(|done| done.execs).sum();
        // Before the wish: a plan between the two would run them again, and make links anew for want of a tag.
        for (node, done) in done {
            self.shared.done.set(&self.name, &node, done);
        }
        let tagged = tags.len();
        self.shared.tags.set(&self.name, tags);
        let bridge = wish.switch.clone().filter(|_| tagged > 0);
        self.accept(wish);
        let operation = self.shared.journal.begin("adopt", Some(&self.name));
        let mut text = format!("lab {}: {nodes} nodes, {links} links, wanted again as they run", self.name);
        if execs > 0 {
            let _ = write!(text, "; the {execs} `exec` commands of what runs count as run");
        }
        if let Some(bridge) = bridge {
            let _ = write!(text, "; {tagged} links keep their tags on bridge `{bridge}` of Open vSwitch");
        }
        operation.end(OperationState::Succeeded, text, Vec::new());
        point!("operation.adopt.concluded");
        operation
    }

    /// Holds the lab at once, whatever the store says: who cancels wants it to stop.
    fn cancel(&mut self, id: &OperationId) -> Result<Next, Refusal> {
        let Some(active) = self.active.iter().find(|active| active.operation.id() == id) else {
            let kept = self.shared.journal.get(id).map(Next::Answer);
            return kept.ok_or_else(|| Refusal::NoOperation(id.clone()));
        };
        let operation = active.operation.clone();
        self.stop_executions();
        let Some(there) = self.wish.as_deref() else {
            self.end_cancelled(&operation, None);
            return Ok(Next::Answer(operation));
        };
        let held = Some(format!("operation {id} was cancelled"));
        let wish = Wish { held, ..there.clone() };
        self.accept(wish.clone());
        Ok(Next::Store(Box::new(wish), Then::Cancelled(operation)))
    }

    fn end_cancelled(&mut self, operation: &Operation, error: Option<Unkept>) {
        let mut text = format!(
            "cancelled; the lab is held as it is: deploy again to go on, or `netloom destroy --name {}`",
            self.name
        );
        if let Some(error) = error {
            self.owe_wish();
            let _ = write!(text, ". Until the store has noted that, a restart of the agent lets it go on: {error}");
        }
        operation.end(OperationState::Cancelled, text, Vec::new());
        self.active.retain(|active| active.operation.id() != operation.id());
        for active in self.active.drain(..) {
            let id = operation.id();
            let text = format!("the lab is held: operation {id} was cancelled while this one was under way too");
            active.operation.end(OperationState::Superseded, text, Vec::new());
        }
    }

    pub(super) fn accept(&mut self, wish: Wish) {
        let wish = Arc::new(wish);
        self.shared.wishes.set(&self.name, Some(&wish));
        let before = self.wish.replace(wish.clone());
        if access(&wish) != before.as_deref().and_then(access) {
            self.admit(&wish);
        }
    }

    /// Has others reach the nodes of the lab, or not. One that has no network yet gets that with it.
    fn admit(&self, wish: &Wish) {
        let Some(on) = &wish.on_network else { return };
        let snapshot = self.shared.inventory.snapshot();
        if on.network.bridge.as_ref().is_none_or(|bridge| snapshot.host_port(bridge).is_none()) {
            return;
        }
        let (shared, network) = (self.shared.clone(), on.network.network.clone());
        task::spawn(format!("access to network {network}"), async move {
            let deadline = (Instant::now() + shared.config.step_limit).into_std();
            // What was not asked for now is asked for with the next look at everything.
            let _ = shared.host.admit(&network, &Context { deadline, cancel: CancellationToken::new() }).await;
        });
    }

    pub(super) fn supersede(&mut self, why: &str) {
        for active in self.active.drain(..) {
            active.operation.end(OperationState::Superseded, why, Vec::new());
        }
        self.stop_executions();
    }

    /// The nodes that an operation is about and that have ended, with the life that is over.
    fn ended_in(&self, scope: &Scope) -> BTreeMap<NodeName, String> {
        let snapshot = self.shared.inventory.snapshot();
        let ended = snapshot.nodes(&self.name).filter(|fact| scope.has_node(&fact.node));
        ended.filter_map(|fact| Some((fact.node.clone(), ended_life(fact)?.to_owned()))).collect()
    }

    pub(super) fn begin(&mut self, kind: &'static str, scope: Scope) -> Arc<Operation> {
        let operation = self.shared.journal.begin(kind, Some(&self.name));
        let deadline = Instant::now() + self.shared.config.operation_limit;
        self.shared.pauses.end(&self.name);
        // What failed for good is tried again where it was asked for.
        self.given_up.retain(|step, _| !scope.has_step(step));
        self.complaints.retain(|(step, _)| !scope.has_step(step));
        self.retry = (0, None);
        self.tell_troubles();
        if scope == Scope::Lab {
            self.settling = None;
        }
        self.planned = None;
        let ended = self.ended_in(&scope);
        self.active.push(Active { operation: operation.clone(), scope, deadline, ended, almost: None });
        point!("operation.accepted");
        operation
    }
}

/// Claims tags again that links have.
async fn reclaim(shared: &Shared, claims: Vec<TagClaim>) -> Result<(), DriverError> {
    let deadline = (Instant::now() + shared.config.step_limit).into_std();
    let context = Context { deadline, cancel: CancellationToken::new() };
    within(&context, "tags", switch_of(shared)?.reclaim(claims, &context)).await
}

/// The network that a lab is on while it is wanted, and whether others are to reach it there.
fn access(wish: &Wish) -> Option<(&str, bool)> {
    let on = wish.on_network.as_ref().filter(|_| wish.phase == Phase::Run)?;
    Some((&on.network.network, on.network.external_access))
}
