//! Where others reach this agent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use super::config::host_port;

/// Any port of an address of the wider world: what leads there leads to other hosts.
const ELSEWHERE: SocketAddr = SocketAddr::new(netloom_engine::ELSEWHERE, 53);
/// The kernel looks a route up in microseconds.
const LIMIT: Duration = Duration::from_secs(1);

/// `host:port` for the controller: the host that was configured, else the address that is listened on if it is one, else the
/// one that this host has towards others, else the agent's name.
pub(super) async fn advertised(configured: Option<&str>, listens: SocketAddr, name: &str) -> String {
    let host = match configured {
        Some(host) => host.to_owned(),
        None if !listens.ip().is_unspecified() => listens.ip().to_string(),
        None => source().await.map_or_else(|| name.to_owned(), |address| address.to_string()),
    };
    host_port(&host, listens.port())
}

/// The address that packets to other hosts have: a socket that is told where it will send to asks the kernel for the route,
/// and sends nothing (udp(7), connect(2)).
async fn source() -> Option<IpAddr> {
    let look = async {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        socket.connect(ELSEWHERE).await?;
        socket.local_addr()
    };
    let found = tokio::time::timeout(LIMIT, look).await.ok()?.ok()?;
    Some(found.ip()).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_host_that_applies_is_advertised() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(advertised(Some("rack1"), at("0.0.0.0:8001"), "name").await, "rack1:8001");
        assert_eq!(advertised(Some("2001:db8::1"), at("0.0.0.0:8001"), "name").await, "[2001:db8::1]:8001");
        assert_eq!(advertised(None, at("192.0.2.1:8001"), "name").await, "192.0.2.1:8001");
        let found = advertised(None, at("0.0.0.0:8001"), "name").await;
        // A host without a route to others has its name.
        let host = found.strip_suffix(":8001").unwrap();
        assert!(host == "name" || host.parse::<IpAddr>().is_ok(), "{found}");
    }
}
