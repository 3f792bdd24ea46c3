//! Ports of the host that nodes publish, looked at before anything is touched.
//!
//! Docker says of a port that is taken when it starts the container, when half of the lab is there. Of a lab that has
//! containers nothing is said here: they may have the port themselves, or give it away in the same change.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use netloom_engine::NodeOrder;
use netloom_model::{Node, NodeName, PortMapping, Protocol};

use super::super::order::Obstacle;
use super::{PATIENCE, Shared};

/// A port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HostPort {
    /// All of them, if none is given.
    address: Option<IpAddr>,
    port: u16,
    protocol: Protocol,
}

impl Shared {
    pub(super) async fn check_ports(self: &Arc<Self>, order: &NodeOrder, node: &Node) -> Result<(), Obstacle> {
        let wanted: Vec<HostPort> = of(node).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        if let Some((port, other)) = shared_with(order, &wanted) {
            let why = format!("node {other} publishes port {port} of the host too");
            return Err((why, Some("write another port of the host in the `ports` of one of them".into())));
        }
        if self.nodes().keys().any(|(lab, _)| lab == order.lab.name()) {
            return Ok(());
        }
        let look = move |_: &_| wanted.iter().find_map(|port| port.unusable());
        match self.files(Instant::now() + PATIENCE, look).await {
            Ok(found) => found.map_or(Ok(()), Err),
            Err(fault) => Err((fault.to_string(), None)),
        }
    }
}

/// The ports that a node wants to have, as far as it says which.
fn of(node: &Node) -> impl Iterator<Item = HostPort> + '_ {
    let each = |mapping: &PortMapping| {
        let (address, protocol) = (mapping.address, mapping.protocol);
        let range = mapping.host.into_iter().flat_map(|host| host.first..=host.last);
        range.map(move |port| HostPort { address, port, protocol })
    };
    node.container.ports.iter().flat_map(each)
}

/// A port that another node of the lab wants too, and that node. Of the two one is told.
fn shared_with<'a>(order: &'a NodeOrder, wanted: &[HostPort]) -> Option<(HostPort, &'a NodeName)> {
    let others = order.lab.nodes().iter().filter(|(name, _)| **name < order.node);
    let theirs = others.flat_map(|(name, node)| of(node).map(move |port| (name, port)));
    let clash = |(name, theirs): (&'a NodeName, HostPort)| {
        wanted.iter().find(|port| port.meets(theirs)).map(|port| (*port, name))
    };
    theirs.into_iter().find_map(clash)
}

impl HostPort {
    fn meets(self, other: Self) -> bool {
        let same_address = match (self.address, other.address) {
            (Some(a), Some(b)) => a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified())),
            _ => true,
        };
        same_address && (self.port, self.protocol) == (other.port, other.protocol)
    }

    /// Why nobody can listen there, if so. What else there may be against it is Docker's to say.
    fn unusable(self) -> Option<Obstacle> {
        let address = self.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let socket = SocketAddr::new(address, self.port);
        let tried = match self.protocol {
            Protocol::Tcp => TcpListener::bind(socket).map(drop),
            Protocol::Udp => UdpSocket::bind(socket).map(drop),
            Protocol::Sctp => return None,
        };
        match tried.err()?.kind() {
            io::ErrorKind::AddrInUse => Some((
                format!("port {self} of the host is taken"),
                Some("`ss -lntup` shows by whom; end that, or write another port in `ports`".into()),
            )),
            io::ErrorKind::AddrNotAvailable => Some((
                format!("port {self}: the host has no address {address}"),
                Some("write one that `ip address` shows in `ports`".into()),
            )),
            _ => None,
        }
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        };
        match self.address {
            Some(address) => write!(f, "{}/{protocol}", SocketAddr::new(address, self.port)),
            None => write!(f, "{}/{protocol}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: Option<&str>, port: u16) -> HostPort {
        HostPort { address: address.map(|text| text.parse().unwrap()), port, protocol: Protocol::Tcp }
    }

    #[test]
    fn a_port_is_taken_as_long_as_somebody_listens_there() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (why, _) = tcp(Some("127.0.0.1"), port).unusable().unwrap();
        assert_eq!(why, format!("port 127.0.0.1:{port}/tcp of the host is taken"));
        assert_eq!(tcp(None, port).unusable().unwrap().0, format!("port {port}/tcp of the host is taken"));
        assert_eq!(HostPort { protocol: Protocol::Udp, ..tcp(Some("127.0.0.1"), port) }.unusable(), None);
        drop(listener);
        assert_eq!(tcp(Some("127.0.0.1"), port).unusable(), None);
        let (why, _) = tcp(Some("192.0.2.1"), port).unusable().unwrap();
        assert_eq!(why, format!("port 192.0.2.1:{port}/tcp: the host has no address 192.0.2.1"));
    }

    #[test]
    fn ports_meet_on_an_address_that_both_have() {
        assert!(tcp(None, 80).meets(tcp(Some("127.0.0.1"), 80)));
        assert!(tcp(Some("0.0.0.0"), 80).meets(tcp(Some("127.0.0.1"), 80)));
        assert!(!tcp(Some("127.0.0.2"), 80).meets(tcp(Some("127.0.0.1"), 80)));
        assert!(!tcp(Some("0.0.0.0"), 80).meets(tcp(Some("::1"), 80)));
        assert!(!tcp(None, 80).meets(tcp(None, 81)));
        assert!(!tcp(None, 80).meets(HostPort { protocol: Protocol::Udp, ..tcp(None, 80) }));
    }
}
