//! What the labs of a host share: bridges, management networks, and the files that tell of labs. One reconciler, so that two
//! labs never make, write or remove one at once.
//!
//! A thing is made when the first lab asks for it and there is none; it is removed with the last lab that
//! wants it, and only if it carries our mark. What hangs or panics for one holds no other.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use netloom_failpoint::point;
use netloom_model::{InterfaceName, LabName, OnNetwork};
use tokio::sync::{mpsc, oneshot};

use crate::desired::{Phase, Wish, Wishes};
use crate::driver::{Context, DriverError, ErrorClass, Fabric, Networks, Runtime};
use crate::entries::Teller;
use crate::fact::Place;
use crate::lab::{engine_error, panicked, within};
use crate::network::Gate;
use crate::task;

/// How many requests may wait.
const QUEUE: usize = 64;

type Reply = oneshot::Sender<Result<(), DriverError>>;

/// Something that labs share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Bridge(InterfaceName),
    Network(String),
    Entries,
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge(bridge) => write!(f, "bridge {bridge}"),
            Self::Network(network) => write!(f, "network {network}"),
            Self::Entries => f.write_str("what the host is told of labs"),
        }
    }
}

impl Thing {
    /// Whether a lab wants it.
    fn is_wanted_by(&self, wish: &Wish) -> bool {
        match self {
            Self::Bridge(bridge) => Wish::bridges_of(&wish.lab).contains(bridge),
            Self::Network(network) => wish.network() == Some(network),
            // Written from all wishes, and never released.
            Self::Entries => true,
        }
    }
}

/// What a bridge of the host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BridgeKind {
    /// The kernel's.
    Kernel,
    /// One of the switch.
    OpenVswitch,
}

enum Request {
    EnsureBridge {
        bridge: InterfaceName,
        kind: BridgeKind,
        context: Context,
        reply: Reply,
    },
    EnsureNetwork {
        on: Box<OnNetwork>,
        context: Context,
        reply: Reply,
    },
    Admit {
        network: String,
        context: Context,
        reply: Reply,
    },
    Tell {
        context: Context,
        reply: Reply,
    },
    /// Unless another lab than this one wants it.
    Release {
        lab: Option<LabName>,
        thing: Thing,
        context: Context,
        reply: Reply,
    },
}

impl Request {
    fn thing(&self) -> Thing {
        match self {
            Self::EnsureBridge { bridge, .. } => Thing::Bridge(bridge.clone()),
            Self::EnsureNetwork { on, .. } => Thing::Network(on.network.network.clone()),
            Self::Admit { network, .. } => Thing::Network(network.clone()),
            Self::Tell { .. } => Thing::Entries,
            Self::Release { thing, .. } => thing.clone(),
        }
    }
}

/// The drivers of what is shared.
#[derive(Clone)]
struct Drivers {
    fabric: Arc<dyn Fabric>,
    /// Whichever of them has networks.
    runtimes: Vec<Arc<dyn Runtime>>,
    teller: Teller,
    gate: Gate,
}

/// Asks the host reconciler.
#[derive(Clone)]
pub(crate) struct Host {
    requests: mpsc::Sender<Request>,
    teller: Teller,
}

impl Host {
    /// Makes the handle and the reconciler's future.
    pub(crate) fn new(
        fabric: Arc<dyn Fabric>,
        runtimes: Vec<Arc<dyn Runtime>>,
        teller: Teller,
        wishes: Wishes,
    ) -> (Self, impl Future<Output = ()>) {
        let (requests, queue) = mpsc::channel(QUEUE);
        let host = Self { requests, teller: teller.clone() };
        let gate = Gate::new(wishes.clone());
        (host, serve(queue, Drivers { fabric, runtimes, teller, gate }, wishes))
    }

