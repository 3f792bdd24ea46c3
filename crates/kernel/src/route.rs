//! The way that packets take: asked of the kernel, and asked again when routes change; and routes that are kept while an
//! interface changes its addresses, with which the kernel takes them away.
//!
//! The kernel looks a route up without RTNL, in microseconds, so nobody who asks waits for who changes links.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::event::{EventfdFlags, PollFd, PollFlags};

use crate::netns::Netns;
use crate::parse::{self, Way};
use crate::socket::{BUFFER, Socket, receive_with_nsid};

// linux/rtnetlink.h. The kernel says nothing of routes of IPv4 that go because their interface is off or their address gone.
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;

/// Looks one way up from the namespace of a socket.
pub(crate) fn look_up(socket: &mut Socket, to: IpAddr) -> io::Result<Option<Way>> {
    let mut message = RouteMessage::default();
    let (family, prefix) = if to.is_ipv4() { (AddressFamily::Inet, 32) } else { (AddressFamily::Inet6, 128) };
    message.header.address_family = family;
    message.header.destination_prefix_length = prefix;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::from(to)));
    let mut way = None;
    let ack = socket.request(RouteNetlinkMessage::GetRoute(message), NLM_F_ACK, |answer| {
        if answer.kind == parse::RTM_NEWROUTE {
            way = parse::way(answer);
        }
    })?;
    match ack.errno {
        0 => Ok(way),
        // A host without IPv6 has no way there either.
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EAFNOSUPPORT | libc::EOPNOTSUPP => Ok(None),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

const RTA_OIF: u16 = 4;

/// A route as the kernel had it, with all that it says of it but for the interface that it leads by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedRoute {
    /// A `struct rtmsg` and its attributes (linux/rtnetlink.h).
    message: Vec<u8>,
}

impl From<Vec<u8>> for SavedRoute {
    /// What [`SavedRoute::into_bytes`] gave; the kernel refuses what is none.
    fn from(message: Vec<u8>) -> Self {
        Self { message }
    }
}

impl SavedRoute {
    /// What of it can be kept beyond the life of this process, on this machine.
    pub fn into_bytes(self) -> Vec<u8> {
        self.message
    }

    /// The route that a message tells of, if somebody has made it, and it leads by this interface alone.
    fn read(message: &parse::Message<'_>, ifindex: u32) -> Option<Self> {
        const HEADER: usize = 12;
        const RTA_CACHEINFO: u16 = 12;
        /// RTPROT_BOOT: the kernel makes those below by itself.
        const FIRST_MADE: u8 = 3;
        const RTPROT_RA: u8 = 9;
        const RTN_UNICAST: u8 = 1;
        /// RTNH_F_ONLINK: the others say how it is and cannot be asked for.
        const ONLINK: u32 = 4;
        let head = message.payload.get(..HEADER)?;
        let (protocol, kind) = (head[5], head[7]);
        if kind != RTN_UNICAST || protocol < FIRST_MADE || protocol == RTPROT_RA {
            return None;
        }
        let attributes = || parse::attributes(&message.payload[HEADER..]);
        if !attributes().any(|(kind, value)| kind == RTA_OIF && value == ifindex.to_ne_bytes()) {
            return None;
        }
        let flags = u32::from_ne_bytes(head[8..].try_into().ok()?) & ONLINK;
        let mut saved = [&head[..8], &flags.to_ne_bytes()].concat();
        // How long it was used is its own affair.
        for (kind, value) in attributes().filter(|(kind, _)| ![RTA_CACHEINFO, RTA_OIF].contains(kind)) {
            push(&mut saved, kind, value)?;
        }
        Some(Self { message: saved })
    }

    /// Appends the message that adds it, by an interface.
    pub(crate) fn encode(&self, ifindex: u32, flags: u16, sequence: u32, datagram: &mut Vec<u8>) {
        const HEADER: usize = 16;
        let mut message = self.message.clone();
        push(&mut message, RTA_OIF, &ifindex.to_ne_bytes()).expect("a number is short");
        let length = u32::try_from(HEADER + message.len()).expect("a route is smaller than a datagram");
        datagram.extend(length.to_ne_bytes());
        datagram.extend(parse::RTM_NEWROUTE.to_ne_bytes());
        datagram.extend(flags.to_ne_bytes());
        datagram.extend(sequence.to_ne_bytes());
        datagram.extend(0_u32.to_ne_bytes());
        datagram.extend(message);
    }
}

/// Appends an attribute (linux/rtnetlink.h, `struct rtattr`); none that is too long for one.
fn push(message: &mut Vec<u8>, kind: u16, value: &[u8]) -> Option<()> {
    message.extend(u16::try_from(value.len() + 4).ok()?.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    Some(())
}

/// The routes that somebody has made by an interface. Of one that leads by several nothing is said.
pub(crate) fn routes(socket: &mut Socket, ifindex: u32) -> io::Result<(i32, Vec<SavedRoute>)> {
    let mut all = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let ack = socket.request(RouteNetlinkMessage::GetRoute(message), NLM_F_DUMP, |answer| {
            if answer.kind == parse::RTM_NEWROUTE {
                all.extend(SavedRoute::read(answer, ifindex));
            }
        })?;
        if ack.errno != 0 {
            return Ok((ack.errno, all));
        }
    }
    Ok((0, all))
}

/// Keeps the way to one address; its thread ends when this is dropped.
#[derive(Debug)]
pub struct WayWatch {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl WayWatch {
    /// Starts the thread, which calls `tell` with the way from `home` to an address of IPv4 when it has looked it up first,
    /// and when it is another one; `None` while there is none.
    pub fn start(home: &Netns, to: IpAddr, tell: impl Fn(Option<Way>) + Send + 'static) -> io::Result<Self> {
        let (listener, asker) = home.run(|| io::Result::Ok((listen()?, Socket::open()?)))??;
        let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let thread = thread::Builder::new().name("nl-routes".into()).spawn({
            let stop = stop.clone();
            move || follow(&listener, asker, to, &stop, tell)
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for WayWatch {
    fn drop(&mut self) {
        // An eventfd takes a write unless its counter is full, and then the thread is woken already.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen() -> io::Result<netlink_sys::Socket> {
    let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)?;
    socket.bind_auto()?;
    for group in [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE] {
        socket.add_membership(group)?;
    }
    Ok(socket)
}

fn follow(listener: &netlink_sys::Socket, mut asker: Socket, to: IpAddr, stop: &OwnedFd, tell: impl Fn(Option<Way>)) {
    let socket = crate::socket::as_fd(listener);
    let (mut buffer, mut last) = (vec![0; BUFFER], None);
    loop {
        match look_up(&mut asker, to) {
            Ok(way) => {
                if last.replace(way) != Some(way) {
                    tell(way);
                }
            }
            Err(error) => tracing::warn!(%error, %to, "a route cannot be looked up"),
        }
        let mut fds = [PollFd::new(&socket, PollFlags::IN), PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "changes of routes cannot be waited for");
                return;
            }
        }
        if !fds[1].revents().is_empty() {
            return;
        }
        // What they say is not looked at, and one look follows all that are there: also when some were lost.
        while let Ok(_) | Err(io::ErrorKind::Interrupted) = receive_with_nsid(socket, &mut buffer).map_err(|e| e.kind())
        {
        }
    }
}
