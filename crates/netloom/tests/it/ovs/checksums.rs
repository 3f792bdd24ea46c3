//! TCP and UDP over the datapath in user space, which passes on what veth leaves unfinished: whatever made the ends, or mended
//! their ports, they send whole packets.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use netloom_kernel::Netns;

use super::{ON_OVS, OvsHost, WAYS, ring};
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
pub(super) fn carry(from: &Netns, to: &Netns, address: &str) -> bool {
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

impl OvsHost {
    #[track_caller]
    fn all_ways_carry(&self) {
        for ((from, address), to) in WAYS.into_iter().zip(["b", "c", "a"]) {
            let [from, to] = [from, to].map(|node| format!("x/{node}"));
            self.until(&format!("{from} talks to {to}"), |host| host.carries(&from, &to, address));
        }
    }
}

#[test]
fn tcp_and_udp_pass_a_switch_in_user_space_whatever_made_the_ends_and_their_ports() {
    let Some(host) = OvsHost::new() else { return };
    let file = host.topology("x", &ring("x", ON_OVS));
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 links up");
    assert_eq!(host.vsctl("get bridge arch-ovs datapath_type").code(0).out, "netdev\n");
    host.all_ways_carry();

    let add = ["link", "add", "x", "a:eth5", "b:eth5", "--ipv4", "10.9.0.1/30,10.9.0.2/30"];
    host.netloom(&add).code(0).says("is up");
    host.until("the new link carries", |host| host.carries("x/a", "x/b", "10.9.0.2"));

    host.netloom(&["node", "restart", "x/b"]).code(0);
    host.all_ways_carry();
    host.until("so does the new link", |host| host.carries("x/a", "x/b", "10.9.0.2"));
    host.netloom(&["node", "stop", "x/c"]).code(0);
    host.netloom(&["node", "start", "x/c"]).code(0);
    host.all_ways_carry();

    let before = host.ports();
    for port in &before {
        host.vsctl(&format!("del-port arch-ovs {}", port.split(' ').next().unwrap())).code(0);
    }
    host.until("the ports are back", |_| host.ports() == before);
    host.all_ways_carry();
    host.vsctl("del-br arch-ovs").code(0);
    host.until("the bridge is back with all ports", |_| host.ports() == before);
    host.all_ways_carry();
}

#[test]
fn so_they_do_from_the_host_and_over_a_bridge_of_the_lab_that_somebody_made_so() {
    let Some(host) = OvsHost::new() else { return };
    host.vsctl("add-br sw -- set bridge sw datapath_type=netdev").code(0);
    let text = format!(
        "name: x
{ON_OVS}
topology:
  defaults: {{ kind: linux, runtime: namespace }}
  nodes: {{ a: , b: , sw: {{ kind: ovs-bridge }} }}
  links:
    - {{ endpoints: [\"a:eth1\", \"sw:p1\"], ipv4: [10.0.1.1/24] }}
    - {{ endpoints: [\"b:eth1\", \"sw:p2\"], ipv4: [10.0.1.2/24] }}
    - {{ endpoints: [\"a:eth2\", \"host:to-a\"], ipv4: [10.0.2.1/24, 10.0.2.2/24] }}
"
    );
    let file = host.topology("x", &text);
    host.netloom(&["deploy", "-t", &file]).code(0).says("3 of 3 links up");
    host.until("over the bridge of the lab", |host| host.carries("x/a", "x/b", "10.0.1.2"));
    host.until("from the host", |host| host.carries("", "x/a", "10.0.2.1"));
    host.until("to the host", |host| host.carries("x/a", "", "10.0.2.2"));
}
