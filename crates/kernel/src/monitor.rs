//! The monitor: what changes in the host's namespace and in every namespace that it watches, as it happens.
//!
//! One thread with one socket (NETLINK_LISTEN_ALL_NSID). The kernel sends it the events of each namespace that has an
//! id (nsid) in the host's; a namespace without one is silent, so each is given one by [`Monitor::watch`] before
//! anything is made in it. Events that were lost, by the kernel (its buffer is full) or here (the receiver does not
//! keep up), become one [`MonitorEvent::Overrun`]: after it only a dump tells the truth.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use rustix::event::{EventfdFlags, PollFd, PollFlags};
use rustix::net::sockopt;
use tokio::sync::mpsc;

use crate::netns::Netns;
use crate::parse::{self, AddressInfo, LinkInfo};
use crate::socket::{BUFFER, Received, Socket, receive_with_nsid};

/// Batches of events that may wait for the receiver.
const QUEUE: usize = 256;
/// Events of one batch.
const BATCH: usize = 512;
/// 500 links make 5,000 datagrams; the default of 208 KiB holds 92 of them.
const RECEIVE_BUFFER: usize = 8 << 20;

// linux/rtnetlink.h
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_NSID: u32 = 28;

/// Whether something is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is new, or a field of it changed.
    New,
    /// It is gone.
    Deleted,
}

/// Something that happened. `nsid` names the namespace as [`Monitor::watch`] does; `None` is the host's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonitorEvent {
    /// An interface came, changed or went.
    Link {
        /// Where.
        nsid: Option<i32>,
        /// How.
        change: Change,
        /// The interface as it is now, or was last.
        link: Box<LinkInfo>,
    },
    /// An address came or went.
    Address {
        /// Where.
        nsid: Option<i32>,
        /// How.
        change: Change,
        /// The address.
        address: AddressInfo,
    },
    /// A namespace has ended. It is all that it says: what was in it is not told one by one.
    NamespaceGone {
        /// Which.
        nsid: i32,
    },
    /// Events were lost; dump everything anew. What comes after it is complete again.
    Overrun,
}

/// The running monitor; its thread ends when this is dropped.
#[derive(Debug)]
pub struct Monitor {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    /// In the host's namespace; ids are given and read through it.
    ids: Mutex<Socket>,
    next: AtomicI32,
}

impl Monitor {
    /// Starts to listen in `home` (the host's namespace) and all namespaces with an id in it.
    ///
    /// Events that happen after this has returned are delivered in order, in batches. If the receiver is dropped
    /// the thread ends.
    pub fn start(home: &Netns) -> io::Result<(Self, mpsc::Receiver<Vec<MonitorEvent>>)> {
        Self::start_in(home, &[RTNLGRP_NSID, RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR])
    }

    /// As [`Monitor::start`], but only the ends of namespaces are told.
    pub fn start_for_ends(home: &Netns) -> io::Result<(Self, mpsc::Receiver<Vec<MonitorEvent>>)> {
        Self::start_in(home, &[RTNLGRP_NSID])
    }

    fn start_in(home: &Netns, groups: &[u32]) -> io::Result<(Self, mpsc::Receiver<Vec<MonitorEvent>>)> {
        let (listener, mut ids) = home.run(|| io::Result::Ok((listen(groups)?, Socket::open()?)))??;
        // The host's namespace may have been given an id of its own by someone; its events then carry it.
        let own = query(&mut ids, home)?;
        let next = AtomicI32::new(highest(&mut ids)?.map_or(0, |highest| highest.saturating_add(1)));
        let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let outlet = Outlet::new(sender);
        let thread = thread::Builder::new().name("nl-monitor".into()).spawn({
            let stop = stop.clone();
            move || run(&listener, &stop, own, outlet)
        })?;
        Ok((Self { stop, thread: Some(thread), ids: Mutex::new(ids), next }, receiver))
    }

    /// The id of a namespace in the host's, given now if it has none. From now on its events are delivered.
    ///
    /// Ids given here only count up, so that an event of a namespace that has ended is never taken for one of its
    /// successor's. Takes microseconds: the kernel answers without RTNL.
    pub fn watch(&self, netns: &Netns) -> io::Result<i32> {
        // Nobody blocks for long holding it, and a socket whose user panicked is as good as before.
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(nsid) = query(&mut ids, netns)? {
                return Ok(nsid);
            }
            let nsid = self.next.fetch_add(1, Ordering::Relaxed);
            let mut message = NsidMessage::default();
            message.attributes.push(NsidAttribute::Id(nsid));
            message.attributes.push(fd_of(netns));
            let ack = ids.request(RouteNetlinkMessage::NewNsId(message), NLM_F_ACK, |_| {})?;
            match ack.errno {
                0 => return Ok(nsid),
                // The id is taken, or the namespace was given one meanwhile: by the kernel itself, when an interface
                // of the host has its other end there, or by another agent.
                libc::EEXIST => {}
                errno => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // An eventfd takes a write unless its counter is full, and then the thread is woken already.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // It never blocks but in poll, so this takes as long as one batch.
            let _ = thread.join();
        }
    }
}

fn fd_of(netns: &Netns) -> NsidAttribute {
    NsidAttribute::Fd(u32::try_from(netns.raw_fd()).expect("an open descriptor is not negative"))
}

