//! Requests as netlink messages, and refusals as sentences. Pure.

mod device;
mod redirect;

use std::net::IpAddr;

use netlink_packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, Prop};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netloom_model::InterfaceName;

use crate::error::{KernelError, KernelErrorKind, errno_text, kind};
use crate::parse;
use crate::request::{Address, AdminState, LinkChange, Place, Request, VethEnd};

const IFLA_IFALIAS: u16 = 20;
const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;

/// Appends the request to a datagram; `None`, and nothing is appended, if it is no message of rtnetlink.
pub(crate) fn encode(request: &Request, sequence: u32, datagram: &mut Vec<u8>) -> Option<()> {
    if let Request::RestoreRoute { route, ifindex, .. } = request {
        route.encode(*ifindex, NLM_F_REQUEST | NLM_F_ACK | CREATE, sequence, datagram);
        return Some(());
    }
    let (message, flags) = message(request)?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let start = datagram.len();
    // Each message starts at a multiple of four (NLMSG_ALIGN).
    datagram.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut datagram[start..]);
    Some(())
}

fn message(request: &Request) -> Option<(RouteNetlinkMessage, u16)> {
    use RouteNetlinkMessage as M;
    Some(match request {
        Request::CreateVeth { a, a_state, a_master, b } => {
            let mut main = end_message(a);
            // The peer is made where its descriptor says; the main end where the socket is, because kernels before
            // 6.15 look for clashes of name and ifindex there and not where the end is going to be.
            let mut peer = end_message(b);
            peer.attributes.push(LinkAttribute::NetNsFd(b.place.netns.raw_fd()));
            if *a_state == AdminState::Up {
                main.header.flags = LinkFlags::Up;
                main.header.change_mask = LinkFlags::Up;
            }
            if let Some(master) = a_master {
                main.attributes.push(LinkAttribute::Controller(*master));
            }
            main.attributes.push(LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]));
            (M::NewLink(main), CREATE)
        }
        Request::CreateBridge { name, ifindex, mac, mtu, group, .. } => {
            let mut link = link_message(ifindex.unwrap_or_default());
            link.attributes.push(LinkAttribute::IfName(name.as_str().to_owned()));
            link.attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
            link.attributes.extend(mtu.map(|mtu| LinkAttribute::Mtu(mtu.bytes())));
            link.attributes.push(LinkAttribute::Group(*group));
            link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge)]));
            (M::NewLink(link), CREATE)
        }
        Request::CreateDummy { end } => {
            let mut link = end_message(end);
            link.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Dummy)]));
            (M::NewLink(link), CREATE)
        }
        Request::CreateMacvlan { end, parent, mode, .. } => (M::NewLink(device::macvlan(end, *parent, *mode)), CREATE),
        Request::CreateVlan { end, parent, id, .. } => (M::NewLink(device::vlan(end, *parent, *id)), CREATE),
        Request::CreateVxlan { end, tunnel } => (M::NewLink(device::vxlan(end, tunnel)), CREATE),
        Request::AddIngress { ifindex, .. } => (M::NewQueueDiscipline(redirect::ingress(*ifindex)), CREATE),
        Request::LeaveFailSignals { ifindex, .. } => {
            (M::NewTrafficFilter(redirect::leave_fail_signals(*ifindex)), CREATE)
        }
        Request::Redirect { from, to, .. } => (M::NewTrafficFilter(redirect::redirect(*from, *to)), CREATE),
        Request::SetLink { ifindex, change, .. } => (M::SetLink(change_message(*ifindex, change)), 0),
        Request::DisableTxChecksum { .. } | Request::RestoreRoute { .. } => return None,
        Request::AddAltname { ifindex, altname, .. } => {
            let mut link = link_message(*ifindex);
            link.attributes.push(LinkAttribute::PropList(vec![Prop::AltIfName(altname.clone())]));
            (M::NewLinkProp(link), CREATE)
        }
        Request::MoveLink { ifindex, to, state, .. } => {
            // The rest of the message counts in the new namespace.
            let mut link = change_message(*ifindex, &LinkChange { state: Some(*state), ..LinkChange::default() });
            link.attributes.push(LinkAttribute::NetNsFd(to.netns.raw_fd()));
            (M::SetLink(link), 0)
        }
        Request::DeleteLink { ifindex, .. } => (M::DelLink(link_message(*ifindex)), 0),
        Request::DeleteGroup { group, .. } => {
            let mut link = link_message(0);
            link.attributes.push(LinkAttribute::Group(*group));
            (M::DelLink(link), 0)
        }
        Request::AddAddress { ifindex, address, protocol, .. } => {
            let mut message = address_message(*ifindex, address);
            message.attributes.extend(protocol.map(|protocol| AddressAttribute::Protocol(protocol.into())));
            (M::NewAddress(message), CREATE)
        }
        Request::DeleteAddress { ifindex, address, .. } => (M::DelAddress(address_message(*ifindex, address)), 0),
        Request::AddRoute { to, via, ifindex, .. } => {
            let mut route = route_message(to, *via, *ifindex);
            route.header.protocol = RouteProtocol::Static;
            route.header.kind = RouteType::Unicast;
            (M::NewRoute(route), CREATE)
        }
        Request::DeleteRoute { to, via, ifindex, .. } => {
            let mut route = route_message(to, *via, *ifindex);
            // RT_SCOPE_NOWHERE matches every scope when a route is deleted.
            route.header.scope = RouteScope::NoWhere;
            (M::DelRoute(route), 0)
        }
    })
}

