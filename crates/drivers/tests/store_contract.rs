//! The real stores keep the contract of stores.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::sync::Arc;

use netloom_drivers::store::RedbStore;
use netloom_engine::Store;
use netloom_engine::testing::contract::{StoreStage, store_contract};

struct File(tempfile::TempDir);

#[async_trait::async_trait]
impl StoreStage for File {
    async fn open(&mut self) -> Arc<dyn Store> {
        Arc::new(RedbStore::open(&self.0.path().join("state.redb")).unwrap())
    }
}

#[tokio::test]
async fn redb_keeps_the_contract() {
    store_contract(&mut File(tempfile::tempdir().unwrap())).await;
}
