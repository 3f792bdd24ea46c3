//! The numbers of interfaces of the host, by their names: one short call of the kernel for each, which takes no lock. A dump would
//! take all interfaces there are to tell one.

use std::io;
use std::os::fd::OwnedFd;

use netloom_kernel::Netns;
use netloom_model::InterfaceName;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Whoever asks the kernel, by a socket in the host's network namespace.
#[derive(Debug)]
pub(super) struct Numbers(OwnedFd);

impl Numbers {
    pub(super) fn of(host: &Netns) -> io::Result<Self> {
        let socket = || socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
        Ok(Self(host.run(socket)??))
    }

    /// The number of an interface that is there.
    pub(super) fn of_interface(&self, name: &InterfaceName) -> Option<u32> {
        name_to_index(&self.0, name.as_str()).ok()
    }
}
