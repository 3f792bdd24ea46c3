//! A blocking rtnetlink socket, and the few calls that only libc has.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkFlags, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::netns::Netns;
use crate::parse::{self, Ack};

/// Dumps come in datagrams of at most 32 KiB when the reader's buffer allows that.
pub(crate) const BUFFER: usize = 64 * 1024;

/// The kernel answers within the call that sends the request; a reader that waits this long has lost an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A netlink socket; it stays in the namespace that its thread was in when it was opened.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: netlink_sys::Socket,
    sequence: u32,
}

impl Socket {
    /// Opens a socket in the namespace of the calling thread.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_ext_ack(true)?;
        // An error then repeats the header of the request only, not 500 bytes of it.
        socket.set_cap_ack(true)?;
        // Dump filters are honoured or refused, never ignored (Linux 4.20).
        socket.set_netlink_get_strict_chk(true)?;
        // 64 refusals in a row must fit, whatever rmem_default is; not being allowed to is no error.
        let _ = sockopt::set_socket_recv_buffer_size_force(as_fd(&socket), 1 << 20);
        sockopt::set_socket_timeout(as_fd(&socket), sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Moves the calling thread to the namespace and opens a socket there (15 µs). For threads of this crate that set
    /// their namespace before each use.
    pub(crate) fn open_in(netns: &Netns) -> io::Result<Self> {
        netns.enter()?;
        Self::open()
    }

    /// A number that no request of this socket had before.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    pub(crate) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send(datagram, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads one datagram into `buffer` (see [`BUFFER`]).
    pub(crate) fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
        let length = loop {
            match self.socket.recv(&mut &mut *buffer, 0) {
                Ok(length) => break length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        buffer.get(..length).ok_or_else(|| io::Error::other("a netlink datagram is longer than the buffer"))
    }

    /// Sends one request and waits for its acknowledgement; the answer's messages before it go to `each`.
    pub(crate) fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(&parse::Message<'_>),
    ) -> io::Result<Ack> {
        let sequence = self.next_sequence();
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut datagram = vec![0; message.buffer_len()];
        message.serialize(&mut datagram);
        self.send(&datagram)?;
        let mut buffer = vec![0; BUFFER];
        let mut interrupted = false;
        loop {
            for answer in parse::messages(self.receive(&mut buffer)?).filter(|m| m.sequence == sequence) {
                interrupted |= answer.flags & parse::NLM_F_DUMP_INTR != 0;
                match parse::ack(&answer) {
                    Some(ack) if interrupted && ack.errno == 0 => return Ok(Ack { errno: libc::EINTR, ..ack }),
                    Some(ack) => return Ok(ack),
                    None => each(&answer),
                }
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        as_fd(&self.socket)
    }
}

pub(crate) fn as_fd(socket: &netlink_sys::Socket) -> BorrowedFd<'_> {
    // SAFETY: the socket owns the descriptor and outlives the borrow, which is tied to it.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// Brings up `lo` (always ifindex 1) in the namespace of the calling thread.
pub(crate) fn bring_loopback_up() -> io::Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = 1;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    match Socket::open()?.request(RouteNetlinkMessage::SetLink(link), NLM_F_ACK, |_| {})?.errno {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// SO_NETNS_COOKIE (asm-generic/socket.h).
const SO_NETNS_COOKIE: libc::c_int = 71;

/// The cookie of the calling thread's namespace.
pub(crate) fn netns_cookie() -> io::Result<u64> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).expect("8 fits");
    // SAFETY: both pointers are to live locals, and `length` is the size of what the first points to.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// Sends a whole Ethernet frame out of an interface of the calling thread's namespace (packet(7)).
pub(crate) fn send_frame(ifindex: u32, frame: &[u8]) -> io::Result<()> {
    let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // Of what is sent the frame says the protocol.
    let (to, length) = at_interface(ifindex, 0)?;
    // SAFETY: the frame is as long as is said, and so is the address, which is a `sockaddr_ll` as its family says.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
            (&raw const to).cast(),
            length,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The address of an interface for packets of a protocol of linux/if_ether.h, and its length.
fn at_interface(ifindex: u32, protocol: u16) -> io::Result<(libc::sockaddr_ll, libc::socklen_t)> {
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).expect("17 fits"),
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(ifindex).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    Ok((address, libc::socklen_t::try_from(size_of_val(&address)).expect("20 fits")))
}

/// Part of a packet: that at this offset, in network order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    /// Four bytes.
    Word(u32),
    /// Two bytes.
    Half(u32),
    /// One byte.
    Byte(u32),
}

/// Has a packet socket get only what is, in all of these parts, as is said here, and of that so many bytes (socket(7), and
/// linux/filter.h: classic BPF).
pub(crate) fn filter(socket: BorrowedFd<'_>, wanted: &[(Load, u32)], bytes: u32) -> io::Result<()> {
    const LOAD_WORD: u16 = 0x20;
    const LOAD_HALF: u16 = 0x28;
    const LOAD_BYTE: u16 = 0x30;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    let mut program = Vec::new();
    for (at, (load, value)) in wanted.iter().enumerate() {
        program.push(match *load {
            Load::Word(offset) => step(LOAD_WORD, offset, 0),
            Load::Half(offset) => step(LOAD_HALF, offset, 0),
            Load::Byte(offset) => step(LOAD_BYTE, offset, 0),
        });
        // To the last step: over two for each part that is still to come, and the one that takes it.
        let over = 2 * (wanted.len() - at - 1) + 1;
        program.push(step(JUMP_IF_EQUAL, *value, u8::try_from(over).map_err(io::Error::other)?));
    }
    program.extend([step(RETURN, bytes, 0), step(RETURN, 0, 0)]);
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    set(
        socket,
        libc::SOL_SOCKET,
        libc::SO_ATTACH_FILTER,
        &libc::sock_fprog { len: length, filter: program.as_mut_ptr() },
    )
}

/// Has a packet socket get what comes in at an interface of its namespace, and nothing that goes out.
pub(crate) fn listen_at(socket: BorrowedFd<'_>, ifindex: u32) -> io::Result<()> {
    /// linux/if_packet.h, since Linux 4.20.
    const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
    /// ETH_P_ALL: before any bridge, switch or filter takes it.
    const ALL: u16 = 3;
    set(socket, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1_i32)?;
    let (address, length) = at_interface(ifindex, ALL)?;
    // SAFETY: the address is a live `sockaddr_ll` as its family says, of that length.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets an option of a socket, whose value is of the type that it has in the kernel.
fn set<T>(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: the value is live and as long as is said, and the kernel copies it (and what a `sock_fprog` points to) in the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), length) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Commands of SIOCETHTOOL (linux/ethtool.h): whether checksums of what an interface sends are left to its driver.
const ETHTOOL_GTXCSUM: u32 = 0x16;
const ETHTOOL_STXCSUM: u32 = 0x17;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    value: u32,
}

/// Has an interface of the socket's namespace complete the checksums of what it sends. EOPNOTSUPP if its driver insists on
/// doing it.
pub(crate) fn disable_tx_checksum(socket: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match ethtool(socket, name, EthtoolValue { command: ETHTOOL_STXCSUM, value: 0 }) {
        // Said of one that never leaves them to its driver, too.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            let now = ethtool(socket, name, EthtoolValue { command: ETHTOOL_GTXCSUM, value: 0 })?;
            if now == 0 { Ok(()) } else { Err(error) }
        }
        other => other.map(drop),
    }
}

/// Has a command done, and gives what its value is then (netdevice(7); any socket will do).
fn ethtool(socket: BorrowedFd<'_>, name: &str, mut value: EthtoolValue) -> io::Result<u32> {
    // SAFETY: all zeros is a valid ifreq: an empty name and a null pointer.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays the NUL.
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request lives for the time of the call, its name ends with a NUL, and its pointer is to a live
    // `ethtool_value`, which both commands take and write.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value.value) }
}

/// One datagram of an all-namespaces socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its length in bytes.
    pub(crate) length: usize,
    /// The namespace it is about, as its id in the reader's; `None` is the reader's own.
    pub(crate) nsid: Option<i32>,
}

