//! What another agent of the contract has left on this host, whose place this one takes: containers, ports, tunnels.
//!
//! ```text
//!   containers by their labels ─────────┐
//!   ports by what their interfaces say ─┼─▶ look() ─▶ Inherited: only read, never judged here
//!   interfaces of host and containers ──┤
//!   the file of declared tunnels ───────┘
//! ```

mod declared;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use netloom_engine::{
    Context, DriverError, Inherited, InheritedCable, InheritedEnd, InheritedPort, InheritedTunnel, Predecessor,
};
use netloom_kernel::{LinkInfo, NamespaceDump, Netns};
use netloom_model::{InterfaceName, LabName};
use tokio::sync::watch;

use crate::fabric::HostFabric;
use crate::fabric::ovs::{Of, Stray};
use crate::runtime::docker::DockerRuntime;

/// The agent before this one.
#[derive(Debug)]
pub struct OtherAgent {
    docker: DockerRuntime,
    fabric: Arc<HostFabric>,
    /// Where it keeps its files.
    workspace: PathBuf,
}

impl OtherAgent {
    /// Where that agent keeps its files unless it is told otherwise.
    pub const WORKSPACE: &'static str = "/var/lib/archetype-agent";

    /// One that kept its files in this directory.
    pub fn new(docker: DockerRuntime, fabric: Arc<HostFabric>, workspace: PathBuf) -> Self {
        Self { docker, fabric, workspace }
    }
}

fn ends(dump: &NamespaceDump) -> Vec<InheritedEnd> {
    let veths = dump.links.iter().filter(|link| link.kind.as_deref() == Some("veth"));
    let end = |link: &LinkInfo| {
        let (number, peer, mac, mtu) = (link.ifindex, link.peer, link.mac, link.mtu);
        Some(InheritedEnd { name: link.name.parse().ok()?, number, peer, mac, mtu })
    };
    veths.filter_map(end).collect()
}

fn port(stray: Stray, host: &NamespaceDump) -> Result<InheritedPort, InheritedTunnel> {
    let link = host.named(stray.name.as_str());
    let Stray { name, bridge, vlan, fault, of, .. } = stray;
    match of {
        Of::Node { lab, node, interface } => {
            let cable = |link: &LinkInfo| InheritedCable { number: link.ifindex, peer: link.peer, is_up: link.up };
            let on_host = link.filter(|link| link.kind.as_deref() == Some("veth")).map(cable);
            Ok(InheritedPort { name, bridge, vlan, fault, lab, node, interface, on_host })
        }
        Of::Tunnel => {
            let (vni, between) = (link.and_then(|link| link.vni), link.and_then(|link| link.between));
            let mtu = link.map_or(0, |link| link.mtu);
            Err(InheritedTunnel { name, bridge, vlan, fault, vni, between, mtu })
        }
    }
}

#[async_trait]
impl Predecessor for OtherAgent {
    async fn look(&self, context: &Context) -> Result<Inherited, DriverError> {
        let (mut nodes, namespaces): (Vec<_>, Vec<_>) = self.docker.inherited(context).await?.into_iter().unzip();
        if nodes.is_empty() {
            return Ok(Inherited::default());
        }
        let strays = self.fabric.strays()?;
        let open: Vec<Netns> = namespaces.iter().flatten().cloned().collect();
        let (host, dumps) = self.fabric.look_into(&open, context).await?;
        let mut dumps = dumps.into_iter();
        for (node, _) in nodes.iter_mut().zip(&namespaces).filter(|(_, netns)| netns.is_some()) {
            node.ends = match dumps.next() {
                Some(Ok(dump)) => Ok(ends(&dump)),
                Some(Err(why)) => Err(format!("its interfaces cannot be read: {why}")),
                None => Err("its interfaces were not read".to_owned()),
            };
        }
        let (mut ports, mut tunnels) = (Vec::new(), Vec::new());
        for stray in strays {
            match port(stray, &host) {
                Ok(port) => ports.push(port),
                Err(tunnel) => tunnels.push(tunnel),
            }
        }
        let links = declared::read(self.workspace.clone(), context).await;
        Ok(Inherited { nodes, ports, tunnels, links })
    }

    fn hung(&self) -> watch::Receiver<Option<bool>> {
        self.docker.hung()
    }

    async fn clear(&self, lab: &LabName, context: &Context) -> Result<(), DriverError> {
        let is_left = |stray: &Stray| matches!(&stray.of, Of::Node { lab: of, .. } if of == lab.as_str());
        let strays = self.fabric.strays()?.into_iter().filter(|stray| !stray.is_ours && is_left(stray));
        let names: Vec<InterfaceName> = strays.map(|stray| stray.name).collect();
        self.docker.clear_inherited(lab, context).await?;
        self.fabric.remove_strays(names, context).await
    }
}
