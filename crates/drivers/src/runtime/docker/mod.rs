//! The Docker runtime: nodes are containers of the daemon on this host.
//!
//! The daemon is the slow neighbour, and sometimes frozen. Nobody waits for it but the call that needs it: what is known of
//! nodes comes from one stream of events and from a list now and then, and is answered from memory. A call that is given
//! up is released; what becomes of it shows when it is observed.
//!
//! ```text
//!   Runtime calls ─▶ one task a call, one at a time a node ─▶ docker-work (4 at once)   create, start, stop, remove
//!                                     │                   ├─▶ docker-reads (8)          inspect
//!                                     │                   └─▶ nl-docker-0               files, namespaces
//!   access to networks ─▶ nl-firewall-0                           iptables
//!   docker-events ─▶ one task a node that something happened to ──┘
//! ```
//!
//! ```text
//!   labels of the container            whose it is, and what it was made by (mark)
//!   /var/lib/netloom/containers/<lab>/<node>.json   what was applied to it since (record); most nodes have none
//!   /var/lib/netloom/netloom-init      what waits for interfaces before the command of a container, mounted into some
//!   /run/netloom/netns/<lab>/<node>    its network namespace, pinned across its lives; /run/netns/<container> links to it
//! ```

mod adopted;
mod attach;
mod compose;
mod documents;
mod doorway;
mod events;
mod external;
mod hold;
mod images;
mod inside;
mod life;
mod list;
mod logs;
mod mark;
mod networks;
mod observe;
mod outside;
mod ports;
mod privilege;
mod pull;
mod record;
mod reserve;
mod survey;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_docker::{Docker, Endpoint, ErrorKind, Observer};
use netloom_engine::{
    Applied, Bulkhead, Context, CopyError, CopyIn, CopyOut, DriverError, ErrorClass, ExecRequest, ExecSession, Fact,
    Follow, Holder, Images, Incoming, InheritedNode, Layout, LogStream, Networks, NodeOrder, NodeUsage, Outgoing,
    Report, Reporter, Runtime, Source, task,
};
use netloom_kernel::{Cgroups, Netns};
use netloom_model::{LabName, NodeName, RuntimeKind};
use tokio::sync::{Notify, watch};

use super::fault::{Backend, Fault, plain};
use super::join::Joiner;
use super::order::key_of;
use super::pool::Pool;
use super::turns::{InTurns, Key, Turns};
use crate::fabric::kernel::KernelFabric;
use adopted::Adopted;
use events::Doubt;
use external::External;
use images::Pulls;
use observe::Known;
use privilege::Privileges;
use survey::Survey;

const BACKEND: Backend = Backend("docker");
const SOURCE: Source = Source::Runtime(RuntimeKind::Docker);
/// How long a look or the start of a session may take; those have no deadline of their own.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls that start or stop something, at once: with more Docker does no more per second, and each takes longer.
const WORK: usize = 4;
/// Quick reads at once.
const READS: usize = 8;
/// Threads for files and namespaces; one, since what is done there takes microseconds.
const THREADS: usize = 1;

/// What the runtime is put together from.
#[derive(Debug)]
pub struct DockerParts {
    /// Where the daemon is.
    pub endpoint: Endpoint,
    /// Is told of every call.
    pub observer: Arc<dyn Observer>,
    /// Makes the links, whose ends follow containers through their lives.
    pub fabric: Arc<KernelFabric>,
    /// Joins containers; or why nothing can be joined.
    pub joiner: Result<Joiner, String>,
}

