//! From what is there of an interface to what is wanted of it, in steps; and what must not be lost on the way. Pure.
//!
//! An address that is right already is not touched, so nothing that it carries is cut. Where it is not, it is added before
//! others are taken away, unless the kernel would take it away with them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use netloom_model::{InterfaceName, Mtu};
use serde::{Deserialize, Serialize};

use super::wish::{Cidr, Uplink, Vlan};

/// Whose an interface of the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ownership {
    /// A subinterface that this agent has made.
    Ours,
    /// An interface that this agent has for labs, or that another agent has made.
    Lab,
    /// Anybody's.
    Other,
}

/// An interface of the host as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenInterface {
    /// Whose it is.
    pub ownership: Ownership,
    /// What it is of its parent, if it is a subinterface (802.1Q).
    pub vlan: Option<Vlan>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Its addresses but for those of its link alone, in an order in which they can be taken away.
    pub addresses: Vec<SeenAddress>,
}

/// An address of an interface as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAddress {
    /// The address.
    pub address: Cidr,
    /// Whether it carries our mark.
    pub is_ours: bool,
}

/// A route that somebody has made by an interface, as its system has it: only the [`Underlay`](super::Underlay) that read it
/// knows what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute(pub Vec<u8>);

/// The way that packets take, and the address that they have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenWay {
    /// The interface that they leave by.
    pub interface: InterfaceName,
    /// Their address.
    pub source: Option<IpAddr>,
}

/// The interfaces of a host and the ways from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostView {
    /// Its interfaces.
    pub interfaces: BTreeMap<InterfaceName, SeenInterface>,
    /// The ways to the addresses that were asked for; those to which there is one.
    pub ways: BTreeMap<IpAddr, SeenWay>,
}

/// One change of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Makes a subinterface, down and in the group of those that we make.
    Create {
        /// Its name.
        interface: InterfaceName,
        /// What it is.
        vlan: Vlan,
        /// Its MTU; that of its parent if none is named.
        mtu: Option<Mtu>,
    },
    /// Sets an MTU.
    SetMtu {
        /// Of which interface.
        interface: InterfaceName,
        /// What it is.
        from: u32,
        /// What it is to be.
        to: u32,
    },
    /// Switches an interface on, and puts our mark on one that we made.
    Up(InterfaceName),
    /// Switches it off.
    Down(InterfaceName),
    /// Adds an address, with our mark.
    AddAddress {
        /// To which interface.
        interface: InterfaceName,
        /// Which; with the mark or, if it is put back that was somebody's, without.
        address: SeenAddress,
    },
    /// Takes an address away.
    RemoveAddress {
        /// From which interface.
        interface: InterfaceName,
        /// Which.
        address: SeenAddress,
    },
    /// Removes a subinterface of ours.
    Delete {
        /// Its name.
        interface: InterfaceName,
        /// What it was.
        was: Box<SeenInterface>,
    },
}

impl Step {
    /// The interface that it changes.
    pub fn interface(&self) -> &InterfaceName {
        match self {
            Self::Up(interface)
            | Self::Down(interface)
            | Self::Create { interface, .. }
            | Self::SetMtu { interface, .. }
            | Self::AddAddress { interface, .. }
            | Self::RemoveAddress { interface, .. }
            | Self::Delete { interface, .. } => interface,
        }
    }

    /// Whether addresses go with it, and with those routes.
    pub(super) fn takes_addresses(&self) -> bool {
        matches!(self, Self::RemoveAddress { .. } | Self::Delete { .. })
    }

