//! What the kernel sends, read field by field.
//!
//! Only what we need is read and nothing else is looked at, so an attribute that a newer kernel adds or changes cannot
//! make a dump fail. Pure; any bytes are taken, malformed ones end an iteration early.

use std::net::IpAddr;

use netloom_model::{Ipv4Net, Ipv6Net, Mac};

use crate::request::Address;

pub(crate) const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSGERR_ATTR_MSG: u16 = 1;

pub(crate) const RTM_NEWLINK: u16 = 16;
pub(crate) const RTM_DELLINK: u16 = 17;
pub(crate) const RTM_NEWADDR: u16 = 20;
pub(crate) const RTM_DELADDR: u16 = 21;
pub(crate) const RTM_NEWROUTE: u16 = 24;
pub(crate) const RTM_DELNSID: u16 = 89;

const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;

/// One interface as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its number in its namespace.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its other names.
    pub altnames: Vec<String>,
    /// `veth`, `bridge`, `dummy` …; `None` for hardware and `lo`.
    pub kind: Option<String>,
    /// Whether it is switched on (IFF_UP).
    pub up: bool,
    /// Whether it has a carrier (IFF_LOWER_UP): for a veth end, whether the other end is on too.
    pub lower_up: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its MAC address, if it has one of six bytes.
    pub mac: Option<Mac>,
    /// Its group; 0 is the default one.
    pub group: u32,
    /// Its alias.
    pub alias: Option<String>,
    /// The ifindex of the bridge it is a port of.
    pub master: Option<u32>,
    /// The ifindex of the other end of a veth pair (or of the lower device), in the namespace `peer_nsid`.
    pub peer: Option<u32>,
    /// Which namespace `peer` is in, by its id in this interface's namespace; `None` is the same namespace.
    pub peer_nsid: Option<i32>,
    /// The network identifier of a VXLAN interface and the UDP port that it is at; no other of its namespace has both.
    pub vni: Option<(u32, u16)>,
    /// The tag of a subinterface (802.1Q); its parent is `peer`.
    pub vlan: Option<u16>,
    /// The addresses that a VXLAN interface sends from and to, if it has both.
    pub between: Option<(IpAddr, IpAddr)>,
}

/// What an interface has carried since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// The interface.
    pub ifindex: u32,
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets received with an error.
    pub rx_errors: u64,
    /// Packets that could not be sent for an error.
    pub tx_errors: u64,
    /// Packets received and dropped for want of room.
    pub rx_dropped: u64,
    /// Packets dropped instead of sent.
    pub tx_dropped: u64,
}

/// One address of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressInfo {
    /// The interface.
    pub ifindex: u32,
    /// The address and its prefix length.
    pub address: Address,
    /// Whether the kernel made it by itself or for this link only (IPv6 link-local).
    pub link_local: bool,
    /// Whether it may not be used (yet): nobody knows yet that it is nobody else's, or it is somebody's (IPv6).
    pub tentative: bool,
    /// Whether it came after another one of its network, with which the kernel takes it away (IPv4).
    pub secondary: bool,
    /// Who put it there (IFA_PROTO), if that is known.
    pub protocol: Option<u8>,
}

/// The way that packets to an address take now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Way {
    /// The interface that they leave by.
    pub ifindex: u32,
    /// The address that they have if their sender names none.
    pub source: Option<IpAddr>,
}

/// One netlink message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The end of an answer: 0, or why it failed and the kernel's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ack {
    pub(crate) sequence: u32,
    pub(crate) errno: i32,
    pub(crate) detail: String,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The messages of a datagram.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let payload = datagram.get(16..length)?;
        let message = Message {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            payload,
        };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes of a message: number without its flags, and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The acknowledgement or end of a dump, if the message is one.
pub(crate) fn ack(message: &Message<'_>) -> Option<Ack> {
    if message.kind != NLMSG_ERROR && message.kind != NLMSG_DONE {
        return None;
    }
    let errno = i32_at(message.payload, 0).unwrap_or_default().wrapping_neg();
    let mut detail = String::new();
    if message.flags & NLM_F_ACK_TLVS != 0 {
        let start = match message.kind {
            NLMSG_DONE => 4,
            // After the code comes the request's header, and the rest of the request unless the socket asked to cap it.
            _ if message.flags & NLM_F_CAPPED != 0 => 20,
            _ => 4 + (u32_at(message.payload, 4).unwrap_or(16) as usize).next_multiple_of(4),
        };
        let rest = message.payload.get(start..).unwrap_or_default();
        if let Some((_, value)) = attributes(rest).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG) {
            detail = text(value);
        }
    }
    Some(Ack { sequence: message.sequence, errno, detail })
}

