//! The contract of stores.

use std::sync::Arc;

use async_trait::async_trait;

use crate::driver::{Store, Write};

/// How to make a store over one and the same file or cluster, empty at first.
#[async_trait]
pub trait StoreStage: Send {
    /// Opens it. The store that was opened before has been dropped.
    async fn open(&mut self) -> Arc<dyn Store>;
}

fn put(key: &str, value: impl Into<Vec<u8>>) -> Write {
    Write::Put { key: key.to_owned(), value: value.into() }
}

fn delete(key: &str) -> Write {
    Write::Delete { key: key.to_owned() }
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store.list(prefix).await.expect("it lists").into_iter().map(|(key, _)| key).collect()
}

/// What every store does: reads back what was written, lists by prefix in order, writes all or nothing in the order
/// given, tolerates the absence of what it deletes, keeps everything over a restart.
pub async fn store_contract(stage: &mut dyn StoreStage) {
    let store = stage.open().await;
    assert_eq!(store.get("labs/a").await.expect("it reads"), None, "the stage begins empty");
    assert_eq!(keys(&*store, "").await, [""; 0]);

    // Opaque bytes, in order, by prefix.
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let writes = vec![put("labs/b", b"2".to_vec()), put("done/a/r1", *b""), put("labs/a", bytes.clone())];
    store.write(writes).await.expect("it writes");
    assert_eq!(store.get("labs/a").await.expect("it reads"), Some(bytes.clone()));
    assert_eq!(store.get("done/a/r1").await.expect("it reads"), Some(Vec::new()), "empty is not absent");
    assert_eq!(keys(&*store, "labs/").await, ["labs/a", "labs/b"]);
    assert_eq!(keys(&*store, "").await, ["done/a/r1", "labs/a", "labs/b"]);
    assert_eq!(keys(&*store, "labs/a/").await, [""; 0]);
    assert_eq!(keys(&*store, "zzz").await, [""; 0]);
    assert_eq!(store.get("labs/").await.expect("it reads"), None, "a prefix is no key");

    // The order of one write counts; absence is tolerated.
    let writes = vec![put("x", b"1".to_vec()), delete("x"), put("y", b"1".to_vec()), put("y", b"2".to_vec())];
    store.write(writes).await.expect("it writes");
    assert_eq!(store.get("x").await.expect("it reads"), None);
    assert_eq!(store.get("y").await.expect("it reads"), Some(b"2".to_vec()));
    store.write(vec![delete("never"), delete("y"), delete("y")]).await.expect("absence is tolerated");
    store.write(Vec::new()).await.expect("nothing is easily written");
    assert_eq!(keys(&*store, "").await, ["done/a/r1", "labs/a", "labs/b"]);

    // Many at once: each is there afterwards.
    let many = (0..40).map(|n| {
        let store = store.clone();
        async move { store.write(vec![put(&format!("many/{n:02}"), vec![n])]).await.expect("it writes") }
    });
    futures::future::join_all(many).await;
    assert_eq!(keys(&*store, "many/").await.len(), 40);

    // What was answered is durable.
    drop(store);
    let store = stage.open().await;
    assert_eq!(store.get("labs/a").await.expect("it reads"), Some(bytes));
    assert_eq!(keys(&*store, "many/").await.len(), 40);
    let all = keys(&*store, "").await.iter().map(|key| delete(key)).collect();
    store.write(all).await.expect("it writes");
    assert_eq!(keys(&*store, "").await, [""; 0]);
}