fn link_message(ifindex: u32) -> LinkMessage {
    let mut link = LinkMessage::default();
    link.header.index = ifindex;
    link
}

fn end_message(end: &VethEnd) -> LinkMessage {
    let mut link = link_message(end.ifindex.unwrap_or_default());
    link.attributes.push(LinkAttribute::IfName(end.name.as_str().to_owned()));
    link.attributes.extend(end.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    link.attributes.extend(end.mtu.map(|mtu| LinkAttribute::Mtu(mtu.bytes())));
    link.attributes.push(LinkAttribute::Group(end.group));
    link
}

fn change_message(ifindex: u32, change: &LinkChange) -> LinkMessage {
    let mut link = link_message(ifindex);
    if let Some(state) = change.state {
        link.header.change_mask = LinkFlags::Up;
        link.header.flags = if state == AdminState::Up { LinkFlags::Up } else { LinkFlags::empty() };
    }
    let attributes = &mut link.attributes;
    attributes.extend(change.name.as_ref().map(|name| LinkAttribute::IfName(name.as_str().to_owned())));
    attributes.extend(change.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes.extend(change.mtu.map(|mtu| LinkAttribute::Mtu(mtu.bytes())));
    attributes.extend(change.master.map(LinkAttribute::Controller));
    attributes.extend(change.group.map(LinkAttribute::Group));
    // Without the NUL that the library's own attribute adds: 255 bytes would be one too many with it.
    attributes.extend(
        change
            .alias
            .as_ref()
            .map(|alias| LinkAttribute::Other(DefaultNla::new(IFLA_IFALIAS, alias.clone().into_bytes()))),
    );
    link
}

fn family(ip: IpAddr) -> AddressFamily {
    if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn address_message(ifindex: u32, address: &Address) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.ip());
    message.header.prefix_len = address.prefix();
    message.header.scope = AddressScope::Universe;
    message.header.index = ifindex;
    message.attributes.push(AddressAttribute::Address(address.ip()));
    match address {
        Address::V4(_) => message.attributes.push(AddressAttribute::Local(address.ip())),
        // Without it the address is tentative for a second, and forever while the far end is down.
        Address::V6(_) => message.header.flags = AddressHeaderFlags::Nodad,
    }
    message
}

fn route_message(to: &Address, via: Option<IpAddr>, ifindex: Option<u32>) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header.address_family = family(to.ip());
    route.header.destination_prefix_length = to.prefix();
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.scope = if via.is_none() && to.ip().is_ipv4() { RouteScope::Link } else { RouteScope::Universe };
    if to.prefix() > 0 {
        route.attributes.push(RouteAttribute::Destination(RouteAddress::from(to.ip())));
    }
    route.attributes.extend(via.map(|ip| RouteAttribute::Gateway(RouteAddress::from(ip))));
    route.attributes.extend(ifindex.map(RouteAttribute::Oif));
    route
}

/// What was found of the interfaces that a refused request names.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The interface itself, or what has the name of the (main) end.
    pub(crate) a: Option<parse::LinkInfo>,
    /// What has the name of the other end.
    pub(crate) b: Option<parse::LinkInfo>,
}

