//! Names of places turned into open namespaces, on a thread of its own: opening pins and reading their directory
//! are file operations, and those block.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use netloom_backlog::{Backlog, PushError, Queue, queue};
use netloom_engine::ErrorClass;
use netloom_engine::Layout;
use netloom_engine::Place;
use netloom_failpoint::{fallible, point};
use netloom_kernel::{Announcement, Monitor, Netns};
use netloom_model::{LabName, LinkId};

const NAME: &str = "fabric-places";
/// Requests that may wait.
const QUEUE: usize = 64;

/// An open namespace. It keeps the namespace alive, so it is held for the time of one call and no longer.
#[derive(Debug, Clone)]
pub(crate) struct OpenPlace {
    pub(crate) place: Place,
    pub(crate) kernel: netloom_kernel::Place,
    /// Its id on the host; `None` is the host itself, or one that was opened only to be read.
    pub(crate) nsid: Option<i32>,
}

/// Whether the events of a namespace that is opened have to be delivered; that costs a request to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Events {
    Wanted,
    Unwanted,
}

type Opened = Vec<io::Result<OpenPlace>>;

enum Job {
    Open(Vec<Place>, Events, tokio::sync::oneshot::Sender<Opened>),
    Remember(Vec<LinkId>, tokio::sync::oneshot::Sender<io::Result<()>>),
    List(tokio::sync::oneshot::Sender<io::Result<Vec<Place>>>),
    Settle(Place, Netns, tokio::sync::oneshot::Sender<io::Result<Home>>),
    Source(IpAddr, tokio::sync::oneshot::Sender<io::Result<IpAddr>>),
    Repin(Place, Netns, tokio::sync::oneshot::Sender<io::Result<()>>),
    Announce(OpenPlace, Vec<Announcement>, tokio::sync::oneshot::Sender<io::Result<()>>),
}

/// Where the ends of a node are, seen from the namespace that it has now.
#[derive(Debug, Clone)]
pub(crate) enum Home {
    /// In that very namespace, which is pinned.
    Here,
    /// Nowhere: the node had none, and has this one pinned now.
    New,
    /// In the one that is still pinned.
    Elsewhere(OpenPlace),
}

/// A handle on the thread, which ends with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    queue: Queue<Job>,
}

impl Places {
    pub(crate) fn start(layout: Layout, host: Netns, monitor: Arc<Monitor>) -> io::Result<Self> {
        let (queue, worker) = queue::<Job>(NAME, QUEUE);
        let opener = Opener { layout, host, monitor };
        thread::Builder::new().name(NAME.into()).spawn(move || {
            worker.run(|job| {
                // A caller that has gone meanwhile is no error; what was opened for it is closed.
                match job {
                    Job::Open(places, events, answer) => {
                        let _ = answer.send(places.into_iter().map(|place| opener.open(place, events)).collect());
                    }
                    Job::Remember(links, answer) => {
                        let _ = answer.send(opener.remember(&links));
                    }
                    Job::List(answer) => {
                        let _ = answer.send(opener.list());
                    }
                    Job::Settle(place, netns, answer) => {
                        let _ = answer.send(opener.settle(place, &netns));
                    }
                    Job::Source(remote, answer) => {
                        let _ = answer.send(opener.source(remote));
                    }
                    Job::Announce(open, all, answer) => {
                        let _ = answer.send(open.kernel.netns().announce(&all));
                    }
                    Job::Repin(place, netns, answer) => {
                        let _ = answer.send(netns.repin(opener.pin(&place)));
                    }
                }
            });
        })?;
        Ok(Self { queue })
    }

    /// What the thread has not finished.
    pub(crate) fn backlog(&self) -> &Backlog {
        self.queue.backlog()
    }

    /// Opens places and sees to it that their events are delivered; the answer has their order.
    pub(crate) async fn open(&self, places: Vec<Place>, deadline: Instant) -> Result<Opened, ErrorClass> {
        self.open_for(places, Events::Wanted, deadline).await
    }

    /// Opens places for a look that tells nobody of them.
    pub(crate) async fn open_to_read(&self, places: Vec<Place>, deadline: Instant) -> Result<Opened, ErrorClass> {
        self.open_for(places, Events::Unwanted, deadline).await
    }

