//! Management networks: Docker owns them and their bridges; most nodes are put on the bridge by a link of the fabric.
//!
//! What Docker gives to containers that name no address is kept apart from what nodes are given ([`plan`]), so that both can
//! be on a network that we made.

mod access;
mod forwarding;
mod plan;
mod routes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use netloom_docker::{CreatedNetwork, Error, ErrorKind, Filters, Ipam, Network, NetworkSpec, Subnet};
use netloom_engine::{Access, Context, DriverError, Fabric, Fact, Layout, NetworkFact, Networks, Report, Surveyed};
use netloom_failpoint::point;
use netloom_kernel::{Address, Netns};
use netloom_model::{Family, InterfaceName, Ipv4Net, Ipv6Net, Management, NodeManagement, OnNetwork, RuntimeKind};

use super::super::fault::Fault;
use super::mark::INSTANCE;
use super::{BACKEND, DockerRuntime, SOURCE, Shared, refused};
use crate::fabric::kernel::Member;
use forwarding::Noted;
use plan::{Ground, Unfit};

/// The network that Docker has of its own. It takes no wishes for addresses.
pub(super) const DOCKERS_OWN: &str = "bridge";
/// Its bridge.
const OWN_BRIDGE: &str = "docker0";
/// The MTU of most networks.
const PLAIN_MTU: u32 = 1500;
/// How often it is looked whether a network is there that somebody else is making, and how often at most.
const MAKING: Duration = Duration::from_millis(100);
const TRIES: u32 = 20;
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
        let plain_mtu = self.shared.plain_mtu(context).await?;
        match self.shared.survey_network(wanted, plain_mtu, context.deadline).await.map_err(of)? {
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
        // Up is the last thing that is done to a bridge.
        if !self.shared.fabric.on_host(bridge, context).await?.is_some_and(|bridge| bridge.up) {
            let members = self.shared.members(&on.network.network, context.deadline).await.map_err(of)?;
            tracing::info!(network = %on.network.network, %bridge, "the bridge of the network was taken away");
            self.shared.fabric.restore_bridge(bridge, &gateways(&on.network), members, context).await?;
            point!("network.bridge-restored");
        }
        Ok(())
    }

    async fn admit(&self, network: &str, access: Access<'_>, context: &Context) -> Result<(), DriverError> {
        let set = self.shared.set_access(network, access, context.deadline).await;
        set.map_err(|fault| fault.of(BACKEND, "admit others to", &object(network)))
    }

    async fn remove(&self, network: &str, context: &Context) -> Result<(), DriverError> {
        let of = |fault: Fault| fault.of(BACKEND, "remove", &object(network));
        if let Some(bridge) = self.shared.remove_network(network, context.deadline).await.map_err(of)? {
            // One that was restored is not Docker's in its own eyes.
            self.shared.fabric.remove_bridge(&netloom_engine::Place::Host, &bridge, context).await?;
            point!("network.removed");
            let gone = Fact::NetworkGone(RuntimeKind::Docker, network.to_owned());
            self.shared.reporter.send(Report::Events(SOURCE, vec![gone]));
        }
        self.shared.put_back_forwarding(context.deadline).await.map_err(of)
    }
}

impl Shared {
    /// The MTU of Docker's own network, which new ones have too; that of most networks if there is none.
    async fn plain_mtu(&self, context: &Context) -> Result<u32, DriverError> {
        let own = OWN_BRIDGE.parse().expect("it is a name");
        Ok(self.fabric.on_host(&own, context).await?.map_or(PLAIN_MTU, |bridge| bridge.mtu))
    }

    async fn survey_network(
        self: &Arc<Self>,
        wanted: &Management,
        plain_mtu: u32,
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
        let routes = self.files(deadline, |_| routes::read()).await?;
        let ground = Ground { networks: &networks, routes: &routes, plain_mtu, instance: &instance };
        Ok(ground.survey(wanted))
    }

