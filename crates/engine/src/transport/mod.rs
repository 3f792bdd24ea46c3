//! The transport of a host: the interface, MTU and address that its tunnels use, and what else of the host's own interfaces
//! is wanted through us. What labs have is not here.
//!
//! ```text
//!  configuration ──begin──▶                                   ┌─▶ store (before), host (after)
//!  controller ────fetched─▶ [bounded queue] ─▶ task `transport`┤
//!  contract ──────change──▶         inventory ──drift─┘        ├─▶ data-plane address (watch)
//!                                                             └─▶ trouble (ArcSwap) ──▶ health
//! ```
//!
//! One task looks, plans, changes and looks again, so no two changes meet. What is wanted is in the store before anything is
//! changed, under `transport/<interface>`, and beside it, under `transport-undo`, how the change is taken back; that goes when the
//! change has ended, which is when it counts. A change that fails, or after which the host would not be reached any more, is taken
//! back step by step, with the routes that went with an address, and one that the agent did not live to end by its next life. What nobody wants any more is in the store until
//! it is gone. What is wanted and is not so, after a reboot or because somebody has taken it away, is made again, with a back-off
//! of 1–60 s. Who cancels an operation of this ends it after the step under way, with the same way back; the wish of one that nobody
//! waits for stays, and is held: nothing is made until something else is wanted, or the agent is started again.

mod change;
mod kept;
mod plan;
mod task;
mod unfinished;
mod wish;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_model::{InterfaceName, Mtu};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::driver::{Context, DriverError, StoreError};
use crate::engine::Engine;
use crate::operation::Operation;
pub use kept::WantedBy;
pub(crate) use kept::{Kept, load};
pub use plan::{HostRoute, HostView, Management, Ownership, SeenAddress, SeenInterface, SeenWay, Step, Unfit};
pub(crate) use task::{Parts, Task};
pub use wish::{
    Cidr, TRANSPORT_MTU, Transport, TransportKeys, TransportText, Unusable, Uplink, Vlan, VlanId, contract_mtu,
};

/// How many requests may wait.
const QUEUE: usize = 16;
/// How long a change may take, its turn included. With the store's 5 s and the way back it is less than the 48 s after which
/// whoever asks is answered.
const LIMIT: Duration = Duration::from_secs(25);
/// An address of the wider world: what leads there leads to other hosts.
pub const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));

/// The interfaces of a host that are its own.
#[async_trait]
pub trait Underlay: Send + Sync + 'static {
    /// What the threads that it works with have not finished, for whoever supervises them.
    fn backlogs(&self) -> Vec<Backlog> {
        Vec::new()
    }

    /// The way to [`ELSEWHERE`]: the number of the interface and the address. It is looked up again when routes change.
    fn way_out(&self) -> watch::Receiver<Option<WayOut>>;

    /// Looks at all interfaces, and at the ways to these addresses.
    async fn look(&self, towards: &[IpAddr], context: &Context) -> Result<HostView, DriverError>;

    /// Does one step. One that is done already is no error, and neither is taking away what is gone.
    async fn apply(&self, step: &Step, context: &Context) -> Result<(), DriverError>;

    /// The routes by an interface that somebody has made, in any order; of one that leads by several interfaces nothing is said.
    async fn routes(&self, interface: &InterfaceName, context: &Context) -> Result<Vec<HostRoute>, DriverError>;

    /// Adds those of these routes again that have gone, by the interface of that name that there is now; none if there is none.
    /// An error tells of those that cannot be had with the addresses that it has; the others are there all the same.
    async fn restore(
        &self,
        interface: &InterfaceName,
        routes: &[HostRoute],
        context: &Context,
    ) -> Result<(), DriverError>;
}

/// The way that packets to other hosts take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WayOut {
    /// The number of the interface.
    pub ifindex: u32,
    /// The address that they have.
    pub source: Option<IpAddr>,
}

/// The address that tunnels to other hosts have, where it is one of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPlane {
    /// The address.
    pub address: IpAddr,
    /// Who wants it.
    pub by: WantedBy,
    /// Since when.
    pub since: SystemTime,
}

/// Whether a change is made again after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// It is.
    Always,
    /// It holds until somebody changes it, or the host is started anew.
    Once,
}

/// A change that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportEdit {
    /// A subinterface is wanted, as it is said here.
    Create(Uplink),
    /// An interface that is there is wanted with this MTU and this address; what is not said stays.
    Configure {
        /// Which.
        name: InterfaceName,
        /// The MTU.
        mtu: Option<Mtu>,
        /// The address.
        address: Option<Cidr>,
    },
    /// An interface that is there is wanted with this MTU.
    SetMtu {
        /// Which.
        name: InterfaceName,
        /// The MTU.
        mtu: Mtu,
        /// For how long.
        keep: Keep,
    },
    /// Nothing is wanted of an interface any more.
    Delete(InterfaceName),
}

impl TransportEdit {
    /// The interface that it is about.
    pub fn interface(&self) -> &InterfaceName {
        match self {
            Self::Create(uplink) => &uplink.name,
            Self::Configure { name, .. } | Self::SetMtu { name, .. } | Self::Delete(name) => name,
        }
    }
}