/// The Docker runtime of one agent instance.
#[derive(Debug, Clone)]
pub struct DockerRuntime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    docker: Docker,
    /// Of a daemon that can be talked to.
    socket: Option<PathBuf>,
    layout: Layout,
    reporter: Reporter,
    fabric: Arc<KernelFabric>,
    joiner: Result<Joiner, String>,
    cgroups: Result<Cgroups, String>,
    pool: Pool,
    /// For the programs that change the host's firewall: they may take seconds, and nodes do not wait for them.
    firewall: Pool,
    turns: Arc<Turns>,
    work: Bulkhead,
    reads: Bulkhead,
    nodes: Mutex<BTreeMap<Key, Known>>,
    /// Nodes to which something happened and that were not looked at since.
    doubted: Mutex<BTreeMap<Key, Doubt>>,
    /// Whether everything was seen once.
    looked: AtomicBool,
    /// Says that a look has found what no event had told.
    missed: watch::Sender<()>,
    survey: tokio::sync::Mutex<Option<Survey>>,
    /// Nodes that something else made, as they are noted.
    externals: Mutex<BTreeMap<Key, External>>,
    /// Containers that somebody else made and that were adopted.
    adopted: Mutex<Adopted>,
    /// Whether there are networks of the agent before this one.
    hung: watch::Sender<Option<bool>>,
    pulls: Mutex<Pulls>,
    /// Has the images listed.
    images_doubted: Arc<Notify>,
    /// One list of images after the other.
    images_listed: tokio::sync::Mutex<()>,
    commands: hold::Commands,
    /// Says that something is known that was not.
    changed: watch::Sender<()>,
    privileges: tokio::sync::OnceCell<Privileges>,
    listening: AtomicBool,
}

