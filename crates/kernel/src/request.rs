//! What can be asked of the kernel, in our words.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use netloom_model::{InterfaceName, Ipv4Net, Ipv6Net, Mac, MacvlanMode, Mtu};

use crate::netns::Netns;
use crate::route::SavedRoute;

/// Where a request acts: a namespace and what a person calls it.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) netns: Netns,
    label: Option<Arc<str>>,
}

impl Place {
    /// The namespace of a node; errors say "in `r1`".
    pub fn node(netns: Netns, name: impl Into<Arc<str>>) -> Self {
        Self { netns, label: Some(name.into()) }
    }

    /// The host's namespace; errors say "on the host".
    pub fn host(netns: Netns) -> Self {
        Self { netns, label: None }
    }

    /// The namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "in `{label}`"),
            None => f.write_str("on the host"),
        }
    }
}

/// Whether an interface is switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdminState {
    /// IFF_UP is set.
    Up,
    /// IFF_UP is not set.
    Down,
}

/// An address with the prefix length of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// IPv4.
    V4(Ipv4Net),
    /// IPv6.
    V6(Ipv6Net),
}

impl Address {
    /// The address without its prefix length.
    pub fn ip(&self) -> IpAddr {
        match self {
            Self::V4(net) => net.address.into(),
            Self::V6(net) => net.address.into(),
        }
    }

    /// The prefix length in bits.
    pub fn prefix(&self) -> u8 {
        match self {
            Self::V4(net) => net.prefix,
            Self::V6(net) => net.prefix,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip(), self.prefix())
    }
}

/// One end of a veth pair that is to be made.
#[derive(Debug, Clone)]
pub struct VethEnd {
    /// Where it is made; it is never moved.
    pub place: Place,
    /// Its name there.
    pub name: InterfaceName,
    /// Its ifindex there, if dictated. The two ends of a pair must differ: for equal numbers the kernel
    /// takes the end for its own lower device and tells of a carrier change up to a second late.
    pub ifindex: Option<u32>,
    /// Its MAC address; random if `None`.
    pub mac: Option<Mac>,
    /// Its MTU; the kernel's default (1500) if `None`.
    pub mtu: Option<Mtu>,
    /// Its group; 0 is the kernel's default group.
    pub group: u32,
}

/// Where a VXLAN interface sends its packets, and from where.
#[derive(Debug, Clone)]
pub struct Tunnel {
    /// The namespace whose addresses and routes it uses. The interface need not be there.
    pub place: Place,
    /// The network identifier (24 bits). A namespace has one tunnel of an identifier and port.
    pub vni: u32,
    /// The other end.
    pub remote: IpAddr,
    /// The UDP port of the other end, and the one that is listened on.
    pub dst_port: u16,
    /// The UDP port that is sent from; one for each flow if `None`.
    pub src_port: Option<u16>,
    /// The interface (ifindex in `place`) that it sends from; the route decides if `None`.
    pub parent: Option<u32>,
    /// The address in `place` that it sends from; the route decides if `None`.
    pub local: Option<IpAddr>,
}

/// What to change of an interface; `None` leaves a field alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkChange {
    /// Switch it on or off.
    pub state: Option<AdminState>,
    /// Its MTU.
    pub mtu: Option<Mtu>,
    /// Its MAC address.
    pub mac: Option<Mac>,
    /// Its alias, at most 255 bytes; empty takes it away.
    pub alias: Option<String>,
    /// The ifindex of the bridge it becomes a port of; 0 frees it.
    pub master: Option<u32>,
    /// Its group.
    pub group: Option<u32>,
    /// Its name; the kernel renames interfaces that are up since 6.2 only.
    pub name: Option<InterfaceName>,
}

