//! Nodes that have the network of a container outside of their lab, which something else made (`network-mode: container:…`).
//!
//! The ends of their links are in that container's namespace. A node stays in the one in which it was started, and Docker knows
//! by an id whose it is: when the other container is started again the node is left behind and has to be started again too, and
//! when another one of the name takes its place the node has to be made anew.

use std::sync::Arc;
use std::time::Instant;

use netloom_docker::Remove;

use super::super::fault::Fault;
use super::super::turns::Key;
use super::observe::{Known, Network};
use super::{Shared, attach, refused};

impl Shared {
    /// The nodes that have the network of the container of this name.
    pub(super) fn sharers_of(&self, container: &str) -> Vec<Key> {
        let nodes = self.nodes();
        let shares = |known: &Known| known.network.outside() == Some(container);
        nodes.iter().filter(|(_, known)| shares(known)).map(|(key, _)| key.clone()).collect()
    }

    /// The network of a node whose container outside of the lab runs in another one by now. What cannot be seen is no reason
    /// to do anything.
    pub(super) async fn left_behind(self: &Arc<Self>, known: &Known, deadline: Instant) -> Option<Network> {
        let container = known.network.outside()?;
        let there = self.inspect(container, deadline).await.ok()??;
        if there.state.status != "running" {
            return None;
        }
        let opened = self.files(deadline, move |_| attach::open(there.state.pid)).await.ok()?;
        let (_, netns) = opened.ok()??;
        let (own, its) = (known.namespace?, netns.cookie().ok()?);
        (own != its).then(|| Network::Left(container.to_owned()))
    }

    /// Whether a node that cannot be started was made for a container whose place another one of its name has taken.
    pub(super) async fn is_of_another(self: &Arc<Self>, known: &Known, deadline: Instant) -> bool {
        let Some(container) = known.network.outside() else { return false };
        let Ok(Some(own)) = self.inspect(&known.id, deadline).await else { return false };
        let Ok(Some(there)) = self.inspect(container, deadline).await else { return false };
        let id = own.host_config.network_mode.strip_prefix("container:");
        id.is_some_and(|id| id != there.id && id != container)
    }

    /// Removes such a node: the next plan makes it.
    pub(super) async fn make_anew(self: &Arc<Self>, key: &Key, known: &Known, deadline: Instant) -> Result<(), Fault> {
        self.docker.remove_container(&known.id, Remove::ALL, deadline).await.map_err(refused)?;
        self.forget(key);
        Err(Fault::transient("the container whose network it has was made anew, and so has it to be".into()))
    }
}
