//! The switch of the host: Open vSwitch, over one session with its database.
//!
//! It keeps no desired state and asks for nothing while it is idle: what the database has is mirrored, and every read is of
//! the mirror. No process is started.
//!
//! ```text
//!   plug, unplug ──[bounded]──▶ task `ovs ports` ──one transaction──▶ client (netloom-ovsdb) ⇄ ovsdb-server
//!   claim, ensure_bridge ────────────────────────────────────────────▶ │
//!   Reporter ◀── task `ovs facts` ◀── changes of the mirror, state ◀───┘
//! ```
//!
//! What is ours says so in `external_ids` ([`mark`]); anything else on the same bridge is left alone. A database that was
//! restarted or emptied is mirrored anew, and only what is different is told.

mod batch;
mod board;
mod facts;
mod made;
mod mark;
mod ports;
mod stray;
mod tags;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use netloom_engine::{
    Context, DriverError, ErrorClass, Layout, Report, Reporter, Source, Switch, SwitchFigures, TagClaim, task,
};
use netloom_failpoint::point;
use netloom_model::{InterfaceName, LabName, LinkId};
use netloom_ovsdb::{Client, Error, Outcome, RefusalKind, Row, Snapshot, Transaction};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use batch::{Request, Work};
use board::Board;
use made::Made;
use ports::Refused;
pub(crate) use ports::{Maker, Plug};
pub(crate) use stray::{Of, Stray};
use tags::Tried;

/// How long a transaction may take, with what `ovs-vswitchd` makes of it; and how much longer for each port of it. That takes
/// `ovs-vswitchd` half a millisecond when it has few, one when it has thousands, and ten where others want the processors.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_FOR_EACH: Duration = Duration::from_millis(20);
/// How long an agent that was just started may take to its first session before it says that there is none. It takes 20 ms.
const STARTS: Duration = Duration::from_secs(2);
/// How often tags are chosen anew when others claim the same ones at the same moment.
const ATTEMPTS: usize = 16;

/// Where the switch is and what it is to be like.
#[derive(Debug, Clone)]
pub struct OvsParts {
    /// The socket of its database.
    pub socket: PathBuf,
    /// Asks what a bridge is to forward with when it is made.
    pub datapath: fn() -> Datapath,
}

/// What a bridge forwards with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datapath {
    /// The kernel's module.
    System,
    /// `ovs-vswitchd` itself.
    Netdev,
}

impl Datapath {
    /// The one that this host has now: the kernel's if its module is there, which ovs-vswitchd has the kernel load when it
    /// starts, often after the agent. Reads one file name.
    pub fn detect() -> Self {
        if std::path::Path::new("/sys/module/openvswitch").exists() { Self::System } else { Self::Netdev }
    }

    /// That of a bridge, by its row; without a word it is the kernel's (ovs-vswitchd.conf.db(5)).
    fn of(bridge: &Row) -> Self {
        if bridge.string("datapath_type") == Some(Self::Netdev.word()) { Self::Netdev } else { Self::System }
    }

    fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Netdev => "netdev",
        }
    }
}

/// The switch of the host of one agent instance.
#[derive(Debug)]
pub struct OvsSwitch {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    tasks: [AbortHandle; 2],
}

impl Drop for OvsSwitch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[derive(Debug)]
struct Shared {
    client: Client,
    socket: PathBuf,
    instance: String,
    datapath: fn() -> Datapath,
    reporter: Reporter,
    told: Mutex<facts::Told>,
    tried: Tried,
    made: Made,
    transactions: AtomicU64,
    repairs: AtomicU64,
    /// How many tags were taken in a version of the mirror.
    tags_at: Mutex<Option<(u64, usize)>>,
}

