//! What the management network of a lab is, or would be, given what Docker and the host have. Pure.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netloom_docker::Network;
use netloom_engine::Surveyed;
use netloom_model::{Family, InterfaceName, Ipv4Net, Ipv6Net, Management, Mtu, OnNetwork, hex};

use super::super::mark::INSTANCE;
use super::routes::Routes;
use super::{BRIDGE_NAME, DOCKERS_OWN, MTU, OWN_BRIDGE};

/// What there is on the host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    /// All networks of Docker; of the one that is wanted with who is on it.
    pub(super) networks: &'a [Network],
    pub(super) routes: &'a Routes,
    /// The MTU of networks of which nobody says one.
    pub(super) plain_mtu: u32,
    pub(super) instance: &'a str,
}

/// Why a network cannot be what is wanted, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfit {
    pub(super) why: String,
    pub(super) hint: String,
}

fn unfit<T>(why: String, hint: impl Into<String>) -> Result<T, Unfit> {
    Err(Unfit { why, hint: hint.into() })
}

/// The subnets and gateways that Docker has for a network.
#[derive(Debug, Clone, Default)]
struct Sides {
    ipv4: Option<(Ipv4Net, Ipv4Addr, Option<Ipv4Net>)>,
    ipv6: Option<(Ipv6Net, Ipv6Addr, Option<Ipv6Net>)>,
}

impl Sides {
    fn of(network: &Network) -> Self {
        let mut sides = Self::default();
        for config in &network.ipam.config {
            // A gateway may be written with the length of its prefix.
            let gateway = config.gateway.split('/').next().unwrap_or_default();
            if let Ok(net) = config.subnet.parse::<Ipv4Net>() {
                let gateway = gateway.parse().unwrap_or_else(|_| first4(net));
                sides.ipv4.get_or_insert((net, gateway, config.ip_range.parse().ok()));
            } else if let Ok(net) = config.subnet.parse::<Ipv6Net>() {
                let gateway = gateway.parse().unwrap_or_else(|_| first6(net));
                sides.ipv6.get_or_insert((net, gateway, config.ip_range.parse().ok()));
            }
        }
        sides
    }
}