    /// What takes it back.
    pub fn undo(&self) -> Vec<Step> {
        match self.clone() {
            // What was made for this has no other use; nothing was before.
            Self::Create { interface, vlan, mtu } => {
                let was = SeenInterface {
                    ownership: Ownership::Ours,
                    vlan: Some(vlan),
                    mtu: mtu.map_or(0, Mtu::bytes),
                    is_up: false,
                    addresses: Vec::new(),
                };
                vec![Self::Delete { interface, was: Box::new(was) }]
            }
            Self::SetMtu { interface, from, to } => vec![Self::SetMtu { interface, from: to, to: from }],
            Self::Up(interface) => vec![Self::Down(interface)],
            Self::Down(interface) => vec![Self::Up(interface)],
            Self::AddAddress { interface, address } => vec![Self::RemoveAddress { interface, address }],
            Self::RemoveAddress { interface, address } => vec![Self::AddAddress { interface, address }],
            Self::Delete { interface, was } => {
                let Some(vlan) = was.vlan.clone() else { return Vec::new() };
                let mut steps = vec![Self::Create { interface: interface.clone(), vlan, mtu: was.mtu.try_into().ok() }];
                steps.extend(was.is_up.then(|| Self::Up(interface.clone())));
                let add = |address: &SeenAddress| Self::AddAddress { interface: interface.clone(), address: *address };
                steps.extend(was.addresses.iter().rev().map(add));
                steps
            }
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { interface, vlan, .. } => {
                write!(f, "make subinterface {interface} (VLAN {} of {})", vlan.id, vlan.parent)
            }
            Self::SetMtu { interface, from, to } => write!(f, "set the MTU of {interface} from {from} to {to}"),
            Self::Up(interface) => write!(f, "switch {interface} on"),
            Self::Down(interface) => write!(f, "switch {interface} off"),
            Self::AddAddress { interface, address } => write!(f, "add {} to {interface}", address.address),
            Self::RemoveAddress { interface, address } => write!(f, "take {} from {interface}", address.address),
            Self::Delete { interface, .. } => write!(f, "remove subinterface {interface}"),
        }
    }
}

/// Why a host cannot be as it is wanted; nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// There is no such interface.
    #[error("there is no interface {0} on this host; `ip link` lists those that are")]
    NoInterface(InterfaceName),
    /// It belongs to labs.
    #[error("interface {0} belongs to labs, or to another agent; name one of the host's own")]
    OfLab(InterfaceName),
    /// Somebody has made an interface of that name.
    #[error("interface {0} is there and was not made by this agent; remove it, or choose another name")]
    Foreign(InterfaceName),
    /// It is somebody's, and nothing was wanted of it.
    #[error("interface {0} was not made by this agent, which removes only what it has made")]
    NotMade(InterfaceName),
    /// The parent has a subinterface of that tag.
    #[error("VLAN {} of {} is interface {by}, which was not made for this; remove it, or choose another VLAN", .vlan.id, .vlan.parent)]
    VlanTaken {
        /// What is wanted.
        vlan: Vlan,
        /// What has it.
        by: InterfaceName,
    },
    /// The host would not be reached any more.
    #[error("it would take {what} from this host, which is how it is reached; nothing was changed")]
    Management {
        /// What.
        what: String,
    },
}

/// The steps from what is there to what is wanted; none if it is so already. `before` is what was wanted until now.
pub(super) fn plan(wanted: &Uplink, before: Option<&Uplink>, view: &HostView) -> Result<Vec<Step>, Unfit> {
    let seen = view.interfaces.get(&wanted.name);
    let mut steps = Vec::new();
    let made = if let Some(vlan) = &wanted.vlan {
        found_or_made(wanted, vlan, view, &mut steps)?
    } else {
        let seen = seen.ok_or_else(|| Unfit::NoInterface(wanted.name.clone()))?;
        if seen.ownership == Ownership::Lab {
            return Err(Unfit::OfLab(wanted.name.clone()));
        }
        Some(seen)
    };
    let interface = &wanted.name;
    if let (Some(mtu), Some(seen)) = (wanted.mtu, made)
        && seen.mtu != mtu.bytes()
    {
        steps.push(Step::SetMtu { interface: interface.clone(), from: seen.mtu, to: mtu.bytes() });
    }
    // One of which only the MTU is wanted is switched by whoever owns it.
    let is_used = wanted.vlan.is_some() || wanted.address.is_some();
    if is_used && !made.is_some_and(|seen| seen.is_up) {
        steps.push(Step::Up(interface.clone()));
    }
    let there = made.map(|seen| seen.addresses.as_slice()).unwrap_or_default();
    steps.extend(addresses(wanted, before, there));
    Ok(steps)
}