/// The interface that RTM_NEWLINK or RTM_DELLINK tells of.
pub(crate) fn link(message: &Message<'_>) -> Option<LinkInfo> {
    const HEADER: usize = 16;
    // Bridges and IPv6 send messages of their own family about the same interface; those lack most fields.
    if *message.payload.first()? != 0 {
        return None;
    }
    let flags = u32_at(message.payload, 8)?;
    let mut link = LinkInfo {
        ifindex: u32_at(message.payload, 4)?,
        name: String::new(),
        altnames: Vec::new(),
        kind: None,
        up: flags & IFF_UP != 0,
        lower_up: flags & IFF_LOWER_UP != 0,
        mtu: 0,
        mac: None,
        group: 0,
        alias: None,
        master: None,
        peer: None,
        peer_nsid: None,
        vni: None,
        vlan: None,
        between: None,
    };
    for (kind, value) in attributes(message.payload.get(HEADER..)?) {
        match kind {
            1 => link.mac = value.try_into().ok().map(Mac),
            3 => link.name = text(value),
            4 => link.mtu = u32_at(value, 0)?,
            5 => link.peer = u32_at(value, 0).filter(|index| *index != 0),
            10 => link.master = u32_at(value, 0).filter(|index| *index != 0),
            // IFLA_LINKINFO, in it IFLA_INFO_KIND and IFLA_INFO_DATA
            18 => {
                let of = |wanted| attributes(value).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
                link.kind = of(1).map(text);
                let tunnel = of(2).filter(|_| link.kind.as_deref() == Some("vxlan"));
                (link.vni, link.between) = (tunnel.and_then(vni), tunnel.and_then(between));
                link.vlan = of(2).filter(|_| link.kind.as_deref() == Some("vlan")).and_then(vlan);
            }
            20 => link.alias = Some(text(value)).filter(|alias| !alias.is_empty()),
            27 => link.group = u32_at(value, 0)?,
            37 => link.peer_nsid = i32_at(value, 0),
            // IFLA_PROP_LIST, in it IFLA_ALT_IFNAME
            52 => {
                link.altnames =
                    attributes(value).filter(|(kind, _)| *kind == 53).map(|(_, value)| text(value)).collect();
            }
            _ => {}
        }
    }
    Some(link)
}

/// The identifier and the port in the data of a VXLAN interface (IFLA_VXLAN_ID, IFLA_VXLAN_PORT).
fn vni(data: &[u8]) -> Option<(u32, u16)> {
    let of = |wanted| attributes(data).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let port = of(15)?.get(..2)?;
    Some((u32_at(of(1)?, 0)?, u16::from_be_bytes([port[0], port[1]])))
}

/// The tag in the data of a VLAN interface (IFLA_VLAN_ID), unless it is one of a provider (IFLA_VLAN_PROTOCOL).
fn vlan(data: &[u8]) -> Option<u16> {
    const ETH_P_8021Q: [u8; 2] = [0x81, 0x00];
    let of = |wanted| attributes(data).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let is_plain = of(5).is_none_or(|protocol| protocol.get(..2) == Some(&ETH_P_8021Q));
    u16_at(of(1)?, 0).filter(|_| is_plain)
}

/// The way in the RTM_NEWROUTE that answers a look-up.
pub(crate) fn way(message: &Message<'_>) -> Option<Way> {
    const HEADER: usize = 12;
    const RTA_OIF: u16 = 4;
    const RTA_PREFSRC: u16 = 7;
    let (mut ifindex, mut source) = (None, None);
    for (kind, value) in attributes(message.payload.get(HEADER..)?) {
        match (kind, value.len()) {
            (RTA_OIF, _) => ifindex = u32_at(value, 0),
            (RTA_PREFSRC, 4) => source = <[u8; 4]>::try_from(value).ok().map(IpAddr::from),
            (RTA_PREFSRC, 16) => source = <[u8; 16]>::try_from(value).ok().map(IpAddr::from),
            _ => {}
        }
    }
    Some(Way { ifindex: ifindex?, source })
}

/// Local and remote address in the data of a VXLAN interface (IFLA_VXLAN_LOCAL and IFLA_VXLAN_GROUP, or their kin for IPv6).
fn between(data: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let of = |wanted| attributes(data).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
    let v4 = |kind| Some(IpAddr::from(<[u8; 4]>::try_from(of(kind)?).ok()?));
    let v6 = |kind| Some(IpAddr::from(<[u8; 16]>::try_from(of(kind)?).ok()?));
    Some((v4(4).or_else(|| v6(17))?, v4(2).or_else(|| v6(16))?))
}

