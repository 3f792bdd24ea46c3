//! Devices that hang on others: macvlan, VLAN and VXLAN. Pure.
//!
//! What they hang on is looked for in the namespace that the message is sent in, and they are made in the one that it
//! names. So the socket of a tunnel stays with the host though its interface is never there.

use std::net::IpAddr;

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoVlan, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
    VlanProtocol,
};

use super::end_message;
use crate::request::{Tunnel, VethEnd};

pub(super) fn macvlan(end: &VethEnd, parent: u32, mode: netloom_model::MacvlanMode) -> LinkMessage {
    use netloom_model::MacvlanMode as Mode;
    let mode = match mode {
        Mode::Private => MacVlanMode::Private,
        Mode::Vepa => MacVlanMode::Vepa,
        Mode::Bridge => MacVlanMode::Bridge,
        Mode::Passthru => MacVlanMode::Passthrough,
        Mode::Source => MacVlanMode::Source,
    };
    let mut link = placed(end);
    link.attributes.push(LinkAttribute::Link(parent));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::MacVlan),
        LinkInfo::Data(InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)])),
    ]));
    link
}

pub(super) fn vlan(end: &VethEnd, parent: u32, id: u16) -> LinkMessage {
    let mut link = placed(end);
    link.attributes.push(LinkAttribute::Link(parent));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vlan),
        LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id), InfoVlan::Protocol(VlanProtocol::Ieee8021Q)])),
    ]));
    link
}

pub(super) fn vxlan(end: &VethEnd, tunnel: &Tunnel) -> LinkMessage {
    let mut data = vec![InfoVxlan::Id(tunnel.vni), InfoVxlan::Port(tunnel.dst_port)];
    data.push(match tunnel.remote {
        IpAddr::V4(remote) => InfoVxlan::Group(remote),
        IpAddr::V6(remote) => InfoVxlan::Group6(remote),
    });
    // A range without an end counts as none at all (udp_flow_src_port).
    data.extend(tunnel.src_port.map(|port| InfoVxlan::PortRange((port, port.saturating_add(1)))));
    data.extend(tunnel.parent.map(InfoVxlan::Link));
    data.extend(tunnel.local.map(|local| match local {
        IpAddr::V4(local) => InfoVxlan::Local(local),
        IpAddr::V6(local) => InfoVxlan::Local6(local),
    }));
    let mut link = placed(end);
    link.attributes
        .push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vxlan), LinkInfo::Data(InfoData::Vxlan(data))]));
    link
}

fn placed(end: &VethEnd) -> LinkMessage {
    let mut link = end_message(end);
    link.attributes.push(LinkAttribute::NetNsFd(end.place.netns.raw_fd()));
    link
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{Emitable as _, NLM_F_CREATE, NLM_F_EXCL};

    use super::*;
    use crate::netns::Netns;
    use crate::parse;
    use crate::request::{Place, Request};

    #[test]
    fn a_subinterface_reads_back_with_its_parent_and_tag() {
        let place = Place::host(Netns::host().unwrap());
        let end = VethEnd {
            place: place.clone(),
            name: "eth0.100".parse().unwrap(),
            ifindex: None,
            mac: None,
            mtu: Some(9000.try_into().unwrap()),
            group: 7,
        };
        let mut datagram = Vec::new();
        crate::encode::encode(&Request::CreateVlan { end: end.clone(), place, parent: 3, id: 4094 }, 1, &mut datagram)
            .unwrap();
        let message = parse::messages(&datagram).next().unwrap();
        assert_eq!(message.flags & (NLM_F_CREATE | NLM_F_EXCL), NLM_F_CREATE | NLM_F_EXCL);
        let link = parse::link(&message).unwrap();
        assert_eq!((link.name.as_str(), link.kind.as_deref(), link.mtu), ("eth0.100", Some("vlan"), 9000));
        assert_eq!((link.peer, link.vlan, link.group), (Some(3), Some(4094), 7));
        // A service tag (IEEE 802.1ad) is another thing.
        let mut other = vlan(&end, 3, 4094);
        for attribute in &mut other.attributes {
            if let LinkAttribute::LinkInfo(info) = attribute {
                info[1] =
                    LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(5), InfoVlan::Protocol(VlanProtocol::Ieee8021Ad)]));
            }
        }
        let mut bytes = vec![0; other.buffer_len()];
        other.emit(&mut bytes);
        let message = parse::Message { kind: parse::RTM_NEWLINK, flags: 0, sequence: 0, payload: &bytes };
        assert_eq!(parse::link(&message).unwrap().vlan, None);
    }
}
