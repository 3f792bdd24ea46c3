//! The embedded store: one redb file, opaque JSON bytes under string keys.
//!
//! ```text
//!  get, list, write ──▶ [bounded queue] ──▶ thread `store` (owns the database) ──▶ oneshot answers
//! ```
//!
//! After an error of the disk the database takes nothing more until it is opened again (redb, `PreviousIo`), so the
//! thread closes it and opens it for the next request: when there is space again, it goes on.
//!
//! A commit is durable when it is answered (0.4 ms on a disk that syncs). The file has a schema version: an older
//! one is upgraded step by step when it is opened, a newer or damaged one is refused with the way out, untouched.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use netloom_backlog::{Backlog, PushError, Queue, Worker, queue};
use netloom_engine::{Store, StoreError, Write};
use netloom_failpoint::{fallible, point};
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, WriteTransaction,
};
use tokio::sync::oneshot;

const ENTRIES: TableDefinition<&str, &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const SCHEMA_KEY: &str = "schema";

/// The schema that this version writes. A new one adds an entry to [`UPGRADES`].
const SCHEMA: u32 = 1;

type Upgrade = fn(&WriteTransaction) -> Result<(), redb::Error>;

/// `UPGRADES[n]` leads from schema `n` to `n + 1`, in the transaction that opens the file. Schema 0 is a new file.
const UPGRADES: [Upgrade; SCHEMA as usize] = [create];

const NAME: &str = "store";
/// How many requests may wait.
const QUEUE: usize = 64;
/// Bytes of pages kept in memory; the state of a thousand nodes is about one megabyte.
const CACHE: usize = 2 << 20;
/// How long the thread may take to close the file.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Request {
    Get { key: String, reply: Reply<Option<Vec<u8>>> },
    List { prefix: String, reply: Reply<Vec<(String, Vec<u8>)>> },
    Write { writes: Vec<Write>, reply: Reply<()> },
}

/// The embedded store.
#[derive(Debug)]
pub struct RedbStore {
    requests: Option<Queue<Request>>,
    backlog: Backlog,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends; only the end of this reads it.
    ended: Mutex<Receiver<()>>,
}

type Open = Box<dyn Fn() -> Result<Database, StoreError> + Send>;