/// One thing for the kernel to do.
#[derive(Debug, Clone)]
pub enum Request {
    /// Makes both ends of a veth pair in place.
    CreateVeth {
        /// The main end.
        a: VethEnd,
        /// Whether the main end is created up. The other one cannot be: the kernel refuses it.
        a_state: AdminState,
        /// The bridge (ifindex where the main end is) that the main end becomes a port of.
        a_master: Option<u32>,
        /// The other end, always down at first.
        b: VethEnd,
    },
    /// Makes a bridge, down. It gets a MAC address of its own, so that it does not change with its ports.
    CreateBridge {
        /// Where.
        place: Place,
        /// Its name.
        name: InterfaceName,
        /// Its ifindex, if dictated.
        ifindex: Option<u32>,
        /// Its MAC address.
        mac: Option<Mac>,
        /// Its MTU.
        mtu: Option<Mtu>,
        /// Its group.
        group: u32,
    },
    /// Makes a dummy interface, down (module `dummy`).
    CreateDummy {
        /// The interface; all fields are as in a veth pair.
        end: VethEnd,
    },
    /// Makes a macvlan interface, down (module `macvlan`).
    CreateMacvlan {
        /// The interface; all fields are as in a veth pair. Without an MTU it has that of its parent.
        end: VethEnd,
        /// Where its parent is.
        place: Place,
        /// The ifindex of the parent there.
        parent: u32,
        /// Whom it hears.
        mode: MacvlanMode,
    },
    /// Makes a VXLAN interface, down (module `vxlan`, RFC 7348).
    CreateVxlan {
        /// The interface; all fields are as in a veth pair.
        end: VethEnd,
        /// Where it leads.
        tunnel: Tunnel,
    },
    /// Makes a subinterface of another interface, down (module `8021q`, IEEE 802.1Q): what passes it has this tag there.
    /// Without an MTU it has that of its parent, and never a larger one.
    CreateVlan {
        /// The interface; all fields are as in a veth pair.
        end: VethEnd,
        /// Where its parent is.
        place: Place,
        /// The ifindex of the parent there.
        parent: u32,
        /// The tag, 1 to 4094. A parent has one subinterface of each.
        id: u16,
    },
    /// Makes an interface take [`Request::Redirect`] (module `sch_ingress`).
    AddIngress {
        /// Where.
        place: Place,
        /// Which.
        ifindex: u32,
    },
    /// Keeps what hosts tell each other in a tunnel ([`crate::SignalFail`]) out of the [`Request::Redirect`] of its interface
    /// (module `cls_u32`).
    LeaveFailSignals {
        /// Where.
        place: Place,
        /// Which.
        ifindex: u32,
    },
    /// Sends what comes in at an interface out at another one (modules `cls_u32`, `act_mirred`). It ends with either.
    Redirect {
        /// Where both are.
        place: Place,
        /// The one that it comes in at.
        from: u32,
        /// The one that it goes out at.
        to: u32,
    },
    /// Changes an interface.
    SetLink {
        /// Where.
        place: Place,
        /// Which.
        ifindex: u32,
        /// What.
        change: LinkChange,
    },
    /// Has an interface complete the checksums of what it sends, instead of leaving them to whoever takes it off the host
    /// (what `ethtool -K NAME tx off` does). One that does already stays as it is; it goes along when the interface is moved.
    DisableTxChecksum {
        /// Where.
        place: Place,
        /// Its name there, by which alone the kernel takes it.
        name: InterfaceName,
    },
    /// Gives an interface a second name of up to 127 bytes.
    AddAltname {
        /// Where.
        place: Place,
        /// Which.
        ifindex: u32,
        /// The name.
        altname: String,
    },
    /// Moves an interface to another namespace (18 to 29 ms, for which RTNL is held): make it in place where that can be
    /// had. Name, MAC address, MTU, alias, group and other names go along, the ifindex too if it is free there; addresses
    /// and routes do not.
    MoveLink {
        /// Where it is.
        place: Place,
        /// Which.
        ifindex: u32,
        /// Where it goes.
        to: Place,
        /// Whether it is on there.
        state: AdminState,
    },
    /// Takes an interface away, and with a veth end its other end.
    DeleteLink {
        /// Where.
        place: Place,
        /// Which.
        ifindex: u32,
    },
    /// Takes all interfaces of a group away at once (0.5 ms each instead of 16 ms). A group is a number that anyone may
    /// use: the caller has checked that every member is its own.
    DeleteGroup {
        /// Where.
        place: Place,
        /// Which; 0 is refused here.
        group: u32,
    },
    /// Adds an address. IPv6 addresses are usable at once (no duplicate address detection).
    AddAddress {
        /// Where.
        place: Place,
        /// The interface.
        ifindex: u32,
        /// The address.
        address: Address,
        /// Who put it there (IFA_PROTO): a number from 4 up, seen again in dumps. Kernels before 5.18 forget it.
        protocol: Option<u8>,
    },
    /// Takes an address away.
    DeleteAddress {
        /// Where.
        place: Place,
        /// The interface.
        ifindex: u32,
        /// The address.
        address: Address,
    },
    /// Adds a route of the main table, protocol static.
    AddRoute {
        /// Where.
        place: Place,
        /// The destination network.
        to: Address,
        /// The gateway, if it is not on the link.
        via: Option<IpAddr>,
        /// The interface it leaves by.
        ifindex: Option<u32>,
    },
    /// Adds a route again just as it was ([`crate::Dumper::routes`]), by this interface.
    RestoreRoute {
        /// Where.
        place: Place,
        /// The interface it leaves by.
        ifindex: u32,
        /// The route.
        route: SavedRoute,
    },
    /// Takes a route away.
    DeleteRoute {
        /// Where.
        place: Place,
        /// The destination network.
        to: Address,
        /// The gateway, if only that route is meant.
        via: Option<IpAddr>,
        /// The interface, if only that route is meant.
        ifindex: Option<u32>,
    },
}

impl Request {
    /// The namespace whose socket must carry it.
    pub(crate) fn place(&self) -> &Place {
        match self {
            Self::CreateVeth { a: end, .. } | Self::CreateDummy { end } => &end.place,
            Self::CreateVxlan { tunnel, .. } => &tunnel.place,
            Self::CreateBridge { place, .. }
            | Self::CreateMacvlan { place, .. }
            | Self::CreateVlan { place, .. }
            | Self::AddIngress { place, .. }
            | Self::LeaveFailSignals { place, .. }
            | Self::Redirect { place, .. }
            | Self::SetLink { place, .. }
            | Self::DisableTxChecksum { place, .. }
            | Self::AddAltname { place, .. }
            | Self::MoveLink { place, .. }
            | Self::DeleteLink { place, .. }
            | Self::DeleteGroup { place, .. }
            | Self::AddAddress { place, .. }
            | Self::DeleteAddress { place, .. }
            | Self::AddRoute { place, .. }
            | Self::RestoreRoute { place, .. }
            | Self::DeleteRoute { place, .. } => place,
        }
    }
}
