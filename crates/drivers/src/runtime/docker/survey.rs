//! What stands in the way of nodes on this host, seen before anything is touched.
//!
//! All nodes of a lab are asked about one after the other; Docker is asked once for all of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_docker::Filters;
use netloom_engine::{Layout, NodeOrder};
use netloom_model::{NetworkMode, Node};

use super::super::order::{Obstacle, node_of, unusable};
use super::external::is_external;
use super::mark::{self, Mark};
use super::observe::short;
use super::{PATIENCE, Shared, compose, documents, refused};

/// How long an answer of Docker is good for: as long as the nodes of one lab take.
const FRESH: Duration = Duration::from_secs(1);

/// The containers of this host by name, of whomever.
#[derive(Debug)]
pub(super) struct Survey {
    taken: Instant,
    containers: BTreeMap<String, There>,
}

/// A container that has a name.
#[derive(Debug, Clone)]
pub(super) struct There {
    id: String,
    image: String,
    pub(super) mark: Option<Mark>,
    pub(super) runs: bool,
    /// The lab and the node that another agent of the contract has made it for.
    inherited: Option<(String, String)>,
}

impl Shared {
    /// Forgets what was seen for another lab: its containers may have been made meanwhile, or what stood in the way removed.
    pub(super) async fn survey_anew(&self) {
        *self.survey.lock().await = None;
    }

    pub(super) async fn check_node(self: &Arc<Self>, order: &NodeOrder) -> Result<(), Obstacle> {
        let node = node_of(order).map_err(|why| (why, None))?;
        if is_external(node) {
            return self.check_external(order).await;
        }
        let ground = compose::Ground { layout: &self.layout, privileges: &super::Privileges::Whole };
        compose::container(ground, order).map_err(|why| (why, None))?;
        self.check_files(node.clone()).await?;
        self.check_name(order).await?;
        self.check_ports(order, node).await?;
        self.check_namespace(order, node).await
    }

    async fn check_files(self: &Arc<Self>, node: Node) -> Result<(), Obstacle> {
        let look = move |layout: &Layout| {
            // Docker makes those that are ours to give.
            let workspaces = layout.workspaces();
            let named =
                compose::sources(&node).into_iter().filter(|source| !Path::new(source).starts_with(&workspaces));
            named.into_iter().find_map(unusable).or_else(|| documents::unreadable(&node))
        };
        match self.files(Instant::now() + PATIENCE, look).await {
            Ok(found) => found.map_or(Ok(()), Err),
            Err(fault) => Err((fault.to_string(), None)),
        }
    }

    async fn check_name(self: &Arc<Self>, order: &NodeOrder) -> Result<(), Obstacle> {
        let name = order.lab.container_name(&order.node);
        let is_left = |there: &There| {
            let of = there.inherited.as_ref().map(|(lab, node)| (lab.as_str(), node.as_str()));
            !there.runs && of == Some((order.lab.name().as_str(), order.node.as_str()))
        };
        let is_foreign = |there: &There| {
            // What the agent before us has left of this very node makes way.
            !is_left(there)
                && !there.mark.as_ref().is_some_and(|mark| mark.lab == *order.lab.name() && mark.node == order.node)
        };
        match self.container_named(&name).await?.filter(is_foreign) {
            Some(there) => {
                let of = there.mark.map_or_else(
                    || "is not ours".to_owned(),
                    |mark| format!("is node {} of lab {}", mark.node, mark.lab),
                );
                let why = format!(
                    "the name `{name}` is taken by a container that {of} ({}, image {})",
                    short(&there.id),
                    there.image
                );
                Err((why, Some("remove or rename it, or set another `prefix` in the topology".into())))
            }
            None => Ok(()),
        }
    }

    /// The namespace that a node shares has to be there, if it is not one of the lab.
    async fn check_namespace(self: &Arc<Self>, order: &NodeOrder, node: &Node) -> Result<(), Obstacle> {
        let NetworkMode::Container(word) = &node.network_mode else { return Ok(()) };
        let container = compose::container_of(&order.lab, word);
        if container != *word || self.container_named(word).await?.is_some() {
            return Ok(());
        }
        let why = format!("`network-mode: container:{word}`: there is neither a node nor a container of that name");
        Err((why, Some("write the name of a node of this lab, or start that container first".into())))
    }

    pub(super) async fn container_named(self: &Arc<Self>, name: &str) -> Result<Option<There>, Obstacle> {
        let mut survey = self.survey.lock().await;
        if let Some(known) = survey.as_ref().filter(|survey| survey.taken.elapsed() < FRESH) {
            return Ok(known.containers.get(name).cloned());
        }
        let listed = self.docker.list_containers(&Filters::new(), Instant::now() + PATIENCE).await;
        let listed = listed.map_err(|error| (refused(error).to_string(), None))?;
        let containers = listed.into_iter().filter_map(|container| {
            let mark = self.mark_of(&container.id, &container.labels);
            let name = container.plain_name()?.to_owned();
            let runs = container.state == "running";
            let inherited = mark::inherited(&container.labels).map(|(lab, node)| (lab.to_owned(), node.to_owned()));
            Some((name, There { id: container.id, image: container.image, mark, runs, inherited }))
        });
        let fresh = Survey { taken: Instant::now(), containers: containers.collect() };
        let found = fresh.containers.get(name).cloned();
        *survey = Some(fresh);
        Ok(found)
    }
}
