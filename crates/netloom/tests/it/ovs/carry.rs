//! Whether TCP and UDP pass between two networks.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use netloom_kernel::Netns;

use crate::sandbox::Sandbox;

/// How long one step of a conversation may take.
const LIMIT: Duration = Duration::from_secs(2);
/// More than fits into the largest segment that an interface takes at once.
const LENGTH: usize = 1 << 20;

impl Sandbox {
    /// Whether a connection and datagrams pass from a node to an address of another one, both ways; `lab/node`, or nothing for
    /// the host.
    pub(crate) fn carries(&self, from: &str, to: &str, address: &str) -> bool {
        let netns = |node: &str| if node.is_empty() { Some(self.netns()) } else { self.node_netns(node) };
        let Some((from, to)) = netns(from).zip(netns(to)) else { return false };
        carry(&from, &to, address)
    }
}

/// The same between networks.
pub(crate) fn carry(from: &Netns, to: &Netns, address: &str) -> bool {
    let address = address.parse().unwrap();
    converse(from, to, address).and_then(|()| exchange(from, to, address)).is_ok()
}

/// A megabyte each way over TCP.
fn converse(from: &Netns, to: &Netns, address: IpAddr) -> io::Result<()> {
    let listener = to.run(|| TcpListener::bind((address, 0)))??;
    let at = listener.local_addr()?;
    let near = from.run(|| TcpStream::connect_timeout(&at, LIMIT))??;
    let far = accept(&listener)?;
    pass(&near, &far)?;
    pass(&far, &near)
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        match listener.accept() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => thread::yield_now(),
            accepted => return accepted.map(|(stream, _)| stream),
        }
    }
}

fn pass(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    from.set_write_timeout(Some(LIMIT))?;
    to.set_read_timeout(Some(LIMIT))?;
    let sent: Vec<u8> = (0..=255).cycle().take(LENGTH).collect();
    let mut received = vec![0; LENGTH];
    thread::scope(|scope| {
        let writes = scope.spawn(|| from.write_all(&sent));
        to.read_exact(&mut received)?;
        writes.join().unwrap()
    })?;
    assert!(received == sent, "what came is not what was sent");
    Ok(())
}

/// A datagram each way.
fn exchange(from: &Netns, to: &Netns, address: IpAddr) -> io::Result<()> {
    let near = from.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    let far = to.run(|| UdpSocket::bind((address, 0)))??;
    let mut received = [0; 16];
    near.send_to(b"there", far.local_addr()?)?;
    far.set_read_timeout(Some(LIMIT))?;
    let (_, sender) = far.recv_from(&mut received)?;
    far.send_to(b"back", sender)?;
    near.set_read_timeout(Some(LIMIT))?;
    near.recv_from(&mut received).map(drop)
}
