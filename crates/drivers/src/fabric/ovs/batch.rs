//! Changes of ports on their way: one transaction at a time, each for all that waits.
//!
//! A change is sent at once when none is under way; what comes meanwhile goes out together, up to 200 ports. A transaction
//! that makes ports is done when `ovs-vswitchd` says that it has taken it over (`cur_cfg`), not when the database has it. Of one
//! that removes them nobody waits for that but the next: a name that comes back before its port was seen to be gone would stand
//! for what is gone.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use netloom_engine::ErrorClass;
use netloom_failpoint::point;
use netloom_model::{InterfaceName, LabName, LinkId};
use netloom_ovsdb::{Condition, Interest, Mutation, Row, Uuid};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::board::Board;
use super::ports::{Change, Plug, Refused};
use super::{PATIENCE, PATIENCE_FOR_EACH, Shared, refused};

/// How many ports go out in one transaction, unless one call has more.
const PORTS: usize = 200;
/// How many calls may wait.
pub(super) const QUEUE: usize = 256;

/// What ports are to be; one entry for each link.
#[derive(Debug)]
pub(super) enum Work {
    Plug(Vec<Vec<Plug>>),
    Unplug(Vec<(LabName, LinkId)>),
}

pub(super) type Answers = Vec<Result<(), Refused>>;

/// A change, and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Answers>,
}

/// What the database has, and `ovs-vswitchd` not yet: how far it has to come.
#[derive(Debug)]
struct Sent {
    root: Uuid,
    next: i64,
}

impl Work {
    fn ports(&self) -> usize {
        match self {
            Self::Plug(links) => links.iter().map(Vec::len).sum(),
            Self::Unplug(links) => 2 * links.len(),
        }
    }

    fn links(&self) -> usize {
        match self {
            Self::Plug(links) => links.len(),
            Self::Unplug(links) => links.len(),
        }
    }

    /// Whether two may go out together: one that removes what the other makes has to come after it.
    fn goes_with(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Plug(_), Self::Plug(_)) | (Self::Unplug(_), Self::Unplug(_)))
    }
}

/// How long a transaction may take that is about so many ports.
fn patience(ports: usize) -> Duration {
    PATIENCE + PATIENCE_FOR_EACH * u32::try_from(ports).unwrap_or(u32::MAX)
}

/// Carries changes out until it is ended.
pub(super) async fn serve(shared: Arc<Shared>, mut queue: mpsc::Receiver<Request>) {
    let mut waiting: VecDeque<Request> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            let Some(first) = queue.recv().await else { return };
            waiting.push_back(first);
        }
        while waiting.len() < QUEUE
            && let Ok(more) = queue.try_recv()
        {
            waiting.push_back(more);
        }
        let Some(first) = waiting.pop_front() else { continue };
        let (mut ports, mut batch) = (first.work.ports(), vec![first]);
        while let Some(next) = waiting.front()
            && next.work.goes_with(&batch[0].work)
            && ports + next.work.ports() <= PORTS
        {
            ports += next.work.ports();
            batch.extend(waiting.pop_front());
        }
        // Who waits no longer wants it no less: what became of it shows in the inventory.
        let (answers, left) = shared.carry_out(batch.iter().map(|request| &request.work)).await;
        for (request, answers) in batch.into_iter().zip(answers) {
            let _ = request.reply.send(answers);
        }
        if let Some(left) = left {
            // One that is not taken over now is said to whoever makes ports next.
            let _ = shared.taken(left, Instant::now() + PATIENCE).await;
        }
    }
}