impl OvsSwitch {
    /// Begins to look for the database; one that is not there is looked for until it is. Needs a runtime of tokio.
    pub fn start(layout: &Layout, reporter: Reporter, parts: OvsParts) -> Self {
        let client = facts::client(&parts.socket);
        let shared = Arc::new(Shared {
            client,
            socket: parts.socket,
            instance: layout.instance().to_owned(),
            datapath: parts.datapath,
            reporter,
            told: Mutex::default(),
            tried: Tried::default(),
            made: Made::default(),
            transactions: AtomicU64::new(0),
            repairs: AtomicU64::new(0),
            tags_at: Mutex::default(),
        });
        let (requests, queue) = mpsc::channel(batch::QUEUE);
        let tasks = [
            task::spawn("ovs ports", batch::serve(shared.clone(), queue)).abort_handle(),
            task::spawn("ovs facts", facts::tell(shared.clone())).abort_handle(),
        ];
        Self { shared, requests, tasks }
    }

    /// The links that the switch has ports of.
    pub(crate) fn links(&self) -> BTreeSet<(LabName, LinkId)> {
        let snapshot = self.shared.client.mirror().snapshot();
        let board = Board::of(&snapshot);
        board.marked(&self.shared.instance).into_keys().map(|mark| (mark.lab, mark.link)).collect()
    }

    /// Which of these bridges forward in user space; one that is not there counts as what it is made as.
    pub(crate) fn in_user_space(&self, bridges: BTreeSet<&InterfaceName>) -> BTreeSet<InterfaceName> {
        let snapshot = self.shared.client.mirror().snapshot();
        let datapath = |bridge: &&InterfaceName| {
            let there = snapshot.find("Bridge", "name", bridge.as_str());
            there.map_or_else(self.shared.datapath, |(_, row)| Datapath::of(row))
        };
        bridges.into_iter().filter(|bridge| datapath(bridge) == Datapath::Netdev).cloned().collect()
    }

    /// Has links have these ports; an answer for each link.
    pub(crate) async fn plug(&self, links: Vec<Vec<Plug>>, context: &Context) -> Vec<Result<(), DriverError>> {
        let objects: Vec<String> = links
            .iter()
            .map(|plugs| plugs.first().map_or_else(String::new, |plug| format!("link {}", plug.link)))
            .collect();
        self.ask(Work::Plug(links), "plug", objects, context).await
    }

    /// Removes the ports of links; an answer for each.
    pub(crate) async fn unplug(
        &self,
        links: Vec<(LabName, LinkId)>,
        context: &Context,
    ) -> Vec<Result<(), DriverError>> {
        let objects = links.iter().map(|(_, link)| format!("link {link}")).collect();
        self.ask(Work::Unplug(links), "unplug", objects, context).await
    }

    async fn ask(
        &self,
        work: Work,
        operation: &str,
        objects: Vec<String>,
        context: &Context,
    ) -> Vec<Result<(), DriverError>> {
        if objects.is_empty() {
            return Vec::new();
        }
        let all = |class: ErrorClass, cause: &str| {
            objects.iter().map(|object| Err(fault(operation, object.clone(), (class, cause.to_owned())))).collect()
        };
        let (reply, answer) = oneshot::channel();
        if self.requests.try_send(Request { work, reply }).is_err() {
            return all(ErrorClass::Busy, "too much is waiting for Open vSwitch");
        }
        match tokio::time::timeout_at(context.deadline.into(), answer).await {
            Ok(Ok(answers)) => {
                let named = objects.iter().zip(answers);
                named.map(|(object, answer)| answer.map_err(|why| fault(operation, object.clone(), why))).collect()
            }
            Ok(Err(_)) => all(ErrorClass::Transient, "the agent is stopping"),
            Err(_) => all(ErrorClass::Deadline, "Open vSwitch did not answer in time"),
        }
    }
}

impl Shared {
    /// Has a transaction done, and counts it if it was.
    async fn transact(&self, transaction: &Transaction, deadline: Instant) -> Result<Outcome, Error> {
        let outcome = self.client.transact(transaction, deadline).await?;
        self.transactions.fetch_add(1, Ordering::Relaxed);
        Ok(outcome)
    }

