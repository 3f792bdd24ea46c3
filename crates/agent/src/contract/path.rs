//! What of a packet passes to another host in one piece: echo requests (RFC 792) that nobody may cut up.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, set_ip_mtu_discover};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, socket_with};
use serde::Deserialize;
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::{Answer, Detail, Json, done};
use crate::routes::Shared;

/// The header of IPv4 without options, and that of an echo request.
const IP: usize = 20;
const ICMP: usize = 8;
/// How many requests are tried, how long each is waited for, and all of them.
const TRIES: u16 = 3;
const EACH: Duration = Duration::from_secs(5);
const ALL: Duration = Duration::from_secs(20);
/// What a host that is one hop away has left of the 64 hops that systems give packets.
const DIRECT: u8 = 64;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/network/test-mtu", post(test_mtu))
}

#[derive(Debug, Deserialize)]
struct TestMtu {
    target_ip: String,
    #[serde(default = "usual")]
    mtu: usize,
    #[serde(default)]
    source_ip: Option<String>,
}

fn usual() -> usize {
    1450
}

/// What came back.
struct Echo {
    ttl: u8,
    took: Duration,
}

async fn test_mtu(Json(body): Json<TestMtu>) -> Answer {
    let address = |text: &str| {
        text.parse::<Ipv4Addr>().map_err(|_| Detail::new(400, format!("`{text}` is no IPv4 address: 192.0.2.7 is one")))
    };
    let target = address(&body.target_ip)?;
    let source = body.source_ip.as_deref().filter(|text| !text.is_empty()).map(address).transpose()?;
    if !(68..=65_535).contains(&body.mtu) {
        return Err(Detail::new(400, format!("`mtu` is {}; it must be 68 to 65535", body.mtu)));
    }
    let tested = timeout(ALL, probe(target, source, body.mtu)).await;
    let tested = tested.unwrap_or_else(|_| Err(format!("no answer within {} s", ALL.as_secs())));
    Ok(done(&match tested {
        Ok(Echo { ttl, took }) => json!({ "success": true, "error": null, "tested_mtu": body.mtu,
            "link_type": if ttl >= DIRECT { "direct" } else { "routed" },
            "latency_ms": took.as_secs_f64() * 1000.0, "ttl": ttl }),
        Err(why) => json!({ "success": false, "error": why, "tested_mtu": null, "link_type": null, "latency_ms": null,
            "ttl": null }),
    }))
}

async fn probe(target: Ipv4Addr, source: Option<Ipv4Addr>, mtu: usize) -> Result<Echo, String> {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let socket = open(source).map_err(|error| format!("no echo request can be sent from here: {error}"))?;
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    for sequence in 1..=TRIES {
        let request = request(id, sequence, mtu - IP - ICMP);
        let sent = Instant::now();
        match socket.send_to(&request, SocketAddrV4::new(target, 0)).await {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
                return Err(format!("a packet of {mtu} bytes does not leave this host in one piece"));
            }
            Err(error) => return Err(format!("the echo request cannot be sent: {error}")),
        }
        if let Ok(ttl) = timeout_at(sent + EACH, reply(&socket, target, id)).await {
            return ttl.map(|ttl| Echo { ttl, took: sent.elapsed() }).map_err(|error| error.to_string());
        }
    }
    Err(format!("{target} does not answer packets of {mtu} bytes that nobody may cut up"))
}

/// A raw socket, which is read and written as one of UDP is.
fn open(source: Option<Ipv4Addr>) -> io::Result<UdpSocket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::RAW, flags, Some(ipproto::ICMP))?;
    // What is known of the path from before must not decide.
    set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
    if let Some(source) = source {
        bind(&socket, &SocketAddr::V4(SocketAddrV4::new(source, 0)))?;
    }
    UdpSocket::from_std(socket.into())
}

/// The hops that are left of the answer from there.
async fn reply(socket: &UdpSocket, from: Ipv4Addr, id: u16) -> io::Result<u8> {
    let mut packet = vec![0_u8; 65_535];
    loop {
        let length = socket.recv(&mut packet).await?;
        if let Some(ttl) = ttl_of(&packet[..length], from, id) {
            return Ok(ttl);
        }
    }
}

/// An echo request with so many bytes of content.
fn request(id: u16, sequence: u16, content: usize) -> Vec<u8> {
    let mut packet = vec![0_u8; ICMP + content];
    packet[0] = 8;
    packet[4..6].copy_from_slice(&id.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The checksum of the Internet (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [_, _, high, low] = (!sum).to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The hops that are left of a packet, if it is the answer of a host to a request of this id.
fn ttl_of(packet: &[u8], from: Ipv4Addr, id: u16) -> Option<u8> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let echo = packet.get(header..header + ICMP)?;
    let is_answer = echo[0] == 0 && echo[4..6] == id.to_be_bytes() && Ipv4Addr::from(source) == from;
    is_answer.then(|| packet[8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_requests_and_from_those_of_others() {
        let from = Ipv4Addr::new(192, 0, 2, 7);
        let mut packet = vec![0_u8; IP];
        (packet[0], packet[8]) = (0x45, 63);
        packet[12..16].copy_from_slice(&from.octets());
        let request = request(7, 1, 4);
        assert_eq!(checksum(&request), 0, "with its checksum it sums to nothing");
        packet.extend(&request);
        assert_eq!(ttl_of(&packet, from, 7), None);
        packet[IP] = 0;
        assert_eq!(ttl_of(&packet, from, 7), Some(63));
        assert_eq!((ttl_of(&packet, from, 8), ttl_of(&packet, Ipv4Addr::LOCALHOST, 7)), (None, None));
        assert_eq!(ttl_of(&packet[..IP], from, 7), None);
    }
}
