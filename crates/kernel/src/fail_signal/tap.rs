//! A packet socket at one interface that gets nothing but the messages of [`super::pdu`] (packet(7)).

use std::io;
use std::iter;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::pdu;
use crate::socket;

/// Longer ones are cut there.
const FRAME: usize = 64;
/// Read at most at once; what is left makes the socket ready again.
const AT_ONCE: usize = 32;

/// The socket.
#[derive(Debug)]
pub(super) struct Tap {
    socket: OwnedFd,
}

impl Tap {
    /// Opens one in the namespace of the calling thread.
    pub(super) fn open(ifindex: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Without a protocol nothing comes before the filter is there.
        let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?;
        let [word @ .., high, low] = pdu::TO;
        let wanted = [
            (socket::Load::Word(0), u32::from_be_bytes(word)),
            (socket::Load::Half(4), u32::from(u16::from_be_bytes([high, low]))),
            (socket::Load::Half(12), u32::from(pdu::TYPE)),
            (socket::Load::Byte(u32::try_from(pdu::CODE_AT).expect("15 fits")), u32::from(pdu::CODE)),
        ];
        socket::filter(socket.as_fd(), &wanted, u32::try_from(FRAME).expect("64 fits"))?;
        socket::listen_at(socket.as_fd(), ifindex)?;
        Ok(Self { socket })
    }

    /// The frames that are there.
    pub(super) fn receive(&self) -> impl Iterator<Item = Vec<u8>> {
        let next = || {
            let mut frame = vec![0; FRAME];
            // Whatever went wrong, as an interface that went down, is told once and is over.
            let (length, _) = rustix::net::recv(&self.socket, frame.as_mut_slice(), RecvFlags::DONTWAIT).ok()?;
            frame.truncate(length);
            Some(frame)
        };
        iter::from_fn(next).take(AT_ONCE)
    }

    /// Sends a frame out of the interface, or drops it if there is no room for it.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(&self.socket, frame, rustix::net::SendFlags::DONTWAIT)?;
        Ok(())
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}
