//! A daemon that answers late: a socket before its own, where what it says is held back.
//!
//! ```text
//!   client ──▶ thread `asked` ──▶ daemon ──▶ thread `answered` ──[pieces, when each came]──▶ thread `late` ──▶ client
//! ```
//!
//! Each piece comes to the client as long after it was said as is set at that time; a stream is late, not slow.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::host::pause;

/// What is read of the daemon at once, in bytes.
const PIECE: usize = 16 << 10;
/// How many pieces may wait.
const PIECES: usize = 1024;

/// The socket before that of the daemon.
#[derive(Debug)]
pub(crate) struct Late {
    socket: PathBuf,
    /// In milliseconds.
    by: Arc<AtomicU64>,
}

impl Late {
    /// One that is not late yet.
    pub(crate) fn before(daemon: &Path, socket: PathBuf) -> Result<Self> {
        let listener = UnixListener::bind(&socket).with_context(|| format!("{}", socket.display()))?;
        let by = Arc::new(AtomicU64::new(0));
        let (daemon, lateness) = (daemon.to_owned(), Arc::clone(&by));
        start("daemon", move || {
            for client in listener.incoming() {
                stand_between(client?, UnixStream::connect(&daemon)?, &lateness)?;
            }
            Ok(())
        })?;
        Ok(Self { socket, by })
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// From now on it is late by this.
    pub(crate) fn be_late(&self, by: Duration) {
        self.by.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

fn stand_between(client: UnixStream, daemon: UnixStream, by: &Arc<AtomicU64>) -> io::Result<()> {
    let (mut asks, mut asked) = (client.try_clone()?, daemon.try_clone()?);
    start("asked", move || {
        io::copy(&mut asks, &mut asked)?;
        asked.shutdown(Shutdown::Write)
    })?;
    let (pieces, come) = sync_channel(PIECES);
    start("answered", move || {
        let (mut daemon, mut piece) = (daemon, vec![0; PIECE]);
        while let n @ 1.. = daemon.read(&mut piece)? {
            if pieces.send((Instant::now(), piece[..n].to_vec())).is_err() {
                break;
            }
        }
        Ok(())
    })?;
    let by = Arc::clone(by);
    start("late", move || pass_on(&come, client, &by))
}

fn pass_on(come: &Receiver<(Instant, Vec<u8>)>, mut client: UnixStream, by: &AtomicU64) -> io::Result<()> {
    for (came, piece) in come {
        let due = came + Duration::from_millis(by.load(Ordering::Relaxed));
        pause(due.saturating_duration_since(Instant::now()));
        client.write_all(&piece)?;
    }
    client.shutdown(Shutdown::Write)
}

/// A side that has hung up ends its threads, and nobody has to know.
fn start(name: &str, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn what_is_said_comes_as_late_as_is_set_and_all_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("daemon");
        let daemon = UnixListener::bind(&own).unwrap();
        let late = Late::before(&own, directory.path().join("late")).unwrap();
        let client = UnixStream::connect(late.socket()).unwrap();
        let (mut served, _) = daemon.accept().unwrap();
        (&client).write_all(b"ask\n").unwrap();
        let mut asked = String::new();
        BufReader::new(&served).read_line(&mut asked).unwrap();
        assert_eq!(asked, "ask\n");
        let by = Duration::from_millis(200);
        late.be_late(by);
        let said = Instant::now();
        served.write_all(b"one\ntwo\n").unwrap();
        drop(served);
        let mut heard = String::new();
        BufReader::new(client).read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "one\ntwo\n");
        assert!(said.elapsed() >= by, "{:?}", said.elapsed());
    }
}