/// What is being done, on what.
fn describe(request: &Request, found: &Found) -> (&'static str, String) {
    let interface = |ifindex: &u32, place: &Place| match &found.a {
        Some(link) => format!("interface `{}` {place}", link.name),
        None => format!("interface #{ifindex} {place}"),
    };
    match request {
        Request::CreateVeth { a, b, .. } => {
            ("create link", format!("`{}` {} with `{}` {}", a.name, a.place, b.name, b.place))
        }
        Request::CreateBridge { place, name, .. } => ("create bridge", format!("`{name}` {place}")),
        Request::CreateDummy { end } => ("create dummy", format!("`{}` {}", end.name, end.place)),
        Request::CreateMacvlan { end, .. } => ("create macvlan", format!("`{}` {}", end.name, end.place)),
        Request::CreateVlan { end, .. } => ("create subinterface", format!("`{}` {}", end.name, end.place)),
        Request::CreateVxlan { end, .. } => ("create vxlan", format!("`{}` {}", end.name, end.place)),
        Request::AddIngress { place, ifindex } => ("take what comes in at", interface(ifindex, place)),
        Request::LeaveFailSignals { place, ifindex } => {
            ("leave fail signals that come in at", interface(ifindex, place))
        }
        Request::Redirect { place, from, .. } => ("redirect what comes in at", interface(from, place)),
        Request::SetLink { place, ifindex, change } => (
            match (change.state, change.master) {
                (Some(AdminState::Up), _) => "bring up",
                (Some(AdminState::Down), _) => "bring down",
                (None, Some(0)) => "take from its bridge",
                (None, Some(_)) => "make a bridge port of",
                (None, None) => "change",
            },
            interface(ifindex, place),
        ),
        Request::DisableTxChecksum { place, name } => {
            ("switch off checksum offload of", format!("interface `{name}` {place}"))
        }
        Request::AddAltname { place, ifindex, altname } => {
            ("add name", format!("`{altname}` to {}", interface(ifindex, place)))
        }
        Request::MoveLink { place, ifindex, to, .. } => ("move", format!("{} to {to}", interface(ifindex, place))),
        Request::DeleteLink { place, ifindex } => ("delete", interface(ifindex, place)),
        Request::DeleteGroup { place, group } => ("delete", format!("interfaces of group {group} {place}")),
        Request::AddAddress { place, ifindex, address, .. } => {
            ("add address", format!("{address} to {}", interface(ifindex, place)))
        }
        Request::DeleteAddress { place, ifindex, address } => {
            ("delete address", format!("{address} of {}", interface(ifindex, place)))
        }
        Request::AddRoute { place, to, .. } => ("add route", format!("to {to} {place}")),
        Request::RestoreRoute { place, .. } => ("restore route", place.to_string()),
        Request::DeleteRoute { place, to, .. } => ("delete route", format!("to {to} {place}")),
    }
}

/// A request whose turn came after the deadline.
pub(crate) fn not_attempted(request: &Request) -> KernelError {
    let (operation, object) = describe(request, &Found::default());
    let message = format!("there was no time left to {operation} {object}");
    KernelError { operation, object, kind: KernelErrorKind::Deadline, message }
}

