//! The calls that take a node through its life, from the steps on files and what its processes do meanwhile.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_engine::{ErrorClass, NodeOrder};
use netloom_failpoint::point;
use netloom_kernel::{Netns, Process, Signal, Surroundings};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::super::fault::Fault;
use super::super::join::Joiner;
use super::life::Ground;
use super::observe::Seen;
use super::{Key, Shared, plain};

/// How long a node has to end after TERM before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How often it is looked whether the init of an agent that died has said how its start went: that takes 10 ms or so.
const LISTEN: Duration = Duration::from_millis(5);

impl Shared {
    pub(super) async fn start_node(
        self: Arc<Self>,
        order: NodeOrder,
        key: Key,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let Joiner { spawner, program } = self.joiner()?;
        let prepare = move |ground: &Ground| ground.prepare(&order, &program, deadline);
        let prepared = self.files(deadline, prepare).await??;
        let Some((netns, command)) = prepared else { return self.hear(&key, deadline).await };
        let mut spawned = spawner.spawn(Surroundings::Node(netns), command, deadline).await?;
        point!("node.start.spawned");
        let answer = match spawned.child.stdout.take() {
            Some(stdout) => tokio::time::timeout_at(deadline.into(), ready(stdout.into())).await,
            None => Ok(Err(Fault::permanent("its init cannot be heard".into()))),
        };
        point!("node.start.answered");
        let result = answer.unwrap_or_else(|_| Err(ErrorClass::Deadline.into()));
        if result.is_err() {
            // One that could not be set up ends by itself; one that hangs does not.
            let _ = spawned.process.signal(Signal::KILL);
        }
        self.watch(key.clone(), spawned.process);
        self.observe(&key).await;
        point!("node.start.done");
        result
    }

    /// Waits until an init has said how its start went, and reports that. The pipe of one that another life of the agent
    /// started went with that life; its status file is all that is left, and nobody announces it.
    async fn hear(self: &Arc<Self>, key: &Key, deadline: Instant) -> Result<(), Fault> {
        loop {
            let (lab, node) = key.clone();
            let look = self.files(deadline, move |ground| ground.look(&lab, &node)).await?;
            let seen = look.map_err(Fault::again)?;
            let Some(process) = seen.filter(Seen::is_silent).and_then(|seen| seen.process) else { break };
            let next = Instant::now() + LISTEN;
            if next >= deadline {
                // As one that this life started: it hangs.
                let _ = process.signal(Signal::KILL);
                self.observe(key).await;
                return Err(ErrorClass::Deadline.into());
            }
            tokio::time::sleep_until(next.into()).await;
        }
        self.observe(key).await;
        Ok(())
    }

    pub(super) async fn stop_node(self: Arc<Self>, key: Key, deadline: Instant) -> Result<(), Fault> {
        let (lab, node) = key.clone();
        let stop = move |ground: &Ground| ground.begin_stop(&lab, &node);
        if let Some(process) = self.files(deadline, stop).await?.map_err(Fault::again)? {
            process.signal(Signal::TERM).map_err(|error| Fault::transient(plain(&error)))?;
            point!("node.stop.asked");
            // Time must be left to kill it.
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = GRACE.min(left / 2);
            if tokio::time::timeout(patience, process.ended()).await.is_err() {
                process.signal(Signal::KILL).map_err(|error| Fault::transient(plain(&error)))?;
            }
            end_of(&process, deadline).await?;
            point!("node.stop.ended");
        }
        self.observe(&key).await;
        Ok(())
    }

    pub(super) async fn delete_node(self: Arc<Self>, key: Key, deadline: Instant) -> Result<(), Fault> {
        let deleted = self.end_and_remove(&key, deadline).await;
        match deleted {
            Ok(()) => self.gone(&key),
            // It may be dead by now, and nobody else tells.
            Err(_) => self.observe(&key).await,
        }
        deleted
    }

    async fn end_and_remove(self: &Arc<Self>, key: &Key, deadline: Instant) -> Result<(), Fault> {
        let (lab, node) = key.clone();
        let look = move |ground: &Ground| ground.begin_delete(&lab, &node);
        if let Some(process) = self.files(deadline, look).await?? {
            process.signal(Signal::KILL).map_err(|error| Fault::transient(plain(&error)))?;
            point!("node.delete.killed");
            end_of(&process, deadline).await?;
        }
        point!("node.delete.ended");
        // Who deletes it tells what becomes of it.
        self.watched().remove(key);
        self.wait_for_turn(key, deadline).await?;
        let (lab, node) = key.clone();
        let errors = self.files(deadline, move |ground| ground.remove(&lab, &node, deadline)).await?;
        if errors.is_empty() { Ok(()) } else { Err(Fault::transient(errors.join("; "))) }
    }

    /// Waits until the namespace of a node may be let go of.
    async fn wait_for_turn(self: &Arc<Self>, key: &Key, deadline: Instant) -> Result<(), Fault> {
        let Some(ends) = &self.ends else { return Ok(()) };
        let ((lab, node), shared) = (key.clone(), Arc::clone(self));
        let numbered = self.files(deadline, move |ground| {
            let netns = Netns::find(ground.layout.pin(&lab, &node)).ok().flatten()?;
            shared.ends.as_ref()?.number(&netns).ok()
        });
        if let Some(number) = numbered.await? {
            ends.turn(number).await;
        }
        Ok(())
    }
}

/// Waits for what the init says when it is set up.
async fn ready(stdout: OwnedFd) -> Result<(), Fault> {
    let failed = |error: io::Error| Fault::transient(plain(&error));
    let mut answer = String::new();
    let mut stdout = pipe::Receiver::from_owned_fd(stdout).map_err(failed)?;
    stdout.read_to_string(&mut answer).await.map_err(failed)?;
    match answer.trim_end() {
        "ready" => Ok(()),
        "" => Err(Fault::transient("its init ended before the node was set up".into())),
        other => Err(Fault::of_init(other.strip_prefix("failed ").unwrap_or(other))),
    }
}

async fn end_of(process: &Process, deadline: Instant) -> Result<(), Fault> {
    match tokio::time::timeout_at(deadline.into(), process.ended()).await {
        Ok(ended) => ended.map_err(|error| Fault::transient(plain(&error))),
        Err(_) => Err(ErrorClass::Deadline.into()),
    }
    .inspect(|()| {
        process.reap();
    })
}
