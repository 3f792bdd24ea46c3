//! The writer: one thread through which everything that changes the kernel's network goes.
//!
//! RTNL is one lock for the whole machine, so a second writer would only wait, and a send blocks for as long as the
//! kernel works. Requests are executed strictly in the order of the batch; neighbours that act in one namespace
//! share a datagram (up to 64 of them, up to 32 KiB), so sort a batch by namespace where the order allows it.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage};
use netloom_backlog::{Backlog, Queue, queue};
use netloom_failpoint::point;
use tokio::sync::oneshot;

use crate::encode::{self, Found};
use crate::error::{KernelError, SubmitError};
use crate::gate::Gate;
use crate::netns::Netns;
use crate::parse::{self, Ack, LinkInfo};
use crate::request::{Place, Request};
use crate::socket::{BUFFER, Socket, disable_tx_checksum};

const NAME: &str = "nl-writer";
/// Batches that may wait.
const QUEUE: usize = 256;
const DATAGRAM_MESSAGES: usize = 64;
const DATAGRAM_BYTES: usize = 32 * 1024;
/// Sockets kept open within a batch; one more than this and the one longest unused is closed.
const SOCKETS: usize = 64;

type Results = Vec<Result<(), KernelError>>;

#[derive(Debug)]
struct Job {
    batch: Vec<Request>,
    deadline: Instant,
    answer: oneshot::Sender<Results>,
}

/// A handle on the writer thread, which ends with the last clone.
#[derive(Debug, Clone)]
pub struct Rtnl {
    queue: Queue<Job>,
    pub(crate) gate: Arc<Gate>,
}

impl Rtnl {
    /// Starts the thread. `home` is the namespace in which it rests between batches: the host's.
    pub fn start(home: Netns) -> io::Result<Self> {
        let (queue, worker) = queue::<Job>(NAME, QUEUE);
        let gate = Arc::new(Gate::default());
        let own = gate.clone();
        thread::Builder::new().name(NAME.into()).spawn(move || {
            worker.run(|job| {
                let Job { batch, deadline, answer } = job;
                if answer.is_closed() || deadline <= Instant::now() {
                    // Nobody waits any more: what was not begun is not done.
                    return;
                }
                point!("links.before-batch");
                let results = execute(&batch, deadline, &own);
                point!("links.after-batch");
                // The thread's own namespace and the batch's handles keep namespaces alive; let go before answering.
                if let Err(error) = home.enter() {
                    tracing::error!(%error, "the netlink writer cannot return to the host's namespace");
                }
                drop(batch);
                // A caller that has gone meanwhile is no error.
                let _ = answer.send(results);
            });
        })?;
        Ok(Self { queue, gate })
    }

    /// Executes a batch, in order; a request that fails does not stop the next. The result has the batch's order.
    ///
    /// After the deadline the remaining requests are not attempted ([`KernelErrorKind::Deadline`](crate::KernelErrorKind::Deadline)). `Err` means that
    /// there are no results: for `Busy` and `Closed` nothing was done; after `Deadline`, or when this future is dropped,
    /// a batch that has begun goes on, one that still waits is skipped.
    pub async fn submit(&self, batch: Vec<Request>, deadline: Instant) -> Result<Results, SubmitError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        self.queue.push(Job { batch, deadline, answer })?;
        match tokio::time::timeout_at(deadline.into(), answered).await {
            Ok(Ok(results)) => Ok(results),
            Ok(Err(_)) if deadline <= Instant::now() => Err(SubmitError::Deadline),
            Ok(Err(_)) => Err(SubmitError::Closed),
            Err(_) => Err(SubmitError::Deadline),
        }
    }

    /// What the thread has not finished: what a supervisor judges it by.
    pub fn backlog(&self) -> &Backlog {
        self.queue.backlog()
    }
}

/// Executes a batch on the calling thread, which it leaves in any namespace.
fn execute(batch: &[Request], deadline: Instant, gate: &Gate) -> Results {
    let mut sockets = Sockets::default();
    let mut results = Results::with_capacity(batch.len());
    let mut buffer = vec![0; BUFFER];
    while let Some(first) = batch.get(results.len()) {
        if deadline <= Instant::now() {
            results.extend(batch[results.len()..].iter().map(|request| Err(encode::not_attempted(request))));
            break;
        }
        let rest = &batch[results.len()..];
        let run = rest
            .iter()
            .take(DATAGRAM_MESSAGES)
            .take_while(|request| request.place().netns.same_handle(&first.place().netns))
            .count();
        let turn = gate.write();
        let sent = sockets.open_in(first.place()).and_then(|socket| exchange(socket, &rest[..run], &mut buffer));
        drop(turn);
        point!("links.datagram");
        match sent {
            Ok(acks) => {
                let requests = rest.iter().zip(acks);
                results.extend(requests.map(|(request, ack)| judge(request, ack.as_ref(), &mut sockets)));
            }
            Err(error) => {
                // The socket may have answers in it that belong to nobody.
                sockets.close(first.place());
                let errno = error.raw_os_error().unwrap_or(libc::EIO);
                results.extend(rest[..run].iter().map(|r| Err(encode::explain(r, errno, "", &Found::default()))));
            }
        }
    }
    results
}