/// A refusal in words. `detail` is the text of the extended acknowledgement, empty if the kernel sent none.
pub(crate) fn explain(request: &Request, errno: i32, detail: &str, found: &Found) -> KernelError {
    let (operation, object) = describe(request, found);
    let cause = if detail.is_empty() { errno_text(errno) } else { detail.trim_end_matches('.').to_owned() };
    // What is created, and the kernel module behind it.
    let created: Option<(&str, &InterfaceName, &Place)> = match request {
        Request::CreateVeth { a, .. } => Some(("veth", &a.name, &a.place)),
        Request::CreateBridge { place, name, .. } => Some(("bridge", name, place)),
        Request::CreateDummy { end } => Some(("dummy", &end.name, &end.place)),
        Request::CreateMacvlan { end, .. } => Some(("macvlan", &end.name, &end.place)),
        Request::CreateVlan { end, .. } => Some(("8021q", &end.name, &end.place)),
        Request::CreateVxlan { end, .. } => Some(("vxlan", &end.name, &end.place)),
        _ => None,
    };
    let kind = match (kind(errno), created) {
        // The parent is a port of a bridge, or another macvlan has it for itself.
        (KernelErrorKind::Busy, Some(("macvlan", ..))) => KernelErrorKind::Busy,
        // It is not about a name: another tunnel of the host has the same identifier and port.
        (KernelErrorKind::AlreadyExists, Some(("vxlan", ..))) if detail.contains("VNI") => KernelErrorKind::Busy,
        // The parent has a subinterface of that tag (vlan_check_real_dev says "VLAN device already exists").
        (KernelErrorKind::AlreadyExists, Some(("8021q", ..))) if detail.contains("VLAN") => KernelErrorKind::Busy,
        // dev_index_reserve() says EBUSY for an ifindex that is taken; the look-up before it says EEXIST for one
        // that is taken where the main end is, and then no interface of that name is to be found.
        (KernelErrorKind::Busy, Some(_)) => KernelErrorKind::IfindexTaken,
        (KernelErrorKind::AlreadyExists, Some(_)) if found.a.is_none() && found.b.is_none() => {
            KernelErrorKind::IfindexTaken
        }
        (kind, _) => kind,
    };
    let exists = |name: &InterfaceName, place: &Place, link: &parse::LinkInfo| {
        let what = link.kind.as_deref().map_or_else(String::new, |kind| format!(" (a {kind})"));
        format!("interface `{name}` already exists {place}{what}")
    };
    let message = match (kind, created, request) {
        (KernelErrorKind::Unsupported, Some(("8021q", ..)), _) => format!(
            "the kernel has no VLAN subinterfaces (module 8021q): {cause}; load it with `modprobe 8021q` or run this on a \
             kernel that has it"
        ),
        (KernelErrorKind::Unsupported, Some((module, ..)), _) => format!(
            "the kernel has no `{module}` interfaces (module {module}): {cause}; load it with `modprobe {module}` or \
             run this on a kernel that has it"
        ),
        (KernelErrorKind::Unsupported | KernelErrorKind::NotFound, _, Request::AddIngress { .. }) => format!(
            "cannot {operation} {object}: {cause}; the kernel needs the modules sch_ingress, cls_u32 and act_mirred for it"
        ),
        (
            KernelErrorKind::Unsupported | KernelErrorKind::NotFound,
            _,
            Request::Redirect { .. } | Request::LeaveFailSignals { .. },
        ) => {
            format!("cannot {operation} {object}: {cause}; the kernel needs the modules cls_u32 and act_mirred for it")
        }
        (KernelErrorKind::Unsupported, _, Request::DisableTxChecksum { .. }) => format!(
            "cannot {operation} {object}: its driver does not let `tx-checksumming` be switched (`ethtool -k` shows it as \
             fixed)"
        ),
        (KernelErrorKind::Busy, Some(("macvlan", ..)), _) => format!(
            "cannot {operation} {object}: {cause}: its parent is a port of a bridge, or belongs to another macvlan alone"
        ),
        (KernelErrorKind::IfindexTaken, _, _) => format!("cannot {operation} {object}: its ifindex is taken"),
        (KernelErrorKind::AlreadyExists, Some((_, name, place)), request) => match (&found.a, &found.b, request) {
            (None, Some(link), Request::CreateVeth { b, .. }) => exists(&b.name, &b.place, link),
            (Some(link), _, _) => exists(name, place, link),
            _ => format!("cannot {operation} {object}: {cause}"),
        },
        (KernelErrorKind::AlreadyExists, _, Request::AddAltname { place, altname, .. }) => {
            format!("the name `{altname}` is taken {place}")
        }
        (KernelErrorKind::AlreadyExists, _, Request::AddAddress { address, .. }) => {
            format!("address {address} is already on {}", object.split_once(" to ").map_or("it", |(_, rest)| rest))
        }
        // Of a root without the capability the kernel says EPERM.
        (_, _, Request::AddAddress { address: Address::V6(_), .. }) if errno == libc::EACCES => format!(
            "cannot {operation} {object}: IPv6 is off there: its sysctl `disable_ipv6` is 1. Write \
             `net.ipv6.conf.all.disable_ipv6: 0` under `sysctls` of its node, or leave the IPv6 address out"
        ),
        (KernelErrorKind::Permission, _, _) => {
            format!("cannot {operation} {object}: {cause}; it needs root (CAP_NET_ADMIN)")
        }
        _ => format!("cannot {operation} {object}: {cause}"),
    };
    KernelError { operation, object, kind, message }
}
