//! Desired state: what is wanted of each lab, as the store has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use netloom_model::{FabricKind, InterfaceName, Lab, LabName, LinkId, NodeName, OnNetwork, Stage};
use netloom_plan::{Command, Desired, Live, NodeFingerprint, Printed, Side, print};
use serde::{Deserialize, Serialize};

use crate::driver::{NodeOrder, Store, StoreError, Write};
use crate::engine::Config;

/// Who decides what runs in a lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Authority {
    /// The command line on this host, or our own controller.
    Local,
    /// A controller that speaks the agent contract.
    Controller(String),
}

impl Authority {
    /// The controller that speaks the agent contract: an agent has one, however its address changes.
    pub fn controller() -> Self {
        Self::Controller("default".to_owned())
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("the command line"),
            Self::Controller(id) => write!(f, "controller {id}"),
        }
    }
}

/// Whether a lab is to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It is to run.
    Run,
    /// Nothing of it is to remain.
    Destroy,
}

/// What is wanted of one lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// The lab.
    pub lab: Arc<Lab>,
    /// Who decides.
    pub authority: Authority,
    /// Whether it is to be there.
    pub phase: Phase,
    /// Counts up with every change of the wish.
    pub generation: u64,
    /// How often a rebuild was asked for.
    pub rebuild: u64,
    /// The ends that a person switched off.
    #[serde(default)]
    pub down: BTreeSet<(LinkId, Side)>,
    /// The nodes that a person stopped.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub stopped: BTreeSet<NodeName>,
    /// How often a restart of a node was asked for; a node without an entry: never.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub restarts: BTreeMap<NodeName, u64>,
    /// The bridges that the lab asks the host for, and those it has not given back yet. Noted before they are asked
    /// for, so that a crash leaves none behind.
    #[serde(default)]
    pub bridges: BTreeSet<InterfaceName>,
    /// The management network and the addresses that its nodes have on it: chosen once, and kept as long as the lab is
    /// wanted. None if no node is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_network: Option<OnNetwork>,
    /// The networks that the lab asks for, and those it has not given back yet, as for `bridges`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub networks: BTreeSet<String>,
    /// The bridge of the host's switch that its links are ports of, if it is on one: chosen once, and kept as long as the lab
    /// is on one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<InterfaceName>,
    /// Why nothing is done for it, when a person has cancelled; a deploy or destroy clears it.
    #[serde(default)]
    pub held: Option<String>,
    /// What live edits made other than the file that it was deployed from.
    #[serde(default, skip_serializing_if = "Live::is_empty")]
    pub live: Live,
    /// When it was first deployed.
    #[serde(with = "crate::time")]
    pub created: SystemTime,
    /// What [`Wish::whole`] has put together.
    #[serde(skip)]
    pub(crate) whole: Whole,
}

/// A lab that is put together when it is first asked for. Not part of what is wished: what follows from it.
#[derive(Debug, Default)]
pub(crate) struct Whole(OnceLock<Arc<Lab>>);

impl Clone for Whole {
    fn clone(&self) -> Self {
        // A wish is cloned to be changed.
        Self::default()
    }
}

impl PartialEq for Whole {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Wish {
    /// That a lab runs, which was not wanted before: no person has asked anything of it yet.
    pub(crate) fn first(lab: Arc<Lab>) -> Self {
        Self {
            bridges: Self::bridges_of(&lab),
            on_network: None,
            networks: BTreeSet::new(),
            switch: None,
            lab,
            authority: Authority::Local,
            phase: Phase::Run,
            generation: 1,
            rebuild: 0,
            down: BTreeSet::new(),
            stopped: BTreeSet::new(),
            restarts: BTreeMap::new(),
            live: Live::default(),
            held: None,
            created: SystemTime::now(),
            whole: Whole::default(),
        }
    }

    /// The lab with its nodes on the management network and its links on the switch: what is made on this host.
    pub fn whole(&self) -> &Arc<Lab> {
        self.whole.0.get_or_init(|| {
            let lab = match &self.on_network {
                Some(on) => Arc::new(self.lab.on_network(on)),
                None => self.lab.clone(),
            };
            match &self.switch {
                Some(bridge) => Arc::new(lab.on_switch(bridge)),
                None => lab,
            }
        })
    }