    /// The networks of this instance, with how many containers Docker has put on them.
    pub(super) async fn own_networks(self: &Arc<Self>, deadline: Instant) -> Result<Vec<NetworkFact>, Fault> {
        let _read = self.reads.enter(deadline).await.map_err(|busy| Fault::transient(busy.to_string()))?;
        let listed = self.docker.list_networks(&Filters::new(), deadline).await.map_err(refused)?;
        self.tell_hung(&listed);
        let mut own = Vec::new();
        let is_own =
            |network: &Network| network.labels.get(INSTANCE).map(String::as_str) == Some(self.layout.instance());
        for network in listed.into_iter().filter(is_own) {
            // A list does not say who is on it. One that is gone meanwhile is none.
            let there = match self.docker.inspect_network(&network.id, deadline).await {
                Err(error) if error.is_not_found() => continue,
                other => other.map_err(refused)?,
            };
            let (name, members) = (there.name, there.containers.len());
            own.push(NetworkFact { runtime: RuntimeKind::Docker, name, members });
        }
        Ok(own)
    }

    /// Makes a network; one of that name is left as it is.
    async fn make_network(
        self: &Arc<Self>,
        on: &OnNetwork,
        bridge: &InterfaceName,
        deadline: Instant,
    ) -> Result<(), Fault> {
        if on.network.network == DOCKERS_OWN {
            return Ok(());
        }
        let spec = spec(on, bridge, self.layout.instance());
        let noted = if spec.enable_ipv6 { self.note_forwarding(deadline).await? } else { Noted::Before };
        let _place = self.work(deadline).await?;
        let created = self.create_network(&spec, deadline).await;
        let is_refused = |error: &Error| matches!(error.kind, ErrorKind::Conflict(_) | ErrorKind::Refused { .. });
        if noted == Noted::Now && created.as_ref().is_err_and(is_refused) {
            self.forget_forwarding(deadline).await?;
        }
        match created {
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

    /// While somebody else makes it, its subnet is taken before it is there: then it is tried again.
    async fn create_network(&self, spec: &NetworkSpec, deadline: Instant) -> Result<CreatedNetwork, Error> {
        let mut tries = 1..TRIES;
        loop {
            match self.docker.create_network(spec, deadline).await {
                Err(Error { kind: ErrorKind::Refused { status: 403, .. }, .. }) if tries.next().is_some() => {
                    tokio::time::sleep(MAKING).await;
                }
                done => return done,
            }
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

    /// The interfaces that Docker has put on a network, of whosever containers: what ends meanwhile is none of them.
    async fn members(self: &Arc<Self>, network: &str, deadline: Instant) -> Result<Vec<Member>, Fault> {
        let read = self.reads.enter(deadline).await.map_err(|busy| Fault::transient(busy.to_string()))?;
        let there = self.docker.inspect_network(network, deadline).await;
        drop(read);
        let there = match there {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            other => other.map_err(refused)?,
        };
        let mut members = Vec::new();
        for (id, member) in there.containers {
            let Ok(mac) = member.mac_address.parse() else { continue };
            let pid = self.inspect(&id, deadline).await?.map_or(0, |container| container.state.pid);
            let open = move |_: &Layout| Netns::open(format!("/proc/{pid}/ns/net")).ok();
            members.extend(self.files(deadline, open).await?.map(|netns| Member { netns, mac }));
        }
        Ok(members)
    }
}

fn gateways(network: &Management) -> Vec<Address> {
    let ipv4 = match &network.ipv4 {
        Family::Subnet { gateway, .. } => *gateway,
        Family::Off | Family::Auto => None,
    };
    let ipv6 = match &network.ipv6 {
        Family::Subnet { gateway, .. } => *gateway,
        Family::Off | Family::Auto => None,
    };
    on(network, &NodeManagement { ipv4, ipv6, ..NodeManagement::default() })
}

/// Addresses on a network, with the lengths of its prefixes.
pub(super) fn on(network: &Management, addresses: &NodeManagement) -> Vec<Address> {
    let v4 = match &network.ipv4 {
        Family::Subnet { net, .. } => addresses.ipv4.map(|address| Ipv4Net { address, prefix: net.prefix }),
        Family::Off | Family::Auto => None,
    };
    let v6 = match &network.ipv6 {
        Family::Subnet { net, .. } => addresses.ipv6.map(|address| Ipv6Net { address, prefix: net.prefix }),
        Family::Off | Family::Auto => None,
    };
    v4.map(Address::V4).into_iter().chain(v6.map(Address::V6)).collect()
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
