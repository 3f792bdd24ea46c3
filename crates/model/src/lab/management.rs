//! The management network of a lab, and what a node has on it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::name::{InterfaceName, Ipv4Net, Ipv6Net, Mtu};

/// The management network of a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Management {
    /// The name of the network; `bridge` is the runtime's own.
    pub network: String,
    /// What it is made of.
    #[serde(skip_serializing_if = "is_default")]
    pub driver: ManagementDriver,
    /// The bridge of the host that it is; the runtime names it if nothing is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge: Option<InterfaceName>,
    /// Its IPv4 side.
    pub ipv4: Family<Ipv4Net, Ipv4Addr>,
    /// Its IPv6 side.
    pub ipv6: Family<Ipv6Net, Ipv6Addr>,
    /// Its MTU; that of the runtime's own network if nothing is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Mtu>,
    /// Whether its nodes are reached from outside, and reach it.
    pub external_access: bool,
    /// Whether it is left out when all nodes have `network-mode: none`.
    #[serde(skip_serializing_if = "is_default")]
    pub skip_when_unused: bool,
    /// Options for the runtime's network driver.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_options: BTreeMap<String, String>,
}

impl Default for Management {
    fn default() -> Self {
        Self {
            network: "clab".to_owned(),
            driver: ManagementDriver::Bridge,
            bridge: None,
            ipv4: Family::of(Ipv4Net { address: Ipv4Addr::new(172, 20, 20, 0), prefix: 24 }),
            ipv6: Family::of(Ipv6Net { address: Ipv6Addr::new(0x3fff, 0x172, 0x20, 0x20, 0, 0, 0, 0), prefix: 64 }),
            mtu: None,
            external_access: true,
            skip_when_unused: false,
            driver_options: BTreeMap::new(),
        }
    }
}

/// What the management network is made of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ManagementDriver {
    /// A bridge of the host.
    #[default]
    Bridge,
    /// Macvlan interfaces on an interface of the host.
    Macvlan {
        /// That interface; that of the default route if nothing is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<InterfaceName>,
        /// The host's own address on the network, by which it reaches the nodes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<Ipv4Net>,
    },
}

/// One address family of the management network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family<Net, Address> {
    /// The network has none of it.
    Off,
    /// The runtime chooses a subnet.
    Auto,
    /// This subnet.
    Subnet {
        /// The network's address and prefix length.
        net: Net,
        /// The address of the host on it; the runtime chooses if nothing is given.
        #[serde(default = "none", skip_serializing_if = "Option::is_none")]
        gateway: Option<Address>,
        /// The part of it that nodes without an address of their own get theirs from.
        #[serde(default = "none", skip_serializing_if = "Option::is_none")]
        range: Option<Net>,
    },
}

fn none<T>() -> Option<T> {
    None
}

impl<Net, Address> Family<Net, Address> {
    /// A subnet of which nothing else is said.
    pub fn of(net: Net) -> Self {
        Self::Subnet { net, gateway: None, range: None }
    }
}

/// What a node has on the management network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NodeManagement {
    /// Its IPv4 address; the runtime chooses if nothing is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// More names that other nodes find it by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}
