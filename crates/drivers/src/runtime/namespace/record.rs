//! What is kept of a node in its run directory: our mark on it, and what its init says.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use netloom_engine::{Applied, NodeOrder};
use netloom_failpoint::{fallible, point};
use netloom_kernel::Identity;
use netloom_model::{LabName, NodeName};
use netloom_plan::NodeFingerprint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name of the record's file in a node's run directory.
pub(super) const FILE: &str = "node.json";

/// The mark: whose node this is and which spec was applied. A directory without one is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The agent instance that made it.
    pub(super) instance: String,
    pub(super) lab: LabName,
    pub(super) node: NodeName,
    pub(super) container: String,
    pub(super) fingerprint: NodeFingerprint,
    /// Boot in which it was last started or made; what its init says of an earlier one is history.
    pub(super) boot: String,
    /// Its end was asked for.
    #[serde(default)]
    pub(super) stopped: bool,
    /// Environment of commands that are run in it, as `NAME=value`.
    #[serde(default)]
    pub(super) env: Vec<String>,
    /// Who they run as; empty: root.
    #[serde(default)]
    pub(super) user: String,
    /// What it was last made, started or changed by; see [`Record::applied`]. Records of older versions have none.
    /// As it was written: a version that cannot read the spec inside knows the node all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    applied: Option<Value>,
    /// Things about it that a person should know.
    #[serde(default)]
    pub(super) notes: Vec<String>,
}

impl Record {
    /// The record of a node that is made by this order.
    pub(super) fn new(order: &NodeOrder, instance: &str, boot: &str) -> Self {
        let (lab, node) = (order.lab.name().clone(), order.node.clone());
        let mut record = Self {
            instance: instance.to_owned(),
            container: order.lab.container_name(&node),
            lab,
            node,
            fingerprint: order.fingerprint.clone(),
            boot: boot.to_owned(),
            stopped: false,
            env: Vec::new(),
            user: String::new(),
            applied: None,
            notes: Vec::new(),
        };
        record.apply(order);
        record
    }

    /// Notes what the node is made, started or changed by.
    pub(super) fn apply(&mut self, order: &NodeOrder) {
        self.fingerprint = order.fingerprint.clone();
        self.applied = Applied::of(order).and_then(|applied| serde_json::to_value(applied).ok());
    }

    /// What it was last made, started or changed by, if this version can read it.
    pub(super) fn applied(&self) -> Option<Applied> {
        let (lab, node) = (&self.lab, &self.node);
        Applied::deserialize(self.applied.as_ref()?)
            .inspect_err(|error| tracing::warn!(%lab, %node, %error, "what is kept of a node cannot be understood"))
            .ok()
    }

    /// The record in a run directory. `None`: there is none, or none of this instance.
    pub(super) fn read(directory: &Path, instance: &str) -> io::Result<Option<Self>> {
        let Some(record) = read_json::<Self>(&directory.join(FILE))? else { return Ok(None) };
        Ok(Some(record).filter(|record| record.instance == instance))
    }

    /// Whether there is a record of another instance.
    pub(super) fn is_foreign(directory: &Path, instance: &str) -> io::Result<bool> {
        Ok(read_json::<Self>(&directory.join(FILE))?.is_some_and(|record| record.instance != instance))
    }

    /// Replaces the record as a whole.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let new = directory.join("node.json.new");
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        fallible!("record.opened")?;
        file.write_all(&serde_json::to_vec(self)?)?;
        // Where /run is on a disk, a power cut must not leave the new name on nothing. In memory it costs nothing.
        file.sync_data()?;
        point!("record.written");
        fs::rename(new, directory.join(FILE))
    }
}

/// What the init of a node wrote last.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Status {
    #[serde(flatten)]
    pub(super) phase: Phase,
    pub(super) init: Init,
}

/// Which process is, or was, the init.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) struct Init {
    pid: u32,
    start_time: u64,
}

impl From<Init> for Identity {
    fn from(init: Init) -> Self {
        Self { pid: init.pid, start_time: init.start_time }
    }
}

/// As the init knows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub(super) enum Phase {
    Running {
        #[serde(default)]
        notes: Vec<String>,
    },
    Exited {
        code: i32,
    },
    Failed {
        cause: String,
    },
}

impl Status {
    /// The status in a run directory, if there is one.
    pub(super) fn read(directory: &Path) -> io::Result<Option<Self>> {
        read_json(&directory.join(super::spec::STATUS_FILE))
    }
}

/// What cannot be understood is an error, not absence: it is never seen half written, so another version wrote it,
/// and what it is about is there.
fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let name = path.file_name().unwrap_or_default().display();
            let why = format!("{name} cannot be understood (written by another version?): {error}");
            io::Error::new(io::ErrorKind::InvalidData, why)
        }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_an_older_version_is_read_and_keeps_no_spec() {
        let older = r#"{"instance":"i","lab":"l","node":"n","container":"c","boot":"b","fingerprint":"1.2.3"}"#;
        let record: Record = serde_json::from_str(older).unwrap();
        assert_eq!((record.node.as_str(), record.applied()), ("n", None));
    }

    #[test]
    fn a_spec_of_another_version_is_kept_although_it_cannot_be_read() {
        let newer = r#"{"instance":"i","lab":"l","node":"n","container":"c","boot":"b","fingerprint":"1.2.3",
            "applied":{"spec":{"kind":"linux","new":1}},"newer":[]}"#;
        let record: Record = serde_json::from_str(newer).unwrap();
        assert_eq!((record.node.as_str(), record.applied()), ("n", None));
        assert!(serde_json::to_string(&record).unwrap().contains(r#""new":1"#));
    }

    #[test]
    fn a_record_that_cannot_be_understood_is_not_absent() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(directory.path(), "i").unwrap(), None);
        fs::write(directory.path().join(FILE), r#"{"instance":"i"}"#).unwrap();
        let error = Record::read(directory.path(), "i").unwrap_err();
        assert!(error.to_string().contains("node.json cannot be understood"), "{error}");
        Record::is_foreign(directory.path(), "i").unwrap_err();
    }

    #[test]
    fn the_words_of_the_init_are_understood() {
        let init = r#""at_ms":1,"init":{"pid":7,"start_time":9}"#;
        let read = |phase: &str| serde_json::from_str::<Status>(&format!("{{{phase},{init}}}")).unwrap().phase;
        assert_eq!(read(r#""phase":"running","pid":2,"notes":["x"]"#), Phase::Running { notes: vec!["x".into()] });
        assert_eq!(read(r#""phase":"exited","code":137"#), Phase::Exited { code: 137 });
        assert_eq!(
            read(r#""phase":"failed","cause":"no"}"#.trim_end_matches('}')),
            Phase::Failed { cause: "no".into() }
        );
    }
}
