//! Traffic over links: numbered packets in a steady rhythm for as long as whatever they are to show takes, and which of them
//! arrive.
//!
//! ```text
//!   Traffic ──starts──▶ thread `traffic`: sends and receives, beat after beat
//!      ◀──[1]── a packet has passed over each link
//!      └── stop ───────▶ sends no more, waits for what is on its way ──▶ Loss
//! ```

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use netloom_kernel::Netns;

use super::{Host, ends};
use crate::host::wait;
use crate::ring;

/// One that has not arrived so long after the last was sent is lost.
const LAST: Duration = Duration::from_secs(2);
/// The first have to pass within this time: neighbours are resolved first.
const FIRST: Duration = Duration::from_secs(10);
/// How often those are looked for that are on their way.
const LOOK: Duration = Duration::from_millis(1);
const PORT: u16 = 7002;

/// What came of packets: each is counted by its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) sent: u64,
    pub(super) lost: u64,
    /// The longest time in which nothing arrived over one link: what comes late is not lost.
    pub(super) silence: Duration,
}

impl Loss {
    pub(super) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.silence = self.silence.max(other.silence);
    }
}

/// Packets that pass; they end when this is dropped.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Loss>>>,
}

impl Traffic {
    /// Begins over the first links of a lab, a packet on each every `pause`, and returns when one has passed over each.
    pub(super) fn start(host: &Host, lab: &str, links: usize, pause: Duration) -> Result<Self> {
        let wires = (0..links).map(|link| Wire::open(host, lab, link)).collect::<Result<Vec<Wire>>>()?;
        let stop = Arc::new(AtomicBool::new(false));
        let (passes, passed) = sync_channel(1);
        let work = {
            let stop = stop.clone();
            move || pass(wires, pause, &stop, &passes)
        };
        let thread = Some(std::thread::Builder::new().name("traffic".to_owned()).spawn(work)?);
        let traffic = Self { stop, thread };
        passed.recv_timeout(FIRST).map_err(|_| anyhow!("no packet passes over a link of the lab"))?;
        Ok(traffic)
    }

    /// Ends it: what was sent, and what of it never arrived.
    pub(super) fn end(mut self) -> Result<Loss> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it is ended once")?;
        thread.join().map_err(|_| anyhow!("the thread of the traffic panicked"))?
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread: a packet on each wire at each beat, until it is told to stop.
fn pass(mut wires: Vec<Wire>, pause: Duration, stop: &AtomicBool, passes: &SyncSender<()>) -> Result<Loss> {
    let mut beat = Instant::now();
    let mut is_told = false;
    while !stop.load(Ordering::Relaxed) {
        for wire in &mut wires {
            wire.send();
        }
        beat += pause;
        wait(beat.saturating_duration_since(Instant::now()));
        for wire in &mut wires {
            wire.receive()?;
        }
        if !is_told && wires.iter().all(|wire| wire.arrived > 0) {
            is_told = true;
            let _ = passes.try_send(());
        }
    }
    let last = Instant::now();
    while wires.iter().any(|wire| wire.lost() > 0) && last.elapsed() < LAST {
        wait(LOOK);
        for wire in &mut wires {
            wire.receive()?;
        }
    }
    let mut loss = Loss::default();
    for wire in &wires {
        loss.add(Loss { sent: wire.sent(), lost: wire.lost(), silence: wire.silence });
    }
    Ok(loss)
}

/// A link, by a socket in the node at each end.
struct Wire {
    from: UdpSocket,
    to: UdpSocket,
    /// Whether each packet that was sent has arrived, by its number.
    packets: Vec<bool>,
    arrived: u64,
    /// When the last one did, and the longest time without one.
    last: Option<Instant>,
    silence: Duration,
}

impl Wire {
    fn open(host: &Host, lab: &str, link: usize) -> Result<Self> {
        let addresses = ring::addresses(link);
        let [from, to] = [0, 1].map(|end| {
            let own = host_part(&addresses[end])?;
            let netns = Netns::open(host.agent.pin(lab, &ring::node(ends(link)[end])))?;
            let socket = netns.run(|| UdpSocket::bind((own, PORT)))??;
            socket.connect((host_part(&addresses[1 - end])?, PORT))?;
            socket.set_nonblocking(true)?;
            anyhow::Ok(socket)
        });
        Ok(Self { from: from?, to: to?, packets: Vec::new(), arrived: 0, last: None, silence: Duration::ZERO })
    }

    /// Sends the next one. What the kernel does not take is as lost as what does not arrive.
    fn send(&mut self) {
        let number = self.packets.len() as u64;
        self.packets.push(false);
        let _ = self.from.send(&number.to_be_bytes());
    }

    /// Takes all that has arrived.
    fn receive(&mut self) -> Result<()> {
        let mut packet = [0; 8];
        loop {
            match self.to.recv(&mut packet) {
                Ok(length) => {
                    ensure!(length == packet.len(), "a packet of {length} bytes, which nobody sent");
                    let number = usize::try_from(u64::from_be_bytes(packet))?;
                    let has_arrived = self.packets.get_mut(number).context("a number that was not sent")?;
                    ensure!(!std::mem::replace(has_arrived, true), "packet {number} has arrived twice");
                    self.arrived += 1;
                    let now = Instant::now();
                    let silence = self.last.replace(now).map_or(Duration::ZERO, |last| now.duration_since(last));
                    self.silence = self.silence.max(silence);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // What it says of an earlier packet, such as that nobody was there.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error).context("the socket at the end of a link"),
            }
        }
    }

    fn sent(&self) -> u64 {
        self.packets.len() as u64
    }

    fn lost(&self) -> u64 {
        self.sent() - self.arrived
    }
}

/// An address without the length of its prefix.
fn host_part(address: &str) -> Result<Ipv4Addr> {
    Ok(address.split('/').next().context("an address")?.parse()?)
}
