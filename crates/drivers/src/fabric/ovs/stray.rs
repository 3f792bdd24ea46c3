//! Ports that another agent of the contract has made: read by what their interfaces say, and removed with what is left of a lab.

use std::collections::BTreeSet;

use netloom_engine::{Context, DriverError, ErrorClass};
use netloom_model::{InterfaceName, PortVlan};
use netloom_ovsdb::{Condition, Mutation, Set, Transaction};
use tokio::time::Instant;

use super::board::Board;
use super::mark::PortMark;
use super::{OvsSwitch, fault, refused, within_patience};

/// What the keys begin with by which agents of the contract say what a port is.
const SAYS: &str = "archetype.";
/// What the names of tunnels of a link begin with; eight hexadecimal digits follow.
const TUNNEL: &str = "vxlan-";

/// A port that such an agent has made or may have made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stray {
    pub(crate) name: InterfaceName,
    pub(crate) bridge: InterfaceName,
    pub(crate) vlan: PortVlan,
    pub(crate) fault: Option<String>,
    pub(crate) is_ours: bool,
    pub(crate) of: Of,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Of {
    /// An interface of a node, as its interface says.
    Node { lab: String, node: Option<String>, interface: Option<String> },
    /// A tunnel, by its name.
    Tunnel,
}

/// Whether a name is one of a tunnel of one link.
fn is_tunnel(name: &str) -> bool {
    name.strip_prefix(TUNNEL).is_some_and(|hash| hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

pub(super) fn strays(board: &Board<'_>, instance: &str) -> Vec<Stray> {
    let stray = |(name, port): (&&str, &super::board::Port<'_>)| {
        let said = |key: &str| port.says(&format!("{SAYS}{key}")).map(str::to_owned);
        let of = match said("lab_id") {
            Some(lab) => Of::Node { lab, node: said("node_name"), interface: said("interface_name") },
            None if is_tunnel(name) => Of::Tunnel,
            None => return None,
        };
        let is_ours = PortMark::read(port.row, instance).is_some();
        let (name, bridge) = (name.parse().ok()?, port.bridge.parse().ok()?);
        Some(Stray { name, bridge, vlan: port.vlan(), fault: port.fault(), is_ours, of })
    };
    board.ports.iter().filter_map(stray).collect()
}

impl OvsSwitch {
    /// The ports that agents of the contract have made or may have made.
    pub(crate) fn strays(&self) -> Vec<Stray> {
        let snapshot = self.shared.client.mirror().snapshot();
        strays(&Board::of(&snapshot), &self.shared.instance)
    }

    /// Why the ports are not known now.
    pub(crate) fn why_down(&self) -> Option<DriverError> {
        let why = self.shared.why_down()?;
        Some(fault("list", "the ports of Open vSwitch".to_owned(), (ErrorClass::Transient, why)))
    }

    /// Removes those of these ports that carry no mark of ours.
    pub(crate) async fn remove_strays(&self, names: &[InterfaceName], context: &Context) -> Result<(), DriverError> {
        let names: BTreeSet<&InterfaceName> = names.iter().collect();
        let mut change = Transaction::new();
        {
            let snapshot = self.shared.client.mirror().snapshot();
            let board = Board::of(&snapshot);
            for stray in strays(&board, &self.shared.instance) {
                let Some(bridge) = board.bridges.get(stray.bridge.as_str()) else { continue };
                let Some(port) = board.ports.get(stray.name.as_str()) else { continue };
                if names.contains(&stray.name) && !stray.is_ours {
                    let ports: Set = [port.uuid].into_iter().collect();
                    change.mutate("Bridge", [Condition::is_row(bridge.uuid)], [Mutation::remove("ports", ports)]);
                }
            }
        }
        if change.ops().is_empty() {
            return Ok(());
        }
        let deadline: Instant = within_patience(context);
        let done = self.shared.transact(&change, deadline).await;
        done.map(drop).map_err(|error| fault("remove", "ports of another agent".to_owned(), refused(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_told_by_its_name() {
        assert!(is_tunnel("vxlan-bd664877"));
        assert!(!is_tunnel("vxlan-bd66487") && !is_tunnel("vxlan100") && !is_tunnel("vxlan-uplink-1"));
    }
}
