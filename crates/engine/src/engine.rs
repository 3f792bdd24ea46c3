//! The engine: what the agent talks to. It can be asked, told and followed; it names no driver.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use netloom_backlog::Backlog;
use netloom_model::{FabricKind, InterfaceName, LabName, LinkId, NodeName, RuntimeKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::bulkhead::Bulkhead;
use crate::carried::Tallies;
use crate::desired::{self, Done, Phase, Wish, Wishes};
use crate::driver::{Fabric, Holder, Runtime, Store, StoreError, Switch, SwitchFigures};
use crate::entries::{HostFiles, Teller};
use crate::event::Events;
use crate::fact::Source;
use crate::host::Host;
use crate::image::{Deliveries, load_deliveries};
use crate::inventory::{Inventory, Writer};
use crate::lab::{Actor, Command, QUEUE, panicked, within};
use crate::layout::Layout;
use crate::ledger::{Ledger, StoreTrouble};
use crate::leftover::{Traces, Watched};
use crate::limits::{self, Limits, Raises};
use crate::network::Addresses;
use crate::operation::Journal;
use crate::pause::{Pauses, Safe};
use crate::refusal::Refusal;
use crate::relist;
use crate::sampler::Samplers;
use crate::standing::Troubles;
use crate::startup::{self, Startup};
use crate::tags::{self, Tags};
use crate::takeover::{Predecessor, Takeovers};
use crate::task::{self, Beats, Panicked};
use crate::transport::{self, Management, Transports, Underlay};
use crate::work::Work;

/// What the engine is made of.
pub struct Parts {
    /// Where things are on this host.
    pub layout: Layout,
    /// Where desired state lives.
    pub store: Arc<dyn Store>,
    /// What nodes run on.
    pub runtimes: Vec<Arc<dyn Runtime>>,
    /// What links are made of.
    pub fabric: Arc<dyn Fabric>,
    /// Where this host is told of labs.
    pub host_files: Arc<dyn HostFiles>,
    /// The limits of this host.
    pub limits: Arc<dyn Limits>,
    /// The interfaces of this host that are its own.
    pub underlay: Arc<dyn Underlay>,
    /// What labs may leave behind on this host.
    pub traces: Arc<dyn Traces>,
    /// The agent that may have been on it before; none where nothing is looked for.
    pub predecessor: Option<Arc<dyn Predecessor>>,
    /// The readers' side of the inventory that the drivers report to.
    pub inventory: Inventory,
    /// The writer's side of it.
    pub writer: Writer,
    /// Limits and periods.
    pub config: Config,
}

/// Limits and periods of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How often everything is looked at again, whatever events said.
    pub relist: Duration,
    /// How long an operation is waited for; the wish stays.
    pub operation_limit: Duration,
    /// How long one step may take.
    pub step_limit: Duration,
    /// How long whoever asks waits for the store.
    pub store_limit: Duration,
    /// How many nodes are made, started or removed at once, on each runtime.
    pub nodes_at_once: usize,
    /// How many images are pulled at once.
    pub pulls_at_once: usize,
    /// How many sessions (exec, logs) run at once.
    pub sessions: usize,
    /// What links are made of in labs that do not say.
    pub fabric: FabricKind,
    /// The bridge of the switch whose ports the ends of links are.
    pub switch: InterfaceName,
    /// The labs that are paused from the start.
    pub safe: Safe,
    /// How this host is reached, which changes of its own interfaces must leave.
    pub management: Management,
}

/// The bridge of the switch unless another is named: the one that controllers of the agent contract expect.
pub const SWITCH: &str = "arch-ovs";

impl Default for Config {
    fn default() -> Self {
        Self {
            relist: Duration::from_secs(60),
            operation_limit: Duration::from_secs(900),
            step_limit: Duration::from_secs(60),
            store_limit: Duration::from_secs(5),
            nodes_at_once: 64,
            pulls_at_once: 2,
            sessions: 256,
            fabric: FabricKind::Kernel,
            switch: SWITCH.parse().expect("a name that the kernel takes"),
            safe: Safe::No,
            management: Management::default(),
        }
    }
}