impl DockerRuntime {
    /// Starts the threads of the runtime; the daemon is not asked for anything before the first [`Runtime::relist`].
    /// Blocks for a millisecond.
    pub fn start(layout: Layout, reporter: Reporter, parts: DockerParts) -> Result<Self, DriverError> {
        let DockerParts { endpoint, observer, fabric, joiner } = parts;
        let refused =
            |error: io::Error| BACKEND.fault("start", "the Docker runtime", plain(&error), ErrorClass::Permanent);
        let shared = Shared {
            socket: endpoint.socket().map(Path::to_owned),
            docker: Docker::new(endpoint, observer),
            layout,
            reporter,
            fabric,
            joiner,
            cgroups: Cgroups::detect().map_err(|error| plain(&error)),
            pool: Pool::start("nl-docker", THREADS).map_err(refused)?,
            firewall: Pool::start("nl-firewall", THREADS).map_err(refused)?,
            turns: Arc::default(),
            work: Bulkhead::new("docker-work", WORK),
            reads: Bulkhead::new("docker-reads", READS),
            nodes: Mutex::default(),
            doubted: Mutex::default(),
            looked: AtomicBool::new(false),
            missed: watch::Sender::default(),
            survey: tokio::sync::Mutex::default(),
            externals: Mutex::default(),
            adopted: Mutex::default(),
            hung: watch::Sender::default(),
            pulls: Mutex::default(),
            images_doubted: Arc::default(),
            images_listed: tokio::sync::Mutex::default(),
            commands: hold::Commands::default(),
            changed: watch::Sender::default(),
            privileges: tokio::sync::OnceCell::new(),
            listening: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl DockerRuntime {
    /// The containers that carry the marks of another agent of the contract, each with its network namespace if it runs.
    pub(crate) async fn inherited(
        &self,
        context: &Context,
    ) -> Result<Vec<(InheritedNode, Option<Netns>)>, DriverError> {
        let looked = self.shared.inherited(context.deadline).await;
        looked.map_err(|fault| fault.of(BACKEND, "list", "the containers of another agent"))
    }

    /// Whether there are networks of that agent, as they were last seen.
    pub(crate) fn hung(&self) -> watch::Receiver<Option<bool>> {
        self.shared.hung.subscribe()
    }

    /// Removes what that agent has left of a lab.
    pub(crate) async fn clear_inherited(&self, lab: &LabName, context: &Context) -> Result<(), DriverError> {
        let cleared = self.shared.clear_inherited(lab, context.deadline).await;
        cleared.map_err(|fault| fault.of(BACKEND, "remove", &format!("what another agent has left of lab {lab}")))
    }
}

impl InTurns for Shared {
    const BACKEND: Backend = BACKEND;

    fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }
}

impl Shared {
    async fn files<T: Send + 'static>(
        self: &Arc<Self>,
        deadline: Instant,
        work: impl FnOnce(&Layout) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let shared = Arc::clone(self);
        self.pool.run(deadline, move || work(&shared.layout)).await.map_err(Fault::from)
    }

    async fn work(&self, deadline: Instant) -> Result<tokio::sync::OwnedSemaphorePermit, Fault> {
        self.work.enter(deadline).await.map_err(|busy| Fault::transient(busy.to_string()))
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<Key, Known>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doubted(&self) -> MutexGuard<'_, BTreeMap<Key, Doubt>> {
        self.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn externals(&self) -> MutexGuard<'_, BTreeMap<Key, External>> {
        self.externals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn adopted(&self) -> MutexGuard<'_, Adopted> {
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, key: &Key) -> Option<Known> {
        self.nodes().get(key).cloned()
    }

    fn all(&self) -> Vec<Known> {
        self.nodes().values().cloned().collect()
    }

    /// Forgets the nodes that are not there; whether there were any.
    fn retain(&self, is_there: impl Fn(&Key) -> bool) -> bool {
        let mut nodes = self.nodes();
        let before = nodes.len();
        nodes.retain(|key, _| is_there(key));
        nodes.len() < before
    }

    /// Takes over what was seen of a node, and reports it as seen now: its links may have been given to it meanwhile, and a list
    /// that began before this and has what was known until now must not count as newer.
    fn note(&self, key: &Key, mut known: Known) {
        let mut nodes = self.nodes();
        known.seen = SystemTime::now();
        let fact = known.fact();
        nodes.insert(key.clone(), known);
        drop(nodes);
        self.tell(Fact::Node(fact));
    }

    /// Changes what is known of a node, and reports it, likewise.
    fn change(&self, key: &Key, change: impl FnOnce(&mut Known)) {
        let mut nodes = self.nodes();
        let Some(known) = nodes.get_mut(key) else { return };
        change(known);
        known.seen = SystemTime::now();
        let fact = known.fact();
        drop(nodes);
        self.tell(Fact::Node(fact));
    }

    /// The container of a node is gone.
    fn forget(&self, key: &Key) {
        self.nodes().remove(key);
        self.tell(Fact::NodeGone(key.0.clone(), key.1.clone()));
    }

    fn tell(&self, fact: Fact) {
        self.changed.send_replace(());
        self.reporter.send(Report::Events(SOURCE, vec![fact]));
    }

    /// What the daemon can give to containers of full privilege.
    async fn privileges(self: &Arc<Self>, deadline: Instant) -> Result<Privileges, Fault> {
        let find = async {
            let socket = self.socket.clone();
            let read = move |_: &Layout| daemon_privileges(socket.as_deref()?).ok();
            Ok::<_, Fault>(self.files(deadline, read).await?.unwrap_or(Privileges::Whole))
        };
        self.privileges.get_or_try_init(|| find).await.cloned()
    }
}

/// What the process behind a socket may do. Of one that cannot be seen (it is a proxy in another world of processes) as much
/// is supposed as we may do ourselves. Blocks for as long as it takes to connect.
fn daemon_privileges(socket: &Path) -> io::Result<Privileges> {
    let stream = UnixStream::connect(socket)?;
    let status = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/status"));
    let peer = rustix::net::sockopt::socket_peercred(&stream).map_err(io::Error::from);
    let peer = peer.and_then(|peer| status(&peer.pid.as_raw_nonzero().to_string()));
    let status = peer.or_else(|_| status("self"))?;
    let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")?;
    Ok(Privileges::of(&status, last.trim().parse().unwrap_or(0)))
}

/// An answer of Docker as an error of a node's.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn refused(error: netloom_docker::Error) -> Fault {
    let text = error.kind.to_string();
    match error.kind {
        ErrorKind::Deadline => Fault::from(ErrorClass::Deadline).and(": the Docker daemon does not answer"),
        ErrorKind::Refused { .. } => Fault::permanent(text),
        // The daemon says 400 for little of what is wrong with a container, and 500 for the rest.
        ErrorKind::Daemon { .. } if is_final(&text) => Fault::permanent(text),
        ErrorKind::Daemon { .. } if text.contains("no space left") => {
            Fault::transient(text).and("; the disk with Docker's data is full: `netloom image prune` frees some of it")
        }
        _ => Fault::transient(text),
    }
}

