//! The kernel fabric: links of veth pairs, dummies, macvlans and tunnels, bridges of the host, all over netlink.
//!
//! It keeps no desired state. What exists is read from the kernel before anything of it is changed, what carries no
//! mark of ours ([`mark`]) is never touched, and what the kernel says happened goes to the engine as facts.
//!
//! ```text
//!   apply, relist ──▶ fabric-places   opens pins (file operations)
//!        │      └───▶ nl-reader       dumps                         (netloom-kernel)
//!        └──────────▶ nl-writer       changes                       (netloom-kernel)
//!   nl-monitor ──bounded──▶ fabric-events ──▶ Mirror ──▶ Reporter   (facts, in the order of the events)
//!   fail-signal ─bounded──▶ fabric-far-ends ──▶ Mirror ──▶ Reporter (what the far ends of tunnels say)
//! ```
//!
//! Facts of events and of relists are sent with the mirror locked, so they are never out of order. The lock is held for
//! as long as it takes to put facts together, and never across an await.

mod adopt;
mod announce;
mod apply;
mod body;
mod bridge;
mod change;
mod checksum;
mod counters;
mod create;
mod far;
mod held;
mod mark;
mod mirror;
mod places;
mod rehome;
mod remove;
mod stitch;
mod underlay;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use netloom_backlog::Backlog;
use netloom_engine::Layout;
use netloom_engine::{Context, DriverError, ErrorClass, Fabric, LinkOrder, PortCounters, Reporter};
use netloom_engine::{Place, Report, Source};
use netloom_kernel::{
    Address, Dumper, KernelError, KernelErrorKind, LinkInfo, Monitor, MonitorEvent, NamespaceDump, Netns, Request,
    Rtnl, SignalFail, SignalFailThread, SubmitError,
};
use netloom_model::{InterfaceName, LabName, LinkId};

use crate::demand::Demand;
pub use bridge::Member;
pub(crate) use held::Held;
use mark::Marks;
use mirror::Mirror;
use places::{OpenPlace, Places};
pub use underlay::KernelUnderlay;

/// A relist has no caller with a deadline; a thousand namespaces take a fraction of a second.
const RELIST: Duration = Duration::from_secs(30);
/// Namespaces held open at once in a relist, and links in one batch of an apply: descriptors are 1,024 by default.
const OPEN_AT_ONCE: usize = 256;
/// ifindexes below are left to the kernel, which counts from 1.
const FIRST_IFINDEX: u32 = 1000;
/// ifindexes above are somebody's choice and not counted on from.
const LAST_IFINDEX: u32 = 1 << 30;

/// The kernel fabric of one agent instance.
#[derive(Debug)]
pub struct KernelFabric {
    rtnl: Rtnl,
    dumper: Dumper,
    places: Places,
    shared: Arc<Shared>,
    relisting: tokio::sync::Mutex<()>,
    listed: AtomicBool,
    next_ifindex: AtomicU32,
    demand: Demand,
    /// Ends with the fabric.
    _far_ends: SignalFailThread,
}

/// Whether events are listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    All,
    Nothing,
}

#[derive(Debug)]
struct Shared {
    mirror: Mutex<Mirror>,
    marks: Marks,
    reporter: Reporter,
    signals: SignalFail,
}

impl KernelFabric {
    /// Starts the fabric's threads. `host` is the namespace that counts as the host's: [`Netns::host`], but for tests.
    ///
    /// What is there is not looked at before the first [`Fabric::relist`]; events are reported from now on.
    pub fn start(layout: Layout, host: &Netns, reporter: Reporter) -> Result<Self, DriverError> {
        Self::start_with(layout, host, reporter, Hearing::All)
    }

    /// The same, but what events say is thrown away: for tests of what a relist alone repairs.
    pub fn start_deaf(layout: Layout, host: &Netns, reporter: Reporter) -> Result<Self, DriverError> {
        Self::start_with(layout, host, reporter, Hearing::Nothing)
    }

