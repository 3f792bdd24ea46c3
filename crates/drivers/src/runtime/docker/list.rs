//! A look at everything: what events have missed.
//!
//! What has changed since the last one, and no event told, is said to whoever listens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use netloom_docker::{ContainerSummary, Filters};
use netloom_engine::{DriverError, Fact, Health, Report};
use netloom_plan::NodeState;

use super::super::fault::Fault;
use super::super::turns::Key;
use super::observe::Known;
use super::{BACKEND, PATIENCE, SOURCE, Shared, refused};

impl Shared {
    /// Lists the containers of this instance and reports them. One call, and one more for each that is not as it is known.
    pub(super) async fn look_at_all(self: &Arc<Self>) -> Result<(), DriverError> {
        let started = SystemTime::now();
        let deadline = Instant::now() + PATIENCE;
        let listed = self.docker.list_containers(&self.ours(), deadline).await.map_err(refused);
        let listed = listed.map_err(|fault| {
            let error = fault.of(BACKEND, "list", "the containers");
            self.reporter.send(Report::Unreachable(SOURCE, error.to_string()));
            error
        })?;
        let unlisted = |fault: Fault| {
            let error = fault.of(BACKEND, "list", "the containers that were adopted");
            self.reporter.send(Report::Unreachable(SOURCE, error.to_string()));
            error
        };
        let adopted = self.list_adopted(deadline).await.map_err(unlisted)?;
        let marked = listed.into_iter().chain(adopted).filter_map(|container| {
            let mark = self.mark_of(&container.id, &container.labels)?;
            Some(((mark.lab.clone(), mark.node.clone()), container))
        });
        let listed: BTreeMap<Key, ContainerSummary> = marked.collect();
        let externals = self.read_externals(deadline).await.map_err(|fault| {
            let error = fault.of(BACKEND, "list", "the nodes");
            self.reporter.send(Report::Unreachable(SOURCE, error.to_string()));
            error
        })?;
        let is_there = |key: &Key| listed.contains_key(key) || externals.contains_key(key);
        let mut has_missed = self.retain(|key| is_there(key) || self.turns.in_line(key) > 0);
        let mut looks: FuturesUnordered<_> = listed
            .iter()
            .map(|(key, container)| async move { (key, self.confirm(key, container, deadline).await) })
            .collect();
        let mut unseen = BTreeMap::new();
        while let Some((key, confirmed)) = looks.next().await {
            match confirmed {
                Ok(was) => has_missed |= was == Was::Missed,
                Err(why) => drop(unseen.insert(key.clone(), why)),
            }
        }
        drop(looks);
        for (key, external) in &externals {
            if let Err(why) = self.confirm_external(key, &external.container, deadline).await {
                unseen.insert(key.clone(), why);
            }
        }
        let known: Vec<Known> = self.all();
        let seen: BTreeSet<Key> = known.iter().map(|known| (known.mark.lab.clone(), known.mark.node.clone())).collect();
        unseen.retain(|key, _| !seen.contains(key) || is_there(key));
        let reserved = self.reserved(deadline).await.map_err(|fault| {
            let error = fault.of(BACKEND, "list", "the nodes");
            self.reporter.send(Report::Unreachable(SOURCE, error.to_string()));
            error
        })?;
        let networks = self.own_networks(deadline).await.map_err(|fault| {
            let error = fault.of(BACKEND, "list", "the networks");
            self.reporter.send(Report::Unreachable(SOURCE, error.to_string()));
            error
        })?;
        let nodes = known.iter().map(Known::fact).chain(reserved).map(Fact::Node);
        let facts = nodes.chain(networks.into_iter().map(Fact::Network)).collect();
        // The first look finds what was there before anybody listened.
        if self.looked.swap(true, Ordering::AcqRel) && has_missed {
            self.missed.send_replace(());
        }
        self.reporter.send(Report::Relist { source: SOURCE, started, facts, unseen });
        Ok(())
    }

    /// The containers that are ours by what is noted of them.
    async fn list_adopted(self: &Arc<Self>, deadline: Instant) -> Result<Vec<ContainerSummary>, Fault> {
        let ids = self.read_adopted(deadline).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let filter = ids.into_iter().fold(Filters::new(), |filter, id| filter.with("id", id));
        self.docker.list_containers(&filter, deadline).await.map_err(refused)
    }

    /// Sees to it that what is known of a container is what it is.
    async fn confirm(
        self: &Arc<Self>,
        key: &Key,
        container: &ContainerSummary,
        deadline: Instant,
    ) -> Result<Was, String> {
        let life = |known: Known| (known.id, known.started_at, known.state);
        let before = self.known(key);
        if let Some(known) = &before {
            // A call that works on the node says what comes of it.
            if self.turns.in_line(key) > 0 {
                return Ok(Was::Known);
            }
            if known.id == container.id && self.agrees(known, container).await {
                self.change(key, |_| {});
                return Ok(Was::Known);
            }
        }
        let place = self.turns.place(key);
        let Ok(_turn) = tokio::time::timeout_at(deadline.into(), place.turn.lock()).await else {
            return Ok(Was::Known);
        };
        self.look(key, &container.id, deadline).await.map_err(|fault| fault.to_string())?;
        Ok(if self.known(key).map(life) == before.map(life) { Was::Known } else { Was::Missed })
    }

    /// The same of a container that something else made, which is in no list of ours.
    async fn confirm_external(self: &Arc<Self>, key: &Key, container: &str, deadline: Instant) -> Result<(), String> {
        let place = self.turns.place(key);
        let Ok(_turn) = tokio::time::timeout_at(deadline.into(), place.turn.lock()).await else { return Ok(()) };
        // It may have been left while its turn was waited for.
        if self.external(key).is_none() {
            return Ok(());
        }
        self.look(key, container, deadline).await.map_err(|fault| fault.to_string())
    }

    /// Whether what is known of a container is what a list says.
    async fn agrees(self: &Arc<Self>, known: &Known, listed: &ContainerSummary) -> bool {
        let word = listed.state.as_str();
        match &known.state {
            NodeState::Running => {
                word == "running" && known.health == health(&listed.status) && self.lives(known).await
            }
            NodeState::Created => word == "created",
            NodeState::Stopped => word == "exited",
            NodeState::Exited { .. } => word == "exited" && known.note.is_none() && !known.restarting,
            _ => false,
        }
    }
}

/// What a container was that a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    /// As it was known to be.
    Known,
    /// Another, or in another state, or not known at all.
    Missed,
}

/// The health in a text as `Up 2 minutes (healthy)`.
fn health(status: &str) -> Option<Health> {
    let said = status.rsplit_once('(')?.1.trim_end_matches(')');
    match said {
        "health: starting" => Some(Health::Starting),
        "healthy" => Some(Health::Healthy),
        "unhealthy" => Some(Health::Unhealthy),
        _ => None,
    }
}
