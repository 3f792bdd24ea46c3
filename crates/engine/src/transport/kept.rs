//! What the store has of the host's own interfaces: what is wanted of them, and how a change that is under way is taken back.

use std::collections::BTreeMap;
use std::time::SystemTime;

use netloom_model::InterfaceName;
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::wish::Uplink;
use crate::desired::put_or_delete;
use crate::driver::{Store, StoreError, Write};

const PREFIX: &str = "transport/";
/// Where it has how to take back the change that is under way.
const UNDO: &str = "transport-undo";

/// Who wants something of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WantedBy {
    /// The configuration.
    Configured,
    /// Somebody who asked for it.
    Provisioned,
    /// The controller, which was asked.
    Fetched,
}

/// What is kept of one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) uplink: Uplink,
    pub(super) by: WantedBy,
    #[serde(with = "crate::time")]
    pub(super) since: SystemTime,
}

impl Record {
    /// Whether tunnels can go by it: an MTU alone says nothing of them.
    pub(super) fn is_transport(&self) -> bool {
        self.uplink.vlan.is_some() || self.uplink.address.is_some()
    }
}

/// A change that is under way. An agent that finds one when it starts does not know how far it came, nor whether the host is
/// still reached: it takes all of it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Undo {
    /// The life of the host: after its next start nothing is left of it.
    pub(super) boot: String,
    #[serde(flatten)]
    pub(super) change: Change,
    /// What was asked for, if that is what it is about.
    pub(super) asked: Option<Asked>,
}

/// A wish that counts when the change has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) interface: InterfaceName,
    /// What was wanted before.
    pub(super) former: Option<Record>,
}

/// What the store has of this.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(super) records: Records,
    pub(super) undo: Option<Undo>,
}

/// What is wanted, by the interface.
pub(super) type Records = BTreeMap<InterfaceName, Record>;

/// Reads all from the store.
pub(crate) async fn load(store: &dyn Store) -> Result<Kept, StoreError> {
    let mut records = Records::new();
    for (key, value) in store.list(PREFIX).await? {
        match serde_json::from_slice::<Record>(&value) {
            Ok(record) => {
                records.insert(record.uplink.name.clone(), record);
            }
            // It stays in the store for the version that wrote it.
            Err(error) => {
                tracing::warn!(%key, %error, "what is wanted of an interface cannot be read; it is left as it is");
            }
        }
    }
    let undo = store.get(UNDO).await?.map(|undo| serde_json::from_slice(&undo)).transpose().unwrap_or_else(|error| {
        tracing::warn!(%error, "how the last change of an interface is taken back cannot be read; it stays as it is");
        None
    });
    Ok(Kept { records, undo })
}

/// What stores a record, or that there is none.
pub(super) fn write(name: &InterfaceName, record: Option<&Record>) -> Write {
    put_or_delete(format!("{PREFIX}{name}"), record)
}

/// What stores how a change is taken back, or that none is under way.
pub(super) fn write_undo(undo: Option<&Undo>) -> Write {
    put_or_delete(UNDO.to_owned(), undo)
}
