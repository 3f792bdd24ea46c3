//! An agent on a fake world, and a small HTTP client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use netloom_agent::wire::{Problem, PutLab, Readiness};
use netloom_agent::{Listeners, ServeConfig, ServeError};
use netloom_engine::testing::{FakeStore, World};
use netloom_engine::{Config, Engine, Layout, OperationView, Parts, channel, task};
use netloom_model::Lab;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

/// How long a test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) world: World,
    pub(crate) store: FakeStore,
    pub(crate) layout: Layout,
    pub(crate) tcp: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<Result<(), ServeError>>,
    _root: TempDir,
}

/// An engine on a new fake world.
pub(crate) async fn engine(layout: &Layout) -> (Engine, World, FakeStore) {
    engine_on(layout, |_| {}).await
}

/// As [`engine`], on a prepared world.
async fn engine_on(layout: &Layout, prepare: impl FnOnce(&World)) -> (Engine, World, FakeStore) {
    let (reporter, inventory, writer) = channel();
    let (world, store) = (World::new(reporter), FakeStore::default());
    prepare(&world);
    let config = Config { relist: Duration::from_millis(200), ..Config::default() };
    let parts = Parts { config, ..world.parts(layout.clone(), &store, inventory, writer) };
    (Engine::start(parts).await.unwrap(), world, store)
}

/// A configuration in a directory of its own, on a free port.
pub(crate) fn config() -> (TempDir, ServeConfig) {
    let root = tempfile::tempdir().unwrap();
    let mut config = ServeConfig::new(Layout::new(root.path()).unwrap());
    config.listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    // Readiness follows soon, and no test ends its own process.
    config.live_limit = Duration::from_secs(3);
    config.end_after = None;
    (root, config)
}

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut ServeConfig)) -> Self {
        Self::on(change, |_| {}).await
    }

    /// On a prepared world.
    pub(crate) async fn on(change: impl FnOnce(&mut ServeConfig), prepare: impl FnOnce(&World)) -> Self {
        let (root, mut config) = config();
        change(&mut config);
        let layout = config.layout.clone();
        let listeners = Listeners::bind(config).await.unwrap();
        let tcp = listeners.tcp().unwrap();
        let (engine, world, store) = engine_on(&layout, prepare).await;
        let shutdown = CancellationToken::new();
        let served = task::spawn("serve", listeners.serve(engine.clone(), shutdown.clone()));
        let bench = Self { engine, world, store, layout, tcp, shutdown, served, _root: root };
        bench.ready().await;
        bench
    }

    /// Waits until everything has been seen once.
    async fn ready(&self) {
        let mut changes = self.engine.inventory().changes();
        let listed = changes.wait_for(|_| self.engine.inventory().snapshot().is_complete(self.engine.sources()));
        within(listed).await.unwrap();
        self.until("/readyz", StatusCode::OK).await;
    }

    /// Asks until the answer is so.
    async fn poll(&self, path: &str, is_so: impl Fn(&Reply) -> bool) -> Reply {
        let asked = async {
            loop {
                let reply = self.get(path).await;
                if is_so(&reply) {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(asked).await
    }

    /// Asks until the status is this.
    pub(crate) async fn until(&self, path: &str, status: StatusCode) -> Reply {
        self.poll(path, |reply| reply.status == status).await
    }

    /// Asks until the agent is as ready as this.
    pub(crate) async fn ready_when(&self, is_so: impl Fn(&Readiness) -> bool) -> Readiness {
        self.poll("/readyz", |reply| is_so(&reply.json())).await.json()
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.layout.token()).unwrap().trim().to_owned()
    }

    /// A new connection to the unix socket.
    pub(crate) async fn unix(&self) -> Client {
        Client::new(UnixStream::connect(self.layout.socket()).await.unwrap()).await
    }

    /// A new connection to the TCP port.
    pub(crate) async fn tcp(&self) -> Client {
        Client::new(TcpStream::connect(self.tcp).await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.unix().await.send(Method::GET, path, &[], Bytes::new()).await
    }

    pub(crate) async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Reply {
        self.unix().await.send(method, path, &[], body).await
    }

    /// Asks for a lab.
    pub(crate) async fn put(&self, lab: &Arc<Lab>) -> Reply {
        self.put_with(lab, "", &[]).await
    }

    pub(crate) async fn put_with(&self, lab: &Arc<Lab>, query: &str, headers: &[(&str, &str)]) -> Reply {
        let body = PutLab { lab: Lab::clone(lab), rebuild: false, raise_limits: false, only: None };
        let path = format!("/labs/{}{query}", lab.name());
        self.unix().await.send(Method::PUT, &path, headers, serde_json::to_vec(&body).unwrap()).await
    }

    /// Edits a lab.
    pub(crate) async fn patch(&self, lab: &str, patch: &serde_json::Value, headers: &[(&str, &str)]) -> Reply {
        let path = format!("/labs/{lab}");
        self.unix().await.send(Method::PATCH, &path, headers, serde_json::to_vec(patch).unwrap()).await
    }

    /// Deploys a lab and waits for the end.
    pub(crate) async fn deploy(&self, lab: &Arc<Lab>) -> OperationView {
        let reply = self.put(lab).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
        self.end_of(&reply).await
    }

    /// Waits for the operation that a reply points to.
    pub(crate) async fn end_of(&self, reply: &Reply) -> OperationView {
        let location = reply.headers["location"].to_str().unwrap();
        self.get(&format!("{location}?wait=20")).await.json()
    }
}

type Send =
    dyn FnMut(Request<Full<Bytes>>) -> BoxFuture<'static, hyper::Result<Response<Incoming>>> + std::marker::Send;

/// One connection.
pub(crate) struct Client {
    send: Box<Send>,
}

impl Client {
    async fn new<S: AsyncRead + AsyncWrite + Unpin + std::marker::Send + 'static>(stream: S) -> Self {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        task::spawn("client", async move {
            let _ = connection.await;
        });
        Self { send: Box::new(move |request| Box::pin(sender.send_request(request))) }
    }

    /// The answer with its body still to come.
    pub(crate) async fn open(&mut self, path: &str) -> Response<Incoming> {
        let request = Request::get(path).header("host", "localhost").body(Full::default()).unwrap();
        within((self.send)(request)).await.unwrap()
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let response = within((self.send)(request)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A problem of this status and kind.
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Problem {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem: Problem = self.json();
        assert_eq!((self.status.as_u16(), problem.status, problem.kind()), (status, status, kind), "{problem:?}");
        problem
    }
}
