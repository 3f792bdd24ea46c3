//! The main runtime's side: connections from both doors, each in a task, and the orderly end of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use netloom_engine::{Engine, task};
use tokio::net::{TcpStream, UnixListener};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Door, Exempt, Peer};
use crate::connection;
use crate::contract;
use crate::controller::{self, Before, Member};
use crate::health::Health;
use crate::listen::{Listeners, ServeConfig, ServeError};
use crate::metrics::Census;
use crate::network_manager::NetworkManager;
use crate::plugin;
use crate::routes;
use crate::transport;

/// What handlers work with.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) health: Arc<Health>,
    pub(crate) config: ServeConfig,
    pub(crate) tcp: Option<std::net::SocketAddr>,
    /// This agent as controllers know it, if any can reach it.
    pub(crate) member: Option<Arc<Member>>,
    /// Which nodes were seen to be ready.
    pub(crate) readiness: contract::Readiness,
    /// In which nodes what their devices want after a boot is being done.
    pub(crate) after_boot: contract::AfterBoot,
    pub(crate) workspaces: contract::Workspaces,
    pub(crate) seen: contract::Seen,
    /// What manages the interfaces of this host beside us.
    pub(crate) network_manager: NetworkManager,
    /// The images that controllers send.
    pub(crate) transfers: contract::Transfers,
    /// What metrics count of labs.
    pub(crate) census: Census,
    /// Cancelled when the agent stops: streams end, waits return.
    pub(crate) stop: CancellationToken,
    /// Connections and sessions, so that the end can wait for them.
    pub(crate) tasks: TaskTracker,
}

/// What both doors share.
#[derive(Clone)]
struct Doorway {
    router: Router,
    head_limit: Duration,
    stop: CancellationToken,
    tasks: TaskTracker,
    places: Arc<Semaphore>,
}

pub(crate) async fn serve(listeners: Listeners, engine: Engine, shutdown: CancellationToken) -> Result<(), ServeError> {
    let Listeners { config, tcp, keys, health, member, unix, accepted, supervisor, systemd, acceptor, pulse, socket } =
        listeners;
    let unix = UnixListener::from_std(unix).map_err(|source| ServeError::Start { what: "unix socket", source })?;
    health.engine_started(engine.clone());
    supervisor.wake();
    systemd.say("READY=1");
    let (tasks, stop, drain) = (TaskTracker::new(), CancellationToken::new(), config.drain);
    let (connections, head_limit) = (config.connections, config.head_limit);
    let app = Arc::new(App {
        engine,
        health,
        config,
        tcp,
        member,
        transfers: contract::Transfers::new(connections),
        readiness: contract::Readiness::default(),
        after_boot: contract::AfterBoot::default(),
        workspaces: contract::Workspaces::default(),
        seen: contract::Seen::look(),
        census: Census::default(),
        network_manager: NetworkManager::detect(),
        stop: stop.clone(),
        tasks: tasks.clone(),
    });
    let doorway = |router| {
        // Each its own: whoever reaches only the TCP port keeps nobody from the unix socket.
        let (stop, tasks, places) = (stop.clone(), tasks.clone(), Arc::new(Semaphore::new(connections)));
        Doorway { router, head_limit, stop, tasks, places }
    };
    let before = Before::of(&app.engine);
    let beats = app.engine.beats();
    let by_unix = task::vital(beats, "unix door", doorway(routes::router(app.clone())).unix(unix));
    let door = Door::new(keys, exempt(&app), routes::router(app.clone()), contract::router(app.clone()));
    let by_tcp = task::vital(beats, "tcp door", doorway(door.into_router()).tcp(accepted));
    controller::start(&app, before);
    transport::start(&app);
    plugin::start(&app);

    shutdown.cancelled().await;
    app.health.stopping();
    systemd.say("STOPPING=1");
    // New commands find no socket; the health thread answers until the end.
    socket.remove();
    netloom_failpoint::point!("agent.stop.socket-removed");
    stop.cancel();
    let _ = (by_unix.await, by_tcp.await);
    tasks.close();
    if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
        tracing::warn!(connections = tasks.len(), ?drain, "connections did not end in time; leaving them");
    }
    drop((supervisor, acceptor, pulse, socket));
    Ok(())
}

/// Who gets in without a key.
fn exempt(app: &App) -> Exempt {
    let (written, member) = (app.config.consoles_from.clone(), app.member.clone());
    let is_controller = Arc::new(move |peer| {
        let is_written = written.iter().any(|address: &IpAddr| address.to_canonical() == peer);
        is_written || member.as_ref().is_some_and(|member| member.is_controller(peer))
    });
    Exempt { metrics: app.config.metrics_allow.clone(), consoles: app.config.console_allow.clone(), is_controller }
}

impl Doorway {
    async fn unix(self, listener: UnixListener) {
        loop {
            let Some(place) = self.place().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, _)) => self.connection(stream, None, place),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    // Descriptors have run out, most likely: something must end first.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn tcp(self, mut accepted: mpsc::Receiver<std::net::TcpStream>) {
        loop {
            let Some(place) = self.place().await else { return };
            let stream = tokio::select! {
                stream = accepted.recv() => stream,
                () = self.stop.cancelled() => None,
            };
            let Some(stream) = stream else { return };
            // One whose client is gone already has no peer, and will be read to its end soon.
            let peer = stream.peer_addr().ok().map(Peer);
            match TcpStream::from_std(stream) {
                Ok(stream) => {
                    // Small answers must not wait for the acknowledgement of the ones before.
                    let _ = stream.set_nodelay(true);
                    self.connection(stream, peer, place);
                }
                Err(error) => tracing::warn!(%error, "a connection could not be taken over"),
            }
        }
    }

    /// Waits for a place; `None` when the agent stops.
    async fn place(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        tokio::select! {
            place = self.places.clone().acquire_owned() => place.ok(),
            () = self.stop.cancelled() => None,
        }
    }

    fn connection<S>(&self, stream: S, peer: Option<Peer>, place: tokio::sync::OwnedSemaphorePermit)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (router, head_limit, stop) = (self.router.clone(), self.head_limit, self.stop.clone());
        task::spawn(
            "connection",
            self.tasks.track_future(async move {
                connection::serve(stream, peer, router, head_limit, stop).await;
                drop(place);
            }),
        );
    }
}
