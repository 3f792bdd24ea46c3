//! What is seen of the nodes, and that their ends are.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use netloom_engine::{DriverError, Fact, Report, Source, task};
use netloom_kernel::{Identity, Process};
use netloom_plan::names_hash;

use super::super::fault::Fault;
use super::{BACKEND, Key, PATIENCE, SOURCE, Shared, observe, plain};

impl Shared {
    /// Looks at a node, reports what is there, and sees to it that its end will be noticed.
    pub(super) async fn observe(self: &Arc<Self>, key: &Key) {
        let (lab, node) = key.clone();
        let look = self.files(Instant::now() + PATIENCE, move |ground| {
            let seen = ground.look(&lab, &node)?;
            Ok::<_, Fault>(seen.map(|seen| (seen.fact(&ground.layout), seen.process)))
        });
        match look.await {
            Ok(Ok(Some((fact, process)))) => {
                self.reporter.send(Report::Events(SOURCE, vec![Fact::Node(fact)]));
                if let Some(process) = process {
                    self.watch(key.clone(), process);
                }
            }
            Ok(Ok(None)) => self.gone(key),
            // The relist comes back to it, soon.
            Ok(Err(why)) => {
                self.reporter.send(Report::Unreachable(SOURCE, why.to_string()));
                self.reporter.send(Report::Lost(SOURCE));
            }
            Err(_) => self.reporter.send(Report::Lost(SOURCE)),
        }
    }

    /// Looks at everything and reports it.
    pub(super) async fn look_at_all(self: &Arc<Self>) -> Result<(), DriverError> {
        let started = SystemTime::now();
        let look = self.files(Instant::now() + PATIENCE, move |ground| {
            let mut facts = Vec::new();
            let mut running = Vec::new();
            let mut mended = false;
            let all = observe::all(&ground.layout, &ground.boot)?;
            for seen in all.seen {
                let (lab, node) = (&seen.record.lab, &seen.record.node);
                match ground.mend(&seen) {
                    Ok(true) => {
                        mended = true;
                        tracing::warn!(%lab, %node, "somebody unpinned its namespace; it is pinned again");
                    }
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%lab, %node, %error, "its namespace cannot be pinned again"),
                }
                facts.push(Fact::Node(seen.fact(&ground.layout)));
                let key = (seen.record.lab, seen.record.node);
                running.extend(seen.process.map(|process| (key, process)));
            }
            for (lab, content) in observe::names_files(&ground.layout)? {
                facts.push(Fact::Names(lab, Some(names_hash(&content))));
            }
            Ok::<_, io::Error>((facts, all.unseen, running, mended))
        });
        let found = look.await.and_then(|found| found.map_err(|error| Fault::transient(plain(&error))));
        match found {
            Ok((facts, unseen, running, mended)) => {
                if mended {
                    self.reporter.send(Report::Lost(Source::Fabric));
                }
                self.reporter.send(Report::Relist { source: SOURCE, started, facts, unseen });
                for (key, process) in running {
                    self.watch(key, process);
                }
                Ok(())
            }
            Err(fault) => {
                let error = fault.of(BACKEND, "list", "the nodes");
                self.reporter.send(Report::Unreachable(SOURCE, error.to_string()));
                Err(error)
            }
        }
    }

    pub(super) fn gone(&self, (lab, node): &Key) {
        self.reporter.send(Report::Events(SOURCE, vec![Fact::NodeGone(lab.clone(), node.clone())]));
    }

    /// Waits for the end of an init, once, and reports it.
    pub(super) fn watch(self: &Arc<Self>, key: Key, process: Process) {
        let identity = process.identity();
        if self.watched().insert(key.clone(), identity) == Some(identity) {
            return;
        }
        let shared = Arc::clone(self);
        task::spawn(format!("end of {}/{}", key.0, key.1), async move {
            let ended = process.ended().await;
            let place = shared.turns.place(&key);
            if let Err(error) = ended {
                // The next look waits for it again.
                shared.unwatch(&key, identity);
                tracing::error!(lab = %key.0, node = %key.1, %error, "a node's end cannot be waited for");
                return;
            }
            process.reap();
            // While a call works on the node, that call says what became of it.
            let _turn = place.turn.lock().await;
            if shared.unwatch(&key, identity) {
                shared.observe(&key).await;
            }
        });
    }

    /// Whether the end of this init was still to be told.
    fn unwatch(&self, key: &Key, identity: Identity) -> bool {
        let mut watched = self.watched();
        let is_it = watched.get(key) == Some(&identity);
        if is_it {
            watched.remove(key);
        }
        is_it
    }
}
