//! Devices that hang on others: macvlan and VXLAN. Pure.
//!
//! What they hang on is looked for in the namespace that the message is sent in, and they are made in the one that it
//! names. So the socket of a tunnel stays with the host though its interface is never there.

use std::net::IpAddr;

use netlink_packet_route::link::{
    InfoData, InfoKind, InfoMacVlan, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage, MacVlanMode,
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
