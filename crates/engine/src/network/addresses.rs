//! Which address each node has on a management network. Pure: equal inputs, equal addresses.
//!
//! A node keeps the address that it has; what the file gives comes first. New ones are counted up through the part of the
//! network that its owner gives nothing away of, and then, where that is used up or there is none, down through the rest:
//! its owner counts up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netloom_model::{Family, Ipv4Net, Ipv6Net, Lab, NodeAddresses, NodeName, OnNetwork};

/// One side of a network as numbers.
#[derive(Debug, Clone)]
struct Space {
    /// The first and the last number of the subnet: those that a file gives may be outside of the pool.
    whole: (u128, u128),
    /// The first and the last number that nodes may have.
    pool: (u128, u128),
    /// What others are given, a part of the pool or not.
    others: Option<(u128, u128)>,
    /// Never given.
    never: BTreeSet<u128>,
    net: String,
    /// The field that makes it larger.
    field: &'static str,
}

impl Space {
    /// The numbers in the order in which they are given.
    fn numbers(&self) -> impl Iterator<Item = u128> {
        let (first, last) = self.pool;
        let others = self.others.filter(|(low, high)| *low <= last && *high >= first);
        // Not number by number through what is not meant: an IPv6 network has too many.
        let (low, high) = others.unwrap_or((last, last.wrapping_sub(1)));
        let below = first..low.max(first);
        let above = high.saturating_add(1).max(first)..=last;
        let shared = others.into_iter().flat_map(move |(low, high)| (low.max(first)..=high.min(last)).rev());
        below.chain(above).chain(shared).filter(|number| !self.never.contains(number))
    }
}

fn v4(net: Ipv4Net) -> (u128, u128) {
    let first = u32::from(net.network().address);
    let last = first | u32::MAX.checked_shr(net.prefix.into()).unwrap_or(0);
    (first.into(), last.into())
}

fn v6(net: Ipv6Net) -> (u128, u128) {
    let first = u128::from(net.network().address);
    (first, first | u128::MAX.checked_shr(net.prefix.into()).unwrap_or(0))
}

fn space4(on: &OnNetwork) -> Option<Space> {
    let Family::Subnet { net, gateway, range } = &on.network.ipv4 else { return None };
    let (first, last) = v4(*net);
    // The network itself, and its broadcast address.
    let never = [first, last].into_iter().chain(gateway.map(|gateway| u32::from(gateway).into()));
    Some(Space {
        whole: (first, last),
        pool: v4(range.unwrap_or(*net)),
        others: on.others_ipv4.map(v4),
        never: never.collect(),
        net: net.to_string(),
        field: "ipv4-subnet",
    })
}

fn space6(on: &OnNetwork) -> Option<Space> {
    let Family::Subnet { net, gateway, range } = &on.network.ipv6 else { return None };
    // The subnet's router anycast address (RFC 4291 section 2.6.1).
    let never = [v6(*net).0].into_iter().chain(gateway.map(u128::from));
    Some(Space {
        whole: v6(*net),
        pool: v6(range.unwrap_or(*net)),
        others: on.others_ipv6.map(v6),
        never: never.collect(),
        net: net.to_string(),
        field: "ipv6-subnet",
    })
}

