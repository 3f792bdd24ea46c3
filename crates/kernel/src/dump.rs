//! The reader: what is in a namespace, all of it, asked of the kernel.
//!
//! A thread of its own, so that a slow relist of a thousand namespaces does not stand in the writer's way.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::thread;
use std::time::Instant;

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use netloom_backlog::{Backlog, Queue, queue};
use tokio::sync::oneshot;

use crate::error::{KernelError, KernelErrorKind, SubmitError, errno_text, kind};
use crate::gate::Gate;
use crate::netns::Netns;
use crate::parse::{self, AddressInfo, Counters, LinkInfo, Way};
use crate::request::Place;
use crate::route::{self, SavedRoute};
use crate::rtnl::Rtnl;
use crate::socket::Socket;

const NAME: &str = "nl-reader";
/// Dumps that may wait.
const QUEUE: usize = 128;
/// How often a dump is begun anew when the interfaces changed while it was read.
const ATTEMPTS: usize = 10;
/// How many of these leave our own writer alone.
const UNHELD: usize = 2;

/// Everything in one namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceDump {
    /// Its interfaces, by ifindex.
    pub links: Vec<LinkInfo>,
    /// Its addresses, by interface and address.
    pub addresses: Vec<AddressInfo>,
}

impl NamespaceDump {
    /// The interface of that number.
    pub fn link(&self, ifindex: u32) -> Option<&LinkInfo> {
        self.links.iter().find(|link| link.ifindex == ifindex)
    }

    /// The interface of that name, or with that other name.
    pub fn named(&self, name: &str) -> Option<&LinkInfo> {
        self.links.iter().find(|link| link.name == name || link.altnames.iter().any(|alt| alt == name))
    }

    /// The addresses of each interface.
    pub fn addresses_by_link(&self) -> HashMap<u32, Vec<AddressInfo>> {
        let mut by_link: HashMap<u32, Vec<AddressInfo>> = HashMap::new();
        for address in &self.addresses {
            by_link.entry(address.ifindex).or_default().push(*address);
        }
        by_link
    }
}

type Each<T> = Vec<Result<T, KernelError>>;
type Dumps = Each<NamespaceDump>;

#[derive(Debug)]
struct Job {
    places: Vec<Place>,
    deadline: Instant,
    wanted: Wanted,
}

/// What is asked for, and who asks.
#[derive(Debug)]
enum Wanted {
    Everything(oneshot::Sender<Dumps>),
    Counters(oneshot::Sender<Each<Vec<Counters>>>),
    Ways(Vec<IpAddr>, oneshot::Sender<Each<Vec<Option<Way>>>>),
    Routes(u32, oneshot::Sender<Each<Vec<SavedRoute>>>),
}

impl Wanted {
    fn is_unwanted(&self) -> bool {
        match self {
            Self::Everything(answer) => answer.is_closed(),
            Self::Counters(answer) => answer.is_closed(),
            Self::Ways(_, answer) => answer.is_closed(),
            Self::Routes(_, answer) => answer.is_closed(),
        }
    }
}

/// A handle on the reader thread, which ends with the last clone.
#[derive(Debug, Clone)]
pub struct Dumper {
    queue: Queue<Job>,
}

impl Dumper {
    /// Starts the thread. `home` is the namespace in which it rests between dumps: the host's. It makes the writer wait
    /// for the time of a dump, milliseconds, when otherwise it cannot get a whole one.
    pub fn start(home: Netns, writer: &Rtnl) -> io::Result<Self> {
        let gate = writer.gate.clone();
        let (queue, worker) = queue::<Job>(NAME, QUEUE);
        thread::Builder::new().name(NAME.into()).spawn(move || {
            worker.run(|job| {
                let Job { places, deadline, wanted } = job;
                if wanted.is_unwanted() {
                    return;
                }
                // The thread's own namespace and the job's handles keep namespaces alive; let go before answering.
                let go_home = || {
                    if let Err(error) = home.enter() {
                        tracing::error!(%error, "the netlink reader cannot return to the host's namespace");
                    }
                };
                match wanted {
                    Wanted::Everything(answer) => {
                        let dumps = dump_here(&places, Some(deadline), |netns| dump_one(netns, &gate));
                        go_home();
                        drop(places);
                        let _ = answer.send(dumps);
                    }
                    Wanted::Counters(answer) => {
                        let counters = dump_here(&places, Some(deadline), |netns| count_one(netns, &gate));
                        go_home();
                        drop(places);
                        let _ = answer.send(counters);
                    }
                    Wanted::Ways(to, answer) => {
                        let ways = dump_here(&places, Some(deadline), |netns| look_up(netns, &to));
                        go_home();
                        drop(places);
                        let _ = answer.send(ways);
                    }
                    Wanted::Routes(ifindex, answer) => {
                        let routes = dump_here(&places, Some(deadline), |netns| routes_of(netns, ifindex, &gate));
                        go_home();
                        drop(places);
                        let _ = answer.send(routes);
                    }
                }
            });
        })?;
        Ok(Self { queue })
    }