    /// Makes a bridge unless it is there.
    async fn make_bridge(&self, bridge: &InterfaceName, deadline: Instant) -> Result<(), Refused> {
        for _ in 0..ATTEMPTS {
            let transaction = {
                let snapshot = self.client.mirror().snapshot();
                let board = Board::of(&snapshot);
                if board.bridges.contains_key(bridge.as_str()) {
                    return Ok(());
                }
                if let Some(port) = board.ports.get(bridge.as_str()) {
                    let why = format!("bridge `{}` has a port of that name", port.bridge);
                    return Err((ErrorClass::Permanent, why));
                }
                ports::bridge(&board, bridge, &self.instance, (self.datapath)().word())
            };
            let transaction = transaction.ok_or_else(|| self.not_there())?;
            match self.transact(&transaction, deadline).await {
                Ok(_) => point!("switch.bridge-made"),
                // Somebody else made one at the same moment: the name is unique, and the mirror will show it.
                Err(error) if error.refusal().is_some_and(|why| why.kind == RefusalKind::ConstraintViolation) => {}
                Err(error) => return Err(refused(&error)),
            }
            let interest = netloom_ovsdb::Interest::table("Bridge");
            let seen = self.client.mirror().wait_until([interest], deadline, |snapshot| {
                snapshot.find("Bridge", "name", bridge.as_str()).map(drop)
            });
            if seen.await.is_ok() {
                return Ok(());
            }
        }
        Err((ErrorClass::Transient, "it came and went".to_owned()))
    }

    async fn claim_on(
        &self,
        bridge: &InterfaceName,
        claims: &[TagClaim],
        deadline: Instant,
    ) -> Result<Vec<Option<u16>>, Refused> {
        self.make_bridge(bridge, deadline).await?;
        let mut lost = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            let (tags, _tried, uuid) = {
                let snapshot = self.client.mirror().snapshot();
                let board = Board::of(&snapshot);
                let uuid = board.bridges.get(bridge.as_str()).map(|bridge| bridge.uuid);
                let choose = |not: &BTreeSet<u16>| tags::choose(&board, bridge.as_str(), &self.instance, claims, not);
                let (tags, tried) = self.tried.with(bridge, &lost, choose);
                (tags, tried, uuid)
            };
            let uuid = uuid.ok_or_else(|| self.not_there())?;
            let chosen: Vec<(TagClaim, u16)> =
                claims.iter().zip(&tags).filter_map(|(claim, tag)| Some((claim.clone(), (*tag)?))).collect();
            if chosen.is_empty() {
                return Ok(tags);
            }
            let others = self.claim_these(uuid, &chosen, deadline).await?;
            let before = lost.len();
            lost.extend(others.into_iter().map(|(_, tag)| *tag));
            if lost.len() == before {
                return Ok(tags);
            }
        }
        Err((ErrorClass::Transient, "others claim the same tags again and again".to_owned()))
    }

    /// Claims tags on a bridge; those of them that somebody else has.
    async fn claim_these<'a>(
        &self,
        bridge: netloom_ovsdb::Uuid,
        claims: &'a [(TagClaim, u16)],
        deadline: Instant,
    ) -> Result<Vec<&'a (TagClaim, u16)>, Refused> {
        let (transaction, read) = tags::claim(bridge, &self.instance, claims);
        let outcome = self.transact(&transaction, deadline).await.map_err(|error| refused(&error))?;
        let ids = outcome.rows(read).and_then(|rows| rows.first()?.map("external_ids"));
        Ok(claims.iter().filter(|(claim, tag)| !tags::holds(ids, &self.instance, claim, *tag)).collect())
    }

    async fn reclaim(&self, claims: &[TagClaim], deadline: Instant) -> Result<(), Refused> {
        let work: Vec<_> = {
            let snapshot = self.client.mirror().snapshot();
            let board = Board::of(&snapshot);
            let missing = tags::missing(&board, &self.instance, claims)
                .map_err(|others| (ErrorClass::Permanent, others.join("; ")))?;
            let uuid = |bridge: &InterfaceName| board.bridges.get(bridge.as_str()).map(|bridge| bridge.uuid);
            missing.into_iter().map(|(bridge, claims)| (uuid(&bridge), claims)).collect()
        };
        for (bridge, claims) in work {
            let bridge = bridge.ok_or_else(|| (ErrorClass::Transient, "their bridge is gone".to_owned()))?;
            if let Some((claim, tag)) = self.claim_these(bridge, &claims, deadline).await?.first() {
                let why = format!("somebody else has claimed tag {tag} of bridge {} meanwhile", claim.bridge);
                return Err((ErrorClass::Permanent, why));
            }
        }
        Ok(())
    }

    /// How many tags are taken, counted again only when the mirror has changed.
    fn tags_taken(&self, snapshot: &Snapshot) -> usize {
        let version = snapshot.version();
        let mut last = self.tags_at.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.filter(|(of, _)| *of == version).map(|(_, tags)| tags);
        let tags = known.unwrap_or_else(|| tags::taken(&Board::of(snapshot), &self.instance));
        *last = Some((version, tags));
        tags
    }

    fn not_there(&self) -> Refused {
        (ErrorClass::Transient, format!("the database of Open vSwitch at {} has nothing yet", self.socket.display()))
    }
}

