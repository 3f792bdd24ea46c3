//! Leftovers: what carries our mark and is nobody's, found and, on a person's word, removed.
//!
//! ```text
//!   snapshot, wishes, operations ──┐
//!   Traces (files, groups, mounts) ┴─▶ judge::leftovers (pure) ──▶ report, metric, notice (at each relist, by itself)
//!                                                             └──▶ sweep (only when asked): actors of labs, host reconciler
//! ```
//!
//! By itself only looking is done. What a reconciler or the host's files remove anyway (nodes and links that a wanted lab
//! does not have, blocks of `/etc/hosts`) is none of it. A look starts no process and asks no daemon: Docker's part is what the
//! snapshot has of it.

mod judge;
mod sweep;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use netloom_model::{InterfaceName, LabName, LinkId, NodeName};
use netloom_plan::NodeState;
use serde::{Deserialize, Serialize};

use crate::desired::{Phase, Wish};
use crate::driver::DriverError;
use crate::engine::{Engine, Shared};
use crate::event::What;
use crate::fact::{NodeFact, PortMark, Source};
use crate::lab::within;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;
use crate::task;

pub use judge::{Found, FoundNode, Lives, Moment, Wanted, leftovers};
pub(crate) use sweep::{Sweep, Swept, sweep};
pub use trace::{Trace, TraceKind, Traces};

/// How long something has to be there, and nothing has to be done with its lab, before it counts as left behind.
pub const GRACE: Duration = Duration::from_secs(120);

/// Something that is left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A node of a lab that nobody wants and nothing runs in.
    Node(LabName, NodeName),
    /// A link of such a lab, with the names of its interfaces.
    Link(LabName, LinkId, Vec<String>),
    /// A bridge of the host.
    Bridge(InterfaceName),
    /// A management network.
    Network(String),
    /// Anything else.
    Trace(Trace),
}

impl Thing {
    /// The lab that its mark names.
    pub fn lab(&self) -> Option<&LabName> {
        match self {
            Self::Node(lab, _) | Self::Link(lab, ..) => Some(lab),
            Self::Trace(trace) => Some(&trace.lab),
            Self::Bridge(_) | Self::Network(_) => None,
        }
    }
}

/// What is left, and why it counts as that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub thing: Thing,
    /// Why it is nobody's.
    pub why: &'static str,
}

impl Leftover {
    fn dead(thing: Thing) -> Self {
        Self { thing, why: "nobody wants its lab, and nothing of that runs" }
    }

    fn of_node(thing: Thing) -> Self {
        Self { thing, why: "its lab has no such node" }
    }

    fn of_lab(thing: Thing) -> Self {
        Self { thing, why: "no lab wants it" }
    }

    /// As it is shown.
    pub fn view(&self) -> LeftoverView {
        let (kind, node, at, changed) = match &self.thing {
            Thing::Node(lab, node) => ("node", Some(node), format!("{lab}/{node}"), None),
            Thing::Link(_, link, names) => ("link", None, format!("{link} ({})", names.join(", ")), None),
            Thing::Bridge(bridge) => ("bridge", None, bridge.to_string(), None),
            Thing::Network(network) => ("network", None, network.clone(), None),
            Thing::Trace(trace) => (trace.kind.words(), trace.node.as_ref(), trace.at.clone(), trace.changed),
        };
        let (lab, node) = (self.thing.lab().cloned(), node.cloned());
        LeftoverView { kind: kind.to_owned(), lab, node, at, why: self.why.to_owned(), changed }
    }
}

/// What is left, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftoverView {
    /// What it is: `node`, `link`, `bridge`, `network`, `network namespace`, `layer`, …
    pub kind: String,
    /// The lab that its mark names; a bridge's or a network's names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<LabName>,
    /// The node, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Where it is.
    pub at: String,
    /// Why it is nobody's.
    pub why: String,
    /// When it was made or last changed, if anything says so.
    #[serde(default, with = "crate::time::option", skip_serializing_if = "Option::is_none")]
    pub changed: Option<SystemTime>,
}