    /// Dumps namespaces, in order; each result is whole or an error, never half a dump.
    pub async fn dump(&self, places: Vec<Place>, deadline: Instant) -> Result<Dumps, SubmitError> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(Job { places, deadline, wanted: Wanted::Everything(answer) })?;
        wait(answered, deadline).await
    }

    /// Reads what all interfaces of namespaces have carried, in order.
    pub async fn counters(&self, places: Vec<Place>, deadline: Instant) -> Result<Each<Vec<Counters>>, SubmitError> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(Job { places, deadline, wanted: Wanted::Counters(answer) })?;
        wait(answered, deadline).await
    }

    /// Looks up which way packets from a namespace to these addresses take, in order; `None` where there is none.
    pub async fn ways(
        &self,
        from: Place,
        to: Vec<IpAddr>,
        deadline: Instant,
    ) -> Result<Result<Vec<Option<Way>>, KernelError>, SubmitError> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(Job { places: vec![from], deadline, wanted: Wanted::Ways(to, answer) })?;
        let ways = wait(answered, deadline).await?;
        ways.into_iter().next().ok_or(SubmitError::Closed)
    }

    /// Reads the routes by an interface that somebody has made, so that they can be restored
    /// ([`Request::RestoreRoute`](crate::Request::RestoreRoute)).
    pub async fn routes(
        &self,
        of: Place,
        ifindex: u32,
        deadline: Instant,
    ) -> Result<Result<Vec<SavedRoute>, KernelError>, SubmitError> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(Job { places: vec![of], deadline, wanted: Wanted::Routes(ifindex, answer) })?;
        let routes = wait(answered, deadline).await?;
        routes.into_iter().next().ok_or(SubmitError::Closed)
    }

    /// What the thread has not finished: what a supervisor judges it by.
    pub fn backlog(&self) -> &Backlog {
        self.queue.backlog()
    }
}

async fn wait<T>(answered: oneshot::Receiver<T>, deadline: Instant) -> Result<T, SubmitError> {
    match tokio::time::timeout_at(deadline.into(), answered).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(SubmitError::Closed),
        Err(_) => Err(SubmitError::Deadline),
    }
}

/// Dumps namespaces on a thread of its own, and waits for it.
pub fn dump(places: &[Place]) -> io::Result<Dumps> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("nl-dump".into())
            .spawn_scoped(scope, || dump_here(places, None, |netns| dump_one(netns, &Gate::default())))?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// Reads something of namespaces on the calling thread, which it leaves in any of them.
fn dump_here<T>(places: &[Place], deadline: Option<Instant>, read: impl Fn(&Netns) -> io::Result<T>) -> Each<T> {
    let one = |place: &Place| {
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(refused(place, KernelErrorKind::Deadline, "there was no time left"));
        }
        read(&place.netns).map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            refused(place, kind(errno), &errno_text(errno))
        })
    };
    places.iter().map(one).collect()
}

fn refused(place: &Place, kind: KernelErrorKind, why: &str) -> KernelError {
    let object = format!("interfaces {place}");
    let message = format!("cannot list the {object}: {why}");
    KernelError { operation: "list", object, kind, message }
}

fn dump_one(netns: &Netns, gate: &Gate) -> io::Result<NamespaceDump> {
    let mut socket = Socket::open_in(netns)?;
    let links = consistent(gate, || {
        let mut request = LinkMessage::default();
        // Counters are two thirds of a link's 1.4 KB.
        request.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let mut links = Vec::new();
        let ack = socket.request(RouteNetlinkMessage::GetLink(request), NLM_F_DUMP, |message| {
            if message.kind == parse::RTM_NEWLINK {
                links.extend(parse::link(message));
            }
        })?;
        Ok((ack.errno, links))
    })?;
    let addresses = consistent(gate, || {
        let mut addresses = Vec::new();
        let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let ack = socket.request(request, NLM_F_DUMP, |message| {
            if message.kind == parse::RTM_NEWADDR {
                addresses.extend(parse::address(message));
            }
        })?;
        Ok((ack.errno, addresses))
    })?;
    let mut dump = NamespaceDump { links, addresses };
    dump.links.sort_by_key(|link| link.ifindex);
    dump.addresses.sort();
    Ok(dump)
}

fn count_one(netns: &Netns, gate: &Gate) -> io::Result<Vec<Counters>> {
    let mut socket = Socket::open_in(netns)?;
    consistent(gate, || {
        let mut counters = Vec::new();
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let ack = socket.request(request, NLM_F_DUMP, |message| {
            if message.kind == parse::RTM_NEWLINK {
                counters.extend(parse::counters(message));
            }
        })?;
        Ok((ack.errno, counters))
    })
}

fn look_up(netns: &Netns, to: &[IpAddr]) -> io::Result<Vec<Option<Way>>> {
    let mut socket = Socket::open_in(netns)?;
    to.iter().map(|to| route::look_up(&mut socket, *to)).collect()
}

fn routes_of(netns: &Netns, ifindex: u32, gate: &Gate) -> io::Result<Vec<SavedRoute>> {
    let mut socket = Socket::open_in(netns)?;
    consistent(gate, || route::routes(&mut socket, ifindex))
}

/// Repeats a dump that the kernel says was interrupted by a change (NLM_F_DUMP_INTR): it may lack what did not change.
fn consistent<T>(gate: &Gate, mut read: impl FnMut() -> io::Result<(i32, Vec<T>)>) -> io::Result<Vec<T>> {
    for attempt in 0..ATTEMPTS {
        let _held = (attempt >= UNHELD).then(|| gate.hold());
        match read()? {
            (0, all) => return Ok(all),
            (libc::EINTR, _) => {}
            (errno, _) => return Err(io::Error::from_raw_os_error(errno)),
        }
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}