    fn start_with(layout: Layout, host: &Netns, reporter: Reporter, hearing: Hearing) -> Result<Self, DriverError> {
        let failed = |error: std::io::Error| {
            let hint =
                (error.kind() == std::io::ErrorKind::PermissionDenied).then(|| "run the agent as root".to_owned());
            DriverError { hint, ..refusal("start", "the kernel fabric", error.to_string(), ErrorClass::Permanent) }
        };
        let (monitor, events) = Monitor::start(host).map_err(failed)?;
        let (signals, far_ends, heard) = SignalFail::start(host).map_err(failed)?;
        let marks = Marks::new(layout.instance());
        let shared = Shared { mirror: Mutex::default(), marks, reporter, signals };
        let shared = Arc::new(shared);
        shared.mirror().know(&Place::Host, None);
        for id in places::remembered(&layout).map_err(failed)? {
            shared.marks.learn(&id);
        }
        let rtnl = Rtnl::start(host.clone()).map_err(failed)?;
        let fabric = Self {
            dumper: Dumper::start(host.clone(), &rtnl).map_err(failed)?,
            rtnl,
            places: Places::start(layout, host.clone(), Arc::new(monitor)).map_err(failed)?,
            shared: shared.clone(),
            relisting: tokio::sync::Mutex::default(),
            listed: AtomicBool::new(false),
            next_ifindex: AtomicU32::new(FIRST_IFINDEX),
            demand: Demand::default(),
            _far_ends: far_ends,
        };
        // Ends with the monitor, which ends with the fabric.
        let far = shared.clone();
        thread::Builder::new()
            .name("fabric-events".into())
            .spawn(move || observe(&shared, events, hearing))
            .map_err(failed)?;
        // Ends with the one that listens, likewise.
        thread::Builder::new()
            .name("fabric-far-ends".into())
            .spawn(move || far::listen(&far, heard))
            .map_err(failed)?;
        Ok(fabric)
    }

    /// Whether links are being changed.
    pub fn demand(&self) -> Demand {
        self.demand.clone()
    }

    /// An interface of the host as it is now, whosever it is.
    pub(crate) async fn on_host(
        &self,
        name: &InterfaceName,
        context: &Context,
    ) -> Result<Option<LinkInfo>, DriverError> {
        bridge::see(self, name, context).await
    }

    /// The interfaces of the host and of these namespaces as they are now, in this order; nobody is told of them.
    pub(crate) async fn look_into(
        &self,
        namespaces: &[Netns],
        context: &Context,
    ) -> Result<(NamespaceDump, Vec<Result<NamespaceDump, String>>), DriverError> {
        let failed = |class: ErrorClass| refusal("list", "interfaces", cause_of(class), class);
        let host = self.host(context).await?;
        let others = namespaces.iter().map(|netns| netloom_kernel::Place::node(netns.clone(), "a container"));
        let places: Vec<netloom_kernel::Place> = std::iter::once(host).chain(others).collect();
        let mut all = Vec::new();
        for part in places.chunks(OPEN_AT_ONCE) {
            let part = part.to_vec();
            let dumps = self.dumper.dump(part, context.deadline).await.map_err(class_of_submit).map_err(failed)?;
            all.extend(dumps.into_iter().map(|dump| dump.map_err(|error| error.to_string())));
        }
        let host = all.remove(0).map_err(|why| refusal("list", "interfaces", why, ErrorClass::Transient))?;
        Ok((host, all))
    }

    /// The host, as requests want it.
    async fn host(&self, context: &Context) -> Result<netloom_kernel::Place, DriverError> {
        let failed = |class: ErrorClass| refusal("open", "the host", cause_of(class), class);
        let opened = self.places.open_to_read(vec![Place::Host], context.deadline).await.map_err(failed)?;
        let open = opened.into_iter().next().ok_or_else(|| failed(ErrorClass::Transient))?;
        open.map(|open| open.kernel)
            .map_err(|error| refusal("open", "the host", error.to_string(), ErrorClass::Transient))
    }

    /// The numbers of the interfaces of the host as they are now, by their names.
    pub(crate) async fn numbers_on_host(&self, context: &Context) -> Result<HashMap<String, u32>, DriverError> {
        bridge::numbers(self, context).await
    }

    /// Makes a bridge of the host that is gone and that others count on, with its addresses and with those of its ports that
    /// are there, marks it and brings it up. One that somebody made is only brought up, with its ports.
    pub async fn restore_bridge(
        &self,
        bridge: &InterfaceName,
        addresses: &[Address],
        members: Vec<Member>,
        context: &Context,
    ) -> Result<(), DriverError> {
        bridge::restore(self, bridge, addresses, members, context).await
    }

