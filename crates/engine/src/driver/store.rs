//! Where desired state lives.

use std::time::SystemTime;

use async_trait::async_trait;
use netloom_backlog::Backlog;

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Set a key.
    Put {
        /// The key.
        key: String,
        /// Opaque bytes.
        value: Vec<u8>,
    },
    /// Remove a key, if it is there.
    Delete {
        /// The key.
        key: String,
    },
}

impl Write {
    /// The key that it changes.
    pub fn key(&self) -> &str {
        let (Self::Put { key, .. } | Self::Delete { key }) = self;
        key
    }
}

/// Where desired state lives: opaque bytes under string keys. The engine writes one thing after the other and waits
/// for each as long as it takes; whoever asked the engine waits no longer than [`crate::Config::store_limit`].
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// What the threads that it works with have not finished, for whoever supervises them.
    fn backlogs(&self) -> Vec<Backlog> {
        Vec::new()
    }

    /// The value of a key.
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// All keys that begin with `prefix`, with their values, sorted by key.
    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError>;

    /// All writes or none; durable when it returns.
    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError>;
}

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It could not be opened or is damaged; the text says what to do.
    #[error("{0}")]
    Unusable(String),
    /// It is full, read-only or failed otherwise; nothing of the write is in it.
    #[error("the store cannot {operation}: {cause}")]
    Failed {
        /// What was tried.
        operation: &'static str,
        /// What the store said.
        cause: String,
    },
    /// Too much is waiting for it.
    #[error("the store is busy; try again")]
    Busy,
    /// It hangs: whether it will do what it was asked is unknown.
    #[error(
        "the store does not answer since {}; look at the disk of the agent's state directory. If it noted this all \
         the same, that is taken back when it answers again", humantime::format_rfc3339_seconds(*.since)
    )]
    NoAnswer {
        /// Since when.
        since: SystemTime,
    },
}
