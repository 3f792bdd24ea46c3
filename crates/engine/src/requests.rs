//! What is asked about labs: deploys, edits, removals. What needs no turn is checked here, then the lab's actor is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use netloom_model::LabName;
use netloom_plan::{LeftOut, plan};
use tokio::sync::{mpsc, oneshot};

use crate::bulkhead::Busy;
use crate::desired::{Authority, Wish, life_of_host};
use crate::driver::Surveyed;
use crate::engine::Engine;
use crate::lab::{
    Accepted, Command, ControlledEdit, DeployRequest, Draft, EditRequest, Fetched, Ground, Once, QUEUE, check_drivers,
    check_host, next_controlled, next_edit, next_wish, observe, panicked,
};
use crate::limits::{RaiseLimits, admit, short_of};
use crate::network::survey;
use crate::operation::{Operation, OperationId};
use crate::refusal::Refusal;
use crate::task;
use crate::view::Preview;

impl Engine {
    /// Stores a lab as desired and returns the operation that makes it so. The same request again joins it.
    pub async fn deploy(&self, request: DeployRequest) -> Accepted {
        // A client that hangs up cancels nothing: what was raised for a lab is given back by whoever raised it.
        let engine = self.clone();
        let deploy = task::spawn("accept", async move { engine.accept(request).await });
        deploy.await.unwrap_or(Err(Refusal::Stopping))
    }

    async fn accept(&self, request: DeployRequest) -> Accepted {
        let (lab, raise) = (request.lab.name().clone(), request.raise_limits);
        let there = self.shared.wishes.get(&lab);
        let mut wish = next_wish(there.as_deref(), &request)?;
        wish.put_on_switch(&self.shared.config);
        // A driver that cannot work says more than that nothing was seen of it.
        self.ask_drivers(there.clone(), wish.clone()).await?;
        check_host(&self.shared, there.as_deref(), &wish)?;
        let found = self.survey(there, &wish).await?;
        self.shared.addresses.propose(&mut wish, found.as_deref())?;
        let warnings = admit(&self.shared, &wish, raise).await?;
        let left_out = LeftOut::of(wish.whole()).omissions();
        let deploy = move |reply| Command::Deploy { request: request.clone(), found: found.clone(), reply };
        let answer = self.ask(&lab, deploy).await;
        match &answer {
            Ok(operation) => operation.warn(warnings, left_out),
            Err(_) if raise == RaiseLimits::Yes => {
                self.shared.raises.release(&lab).await;
            }
            Err(_) => {}
        }
        answer
    }

    /// Asks the drivers about a wish, in a task of its own: one that panics is a refusal.
    async fn ask_drivers(&self, there: Option<Arc<Wish>>, wish: Wish) -> Result<(), Refusal> {
        let (shared, lab) = (self.shared.clone(), wish.lab.name().clone());
        let asked = task::own("check", async move { check_drivers(&shared, there.as_deref(), &wish).await });
        asked.await.unwrap_or_else(|panic| Err(panicked(&format!("lab {lab}"), &panic).into()))
    }

    /// Asks what the management network of a wish is, if that has to be known, in a task of its own.
    async fn survey(&self, there: Option<Arc<Wish>>, wish: &Wish) -> Result<Option<Box<Surveyed>>, Refusal> {
        let (shared, wish) = (self.shared.clone(), wish.clone());
        let lab = wish.lab.name().clone();
        let asked = task::own("survey", async move { survey(&shared, there.as_deref(), &wish).await });
        let found = asked.await.unwrap_or_else(|panic| Err(panicked(&format!("lab {lab}"), &panic)));
        found.map(|found| found.map(Box::new)).map_err(|error| Refusal::Unable(vec![error]))
    }

