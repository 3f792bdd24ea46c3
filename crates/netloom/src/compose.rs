//! Which drivers the agent is made of. The only place that names them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_agent::{ControllerUrl, DockerCalls, Listeners, ServeConfig, ServeError, Starts};
use netloom_docker::{Endpoint, Observer, Status};
use netloom_drivers::fabric::HostFabric;
use netloom_drivers::fabric::kernel::{KernelFabric, KernelUnderlay};
use netloom_drivers::fabric::ovs::{Datapath, OvsParts, OvsSwitch};
use netloom_drivers::host_files::EtcFiles;
use netloom_drivers::leftovers::HostTraces;
use netloom_drivers::limits::KernelLimits;
use netloom_drivers::predecessor::OtherAgent;
use netloom_drivers::runtime::docker::{DockerParts, DockerRuntime};
use netloom_drivers::runtime::namespace::NamespaceRuntime;
use netloom_drivers::store::RedbStore;
use netloom_engine::{Engine, Layout, Parts, channel, task};
use netloom_failpoint::point;
use netloom_kernel::Netns;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::failure::{Failure, Result, plain};

/// How long steps under way may take when the agent stops.
const DRAIN: Duration = Duration::from_secs(20);

/// Calls of the Docker daemon on their way to the metrics.
#[derive(Debug)]
struct Counted(DockerCalls);

impl Observer for Counted {
    fn called(&self, operation: &'static str, status: Status, took: Duration) {
        self.0.ended(operation, status.label(), took);
    }
}

/// An agent that answers.
pub(crate) struct Running {
    engine: Engine,
    served: JoinHandle<std::result::Result<(), ServeError>>,
    shutdown: CancellationToken,
    /// Dropped at last: this life has ended as it should.
    starts: Starts,
}

/// Listens, puts the engine together from its drivers, and serves it.
///
/// It listens first: a taken port or an agent that runs already is told before anything is touched, and health is
/// answered while the rest starts. Drivers start threads, which takes some milliseconds each.
pub(crate) fn start(layout: &Layout, config: &Config, runtime: &Runtime) -> Result<Running> {
    let mut serve = ServeConfig::new(layout.clone());
    serve.listen = config.listen;
    serve.secret.clone_from(&config.secret);
    serve.metrics_allow.clone_from(&config.metrics_allow);
    serve.console_allow.clone_from(&config.console_allow);
    serve.controller = config.controller_config().map_err(Failure::input)?;
    serve.introduction = config.introduction.clone();
    serve.transport.clone_from(&config.transport);
    serve.images_from = config.controller.as_ref().map(ToString::to_string);
    serve.consoles_from = config.controller.as_ref().map(addresses_of).unwrap_or_default();
    // Best effort: without the right to it these threads have their turn as all others.
    serve.prefer = || drop(netloom_kernel::take_turns_first());
    let docker_calls = serve.docker_calls.clone();
    let listeners = runtime.block_on(Listeners::bind(serve)).map_err(Failure::failed)?;

    point!("agent.start.listening");
    let starts = Starts::begin(layout);
    let (reporter, inventory, writer) = channel();
    let host = Netns::host().map_err(|error| Failure::failed(format_args!("the host's network namespace: {error}")))?;
    let store = RedbStore::open(&layout.store()).map_err(Failure::failed)?;
    let fabric = KernelFabric::start(layout.clone(), &host, reporter.clone()).map_err(Failure::failed)?;
    let fabric = Arc::new(fabric);
    let underlay = KernelUnderlay::start(fabric.clone(), &host).map_err(Failure::failed)?;
    let namespaces =
        NamespaceRuntime::start(layout.clone(), reporter.clone(), fabric.demand()).map_err(Failure::failed)?;
    let parts = DockerParts {
        // What cannot be used is a capability that is down, with this reason: other runtimes do without.
        endpoint: Endpoint::from_env().unwrap_or_else(Endpoint::Nowhere),
        observer: Arc::new(Counted(docker_calls)),
        fabric: fabric.clone(),
        joiner: namespaces.joiner(),
    };
    let docker = DockerRuntime::start(layout.clone(), reporter.clone(), parts).map_err(Failure::failed)?;
    let parts = OvsParts { socket: config.ovs_socket.clone(), datapath: Datapath::detect };
    let switch = {
        let _context = runtime.enter();
        OvsSwitch::start(layout, reporter, parts)
    };
    point!("agent.start.composed");
    let host_files = EtcFiles::start(layout).map_err(|error| Failure::failed(plain(&error)))?;
    let limits = KernelLimits::start().map_err(|error| Failure::failed(plain(&error)))?;
    let traces = HostTraces::start(layout).map_err(|error| Failure::failed(plain(&error)))?;
    let fabric = Arc::new(HostFabric::new(fabric, switch));
    let predecessor = OtherAgent::new(docker.clone(), fabric.clone(), config.predecessor.clone());
    let parts = Parts {
        layout: layout.clone(),
        store: Arc::new(store),
        runtimes: vec![Arc::new(namespaces), Arc::new(docker)],
        fabric,
        host_files: Arc::new(host_files),
        limits: Arc::new(limits),
        underlay: Arc::new(underlay),
        traces: Arc::new(traces),
        predecessor: Some(Arc::new(predecessor)),
        inventory,
        writer,
        config: netloom_engine::Config {
            relist: config.relist,
            fabric: config.fabric,
            switch: config.ovs_bridge.clone(),
            safe: starts.safe().clone(),
            management: config.management(),
            ..netloom_engine::Config::default()
        },
    };

    runtime.block_on(async {
        let engine = Engine::start(parts).await.map_err(Failure::failed)?;
        starts.follow(engine.work());
        point!("agent.start.engine-started");
        let shutdown = CancellationToken::new();
        let served = task::spawn("serve", listeners.serve(engine.clone(), shutdown.clone()));
        Ok(Running { engine, served, shutdown, starts })
    })
}

impl Running {
    /// Waits until serving ends by itself, which it should not.
    pub(crate) async fn ended(&mut self) -> Failure {
        match (&mut self.served).await {
            Ok(Err(error)) => Failure::failed(error),
            Ok(Ok(())) | Err(_) => Failure::failed("the agent's API ended; its log says why"),
        }
    }

    /// Lets requests and steps under way end, and stops. Labs run on.
    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.engine.stop(Instant::now() + DRAIN).await;
        point!("agent.stop.drained");
        if let Ok(Err(error)) = self.served.await {
            tracing::warn!(%error, "the API did not end as it should");
        }
        drop(self.starts);
    }
}

/// The addresses that a controller's URL names itself; those of a host's name are found out by whoever calls it.
fn addresses_of(url: &ControllerUrl) -> Vec<IpAddr> {
    match url.host() {
        "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        host => host.parse().into_iter().collect(),
    }
}