/// The deadline of a call that may not take longer than a transaction either.
fn within_patience(context: &Context) -> Instant {
    Instant::from_std(context.deadline).min(Instant::now() + PATIENCE)
}

/// An answer of the database as the error of a port.
fn refused(error: &Error) -> Refused {
    match error {
        Error::Busy { .. } => (ErrorClass::Busy, error.to_string()),
        Error::Deadline => (ErrorClass::Deadline, "the database of Open vSwitch did not answer in time".to_owned()),
        _ => (ErrorClass::Transient, error.to_string()),
    }
}

fn fault(operation: &str, object: String, (class, cause): Refused) -> DriverError {
    DriverError { operation: operation.to_owned(), object, backend: "ovs".to_owned(), cause, hint: None, class }
}

#[async_trait]
impl Switch for OvsSwitch {
    async fn check(&self) -> Result<(), DriverError> {
        self.shared.first_session(Instant::now() + STARTS).await;
        let Some(why) = self.shared.why_down() else { return Ok(()) };
        let hint = format!(
            "start Open vSwitch (`systemctl start openvswitch-switch`; `apt install openvswitch-switch` if it is missing), \
             or say where its database is: `ovs-socket` in netloom.toml, which is {} now; or use `fabric: kernel`",
            self.shared.socket.display()
        );
        Err(DriverError { hint: Some(hint), ..fault("reach", "Open vSwitch".to_owned(), (ErrorClass::Transient, why)) })
    }

    async fn claim(&self, claims: Vec<TagClaim>, context: &Context) -> Vec<Result<u16, DriverError>> {
        let deadline = within_patience(context);
        let bridges: BTreeSet<InterfaceName> = claims.iter().map(|claim| claim.bridge.clone()).collect();
        let mut answers: Vec<Option<Result<u16, DriverError>>> = vec![None; claims.len()];
        for bridge in bridges {
            let (ats, of): (Vec<usize>, Vec<TagClaim>) =
                claims.iter().cloned().enumerate().filter(|(_, claim)| claim.bridge == bridge).unzip();
            let claimed = self.shared.claim_on(&bridge, &of, deadline).await;
            for (number, at) in ats.into_iter().enumerate() {
                let object = || format!("a tag on bridge {bridge} for link {}", of[number].link);
                answers[at] = Some(match &claimed {
                    Ok(tags) => tags[number].ok_or_else(|| {
                        let cause =
                            format!("all {} tags of the bridge are taken; destroy a lab that is on it", tags::TAGS);
                        fault("claim", object(), (ErrorClass::Permanent, cause))
                    }),
                    Err(why) => Err(fault("claim", object(), why.clone())),
                });
            }
        }
        answers.into_iter().map(|answer| answer.expect("each claim names a bridge")).collect()
    }

