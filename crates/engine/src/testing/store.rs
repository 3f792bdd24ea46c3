//! A store in memory that can be told to fail and to hang.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::driver::{Store, StoreError, Write};

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<String, Vec<u8>>,
    failing: Option<String>,
    /// How many writes still work before they fail.
    spared: usize,
    hanging: watch::Sender<bool>,
    asked: usize,
    writes: usize,
}

/// A store in memory; clones are the same store, so it outlives an engine.
#[derive(Debug, Clone, Default)]
pub struct FakeStore {
    state: Arc<Mutex<State>>,
}

impl FakeStore {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on writes fail with this cause, or work again.
    pub fn fail_writes(&self, cause: Option<&str>) {
        let mut state = self.lock();
        (state.failing, state.spared) = (cause.map(str::to_owned), 0);
    }

    /// All writes but the next so many fail.
    pub fn fail_writes_after(&self, spared: usize, cause: &str) {
        let mut state = self.lock();
        (state.failing, state.spared) = (Some(cause.to_owned()), spared);
    }

    /// From now on writes hang, as on a disk that does not answer.
    pub fn freeze(&self) {
        self.lock().hanging.send_replace(true);
    }

    /// What hung happens now.
    pub fn thaw(&self) {
        self.lock().hanging.send_replace(false);
    }

    /// The value of a key as text.
    pub fn text(&self, key: &str) -> Option<String> {
        self.lock().entries.get(key).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// How many writes were asked for.
    pub fn asked(&self) -> usize {
        self.lock().asked
    }

    /// The keys that are there.
    pub fn keys(&self) -> Vec<String> {
        self.lock().entries.keys().cloned().collect()
    }

    /// Loses an entry, as if it had never been written.
    pub fn take(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().entries.remove(key)
    }

    /// How many writes were accepted.
    pub fn writes(&self) -> usize {
        self.lock().writes
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.lock().entries.get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let state = self.lock();
        let found = state.entries.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(found.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut hanging = {
            let mut state = self.lock();
            state.asked += 1;
            state.hanging.subscribe()
        };
        // The sender lives as long as this store.
        let _ = hanging.wait_for(|hanging| !hanging).await;
        let mut state = self.lock();
        if state.spared > 0 {
            state.spared -= 1;
        } else if let Some(cause) = &state.failing {
            return Err(StoreError::Failed { operation: "write", cause: cause.clone() });
        }
        state.writes += 1;
        for write in writes {
            match write {
                Write::Put { key, value } => state.entries.insert(key, value),
                Write::Delete { key } => state.entries.remove(&key),
            };
        }
        Ok(())
    }
}