    pub(crate) async fn ensure_bridge(
        &self,
        bridge: &InterfaceName,
        kind: BridgeKind,
        context: &Context,
    ) -> Result<(), DriverError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::EnsureBridge { bridge: bridge.clone(), kind, context: context.clone(), reply }, answer).await
    }

    pub(crate) async fn release_bridge(
        &self,
        lab: &LabName,
        bridge: &InterfaceName,
        context: &Context,
    ) -> Result<(), DriverError> {
        self.release(Some(lab), Thing::Bridge(bridge.clone()), context).await
    }

    /// Removes a bridge of ours that no lab wants.
    pub(crate) async fn sweep_bridge(&self, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError> {
        self.release(None, Thing::Bridge(bridge.clone()), context).await
    }

    /// Removes a network of ours that no lab wants.
    pub(crate) async fn sweep_network(&self, network: &str, context: &Context) -> Result<(), DriverError> {
        self.release(None, Thing::Network(network.to_owned()), context).await
    }

    pub(crate) async fn ensure_network(&self, on: &OnNetwork, context: &Context) -> Result<(), DriverError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::EnsureNetwork { on: Box::new(on.clone()), context: context.clone(), reply }, answer).await
    }

    pub(crate) async fn release_network(
        &self,
        lab: &LabName,
        network: &str,
        context: &Context,
    ) -> Result<(), DriverError> {
        self.release(Some(lab), Thing::Network(network.to_owned()), context).await
    }

    /// Has a network let others reach its nodes, or not, as its labs want it now. What is in the way is said by who does it.
    pub(crate) async fn admit(&self, network: &str, context: &Context) -> Result<(), DriverError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Admit { network: network.to_owned(), context: context.clone(), reply }, answer).await
    }

    /// As [`Self::admit`], all networks that labs are on.
    pub(crate) async fn admit_all(&self, wishes: &Wishes, context: &Context) -> Result<(), DriverError> {
        let all = wishes.all();
        let networks: BTreeSet<&str> = all.values().filter_map(|wish| wish.network()).collect();
        for network in networks {
            self.admit(network, context).await?;
        }
        Ok(())
    }

    /// Has the host told of all labs as they are wanted now. What cannot be written is said by who writes it.
    pub(crate) async fn tell(&self, context: &Context) -> Result<(), DriverError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Tell { context: context.clone(), reply }, answer).await
    }

    /// The hash of what the host was told of a lab.
    pub(crate) fn told(&self, lab: &LabName) -> Option<String> {
        self.teller.told(lab)
    }

    async fn release(&self, lab: Option<&LabName>, thing: Thing, context: &Context) -> Result<(), DriverError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Release { lab: lab.cloned(), thing, context: context.clone(), reply }, answer).await
    }

    async fn ask(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<(), DriverError>>,
    ) -> Result<(), DriverError> {
        const OBJECT: &str = "the host's bridges, networks and files";
        if self.requests.try_send(request).is_err() {
            let mut busy = engine_error("reach", OBJECT, "too many requests wait".into());
            busy.class = ErrorClass::Busy;
            return Err(busy);
        }
        answer
            .await
            .unwrap_or_else(|_| Err(engine_error("reach", OBJECT, "the host reconciler was started anew".into())))
    }
}

/// Carries out requests: one after the other for each thing, those about different things at once.
async fn serve(mut queue: mpsc::Receiver<Request>, drivers: Drivers, wishes: Wishes) {
    let mut waiting: BTreeMap<Thing, VecDeque<Request>> = BTreeMap::new();
    let mut under_way = FuturesUnordered::new();
    loop {
        let count: usize = waiting.values().map(VecDeque::len).sum();
        tokio::select! {
            request = queue.recv(), if count < QUEUE => {
                let Some(request) = request else { return };
                match waiting.entry(request.thing()) {
                    Entry::Occupied(mut line) => line.get_mut().push_back(request),
                    Entry::Vacant(line) => {
                        line.insert(VecDeque::new());
                        under_way.push(carry_out(request, drivers.clone(), &wishes));
                    }
                }
            }
            Some(thing) = under_way.next() => match waiting.get_mut(&thing).and_then(VecDeque::pop_front) {
                Some(request) => under_way.push(carry_out(request, drivers.clone(), &wishes)),
                None => {
                    waiting.remove(&thing);
                }
            },
        }
    }
}

