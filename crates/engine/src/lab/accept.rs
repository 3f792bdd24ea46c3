//! What a lab's actor is asked to do: a command changes the wish, then an operation begins.
//!
//! The wish is in the store before it is accepted; a refusal stores nothing and touches nothing.

use std::sync::Arc;

use netloom_failpoint::point;
use netloom_plan::AdminState;
use tokio::time::Instant;

use super::actor::{Active, Actor};
use super::admit::{check_host, next_wish};
use super::command::{Accepted, DeployRequest, Rebuild};
use super::observe::find_end;
use crate::desired::{Phase, Wish, put, wish_key};
use crate::engine::Shared;
use crate::event::What;
use crate::operation::{Operation, OperationId, OperationState};
use crate::refusal::Refusal;

impl Actor {
    pub(super) fn in_progress(&self) -> Option<Refusal> {
        let operation = &self.active.as_ref()?.operation;
        let (kind, id) = (operation.kind().to_owned(), operation.id().clone());
        Some(Refusal::InProgress { lab: self.name.clone(), kind, operation: id })
    }

    pub(super) async fn deploy(&mut self, request: DeployRequest) -> Accepted {
        let wish = next_wish(self.wish.as_deref(), &request)?;
        if let Some(active) = &self.active {
            let same = active.operation.kind() == "deploy"
                && request.rebuild == Rebuild::No
                && self.wish.as_ref().is_some_and(|there| there.lab == wish.lab && there.held.is_none());
            // The same wish twice, or from two clients at once, is one effect.
            return if same { Ok(active.operation.clone()) } else { Err(self.in_progress().expect("active")) };
        }
        check_host(&self.shared, self.wish.as_deref(), &wish)?;
        let unchanged = self.wish.as_ref().is_some_and(|there| {
            Wish { generation: there.generation, bridges: there.bridges.clone(), ..wish.clone() } == **there
        });
        if !unchanged {
            point!("operation.before-store");
            store(&self.shared, &wish).await?;
            point!("operation.stored");
            self.accept(wish);
        }
        Ok(self.begin("deploy"))
    }

    pub(super) async fn destroy(&mut self) -> Accepted {
        if let Some(active) = &self.active
            && active.operation.kind() == "destroy"
        {
            return Ok(active.operation.clone());
        }
        let known = self.shared.inventory.snapshot().labs.contains_key(&self.name);
        if self.wish.is_none() && !known {
            return Err(Refusal::NoLab(self.name.clone()));
        }
        self.supersede("a destroy took its place");
        if let Some(there) = self.wish.clone() {
            let wish = Wish { phase: Phase::Destroy, held: None, generation: there.generation + 1, ..(*there).clone() };
            point!("operation.destroy.before-store");
            if let Err(error) = store(&self.shared, &wish).await {
                // A full disk must not keep a lab alive. If the agent dies before the end, the lab comes back.
                let text = format!("lab {} is destroyed although the store could not note it: {error}", self.name);
                self.shared.events.publish(What::Notice { lab: Some(self.name.clone()), text });
            }
            point!("operation.destroy.stored");
            self.accept(wish);
        }
        Ok(self.begin("destroy"))
    }

    pub(super) async fn set_link(&mut self, end: &str, admin: AdminState) -> Accepted {
        let Some(there) = self.wish.clone().filter(|wish| wish.phase == Phase::Run) else {
            return Err(Refusal::NoLab(self.name.clone()));
        };
        if let Some(refusal) = self.in_progress() {
            return Err(refusal);
        }
        if let Some(why) = &there.held {
            return Err(Refusal::Held { lab: self.name.clone(), why: why.clone() });
        }
        let Some(found) = find_end(&there.lab, end) else {
            let ends = there.lab.links().iter().flat_map(netloom_model::Link::ends);
            let known: Vec<String> = ends.map(netloom_model::End::label).take(40).collect();
            return Err(Refusal::NoEnd { lab: self.name.clone(), end: end.to_owned(), known: known.join(", ") });
        };
        let mut down = there.down.clone();
        match admin {
            AdminState::Up => down.remove(&found),
            AdminState::Down => down.insert(found),
        };
        if down != there.down {
            let wish = Wish { down, generation: there.generation + 1, ..(*there).clone() };
            store(&self.shared, &wish).await?;
            self.accept(wish);
        }
        Ok(self.begin("link"))
    }

    pub(super) async fn cancel(&mut self, id: &OperationId) -> Accepted {
        let Some(active) = self.active.as_ref().filter(|active| active.operation.id() == id) else {
            return self.shared.journal.get(id).ok_or_else(|| Refusal::NoOperation(id.clone()));
        };
        let operation = active.operation.clone();
        if let Some(there) = self.wish.clone() {
            let held = Some(format!("operation {id} was cancelled"));
            let wish = Wish { held, ..(*there).clone() };
            store(&self.shared, &wish).await?;
            self.accept(wish);
        }
        if let Some((execution, _)) = &mut self.execution {
            execution.stop();
        }
        let text = format!(
            "cancelled; the lab is held as it is: deploy again to go on, or `netloom destroy --name {}`",
            self.name
        );
        operation.end(OperationState::Cancelled, text, Vec::new());
        self.active = None;
        Ok(operation)
    }

    pub(super) fn accept(&mut self, wish: Wish) {
        let wish = Arc::new(wish);
        self.shared.wishes.set(&self.name, Some(&wish));
        self.wish = Some(wish);
    }

    pub(super) fn supersede(&mut self, why: &str) {
        if let Some(active) = self.active.take() {
            active.operation.end(OperationState::Superseded, why, Vec::new());
        }
        if let Some((execution, _)) = &mut self.execution {
            execution.stop();
        }
    }

    pub(super) fn begin(&mut self, kind: &'static str) -> Arc<Operation> {
        let operation = self.shared.journal.begin(kind, &self.name);
        let deadline = Instant::now() + self.shared.config.operation_limit;
        self.active = Some(Active { operation: operation.clone(), deadline, almost: None });
        self.given_up.clear();
        self.complaints.clear();
        self.retry = (0, None);
        self.settling = None;
        self.planned = None;
        point!("operation.accepted");
        operation
    }
}

pub(super) async fn store(shared: &Arc<Shared>, wish: &Wish) -> Result<(), Refusal> {
    Ok(shared.store.write(vec![put(wish_key(wish.lab.name()), wish)]).await?)
}
