//! Management networks: Docker owns them and their bridges; most nodes are put on the bridge by a link of the fabric.
//!
//! What Docker gives to containers that name no address is kept apart from what nodes are given ([`plan`]), so that both can
//! be on a network that we made.

mod plan;
mod routes;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use netloom_docker::{ErrorKind, Filters, Ipam, NetworkSpec, Subnet};
use netloom_engine::{Context, DriverError, Fabric, Networks, Surveyed};
use netloom_failpoint::point;
use netloom_kernel::Address;
use netloom_model::{Family, InterfaceName, Ipv4Net, Ipv6Net, Management, OnNetwork};

use super::super::fault::Fault;
use super::mark::INSTANCE;
use super::{BACKEND, DockerRuntime, Shared, refused};
use plan::{Ground, Unfit};

/// The network that Docker has of its own. It takes no wishes for addresses.
pub(super) const DOCKERS_OWN: &str = "bridge";
/// Options of Docker's bridge driver.
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
const MTU: &str = "com.docker.network.driver.mtu";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";

fn object(network: &str) -> String {
    format!("network {network}")
}

#[async_trait]
impl Networks for DockerRuntime {
    async fn survey(&self, wanted: &Management, context: &Context) -> Result<Surveyed, DriverError> {
        let of = |fault: Fault| fault.of(BACKEND, "use", &object(&wanted.network));
        match self.shared.survey_network(wanted, context.deadline).await.map_err(of)? {
            Ok(surveyed) => Ok(surveyed),
            Err(Unfit { why, hint }) => Err(DriverError { hint: Some(hint), ..of(Fault::permanent(why)) }),
        }
    }

    async fn ensure(&self, on: &OnNetwork, context: &Context) -> Result<(), DriverError> {
        let of = |fault: Fault| fault.of(BACKEND, "make", &object(&on.network.network));
        let Some(bridge) = &on.network.bridge else {
            return Err(of(Fault::permanent("it is not known what bridge it is".into())));
        };
        self.shared.make_network(on, bridge, context.deadline).await.map_err(of)?;
        point!("network.created");
        if !self.shared.has_interface(bridge, context.deadline).await.map_err(of)? {
            self.shared.fabric.restore_bridge(bridge, &gateways(&on.network), context).await?;
            point!("network.bridge-restored");
        }
        Ok(())
    }

    async fn remove(&self, network: &str, context: &Context) -> Result<(), DriverError> {
        let of = |fault: Fault| fault.of(BACKEND, "remove", &object(network));
        if let Some(bridge) = self.shared.remove_network(network, context.deadline).await.map_err(of)? {
            // One that was restored is not Docker's in its own eyes.
            self.shared.fabric.remove_bridge(&bridge, context).await?;
            point!("network.removed");
        }
        Ok(())
    }
}

impl Shared {
    async fn survey_network(
        self: &Arc<Self>,
        wanted: &Management,
        deadline: Instant,
    ) -> Result<Result<Surveyed, Unfit>, Fault> {
        let read = self.reads.enter(deadline).await.map_err(|busy| Fault::transient(busy.to_string()))?;
        let mut networks = self.docker.list_networks(&Filters::new(), deadline).await.map_err(refused)?;
        if let Some(there) = networks.iter_mut().find(|network| network.name == wanted.network) {
            // A list does not say who is on it.
            *there = self.docker.inspect_network(&there.id, deadline).await.map_err(refused)?;
        }
        drop(read);
        let instance = self.layout.instance().to_owned();
        let (routes, mtu) = self.files(deadline, |_| (routes::read(), plain_mtu())).await?;
        let ground = Ground { networks: &networks, routes: &routes, plain_mtu: mtu, instance: &instance };
        Ok(ground.survey(wanted))
    }

