//! What the labs of a host share: bridges. One reconciler, so that two labs never make or remove one at once.
//!
//! A bridge is made when the first lab asks for it and there is none; it is removed with the last lab that
//! wants it, and only if it carries our mark. What hangs or panics for one bridge holds no other.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use netloom_failpoint::point;
use netloom_model::{InterfaceName, LabName};
use tokio::sync::{mpsc, oneshot};

use crate::desired::{Phase, Wish, Wishes};
use crate::driver::{Context, DriverError, ErrorClass, Fabric};
use crate::lab::{engine_error, panicked, within};
use crate::task;

/// How many requests may wait.
const QUEUE: usize = 64;

type Reply = oneshot::Sender<Result<(), DriverError>>;

enum Request {
    Ensure { bridge: InterfaceName, context: Context, reply: Reply },
    Release { lab: LabName, bridge: InterfaceName, context: Context, reply: Reply },
}

impl Request {
    fn bridge(&self) -> &InterfaceName {
        let (Self::Ensure { bridge, .. } | Self::Release { bridge, .. }) = self;
        bridge
    }
}

/// Asks the host reconciler.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    requests: mpsc::Sender<Request>,
}

impl Host {
    /// Makes the handle and the reconciler's future.
    pub(crate) fn new(fabric: Arc<dyn Fabric>, wishes: Wishes) -> (Self, impl Future<Output = ()>) {
        let (requests, queue) = mpsc::channel(QUEUE);
        (Self { requests }, serve(queue, fabric, wishes))
    }

    pub(crate) async fn ensure_bridge(
        &self,
        _lab: &LabName,
        bridge: &InterfaceName,
        context: &Context,
    ) -> Result<(), DriverError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Ensure { bridge: bridge.clone(), context: context.clone(), reply }, answer).await
    }

    pub(crate) async fn release_bridge(
        &self,
        lab: &LabName,
        bridge: &InterfaceName,
        context: &Context,
    ) -> Result<(), DriverError> {
        let (reply, answer) = oneshot::channel();
        let (lab, bridge, context) = (lab.clone(), bridge.clone(), context.clone());
        self.ask(Request::Release { lab, bridge, context, reply }, answer).await
    }

    async fn ask(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<(), DriverError>>,
    ) -> Result<(), DriverError> {
        if self.requests.try_send(request).is_err() {
            let mut busy = engine_error("reach", "the host's bridges", "too many requests wait".into());
            busy.class = ErrorClass::Busy;
            return Err(busy);
        }
        answer.await.unwrap_or_else(|_| {
            Err(engine_error("reach", "the host's bridges", "the host reconciler was started anew".into()))
        })
    }
}

/// Carries out requests: one after the other for each bridge, those of different bridges at once.
async fn serve(mut queue: mpsc::Receiver<Request>, fabric: Arc<dyn Fabric>, wishes: Wishes) {
    let mut waiting: BTreeMap<InterfaceName, VecDeque<Request>> = BTreeMap::new();
    let mut under_way = FuturesUnordered::new();
    loop {
        let count: usize = waiting.values().map(VecDeque::len).sum();
        tokio::select! {
            request = queue.recv(), if count < QUEUE => {
                let Some(request) = request else { return };
                match waiting.entry(request.bridge().clone()) {
                    Entry::Occupied(mut line) => line.get_mut().push_back(request),
                    Entry::Vacant(line) => {
                        line.insert(VecDeque::new());
                        under_way.push(carry_out(request, fabric.clone(), &wishes));
                    }
                }
            }
            Some(bridge) = under_way.next() => match waiting.get_mut(&bridge).and_then(VecDeque::pop_front) {
                Some(request) => under_way.push(carry_out(request, fabric.clone(), &wishes)),
                None => {
                    waiting.remove(&bridge);
                }
            },
        }
    }
}

async fn carry_out(request: Request, fabric: Arc<dyn Fabric>, wishes: &Wishes) -> InterfaceName {
    let (answer, reply, bridge) = match request {
        Request::Ensure { bridge, context, reply } => {
            point!("bridge.before-ensure");
            let (object, name) = (format!("bridge {bridge}"), bridge.clone());
            let call = async move { within(&context, &object, fabric.ensure_bridge(&name, &context)).await };
            (drive(&bridge, call).await, reply, bridge)
        }
        Request::Release { lab, bridge, context, reply } => {
            let all = wishes.all();
            let wants = |wish: &Wish| wish.phase == Phase::Run && Wish::bridges_of(&wish.lab).contains(&bridge);
            let wanted = all.iter().any(|(name, wish)| name != &lab && wants(wish));
            point!("bridge.before-release");
            let (object, name) = (format!("bridge {bridge}"), bridge.clone());
            let call = async move { within(&context, &object, fabric.remove_bridge(&name, &context)).await };
            (if wanted { Ok(()) } else { drive(&bridge, call).await }, reply, bridge)
        }
    };
    // The asker may have gone.
    let _ = reply.send(answer);
    bridge
}

/// A driver's call in a task of its own.
async fn drive(
    bridge: &InterfaceName,
    call: impl Future<Output = Result<(), DriverError>> + Send + 'static,
) -> Result<(), DriverError> {
    let object = format!("bridge {bridge}");
    task::own(object.clone(), call).await.unwrap_or_else(|panic| Err(panicked(&object, &panic)))
}
