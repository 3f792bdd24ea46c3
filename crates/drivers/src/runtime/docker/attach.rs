//! A container's network namespace: pinned as long as its node is wanted, with the ends of its links in it.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_engine::{Fabric, Layout, Place, task};
use netloom_failpoint::point;
use netloom_kernel::{Netns, Process, unpin};
use netloom_model::InterfaceName;

use super::super::fault::{Fault, plain};
use super::super::ip_netns;
use super::super::turns::Key;
use super::networks::{self, DOCKERS_OWN};
use super::observe::Known;
use super::{PATIENCE, Shared, record, reserve};
use crate::fabric::kernel::Held;

/// The pauses before the announcements of a node whose links have moved, in milliseconds.
const ANNOUNCED_MS: [u64; 5] = [0, 30, 70, 200, 300];

/// How a container came to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Occasion {
    /// By our order; these interfaces it is to have, of which some may be made only then.
    Ordered(Vec<InterfaceName>),
    /// By somebody else's, or in another life of the agent.
    Seen,
}

impl Shared {
    /// Takes note of the first process of a container that runs and, if its network is its own, gives it its links: they
    /// come from the namespace that its last life left.
    pub(super) async fn attach(
        self: &Arc<Self>,
        (key, occasion): (&Key, Occasion),
        known: &mut Known,
        pid: u32,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let opened = self.files(deadline, move |_| open(pid)).await?;
        let opened = opened.map_err(|error| Fault::transient(format!("its namespace: {}", plain(&error))))?;
        // It has ended since; Docker will say so.
        let Some((process, netns)) = opened else { return Ok(()) };
        known.process = Some(process.identity());
        known.namespace = netns.cookie().ok();
        if !known.network.holds_links() {
            return Ok(());
        }
        let moved = self.fabric.rehome(&key.0, &key.1, &netns, deadline).await;
        let moved = moved.map_err(|error| Fault::transient(error.to_string()))?;
        if moved > 0 {
            tracing::info!(lab = %key.0, node = %key.1, links = moved, "links followed their node into a new namespace");
            self.announce(key);
        }
        let held = match occasion {
            Occasion::Ordered(awaited) => Some(Held::Awaits(awaited)),
            // What it had is all there.
            Occasion::Seen => (moved > 0).then_some(Held::Wired),
        };
        if let Some(held) = held.filter(|_| known.holds) {
            let told = self.fabric.tell_held(&netns, &held, deadline).await;
            told.map_err(|error| Fault::transient(error.to_string()))?;
        }
        self.name(key, known, deadline).await?;
        point!("container.attached");
        let (of, container) = (key.clone(), known.container.clone());
        let link = move |layout: &Layout| {
            // From now on the container says that the node is ours.
            let released = reserve::release(layout, &of);
            (released, ip_netns::link(layout, &container, &of))
        };
        let (released, linked) = self.files(deadline, link).await?;
        released.map_err(failed)?;
        if let Err(note) = linked {
            known.note.get_or_insert(note);
        }
        Ok(())
    }
}

impl Shared {
    /// Docker chooses the addresses on its own network, whatever it is asked for: those that the lab knows the node by come
    /// beside them.
    async fn name(&self, (lab, node): &Key, known: &Known, deadline: Instant) -> Result<(), Fault> {
        let Some(applied) = known.applied().filter(|applied| applied.spec.is_managed() && applied.spec.publishes())
        else {
            return Ok(());
        };
        let Some(network) = applied.network.filter(|network| network.network == DOCKERS_OWN) else { return Ok(()) };
        let addresses = networks::on(&network, &applied.spec.management);
        let interface = applied.spec.management_interface();
        let added = self.fabric.add_addresses((lab, node), &interface, &addresses, deadline).await;
        added.map_err(|error| Fault::transient(error.to_string()))
    }

    /// Has the neighbours of a node find it again. More than once: a neighbour whose end has a carrier again may not send for
    /// another moment (its queue comes back with the kernel's linkwatch), and an entry that it makes then waits for a second.
    fn announce(self: &Arc<Self>, key: &Key) {
        let fabric = Arc::downgrade(&self.fabric);
        let place = Place::Node(key.0.clone(), key.1.clone());
        task::spawn(format!("announce {}/{}", key.0, key.1), async move {
            for pause in ANNOUNCED_MS.map(Duration::from_millis) {
                tokio::time::sleep(pause).await;
                let Some(fabric) = fabric.upgrade() else { return };
                fabric.announce(&place, Instant::now() + PATIENCE).await;
            }
        });
    }
}

/// The process with this number and its network namespace. `None`: it has ended.
pub(super) fn open(pid: u32) -> io::Result<Option<(Process, Netns)>> {
    let Some(process) = Process::open(pid)? else { return Ok(None) };
    let netns = Netns::open(format!("/proc/{pid}/ns/net"));
    // A process that ends gives up its namespaces before it is seen to have ended.
    let has_none = netns.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    // The number may be another's by now, and an error only says that it ended.
    if has_none || !process.is_alive() {
        return Ok(None);
    }
    Ok(Some((process, netns?)))
}

/// Takes away the link by which `ip netns` finds a container.
fn unlink(layout: &Layout, container: &str, key: &Key) -> Result<(), Fault> {
    ip_netns::unlink(layout, container, key).map_err(failed)?;
    point!("container.unlinked");
    Ok(())
}

/// Takes away what is kept of a node whose container is gone: its links go with the namespace.
pub(super) fn forget(layout: &Layout, key: &Key) -> Result<(), Fault> {
    if let Some(container) = reserve::container(layout, key) {
        unlink(layout, &container, key)?;
    }
    let pin = layout.pin(&key.0, &key.1);
    unpin(&pin).map_err(failed)?;
    // The lab's own, once its last node is gone.
    let _ = pin.parent().map(std::fs::remove_dir);
    point!("container.unpinned");
    record::forget(layout, key).map_err(failed)?;
    // The mark last: as long as something is left, the next look finds it.
    reserve::release(layout, key).map_err(failed)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn failed(error: io::Error) -> Fault {
    Fault::transient(plain(&error))
}
