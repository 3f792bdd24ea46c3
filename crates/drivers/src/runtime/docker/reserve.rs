//! Places for the links of nodes that are made later than their neighbours.
//!
//! A namespace is pinned where that of the container will be, and the ends wait in it; the first start takes them over, as
//! every start does. A file beside says that the node is ours as long as there is no container that could: before it is made,
//! and after it was removed, until nothing is left of it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use netloom_engine::{Fact, Layout, NodeFact, NodeOrder, Report};
use netloom_failpoint::point;
use netloom_kernel::{Netns, unpin};
use netloom_model::RuntimeKind;
use netloom_plan::{NodeFingerprint, NodeState};
use serde::{Deserialize, Serialize};

use super::super::fault::{Fault, plain};
use super::super::turns::Key;
use super::super::{keys_in, remove_of_lab};
use super::observe::Known;
use super::{SOURCE, Shared};

/// What there is of a node that has no container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reservation {
    container: String,
    fingerprint: NodeFingerprint,
}

impl Shared {
    pub(super) async fn reserve_node(
        self: Arc<Self>,
        order: NodeOrder,
        key: Key,
        deadline: Instant,
    ) -> Result<(), Fault> {
        if self.known(&key).is_some() {
            return Ok(());
        }
        let container = order.lab.container_name(&order.node);
        let reservation = Reservation { container, fingerprint: order.fingerprint };
        let (of, noted) = (key.clone(), reservation.clone());
        let made = self.files(deadline, move |layout| make(layout, &of, &noted)).await?;
        made.map_err(|error| Fault::transient(format!("a place for its links: {}", plain(&error))))?;
        self.reporter.send(Report::Events(SOURCE, vec![Fact::Node(reservation.fact(&key))]));
        Ok(())
    }

    /// The nodes that have a place for their links and nothing else.
    pub(super) async fn reserved(self: &Arc<Self>, deadline: Instant) -> Result<Vec<NodeFact>, Fault> {
        let all = self.files(deadline, all).await?;
        let all = all.map_err(|error| Fault::transient(format!("places for links: {}", plain(&error))))?;
        let alone = all.into_iter().filter(|(key, _)| self.known(key).is_none());
        Ok(alone.map(|(_, fact)| fact).collect())
    }
}

impl Reservation {
    /// What stays of a node when its container goes.
    pub(super) fn of(known: &Known) -> Self {
        Self { container: known.container.clone(), fingerprint: known.fingerprint().clone() }
    }

    /// The one that is noted of a node.
    fn read(layout: &Layout, key: &Key) -> Option<Self> {
        fs::read(path(layout, key)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    fn fact(&self, (lab, node): &Key) -> NodeFact {
        NodeFact {
            lab: lab.clone(),
            node: node.clone(),
            runtime: RuntimeKind::Docker,
            state: NodeState::Absent,
            pid: None,
            incarnation: None,
            reserved: true,
            namespace: None,
            left_behind: false,
            restarting: false,
            fingerprint: self.fingerprint.clone(),
            container: self.container.clone(),
            runtime_id: None,
            image: None,
            health: None,
            last_output: None,
            note: None,
            seen: SystemTime::now(),
        }
    }
}

fn make(layout: &Layout, key: &Key, reservation: &Reservation) -> io::Result<()> {
    // The mark first: what is made after it is found by it.
    note(layout, key, reservation)?;
    point!("container.reserve.noted");
    pin(layout, key)
}

/// Says that a node is ours that has no container.
pub(super) fn note(layout: &Layout, key: &Key, reservation: &Reservation) -> io::Result<()> {
    let path = path(layout, key);
    directory(path.parent())?;
    fs::write(path, serde_json::to_vec(reservation)?)
}

/// The name of the container that a node is to have, or had.
pub(super) fn container(layout: &Layout, key: &Key) -> Option<String> {
    Reservation::read(layout, key).map(|reservation| reservation.container)
}

/// Sees to it that the links of a node have a namespace to wait in.
pub(super) fn pin(layout: &Layout, (lab, node): &Key) -> io::Result<()> {
    let pin = layout.pin(lab, node);
    directory(pin.parent())?;
    if Netns::find(&pin)?.is_none() {
        // A file without a namespace is what a crash leaves.
        unpin(&pin)?;
        Netns::create_pinned(&pin)?;
    }
    Ok(())
}

pub(super) fn directory(path: Option<&Path>) -> io::Result<()> {
    path.map_or(Ok(()), |path| fs::DirBuilder::new().recursive(true).mode(0o755).create(path))
}

/// There is a container now, or nothing any more.
pub(super) fn release(layout: &Layout, key: &Key) -> io::Result<()> {
    remove_of_lab(&path(layout, key))
}

/// Whether there is a namespace for the links of a node.
pub(super) fn is_there(layout: &Layout, (lab, node): &Key) -> bool {
    Netns::find(layout.pin(lab, node)).is_ok_and(|netns| netns.is_some())
}

/// What there is of a node that has no container.
pub(super) fn left(layout: &Layout, key: &Key) -> Option<NodeFact> {
    let noted = Reservation::read(layout, key)?;
    // Only noted, as a crash leaves it, it is no place yet.
    Some(NodeFact { reserved: is_there(layout, key), ..noted.fact(key) })
}

fn all(layout: &Layout) -> io::Result<Vec<(Key, NodeFact)>> {
    let read = |key: Key| Some((key.clone(), left(layout, &key)?));
    Ok(keys_in(&layout.run().join("reserved"))?.into_iter().filter_map(read).collect())
}

fn path(layout: &Layout, (lab, node): &Key) -> PathBuf {
    layout.run().join("reserved").join(lab.as_str()).join(node.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_only_noted_is_none_yet() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        let key: Key = ("lab".parse().unwrap(), "r1".parse().unwrap());
        let noted = Reservation { container: "clab-lab-r1".into(), fingerprint: "1.2.3".parse().unwrap() };
        note(&layout, &key, &noted).unwrap();
        assert_eq!(container(&layout, &key).as_deref(), Some("clab-lab-r1"));
        let found = all(&layout).unwrap();
        assert_eq!(found.iter().map(|(key, fact)| (key, fact.reserved)).collect::<Vec<_>>(), [(&key, false)]);
        release(&layout, &key).unwrap();
        assert_eq!(all(&layout).unwrap(), []);
    }
}