/// The subinterface as it is, if there is one of that name and tag; otherwise the steps that make it.
fn found_or_made<'v>(
    wanted: &Uplink,
    vlan: &Vlan,
    view: &'v HostView,
    steps: &mut Vec<Step>,
) -> Result<Option<&'v SeenInterface>, Unfit> {
    let name = &wanted.name;
    let parent = view.interfaces.get(&vlan.parent).ok_or_else(|| Unfit::NoInterface(vlan.parent.clone()))?;
    if parent.ownership == Ownership::Lab {
        return Err(Unfit::OfLab(vlan.parent.clone()));
    }
    let taken = view.interfaces.iter().find(|(other, seen)| *other != name && seen.vlan.as_ref() == Some(vlan));
    if let Some((by, _)) = taken {
        return Err(Unfit::VlanTaken { vlan: vlan.clone(), by: by.clone() });
    }
    let seen = view.interfaces.get(name);
    let kept = seen.filter(|seen| seen.vlan.as_ref() == Some(vlan));
    // Another one that is just that serves as well, for one what the agent before this one has made. It stays whose it is.
    match seen.map(|seen| seen.ownership) {
        Some(Ownership::Lab) => return Err(Unfit::OfLab(name.clone())),
        Some(Ownership::Other) if kept.is_none() => return Err(Unfit::Foreign(name.clone())),
        _ => {}
    }
    if let Some(other) = seen.filter(|_| kept.is_none()) {
        steps.push(Step::Delete { interface: name.clone(), was: Box::new(other.clone()) });
    }
    // First, since a kernel without VLANs refuses it, and then nothing of the parent was changed. It cannot have a larger MTU
    // than its parent, nor be on while that is off.
    let mtu = wanted.mtu.filter(|mtu| mtu.bytes() <= parent.mtu);
    if kept.is_none() {
        steps.push(Step::Create { interface: name.clone(), vlan: vlan.clone(), mtu });
    }
    if let Some(larger) = wanted.mtu.filter(|_| mtu.is_none()) {
        let raise = |interface: &InterfaceName| Step::SetMtu {
            interface: interface.clone(),
            from: parent.mtu,
            to: larger.bytes(),
        };
        steps.push(raise(&vlan.parent));
        steps.extend(kept.is_none().then(|| raise(name)));
    }
    if !parent.is_up {
        steps.push(Step::Up(vlan.parent.clone()));
    }
    Ok(kept)
}

fn addresses(wanted: &Uplink, before: Option<&Uplink>, there: &[SeenAddress]) -> Vec<Step> {
    let interface = &wanted.name;
    let former = before.and_then(|before| before.address);
    let is_ours = |seen: &SeenAddress| seen.is_ours || former == Some(seen.address);
    let Some(address) = wanted.address else { return without(interface, there, is_ours) };
    if there.iter().any(|seen| seen.address == address) {
        return without(interface, there, |seen| seen.address != address && is_ours(seen));
    }
    let remove = |address: &SeenAddress| Step::RemoveAddress { interface: interface.clone(), address: *address };
    // It has nothing else to do: whatever else it has of that family goes.
    let others = there.iter().filter(|seen| seen.address.is_like(address));
    let (first, last): (Vec<_>, Vec<_>) = others.partition(|seen| {
        // The same address with another prefix length, too.
        seen.address.shares_network_with(address) || seen.address.ip() == address.ip()
    });
    let add = Step::AddAddress { interface: interface.clone(), address: SeenAddress { address, is_ours: true } };
    let mut steps: Vec<Step> = first.into_iter().map(remove).chain([add]).collect();
    steps.extend(last.into_iter().map(remove));
    steps.extend(without(interface, there, |seen| !seen.address.is_like(address) && is_ours(seen)));
    steps
}

