//! This agent as controllers know it: its id, its description, what it has told. It is there as soon as there is a secret,
//! since whoever has that may ask for the same.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use netloom_engine::{Engine, Inventory};
use netloom_model::{LabName, NodeName};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::address::advertised;
use super::call::Caller;
use super::config::{AgentId, ControllerConfig, Introduction};
use super::dial::Tcp;
use super::figures::Figures;
use super::identity::Identity;
use super::outbox::{DeadLetters, Outbox};
use super::profile::{AgentHealth, AgentProfile, COMMIT, Capabilities, Deployment, DeploymentMode, VERSION};
use super::told::{EventType, Message};
use super::usage::{Capacity, DiskUsage, ResourceUsage};
use crate::problem::host_name;

/// How long the answer to what has changed nodes waits for the events of that.
const TELLS: Duration = Duration::from_secs(1);

/// For how long after its removal nothing is told of a node that was removed here alone: as long as that may take.
const UNTOLD: Duration = Duration::from_secs(120);

/// The agent as a member of what a controller has.
pub(crate) struct Member {
    identity: Identity,
    name: String,
    advertise_host: Option<String>,
    is_local: bool,
    mode: DeploymentMode,
    started: SystemTime,
    listens: SocketAddr,
    figures: Figures,
    /// Whether the controller knows the agent, as far as the last answers said.
    pub(super) registered: watch::Sender<bool>,
    /// Of which nodes it is not told that they have stopped, and until when.
    untold: Mutex<BTreeMap<(LabName, NodeName), Instant>>,
    /// The version of the inventory that was looked at last for what is to be told.
    pub(super) looked: watch::Sender<u64>,
    pub(crate) outbox: Outbox,
    pub(crate) counts: Counts,
    /// When a heartbeat was last acknowledged.
    acknowledged: Mutex<Option<Instant>>,
    /// What calls the controller, if there is one.
    caller: Option<Caller>,
}

/// What was said to the controller so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Heartbeats that were sent.
    pub(crate) beats: AtomicU64,
    /// Those that were not acknowledged.
    pub(crate) beats_failed: AtomicU64,
    /// Registrations that the controller took.
    pub(crate) registrations: AtomicU64,
}

impl Member {
    /// Reads the agent's id and starts the threads that look at the host and for the controller. Before any task runs.
    pub(crate) fn start(
        introduction: &Introduction,
        controller: Option<&ControllerConfig>,
        state: &Path,
        listens: SocketAddr,
        started: SystemTime,
    ) -> io::Result<Self> {
        let mut caller = None;
        if let Some(config) = controller {
            warn_of_loopback(introduction, config, listens);
            caller = Some(Caller::new(config, Arc::new(Tcp::to(&config.url)?)));
        }
        Self::with(introduction, caller, state, listens, started)
    }

    /// The same with a caller of another kind.
    pub(super) fn with(
        introduction: &Introduction,
        caller: Option<Caller>,
        state: &Path,
        listens: SocketAddr,
        started: SystemTime,
    ) -> io::Result<Self> {
        Ok(Self {
            identity: Identity::load(&state.join("agent-id"), introduction.id.clone()),
            name: introduction.name.clone().unwrap_or_else(|| host_name().to_owned()),
            advertise_host: introduction.advertise_host.clone(),
            is_local: introduction.is_local,
            mode: DeploymentMode::detect(),
            started,
            listens,
            figures: Figures::start(state)?,
            registered: watch::Sender::new(false),
            untold: Mutex::default(),
            looked: watch::Sender::new(0),
            outbox: Outbox::default(),
            counts: Counts::default(),
            acknowledged: Mutex::default(),
            caller,
        })
    }