    /// Decides whether the lab is on the switch: as it says itself, or as this host has it.
    pub(crate) fn put_on_switch(&mut self, config: &Config) {
        let wanted = self.lab.settings().fabric.unwrap_or(config.fabric);
        let bridge = match wanted {
            FabricKind::Kernel => None,
            FabricKind::Ovs => Some(self.switch.take().unwrap_or_else(|| config.switch.clone())),
        };
        *self = Self { switch: bridge, ..self.clone() };
    }

    /// How often a restart of a node was asked for.
    pub(crate) fn restarts_of(&self, node: &NodeName) -> u64 {
        self.restarts.get(node).copied().unwrap_or_default()
    }

    /// The order that makes a node what is wanted of it; `None` if it is not in the lab.
    pub(crate) fn order(&self, node: &NodeName) -> Option<NodeOrder> {
        let (rebuild, restarts) = (self.rebuild, self.restarts_of(node));
        let fingerprint = NodeFingerprint::of(self.whole().nodes().get(node)?, rebuild, restarts);
        Some(NodeOrder { lab: self.whole().clone(), node: node.clone(), fingerprint, rebuild, restarts })
    }

    /// What it means to the planner. `restart_due` are the nodes that ended and are to be started again now.
    pub fn desired<'a>(&'a self, restart_due: &'a BTreeSet<NodeName>) -> Desired<'a> {
        Desired {
            lab: (self.phase == Phase::Run).then(|| &**self.whole()),
            network: self.network().filter(|_| self.phase == Phase::Run),
            rebuild: self.rebuild,
            down: &self.down,
            stopped: &self.stopped,
            restarts: &self.restarts,
            restart_due,
            prints: None,
        }
    }

    /// What its fingerprints are made of.
    pub(crate) fn printed(&self) -> Printed<'_> {
        Printed { lab: self.whole(), rebuild: self.rebuild, restarts: &self.restarts }
    }

    /// Forgets what a person asked of nodes that are not there any more, or run nothing.
    pub(crate) fn drop_orders_of_missing_nodes(&mut self) {
        let lab = &self.lab;
        let runs = |name: &NodeName| lab.nodes().get(name).is_some_and(|node| node.runtime.is_some());
        self.stopped.retain(runs);
        self.restarts.retain(|name, _| runs(name));
    }

    /// The name of the management network that the lab is on.
    pub fn network(&self) -> Option<&str> {
        self.on_network.as_ref().map(|on| on.network.network.as_str())
    }

    /// The names of the lab's bridges on the host.
    pub fn bridges_of(lab: &Lab) -> BTreeSet<InterfaceName> {
        lab.nodes().iter().filter_map(|(name, node)| node.host_bridge(name)).collect()
    }
}

/// What was done once for a node: how many of its commands in which life of it, and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The life.
    pub incarnation: String,
    /// How many of the node's commands ([`netloom_plan::commands`]) were run.
    pub execs: usize,
    /// How many there were; older versions noted nothing. When all of them were run, and others are in their place later,
    /// those are for the next life; what is only added behind them is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<usize>,
    /// Which those were that were run ([`netloom_plan::print`]); older versions noted nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<String>,
    /// The last of the stages at which it waits that it has entered since it was made, in whichever life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entered: Option<Stage>,
    /// Whether what its device wants done after a boot was done in this life.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub booted: bool,
}

/// The life in which commands of nodes that are the host are run once: from one boot to the next, and as long as the lab is not
/// rebuilt.
pub(crate) fn life_of_host(boot: &str, rebuild: u64) -> String {
    format!("{boot}@{rebuild}")
}

impl Done {
    /// Nothing was done yet in this life.
    pub(crate) fn nothing(incarnation: String) -> Self {
        Self { incarnation, execs: 0, of: None, ran: None, entered: None, booted: false }
    }

