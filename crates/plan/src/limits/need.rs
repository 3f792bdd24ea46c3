//! What labs take.

use std::collections::BTreeMap;

use netloom_model::{Endpoint, Lab, LabName, Link, Node, NodeName};

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
            need.ports.insert(bridge, ends);
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
}
