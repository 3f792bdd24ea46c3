//! What the inventory is told: what the mirror of the database shows, when it changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use netloom_engine::{Fact, Report, Source, SwitchBridgeFact, SwitchPortFact, SwitchTagFact};
use netloom_ovsdb::{Client, Config, Endpoint, Error, Interest, State};
use tokio::time::Instant;

use super::Shared;
use super::board::{Board, Key};
use super::tags;

const TABLES: [&str; 4] = ["Open_vSwitch", "Bridge", "Port", "Interface"];
/// As good as never: nothing is done when it has passed.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// What was told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By name; without the time at which it was seen.
    facts: BTreeMap<Key, Fact>,
    /// That tags run short.
    strain: Option<String>,
}

/// A client that mirrors what is read here.
pub(super) fn client(socket: &Path) -> Client {
    let config = Config::new(Endpoint::Unix(socket.to_owned()), "Open_vSwitch")
        .mirror("Open_vSwitch", ["bridges", "cur_cfg", "next_cfg"])
        .mirror("Bridge", ["name", "ports", "datapath_type", "external_ids"])
        .mirror("Port", ["name", "interfaces", "tag", "trunks", "vlan_mode", "external_ids"])
        .mirror("Interface", ["name", "ofport", "error", "external_ids"]);
    Client::start(config)
}

/// Tells until it is ended.
pub(super) async fn tell(shared: Arc<Shared>) {
    let interests = TABLES.map(|table| match table {
        // How far a transaction has come is no news.
        "Open_vSwitch" => Interest::table(table).columns(["bridges"]),
        table => Interest::table(table),
    });
    let watch = shared.client.mirror().watch(interests);
    let mut state = shared.client.state();
    shared.tell_state(&state);
    loop {
        let far = Instant::now() + LONG;
        tokio::select! {
            changed = watch.changed(far) => match changed {
                Ok(_) if state.is_connected() => shared.tell_changes(),
                Ok(_) | Err(Error::Deadline) => {}
                Err(_) => return,
            },
            next = shared.client.state_changed(&state, far) => match next {
                Ok(next) => {
                    shared.tell_state(&next);
                    state = next;
                }
                Err(Error::Deadline) => {}
                Err(_) => return,
            },
        }
    }
}

impl Shared {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing can be said or done now; `None` while there is a session.
    pub(super) fn why_down(&self) -> Option<String> {
        match self.client.state() {
            State::Connected { .. } => None,
            State::Down { why, .. } => Some(why.to_string()),
        }
    }

    /// Waits until there is a session, or it is known why there is none.
    pub(super) async fn first_session(&self, deadline: Instant) {
        let mut state = self.client.state();
        while let State::Down { why, .. } = &state
            && matches!(**why, Error::Starting)
        {
            match self.client.state_changed(&state, deadline).await {
                Ok(next) => state = next,
                Err(_) => return,
            }
        }
    }

    fn tell_state(&self, state: &State) {
        match state {
            State::Connected { .. } => {
                tracing::info!(socket = %self.socket.display(), "Open vSwitch is there");
                self.tell_all(SystemTime::now());
            }
            State::Down { why, .. } if matches!(**why, Error::Starting) => {}
            State::Down { why, .. } => self.reporter.send(Report::Unreachable(Source::Switch, why.to_string())),
        }
    }

    /// Tells everything.
    pub(super) fn tell_all(&self, started: SystemTime) {
        // Locked until it is sent, so that no older report comes after a newer one.
        let mut told = self.told();
        *told = self.see(&told);
        let now = SystemTime::now();
        let facts = told.facts.values().map(|fact| stamped(fact, now)).collect();
        self.reporter.send(Report::Relist { source: Source::Switch, started, facts, unseen: BTreeMap::new() });
        self.reporter.send(Report::Strained(Source::Switch, told.strain.clone()));
    }

    /// Tells what is other than it was told.
    fn tell_changes(&self) {
        let mut told = self.told();
        let seen = self.see(&told);
        let now = SystemTime::now();
        let new = seen.facts.iter().filter(|(key, fact)| told.facts.get(*key) != Some(*fact));
        let new = new.map(|(_, fact)| stamped(fact, now));
        let gone = told.facts.iter().filter(|(key, _)| !seen.facts.contains_key(*key));
        let gone = gone.map(|(key, fact)| match (fact, key.tag) {
            (_, Some(tag)) => Fact::SwitchTagGone(key.name.clone(), tag),
            (Fact::SwitchBridge(_), None) => Fact::SwitchBridgeGone(key.name.clone()),
            _ => Fact::SwitchPortGone(key.name.clone()),
        });
        let facts: Vec<Fact> = new.chain(gone).collect();
        if !facts.is_empty() {
            self.reporter.send(Report::Events(Source::Switch, facts));
        }
        if seen.strain != told.strain {
            self.reporter.send(Report::Strained(Source::Switch, seen.strain.clone()));
        }
        *told = seen;
    }

    fn see(&self, before: &Told) -> Told {
        let snapshot = self.client.mirror().snapshot();
        let board = Board::of(&snapshot);
        self.made.begin(&board, &self.instance);
        let strain = tags::strain(&board, &self.instance, before.strain.is_some());
        Told { facts: board.facts(&self.instance, SystemTime::UNIX_EPOCH), strain }
    }
}

fn stamped(fact: &Fact, seen: SystemTime) -> Fact {
    match fact {
        Fact::SwitchPort(port) => Fact::SwitchPort(SwitchPortFact { seen, ..port.clone() }),
        Fact::SwitchBridge(bridge) => Fact::SwitchBridge(SwitchBridgeFact { seen, ..bridge.clone() }),
        Fact::SwitchTag(tag) => Fact::SwitchTag(SwitchTagFact { seen, ..tag.clone() }),
        other => other.clone(),
    }
}