impl Ground<'_> {
    pub(super) fn survey(&self, wanted: &Management) -> Result<Surveyed, Unfit> {
        match self.networks.iter().find(|network| network.name == wanted.network) {
            Some(there) => self.adopt(wanted, there),
            None => self.make(wanted),
        }
    }

    /// The network is there: it is used as it is.
    fn adopt(&self, wanted: &Management, there: &Network) -> Result<Surveyed, Unfit> {
        let name = &wanted.network;
        let bridge = match bridge_of(there) {
            Some(bridge) if there.driver == "bridge" => bridge,
            _ => {
                let why = format!("Docker has a network `{name}` of another kind ({})", there.driver);
                return unfit(why, "set another `mgmt.network`");
            }
        };
        if let Some(other) = there.labels.get(INSTANCE).filter(|other| *other != self.instance) {
            // Nodes that are linked to the bridge are unknown to Docker, and so are their addresses.
            let why = format!(
                "another agent on this host (instance {other}) made it, and which addresses it has given is not known"
            );
            return unfit(why, "set another `mgmt.network`, with another subnet");
        }
        let sides = Sides::of(there);
        let default = Management::default();
        // What the file does not say has to be nothing in particular.
        let differs = |wanted: Option<String>, default: Option<String>, there: Option<String>| {
            wanted.filter(|wanted| Some(wanted) != default.as_ref() && Some(wanted) != there.as_ref())
        };
        let four = differs(net(&wanted.ipv4), net(&default.ipv4), sides.ipv4.map(|side| side.0.to_string()));
        let six = differs(net(&wanted.ipv6), net(&default.ipv6), sides.ipv6.map(|side| side.0.to_string()));
        if let Some(subnet) = four.or(six).filter(|_| name != DOCKERS_OWN) {
            let has = there.ipam.config.iter().map(|config| config.subnet.as_str()).collect::<Vec<_>>().join(" and ");
            let why = format!("Docker has it already with {has}, and the topology wants {subnet}");
            return unfit(
                why,
                "set another `mgmt.network`, or remove that one (`docker network rm`) when nobody is on it",
            );
        }
        // Of one that we made Docker gives away only its part; of any other all that it does not keep apart.
        let network = Management {
            network: name.clone(),
            bridge: Some(bridge),
            mtu: there
                .options
                .get(MTU)
                .and_then(|mtu| mtu.parse::<u32>().ok())
                .and_then(|mtu| Mtu::try_from(mtu).ok())
                .or_else(|| self.mtu()),
            ipv4: sides.ipv4.map_or(Family::Off, |(net, gateway, _)| Family::Subnet {
                net,
                gateway: Some(gateway),
                range: range(&wanted.ipv4).filter(|range| net.covers(*range)),
            }),
            ipv6: sides.ipv6.map_or(Family::Off, |(net, gateway, _)| Family::Subnet {
                net,
                gateway: Some(gateway),
                range: range(&wanted.ipv6).filter(|range| net.covers(*range)),
            }),
            ..wanted.clone()
        };
        let on = OnNetwork {
            network,
            others_ipv4: sides.ipv4.map(|(net, _, range)| range.unwrap_or(net)),
            others_ipv6: sides.ipv6.map(|(net, _, range)| range.unwrap_or(net)),
            nodes: BTreeMap::new(),
        };
        Ok(Surveyed { on, taken: taken(there) })
    }

    /// There is none: what it will be, if nothing is in its way.
    fn make(&self, wanted: &Management) -> Result<Surveyed, Unfit> {
        let name = &wanted.network;
        if name == DOCKERS_OWN {
            return unfit(
                "Docker has no network of its own here (it was started with `--bridge none`)".to_owned(),
                "set another `mgmt.network`",
            );
        }
        let ipv4 = match &wanted.ipv4 {
            Family::Off => Family::Off,
            Family::Auto => {
                let Some(net) = pools().find(|net| self.in_the_way4(*net, wanted).is_none()) else {
                    return unfit("no private subnet is free for it".to_owned(), "set `mgmt.ipv4-subnet`");
                };
                Family::Subnet { net, gateway: Some(first4(net)), range: None }
            }
            Family::Subnet { net, gateway, range } => {
                if let Some(what) = self.in_the_way4(*net, wanted) {
                    return unfit(format!("its subnet {net} overlaps {what}"), overlap_hint("ipv4-subnet"));
                }
                Family::Subnet { net: *net, gateway: Some(gateway.unwrap_or_else(|| first4(*net))), range: *range }
            }
        };
        let ipv6 = match &wanted.ipv6 {
            Family::Off => Family::Off,
            Family::Auto => {
                let net = unique_local(self.instance, name);
                Family::Subnet { net, gateway: Some(first6(net)), range: None }
            }
            Family::Subnet { net, gateway, range } => {
                if let Some(what) = self.in_the_way6(*net, wanted) {
                    return unfit(format!("its subnet {net} overlaps {what}"), overlap_hint("ipv6-subnet"));
                }
                Family::Subnet { net: *net, gateway: Some(gateway.unwrap_or_else(|| first6(*net))), range: *range }
            }
        };
        let pool4 = match &ipv4 {
            Family::Subnet { net, range, .. } => Some(range.unwrap_or(*net)),
            _ => None,
        };
        let pool6 = match &ipv6 {
            Family::Subnet { net, range, .. } => Some(range.unwrap_or(*net)),
            _ => None,
        };
        let network = Management {
            bridge: Some(wanted.bridge.clone().unwrap_or_else(|| bridge_name(name))),
            mtu: wanted.mtu.or_else(|| self.mtu()),
            ipv4,
            ipv6,
            ..wanted.clone()
        };
        let (others_ipv4, others_ipv6) = (pool4.and_then(part4), pool6.and_then(part6));
        let on = OnNetwork { network, others_ipv4, others_ipv6, nodes: BTreeMap::new() };
        Ok(Surveyed { on, taken: BTreeMap::new() })
    }

    fn mtu(&self) -> Option<Mtu> {
        Mtu::try_from(self.plain_mtu).ok()
    }

    /// What has a part of a subnet.
    fn in_the_way4(&self, net: Ipv4Net, wanted: &Management) -> Option<String> {
        let sides = self.networks.iter().filter_map(|network| Some((network, Sides::of(network).ipv4?.0)));
        let of_docker = sides.filter(|(_, other)| other.covers(net) || net.covers(*other));
        let mut networks = of_docker.map(|(network, other)| docker_network(&network.name, &other));
        networks.next().or_else(|| {
            let routes = self.routes.v4.iter().filter(|(other, _)| other.covers(net) || net.covers(*other));
            route(routes.map(|(other, interface)| (other, interface.as_str())), wanted)
        })
    }

    fn in_the_way6(&self, net: Ipv6Net, wanted: &Management) -> Option<String> {
        let sides = self.networks.iter().filter_map(|network| Some((network, Sides::of(network).ipv6?.0)));
        let of_docker = sides.filter(|(_, other)| other.covers(net) || net.covers(*other));
        let mut networks = of_docker.map(|(network, other)| docker_network(&network.name, &other));
        networks.next().or_else(|| {
            let routes = self.routes.v6.iter().filter(|(other, _)| other.covers(net) || net.covers(*other));
            route(routes.map(|(other, interface)| (other, interface.as_str())), wanted)
        })
    }
}

fn docker_network(name: &str, net: &impl Display) -> String {
    format!("{net} of Docker's network `{name}`")
}