/// Reads one datagram with its NETLINK_LISTEN_ALL_NSID control message, without waiting.
///
/// `WouldBlock` when there is none; ENOBUFS when the kernel has dropped some.
pub(crate) fn receive_with_nsid(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    // Room for one i32; u64 for the alignment that cmsghdr wants.
    let mut control = [0_u64; 8];
    let mut iov = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros is a valid msghdr (null pointers with zero lengths).
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut iov;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header points to live buffers of the lengths it says, for the time of the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let mut nsid = None;
    // SAFETY: recvmsg has filled in the header; CMSG_FIRSTHDR and CMSG_NXTHDR stay within msg_controllen, and the
    // payload of this control message is one int (netlink_cmsg_listen_all_nsid in net/netlink/af_netlink.c).
    unsafe {
        let mut cmsg = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(found) = cmsg.as_ref() {
            if found.cmsg_level == libc::SOL_NETLINK && found.cmsg_type == libc::NETLINK_LISTEN_ALL_NSID {
                nsid = Some(libc::CMSG_DATA(cmsg).cast::<i32>().read_unaligned());
            }
            cmsg = libc::CMSG_NXTHDR(&raw const header, cmsg);
        }
    }
    if header.msg_flags & libc::MSG_TRUNC != 0 {
        // Half a datagram tells nothing; for the caller it is as lost as one that found no room.
        return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
    }
    Ok(Received { length, nsid })
}