    /// How many of the commands that a node has now count as run in a life of it.
    pub(crate) fn execs_in(&self, incarnation: Option<&String>, now: &[Command<'_>]) -> usize {
        match self.of {
            _ if Some(&self.incarnation) != incarnation => 0,
            Some(of) if self.execs >= of && !self.ran_first_of(now) => now.len().max(self.execs),
            _ => self.execs,
        }
    }

    /// Whether what was run is what a list begins with.
    fn ran_first_of(&self, now: &[Command<'_>]) -> bool {
        let first = now.get(..self.execs).map(|first| print(first).to_string());
        self.ran.is_some() && self.ran == first
    }

    /// As it is when a life goes on: what was run in another one does not count.
    pub(crate) fn in_life(self, incarnation: String) -> Self {
        if self.incarnation == incarnation {
            self
        } else {
            Self { incarnation, execs: 0, of: None, ran: None, booted: false, ..self }
        }
    }
}

/// The wishes of all labs, read without waiting; each lab's actor is the only writer of its wish.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    current: Arc<ArcSwap<BTreeMap<LabName, Arc<Wish>>>>,
}

impl Wishes {
    /// All wishes.
    pub fn all(&self) -> Arc<BTreeMap<LabName, Arc<Wish>>> {
        self.current.load_full()
    }

    /// The wish of one lab.
    pub fn get(&self, lab: &LabName) -> Option<Arc<Wish>> {
        self.current.load().get(lab).cloned()
    }

    /// Sets or removes the wish of one lab in memory.
    pub(crate) fn set(&self, lab: &LabName, wish: Option<&Arc<Wish>>) {
        self.current.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            match wish {
                Some(wish) => all.insert(lab.clone(), wish.clone()),
                None => all.remove(lab),
            };
            all
        });
    }
}

pub(crate) fn wish_key(lab: &LabName) -> String {
    format!("labs/{lab}")
}

pub(crate) fn done_key(lab: &LabName, node: &NodeName) -> String {
    format!("done/{lab}/{node}")
}

/// Reads all wishes from the store. An entry that cannot be read is an error: it would be lost otherwise.
pub(crate) async fn load(store: &dyn Store) -> Result<BTreeMap<LabName, Arc<Wish>>, StoreError> {
    let mut wishes = BTreeMap::new();
    for (key, value) in store.list("labs/").await? {
        let wish: Wish = serde_json::from_slice(&value).map_err(|error| {
            StoreError::Unusable(format!(
                "the store's entry `{key}` cannot be read ({error}); it was written by another version of netloom. \
                 Use that version, or move the state file away: running labs stay as they are"
            ))
        })?;
        wishes.insert(wish.lab.name().clone(), Arc::new(wish));
    }
    Ok(wishes)
}

/// What was done once for the nodes of a lab.
pub(crate) async fn load_done(store: &dyn Store, lab: &LabName) -> Result<BTreeMap<NodeName, Done>, StoreError> {
    let prefix = format!("done/{lab}/");
    let entries = store.list(&prefix).await?.into_iter();
    Ok(entries
        .filter_map(|(key, value)| {
            let node = key.strip_prefix(&prefix)?.parse().ok()?;
            // An unreadable entry means that the commands run once more: at least once, as documented.
            Some((node, serde_json::from_slice(&value).ok()?))
        })
        .collect())
}

/// What stores a value, or that there is none.
pub(crate) fn put_or_delete<T: Serialize>(key: String, value: Option<&T>) -> Write {
    match value {
        Some(value) => put(key, value),
        None => Write::Delete { key },
    }
}

pub(crate) fn put<T: Serialize>(key: String, value: &T) -> Write {
    let value = serde_json::to_vec(value).expect("plain values serialise");
    Write::Put { key, value }
}

#[cfg(test)]
mod tests {
    use netloom_model::{Kind, Node};
    use netloom_plan::commands;

    use super::*;

    #[test]
    fn what_is_added_behind_the_commands_that_were_run_is_not_run_yet_and_other_commands_are_for_the_next_life() {
        let node = |words: &[&str]| Node {
            exec: words.iter().map(|word| vec![(*word).to_owned()]).collect(),
            ..Node::new(Kind::linux(), "n")
        };
        let (first, more, other) = (node(&["a", "b"]), node(&["a", "b", "c"]), node(&["b", "c", "d"]));
        let life = "one".to_owned();
        let ran = Some(print(&commands(&first)).to_string());
        let done = Done { execs: 2, of: Some(2), ran, ..Done::nothing(life.clone()) };
        let counts = |done: &Done, node: &Node| done.execs_in(Some(&life), &commands(node));
        assert_eq!([&first, &more, &other].map(|node| counts(&done, node)), [2, 2, 3]);
        assert_eq!(done.execs_in(Some(&"two".to_owned()), &commands(&more)), 0);
        // Nothing is known of what an older version ran.
        assert_eq!(counts(&Done { ran: None, ..done }, &more), 3);
    }
}