async fn carry_out(request: Request, drivers: Drivers, wishes: &Wishes) -> Thing {
    let thing = request.thing();
    let (answer, reply) = match request {
        Request::EnsureBridge { bridge, kind, context, reply } => {
            point!("bridge.before-ensure");
            let limit = context.clone();
            let call = async move { drivers.make_bridge(&bridge, kind, &context).await };
            (drive(&thing, &limit, call).await, reply)
        }
        Request::EnsureNetwork { on, context, reply } => {
            point!("network.before-ensure");
            let limit = context.clone();
            let call = async move { drivers.make(&on, &context).await };
            (drive(&thing, &limit, call).await, reply)
        }
        Request::Admit { network, context, reply } => {
            let limit = context.clone();
            let call = async move { drivers.admit(&network, &context).await };
            (drive(&thing, &limit, call).await, reply)
        }
        Request::Tell { context, reply } => {
            let limit = context.clone();
            let call = async move {
                drivers.teller.tell(&context).await;
                Ok(())
            };
            (drive(&thing, &limit, call).await, reply)
        }
        Request::Release { lab, thing, context, reply } => {
            let all = wishes.all();
            let wants = |wish: &Wish| wish.phase == Phase::Run && thing.is_wanted_by(wish);
            let wanted = all.iter().any(|(name, wish)| Some(name) != lab.as_ref() && wants(wish));
            let (gone, limit) = (thing.clone(), context.clone());
            let call = async move {
                match (wanted, &gone) {
                    (false, _) => drivers.remove(&gone, &context).await,
                    // It may have been the last that others were to reach.
                    (true, Thing::Network(network)) => drivers.admit(network, &context).await,
                    (true, Thing::Bridge(_) | Thing::Entries) => Ok(()),
                }
            };
            (drive(&thing, &limit, call).await, reply)
        }
    };
    // The asker may have gone.
    let _ = reply.send(answer);
    thing
}

impl Drivers {
    fn networks(&self) -> Result<&dyn Networks, DriverError> {
        let none =
            || engine_error("reach", "the management network", "this agent has no runtime that keeps one".into());
        self.runtimes.iter().find_map(|runtime| runtime.networks()).ok_or_else(none)
    }

    async fn make_bridge(
        &self,
        bridge: &InterfaceName,
        kind: BridgeKind,
        context: &Context,
    ) -> Result<(), DriverError> {
        match (kind, self.fabric.switch()) {
            (BridgeKind::Kernel, _) => self.fabric.ensure_bridge(&Place::Host, bridge, context).await,
            (BridgeKind::OpenVswitch, Some(switch)) => switch.ensure_bridge(bridge, context).await,
            (BridgeKind::OpenVswitch, None) => {
                Err(engine_error("make", &format!("bridge {bridge}"), "this agent has no Open vSwitch".into()))
            }
        }
    }

    async fn make(&self, on: &OnNetwork, context: &Context) -> Result<(), DriverError> {
        let networks = self.networks()?;
        networks.ensure(on, context).await?;
        self.gate.set(networks, &on.network.network, context).await;
        point!("network.admitted");
        Ok(())
    }

    async fn admit(&self, network: &str, context: &Context) -> Result<(), DriverError> {
        if let Ok(networks) = self.networks() {
            self.gate.set(networks, network, context).await;
        }
        Ok(())
    }

    async fn remove(&self, thing: &Thing, context: &Context) -> Result<(), DriverError> {
        match thing {
            Thing::Bridge(bridge) => {
                point!("bridge.before-release");
                // Whichever it is: each leaves alone what is not marked as its own.
                if let Some(switch) = self.fabric.switch() {
                    switch.remove_bridge(bridge, context).await?;
                }
                self.fabric.remove_bridge(&Place::Host, bridge, context).await
            }
            Thing::Entries => Ok(()),
            Thing::Network(network) => {
                point!("network.before-release");
                match self.networks() {
                    Ok(networks) => {
                        self.gate.close(networks, network, context).await;
                        point!("network.closed");
                        networks.remove(network, context).await
                    }
                    // Whoever kept it is not part of this agent.
                    Err(_) => Ok(()),
                }
            }
        }
    }
}

/// A driver's call in a task of its own.
async fn drive(
    thing: &Thing,
    context: &Context,
    call: impl Future<Output = Result<(), DriverError>> + Send + 'static,
) -> Result<(), DriverError> {
    let (object, context) = (thing.to_string(), context.clone());
    let of = object.clone();
    let call = async move { within(&context, &of, call).await };
    task::own(object.clone(), call).await.unwrap_or_else(|panic| Err(panicked(&object, &panic)))
}
