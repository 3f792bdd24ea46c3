//! Numbered datagrams and a stream between two nodes, to see whether anything of them is lost.
//!
//! ```text
//!   thread `datagrams`: 1,000 a second ──UDP──▶ thread `received`: which numbers came
//!   thread `stream`:     16 KiB each ms ──TCP──▶ thread `read`: every byte is the one expected
//! ```
//!
//! The sockets are made inside the nodes' namespaces and used from outside.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use netloom_kernel::Netns;

use crate::host::pause;

const PERIOD: Duration = Duration::from_millis(1);
/// Datagrams that are sent at once when the machine held the sender back; more than that a queue might drop.
const BURST: u64 = 64;
/// Bytes of a piece of the stream.
const PIECE: usize = 16 * 1024;
/// Without a byte for so long the stream counts as broken, and so does one that takes none.
const STALL: Duration = Duration::from_secs(5);
/// How long the last datagrams may be under way.
const LATE: Duration = Duration::from_millis(500);
/// What may wait for a receiver that the machine keeps from running, in bytes.
const BUFFER: usize = 16 << 20;

/// Traffic between two nodes, until it is stopped.
pub(crate) struct Traffic {
    started: Instant,
    stop: Arc<AtomicBool>,
    sent: JoinHandle<u64>,
    received: JoinHandle<u64>,
    written: JoinHandle<Result<u64>>,
    read: JoinHandle<Result<u64>>,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    /// For how long it flowed, all of it together.
    pub(crate) time: Duration,
    /// Why the stream is not whole.
    pub(crate) broken: Vec<String>,
}

impl Traffic {
    /// Starts it from the node pinned at `from` to the one at `to`, which has this address.
    pub(crate) fn start(from: &Path, to: &Path, address: &str) -> Result<Self> {
        let (from, to) = (Netns::open(from)?, Netns::open(to)?);
        let (sink, listener) =
            to.run(|| anyhow::Ok((UdpSocket::bind((address, 7000))?, TcpListener::bind((address, 7001))?)))??;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&sink, BUFFER).context("the receive buffer")?;
        sink.set_read_timeout(Some(Duration::from_millis(20)))?;
        let (source, mut out) = from.run(|| {
            let source = UdpSocket::bind("0.0.0.0:0")?;
            source.connect((address, 7000))?;
            anyhow::Ok((source, TcpStream::connect((address, 7001))?))
        })??;
        let (mut incoming, _) = listener.accept()?;
        out.set_write_timeout(Some(STALL))?;
        incoming.set_read_timeout(Some(STALL))?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent = start("datagrams", &stop, move |stop| {
            let (started, mut number) = (Instant::now(), 0_u64);
            while !stop.load(Ordering::Relaxed) {
                // By the clock, so that it is a thousand a second however long a pause takes.
                let due = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let until = due.min(number + BURST);
                while number < until {
                    // Refused means that the kernel says so: it counts as sent and is missed on the other side.
                    let _ = source.send(&number.to_be_bytes());
                    number += 1;
                }
                pause(PERIOD);
            }
            number
        })?;
        let received = start("received", &stop, move |stop| count(&sink, stop))?;
        let written = start("stream", &stop, move |stop| {
            let mut written = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                out.write_all(&piece(written))?;
                written += PIECE as u64;
                pause(PERIOD);
            }
            out.shutdown(std::net::Shutdown::Write)?;
            Ok(written)
        })?;
        let read = start("read", &stop, move |_| {
            let (mut read, mut bytes) = (0_u64, vec![0; PIECE]);
            while let n @ 1.. = incoming.read(&mut bytes)? {
                let wrong = bytes[..n].iter().zip(read..).any(|(byte, at)| *byte != byte_at(at));
                anyhow::ensure!(!wrong, "other bytes arrived than were sent");
                read += n as u64;
            }
            Ok(read)
        })?;
        Ok(Self { started: Instant::now(), stop, sent, received, written, read })
    }

    /// Lets it flow until it has for so long.
    pub(crate) fn at_least(&self, time: Duration) {
        pause(time.saturating_sub(self.started.elapsed()));
    }

    /// Ends it and adds up what became of it.
    pub(crate) fn stop(self, tally: &mut Tally) {
        self.stop.store(true, Ordering::Relaxed);
        tally.time += self.started.elapsed();
        let sent = self.sent.join().unwrap_or_default();
        let received = self.received.join().unwrap_or_default();
        tally.sent += sent;
        tally.lost += sent.saturating_sub(received);
        let flatten = |thread: JoinHandle<Result<u64>>| match thread.join() {
            Ok(result) => result,
            Err(_) => Err(anyhow::anyhow!("a thread of the traffic panicked")),
        };
        match (flatten(self.written), flatten(self.read)) {
            (Ok(written), Ok(read)) if written == read && written > 0 => {}
            (written, read) => tally.broken.push(format!("stream: written {written:?}, read {read:?}")),
        }
    }
}

fn start<T: Send + 'static>(
    name: &str,
    stop: &Arc<AtomicBool>,
    work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    let stop = Arc::clone(stop);
    Ok(std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&stop))?)
}

/// How many different numbers arrive.
fn count(sink: &UdpSocket, stop: &AtomicBool) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let mut stopped: Option<Instant> = None;
    let mut bytes = [0; 8];
    loop {
        match sink.recv(&mut bytes) {
            Ok(_) => {
                seen.insert(u64::from_be_bytes(bytes));
            }
            // Nothing came for a moment.
            Err(_) if stop.load(Ordering::Relaxed) => {
                if stopped.get_or_insert_with(Instant::now).elapsed() > LATE {
                    return seen.len() as u64;
                }
            }
            Err(_) => {}
        }
    }
}

fn byte_at(at: u64) -> u8 {
    // Not a power of two, so that a piece that is missing or doubled shows.
    u8::try_from(at % 251).expect("251 is less than 256")
}

fn piece(from: u64) -> Vec<u8> {
    (from..from + PIECE as u64).map(byte_at).collect()
}