/// All that is left on this host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeftoversView {
    /// What counts as left behind, in the order in which it is removed.
    pub leftovers: Vec<LeftoverView>,
    /// How many things would count, were they older, or were nothing done with their labs.
    pub young: usize,
    /// The sources that do not answer: what only they know of is not judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<String>,
    /// How long the look took.
    pub seconds: f64,
}

/// What is remembered between looks.
#[derive(Debug)]
pub(crate) struct Watched {
    began: SystemTime,
    count: AtomicUsize,
}

/// Nothing has been judged yet.
const UNKNOWN: usize = usize::MAX;

impl Default for Watched {
    fn default() -> Self {
        Self { began: SystemTime::now(), count: AtomicUsize::new(UNKNOWN) }
    }
}

/// All that a judgement is made from.
struct Looked {
    wanted: Wanted,
    /// As `wanted`, without regard to what is under way.
    unhurried: Wanted,
    found: Found,
    moment: Moment,
}

impl Engine {
    /// What is left on this host that is older than `grace`. Nothing is changed.
    pub async fn leftovers(&self, grace: Duration) -> Result<LeftoversView, Refusal> {
        let started = Instant::now();
        let looked = self.shared.look_for_leftovers(grace).await?;
        let left = looked.leftovers();
        if grace == GRACE && looked.found.silent.is_empty() {
            self.shared.watched.count.store(left.len(), Ordering::Relaxed);
        }
        let in_time = Moment { grace: Duration::ZERO, ..looked.moment };
        let all = leftovers(&looked.unhurried, &looked.found, in_time).len();
        let silent = looked.found.silent.iter().map(|source| source.word().to_owned()).collect();
        let leftovers = left.iter().map(Leftover::view).collect::<Vec<_>>();
        let young = all.saturating_sub(leftovers.len());
        Ok(LeftoversView { leftovers, young, silent, seconds: started.elapsed().as_secs_f64() })
    }

    /// How many leftovers the last look found; `None` before the first.
    pub fn leftovers_known(&self) -> Option<usize> {
        Some(self.shared.watched.count.load(Ordering::Relaxed)).filter(|count| *count != UNKNOWN)
    }
}

impl Looked {
    fn leftovers(&self) -> Vec<Leftover> {
        leftovers(&self.wanted, &self.found, self.moment)
    }
}

impl Shared {
    async fn look_for_leftovers(self: &Arc<Self>, grace: Duration) -> Result<Looked, Refusal> {
        let snapshot = self.inventory.snapshot();
        let known =
            snapshot.labs.iter().flat_map(|(lab, facts)| facts.nodes.keys().map(|node| (lab.clone(), node.clone())));
        let (known, traces) = (known.collect(), self.traces.clone());
        let object = "what labs have left behind";
        let look = task::own("look for leftovers", async move { traces.look(known).await });
        let context = Engine { shared: self.clone() }.session_limit();
        let look = async { look.await.unwrap_or_else(|panic| Err(crate::lab::panicked(object, &panic))) };
        let traces = within(&context, object, look).await?;
        // What came while files were looked at is not judged by what was known before.
        let (snapshot, now) = (self.inventory.snapshot(), SystemTime::now());
        let found = self.found(&snapshot, traces);
        let unhurried = self.wanted(|_| false);
        let busy = self.busy(now, grace);
        let wanted = self.wanted(|lab| busy.contains(lab));
        Ok(Looked { wanted, unhurried, found, moment: Moment { now, began: self.watched.began, grace } })
    }

    fn wanted(&self, is_busy: impl Fn(&LabName) -> bool) -> Wanted {
        let all = self.wishes.all();
        let runs = |wish: &Wish| wish.phase == Phase::Run;
        let nodes = |wish: &Wish| wish.whole().nodes().keys().cloned().collect();
        let leaving = all.iter().filter(|(_, wish)| !runs(wish)).map(|(lab, _)| lab);
        let journal = self.journal.all();
        let touched = journal.iter().filter_map(|operation| operation.lab()).filter(|lab| is_busy(lab));
        let bridges = |wish: &Wish| wish.bridges.iter().cloned().chain(Wish::bridges_of(&wish.lab)).collect::<Vec<_>>();
        let networks =
            |wish: &Wish| wish.networks.iter().cloned().chain(wish.network().map(str::to_owned)).collect::<Vec<_>>();
        Wanted {
            labs: all.iter().filter(|(_, wish)| runs(wish)).map(|(lab, wish)| (lab.clone(), nodes(wish))).collect(),
            busy: leaving.chain(touched).cloned().collect(),
            bridges: all.values().flat_map(|wish| bridges(wish)).collect(),
            networks: all.values().flat_map(|wish| networks(wish)).collect(),
        }
    }

