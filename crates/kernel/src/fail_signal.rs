//! Client signal fail: the two hosts of a tunnel tell each other that what is behind their end of it is off.
//!
//! A tunnel has no carrier: it says nothing of the cable at its other end. Networks that carry Ethernet have a message for
//! that, ETH-CSF (ITU-T G.8013/Y.1731), and it is sent here *in* the tunnel: it takes the way of the packets, needs no port, no
//! peer to know of and no permission that packets do not need, and whoever does not know it drops it.
//!
//! * It is sent at once, twice more soon after in case one is lost, and then each second for as long as the end is off;
//!   when it is on again, its opposite ("defect clear") likewise, thrice.
//! * Who hears nothing for 3.5 s takes it for cleared, as the recommendation has it: a host that died says nothing.
//! * It goes to the address of the nearest bridge (01:80:c2:00:00:0e), which no bridge passes on, Open vSwitch neither.
//!
//! ```text
//!   SignalFail::watch, ::signal ──wanted──▶ fail-signal   one thread: a packet socket per tunnel, and the timers
//!   Receiver ◀──────bounded channel──────── (waits for its receiver, which holds up nobody else)
//! ```

mod line;
mod pdu;
mod tap;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use netloom_model::Mac;
use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll};
use tokio::sync::mpsc;

use crate::netns::Netns;
use line::Line;
pub(crate) use pdu::{TO, TYPE};
use tap::Tap;

/// Changes that may wait for the receiver.
const QUEUE: usize = 64;
/// Descriptors looked at at once.
const READY: usize = 64;
/// The mark of the descriptor that wakes the thread; no interface has this number.
const WAKE: u64 = 0;

/// What the far end of a tunnel says now that it did not say before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FarEnd {
    /// The tunnel's interface on this host.
    pub ifindex: u32,
    /// Whether what is behind its far end is off.
    pub fails: bool,
}

/// The tunnels that are listened to and what is said in them; clones are of the same ones.
#[derive(Debug, Clone)]
pub struct SignalFail {
    inner: Arc<Inner>,
}

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub struct SignalFailThread {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    wanted: Mutex<Wanted>,
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct Wanted {
    tunnels: BTreeMap<u32, Tunnel>,
    /// How often one was begun to be listened to.
    begun: u64,
    ended: bool,
}

/// What is wanted of one tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tunnel {
    mac: Mac,
    fails: bool,
    /// Which beginning this was, so that one that was forgotten meanwhile is told from one that was not.
    begun: u64,
}

impl SignalFail {
    /// Starts the thread, for tunnels whose interfaces are in `home`. What the far ends say comes in order; if the receiver is
    /// dropped the thread ends.
    pub fn start(home: &Netns) -> io::Result<(Self, SignalFailThread, mpsc::Receiver<FarEnd>)> {
        let wake = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let inner = Arc::new(Inner { wanted: Mutex::default(), wake });
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &inner.wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (home, shared) = (home.clone(), inner.clone());
        let thread = thread::Builder::new().name("fail-signal".into()).spawn(move || {
            let mut post = Post { inner: shared, epoll, sender, taps: HashMap::new() };
            if let Err(error) = home.enter().and_then(|()| post.run()) {
                tracing::error!(%error, "what ends of links on other hosts say is not heard any more");
            }
        })?;
        Ok((Self { inner: inner.clone() }, SignalFailThread { inner, thread: Some(thread) }, receiver))
    }

    /// Listens in a tunnel, whose interface has this MAC address. What is listened to already goes on.
    pub fn watch(&self, ifindex: u32, mac: Mac) {
        self.inner.change(|wanted| {
            let begun = wanted.begun + 1;
            let before = wanted.tunnels.get(&ifindex).copied();
            let new = before.map_or(Tunnel { mac, fails: false, begun }, |before| Tunnel { mac, ..before });
            wanted.begun = begun;
            wanted.tunnels.insert(ifindex, new) != Some(new)
        });
    }

    /// Listens in it no longer, and says nothing there any more: its interface is gone.
    pub fn forget(&self, ifindex: u32) {
        self.inner.change(|wanted| wanted.tunnels.remove(&ifindex).is_some());
    }

    /// Says in a tunnel that is listened to whether what is behind this end is off.
    pub fn signal(&self, ifindex: u32, fails: bool) {
        self.inner.change(|wanted| {
            let tunnel = wanted.tunnels.get_mut(&ifindex);
            tunnel.is_some_and(|tunnel| std::mem::replace(&mut tunnel.fails, fails) != fails)
        });
    }
}