    async fn open_for(&self, places: Vec<Place>, events: Events, deadline: Instant) -> Result<Opened, ErrorClass> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.push(Job::Open(places, events, answer))?;
        wait(answered, deadline).await
    }

    /// Writes down ids that are too long for a mark, so that another life of the agent can read the marks.
    pub(crate) async fn remember(&self, links: Vec<LinkId>, deadline: Instant) -> Result<io::Result<()>, ErrorClass> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.push(Job::Remember(links, answer))?;
        wait(answered, deadline).await
    }

    /// The host and every node with a pin.
    pub(crate) async fn list(&self, deadline: Instant) -> Result<io::Result<Vec<Place>>, ErrorClass> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.push(Job::List(answer))?;
        wait(answered, deadline).await
    }

    /// Finds out where the ends of a node are; one without a pin gets this namespace pinned.
    pub(crate) async fn settle(
        &self,
        place: Place,
        to: Netns,
        deadline: Instant,
    ) -> Result<io::Result<Home>, ErrorClass> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.push(Job::Settle(place, to, answer))?;
        wait(answered, deadline).await
    }

    /// The address of the host that packets to `remote` are sent from.
    pub(crate) async fn source(&self, remote: IpAddr, deadline: Instant) -> Result<io::Result<IpAddr>, ErrorClass> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.push(Job::Source(remote, answer))?;
        wait(answered, deadline).await
    }

    /// Pins this namespace in place of the one before. Nobody opens the place meanwhile: that is this thread's work too.
    pub(crate) async fn repin(&self, place: Place, to: Netns, deadline: Instant) -> Result<io::Result<()>, ErrorClass> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.push(Job::Repin(place, to, answer))?;
        wait(answered, deadline).await
    }

    /// Announces addresses from a place.
    pub(crate) async fn announce(
        &self,
        open: OpenPlace,
        all: Vec<Announcement>,
        deadline: Instant,
    ) -> Result<io::Result<()>, ErrorClass> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.push(Job::Announce(open, all, answer))?;
        wait(answered, deadline).await
    }

    fn push(&self, job: Job) -> Result<(), ErrorClass> {
        self.queue.push(job).map_err(|error| match error {
            PushError::Full => ErrorClass::Busy,
            PushError::Closed => ErrorClass::Transient,
        })
    }
}

async fn wait<T>(answered: tokio::sync::oneshot::Receiver<T>, deadline: Instant) -> Result<T, ErrorClass> {
    match tokio::time::timeout_at(deadline.into(), answered).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(ErrorClass::Transient),
        Err(_) => Err(ErrorClass::Deadline),
    }
}

struct Opener {
    layout: Layout,
    host: Netns,
    monitor: Arc<Monitor>,
}

impl Opener {
    fn open(&self, place: Place, events: Events) -> io::Result<OpenPlace> {
        match &place {
            Place::Host => {
                let kernel = netloom_kernel::Place::host(self.host.clone());
                Ok(OpenPlace { place, kernel, nsid: None })
            }
            Place::Node(lab, node) => {
                let netns = Netns::open(self.layout.pin(lab, node))?;
                let nsid = match events {
                    Events::Wanted => {
                        let nsid = self.monitor.watch(&netns)?;
                        point!("netns.watched");
                        Some(nsid)
                    }
                    Events::Unwanted => None,
                };
                let kernel = netloom_kernel::Place::node(netns, node.as_str());
                Ok(OpenPlace { place, kernel, nsid })
            }
        }
    }

    /// Where the namespace of a place is pinned; that of the host is nowhere.
    fn pin(&self, place: &Place) -> PathBuf {
        match place {
            Place::Host => PathBuf::new(),
            Place::Node(lab, node) => self.layout.pin(lab, node),
        }
    }

    fn settle(&self, place: Place, netns: &Netns) -> io::Result<Home> {
        let pin = self.pin(&place);
        match Netns::find(&pin)? {
            Some(old) if old.cookie()? == netns.cookie()? => Ok(Home::Here),
            Some(_) => self.open(place, Events::Unwanted).map(Home::Elsewhere),
            None => {
                let parent = pin.parent().unwrap_or(&pin);
                std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
                netns.repin(&pin)?;
                Ok(Home::New)
            }
        }
    }

    fn source(&self, remote: IpAddr) -> io::Result<IpAddr> {
        self.host.run(|| {
            let any: IpAddr =
                if remote.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0))?;
            // Sends nothing; the port is of no matter.
            socket.connect((remote, 9))?;
            Ok(socket.local_addr()?.ip())
        })?
    }

    fn remember(&self, links: &[LinkId]) -> io::Result<()> {
        let path = long_ids(&self.layout);
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        // One write, so that a crash leaves whole lines. An id has no white space.
        let lines: Vec<&str> = links.iter().flat_map(|link| [link.as_str(), "\n"]).collect();
        fallible!("link.before-remembered")?;
        file.write_all(lines.concat().as_bytes())?;
        point!("link.remembered");
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<Place>> {
        let mut all = vec![Place::Host];
        for (lab, directory) in entries(&self.layout.pins())? {
            let Ok(lab) = lab.parse::<LabName>() else { continue };
            let nodes = entries(&directory)?.into_iter().filter_map(|(node, _)| node.parse().ok());
            all.extend(nodes.map(|node| Place::Node(lab.clone(), node)));
        }
        Ok(all)
    }
}

/// Whether the namespace is not there: no pin, or one whose mount is gone.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
}

/// The file with the ids of links that are too long for a mark, one a line. It goes with the pins at a reboot.
fn long_ids(layout: &Layout) -> PathBuf {
    layout.run().join("long-links")
}

/// The ids that were written down. Blocks; for the start.
pub(crate) fn remembered(layout: &Layout) -> io::Result<Vec<LinkId>> {
    match std::fs::read_to_string(long_ids(layout)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => Ok(other?.lines().map(LinkId::from_text).collect()),
    }
}

/// The entries of a directory; none if there is no such directory.
fn entries(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let found = match std::fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(vec![]);
        }
        other => other?,
    };
    let mut all = Vec::new();
    for entry in found {
        let entry = entry?;
        // A name that is not UTF-8 is none of ours.
        if let Ok(name) = entry.file_name().into_string() {
            all.push((name, entry.path()));
        }
    }
    all.sort();
    Ok(all)
}