    async fn reclaim(&self, claims: Vec<TagClaim>, context: &Context) -> Result<(), DriverError> {
        let failed = |why: Refused| fault("claim", "the tags that ports have".to_owned(), why);
        if let Some(why) = self.shared.why_down() {
            return Err(failed((ErrorClass::Transient, why)));
        }
        let deadline = within_patience(context);
        self.shared.reclaim(&claims, deadline).await.map_err(failed)
    }

    async fn release(&self, lab: &LabName, links: &[LinkId], context: &Context) -> Result<(), DriverError> {
        let object = || format!("the tags of links of lab {lab}");
        if let Some(why) = self.shared.why_down() {
            return Err(fault("give back", object(), (ErrorClass::Transient, why)));
        }
        let transaction = {
            let snapshot = self.shared.client.mirror().snapshot();
            let board = Board::of(&snapshot);
            tags::release(&board, &self.shared.instance, links.iter().map(|link| (lab, link)))
        };
        let Some(transaction) = transaction else { return Ok(()) };
        let deadline = within_patience(context);
        let done = self.shared.transact(&transaction, deadline).await;
        done.map(drop).map_err(|error| fault("give back", object(), refused(&error)))
    }

    async fn ensure_bridge(&self, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError> {
        let deadline = within_patience(context);
        let made = self.shared.make_bridge(bridge, deadline).await;
        made.map_err(|why| fault("make", format!("bridge {bridge}"), why))
    }

    async fn remove_bridge(&self, bridge: &InterfaceName, context: &Context) -> Result<(), DriverError> {
        let transaction = {
            let snapshot = self.shared.client.mirror().snapshot();
            let board = Board::of(&snapshot);
            let ours = board.bridges.get(bridge.as_str()).filter(|there| there.is_ours(&self.shared.instance));
            let Some(there) = ours else { return Ok(()) };
            let name = bridge.as_str();
            if let Some((port, _)) = board.ports.iter().find(|(own, port)| port.bridge == name && **own != name) {
                let cause = format!("it has ports yet (`{port}`)");
                return Err(fault("remove", format!("bridge {bridge}"), (ErrorClass::Transient, cause)));
            }
            ports::without(&board, there.uuid)
        };
        let Some(transaction) = transaction else { return Ok(()) };
        let deadline = within_patience(context);
        let done = self.shared.transact(&transaction, deadline).await;
        point!("switch.bridge-removed");
        done.map(drop).map_err(|error| fault("remove", format!("bridge {bridge}"), refused(&error)))
    }

    async fn relist(&self) -> Result<(), DriverError> {
        let started = SystemTime::now();
        if let Some(why) = self.shared.why_down() {
            self.shared.reporter.send(Report::Unreachable(Source::Switch, why.clone()));
            return Err(fault("list", "the ports of Open vSwitch".to_owned(), (ErrorClass::Transient, why)));
        }
        self.shared.tell_all(started);
        Ok(())
    }

    fn figures(&self) -> SwitchFigures {
        let mirror = self.shared.client.mirror();
        let snapshot = mirror.snapshot();
        SwitchFigures {
            transactions: self.shared.transactions.load(Ordering::Relaxed),
            // The first time is none again.
            resyncs: mirror.fills().saturating_sub(1),
            repairs: self.shared.repairs.load(Ordering::Relaxed),
            rows: snapshot.count(),
            tags: self.shared.tags_taken(&snapshot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_forwards_with_the_kernel_unless_it_says_that_it_does_so_itself() {
        let of = |word| Datapath::of(&Row::new().with("datapath_type", word));
        assert_eq!([of(""), of("system"), of("netdev")], [Datapath::System, Datapath::System, Datapath::Netdev]);
        assert_eq!(Datapath::of(&Row::new()), Datapath::System);
    }
}
