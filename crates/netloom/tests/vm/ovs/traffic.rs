//! Datagrams over a link and back in a steady rhythm, each of which is missed when it does not come.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netloom_kernel::Netns;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with, sockopt};

/// From the end of one there and back to the next.
const RHYTHM: Duration = Duration::from_millis(10);
/// What has not come then is lost.
const LIMIT: Duration = Duration::from_secs(5);

/// One way that is taken until the end.
pub(super) struct Traffic {
    stop: SyncSender<()>,
    sends: JoinHandle<Count>,
}

/// How many went there and back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) sent: u32,
    pub(super) lost: u32,
}

impl Traffic {
    pub(super) fn start(from: &Netns, to: &Netns, address: &str) -> Self {
        let way = Way::between(from, to, address);
        let (stop, stopped) = sync_channel(0);
        Self { stop, sends: thread::spawn(move || way.go(&stopped)) }
    }

    pub(super) fn end(self) -> Count {
        drop(self.stop);
        self.sends.join().unwrap()
    }
}

/// A socket at each end.
struct Way {
    near: UdpSocket,
    far: UdpSocket,
}

impl Way {
    fn between(from: &Netns, to: &Netns, address: &str) -> Self {
        let address: IpAddr = address.parse().unwrap();
        let open = |netns: &Netns, address: IpAddr| netns.run(|| UdpSocket::bind((address, 0))).unwrap().unwrap();
        let (near, far) = (open(from, Ipv4Addr::UNSPECIFIED.into()), open(to, address));
        near.connect(far.local_addr().unwrap()).unwrap();
        for socket in [&near, &far] {
            socket.set_read_timeout(Some(LIMIT)).unwrap();
        }
        Self { near, far }
    }

    /// Sends until nobody holds the other end of this.
    fn go(self, stopped: &Receiver<()>) -> Count {
        let mut count = Count::default();
        while stopped.recv_timeout(RHYTHM) == Err(RecvTimeoutError::Timeout) {
            count.lost += u32::from(self.there_and_back(count.sent).is_err());
            count.sent += 1;
        }
        count
    }

    fn there_and_back(&self, number: u32) -> io::Result<()> {
        let own = number.to_be_bytes();
        self.near.send(&own)?;
        let sender = comes(&self.far, own)?;
        self.far.send_to(&own, sender)?;
        comes(&self.near, own).map(drop)
    }
}

/// Waits for one, and gives who sent it. Others that were given up may come late.
fn comes(socket: &UdpSocket, own: [u8; 4]) -> io::Result<SocketAddr> {
    loop {
        let mut came = [0; 4];
        let (length, sender) = socket.recv_from(&mut came)?;
        if came[..length] == own {
            return Ok(sender);
        }
    }
}

/// Whether the checksum of a datagram that arrives is one that nobody has completed.
pub(super) fn is_unfinished(from: &Netns, to: &Netns, address: &str) -> bool {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const UDP: u8 = 17;
    let way = Way::between(from, to, address);
    let receive = || {
        let all = NonZeroU32::new(u32::from(3_u16.to_be())).map(Protocol::from_raw);
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, all).unwrap();
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(LIMIT)).unwrap();
        socket
    };
    let capture = to.run(receive).unwrap();
    let port = way.far.local_addr().unwrap().port().to_be_bytes();
    way.near.send(&[0; 4]).unwrap();
    let mut frame = [0; 2048];
    loop {
        let (length, _) = recv(&capture, &mut frame[..], RecvFlags::empty()).expect("a datagram comes within 5 s");
        let ip = &frame[14..length];
        if frame[12..14] == IPV4 && ip[9] == UDP && ip[22..24] == port {
            // Of addresses, protocol, length and the datagram itself (RFC 768); its ends are even.
            let udp = &ip[20..];
            let summed = [&ip[12..20], &[0, UDP], &udp[4..6], udp].concat();
            let sum: u32 = summed.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
            return (sum & 0xffff) + (sum >> 16) != 0xffff;
        }
    }
}