/// Sends as many of the requests as fit into one datagram, and waits for the answer to each of them. One that is no message
/// is called by itself.
fn exchange(socket: &mut Socket, requests: &[Request], buffer: &mut [u8]) -> io::Result<Vec<Option<Ack>>> {
    if let [Request::DisableTxChecksum { name, .. }, ..] = requests {
        let errno = match disable_tx_checksum(socket.as_fd(), name.as_str()) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(libc::EIO),
        };
        return Ok(vec![Some(Ack { sequence: 0, errno, detail: String::new() })]);
    }
    let mut datagram = Vec::with_capacity(DATAGRAM_BYTES);
    let mut sequences = Vec::with_capacity(requests.len());
    for request in requests {
        let before = datagram.len();
        let sequence = socket.next_sequence();
        if encode::encode(request, sequence, &mut datagram).is_none() {
            break;
        }
        if datagram.len() > DATAGRAM_BYTES && !sequences.is_empty() {
            datagram.truncate(before);
            break;
        }
        sequences.push(sequence);
    }
    socket.send(&datagram)?;
    let mut acks = vec![None; sequences.len()];
    let mut missing = sequences.len();
    while missing > 0 {
        let received = match socket.receive(buffer) {
            Ok(received) => received,
            // What was acknowledged stays known; the others are answered as unknown.
            Err(error) => {
                tracing::warn!(%error, missing, "acknowledgements of the kernel were lost");
                return Ok(acks.into_iter().map(|ack| ack.or_else(|| Some(lost(&error)))).collect());
            }
        };
        for ack in parse::messages(received).filter_map(|message| parse::ack(&message)) {
            if let Ok(index) = sequences.binary_search(&ack.sequence)
                && acks[index].replace(ack).is_none()
            {
                missing -= 1;
            }
        }
    }
    Ok(acks)
}

fn lost(error: &io::Error) -> Ack {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    Ack { sequence: 0, errno, detail: format!("its answer was lost ({error})") }
}

fn judge(request: &Request, ack: Option<&Ack>, sockets: &mut Sockets) -> Result<(), KernelError> {
    match ack {
        Some(ack) if ack.errno == 0 => Ok(()),
        Some(ack) => Err(encode::explain(request, ack.errno, &ack.detail, &find(request, ack.errno, sockets))),
        None => Err(encode::explain(request, libc::EIO, "it was not answered", &Found::default())),
    }
}

/// Looks up what an error is about, so that it can be named; only failures pay for it.
fn find(request: &Request, errno: i32, sockets: &mut Sockets) -> Found {
    let mut by_name = |place: &Place, name: &str| {
        let link = sockets.open_in(place).and_then(|socket| get_link(socket, &LinkKey::Name(name)));
        link.ok().flatten()
    };
    match request {
        Request::CreateVeth { a, b, .. } if errno == libc::EEXIST => {
            Found { a: by_name(&a.place, a.name.as_str()), b: by_name(&b.place, b.name.as_str()) }
        }
        Request::CreateDummy { end }
        | Request::CreateMacvlan { end, .. }
        | Request::CreateVlan { end, .. }
        | Request::CreateVxlan { end, .. }
            if errno == libc::EEXIST =>
        {
            Found { a: by_name(&end.place, end.name.as_str()), b: None }
        }
        Request::CreateBridge { place, name, .. } if errno == libc::EEXIST => {
            Found { a: by_name(place, name.as_str()), b: None }
        }
        Request::SetLink { place, ifindex, .. }
        | Request::AddIngress { place, ifindex }
        | Request::LeaveFailSignals { place, ifindex }
        | Request::Redirect { place, from: ifindex, .. }
        | Request::AddAltname { place, ifindex, .. }
        | Request::MoveLink { place, ifindex, .. }
        | Request::DeleteLink { place, ifindex }
        | Request::AddAddress { place, ifindex, .. }
        | Request::DeleteAddress { place, ifindex, .. } => {
            let link = sockets.open_in(place).and_then(|socket| get_link(socket, &LinkKey::Ifindex(*ifindex)));
            Found { a: link.ok().flatten(), b: None }
        }
        _ => Found::default(),
    }
}

enum LinkKey<'a> {
    Name(&'a str),
    Ifindex(u32),
}

fn get_link(socket: &mut Socket, key: &LinkKey<'_>) -> io::Result<Option<LinkInfo>> {
    let mut message = LinkMessage::default();
    match key {
        LinkKey::Name(name) => message.attributes.push(LinkAttribute::IfName((*name).to_owned())),
        LinkKey::Ifindex(ifindex) => message.header.index = *ifindex,
    }
    let mut found = None;
    let flags = netlink_packet_core::NLM_F_ACK;
    socket.request(RouteNetlinkMessage::GetLink(message), flags, |answer| found = parse::link(answer))?;
    Ok(found)
}

/// The sockets of one batch, the one used last at the end. Not kept for the next one: a socket keeps its namespace
/// alive, with all links in it, long after its pin is gone.
#[derive(Default)]
struct Sockets {
    open: Vec<(usize, Socket)>,
}

impl Sockets {
    fn open_in(&mut self, place: &Place) -> io::Result<&mut Socket> {
        let handle = place.netns.handle();
        let entry = match self.open.iter().position(|(found, _)| *found == handle) {
            Some(at) => self.open.remove(at),
            None => (handle, Socket::open_in(&place.netns)?),
        };
        if self.open.len() == SOCKETS {
            self.open.remove(0);
        }
        self.open.push(entry);
        let (_, socket) = self.open.last_mut().expect("it was pushed a line ago");
        Ok(socket)
    }

    fn close(&mut self, place: &Place) {
        self.open.retain(|(found, _)| *found != place.netns.handle());
    }
}