/// What all parts of the engine share.
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) ledger: Ledger,
    pub(crate) runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>>,
    pub(crate) fabric: Arc<dyn Fabric>,
    pub(crate) limits: Arc<dyn Limits>,
    pub(crate) traces: Arc<dyn Traces>,
    pub(crate) predecessor: Option<Arc<dyn Predecessor>>,
    pub(crate) takeovers: Takeovers,
    pub(crate) watched: Watched,
    pub(crate) raises: Raises,
    pub(crate) transports: Transports,
    pub(crate) inventory: Inventory,
    pub(crate) wishes: Wishes,
    pub(crate) done: DoneOnce,
    pub(crate) tags: Tags,
    pub(crate) deliveries: Deliveries,
    pub(crate) startup: Startup,
    pub(crate) troubles: Troubles,
    pub(crate) events: Events,
    pub(crate) journal: Journal,
    pub(crate) beats: Beats,
    pub(crate) pauses: Pauses,
    pub(crate) work: Work,
    backlogs: Vec<(&'static str, Backlog)>,
    pub(crate) host: Host,
    pub(crate) addresses: Addresses,
    /// One for each runtime: one that hangs has places of its own.
    pub(crate) nodes: BTreeMap<RuntimeKind, Bulkhead>,
    pub(crate) pulls: Bulkhead,
    pub(crate) sessions: Bulkhead,
    pub(crate) samplers: Samplers,
    pub(crate) tallies: Tallies,
    pub(crate) sources: BTreeSet<Source>,
    /// The runtimes that have images.
    pub(crate) shelves: BTreeSet<RuntimeKind>,
    pub(crate) config: Config,
    pub(crate) stopping: CancellationToken,
    pub(crate) tasks: TaskTracker,
    labs: Mutex<BTreeMap<LabName, mpsc::Sender<Command>>>,
}

/// What was done once, in memory; the store has it too.
#[derive(Debug, Default)]
pub(crate) struct DoneOnce {
    labs: Mutex<BTreeMap<LabName, BTreeMap<NodeName, Done>>>,
}

impl DoneOnce {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<LabName, BTreeMap<NodeName, Done>>> {
        self.labs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of(&self, lab: &LabName) -> BTreeMap<NodeName, Done> {
        self.lock().get(lab).cloned().unwrap_or_default()
    }

    pub(crate) fn set(&self, lab: &LabName, node: &NodeName, done: Done) {
        self.lock().entry(lab.clone()).or_default().insert(node.clone(), done);
    }

    /// Changes what was done for a node; gives what it is then.
    pub(crate) fn change(&self, lab: &LabName, node: &NodeName, change: impl FnOnce(Option<Done>) -> Done) -> Done {
        let mut labs = self.lock();
        let nodes = labs.entry(lab.clone()).or_default();
        let done = change(nodes.remove(node));
        nodes.insert(node.clone(), done.clone());
        done
    }

    pub(crate) fn forget(&self, lab: &LabName) {
        self.lock().remove(lab);
    }
}

/// How long the store may take at the start until everything is read.
const READ_WITHIN: Duration = Duration::from_secs(30);

/// The name of the bulkhead of a runtime's nodes.
fn places_on(runtime: RuntimeKind) -> &'static str {
    match runtime {
        RuntimeKind::Namespace => "nodes-namespace",
        RuntimeKind::Docker => "nodes-docker",
        RuntimeKind::Libvirt => "nodes-libvirt",
    }
}

/// A handle to the engine; clones are the same engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
}