    /// A new pair of ifindexes, different as the ends of a veth pair must be.
    fn ifindexes(&self, skip: u32) -> (u32, u32) {
        let first = self.next_ifindex.fetch_add(2 + skip, Ordering::Relaxed) + skip;
        (first, first + 1)
    }

    /// As [`Fabric::apply`], for links with ports on switches, of which these bridges forward in user space.
    pub(crate) async fn apply_behind(
        &self,
        in_user_space: &BTreeSet<InterfaceName>,
        orders: Vec<LinkOrder>,
        context: &Context,
    ) -> Vec<Result<(), DriverError>> {
        self.demand.note();
        let answers = apply::apply(self, &orders, in_user_space, context).await;
        self.demand.note();
        answers
    }

    async fn submit(&self, batch: Vec<Request>, context: &Context) -> Result<Vec<Result<(), KernelError>>, ErrorClass> {
        if context.cancel.is_cancelled() {
            return Err(ErrorClass::Cancelled);
        }
        self.rtnl.submit(batch, context.deadline).await.map_err(class_of_submit)
    }

    /// Dumps places and takes over what was seen.
    async fn fetch(
        &self,
        places: Vec<OpenPlace>,
        deadline: Instant,
    ) -> Result<HashMap<Place, NamespaceDump>, (ErrorClass, String)> {
        let _dumping = Dumping::begin(&self.shared);
        let kernel = places.iter().map(|open| open.kernel.clone()).collect();
        let dumps = self.dumper.dump(kernel, deadline).await.map_err(|e| (class_of_submit(e), e.to_string()))?;
        let mut all = HashMap::new();
        let mut mirror = self.shared.mirror();
        for (open, dump) in places.iter().zip(dumps) {
            let dump = dump.map_err(|error| (class_of(error.kind), error.to_string()))?;
            self.count_on(&dump);
            let touched = mirror.install(&open.place, open.nsid, dump.clone());
            self.shared.report(&mut mirror, touched);
            all.insert(open.place.clone(), dump);
        }
        Ok(all)
    }

    /// New ifindexes begin above those that are there, so that few are refused.
    fn count_on(&self, dump: &NamespaceDump) {
        let highest = dump.links.iter().map(|link| link.ifindex).filter(|index| *index < LAST_IFINDEX).max();
        self.next_ifindex.fetch_max(highest.unwrap_or_default() + 1, Ordering::Relaxed);
    }

    async fn look(&self) -> Result<(), String> {
        let started = SystemTime::now();
        let deadline = Instant::now() + RELIST;
        let slow = |class: ErrorClass| format!("the kernel's interfaces could not be listed: {class:?}");
        let _dumping = Dumping::begin(&self.shared);
        let all = self.places.list(deadline).await.map_err(slow)?.map_err(|error| error.to_string())?;
        let (mut there, mut on_host) = (BTreeSet::new(), BTreeSet::new());
        for part in all.chunks(OPEN_AT_ONCE) {
            let mut places = Vec::new();
            for opened in self.places.open(part.to_vec(), deadline).await.map_err(slow)? {
                match opened {
                    Ok(open) => places.push(open),
                    // It went after the directory was read.
                    Err(error) if places::is_gone(&error) => {}
                    Err(error) => return Err(error.to_string()),
                }
            }
            let kernel = places.iter().map(|open| open.kernel.clone()).collect();
            let dumps = self.dumper.dump(kernel, deadline).await.map_err(|error| error.to_string())?;
            let dumps: Vec<NamespaceDump> = dumps.into_iter().collect::<Result<_, _>>().map_err(|e| e.to_string())?;
            let mut mirror = self.shared.mirror();
            for (open, dump) in places.into_iter().zip(dumps) {
                self.count_on(&dump);
                on_host.extend(mirror.install(&open.place, open.nsid, dump).on_host());
                there.insert(open.place);
            }
        }
        let mut mirror = self.shared.mirror();
        mirror.retain(&there);
        self.shared.follow(&mut mirror, on_host);
        let facts = mirror.all(&self.shared.marks, SystemTime::now());
        let unseen = BTreeMap::new();
        self.shared.reporter.send(Report::Relist { source: Source::Fabric, started, facts, unseen });
        Ok(())
    }
}

#[async_trait]
impl Fabric for KernelFabric {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn backlogs(&self) -> Vec<Backlog> {
        vec![self.rtnl.backlog().clone(), self.dumper.backlog().clone(), self.places.backlog().clone()]
    }

