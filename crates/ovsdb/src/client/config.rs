//! What a client is told before it starts.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::connection::Limits;
use crate::endpoint::Endpoint;

/// What a client does, and how much it may hold.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the server listens.
    pub endpoint: Endpoint,
    /// The database, such as `Open_vSwitch`.
    pub database: String,
    /// The columns that are mirrored, by table.
    pub mirrored: BTreeMap<String, Vec<String>>,
    /// What a session may hold.
    pub limits: Limits,
    /// How long it may take from connecting to a mirror that is filled.
    pub patience: Duration,
    /// The pause after the first session that failed; each one that follows is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How many versions a subscription may lag behind.
    pub lag: usize,
    /// How many locks there may be.
    pub locks: usize,
}

impl Config {
    /// A client that mirrors nothing yet: sessions within 10 s, pauses of 100 ms to 8 s, subscriptions of 256 versions, 64
    /// locks.
    pub fn new(endpoint: Endpoint, database: impl Into<String>) -> Self {
        Self {
            endpoint,
            database: database.into(),
            mirrored: BTreeMap::new(),
            limits: Limits::default(),
            patience: Duration::from_secs(10),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(8),
            lag: 256,
            locks: 64,
        }
    }

    /// Mirrors these columns of a table too.
    #[must_use]
    pub fn mirror<C: Into<String>>(mut self, table: impl Into<String>, columns: impl IntoIterator<Item = C>) -> Self {
        let mirrored = self.mirrored.entry(table.into()).or_default();
        for column in columns.into_iter().map(Into::into) {
            // The server refuses a column that is named twice.
            if !mirrored.contains(&column) {
                mirrored.push(column);
            }
        }
        self
    }
}