impl Engine {
    /// Reads the store and starts all tasks. Labs that should run are worked on as soon as everything that is
    /// there has been seen once.
    pub async fn start(parts: Parts) -> Result<Self, StoreError> {
        let backlogs = backlogs(&parts);
        let Parts { layout, store, runtimes, fabric, host_files, limits, underlay, traces, .. } = parts;
        let Parts { predecessor, inventory, writer, config, .. } = parts;
        let (wishes, done) = (Wishes::default(), DoneOnce::default());
        let since = SystemTime::now();
        let read = tokio::time::timeout(READ_WITHIN, read(&*store, &wishes, &done));
        let (loaded, records, uplinks, tags, deliveries, startup) =
            read.await.unwrap_or(Err(StoreError::NoAnswer { since }))?;
        let events = Events::default();
        let (ledger, keeper) = Ledger::new(store, events.clone(), config.store_limit);
        let (raises, raises_task) = Raises::new(limits::Task {
            limits: limits.clone(),
            ledger: ledger.clone(),
            wishes: wishes.clone(),
            events: events.clone(),
            records,
            sessions: config.sessions,
        });
        let journal = Journal::new(events.clone());
        let boot = runtimes.iter().find(|runtime| runtime.kind() == RuntimeKind::Namespace);
        let boot = boot.and_then(|runtime| runtime.boot()).unwrap_or_default();
        let (transports, transport_task) = Transports::new(transport::Task::new(transport::Parts {
            underlay,
            management: config.management.clone(),
            ledger: ledger.clone(),
            journal: journal.clone(),
            events: events.clone(),
            inventory: inventory.clone(),
            kept: uplinks,
            boot,
        }));
        let sources = runtimes.iter().map(|runtime| Source::Runtime(runtime.kind()));
        let switch = fabric.switch().map(|_| Source::Switch);
        let sources: BTreeSet<Source> = sources.chain([Source::Fabric]).chain(switch).collect();
        let teller = Teller::new(host_files, wishes.clone(), inventory.clone(), sources.clone());
        let (host, host_task) = Host::new(fabric.clone(), runtimes.clone(), teller, wishes.clone());
        let wishes_too = wishes.clone();
        let runtimes: BTreeMap<_, _> = runtimes.into_iter().map(|runtime| (runtime.kind(), runtime)).collect();
        let shelves =
            runtimes.values().filter(|runtime| runtime.images().is_some()).map(|runtime| runtime.kind()).collect();
        let nodes =
            runtimes.keys().map(|kind| (*kind, Bulkhead::new(places_on(*kind), config.nodes_at_once))).collect();
        let shared = Arc::new(Shared {
            journal,
            nodes,
            pulls: Bulkhead::new("pulls", config.pulls_at_once),
            shelves,
            sessions: Bulkhead::new("sessions", config.sessions),
            samplers: Samplers::default(),
            tallies: Tallies::default(),
            layout,
            ledger,
            runtimes,
            fabric,
            limits,
            traces,
            predecessor,
            takeovers: Takeovers::default(),
            watched: Watched::default(),
            raises,
            transports,
            inventory,
            wishes,
            done,
            tags,
            deliveries,
            startup,
            troubles: Troubles::default(),
            events,
            beats: Beats::default(),
            pauses: Pauses::default(),
            work: Work::default(),
            backlogs,
            host,
            addresses: Addresses::new(wishes_too),
            sources,
            config,
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            labs: Mutex::default(),
        });
        task::vital(&shared.beats, "inventory", writer.run());
        task::vital(&shared.beats, "host", host_task);
        task::vital(&shared.beats, "ledger", keeper);
        task::vital(&shared.beats, "limits", raises_task);
        task::vital(&shared.beats, "transport", transport_task);
        relist::start(&shared);
        let engine = Self { shared };
        engine.pause_unsafe(loaded.keys());
        for lab in loaded.keys().filter(|lab| !engine.shared.pauses.is_paused(lab)) {
            engine.actor(lab);
        }
        Ok(engine)
    }

    /// Ends all reconcilers after the steps under way; what runs goes on. Waits at most until `deadline`.
    pub async fn stop(&self, deadline: Instant) {
        self.shared.stopping.cancel();
        self.shared.tasks.close();
        let _ = tokio::time::timeout_at(deadline.into(), self.shared.tasks.wait()).await;
        self.shared.ledger.close(deadline.into()).await;
    }

    /// Where things are on this host.
    pub fn layout(&self) -> &Layout {
        &self.shared.layout
    }

    /// What is there.
    pub fn inventory(&self) -> &Inventory {
        &self.shared.inventory
    }

    /// What is wanted.
    pub fn wishes(&self) -> &Wishes {
        &self.shared.wishes
    }

    /// What happened and happens.
    pub fn events(&self) -> &Events {
        &self.shared.events
    }

    /// The operations of this agent process.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// The labs that are paused.
    pub fn pauses(&self) -> &Pauses {
        &self.shared.pauses
    }

    /// For which labs something is under way.
    pub fn work(&self) -> &Work {
        &self.shared.work
    }

    /// What the loops owe.
    pub fn beats(&self) -> &Beats {
        &self.shared.beats
    }

    /// The sources that facts come from.
    pub fn sources(&self) -> &BTreeSet<Source> {
        &self.shared.sources
    }

    /// The bulkheads, those of the runtimes too, for metrics.
    pub fn bulkheads(&self) -> Vec<&Bulkhead> {
        let own = [&self.shared.pulls, &self.shared.sessions];
        self.shared
            .nodes
            .values()
            .chain(own)
            .chain(self.shared.runtimes.values().flat_map(|runtime| runtime.bulkheads()))
            .collect()
    }

