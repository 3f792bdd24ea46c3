//! Gratuitous ARP: neighbours that look for an address find it at once.
//!
//! A neighbour that asked while nobody was there asks again only after a second (`retrans_time_ms`). It takes an
//! announcement for the answer that it waits for; to all others it says what they know.

use std::io;
use std::net::Ipv4Addr;

use netloom_model::Mac;

use crate::netns::Netns;
use crate::socket;

/// An address at an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// The interface.
    pub ifindex: u32,
    /// Its MAC address.
    pub mac: Mac,
    /// The address.
    pub address: Ipv4Addr,
}

impl Announcement {
    /// The frame (RFC 826, RFC 5944 4.6): a request of an address for itself, to all.
    fn frame(&self) -> [u8; 42] {
        const BROADCAST: [u8; 6] = [0xff; 6];
        /// ARP; Ethernet and IPv4 with the lengths of their addresses; a request.
        const HEAD: [u8; 10] = [0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1];
        let (mac, address) = (self.mac.0, self.address.octets());
        let mut frame = [0; 42];
        let parts: [&[u8]; 7] = [&BROADCAST, &mac, &HEAD, &mac, &address, &[0; 6], &address];
        let mut at = 0;
        for part in parts {
            frame[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        frame
    }
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

    #[test]
    fn an_announcement_asks_all_for_its_own_address() {
        let one = Announcement { ifindex: 7, mac: Mac([2, 0, 0, 0, 0, 1]), address: Ipv4Addr::new(10, 0, 0, 1) };
        let expected =
            "ffffffffffff 020000000001 0806 0001 0800 06 04 0001 020000000001 0a000001 000000000000 0a000001";
        let text: Vec<String> = one.frame().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text.concat(), expected.replace(' ', ""));
    }
}