/// A route that is in the way. One by the network's own bridge is what an earlier one of it left.
fn route<'a, Net: Display>(routes: impl Iterator<Item = (Net, &'a str)>, wanted: &Management) -> Option<String> {
    let own = wanted.bridge.clone().unwrap_or_else(|| bridge_name(&wanted.network));
    let mut routes = routes.filter(|(_, interface)| *interface != own.as_str());
    routes.next().map(|(net, interface)| format!("the host's route to {net} by {interface}"))
}

fn overlap_hint(field: &str) -> String {
    format!("set another `mgmt.{field}`, for example `auto`; or `mgmt.network` to a network that is there, to use that")
}

/// The bridge of a network.
pub(super) fn bridge_of(network: &Network) -> Option<InterfaceName> {
    if let Some(name) = network.options.get(BRIDGE_NAME) {
        return name.parse().ok();
    }
    if network.name == DOCKERS_OWN {
        return OWN_BRIDGE.parse().ok();
    }
    format!("br-{}", network.id.get(..12)?).parse().ok()
}

/// The bridge of a network that is to be made, if the file names none: known before it is made, and of the shape that
/// Docker gives.
fn bridge_name(network: &str) -> InterfaceName {
    let name = format!("br-{}", &hex(network.as_bytes())[..12]);
    name.parse().expect("15 letters and digits are a name")
}

fn taken(network: &Network) -> BTreeMap<IpAddr, String> {
    let members = network.containers.values().flat_map(|member| {
        let addresses = [&member.ipv4_address, &member.ipv6_address];
        addresses.map(|address| Some((address.split('/').next()?.parse().ok()?, member.name.clone())))
    });
    let kept = network.ipam.config.iter().flat_map(|config| &config.auxiliary_addresses);
    let kept =
        kept.filter_map(|(name, address)| Some((address.parse().ok()?, format!("`{name}`, kept apart in Docker"))));
    members.flatten().chain(kept).collect()
}

/// The part of a pool that Docker gives to others: its last sixteenth, if that leaves enough of it.
fn part4(pool: Ipv4Net) -> Option<Ipv4Net> {
    let prefix = pool.prefix.checked_add(4).filter(|prefix| *prefix <= 30)?;
    let last = u32::from(pool.network().address) | u32::MAX.checked_shr(pool.prefix.into()).unwrap_or(0);
    Some(Ipv4Net { address: last.into(), prefix }.network())
}

/// The same of IPv6. In the middle: Docker 20.10 takes none that ends with a /64.
fn part6(pool: Ipv6Net) -> Option<Ipv6Net> {
    let prefix = pool.prefix.checked_add(16).filter(|prefix| *prefix <= 124)?;
    let middle = u128::from(pool.network().address) | (1 << (127 - pool.prefix));
    Some(Ipv6Net { address: middle.into(), prefix })
}

/// A range that nobody is given anything from: that of the broadcast address.
pub(super) fn nobody(net: Ipv4Net) -> Ipv4Net {
    let last = u32::from(net.network().address) | u32::MAX.checked_shr(net.prefix.into()).unwrap_or(0);
    Ipv4Net { address: last.into(), prefix: 32 }
}

fn first4(net: Ipv4Net) -> Ipv4Addr {
    (u32::from(net.network().address) + 1).into()
}

fn first6(net: Ipv6Net) -> Ipv6Addr {
    (u128::from(net.network().address) + 1).into()
}

/// The subnets that Docker takes for networks of which nobody says one, but for its own.
fn pools() -> impl Iterator<Item = Ipv4Net> {
    let large = (18..=31).map(|n| Ipv4Net { address: Ipv4Addr::new(172, n, 0, 0), prefix: 16 });
    let small = (0..=240).step_by(16).map(|n| Ipv4Net { address: Ipv4Addr::new(192, 168, n, 0), prefix: 20 });
    large.chain(small)
}

/// A subnet of unique local addresses (RFC 4193), the same each time.
fn unique_local(instance: &str, network: &str) -> Ipv6Net {
    let digits = hex(format!("{instance}\0network\0{network}").as_bytes());
    let group = |at: usize| u16::from_str_radix(&digits[at..at + 4], 16).expect("hex digits are a number");
    let address = Ipv6Addr::new(0xfd00 | (group(0) & 0xff), group(4), group(8), 0, 0, 0, 0, 0);
    Ipv6Net { address, prefix: 64 }
}

fn net<Net: Display, Address>(family: &Family<Net, Address>) -> Option<String> {
    match family {
        Family::Subnet { net, .. } => Some(net.to_string()),
        Family::Off | Family::Auto => None,
    }
}

fn range<Net: Copy, Address>(family: &Family<Net, Address>) -> Option<Net> {
    match family {
        Family::Subnet { range, .. } => *range,
        Family::Off | Family::Auto => None,
    }
}

#[cfg(test)]
mod tests;
