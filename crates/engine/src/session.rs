//! Sessions: streams to and from nodes (commands, output, files, rates). They change nothing that is wanted, and have a
//! bulkhead of their own, so that however many there are, labs are worked on.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use netloom_model::{LabName, NodeName};
use netloom_plan::NodeState;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use crate::copy::{CopyError, CopyIn, CopyOut, Incoming, Outgoing};
use crate::driver::{Context, ExecRequest, ExecSession, Follow, LogStream, Runtime};
use crate::engine::Engine;
use crate::lab::within;
use crate::refusal::Refusal;
use crate::sampler::{self, Sampled};

impl Engine {
    /// Runs a command in a node. The place in the bulkhead is held as long as the permit lives.
    pub async fn exec(
        &self,
        lab: &LabName,
        node: &NodeName,
        request: ExecRequest,
    ) -> Result<(ExecSession, OwnedSemaphorePermit), Refusal> {
        let permit = self.shared.sessions.try_enter()?;
        let runtime = self.running_on(lab, node, true)?;
        let session = within(&self.session_limit(), &format!("node {node}"), runtime.exec(lab, node, request)).await?;
        Ok((session, permit))
    }

    /// Opens the output of a node, also of one that has ended.
    pub async fn logs(
        &self,
        lab: &LabName,
        node: &NodeName,
        follow: Follow,
    ) -> Result<(LogStream, OwnedSemaphorePermit), Refusal> {
        let permit = self.shared.sessions.try_enter()?;
        let runtime = self.running_on(lab, node, false)?;
        let stream = within(&self.session_limit(), &format!("node {node}"), runtime.logs(lab, node, follow)).await?;
        Ok((stream, permit))
    }

    /// Copies files from a node. The place in the bulkhead is held as long as the permit lives.
    pub async fn copy_out(
        &self,
        lab: &LabName,
        node: &NodeName,
        request: CopyOut,
    ) -> Result<(Outgoing, OwnedSemaphorePermit), Refusal> {
        let permit = self.shared.sessions.try_enter()?;
        let runtime = self.running_on(lab, node, true)?;
        let copying = self.begin_copy(node, runtime.copy_out(lab, node, request)).await?;
        Ok((copying, permit))
    }

    /// Copies files into a node. The place in the bulkhead is held as long as the permit lives.
    pub async fn copy_in(
        &self,
        lab: &LabName,
        node: &NodeName,
        request: CopyIn,
    ) -> Result<(Incoming, OwnedSemaphorePermit), Refusal> {
        let permit = self.shared.sessions.try_enter()?;
        let runtime = self.running_on(lab, node, true)?;
        let copying = self.begin_copy(node, runtime.copy_in(lab, node, request)).await?;
        Ok((copying, permit))
    }

    /// The rates of a lab, or of all labs, looked at this often for as long as the receiver lives. Several that watch the
    /// same share one sampler. The place in the bulkhead is held as long as the permit lives.
    pub fn rates(
        &self,
        lab: Option<LabName>,
        every: Duration,
    ) -> Result<(watch::Receiver<Sampled>, OwnedSemaphorePermit), Refusal> {
        let permit = self.shared.sessions.try_enter()?;
        if let Some(lab) = &lab
            && self.shared.wishes.get(lab).is_none()
            && !self.shared.inventory.snapshot().labs.contains_key(lab)
        {
            return Err(Refusal::NoLab(lab.clone()));
        }
        Ok((sampler::join(&self.shared, lab, every), permit))
    }

    /// How many samplers run, and how often they looked since the engine was started: for metrics.
    pub fn samplers(&self) -> (usize, u64) {
        (self.shared.samplers.running(), self.shared.samplers.looks())
    }

    async fn begin_copy<T>(
        &self,
        node: &NodeName,
        copying: impl Future<Output = Result<T, CopyError>>,
    ) -> Result<T, Refusal> {
        let begun = async { Ok(copying.await) };
        Ok(within(&self.session_limit(), &format!("node {node}"), begun).await??)
    }

    /// How long a session may take to begin, or a driver to answer.
    pub(crate) fn session_limit(&self) -> Context {
        let deadline = tokio::time::Instant::now() + self.shared.config.step_limit;
        Context { deadline: deadline.into_std(), cancel: CancellationToken::new() }
    }

    fn running_on(&self, lab: &LabName, node: &NodeName, must_run: bool) -> Result<Arc<dyn Runtime>, Refusal> {
        let snapshot = self.shared.inventory.snapshot();
        let facts = snapshot.labs.get(lab);
        let wish = self.shared.wishes.get(lab);
        let fact = snapshot.node(lab, node);
        let Some(fact) = fact else {
            if facts.is_none() && wish.is_none() {
                return Err(Refusal::NoLab(lab.clone()));
            }
            let wished = wish.iter().flat_map(|wish| wish.lab.nodes().keys().cloned());
            let there = facts.into_iter().flat_map(|facts| facts.nodes.keys().cloned());
            let known: BTreeSet<String> = wished.chain(there).map(|name| name.to_string()).collect();
            if known.contains(node.as_str()) {
                let state = NodeState::Absent.to_string();
                return Err(Refusal::NotRunning { lab: lab.clone(), node: node.clone(), state });
            }
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            return Err(Refusal::NoNode { lab: lab.clone(), node: node.to_string(), known });
        };
        if must_run && fact.state != NodeState::Running {
            let state = fact.state.to_string();
            return Err(Refusal::NotRunning { lab: lab.clone(), node: node.clone(), state });
        }
        let runtime = self.shared.runtimes.get(&fact.runtime).cloned();
        runtime.ok_or_else(|| Refusal::NotReady(format!("no runtime for node {node}")))
    }
}