    /// Makes a network; one of that name is left as it is.
    async fn make_network(&self, on: &OnNetwork, bridge: &InterfaceName, deadline: Instant) -> Result<(), Fault> {
        if on.network.network == DOCKERS_OWN {
            return Ok(());
        }
        let spec = spec(on, bridge, self.layout.instance());
        let _place = self.work(deadline).await?;
        match self.docker.create_network(&spec, deadline).await {
            Ok(created) => {
                if !created.warning.is_empty() {
                    tracing::warn!(network = %spec.name, warning = %created.warning, "Docker warns of a new network");
                }
                tracing::info!(network = %spec.name, %bridge, "the management network is made");
                Ok(())
            }
            Err(error) if matches!(error.kind, ErrorKind::Conflict(_)) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    /// Removes a network that is ours and that nobody is on; its bridge, if it was.
    async fn remove_network(&self, network: &str, deadline: Instant) -> Result<Option<InterfaceName>, Fault> {
        let _place = self.work(deadline).await?;
        let there = match self.docker.inspect_network(network, deadline).await {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other.map_err(refused)?,
        };
        if there.labels.get(INSTANCE).map(String::as_str) != Some(self.layout.instance()) {
            return Ok(None);
        }
        if let Some(member) = there.containers.values().next() {
            tracing::info!(network, container = %member.name, "the network stays: a container that is not ours is on it");
            return Ok(None);
        }
        match self.docker.remove_network(&there.id, deadline).await {
            // Somebody came onto it meanwhile.
            Err(error) if matches!(error.kind, ErrorKind::Refused { status: 403, .. }) => return Ok(None),
            other => other.map_err(refused)?,
        }
        Ok(plan::bridge_of(&there))
    }

    async fn has_interface(self: &Arc<Self>, name: &InterfaceName, deadline: Instant) -> Result<bool, Fault> {
        let path = format!("/sys/class/net/{name}");
        self.files(deadline, move |_| std::path::Path::new(&path).exists()).await
    }
}

/// The MTU of Docker's own network, which new ones have too; that of most networks if there is none.
fn plain_mtu() -> u32 {
    let text = std::fs::read_to_string("/sys/class/net/docker0/mtu").ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(1500)
}

fn gateways(network: &Management) -> Vec<Address> {
    let v4 = match &network.ipv4 {
        Family::Subnet { net, gateway: Some(address), .. } => {
            Some(Address::V4(Ipv4Net { address: *address, prefix: net.prefix }))
        }
        _ => None,
    };
    let v6 = match &network.ipv6 {
        Family::Subnet { net, gateway: Some(address), .. } => {
            Some(Address::V6(Ipv6Net { address: *address, prefix: net.prefix }))
        }
        _ => None,
    };
    v4.into_iter().chain(v6).collect()
}

/// What Docker is asked for.
fn spec(on: &OnNetwork, bridge: &InterfaceName, instance: &str) -> NetworkSpec {
    let network = &on.network;
    let mut config = Vec::new();
    if let Family::Subnet { net, gateway, .. } = &network.ipv4 {
        let others = on.others_ipv4.unwrap_or_else(|| plan::nobody(*net));
        config.push(Subnet {
            subnet: net.to_string(),
            ip_range: others.to_string(),
            gateway: gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            ..Subnet::default()
        });
    }
    if let Family::Subnet { net, gateway, .. } = &network.ipv6 {
        config.push(Subnet {
            subnet: net.to_string(),
            ip_range: on.others_ipv6.map(|others| others.to_string()).unwrap_or_default(),
            gateway: gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            ..Subnet::default()
        });
    }
    let mut options = network.driver_options.clone();
    options.insert(BRIDGE_NAME.to_owned(), bridge.to_string());
    if let Some(mtu) = network.mtu {
        options.entry(MTU.to_owned()).or_insert_with(|| mtu.bytes().to_string());
    }
    if !network.external_access {
        options.entry(MASQUERADE.to_owned()).or_insert_with(|| "false".to_owned());
    }
    NetworkSpec {
        name: network.network.clone(),
        driver: "bridge".to_owned(),
        enable_ipv6: matches!(network.ipv6, Family::Subnet { .. }),
        ipam: Ipam { config, ..Ipam::default() },
        options,
        labels: [(INSTANCE.to_owned(), instance.to_owned()), ("containerlab".to_owned(), String::new())].into(),
        ..NetworkSpec::default()
    }
}
