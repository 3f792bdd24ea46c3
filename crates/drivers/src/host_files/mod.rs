//! Where this host is told of labs: `/etc/hosts`, and ssh's configuration where that is read from a directory.
//!
//! ```text
//!  write ──▶ [bounded queue] ──▶ thread `host-files` (files only) ──▶ oneshot answer
//! ```

mod block;
mod edit;
mod ssh;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use async_trait::async_trait;
use netloom_backlog::{Backlog, Queue, queue};
use netloom_engine::{Context, DriverError, ErrorClass, HostFiles, Layout, Told};
use netloom_model::LabName;
use tokio::sync::oneshot;

use self::edit::Shared;

const NAME: &str = "host-files";
/// How many requests may wait. The engine sends one after the other.
const QUEUE: usize = 4;

type Answer = (BTreeSet<LabName>, Vec<DriverError>);

/// The files of this host.
#[derive(Debug)]
pub struct EtcFiles {
    work: Queue<(Told, oneshot::Sender<Answer>)>,
}

/// Where they are.
#[derive(Debug)]
struct Files {
    hosts: Shared,
    ssh: PathBuf,
}

impl EtcFiles {
    /// Starts the thread, which ends with this value.
    pub fn start(layout: &Layout) -> io::Result<Self> {
        let instance = layout.instance().to_owned();
        let hosts = Shared { path: layout.hosts(), note: layout.state().join("hosts.under-way"), instance };
        let files = Files { hosts, ssh: layout.ssh_parts() };
        let (work, worker) = queue::<(Told, oneshot::Sender<Answer>)>(NAME, QUEUE);
        let serve = move || {
            worker.run(|(told, reply)| {
                // The asker may have gone.
                let _ = reply.send(files.write(&told));
            });
        };
        thread::Builder::new().name(NAME.into()).spawn(serve)?;
        Ok(Self { work })
    }
}

#[async_trait]
impl HostFiles for EtcFiles {
    fn backlogs(&self) -> Vec<Backlog> {
        vec![self.work.backlog().clone()]
    }

    async fn write(&self, told: Told, _: &Context) -> Answer {
        let (reply, answer) = oneshot::channel();
        if self.work.push((told, reply)).is_err() {
            return (BTreeSet::new(), vec![fault(Path::new("/etc"), "too many requests wait", ErrorClass::Busy)]);
        }
        answer.await.unwrap_or_else(|_| {
            (BTreeSet::new(), vec![fault(Path::new("/etc"), "its thread has ended", ErrorClass::Permanent)])
        })
    }
}

impl Files {
    fn write(&self, told: &Told) -> Answer {
        let mut wrong = Vec::new();
        let (instance, keeps) = (self.hosts.instance.as_str(), &told.keeps);
        let labs = told.labs.iter().map(|(lab, entries)| (lab.clone(), entries.hosts.clone())).collect();
        let wanted = block::Wanted { instance, labs: &labs, keeps };
        let mut kept = match edit::edit(&self.hosts, |file| block::with_blocks(file, wanted)) {
            Ok(kept) => kept.unwrap_or_default(),
            Err(error) => {
                wrong.push(fault(&self.hosts.path, &cause(&error), ErrorClass::Transient));
                BTreeSet::new()
            }
        };
        let labs: BTreeMap<LabName, &str> =
            told.labs.iter().map(|(lab, entries)| (lab.clone(), entries.ssh.as_str())).collect();
        let written = ssh::write(&self.ssh, ssh::Wanted { instance, labs: &labs, keeps });
        kept.extend(written.kept);
        let failed = written.wrong.iter();
        wrong.extend(failed.map(|(path, error)| fault(path, &cause(error), ErrorClass::Transient)));
        (kept, wrong)
    }
}

fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

fn fault(path: &Path, cause: &str, class: ErrorClass) -> DriverError {
    DriverError {
        operation: "write".into(),
        object: path.display().to_string(),
        backend: "files".into(),
        cause: cause.into(),
        hint: Some("labs run without; nodes are reached by their addresses, which `netloom inspect` shows".into()),
        class,
    }
}