/// Chooses the addresses of all nodes of a lab that are on the network. `taken` says who else has which. `Err` is all that
/// is wrong, one line each.
pub(super) fn choose(
    lab: &Lab,
    ground: &OnNetwork,
    before: Option<&OnNetwork>,
    taken: &BTreeMap<IpAddr, String>,
) -> Result<OnNetwork, Vec<String>> {
    let network = ground.network.network.as_str();
    let before = before.filter(|before| before.network.network == network);
    let had = |node: &NodeName| before.and_then(|before| before.nodes.get(node)).copied().unwrap_or_default();
    let nodes: Vec<_> = lab.managed().collect();
    let mut wrong = Vec::new();
    let ipv4: Vec<Want<'_>> = nodes
        .iter()
        .map(|(name, node)| Want {
            node: name,
            given: node.management.ipv4.map(|address| u32::from(address).into()),
            had: had(name).ipv4.map(|address| u32::from(address).into()),
        })
        .collect();
    let ipv6: Vec<Want<'_>> = nodes
        .iter()
        .map(|(name, node)| Want {
            node: name,
            given: node.management.ipv6.map(u128::from),
            had: had(name).ipv6.map(u128::from),
        })
        .collect();
    let number4 = |address: &IpAddr| match address {
        IpAddr::V4(address) => Some(u32::from(*address).into()),
        IpAddr::V6(_) => None,
    };
    let number6 = |address: &IpAddr| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(u128::from(*address)),
    };
    let text4 = |number: u128| Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).to_string();
    let text6 = |number: u128| Ipv6Addr::from(number).to_string();
    let taken4: BTreeMap<u128, &str> =
        taken.iter().filter_map(|(at, who)| Some((number4(at)?, who.as_str()))).collect();
    let taken6: BTreeMap<u128, &str> =
        taken.iter().filter_map(|(at, who)| Some((number6(at)?, who.as_str()))).collect();
    let ipv4 = Choice { network, space: space4(ground), taken: taken4, text: &text4 }.choose(&ipv4, &mut wrong);
    let ipv6 = Choice { network, space: space6(ground), taken: taken6, text: &text6 }.choose(&ipv6, &mut wrong);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let nodes = nodes.into_iter().map(|(name, _)| {
        let ipv4 = ipv4.get(name).and_then(|number| u32::try_from(*number).ok()).map(Ipv4Addr::from);
        (name.clone(), NodeAddresses { ipv4, ipv6: ipv6.get(name).copied().map(Ipv6Addr::from) })
    });
    Ok(OnNetwork { nodes: nodes.collect(), ..ground.clone() })
}

/// What a node wants of one family.
#[derive(Debug, Clone, Copy)]
struct Want<'a> {
    node: &'a NodeName,
    /// What the file gives it.
    given: Option<u128>,
    /// What it has.
    had: Option<u128>,
}

struct Choice<'a> {
    network: &'a str,
    /// None if the network has none of the family.
    space: Option<Space>,
    taken: BTreeMap<u128, &'a str>,
    text: &'a dyn Fn(u128) -> String,
}

impl Choice<'_> {
    fn choose<'n>(&self, wants: &[Want<'n>], wrong: &mut Vec<String>) -> BTreeMap<&'n NodeName, u128> {
        let Some(space) = &self.space else {
            let given = wants.iter().filter_map(|want| Some((want.node, want.given?)));
            wrong.extend(given.map(|(node, address)| {
                let (address, network) = ((self.text)(address), self.network);
                format!("node {node}: it cannot have {address}: network `{network}` has no addresses of that family")
            }));
            return BTreeMap::new();
        };
        let (first, last) = space.whole;
        let mut chosen: BTreeMap<&NodeName, u128> = BTreeMap::new();
        let mut used: BTreeSet<u128> = BTreeSet::new();
        for want in wants {
            let Some(address) = want.given else { continue };
            let (node, text, network) = (want.node, (self.text)(address), self.network);
            if let Some(who) = self.taken.get(&address) {
                wrong.push(format!(
                    "node {node}: its address {text} on network `{network}` is that of {who}; give it another"
                ));
            } else if !(first..=last).contains(&address) {
                wrong.push(format!("node {node}: its address {text} is not in network `{network}` ({})", space.net));
            } else if space.never.contains(&address) {
                wrong.push(format!(
                    "node {node}: its address {text} is that of network `{network}` itself, or of its gateway"
                ));
            }
            used.insert(address);
            chosen.insert(node, address);
        }
        let is_free =
            |address: &u128, used: &BTreeSet<u128>| !used.contains(address) && !self.taken.contains_key(address);
        for want in wants.iter().filter(|want| want.given.is_none()) {
            let fits = |address: &u128| {
                (first..=last).contains(address) && !space.never.contains(address) && is_free(address, &used)
            };
            if let Some(address) = want.had.filter(fits) {
                used.insert(address);
                chosen.insert(want.node, address);
            }
        }
        let mut numbers = space.numbers();
        let mut left = 0;
        for want in wants {
            if chosen.contains_key(want.node) {
                continue;
            }
            match numbers.find(|number| is_free(number, &used)) {
                Some(address) => _ = chosen.insert(want.node, address),
                None => left += 1,
            }
        }
        if left > 0 {
            let (network, net, field, all) = (self.network, &space.net, space.field, wants.len());
            let pool = if space.pool == space.whole { String::new() } else { " in its range".to_owned() };
            wrong.push(format!(
                "network `{network}` ({net}) has no address{pool} for {left} of the {all} nodes; set a larger `mgmt.{field}`, or \
                 another `mgmt.network` if other labs are on it"
            ));
        }
        chosen
    }
}

#[cfg(test)]
mod tests;