/// The counters in RTM_NEWLINK.
pub(crate) fn counters(message: &Message<'_>) -> Option<Counters> {
    const HEADER: usize = 16;
    const IFLA_STATS64: u16 = 23;
    if *message.payload.first()? != 0 {
        return None;
    }
    let ifindex = u32_at(message.payload, 4)?;
    let (_, stats) = attributes(message.payload.get(HEADER..)?).find(|(kind, _)| *kind == IFLA_STATS64)?;
    // The order of struct rtnl_link_stats64 (linux/if_link.h).
    let field = |at: usize| u64_at(stats, 8 * at);
    Some(Counters {
        ifindex,
        rx_packets: field(0)?,
        tx_packets: field(1)?,
        rx_bytes: field(2)?,
        tx_bytes: field(3)?,
        rx_errors: field(4)?,
        tx_errors: field(5)?,
        rx_dropped: field(6)?,
        tx_dropped: field(7)?,
    })
}

/// The address that RTM_NEWADDR or RTM_DELADDR tells of.
pub(crate) fn address(message: &Message<'_>) -> Option<AddressInfo> {
    const HEADER: usize = 8;
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    const IFA_PROTO: u16 = 11;
    const RT_SCOPE_UNIVERSE: u8 = 0;
    /// IFA_F_TENTATIVE and IFA_F_DADFAILED, of the eight flags that the header has room for.
    const UNUSABLE: u8 = 0x40 | 0x08;
    /// Of an address of IPv6 the same bit says that it is temporary.
    const IFA_F_SECONDARY: u8 = 0x01;
    let prefix = *message.payload.get(1)?;
    let flags = *message.payload.get(2)?;
    let scope = *message.payload.get(3)?;
    let ifindex = u32_at(message.payload, 4)?;
    let (mut found, mut protocol) = (None, None);
    for (kind, value) in attributes(message.payload.get(HEADER..)?) {
        if kind == IFA_PROTO {
            protocol = value.first().copied().filter(|protocol| *protocol != 0);
        }
        let ip = match value.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(value).ok()?),
            16 => IpAddr::from(<[u8; 16]>::try_from(value).ok()?),
            _ => continue,
        };
        // IFA_ADDRESS is the far end of a point-to-point address; IFA_LOCAL, if there, is ours.
        if kind == IFA_LOCAL || (kind == IFA_ADDRESS && found.is_none()) {
            found = Some(ip);
        }
    }
    let address = match found? {
        IpAddr::V4(address) => Address::V4(Ipv4Net { address, prefix }),
        IpAddr::V6(address) => Address::V6(Ipv6Net { address, prefix }),
    };
    let link_local = scope != RT_SCOPE_UNIVERSE && is_v6(&address);
    let tentative = flags & UNUSABLE != 0 && is_v6(&address);
    let secondary = flags & IFA_F_SECONDARY != 0 && !is_v6(&address);
    Some(AddressInfo { ifindex, address, link_local, tentative, secondary, protocol })
}

fn is_v6(address: &Address) -> bool {
    matches!(address, Address::V6(_))
}

/// The nsid that RTM_NEWNSID or RTM_DELNSID tells of; negative means none.
pub(crate) fn nsid(message: &Message<'_>) -> Option<i32> {
    const HEADER: usize = 4;
    const NETNSA_NSID: u16 = 1;
    attributes(message.payload.get(HEADER..)?)
        .find(|(kind, _)| *kind == NETNSA_NSID)
        .and_then(|(_, value)| i32_at(value, 0))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn malformed_bytes_end_the_iteration_and_never_panic() {
        let mut state = 1_u32;
        for length in 0..300 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // Small numbers, so that lengths and kinds are often plausible.
                    (state >> 24) as u8 & 0x1f
                })
                .collect();
            for message in messages(&bytes) {
                let _ = (ack(&message), link(&message), counters(&message), address(&message), nsid(&message));
            }
            let message = Message { kind: RTM_NEWLINK, flags: 0, sequence: 0, payload: &bytes };
            let _ = (ack(&message), link(&message), address(&message), nsid(&message), way(&message));
        }
    }

    #[test]
    fn a_zero_length_does_not_loop() {
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }

    #[test]
    fn an_ipv4_mapped_length_is_told_from_ipv6() {
        let mut payload = vec![2, 24, 0, 0, 7, 0, 0, 0];
        payload.extend([8, 0, 2, 0, 10, 0, 0, 1]);
        let message = Message { kind: RTM_NEWADDR, flags: 0, sequence: 0, payload: &payload };
        let found = address(&message).expect("an address");
        assert_eq!((found.ifindex, found.address.to_string()), (7, "10.0.0.1/24".to_owned()));
        assert_eq!(found.address.ip(), Ipv4Addr::new(10, 0, 0, 1));
        assert_ne!(found.address.ip(), Ipv6Addr::LOCALHOST);
    }
}