    /// What calls the controller, if there is one.
    pub(super) fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }

    /// Whether there is a controller.
    pub(crate) fn has_controller(&self) -> bool {
        self.caller.is_some()
    }

    /// Whether the controller has this address now, as far as is known. Never waits, and looks nothing up.
    pub(crate) fn is_controller(&self, peer: IpAddr) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.is_at(peer))
    }

    /// The agent's id.
    pub(crate) fn id(&self) -> Arc<AgentId> {
        self.identity.get()
    }

    /// The controller has said which id to use. Says whether it is another one than before.
    pub(super) fn adopt(&self, id: &AgentId) -> bool {
        self.identity.adopt(id)
    }

    /// The agent in the controller's words; its address is looked up anew.
    pub(crate) async fn profile(&self, capabilities: Capabilities, data_plane: Option<IpAddr>) -> AgentProfile {
        AgentProfile {
            agent_id: self.id().to_string(),
            name: self.name.clone(),
            address: self.address().await,
            capabilities,
            version: VERSION,
            commit: COMMIT,
            started_at: self.started,
            is_local: self.is_local,
            deployment_mode: self.mode,
            data_plane_ip: data_plane,
            docker_snapshotter_mode: None,
        }
    }

    /// `host:port` at which others reach it, looked up anew.
    pub(super) async fn address(&self) -> String {
        advertised(self.advertise_host.as_deref(), self.listens, &self.name).await
    }

    /// What is in use of the host, as last seen. Has it looked at again for the next one who asks; never waits.
    pub(crate) fn usage(&self, engine: &Engine) -> ResourceUsage {
        let usage = ResourceUsage::of(&engine.wishes().all(), &engine.inventory().snapshot(), &self.figures);
        self.figures.ask();
        usage
    }

    /// How old what is known of the disk is.
    pub(crate) fn disk_age(&self) -> Option<Duration> {
        self.figures.disk_age()
    }

    /// What `GET /health` says of it.
    pub(crate) fn health(&self) -> AgentHealth {
        let (agent_id, registered) = (self.id().to_string(), *self.registered.borrow());
        AgentHealth { agent_id, commit: COMMIT, registered, timestamp: SystemTime::now() }
    }

    /// Waits until the controller was told what is known now of the nodes of a lab: it links those alone of which it was told that
    /// they run, as soon as it has the answer to what it asked for. Not for long, and for none that takes no events.
    pub(crate) async fn has_told(&self, lab: &LabName, inventory: &Inventory) {
        if !self.has_controller() || !*self.registered.borrow() {
            return;
        }
        let now = inventory.snapshot().version;
        let mut looked = self.looked.subscribe();
        let told = async {
            let _ = looked.wait_for(|version| *version >= now).await;
            self.outbox.tried(lab).await;
        };
        let _ = timeout(TELLS, told).await;
    }

    /// The controller has had nodes removed that are not on this host any more, or never were for it: that they have stopped is not
    /// told, since it takes the word of any agent for a node of that name, wherever that runs.
    pub(crate) fn leave_untold(&self, lab: &LabName, nodes: impl IntoIterator<Item = NodeName>) {
        let until = Instant::now() + UNTOLD;
        let mut untold = self.untold();
        untold.retain(|_, until| *until > Instant::now());
        untold.extend(nodes.into_iter().map(|node| ((lab.clone(), node), until)));
    }

    /// Whether something is left untold. What a node does after it was removed is told again.
    pub(super) fn is_untold(&self, message: &Message) -> bool {
        let Message::Node(event) = message else { return false };
        let until = self.untold().remove(&(event.lab_id.clone(), event.node_name.clone()));
        event.event_type == EventType::Stopped && until.is_some_and(|until| until > Instant::now())
    }

    fn untold(&self) -> MutexGuard<'_, BTreeMap<(LabName, NodeName), Instant>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A heartbeat was acknowledged.
    pub(super) fn acknowledged(&self) {
        *self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long ago a heartbeat was last acknowledged.
    pub(crate) fn acknowledged_age(&self) -> Option<Duration> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).map(|at| at.elapsed())
    }
}

impl Member {
    /// The answer to `GET /capacity`.
    pub(crate) fn capacity(&self, engine: &Engine) -> Capacity {
        Capacity::of(self.usage(engine))
    }

    /// The answer to `GET /disk-usage`.
    pub(crate) fn disk_usage(&self) -> DiskUsage {
        let usage = DiskUsage::of(&self.figures);
        self.figures.ask();
        usage
    }

    /// The answer to `GET /deployment-mode`.
    pub(crate) fn deployment(&self) -> Deployment {
        Deployment { mode: self.mode, version: VERSION }
    }

    /// The answer to `GET /callbacks/dead-letters`.
    pub(crate) fn dead_letters(&self) -> DeadLetters {
        self.outbox.dead_letters()
    }
}

/// A controller elsewhere is told an address at which it finds itself.
fn warn_of_loopback(introduction: &Introduction, config: &ControllerConfig, listens: SocketAddr) {
    let host = config.url.host();
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if listens.ip().is_loopback() && introduction.advertise_host.is_none() && !is_here {
        tracing::warn!(
            controller = %config.url, address = %listens,
            "the agent listens only on this host: the controller will not reach it. Set `listen` to an address that it \
             reaches, or `advertise-host`"
        );
    }
}
