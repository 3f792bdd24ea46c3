//! What labs take.

use std::collections::BTreeMap;

use netloom_model::{Endpoint, InterfaceName, Lab, LabName, Link, LinkKind, Node, NodeName};

use super::Limit;
use crate::left_out::LeftOut;

/// Processes of a node that only is there (its init), and of one that runs a command.
const PROCESSES: (u64, u64) = (1, 2);
/// Open files of a node's init and what goes with it.
const FILES: u64 = 16;
/// Neighbours that one end has beside the others of its segment: a routing protocol's multicast group in IPv4; in
/// IPv6 what the kernel itself speaks to (all routers, MLD, its solicited-node group).
const OWN_NEIGHBOURS: (u64, u64) = (1, 3);

/// How much of each limit some labs take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Need {
    amounts: BTreeMap<Limit, u64>,
    /// Ports of bridges, by the bridge's name.
    ports: BTreeMap<String, u64>,
    /// Of management networks: the names of the networks by those of their bridges.
    networks: BTreeMap<String, String>,
    /// How many sessions the agent runs at once: no more terminals are open.
    sessions: u64,
}

impl Need {
    /// What these labs take, of them only the nodes that `counts` names and the links between those, of an agent that
    /// runs so many sessions at once.
    ///
    /// Measured with namespace nodes on Linux 6.18 (60 nodes in a ring, IPv6 on): per node 1 descriptor and 1 mount of
    /// the agent, an init and its command, one namespace of each kind; per end of a link 1 IPv4 neighbour, 4 IPv6
    /// ones. In a segment of a bridge everyone may speak to everyone.
    pub fn of<'a>(
        labs: impl IntoIterator<Item = &'a Lab>,
        counts: impl Fn(&LabName, &NodeName) -> bool,
        sessions: usize,
    ) -> Self {
        let mut need = Self { sessions: u64::try_from(sessions).unwrap_or(u64::MAX), ..Self::default() };
        let mut stations: BTreeMap<String, u64> = BTreeMap::new();
        for lab in labs {
            for node in lab.nodes().iter().filter(|(name, node)| node.runtime.is_some() && counts(lab.name(), name)) {
                need.add_node(node.1);
            }
            if let Some(bridge) = &lab.management().bridge {
                need.add_network(lab, bridge, connected(lab).filter(|name| counts(lab.name(), name)).count());
            }
            let left_out = LeftOut::of(lab);
            for link in left_out.made(lab) {
                if link.ends().all(|end| !matches!(&end.at, Endpoint::Node(node) if !counts(lab.name(), node))) {
                    need.add_link(link, &mut stations);
                }
            }
        }
        for (bridge, ends) in stations {
            // The host has an address on it, or may have.
            need.add_segment(ends + 1);
            *need.ports.entry(bridge).or_default() += ends;
        }
        need
    }

    fn add(&mut self, limit: Limit, amount: u64) {
        let there = self.amounts.entry(limit).or_default();
        *there = there.saturating_add(amount);
    }

    fn add_node(&mut self, node: &Node) {
        let runs = !(node.cmd.is_empty() && node.entrypoint.is_empty());
        let processes = if runs { PROCESSES.1 } else { PROCESSES.0 };
        for limit in [Limit::Pids, Limit::Threads, Limit::GroupPids] {
            self.add(limit, processes);
        }
        if runs {
            self.add(Limit::Watchers, 1);
        }
        self.add(Limit::OpenFiles, FILES);
        self.add(Limit::Terminals, 1);
        let one_each = [
            Limit::Descriptors,
            Limit::Mounts,
            Limit::NetNamespaces,
            Limit::MountNamespaces,
            Limit::PidNamespaces,
            Limit::UtsNamespaces,
            Limit::IpcNamespaces,
        ];
        for limit in one_each {
            self.add(limit, 1);
        }
    }

    /// Each node has a port of the bridge of its management network: links count themselves, and here those whose containers
    /// are connected by the owner of the network.
    fn add_network(&mut self, lab: &Lab, bridge: &InterfaceName, connected: usize) {
        self.networks.insert(bridge.to_string(), lab.management().network.clone());
        self.add_ports(bridge, u64::try_from(connected).unwrap_or(u64::MAX));
    }

    fn add_ports(&mut self, bridge: &InterfaceName, ports: u64) {
        let there = self.ports.entry(bridge.to_string()).or_default();
        *there = there.saturating_add(ports);
    }

    fn add_link(&mut self, link: &Link, stations: &mut BTreeMap<String, u64>) {
        let bridges: Vec<&NodeName> = link
            .ends()
            .filter_map(|end| match &end.at {
                Endpoint::Bridge(bridge) => Some(bridge),
                Endpoint::Node(_) | Endpoint::Host | Endpoint::Remote(_) => None,
            })
            .collect();
        for bridge in &bridges {
            *stations.entry(bridge.to_string()).or_default() += 1;
        }
        if let LinkKind::Attachment(attachment) = &link.kind {
            // Of a management network nodes speak to the host, and seldom to each other.
            self.add_ports(&attachment.bridge, 1);
        }
        // A dummy has nobody to speak to.
        if bridges.is_empty() && link.b.is_some() {
            self.add_segment(2);
        }
    }

    fn add_segment(&mut self, stations: u64) {
        let others = stations.saturating_sub(1);
        self.add(Limit::NeighboursV4, stations.saturating_mul(others + OWN_NEIGHBOURS.0));
        self.add(Limit::NeighboursV6, stations.saturating_mul(others + OWN_NEIGHBOURS.1));
    }

    /// How much of one limit; for terminals, no more than the agent opens at once; for the ports of bridges that of the fullest.
    pub fn amount(&self, limit: Limit) -> u64 {
        if limit == Limit::BridgePorts {
            return self.ports.values().copied().max().unwrap_or(0);
        }
        let amount = self.amounts.get(&limit).copied().unwrap_or(0);
        if limit == Limit::Terminals { amount.min(self.sessions) } else { amount }
    }

    /// Ports of bridges, by the bridge's name.
    pub fn ports(&self) -> &BTreeMap<String, u64> {
        &self.ports
    }

    /// The management network whose bridge that is, if it is one's.
    pub(super) fn network(&self, bridge: &str) -> Option<&str> {
        self.networks.get(bridge).map(String::as_str)
    }
}

/// The nodes of a lab that the owner of its management network has given a port of the bridge, or will: no link of ours.
pub fn connected(lab: &Lab) -> impl Iterator<Item = &NodeName> {
    lab.managed().filter(|(_, node)| node.publishes()).map(|(name, _)| name)
}