    async fn apply(&self, orders: Vec<LinkOrder>, context: &Context) -> Vec<Result<(), DriverError>> {
        self.apply_behind(&BTreeSet::new(), orders, context).await
    }

    async fn ensure_bridge(&self, place: &Place, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError> {
        bridge::ensure(self, place, bridge, context).await
    }

    async fn remove_bridge(&self, place: &Place, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError> {
        bridge::remove(self, place, bridge, context).await
    }

    async fn counters(&self, lab: &LabName, context: &Context) -> Result<Vec<PortCounters>, DriverError> {
        counters::read(self, lab, context).await
    }

    async fn announce(&self, place: &Place, deadline: Instant) {
        self.announce_from(place, deadline).await;
    }

    async fn relist(&self) -> Result<(), DriverError> {
        let _one_at_a_time = self.relisting.lock().await;
        match self.look().await {
            Ok(()) => {
                self.listed.store(true, Ordering::Release);
                Ok(())
            }
            Err(why) => {
                self.shared.reporter.send(Report::Unreachable(Source::Fabric, why.clone()));
                Err(refusal("list", "interfaces", why, ErrorClass::Transient))
            }
        }
    }
}

impl Shared {
    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        // A panic while it was held may have left one interface out of date; the next relist repairs that.
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what follows from a change of the mirror, which is the locked one.
    fn report(&self, mirror: &mut Mirror, touched: mirror::Touched) {
        self.follow(mirror, touched.on_host());
        let overrun = touched.overrun;
        let facts = mirror.facts(touched, &self.marks, SystemTime::now());
        if !facts.is_empty() {
            self.reporter.send(Report::Events(Source::Fabric, facts));
        }
        if overrun {
            self.reporter.send(Report::Lost(Source::Fabric));
        }
    }
}

/// The thread `fabric-events`: from what the kernel says to what the engine believes.
fn observe(shared: &Shared, mut events: tokio::sync::mpsc::Receiver<Vec<MonitorEvent>>, hearing: Hearing) {
    while let Some(batch) = events.blocking_recv() {
        if hearing == Hearing::Nothing {
            continue;
        }
        let mut mirror = shared.mirror();
        let touched = mirror.apply(&batch);
        shared.report(&mut mirror, touched);
    }
}

/// A dump in flight; events are kept for it until it is dropped, also when the call is given up.
struct Dumping<'a>(&'a Shared);

impl<'a> Dumping<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.mirror().begin_dump();
        Self(shared)
    }
}

impl Drop for Dumping<'_> {
    fn drop(&mut self) {
        self.0.mirror().end_dump();
    }
}

fn refusal(operation: &str, object: impl Into<String>, cause: impl Into<String>, class: ErrorClass) -> DriverError {
    DriverError {
        operation: operation.to_owned(),
        object: object.into(),
        backend: "kernel".to_owned(),
        cause: cause.into(),
        hint: None,
        class,
    }
}

fn refused_link(operation: &str, link: &LinkId, cause: impl Into<String>, class: ErrorClass) -> DriverError {
    refusal(operation, format!("link {link}"), cause, class)
}

/// What the class alone says, where there is no more to say.
fn cause_of(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Busy => "too much is waiting for the kernel",
        ErrorClass::Deadline => "the kernel did not answer in time",
        ErrorClass::Cancelled => "it was cancelled",
        ErrorClass::Permanent | ErrorClass::Transient => "the netlink thread has ended",
    }
}

fn class_of_submit(error: SubmitError) -> ErrorClass {
    match error {
        SubmitError::Busy => ErrorClass::Busy,
        SubmitError::Deadline => ErrorClass::Deadline,
        SubmitError::Closed => ErrorClass::Transient,
    }
}

fn class_of(kind: KernelErrorKind) -> ErrorClass {
    match kind {
        KernelErrorKind::AlreadyExists
        | KernelErrorKind::Unsupported
        | KernelErrorKind::Permission
        | KernelErrorKind::Invalid => ErrorClass::Permanent,
        KernelErrorKind::NotFound
        | KernelErrorKind::IfindexTaken
        | KernelErrorKind::NoSpace
        | KernelErrorKind::Busy
        | KernelErrorKind::Other(_) => ErrorClass::Transient,
        KernelErrorKind::Deadline => ErrorClass::Deadline,
    }
}