/// Whether words of the daemon say that something is wrong with the container itself, and not with the moment.
fn is_final(text: &str) -> bool {
    let words = [
        "executable file not found",
        "no such file or directory",
        "permission denied",
        "not permitted",
        "invalid",
        "error mounting",
    ];
    words.iter().any(|word| text.contains(word))
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    fn backlogs(&self) -> Vec<Backlog> {
        vec![self.shared.pool.backlog().clone(), self.shared.firewall.backlog().clone()]
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    fn bulkheads(&self) -> Vec<&Bulkhead> {
        vec![&self.shared.work, &self.shared.reads]
    }

    async fn check(&self) -> Result<(), DriverError> {
        self.shared.survey_anew().await;
        let answer = self.shared.docker.version(Instant::now() + PATIENCE).await;
        answer.map(drop).map_err(|error| {
            let hint = match &error.kind {
                ErrorKind::Unreachable(cause) if cause.kind() == io::ErrorKind::PermissionDenied => {
                    "run the agent as root, or as a user of the group `docker`".to_owned()
                }
                ErrorKind::Unreachable(_) => match &self.shared.socket {
                    Some(socket) => format!(
                        "start it (`systemctl start docker`), or set DOCKER_HOST if its socket is not {}",
                        socket.display()
                    ),
                    None => {
                        "set DOCKER_HOST in the environment of the agent, or leave it out, and restart the agent".into()
                    }
                },
                _ => "look at the daemon (`systemctl status docker`)".to_owned(),
            };
            DriverError { hint: Some(hint), ..refused(error).of(BACKEND, "use", "the Docker runtime") }
        })
    }

    async fn check_node(&self, order: &NodeOrder) -> Result<(), DriverError> {
        let object = format!("node {}", order.node);
        self.shared.check_node(order).await.map_err(|(cause, hint)| DriverError {
            hint,
            ..BACKEND.fault("make", &object, cause, ErrorClass::Permanent)
        })
    }

    async fn holder(&self, container: &str, context: &Context) -> Result<Option<Holder>, DriverError> {
        let asked = self.shared.inspect(container, context.deadline).await;
        let found = asked.map_err(|fault| fault.of(BACKEND, "look for", container))?;
        Ok(found.map(|found| Holder {
            is_ours: self.shared.mark_of(&found.id, &found.config.labels).is_some() || adopted::makes_way(&found),
            state: found.state.status,
            id: found.id,
        }))
    }

    async fn reserve(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError> {
        let (key, order) = (key_of(order), order.clone());
        let reserve = |shared: Arc<Shared>, key, deadline| shared.reserve_node(order, key, deadline);
        self.shared.in_turn("make a place for the links of", key, context, reserve).await
    }

    async fn create(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError> {
        let (key, order) = (key_of(order), order.clone());
        let create = |shared: Arc<Shared>, key, deadline| shared.create_node(order, key, deadline);
        self.shared.in_turn("create", key, context, create).await
    }

    async fn start(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError> {
        let (key, order) = (key_of(order), order.clone());
        let start = |shared: Arc<Shared>, key, deadline| shared.start_node(order, key, deadline);
        self.shared.in_turn("start", key, context, start).await
    }

    async fn adopt(&self, order: &NodeOrder, runtime_id: &str, context: &Context) -> Result<(), DriverError> {
        let (key, order, id) = (key_of(order), order.clone(), runtime_id.to_owned());
        let adopt = |shared: Arc<Shared>, key, deadline| shared.adopt_node(order, id, key, deadline);
        self.shared.in_turn("adopt", key, context, adopt).await
    }

    async fn update(&self, order: &NodeOrder, context: &Context) -> Result<(), DriverError> {
        let (key, order) = (key_of(order), order.clone());
        let update = |shared: Arc<Shared>, key, deadline| shared.update_node(order, key, deadline);
        self.shared.in_turn("update", key, context, update).await
    }

    async fn stop(&self, lab: &LabName, node: &NodeName, context: &Context) -> Result<(), DriverError> {
        self.shared.in_turn("stop", (lab.clone(), node.clone()), context, Shared::stop_node).await
    }

    async fn delete(&self, lab: &LabName, node: &NodeName, context: &Context) -> Result<(), DriverError> {
        self.shared.in_turn("delete", (lab.clone(), node.clone()), context, Shared::delete_node).await
    }

    fn networks(&self) -> Option<&dyn Networks> {
        Some(self)
    }

    async fn write_names(&self, _: &LabName, _: Option<&str>, _: &Context) -> Result<(), DriverError> {
        // Containers see the very file that the namespace runtime keeps.
        Ok(())
    }

    async fn relist(&self) -> Result<(), DriverError> {
        if !self.shared.listening.swap(true, Ordering::AcqRel) {
            let runtime = Arc::downgrade(&self.shared);
            task::restarted("docker-events", move || events::listen(runtime.clone()));
            let (runtime, doubted) = (Arc::downgrade(&self.shared), self.shared.images_doubted.clone());
            task::restarted("docker-images", move || images::list_when_doubted(runtime.clone(), doubted.clone()));
        }
        self.shared.look_at_all().await
    }

    async fn applied(&self, lab: &LabName) -> Result<BTreeMap<NodeName, Option<Applied>>, DriverError> {
        let of_lab = self.shared.all().into_iter().filter(|known| known.mark.lab == *lab);
        Ok(of_lab.map(|known| (known.mark.node.clone(), known.applied())).collect())
    }

    async fn exec(&self, lab: &LabName, node: &NodeName, request: ExecRequest) -> Result<ExecSession, DriverError> {
        let (key, deadline) = ((lab.clone(), node.clone()), Instant::now() + PATIENCE);
        let begin = async {
            let (joiner, inside) = self.shared.inside(&key, deadline).await?;
            joiner.exec(&format!("{}/{}", key.0, key.1), &inside, &request, deadline).await
        };
        begin.await.map_err(|fault| fault.of(BACKEND, "run a command in", &format!("node {node}")))
    }

    async fn logs(&self, lab: &LabName, node: &NodeName, follow: Follow) -> Result<LogStream, DriverError> {
        let opened = self.shared.open_logs((lab.clone(), node.clone()), follow).await;
        opened.map_err(|fault| fault.of(BACKEND, "read the output of", &format!("node {node}")))
    }

    async fn usage(&self, lab: &LabName, context: &Context) -> Result<Vec<NodeUsage>, DriverError> {
        let usage = self.shared.usage(lab, context.deadline).await;
        usage.map_err(|fault| fault.of(BACKEND, "read the usage of", &format!("lab {lab}")))
    }

    async fn copy_out(&self, lab: &LabName, node: &NodeName, request: CopyOut) -> Result<Outgoing, CopyError> {
        let (key, deadline) = ((lab.clone(), node.clone()), Instant::now() + PATIENCE);
        let inside = self.shared.inside(&key, deadline).await;
        let (joiner, inside) = inside.map_err(|fault| fault.of(BACKEND, "copy files from", &format!("node {node}")))?;
        joiner.copy_out((BACKEND, &key), &inside, request, deadline).await
    }

    async fn copy_in(&self, lab: &LabName, node: &NodeName, request: CopyIn) -> Result<Incoming, CopyError> {
        let (key, deadline) = ((lab.clone(), node.clone()), Instant::now() + PATIENCE);
        let inside = self.shared.inside(&key, deadline).await;
        let (joiner, inside) = inside.map_err(|fault| fault.of(BACKEND, "copy files to", &format!("node {node}")))?;
        joiner.copy_in((BACKEND, &key), &inside, request, deadline).await
    }
}