    /// The labs with an operation under way, or that had one just now.
    fn busy(&self, now: SystemTime, grace: Duration) -> BTreeSet<LabName> {
        let is_recent =
            |ended: Option<SystemTime>| ended.is_none_or(|ended| now.duration_since(ended).unwrap_or_default() < grace);
        let views = self.journal.all().into_iter().map(|operation| operation.view());
        views.filter(|view| is_recent(view.ended)).filter_map(|view| view.lab).collect()
    }

    fn found(&self, snapshot: &Snapshot, traces: Vec<Trace>) -> Found {
        let answers = |source: &Source| {
            snapshot.sources.get(source).is_some_and(|state| state.error.is_none() && state.listed.is_some())
        };
        let silent = self.sources.iter().filter(|source| !answers(source)).copied();
        let (silent, absent) = silent.partition(|source| self.counts(*source, snapshot));
        let facts = snapshot.labs.values().flat_map(|facts| facts.nodes.values());
        let nodes = facts.map(|fact| {
            let lives = if lives(fact) { Lives::Yes } else { Lives::No };
            ((fact.lab.clone(), fact.node.clone()), FoundNode { runtime: fact.runtime, lives })
        });
        let inside = snapshot.labs.values().flat_map(|facts| facts.ports.values());
        let mut links: BTreeMap<(LabName, LinkId), Vec<String>> = BTreeMap::new();
        for port in snapshot.host.values().chain(inside) {
            if let Some(PortMark::Link { lab, link, .. }) = &port.mark {
                links.entry((lab.clone(), link.clone())).or_default().push(port.name.to_string());
            }
        }
        for port in snapshot.switch.ports() {
            let names = links.entry((port.lab.clone(), port.link.clone())).or_default();
            names.push(format!("port of {}", port.bridge));
        }
        let masters: BTreeSet<u32> = snapshot.host.values().filter_map(|port| port.master).collect();
        let ours = snapshot.host.values().filter(|port| port.mark == Some(PortMark::Bridge));
        let bridges = ours.filter(|port| !masters.contains(&port.ifindex)).map(|port| port.name.clone());
        let networks = snapshot.networks.values().flatten().filter(|(_, members)| **members == 0);
        Found {
            nodes: nodes.collect(),
            links,
            bridges: bridges.collect(),
            networks: networks.map(|(name, _)| name.clone()).collect(),
            traces,
            silent,
            absent,
        }
    }
}

/// Looks once more, by itself: only says what is there.
pub(crate) async fn watch(shared: Arc<Shared>) -> Result<(), DriverError> {
    let engine = Engine { shared };
    let before = engine.leftovers_known().unwrap_or(0);
    let view = match engine.leftovers(GRACE).await {
        Ok(view) => view,
        Err(Refusal::Driver(error)) => return Err(error),
        Err(_) => return Ok(()),
    };
    let count = view.leftovers.len();
    if count > before {
        let (are, them) = if count == 1 { ("thing is", "it") } else { ("things are", "them") };
        let text = format!("{count} {are} left that no lab wants; `netloom prune` shows and removes {them}");
        engine.shared.events.publish(What::Notice { lab: None, text });
    }
    Ok(())
}

/// Whether something runs in a node, is about to, or will by itself.
fn lives(fact: &NodeFact) -> bool {
    let lives = match fact.state {
        NodeState::Running | NodeState::Starting | NodeState::Stopping | NodeState::Creating => true,
        NodeState::Absent
        | NodeState::Created
        | NodeState::Stopped
        | NodeState::Exited { .. }
        | NodeState::Failed { .. } => false,
    };
    lives || fact.restarting
}