/// An interface as it is after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Its MTU before.
    pub former_mtu: u32,
    /// Its MTU; 0 if it is not there.
    pub mtu: u32,
    /// The address that is wanted of it.
    pub address: Option<Cidr>,
    /// For how long.
    pub keep: Keep,
}

/// Where the transport comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The configuration says it.
    Configured,
    /// Somebody has asked for it, and it is kept.
    Kept,
    /// Nobody has said anything.
    Nowhere,
}

/// Why a change was not made. But for [`Self::Stranded`] everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// It does not fit what is there.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The configuration says what is wanted of the interface.
    #[error("the agent's configuration says what is wanted of interface {0}: change `transport` there")]
    Configured(InterfaceName),
    /// Too much is under way.
    #[error("too many changes of interfaces wait; try again in a moment")]
    Busy,
    /// Its turn did not come in time.
    #[error("its turn did not come in time, since the kernel or another change is slow; nothing was changed")]
    Late,
    /// The store could not take it.
    #[error("nothing was changed: {0}")]
    Store(#[from] StoreError),
    /// What is there could not be seen.
    #[error("{0}; nothing was changed")]
    Unseen(DriverError),
    /// A step failed.
    #[error("{0}; what was done before was taken back")]
    Failed(DriverError),
    /// The host was not reached any more as before.
    #[error("it took {0} from this host, which is how it is reached; it was taken back")]
    Lost(String),
    /// Somebody ended its operation.
    #[error("its operation was cancelled; what was done before was taken back")]
    Cancelled,
    /// It could not all be taken back.
    #[error("{why}, and could not be taken back whole: {}", .left.join("; "))]
    Stranded {
        /// What failed first.
        why: String,
        /// What could not be taken back.
        left: Vec<String>,
    },
    /// The agent is shutting down.
    #[error("the agent is stopping")]
    Stopping,
}

enum Request {
    Begin {
        transport: Option<Transport>,
        reply: oneshot::Sender<(Origin, Option<Arc<Operation>>)>,
    },
    Fetched {
        transport: Transport,
        from: Option<IpAddr>,
    },
    Change {
        edit: TransportEdit,
        asker: Option<IpAddr>,
        deadline: Instant,
        reply: oneshot::Sender<Result<Changed, TransportError>>,
    },
}

/// Asks the task that changes the host's own interfaces.
#[derive(Debug, Clone)]
pub(crate) struct Transports {
    requests: mpsc::Sender<Request>,
    data_plane: watch::Receiver<Option<DataPlane>>,
    way_out: watch::Receiver<Option<WayOut>>,
    trouble: Arc<ArcSwapOption<String>>,
}

impl Transports {
    /// Makes the handle and the task's future.
    pub(crate) fn new(task: Task) -> (Self, impl Future<Output = ()>) {
        let (requests, queue) = mpsc::channel(QUEUE);
        let (data_plane, way_out) = (task.data_plane.subscribe(), task.underlay.way_out());
        let trouble = task.trouble.clone();
        (Self { requests, data_plane, way_out, trouble }, task.run(queue))
    }
}

impl Engine {
    /// Says what the configuration has of the transport, and has made what is wanted. Says where that comes from, and the
    /// operation, if anything is wanted. `None` if the agent is stopping.
    pub async fn begin_transport(&self, configured: Option<Transport>) -> Option<(Origin, Option<Arc<Operation>>)> {
        let (reply, answer) = oneshot::channel();
        self.shared.transports.requests.try_send(Request::Begin { transport: configured, reply }).ok()?;
        answer.await.ok()
    }

    /// The controller, which is at `from`, has said what the transport is to be: the way there must not be lost. It counts unless somebody else has said so. Never
    /// waits: where too much is under way it is left out, and said.
    pub fn transport_fetched(&self, transport: Transport, from: Option<IpAddr>) {
        if self.shared.transports.requests.try_send(Request::Fetched { transport, from }).is_err() {
            tracing::warn!(
                "too many changes of interfaces wait: what the controller has for the transport is left out"
            );
        }
    }

    /// Changes an interface of the host, durably. `asker` is who asks: the way there must not be lost. Whoever stops waiting
    /// cancels nothing.
    pub async fn change_interface(
        &self,
        edit: TransportEdit,
        asker: Option<IpAddr>,
    ) -> Result<Changed, TransportError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Change { edit, asker, deadline: Instant::now() + LIMIT, reply };
        self.shared.transports.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => TransportError::Busy,
            mpsc::error::TrySendError::Closed(_) => TransportError::Stopping,
        })?;
        answer.await.unwrap_or(Err(TransportError::Stopping))
    }

    /// The address that tunnels of this host are to have, if it is another one than that by which it is managed.
    pub fn data_plane(&self) -> watch::Receiver<Option<DataPlane>> {
        self.shared.transports.data_plane.clone()
    }

    /// What of the host's interfaces is not as it is wanted, if anything; never waits.
    pub fn transport_trouble(&self) -> Option<Arc<String>> {
        self.shared.transports.trouble.load_full()
    }

    /// The way that packets to other hosts take; never waits.
    pub fn way_out(&self) -> watch::Receiver<Option<WayOut>> {
        self.shared.transports.way_out.clone()
    }
}