impl RedbStore {
    /// Opens or makes the store's file; blocks for a few milliseconds. The directory must exist.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        Self::start(Box::new(move || open(&path)))
    }

    fn start(open: Open) -> Result<Self, StoreError> {
        let database = open()?;
        let (requests, worker) = queue(NAME, QUEUE);
        let backlog = requests.backlog().clone();
        let (end, ended) = sync_channel(1);
        let serve = move || {
            // Dropped last: the file is closed by then.
            let _end: SyncSender<()> = end;
            serve(database, &open, worker);
        };
        let thread = std::thread::Builder::new().name(NAME.into()).spawn(serve);
        let thread = thread.map_err(|error| StoreError::Unusable(format!("no thread for the store: {error}")))?;
        Ok(Self { requests: Some(requests), backlog, thread: Some(thread), ended: Mutex::new(ended) })
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(StoreError::Busy)?;
        requests.push(request(reply)).map_err(|error| match error {
            PushError::Full => StoreError::Busy,
            PushError::Closed => stopped(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        // Ends the queue, so that the file is closed when this returns and can be opened again.
        self.requests = None;
        // A disk that hangs must not keep the agent from ending; the kernel lets go of the file with the process.
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(CLOSE_WITHIN) == Err(RecvTimeoutError::Timeout) {
            return;
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key.to_owned();
        self.ask(|reply| Request::Get { key, reply }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let prefix = prefix.to_owned();
        self.ask(|reply| Request::List { prefix, reply }).await
    }

    fn backlogs(&self) -> Vec<Backlog> {
        vec![self.backlog.clone()]
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        self.ask(|reply| Request::Write { writes, reply }).await
    }
}

fn stopped() -> StoreError {
    StoreError::Unusable("the store's thread has ended; restart the agent".into())
}

fn serve(database: Database, open: &Open, worker: Worker<Request>) {
    let mut database = Some(database);
    // A reply that nobody waits for any more is fine: the write has happened, as documented.
    worker.run(|request| match request {
        Request::Get { key, reply } => {
            let _ = reply.send(with(&mut database, open, "read", |database| get(database, &key)));
        }
        Request::List { prefix, reply } => {
            let _ = reply.send(with(&mut database, open, "list", |database| list(database, &prefix)));
        }
        Request::Write { writes, reply } => {
            let _ = reply.send(with(&mut database, open, "write", |database| write(database, &writes)));
        }
    });
}

/// Does something with the database; opened again if need be, closed after an error of the disk.
fn with<T>(
    database: &mut Option<Database>,
    open: &Open,
    operation: &'static str,
    work: impl FnOnce(&Database) -> Result<T, redb::Error>,
) -> Result<T, StoreError> {
    let there = match database.take() {
        Some(there) => there,
        None => open().map_err(|error| StoreError::Failed { operation, cause: error.to_string() })?,
    };
    let done = work(&there);
    if !matches!(done, Err(redb::Error::Io(_) | redb::Error::PreviousIo)) {
        *database = Some(there);
    }
    done.map_err(|error| failed(operation, &error))
}

fn failed(operation: &'static str, error: &redb::Error) -> StoreError {
    StoreError::Failed { operation, cause: error.to_string() }
}

fn get(database: &Database, key: &str) -> Result<Option<Vec<u8>>, redb::Error> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    Ok(entries.get(key)?.map(|value| value.value().to_vec()))
}

fn list(database: &Database, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    let mut found = Vec::new();
    for entry in entries.range(prefix..)? {
        let (key, value) = entry?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(found)
}

fn write(database: &Database, writes: &[Write]) -> Result<(), redb::Error> {
    fallible!("store.before-commit")?;
    let transaction = database.begin_write()?;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        for write in writes {
            match write {
                Write::Put { key, value } => {
                    entries.insert(key.as_str(), value.as_slice())?;
                }
                Write::Delete { key } => {
                    entries.remove(key.as_str())?;
                }
            }
        }
    }
    transaction.commit()?;
    point!("store.after-commit");
    Ok(())
}

fn open(path: &Path) -> Result<Database, StoreError> {
    // Otherwise redb panics over pages that something else has damaged, or believes them. A few milliseconds.
    let checked = Builder::new().set_cache_size(CACHE).set_check_integrity_on_open(true).create(path);
    let database = checked.map_err(|error| unusable(path, error))?;
    point!("store.file-made");
    upgrade(&database, path)?;
    Ok(database)
}

fn upgrade(database: &Database, path: &Path) -> Result<(), StoreError> {
    let run = || -> Result<Option<u32>, redb::Error> {
        let transaction = database.begin_write()?;
        let found = {
            let meta = transaction.open_table(META)?;
            let value = meta.get(SCHEMA_KEY)?.map(|value| value.value().to_vec());
            value.and_then(|value| String::from_utf8(value).ok()).map_or(0, |text| text.parse().unwrap_or(u32::MAX))
        };
        if found > SCHEMA {
            transaction.abort()?;
            return Ok(Some(found));
        }
        if found == SCHEMA {
            transaction.abort()?;
            return Ok(None);
        }
        for step in &UPGRADES[found as usize..] {
            step(&transaction)?;
        }
        transaction.open_table(META)?.insert(SCHEMA_KEY, SCHEMA.to_string().as_bytes())?;
        transaction.commit()?;
        point!("store.schema-made");
        Ok(None)
    };
    match run() {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(StoreError::Unusable(format!(
            "the state file {} has schema {found}, this netloom knows up to {SCHEMA}: it was written by a newer \
             version. Start that version, or {}",
            path.display(),
            way_out(path)
        ))),
        Err(error) => Err(StoreError::Unusable(format!(
            "the state file {} cannot be prepared: {error}; {}",
            path.display(),
            way_out(path)
        ))),
    }
}

fn create(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(ENTRIES)?;
    Ok(())
}

fn unusable(path: &Path, error: DatabaseError) -> StoreError {
    let shown = path.display();
    StoreError::Unusable(match error {
        DatabaseError::DatabaseAlreadyOpen => {
            format!("the state file {shown} is in use: another agent with the same root runs; stop it first")
        }
        DatabaseError::Storage(StorageError::Io(error)) if is_environment(&error) => {
            format!("the state file {shown} cannot be opened: {error}; the agent needs to write there")
        }
        error => format!("the state file {shown} is damaged ({error}); {}", way_out(path)),
    })
}

/// Errors of the file system around the file, as opposed to its content.
fn is_environment(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem | Kind::StorageFull | Kind::NotFound | Kind::IsADirectory
    )
}

fn way_out(path: &Path) -> String {
    let mut aside = PathBuf::from(path).into_os_string();
    aside.push(".bad");
    format!(
        "move it away (`mv {} {}`) and start again: what runs is found by its marks and nothing is destroyed",
        path.display(),
        aside.display()
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn text(error: &StoreError) -> String {
        error.to_string()
    }

    #[tokio::test]
    async fn what_is_written_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let store = RedbStore::open(&path).unwrap();
        store.write(vec![Write::Put { key: "labs/a".into(), value: b"{}".to_vec() }]).await.unwrap();
        drop(store);
        let store = RedbStore::open(&path).unwrap();
        assert_eq!(store.get("labs/a").await.unwrap(), Some(b"{}".to_vec()));
    }

    #[test]
    fn a_damaged_file_is_refused_with_the_way_out_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        std::fs::write(&path, b"this was a database once").unwrap();
        let error = text(&RedbStore::open(&path).unwrap_err());
        assert!(
            error.contains("is damaged") && error.contains("mv ") && error.contains("nothing is destroyed"),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), b"this was a database once");
    }

    #[tokio::test]
    async fn damage_anywhere_in_the_file_is_refused_or_of_no_consequence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let put = |n: usize| Write::Put { key: format!("labs/{n}"), value: format!("{{\"lab\": {n}}}").into_bytes() };
        let store = RedbStore::open(&path).unwrap();
        for n in 0..100 {
            store.write(vec![put(n)]).await.unwrap();
        }
        let wanted = store.list("labs/").await.unwrap();
        drop(store);
        let good = std::fs::read(&path).unwrap();
        let mut refused = 0;
        for at in (0..good.len()).step_by(512) {
            let mut bad = good.clone();
            bad[at..at + 512].iter_mut().for_each(|byte| *byte = !*byte);
            std::fs::write(&path, &bad).unwrap();
            match RedbStore::open(&path) {
                Err(error) => {
                    refused += 1;
                    let error = text(&error);
                    assert!(error.contains("is damaged") && error.contains("mv "), "at {at}: {error}");
                    assert_eq!(std::fs::read(&path).unwrap(), bad, "at {at}: it was left as it is");
                }
                Ok(store) => assert_eq!(store.list("labs/").await.unwrap(), wanted, "at {at}"),
            }
        }
        assert!(refused > 5, "{refused}");
    }

    #[tokio::test]
    async fn a_file_of_a_newer_version_is_refused_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        drop(RedbStore::open(&path).unwrap());
        let database = Builder::new().create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(SCHEMA_KEY, b"99".as_slice()).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let error = text(&RedbStore::open(&path).unwrap_err());
        assert!(error.contains("schema 99") && error.contains("newer version"), "{error}");
    }

    #[test]
    fn a_second_agent_on_the_same_file_is_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let _first = RedbStore::open(&path).unwrap();
        let error = text(&RedbStore::open(&path).unwrap_err());
        assert!(error.contains("is in use"), "{error}");
    }

    #[test]
    fn a_missing_directory_is_not_called_damage() {
        let dir = tempfile::tempdir().unwrap();
        let error = text(&RedbStore::open(&dir.path().join("no/state.redb")).unwrap_err());
        assert!(error.contains("cannot be opened"), "{error}");
    }

    /// A file whose disk can be full, as redb sees it.
    #[derive(Debug)]
    struct Disk {
        file: redb::backends::FileBackend,
        full: Arc<AtomicBool>,
    }

    impl Disk {
        fn fits(&self) -> Result<(), std::io::Error> {
            if self.full.load(Ordering::SeqCst) { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl redb::StorageBackend for Disk {
        fn len(&self) -> Result<u64, std::io::Error> {
            self.file.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
            self.file.read(offset, out)
        }

        fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
            self.fits().and_then(|()| self.file.set_len(len))
        }

        fn sync_data(&self) -> Result<(), std::io::Error> {
            self.fits().and_then(|()| self.file.sync_data())
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
            self.fits().and_then(|()| self.file.write(offset, data))
        }
    }

    #[tokio::test]
    async fn after_a_full_disk_it_goes_on_with_everything_that_was_answered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let full = Arc::new(AtomicBool::new(false));
        let disk = full.clone();
        let open = move || {
            let file = std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = redb::backends::FileBackend::new(file.unwrap()).unwrap();
            let database = Builder::new().create_with_backend(Disk { file, full: disk.clone() });
            let database = database.map_err(|error| unusable(&path, error))?;
            upgrade(&database, &path)?;
            Ok(database)
        };
        let store = RedbStore::start(Box::new(open)).unwrap();
        let put = |key: &str, value: &[u8]| vec![Write::Put { key: key.into(), value: value.to_vec() }];
        store.write(put("labs/a", b"1")).await.unwrap();
        full.store(true, Ordering::SeqCst);
        for _ in 0..3 {
            let error = store.write(put("labs/b", b"2")).await.unwrap_err();
            assert!(matches!(error, StoreError::Failed { .. }), "{error}");
        }
        full.store(false, Ordering::SeqCst);
        store.write(put("labs/c", b"3")).await.unwrap();
        let all = store.list("labs/").await.unwrap();
        let keys: Vec<&str> = all.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["labs/a", "labs/c"]);
    }
}