    /// What a deploy would do, and what the host would be short of; nothing is changed.
    pub async fn plan(&self, request: &DeployRequest) -> Result<Preview, Refusal> {
        let name = request.lab.name();
        let there = self.shared.wishes.get(name);
        let mut wish = next_wish(there.as_deref(), request)?;
        wish.put_on_switch(&self.shared.config);
        self.ask_drivers(there.clone(), wish.clone()).await?;
        check_host(&self.shared, there.as_deref(), &wish)?;
        let found = self.survey(there.clone(), &wish).await?;
        self.shared.addresses.propose(&mut wish, found.as_deref())?;
        let snapshot = self.shared.inventory.snapshot();
        let done = self.shared.done.of(name);
        let nothing = Fetched::new();
        let told = self.shared.host.told(name);
        let stock = self.shared.stock(&nothing);
        let host = life_of_host(&self.shared.boot(), wish.rebuild);
        let tags = self.shared.tags.of(name);
        let told = told.as_deref();
        let once = Once { done: &done, host: &host, passed: &BTreeMap::new(), stock, told, tags: &tags };
        let observed = observe(name, Some(wish.whole()), there.as_deref(), once, &snapshot);
        let due = BTreeSet::new();
        let mut plan = plan(name, &wish.desired(&due), &observed);
        plan.name_live_edits(&there.map(|there| there.live.clone()).unwrap_or_default());
        let shortages = short_of(&self.shared, &wish).await;
        Ok(Preview { plan, shortages, stopped: wish.stopped.into_iter().collect() })
    }

    /// Wants nothing of a lab of one's own to remain and returns the operation that makes it so.
    pub async fn destroy(&self, lab: &LabName) -> Accepted {
        self.destroy_of(&Authority::Local, lab).await
    }

    /// The same, by whoever decides about it.
    pub async fn destroy_of(&self, authority: &Authority, lab: &LabName) -> Accepted {
        let there = self.shared.wishes.get(lab);
        if let Some(there) = there.as_ref().filter(|there| there.authority != *authority) {
            let authority = there.authority.clone();
            return Err(Refusal::OtherAuthority { lab: lab.clone(), authority });
        }
        if there.is_none() && !self.shared.inventory.snapshot().labs.contains_key(lab) {
            return Err(Refusal::NoLab(lab.clone()));
        }
        self.ask(lab, |reply| Command::Destroy { reply }).await
    }

    /// Wants nothing of a lab to remain, whoever decides about it.
    pub async fn destroy_by_force(&self, lab: &LabName) -> Accepted {
        let authority = self.shared.wishes.get(lab).map_or(Authority::Local, |there| there.authority.clone());
        self.destroy_of(&authority, lab).await
    }

    /// Decides about a lab of a controller's from now on: it is as it was, what does not run stays stopped, and the controller is
    /// refused what it asks of it.
    pub async fn seize(&self, lab: &LabName) -> Accepted {
        self.ask(lab, |reply| Command::Seize { reply }).await
    }

    /// Wants a lab again that runs and that the store does not know, just as it is; nothing of it is touched. The
    /// operation has ended already.
    ///
    /// What the agent before this one has left of it goes first: it is marked as ours, and its controller's from now on.
    pub async fn adopt(&self, lab: &LabName) -> Accepted {
        if let Some(taken) = self.take_over(lab).await {
            return taken;
        }
        if self.shared.wishes.get(lab).is_some() {
            return Err(Refusal::Known(lab.clone()));
        }
        let snapshot = self.shared.inventory.snapshot();
        if snapshot.is_complete(&self.shared.sources) && !snapshot.labs.contains_key(lab) {
            return Err(Refusal::NoLab(lab.clone()));
        }
        let kept = self.kept(lab).await?;
        self.ask(lab, move |reply| Command::Adopt { kept: kept.clone(), reply }).await
    }