impl Inner {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        // Each change of it is whole, whoever panics.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change, and has the thread see to it if it says that it is one.
    fn change(&self, change: impl FnOnce(&mut Wanted) -> bool) {
        if change(&mut self.wanted()) {
            // An eventfd takes a write unless its counter is full, and then the thread is woken already.
            let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for SignalFailThread {
    fn drop(&mut self) {
        self.inner.change(|wanted| {
            wanted.ended = true;
            true
        });
        if let Some(thread) = self.thread.take() {
            // Beyond what is ready it waits for its receiver only, which goes on or is dropped.
            let _ = thread.join();
        }
    }
}

/// Nobody receives any more, or nobody wants it to go on.
struct Ended;

/// What the thread has.
struct Post {
    inner: Arc<Inner>,
    epoll: OwnedFd,
    sender: mpsc::Sender<FarEnd>,
    taps: HashMap<u32, Watched>,
}

/// A tunnel that is listened to.
struct Watched {
    /// None where it could not be had: without it the link works, and does not know of the far end.
    tap: Option<Tap>,
    mac: Mac,
    begun: u64,
    line: Line,
}

impl Post {
    fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(READY);
        loop {
            let next = self.taps.values().filter_map(|watched| watched.line.next()).min();
            let limit = next.map(|next| next.saturating_duration_since(Instant::now()));
            let limit = limit.map(|limit| Timespec::try_from(limit).expect("it is seconds"));
            ready.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut ready), limit.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ended = ready.iter().map(|event| event.data.u64()).try_for_each(|data| match data {
                WAKE => self.take_over(),
                ifindex => self.hear(u32::try_from(ifindex).unwrap_or_default()),
            });
            if ended.and_then(|()| self.keep_time()).is_err() {
                return Ok(());
            }
        }
    }

    /// Does what is wanted now.
    fn take_over(&mut self) -> Result<(), Ended> {
        // Whatever it counts, the change is seen below.
        let _ = rustix::io::read(&self.inner.wake, &mut [0; 8]);
        let wanted = self.inner.wanted();
        if wanted.ended {
            return Err(Ended);
        }
        let tunnels = wanted.tunnels.clone();
        drop(wanted);
        // With its socket the kernel forgets that it was waited for.
        self.taps.retain(|ifindex, watched| tunnels.get(ifindex).is_some_and(|wanted| wanted.begun == watched.begun));
        for (ifindex, Tunnel { mac, fails, begun }) in tunnels {
            let epoll = &self.epoll;
            let watched = self.taps.entry(ifindex).or_insert_with(|| {
                let tap = open(epoll, ifindex).inspect_err(|error| {
                    tracing::warn!(%error, ifindex, "what the far end of this tunnel says cannot be heard");
                });
                Watched { tap: tap.ok(), mac, begun, line: Line::default() }
            });
            watched.mac = mac;
            watched.line.signal(fails, Instant::now());
        }
        Ok(())
    }

    fn hear(&mut self, ifindex: u32) -> Result<(), Ended> {
        // Of one that was forgotten meanwhile nothing is news.
        let Some(watched) = self.taps.get_mut(&ifindex) else { return Ok(()) };
        let Some(tap) = &watched.tap else { return Ok(()) };
        let now = Instant::now();
        let changed =
            tap.receive().filter_map(|frame| pdu::read(&frame)).filter(|fails| watched.line.hear(*fails, now));
        match changed.last() {
            Some(fails) => self.tell(ifindex, fails),
            None => Ok(()),
        }
    }

    /// Says what is due, and clears what was not heard of for too long.
    fn keep_time(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        let mut cleared = Vec::new();
        for (ifindex, Watched { tap, mac, line, .. }) in &mut self.taps {
            if let Some(fails) = line.due(now)
                && let Some(tap) = tap
                // It goes again, and an interface that is down or gone takes nothing.
                && let Err(error) = tap.send(&pdu::write(*mac, fails))
            {
                tracing::debug!(%error, ifindex, "the far end of this tunnel cannot be told of this one");
            }
            if line.expires(now) {
                cleared.push(*ifindex);
            }
        }
        cleared.into_iter().try_for_each(|ifindex| self.tell(ifindex, false))
    }

    fn tell(&self, ifindex: u32, fails: bool) -> Result<(), Ended> {
        self.sender.blocking_send(FarEnd { ifindex, fails }).map_err(|_| Ended)
    }
}

fn open(epoll: &OwnedFd, ifindex: u32) -> io::Result<Tap> {
    let tap = Tap::open(ifindex)?;
    epoll::add(epoll, &tap, epoll::EventData::new_u64(u64::from(ifindex)), epoll::EventFlags::IN)?;
    Ok(tap)
}
