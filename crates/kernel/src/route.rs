//! The way that packets take: asked of the kernel, and asked again when routes change.
//!
//! The kernel looks a route up without RTNL, in microseconds, so nobody who asks waits for who changes links.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use netlink_packet_core::NLM_F_ACK;
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