    /// Stores an edit of a lab as desired and returns the operation that makes it so. Edits may follow each other
    /// before the first has ended; while a deploy or destroy is under way they are refused.
    pub async fn edit(&self, lab: &LabName, request: EditRequest) -> Accepted {
        let there = self.shared.wishes.get(lab).ok_or_else(|| Refusal::NoLab(lab.clone()))?;
        self.shared.pauses.check(lab)?;
        let draft = match next_edit(&there, &request) {
            Ok(edited) => Some(Box::new(Draft { of: there.clone(), edited })),
            // What is wrong with an edit of links is said by the lab's actor, which knows what came before it.
            Err(_) if request.patch.get("nodes").is_none() => None,
            Err(refusal) => return Err(refusal),
        };
        if let Some(draft) = &draft
            && request.patch.get("nodes").is_some()
        {
            self.ask_drivers(Some(there.clone()), draft.edited.wish.clone()).await?;
        }
        let found = match &draft {
            Some(draft) => self.survey(Some(there.clone()), &draft.edited.wish).await?,
            None => None,
        };
        let more = draft.as_ref().filter(|draft| draft.edited.wish.lab != there.lab);
        let warnings = match more {
            Some(draft) => admit(&self.shared, &draft.edited.wish, RaiseLimits::No).await?,
            None => Vec::new(),
        };
        let left_out = draft.as_ref().map(|draft| LeftOut::of(&draft.edited.wish.lab).omissions()).unwrap_or_default();
        let edit =
            move |reply| Command::Edit { request: request.clone(), draft: draft.clone(), found: found.clone(), reply };
        let operation = self.ask(lab, edit).await?;
        operation.warn(warnings, left_out);
        Ok(operation)
    }

    /// Stores an edit that a controller makes of a lab of its own, and returns the operation that makes it so. A lab that is
    /// not there is begun with it; one of which it leaves nothing goes.
    pub async fn control(&self, lab: &LabName, request: ControlledEdit) -> Accepted {
        // A client that hangs up cancels nothing.
        let (engine, lab) = (self.clone(), lab.clone());
        let edit = task::spawn("accept", async move {
            let there = engine.shared.wishes.get(&lab);
            let boot = engine.shared.boot();
            let ground = Ground { switch: &engine.shared.config.switch, boot: &boot };
            let next = next_controlled(&lab, there.as_deref(), ground, &request)?;
            if there.as_ref().is_none_or(|there| there.lab != next.wish.lab) {
                engine.ask_drivers(there, next.wish).await?;
            }
            engine.ask(&lab, move |reply| Command::Controlled { request: request.clone(), reply }).await
        });
        edit.await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Ends an operation; the lab is held as it is until the next deploy or destroy. One that has ended stays so.
    pub async fn cancel(&self, id: &OperationId) -> Accepted {
        let operation: Arc<Operation> = self.shared.journal.get(id).ok_or_else(|| Refusal::NoOperation(id.clone()))?;
        if operation.state().borrow().is_final() {
            return Ok(operation);
        }
        let id = id.clone();
        let Some(lab) = operation.lab() else {
            operation.cancelled().cancel();
            return Ok(operation);
        };
        self.ask(lab, move |reply| Command::Cancel { operation: id.clone(), reply }).await
    }

    /// Sends a command to the lab's actor, which is started if there is none.
    pub(crate) async fn ask(&self, lab: &LabName, command: impl Fn(oneshot::Sender<Accepted>) -> Command) -> Accepted {
        // What is marked for it and not wanted yet would be removed by whoever works for another wish.
        self.shared.takeovers.check(lab)?;
        self.ask_now(lab, command).await
    }

    /// The same, for whoever takes the lab over.
    pub(crate) async fn ask_now(
        &self,
        lab: &LabName,
        command: impl Fn(oneshot::Sender<Accepted>) -> Command,
    ) -> Accepted {
        // An actor may end just when it is asked; the next one answers.
        for _ in 0..3 {
            if self.shared.stopping.is_cancelled() {
                return Err(Refusal::Stopping);
            }
            let (reply, answer) = oneshot::channel();
            match self.actor(lab).try_send(command(reply)) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => {
                    return Err(Busy { name: "lab", limit: QUEUE }.into());
                }
                Err(mpsc::error::TrySendError::Closed(_)) => continue,
            }
            match answer.await {
                Ok(Err(Refusal::Stopping)) | Err(_) => {}
                Ok(answer) => return answer,
            }
        }
        Err(Refusal::Stopping)
    }
}