/// Takes addresses away, and no others: those that the kernel would take along, since they came later into the network of one
/// that goes, are put back.
fn without(interface: &InterfaceName, there: &[SeenAddress], goes: impl Fn(&SeenAddress) -> bool) -> Vec<Step> {
    let is_taken_along = |at: usize, seen: &SeenAddress| {
        !goes(seen) && there[at..].iter().any(|other| goes(other) && other.address.shares_network_with(seen.address))
    };
    let along = there.iter().enumerate().filter(|(at, seen)| is_taken_along(*at, seen));
    let back: Vec<Step> =
        along.map(|(_, address)| Step::AddAddress { interface: interface.clone(), address: *address }).rev().collect();
    let away = there.iter().enumerate().filter(|(at, seen)| goes(seen) || is_taken_along(*at, seen));
    let away = away.map(|(_, address)| Step::RemoveAddress { interface: interface.clone(), address: *address });
    away.chain(back).collect()
}

/// The steps that take away what was wanted of an interface: a subinterface that we made, or the address that we put on one
/// of somebody's.
pub(super) fn plan_removal(name: &InterfaceName, before: Option<&Uplink>, view: &HostView) -> Result<Vec<Step>, Unfit> {
    let Some(seen) = view.interfaces.get(name) else { return Ok(Vec::new()) };
    match (seen.ownership, before) {
        (Ownership::Ours, _) => Ok(vec![Step::Delete { interface: name.clone(), was: Box::new(seen.clone()) }]),
        (Ownership::Lab, _) => Err(Unfit::OfLab(name.clone())),
        // Somebody has put another one in the place of ours.
        (Ownership::Other, Some(before)) if before.vlan.is_some() && before.vlan != seen.vlan => Ok(Vec::new()),
        (Ownership::Other, Some(before)) => Ok(addresses(&Uplink::of(name.clone()), Some(before), &seen.addresses)),
        (Ownership::Other, None) => Err(Unfit::NotMade(name.clone())),
    }
}

/// What a host must not lose: the ways to these addresses, as far as there are any, and these addresses of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Management {
    /// Where others are that the host has to reach.
    pub towards: Vec<IpAddr>,
    /// Where others reach it.
    pub addresses: Vec<IpAddr>,
}

impl Management {
    /// Refuses steps of which it can be seen beforehand that they take away how the host is reached.
    pub fn check(&self, steps: &[Step], view: &HostView) -> Result<(), Unfit> {
        let lost = steps.iter().find_map(|step| match step {
            Step::RemoveAddress { address, .. } => self.needs(address.address, view),
            Step::Delete { interface, was } => self.needs_any(interface, was, view),
            // IPv6 needs that much (RFC 8200), and the kernel takes its addresses away below it.
            Step::SetMtu { interface, to, .. } if *to < 1280 => {
                let seen = view.interfaces.get(interface)?;
                let ipv6 = seen.addresses.iter().filter(|seen| seen.address.ip().is_ipv6());
                ipv6.into_iter().find_map(|seen| self.needs(seen.address, view))
            }
            _ => None,
        });
        lost.map_or(Ok(()), |what| Err(Unfit::Management { what }))
    }

    fn needs(&self, address: Cidr, view: &HostView) -> Option<String> {
        let is_source = view.ways.values().any(|way| way.source == Some(address.ip()));
        (is_source || self.addresses.contains(&address.ip())).then(|| format!("the address {address}"))
    }

    fn needs_any(&self, name: &InterfaceName, seen: &SeenInterface, view: &HostView) -> Option<String> {
        let address = seen.addresses.iter().find_map(|seen| self.needs(seen.address, view));
        let way = view.ways.iter().find(|(_, way)| way.interface == *name);
        address.or_else(|| way.map(|(to, _)| format!("the way to {to}")))
    }

    /// What of it was there before and is not any more.
    pub fn lost(&self, before: &HostView, after: &HostView) -> Option<String> {
        let way = before.ways.iter().find(|(to, way)| after.ways.get(to) != Some(way));
        if let Some((to, way)) = way {
            let from = way.source.map_or_else(String::new, |source| format!(" from {source}"));
            return Some(format!("the way{from} to {to} by {}", way.interface));
        }
        let has = |view: &HostView, address: &IpAddr| {
            view.interfaces.values().flat_map(|seen| &seen.addresses).any(|seen| seen.address.ip() == *address)
        };
        let address = self.addresses.iter().find(|address| has(before, address) && !has(after, address));
        address.map(|address| format!("the address {address}"))
    }
}

#[cfg(test)]
mod tests;