impl Shared {
    /// Has changes done; an answer for each, and what `ovs-vswitchd` has not taken over yet.
    async fn carry_out<'a>(&self, works: impl Iterator<Item = &'a Work>) -> (Vec<Answers>, Option<Sent>) {
        let works: Vec<&Work> = works.collect();
        let deadline = Instant::now() + patience(works.iter().map(|work| work.ports()).sum());
        let mut answers: Vec<Answers> = Vec::new();
        let (transaction, touched) = {
            let snapshot = self.client.mirror().snapshot();
            let board = Board::of(&snapshot);
            let mut change = Change::new(&board, &self.instance);
            for work in &works {
                let of = match work {
                    Work::Plug(links) => {
                        links.iter().map(|plugs| plugs.iter().try_for_each(|plug| change.plug(plug))).collect()
                    }
                    Work::Unplug(links) => {
                        for (lab, link) in links {
                            change.unplug(lab, link);
                        }
                        vec![Ok(()); links.len()]
                    }
                };
                answers.push(of);
            }
            change.finish()
        };
        let makes = works.iter().any(|work| matches!(work, Work::Plug(_)));
        let taken = match transaction {
            Some(transaction) => match self.commit(transaction, deadline).await {
                Ok(sent) if makes => self.taken(sent, deadline).await.map(|()| None),
                sent => sent.map(Some),
            },
            None => Ok(None),
        };
        for (work, answers) in works.iter().zip(&mut answers) {
            debug_assert_eq!(work.links(), answers.len());
            if let Err(refused) = &taken {
                for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                    *answer = Err(refused.clone());
                }
            } else {
                self.check(work, answers);
                self.note(work, answers, &touched);
            }
        }
        (answers, taken.ok().flatten())
    }

    /// Has a transaction done by the database.
    async fn commit(&self, mut transaction: netloom_ovsdb::Transaction, deadline: Instant) -> Result<Sent, Refused> {
        let root = {
            let snapshot = self.client.mirror().snapshot();
            Board::of(&snapshot).root.ok_or_else(|| (ErrorClass::Transient, "its database is empty".to_owned()))?
        };
        transaction.mutate("Open_vSwitch", [Condition::is_row(root)], [Mutation::add("next_cfg", 1)]);
        let read = transaction.select("Open_vSwitch", [Condition::is_row(root)]);
        point!("ports.before-commit");
        let outcome = self.transact(&transaction, deadline).await.map_err(|error| refused(&error))?;
        point!("ports.committed");
        let next = outcome.rows(read).and_then(|rows| rows.first()?.integer("next_cfg")).unwrap_or_default();
        Ok(Sent { root, next })
    }

    /// Waits until `ovs-vswitchd` has taken over what was sent.
    async fn taken(&self, Sent { root, next }: Sent, deadline: Instant) -> Result<(), Refused> {
        let started = Instant::now();
        let is_taken = |row: &Row| row.integer("cur_cfg").is_some_and(|current| current >= next);
        let interest = Interest::row("Open_vSwitch", root).columns(["cur_cfg"]);
        let taken = self.client.mirror().wait_until([interest], deadline, |snapshot| {
            snapshot.row("Open_vSwitch", root).filter(|row| is_taken(row)).map(drop)
        });
        let answer = taken.await.map_err(|_| {
            let why = format!(
                "the database has it, and ovs-vswitchd has not taken it within {:.0} s; `systemctl status ovs-vswitchd` \
                 says whether it runs",
                started.elapsed().as_secs_f64()
            );
            (ErrorClass::Transient, why)
        });
        point!("ports.taken");
        answer
    }

    /// Keeps in mind how ports are now, and counts those that were so before and not any more.
    fn note(&self, work: &Work, answers: &Answers, touched: &BTreeSet<InterfaceName>) {
        match work {
            Work::Unplug(links) => self.made.forget(links),
            Work::Plug(links) => {
                let right = links.iter().zip(answers).filter(|(_, answer)| answer.is_ok()).flat_map(|(plugs, _)| plugs);
                let repaired = right.filter(|plug| self.made.is_right(plug, touched.contains(&plug.name))).count();
                self.repairs.fetch_add(repaired as u64, Relaxed);
            }
        }
    }

    /// Says of the ports that were made what Open vSwitch says of them.
    fn check(&self, work: &Work, answers: &mut Answers) {
        let Work::Plug(links) = work else { return };
        let snapshot = self.client.mirror().snapshot();
        let board = Board::of(&snapshot);
        for (plugs, answer) in links.iter().zip(answers).filter(|(_, answer)| answer.is_ok()) {
            let fault = plugs.iter().find_map(|plug| match board.ports.get(plug.name.as_str()) {
                Some(port) => port.fault(),
                None => Some(format!("port `{}` is not there", plug.name)),
            });
            if let Some(fault) = fault {
                *answer = Err((ErrorClass::Transient, fault));
            }
        }
    }
}
