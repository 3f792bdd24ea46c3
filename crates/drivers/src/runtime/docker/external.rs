//! Nodes of kind `ext-container`: containers that something else made and removes. Links end in them; they are never made,
//! started, stopped or removed here.
//!
//! Nothing can be written on them, so a file says that such a node is ours, as long as its links may be there. It is gone with
//! a reboot, as the links are. While its container does not run, the ends of its links wait, as those of every node do; when it
//! is started again, or another one of its name, they move into it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use netloom_engine::{Applied, Layout, NodeOrder};
use netloom_failpoint::point;
use netloom_model::{Node, Shape};
use netloom_plan::{NodeFingerprint, NodeState};
use serde::{Deserialize, Serialize};

use super::super::fault::{Fault, plain};
use super::super::order::Obstacle;
use super::super::turns::Key;
use super::super::{keys_in, remove_of_lab};
use super::mark::Mark;
use super::observe::{Known, NOT_NOTED, Network};
use super::record::Record;
use super::reserve::{self, Reservation};
use super::{Shared, attach};

/// A container that is a node of a lab without being ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct External {
    /// Its name.
    pub(super) container: String,
    fingerprint: NodeFingerprint,
    /// What was applied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    applied: Option<String>,
}

/// Whether a node is one that something else made.
pub(super) fn is_external(node: &Node) -> bool {
    node.kind.shape() == Shape::External
}

impl External {
    fn of(order: &NodeOrder) -> Self {
        let applied = Applied::of(order).and_then(|applied| serde_json::to_string(&applied).ok());
        let container = order.lab.container_name(&order.node);
        Self { container, fingerprint: order.fingerprint.clone(), applied }
    }

    /// As if it were written on the container.
    pub(super) fn mark(&self, (lab, node): &Key) -> Mark {
        let (fingerprint, applied) = (self.fingerprint.clone(), self.applied.clone());
        Mark { lab: lab.clone(), node: node.clone(), fingerprint, applied }
    }

    /// What is known of it without its container.
    fn known(&self, key: &Key, state: NodeState) -> Known {
        Known {
            id: String::new(),
            container: self.container.clone(),
            image: String::new(),
            mark: self.mark(key),
            record: Record::new(""),
            state,
            started_at: String::new(),
            process: None,
            namespace: None,
            restarting: false,
            network: Network::Own,
            health: None,
            reserved: false,
            user: String::new(),
            directory: String::new(),
            env: Vec::new(),
            holds: false,
            note: None,
            last_output: None,
            seen: NOT_NOTED,
        }
    }

    fn does_not_run(&self) -> String {
        format!("the container `{}` does not run, and netloom starts none that is not its own", self.container)
    }

    fn start_it(&self) -> String {
        format!("start it: docker start {}", self.container)
    }
}

impl Shared {
    /// What is noted of a node that something else made; `None` of one of ours.
    pub(super) fn external(&self, key: &Key) -> Option<External> {
        self.externals().get(key).cloned()
    }

    /// The nodes that are the container of this name.
    pub(super) fn externals_named(&self, container: &str) -> Vec<Key> {
        let all = self.externals();
        all.iter().filter(|(_, external)| external.container == container).map(|(key, _)| key.clone()).collect()
    }

    /// Reads what is noted, which an earlier agent may have done.
    pub(super) async fn read_externals(self: &Arc<Self>, deadline: Instant) -> Result<BTreeMap<Key, External>, Fault> {
        let all = self.files(deadline, all).await?;
        let all =
            all.map_err(|error| Fault::transient(format!("nodes that are others' containers: {}", plain(&error))))?;
        self.externals().clone_from(&all);
        Ok(all)
    }

    /// What stands in the way of a node that something else made.
    pub(super) async fn check_external(self: &Arc<Self>, order: &NodeOrder) -> Result<(), Obstacle> {
        let external = External::of(order);
        let name = &external.container;
        let Some(there) = self.container_named(name).await? else {
            let hint = "make and start it first, or correct the name of the node, which is that of its container";
            return Err((format!("there is no container `{name}`"), Some(hint.into())));
        };
        if let Some(mark) = &there.mark {
            let why = format!("the container `{name}` is node {} of lab {}", mark.node, mark.lab);
            return Err((why, Some("write the link in that lab".into())));
        }
        let own = (order.lab.name().clone(), order.node.clone());
        if let Some((lab, node)) = self.externals_named(name).into_iter().find(|key| *key != own) {
            let why = format!("the container `{name}` is node {node} of lab {lab} already");
            return Err((why, Some("write the links of both into one lab".into())));
        }
        if !there.runs {
            return Err((external.does_not_run(), Some(external.start_it())));
        }
        Ok(())
    }

