//! Networks of containers that are entries of a map, each with a bridge of the world.

use async_trait::async_trait;
use netloom_model::{Family, InterfaceName, Ipv4Net, Management, OnNetwork};

use super::FakeRuntime;
use crate::driver::{Access, Context, DriverError, Networks, Surveyed};
use crate::fact::{Place, PortKind};

/// A network.
#[derive(Debug, Clone)]
pub(super) struct FakeNetwork {
    pub(super) bridge: InterfaceName,
    pub(super) ours: bool,
    /// What somebody has on it.
    pub(super) taken: Option<std::net::IpAddr>,
    /// Whether others than the host reach who is on it.
    pub(super) open: bool,
}

#[async_trait]
impl Networks for FakeRuntime {
    async fn survey(&self, wanted: &Management, _: &Context) -> Result<Surveyed, DriverError> {
        self.world().look("survey", &format!("network/{}", wanted.network)).await?;
        let state = self.world().lock();
        let there = state.networks.iter().flatten().find(|(name, _)| **name == wanted.network).map(|(_, there)| there);
        let mut network = wanted.clone();
        if let Family::Subnet { net, gateway, .. } = &mut network.ipv4 {
            *gateway = Some((u32::from(net.address) + 1).into());
        }
        let bridge = there.map(|there| there.bridge.clone());
        network.bridge = bridge.or(network.bridge).or_else(|| format!("br-{}", wanted.network).parse().ok());
        let taken = there.and_then(|there| there.taken).map(|address| (address, "somebody".to_owned()));
        // All of a network that is not ours may be given to others.
        let others_ipv4: Option<Ipv4Net> = match &network.ipv4 {
            Family::Subnet { net, .. } if there.is_some_and(|there| !there.ours) => Some(*net),
            _ => None,
        };
        let on = OnNetwork { network, others_ipv4, others_ipv6: None, nodes: std::collections::BTreeMap::new() };
        Ok(Surveyed { on, taken: taken.into_iter().collect() })
    }

    async fn ensure(&self, on: &OnNetwork, _: &Context) -> Result<(), DriverError> {
        self.world().enter("ensure", &format!("network/{}", on.network.network)).await?;
        let mut state = self.world().lock();
        let bridge = on.network.bridge.clone().expect("it was surveyed");
        let networks = state.networks.get_or_insert_default();
        let made = FakeNetwork { bridge: bridge.clone(), ours: true, taken: None, open: false };
        networks.entry(on.network.network.clone()).or_insert(made);
        let port = state.find(&Place::Host, bridge.as_str());
        let port = port.unwrap_or_else(|| state.new_port(Place::Host, bridge, PortKind::Bridge, None));
        state.tell_ports(&[port]);
        Ok(())
    }

    async fn admit(&self, network: &str, access: Access<'_>, _: &Context) -> Result<(), DriverError> {
        self.world().look("admit", &format!("network/{network}")).await?;
        if let Some(there) = self.world().lock().networks.get_or_insert_default().get_mut(network) {
            there.open = matches!(access, Access::Open(_));
        }
        Ok(())
    }

    async fn remove(&self, network: &str, _: &Context) -> Result<(), DriverError> {
        self.world().enter("remove", &format!("network/{network}")).await?;
        let mut state = self.world().lock();
        let networks = state.networks.get_or_insert_default();
        if networks.get(network).is_some_and(|there| there.ours)
            && let Some(there) = networks.remove(network)
            && let Some(port) = state.find(&Place::Host, there.bridge.as_str())
        {
            state.remove_ports(&[port]);
        }
        Ok(())
    }
}
