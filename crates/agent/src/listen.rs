//! Where the agent listens: taken before anything else is started, so that health is answered meanwhile and a
//! second agent is told at once.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use netloom_engine::{Engine, Layout, Transport, task};
use rustix::fs::FlockOperation;
use rustix::process::Resource;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::access::{Keys, Networks};
use crate::controller::{ControllerConfig, Introduction, Member};
use crate::health::{self, Acceptor, Health, Limits};
use crate::metrics::DockerCalls;
use crate::serve;
use crate::supervisor::{Supervisor, Systemd};
use crate::token::{self, TokenError};

/// How many connections may wait between the health thread and the main runtime.
const HANDOVER: usize = 128;
/// How many connections may wait to be taken. With the usual 128 a burst of clients fills the queue within a turn of the
/// thread that takes them, and whom the kernel turns away then, a probe too, tries again only after a second.
const WAITING: i32 = 1024;
/// How long a socket that is there may take to say whether somebody answers.
const ANSWERS: Duration = Duration::from_secs(2);
/// How soon the lock of an agent that ends is tried again; nothing tells when it is free.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where the agent listens and how.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Socket, token and state directory.
    pub layout: Layout,
    /// The TCP address; `None` for the unix socket alone.
    pub listen: Option<SocketAddr>,
    /// The secret that controllers have: it opens their API on the TCP port, as the token opens our own. Needed for an address
    /// that is not loopback.
    pub secret: Option<String>,
    /// From where the metrics are read without a key.
    pub metrics_allow: Networks,
    /// From which addresses consoles are opened without a key, since the controller sends none with them: those that the
    /// configuration writes. Those that the controller's name has are beside them.
    pub consoles_from: Vec<IpAddr>,
    /// From which networks they are opened so besides.
    pub console_allow: Networks,
    /// The controller that the agent registers at, if it belongs to one. Nothing is said to it without a TCP address.
    pub controller: Option<ControllerConfig>,
    /// What the agent says of itself to whoever has the secret.
    pub introduction: Introduction,
    /// The URL of the controller whose library has images, `http://HOST:PORT`; asked with the secret.
    pub images_from: Option<String>,
    /// What carries tunnels to other hosts, if the configuration says so.
    pub transport: Option<Transport>,
    /// How old unserved work may be before the process counts as not live.
    pub live_limit: Duration,
    /// How many TCP connections may wait that have not sent anything telling; at most an eighth of the descriptors that
    /// the process may have.
    pub silent: usize,
    /// How long a connection may take to send the head of a request; also how long an idle one is kept.
    pub head_limit: Duration,
    /// How many connections each door serves at once, at most an eighth of the descriptors; more wait.
    pub connections: usize,
    /// How long requests under way may take when the agent stops.
    pub drain: Duration,
    /// For how long nothing but a restart would help before the process ends itself; `None`: never.
    pub end_after: Option<Duration>,
    /// What calls of the Docker daemon are counted in.
    pub docker_calls: DockerCalls,
    /// Called by the threads `health` and `supervisor` on themselves: has a busy host give them their turn before others. Nothing
    /// unless another is given.
    pub prefer: fn(),
}

impl ServeConfig {
    /// The usual limits: 127.0.0.1:8001, no secret, metrics for private networks, no consoles without a key, 10 s for loops, a
    /// minute until the process ends itself, 30 s for heads, 5 s to drain.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 8001))),
            secret: None,
            metrics_allow: Networks::default(),
            consoles_from: Vec::new(),
            console_allow: Networks::none(),
            controller: None,
            introduction: Introduction::default(),
            images_from: None,
            transport: None,
            live_limit: Duration::from_secs(10),
            silent: 1024,
            head_limit: Duration::from_secs(30),
            connections: 1024,
            drain: Duration::from_secs(5),
            end_after: Some(Duration::from_secs(60)),
            docker_calls: DockerCalls::default(),
            prefer: || {},
        }
    }

    /// Connections must leave descriptors for everything else, whoever opens how many of them.
    fn fit(&mut self, descriptors: Option<u64>) {
        let share = descriptors.and_then(|limit| usize::try_from(limit / 8).ok()).unwrap_or(usize::MAX).max(4);
        self.silent = self.silent.min(share);
        self.connections = self.connections.min(share);
    }
}