    /// Takes a container that is there as a node.
    pub(super) async fn take_in(self: Arc<Self>, order: NodeOrder, key: Key, deadline: Instant) -> Result<(), Fault> {
        let external = External::of(&order);
        let Some(there) = self.inspect(&external.container, deadline).await? else {
            return Err(Fault::transient(format!("there is no container `{}`", external.container)));
        };
        if !Network::of(&there.host_config.network_mode, &there.config.labels).holds_links() {
            let why = format!("the container `{}` has the network of the host or of another one", external.container);
            return Err(Fault::permanent(why));
        }
        self.note_external(&key, &external, deadline).await?;
        self.note(&key, external.known(&key, NodeState::Created));
        Ok(())
    }

    /// Gives a node its links: its container was started by something else.
    pub(super) async fn join(
        self: Arc<Self>,
        external: External,
        order: NodeOrder,
        key: Key,
        deadline: Instant,
    ) -> Result<(), Fault> {
        if external.fingerprint != order.fingerprint {
            self.note_external(&key, &External::of(&order), deadline).await?;
        }
        self.look(&key, &external.container, deadline).await?;
        if self.known(&key).is_some_and(|known| known.is_running()) {
            return Ok(());
        }
        Err(Fault::transient(format!("{}; {}", external.does_not_run(), external.start_it())))
    }

    /// Notes what is applied: nothing of the container itself can change.
    pub(super) async fn renew(self: Arc<Self>, order: NodeOrder, key: Key, deadline: Instant) -> Result<(), Fault> {
        let external = External::of(&order);
        self.note_external(&key, &external, deadline).await?;
        self.change(&key, |known| known.mark = external.mark(&key));
        Ok(())
    }

    /// Takes the links of a node away, and leaves its container as it is.
    pub(super) async fn leave(self: Arc<Self>, external: External, key: Key, deadline: Instant) -> Result<(), Fault> {
        let cleared = self.fabric.clear(&key.0, &key.1, deadline).await;
        cleared.map_err(|error| Fault::transient(error.to_string()))?;
        point!("container.external.cleared");
        let (of, left) = (key.clone(), Reservation::of(&external.known(&key, NodeState::Absent)));
        let forget = move |layout: &Layout| {
            // As after the removal of a container: what is left is found by that.
            reserve::note(layout, &of, &left)?;
            remove_of_lab(&path(layout, &of))
        };
        let forgotten = self.files(deadline, forget).await?;
        forgotten.map_err(|error| Fault::transient(plain(&error)))?;
        self.externals().remove(&key);
        let of = key.clone();
        self.files(deadline, move |layout| attach::forget(layout, &of)).await??;
        self.forget(&key);
        Ok(())
    }

    /// Why nothing of it is stopped.
    pub(super) fn cannot_stop(external: &External) -> Fault {
        let container = &external.container;
        Fault::permanent(format!("the container `{container}` is not netloom's to stop; docker stop {container} does"))
    }

    /// The container of a node is not there: its links wait for another one of the name.
    pub(super) fn is_without_container(&self, key: &Key, external: &External) {
        let cause = format!("there is no container `{}`", external.container);
        self.note(key, external.known(key, NodeState::Failed { cause }));
    }

    async fn note_external(self: &Arc<Self>, key: &Key, external: &External, deadline: Instant) -> Result<(), Fault> {
        let (of, noted) = (key.clone(), external.clone());
        let written = self.files(deadline, move |layout| write(layout, &of, &noted)).await?;
        written.map_err(|error| Fault::transient(format!("it cannot be noted: {}", plain(&error))))?;
        point!("container.external.noted");
        self.externals().insert(key.clone(), external.clone());
        Ok(())
    }
}

fn write(layout: &Layout, key: &Key, external: &External) -> io::Result<()> {
    let path = path(layout, key);
    reserve::directory(path.parent())?;
    let new = path.with_file_name(format!(".{}", key.1));
    fs::write(&new, serde_json::to_vec(external)?)?;
    fs::rename(new, path)
}

fn all(layout: &Layout) -> io::Result<BTreeMap<Key, External>> {
    let read = |key: Key| {
        let bytes = fs::read(path(layout, &key)).ok()?;
        Some((key, serde_json::from_slice(&bytes).ok()?))
    };
    Ok(keys_in(&layout.run().join("external"))?.into_iter().filter_map(read).collect())
}

fn path(layout: &Layout, (lab, node): &Key) -> PathBuf {
    layout.run().join("external").join(lab.as_str()).join(node.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_found_again_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        let key: Key = ("lab".parse().unwrap(), "db".parse().unwrap());
        let external =
            External { container: "db".into(), fingerprint: "1.2.3".parse().unwrap(), applied: Some("{}".into()) };
        assert_eq!(all(&layout).unwrap(), BTreeMap::new());
        write(&layout, &key, &external).unwrap();
        fs::write(layout.run().join("external/lab/.db"), "half").unwrap();
        assert_eq!(all(&layout).unwrap(), BTreeMap::from([(key.clone(), external)]));
        fs::remove_file(layout.run().join("external/lab/.db")).unwrap();
        remove_of_lab(&path(&layout, &key)).unwrap();
        assert!(!layout.run().join("external/lab").exists());
    }
}