fn query(ids: &mut Socket, netns: &Netns) -> io::Result<Option<i32>> {
    let mut message = NsidMessage::default();
    message.attributes.push(fd_of(netns));
    let mut nsid = None;
    let ack = ids.request(RouteNetlinkMessage::GetNsId(message), NLM_F_ACK, |m| nsid = parse::nsid(m))?;
    match ack.errno {
        0 => Ok(nsid.filter(|nsid| *nsid >= 0)),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn highest(ids: &mut Socket) -> io::Result<Option<i32>> {
    let mut highest = None;
    let message = RouteNetlinkMessage::GetNsId(NsidMessage::default());
    let ack = ids.request(message, NLM_F_DUMP, |m| highest = highest.max(parse::nsid(m)))?;
    match ack.errno {
        // An interrupted dump gives a number that is too low at worst, and then watch() counts on.
        0 | libc::EINTR => Ok(highest),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

fn listen(groups: &[u32]) -> io::Result<netlink_sys::Socket> {
    let mut socket = netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE)?;
    socket.bind_auto()?;
    let fd = crate::socket::as_fd(&socket);
    // Beyond rmem_max with CAP_NET_ADMIN; without it as much as is allowed, and more overruns.
    if sockopt::set_socket_recv_buffer_size_force(fd, RECEIVE_BUFFER).is_err() {
        sockopt::set_socket_recv_buffer_size(fd, RECEIVE_BUFFER)?;
    }
    socket.set_listen_all_namespaces(true)?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

fn run(listener: &netlink_sys::Socket, stop: &OwnedFd, own: Option<i32>, mut outlet: Outlet) {
    let socket = crate::socket::as_fd(listener);
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut fds = [PollFd::new(&socket, PollFlags::IN), PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, fd = socket.as_raw_fd(), "the netlink monitor cannot wait for events");
                outlet.overrun();
                return;
            }
        }
        if !fds[1].revents().is_empty() {
            return;
        }
        let mut events = Vec::new();
        while events.len() < BATCH {
            match receive_with_nsid(socket, &mut buffer) {
                Ok(Received { length, nsid }) => {
                    let nsid = nsid.filter(|nsid| Some(*nsid) != own);
                    events.extend(parse::messages(&buffer[..length]).filter_map(|message| event(&message, nsid)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.raw_os_error() != Some(libc::ENOBUFS) {
                        tracing::warn!(%error, "the netlink monitor cannot read");
                    }
                    events.push(MonitorEvent::Overrun);
                    break;
                }
            }
        }
        if !events.is_empty() && outlet.send(events).is_err() {
            return;
        }
    }
}

fn event(message: &parse::Message<'_>, nsid: Option<i32>) -> Option<MonitorEvent> {
    let link = |change| {
        let link = parse::link(message)?;
        Some(MonitorEvent::Link { nsid, change, link: Box::new(link) })
    };
    let address = |change| Some(MonitorEvent::Address { nsid, change, address: parse::address(message)? });
    match message.kind {
        parse::RTM_NEWLINK => link(Change::New),
        parse::RTM_DELLINK => link(Change::Deleted),
        parse::RTM_NEWADDR => address(Change::New),
        parse::RTM_DELADDR => address(Change::Deleted),
        // Other namespaces have ids for each other too; only the host's count here.
        parse::RTM_DELNSID if nsid.is_none() => Some(MonitorEvent::NamespaceGone { nsid: parse::nsid(message)? }),
        _ => None,
    }
}

/// The bounded way to the receiver. One place in the channel is always held back for an `Overrun`, so that it is
/// never the message that finds no room.
#[derive(Debug)]
struct Outlet {
    sender: mpsc::Sender<Vec<MonitorEvent>>,
    reserved: Option<mpsc::OwnedPermit<Vec<MonitorEvent>>>,
}

/// Nobody receives any more.
struct Gone;

impl Outlet {
    fn new(sender: mpsc::Sender<Vec<MonitorEvent>>) -> Self {
        let reserved = sender.clone().try_reserve_owned().ok();
        Self { sender, reserved }
    }

    /// Delivers the events, or drops them and sees to it that an `Overrun` stands in their place.
    fn send(&mut self, events: Vec<MonitorEvent>) -> Result<(), Gone> {
        if self.reserved.is_none() {
            self.reserved = match self.sender.clone().try_reserve_owned() {
                Ok(permit) => Some(permit),
                // Nothing was taken since the Overrun was put in, so it is still to be read and covers these too.
                Err(mpsc::error::TrySendError::Full(_)) => return Ok(()),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(Gone),
            };
        }
        match self.sender.try_send(events) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.overrun();
                Ok(())
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Gone),
        }
    }

    fn overrun(&mut self) {
        if let Some(permit) = self.reserved.take() {
            permit.send(vec![MonitorEvent::Overrun]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn gone(nsid: i32) -> Vec<MonitorEvent> {
        vec![MonitorEvent::NamespaceGone { nsid }]
    }

    #[test]
    fn a_receiver_that_lags_gets_one_overrun_and_then_what_comes_after_it() {
        let (sender, mut receiver) = mpsc::channel(3);
        let mut outlet = Outlet::new(sender);
        for nsid in 0..10 {
            assert!(outlet.send(gone(nsid)).is_ok());
        }
        assert_eq!(receiver.try_recv(), Ok(gone(0)));
        // One place is free: it is held back, so this is covered by an Overrun too.
        assert!(outlet.send(gone(10)).is_ok());
        assert_eq!(receiver.try_recv(), Ok(gone(1)));
        assert_eq!(receiver.try_recv(), Ok(vec![MonitorEvent::Overrun]));
        let mut rest = VecDeque::new();
        while let Ok(batch) = receiver.try_recv() {
            rest.push_back(batch);
        }
        assert_eq!(rest, [vec![MonitorEvent::Overrun]]);
        assert!(outlet.send(gone(11)).is_ok());
        assert_eq!(receiver.try_recv(), Ok(gone(11)));
        drop(receiver);
        assert!(outlet.send(gone(12)).is_err());
    }
}