/// Why the agent cannot listen or serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another agent of this root runs.
    #[error(
        "an agent already runs: {socket} answers; use it, stop it (`netloom agent stop`), or give this one a root \
         of its own (NETLOOM_ROOT)"
    )]
    AlreadyRuns {
        /// Its socket.
        socket: PathBuf,
    },
    /// The socket cannot be made.
    #[error("the socket {socket} cannot be made: {source}")]
    Socket {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something that is no socket is where ours belongs.
    #[error("{socket} is there and is no socket; remove it, or give the agent another root (NETLOOM_ROOT)")]
    NoSocket {
        /// Where.
        socket: PathBuf,
    },
    /// The port is taken.
    #[error(
        "port {} is taken: another program listens on {address}; choose another address with \
         NETLOOM_LISTEN=127.0.0.1:PORT (`listen` in netloom.toml), or `none` for the unix socket alone", .address.port()
    )]
    PortTaken {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; choose another address with NETLOOM_LISTEN (`listen` in netloom.toml)"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// An address that others reach needs a secret.
    #[error(
        "{address} can be reached from other hosts, and whoever commands the agent commands this host: set a secret, \
         or listen on 127.0.0.1 (NETLOOM_LISTEN, `listen` in netloom.toml)"
    )]
    NeedsSecret {
        /// The address.
        address: SocketAddr,
    },
    /// There is no token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A thread or the like could not be started.
    #[error("the agent's {what} cannot be started: {source}")]
    Start {
        /// What.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Both doors, open: health is answered, everything else waits until [`Listeners::serve`]. Dropped, they close
/// and the socket's file goes.
pub struct Listeners {
    pub(crate) config: ServeConfig,
    pub(crate) tcp: Option<SocketAddr>,
    pub(crate) keys: Keys,
    pub(crate) health: Arc<Health>,
    /// This agent as controllers know it, if any can reach it.
    pub(crate) member: Option<Arc<Member>>,
    pub(crate) unix: UnixListener,
    pub(crate) accepted: mpsc::Receiver<std::net::TcpStream>,
    // Dropped in this order: the thread ends, then the file goes, then the lock.
    pub(crate) supervisor: Supervisor,
    pub(crate) systemd: Arc<Systemd>,
    pub(crate) acceptor: Acceptor,
    pub(crate) pulse: Beating,
    pub(crate) socket: SocketFile,
}

impl Listeners {
    /// Takes the socket and the port and starts the threads `health` and `supervisor`. Must run on the main runtime, whose pulse the
    /// thread takes from now on.
    pub async fn bind(mut config: ServeConfig) -> Result<Self, ServeError> {
        config.fit(rustix::process::getrlimit(Resource::Nofile).current);
        if let Some(address) = config.listen
            && !address.ip().is_loopback()
            && config.secret.as_ref().is_none_or(String::is_empty)
        {
            return Err(ServeError::NeedsSecret { address });
        }
        let (socket, unix) = bind_unix(&config.layout).await?;
        let listener = config.listen.map(bind_tcp).transpose()?;
        let tcp = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let keys = match tcp {
            Some(_) => {
                let token = token::read_or_make(&config.layout.token())?;
                Keys::new(Some(token), config.secret.clone())
            }
            None => Keys::new(None, None),
        };
        let health = Arc::new(Health::new(config.live_limit));
        let has_secret = config.controller.is_some() || config.secret.as_ref().is_some_and(|secret| !secret.is_empty());
        let member = tcp.filter(|_| has_secret).map(|tcp| {
            let state = config.layout.state();
            Member::start(&config.introduction, config.controller.as_ref(), &state, tcp, health.started)
        });
        let member = member.transpose().map_err(|source| ServeError::Start { what: "threads", source })?.map(Arc::new);
        if let Some(member) = &member {
            health.introduce(member.clone());
        }
        let (main, accepted) = mpsc::channel(HANDOVER.min(config.connections.max(4)));
        let limits = Limits { silent: config.silent, first_bytes: config.head_limit };
        let acceptor = health::start(listener, health.clone(), main, limits, config.prefer)
            .map_err(|source| ServeError::Start { what: "health thread", source })?;
        let systemd = Arc::new(Systemd::find(|name| std::env::var(name).ok(), std::process::id()));
        let supervisor = Supervisor::start(health.clone(), systemd.clone(), config.end_after, config.prefer)
            .map_err(|source| ServeError::Start { what: "supervisor", source })?;
        let beating = health.clone();
        let pulse = Beating(task::spawn("pulse", async move { beating.pulse.serve().await }));
        Ok(Self { config, tcp, keys, health, member, unix, accepted, supervisor, systemd, acceptor, pulse, socket })
    }

    /// The TCP address that is listened on; with port 0 asked for, the port that was given.
    pub fn tcp(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// Answers requests until `shutdown`, then lets those under way end, at most [`ServeConfig::drain`] long.
    pub async fn serve(self, engine: Engine, shutdown: CancellationToken) -> Result<(), ServeError> {
        serve::serve(self, engine, shutdown).await
    }
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortTaken { address },
        _ => ServeError::Listen { address, source },
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    // A socket that listens may be told again how many may wait (listen(2), Linux).
    rustix::net::listen(&listener, WAITING).map_err(|error| failed(error.into()))?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// The socket's file and the lock that says whose it is.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Held as long as this process lives; two agents that start at once cannot both have it.
    _lock: File,
}

impl SocketFile {
    /// Takes the file away; the lock stays, so that the next agent waits for the end of this one.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The task that serves the main runtime's pulse; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Beating(tokio::task::JoinHandle<()>);

impl Drop for Beating {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn bind_unix(layout: &Layout) -> Result<(SocketFile, UnixListener), ServeError> {
    let path = layout.socket();
    let failed = |source| ServeError::Socket { socket: path.clone(), source };
    fs::create_dir_all(layout.run()).map_err(failed)?;
    let lock = lock_after(&layout.run().join("agent.lock"), &path).await.map_err(failed)?;
    let Some(lock) = lock else { return Err(ServeError::AlreadyRuns { socket: path }) };
    clear(&path).await?;
    let listener = UnixListener::bind(&path).map_err(failed)?;
    rustix::net::listen(&listener, WAITING).map_err(|error| failed(error.into()))?;
    netloom_failpoint::point!("agent.start.socket-made");
    let file = SocketFile { path: path.clone(), _lock: lock };
    token::share(&path, 0o660).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok((file, listener))
}

/// The lock, once an agent that has ended has let go of it: that takes until its last thread is gone, a moment in which
/// it answers no more. `None`: one runs.
async fn lock_after(path: &Path, socket: &Path) -> io::Result<Option<File>> {
    let until = tokio::time::Instant::now() + ANSWERS;
    loop {
        let lock = lock(path)?;
        if lock.is_some() || UnixStream::connect(socket).await.is_ok() || tokio::time::Instant::now() > until {
            return Ok(lock);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes a socket that nobody listens on.
async fn clear(path: &Path) -> Result<(), ServeError> {
    let socket = || path.to_owned();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ServeError::Socket { socket: socket(), source }),
        Ok(there) if !there.file_type().is_socket() => return Err(ServeError::NoSocket { socket: socket() }),
        Ok(_) => {}
    }
    match tokio::time::timeout(ANSWERS, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(socket = %path.display(), "replacing a socket that nobody answers");
            fs::remove_file(path).map_err(|source| ServeError::Socket { socket: socket(), source })
        }
        // A full backlog (EAGAIN) and a silence mean that somebody listens.
        Ok(Ok(_)) | Err(_) => Err(ServeError::AlreadyRuns { socket: socket() }),
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(ServeError::AlreadyRuns { socket: socket() })
        }
        Ok(Err(source)) => Err(ServeError::Socket { socket: socket(), source }),
    }
}