    /// What the threads of the drivers have not finished, with the capability that suffers from it.
    pub fn backlogs(&self) -> &[(&'static str, Backlog)] {
        &self.shared.backlogs
    }

    /// What the switch of the host has done and has, if the fabric has one; never waits.
    pub fn switch_figures(&self) -> Option<SwitchFigures> {
        self.shared.fabric.switch().map(Switch::figures)
    }

    /// What is wrong with the store, if anything; never waits.
    pub fn store_trouble(&self) -> Option<Arc<StoreTrouble>> {
        self.shared.ledger.trouble()
    }

    /// How many writes the store is owed: what holds, and would be lost with this process. Never waits.
    pub fn store_owed(&self) -> usize {
        self.shared.ledger.owed()
    }

    /// The bridge of the switch whose ports the ends of links are, unless a lab has another.
    pub fn switch_name(&self) -> &InterfaceName {
        &self.shared.config.switch
    }

    /// The segment or link of a lab that has been allotted a tag.
    pub fn tagged_as(&self, lab: &LabName, tag: u16) -> Option<LinkId> {
        self.shared.tags.of(lab).into_iter().find(|(_, of)| *of == tag).map(|(name, _)| name)
    }

    /// Has a segment of a lab get this tag when it needs one, if that is free then. One that has a tag keeps it.
    pub fn propose_tag(&self, lab: &LabName, segment: &LinkId, tag: u16) {
        self.shared.tags.propose(lab, segment, tag);
    }

    /// Who has the name that a container of a node is to have on a runtime; asks that runtime.
    pub async fn holder_of(&self, runtime: RuntimeKind, container: &str) -> Result<Option<Holder>, Refusal> {
        let Some(runtime) = self.shared.runtimes.get(&runtime).cloned() else { return Ok(None) };
        let context = self.session_limit();
        let (limit, name) = (context.clone(), container.to_owned());
        let asked = task::own("holder", async move { runtime.holder(&name, &limit).await });
        let asked = async { asked.await.unwrap_or_else(|panic| Err(panicked(container, &panic))) };
        Ok(within(&context, container, asked).await?)
    }

    /// The name of the fabric.
    pub fn fabric(&self) -> &'static str {
        self.shared.fabric.name()
    }

    pub(crate) fn actor(&self, lab: &LabName) -> mpsc::Sender<Command> {
        let mut labs = self.shared.labs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = labs.get(lab).filter(|sender| !sender.is_closed()) {
            return sender.clone();
        }
        let (sender, commands) = mpsc::channel(QUEUE);
        labs.insert(lab.clone(), sender.clone());
        drop(labs);
        let (shared, name) = (self.shared.clone(), lab.clone());
        let engine = self.clone();
        let actor = Actor::new(shared, name.clone(), commands);
        let supervised = self.shared.tasks.track_future(async move {
            let ended = task::own(format!("lab {name}"), actor.run()).await;
            engine.after(&name, ended.err()).await;
        });
        task::spawn(format!("supervisor of lab {lab}"), supervised);
        sender
    }

    /// After an actor's end: forget it, or start the next one if it is wanted again, also after a panic. One that panics
    /// again and again is not: its lab is paused.
    async fn after(&self, lab: &LabName, panic: Option<Panicked>) {
        {
            let mut labs = self.shared.labs.lock().unwrap_or_else(PoisonError::into_inner);
            if labs.get(lab).is_some_and(mpsc::Sender::is_closed) {
                labs.remove(lab);
            }
        }
        if self.shared.stopping.is_cancelled() {
            return;
        }
        if let Some(panic) = panic {
            // What panics each time must not spin. A command starts the next actor at once.
            let Some(pause) = self.panicked(lab, &panic) else { return };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.stopping.cancelled() => return,
            }
        }
        if self.shared.wishes.get(lab).is_some() {
            self.actor(lab);
        }
    }

    /// The state of a lab in one word: what is wanted, and whether anything of it is there.
    pub fn phase(&self, lab: &LabName) -> Option<Phase> {
        self.shared.wishes.get(lab).map(|wish| wish.phase)
    }
}

/// What the threads of all drivers have not finished.
fn backlogs(parts: &Parts) -> Vec<(&'static str, Backlog)> {
    let of = |capability, backlogs: Vec<Backlog>| backlogs.into_iter().map(move |backlog| (capability, backlog));
    let runtimes = parts.runtimes.iter();
    let runtimes = runtimes.flat_map(|runtime| of(Source::Runtime(runtime.kind()).word(), runtime.backlogs()));
    runtimes
        .chain(of(parts.fabric.name(), parts.fabric.backlogs()))
        .chain(of("store", parts.store.backlogs()))
        .chain(of("limits", parts.limits.backlogs()))
        .chain(of("transport", parts.underlay.backlogs()))
        .chain(of("leftovers", parts.traces.backlogs()))
        .chain(of("host files", parts.host_files.backlogs()))
        .collect()
}

/// Reads everything from the store.
async fn read(
    store: &dyn Store,
    wishes: &Wishes,
    done: &DoneOnce,
) -> Result<(BTreeMap<LabName, Arc<Wish>>, limits::Records, transport::Kept, Tags, Deliveries, Startup), StoreError> {
    let loaded = desired::load(store).await?;
    for (lab, wish) in &loaded {
        wishes.set(lab, Some(wish));
        for (node, once) in desired::load_done(store, lab).await? {
            done.set(lab, &node, once);
        }
    }
    Ok((
        loaded,
        limits::load(store).await?,
        transport::load(store).await?,
        tags::load(store).await?,
        load_deliveries(store).await?,
        startup::load(store).await?,
    ))
}
