//! What was applied to a container since it was made, and that its end was asked for: what Docker has no place for.
//!
//! One small file a node, and none for a node that runs as it was made. Lost, the node is only updated once more.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use netloom_engine::{Applied, Layout, NodeOrder};
use netloom_failpoint::{fallible, point};
use netloom_plan::NodeFingerprint;
use serde::{Deserialize, Serialize};

use super::super::remove_of_lab;
use super::super::turns::Key;

/// What is kept beside the labels of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The container that it is about; of another one it says nothing.
    pub(super) id: String,
    /// The spec that was applied last, if that is another than the container was made by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<NodeFingerprint>,
    /// That spec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) applied: Option<String>,
    /// Its end was asked for.
    #[serde(default)]
    pub(super) stopped: bool,
    /// Somebody else made it, and it was adopted: that it is ours stands here alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) adopted: bool,
}

impl Record {
    /// An empty record of a container.
    pub(super) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), fingerprint: None, applied: None, stopped: false, adopted: false }
    }

    /// Whether it says anything.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::new(&self.id)
    }

    /// Notes what is applied.
    pub(super) fn apply(&mut self, order: &NodeOrder) {
        self.fingerprint = Some(order.fingerprint.clone());
        self.applied = Applied::of(order).and_then(|applied| serde_json::to_string(&applied).ok());
    }

    /// The record of a node, whichever container it is about.
    pub(super) fn find(layout: &Layout, key: &Key) -> Option<Self> {
        fs::read(path(layout, key)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    /// The record of a container. One that cannot be read, or is about another container, says nothing.
    pub(super) fn read(layout: &Layout, key: &Key, id: &str) -> Self {
        Self::find(layout, key).filter(|record| record.id == id).unwrap_or_else(|| Self::new(id))
    }

    /// Replaces the record as a whole; one that says nothing is removed.
    pub(super) fn write(&self, layout: &Layout, key: &Key) -> io::Result<()> {
        if self.is_empty() {
            return forget(layout, key);
        }
        let path = path(layout, key);
        let parent = path.parent().unwrap_or(&path);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        let new = path.with_extension("new");
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        fallible!("container.record.opened")?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_data()?;
        point!("container.record.written");
        fs::rename(new, path)
    }
}

/// Removes the record of a node, and the directory of its lab with the last one.
pub(super) fn forget(layout: &Layout, key: &Key) -> io::Result<()> {
    let path = path(layout, key);
    remove_of_lab(&path.with_extension("new"))?;
    remove_of_lab(&path)
}

fn path(layout: &Layout, (lab, node): &Key) -> PathBuf {
    Path::new(&layout.state()).join("containers").join(lab.as_str()).join(format!("{node}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_of_one_container_and_leaves_nothing_when_it_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        let key: Key = ("lab".parse().unwrap(), "r1".parse().unwrap());
        let mut record = Record { stopped: true, ..Record::new("c1") };
        record.write(&layout, &key).unwrap();
        assert_eq!(Record::read(&layout, &key, "c1"), record);
        assert!(Record::read(&layout, &key, "c2").is_empty());
        record.stopped = false;
        record.write(&layout, &key).unwrap();
        assert!(!layout.state().join("containers/lab").exists());
        fs::create_dir_all(layout.state().join("containers/lab")).unwrap();
        fs::write(layout.state().join("containers/lab/r1.json"), "half a rec").unwrap();
        assert!(Record::read(&layout, &key, "c1").is_empty());
    }
}
