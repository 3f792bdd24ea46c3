//! The id of this agent: the one that the controller assigned, else the configured one, else one that was made up. It is
//! kept in the agent's state directory, so that the same agent comes back after a restart.
//!
//! It is read, and made up, before any task runs. What the controller assigns later is written on a thread
//! `controller-id`, for which nobody waits.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use super::config::AgentId;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The id that is used.
    id: AgentId,
    /// The one that was configured when it was assigned; `None` if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    configured: Option<AgentId>,
}

/// The id of this agent.
#[derive(Debug)]
pub(crate) struct Identity {
    path: PathBuf,
    configured: Option<AgentId>,
    current: ArcSwap<AgentId>,
    /// What the file has.
    kept: Arc<Mutex<Option<Record>>>,
    writing: Mutex<Option<JoinHandle<()>>>,
}

impl Identity {
    /// Reads the id, or makes one up and keeps it. A file that cannot be read or written is said: then the id may be another
    /// one after the next start.
    pub(super) fn load(path: &Path, configured: Option<AgentId>) -> Self {
        let kept = read(path).unwrap_or_else(|why| {
            tracing::warn!(path = %path.display(), why, "the agent's id cannot be read; it may get another one");
            None
        });
        // Who configures another id than before means it.
        let kept = kept.filter(|record| {
            configured.is_none() || record.configured == configured || Some(&record.id) == configured.as_ref()
        });
        let id = kept.as_ref().map(|record| record.id.clone()).or_else(|| configured.clone()).unwrap_or_else(made_up);
        let identity = Self {
            path: path.to_owned(),
            configured,
            current: ArcSwap::from_pointee(id),
            kept: Arc::new(Mutex::new(kept)),
            writing: Mutex::default(),
        };
        let record = identity.record();
        if lock(&identity.kept).as_ref() != Some(&record) {
            write_down(path, &identity.kept, &record);
        }
        identity
    }

    /// The id that is used now.
    pub(crate) fn get(&self) -> Arc<AgentId> {
        self.current.load_full()
    }

    /// The controller has said which id to use. It is used at once, and written down if it is not yet; says whether it is
    /// another one than before.
    pub(super) fn adopt(&self, id: &AgentId) -> bool {
        let is_new = **self.current.load() != *id;
        if is_new {
            self.current.store(Arc::new(id.clone()));
        }
        let record = self.record();
        let mut writing = lock(&self.writing);
        // One that still writes may hang with its disk. Whatever it leaves out is written with the next registration.
        if lock(&self.kept).as_ref() == Some(&record) || writing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return is_new;
        }
        let (path, kept) = (self.path.clone(), self.kept.clone());
        let write = move || write_down(&path, &kept, &record);
        match thread::Builder::new().name("controller-id".into()).spawn(write) {
            Ok(thread) => *writing = Some(thread),
            Err(error) => tracing::warn!(%error, "the agent's id is not written down"),
        }
        is_new
    }

    fn record(&self) -> Record {
        Record { id: AgentId::clone(&self.current.load()), configured: self.configured.clone() }
    }
}

/// Neither lock is held while anything waits.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_down(path: &Path, kept: &Mutex<Option<Record>>, record: &Record) {
    match write(path, record) {
        Ok(()) => *lock(kept) = Some(record.clone()),
        Err(error) => tracing::warn!(
            %error, path = %path.display(), id = %record.id,
            "the agent's id is not written down; after a restart it may be another agent to its controller"
        ),
    }
}

fn read(path: &Path) -> Result<Option<Record>, String> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Written beside and renamed, so that a crash leaves the old one or the new one.
fn write(path: &Path, record: &Record) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    // The name is durable with its directory (fsync(2)).
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// Eight hexadecimal digits.
fn made_up() -> AgentId {
    let mut bytes = [0_u8; 4];
    // Four bytes are never given in part; without any the process id tells agents of one host apart.
    if getrandom(&mut bytes, GetRandomFlags::empty()).is_err() {
        bytes = std::process::id().to_be_bytes();
    }
    bytes.map(|byte| format!("{byte:02x}")).concat().parse().expect("digits are an id")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> AgentId {
        text.parse().unwrap()
    }

    /// Waits until what was adopted is on the disk.
    fn written(identity: &Identity) {
        if let Some(thread) = lock(&identity.writing).take() {
            thread.join().unwrap();
        }
    }

    #[test]
    fn an_id_that_was_made_up_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/agent-id");
        let first = Identity::load(&path, None).get();
        assert_eq!(first.as_str().len(), 8);
        assert_eq!(Identity::load(&path, None).get(), first);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_the_controller_assigned_stays_until_another_one_is_configured() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent-id");
        let first = Identity::load(&path, Some(id("rack1")));
        assert_eq!(*first.get(), id("rack1"));
        assert!(first.adopt(&id("b39a05df")) && !first.adopt(&id("b39a05df")));
        assert_eq!(*first.get(), id("b39a05df"));
        written(&first);
        let again = |configured: Option<&str>| Identity::load(&path, configured.map(id)).get();
        assert_eq!(*again(Some("rack1")), id("b39a05df"));
        assert_eq!(*again(None), id("b39a05df"));
        assert_eq!(*again(Some("rack2")), id("rack2"));
        assert_eq!(*again(Some("rack2")), id("rack2"));
    }

    #[test]
    fn a_file_that_cannot_be_read_or_written_keeps_nobody_from_working() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent-id");
        fs::write(&path, "{").unwrap();
        let first = Identity::load(&path, None).get();
        assert_eq!(Identity::load(&path, None).get(), first, "it was replaced");
        let identity = Identity::load(&directory.path().join("agent-id/below-a-file"), None);
        assert!(identity.adopt(&id("b39a05df")));
        written(&identity);
        assert_eq!(*identity.get(), id("b39a05df"));
    }
}
