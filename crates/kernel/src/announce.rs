//! Addresses announced, so that neighbours that look for them find them at once: gratuitous ARP, and unsolicited neighbour
//! advertisements for IPv6.
//!
//! A neighbour that asked while nobody was there asks again only after a second (`retrans_time_ms`). It takes an
//! announcement for the answer that it waits for; to all others it says what they know.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netloom_model::Mac;

use crate::netns::Netns;
use crate::socket;

/// An address at an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The interface.
    pub ifindex: u32,
    /// Its name.
    pub interface: String,
    /// Its MAC address.
    pub mac: Mac,
    /// The address.
    pub address: IpAddr,
}

/// Whether an interface forwards what is not for it: who advertises an address as a host is no default router any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Host,
    Router,
}

impl Announcement {
    /// The frame, with what the interface is in the calling thread's namespace.
    fn frame(&self) -> Vec<u8> {
        match self.address {
            IpAddr::V4(address) => arp(self.mac, address).concat(),
            IpAddr::V6(address) => advertisement(self.mac, address, role(&self.interface)),
        }
    }
}

/// A request of an address for itself, to all (RFC 826, RFC 5944 4.6).
fn arp(mac: Mac, address: Ipv4Addr) -> [Vec<u8>; 7] {
    /// ARP; Ethernet and IPv4 with the lengths of their addresses; a request.
    const HEAD: [u8; 10] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1];
    let (mac, address) = (mac.0.to_vec(), address.octets().to_vec());
    [vec![0xff; 6], mac.clone(), HEAD.to_vec(), mac, address.clone(), vec![0; 6], address]
}

/// An unsolicited neighbour advertisement to all nodes, which overrides what they know (RFC 4861 4.4, 7.2.6).
fn advertisement(mac: Mac, address: Ipv6Addr, role: Role) -> Vec<u8> {
    /// The Ethernet address of ff02::1 (RFC 2464 7), to which it goes.
    const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
    const TO: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    const ICMPV6: u8 = 58;
    /// Type 136, code 0, and a checksum that is not reckoned yet.
    const TYPE: [u8; 4] = [136, 0, 0, 0];
    const OVERRIDE: u8 = 0x20;
    const ROUTER: u8 = 0x80;
    /// The link-layer address of the target, in units of eight bytes.
    const OPTION: [u8; 2] = [2, 1];
    let flags = match role {
        Role::Host => OVERRIDE,
        Role::Router => OVERRIDE | ROUTER,
    };
    let mut message = [&TYPE[..], &[flags, 0, 0, 0], &address.octets(), &OPTION, &mac.0].concat();
    let length = u8::try_from(message.len()).expect("it has 32 bytes");
    let pseudo = [&address.octets()[..], &TO.octets(), &[0, 0, 0, length, 0, 0, 0, ICMPV6], &message].concat();
    message[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    // Hop limit 255 proves that no router has passed it on.
    let head = [0x60, 0, 0, 0, 0, length, ICMPV6, 255];
    [&ALL_NODES[..], &mac.0, &[0x86, 0xdd], &head, &address.octets(), &TO.octets(), &message].concat()
}

/// The checksum of the internet (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).expect("folded twice it fits")
}

/// What an interface of the calling thread's namespace is; a host if nobody says.
fn role(interface: &str) -> Role {
    let forwards = fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{interface}/forwarding"));
    if forwards.is_ok_and(|text| text.trim() != "0") { Role::Router } else { Role::Host }
}

impl Netns {
    /// Announces addresses from this namespace. All of them are tried; the first error is returned.
    pub fn announce(&self, announcements: &[Announcement]) -> io::Result<()> {
        if announcements.is_empty() {
            return Ok(());
        }
        let send = || {
            let sent = announcements.iter().map(|one| socket::send_frame(one.ifindex, &one.frame()));
            sent.fold(Ok(()), io::Result::and)
        };
        self.run(send)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn hex(bytes: &[u8]) -> String {
        let text: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        text.concat()
    }

    #[test]
    fn an_announcement_asks_all_for_its_own_address() {
        let frame = arp(MAC, Ipv4Addr::new(10, 0, 0, 1)).concat();
        let expected =
            "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000001";
        assert_eq!(hex(&frame), expected.replace(' ', ""));
    }

    #[test]
    fn an_advertisement_tells_all_nodes_and_says_whether_it_is_a_routers() {
        for (role, flags) in [(Role::Host, "20"), (Role::Router, "a0")] {
            let frame = advertisement(MAC, "2001:db8::1".parse().unwrap(), role);
            let (from, to) = ("20010db8000000000000000000000001", "ff020000000000000000000000000001");
            let head = format!("333300000001 020000000001 86dd 60000000 0020 3a ff {from} {to} 8800");
            let rest = format!("{flags}000000 {from} 0201 020000000001");
            let text = hex(&frame);
            assert!(text.starts_with(&head.replace(' ', "")) && text.ends_with(&rest.replace(' ', "")), "{text}");
            // With its checksum in it, the sum over message and pseudo header is all ones.
            let sum = checksum(&[&frame[22..54], &[0, 0, 0, 32, 0, 0, 0, 58], &frame[54..]].concat());
            assert_eq!(sum, 0, "{text}");
        }
    }
}
