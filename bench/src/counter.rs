//! A socket in front of another one that counts the HTTP requests that pass.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::Result;

/// Beginnings of requests. A client writes the head of one at once, so that is where a piece begins.
const METHODS: [&[u8]; 5] = [b"GET /", b"POST /", b"PUT /", b"DELETE /", b"HEAD /"];
/// Questions whether the daemon is there at all, which are no calls about a lab.
const PINGS: [&[u8]; 2] = [b"/_ping ", b"/version "];

/// Counts until it is dropped with its directory; its threads end with the process.
pub(crate) struct Counter {
    directory: tempfile::TempDir,
    count: Arc<AtomicU32>,
}

impl Counter {
    /// Begins to count what goes to `to`.
    pub(crate) fn start(to: &Path) -> Result<Self> {
        let counter = Self { directory: tempfile::tempdir()?, count: Arc::default() };
        let listener = UnixListener::bind(counter.socket())?;
        let (to, count) = (to.to_owned(), counter.count.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&to) else { continue };
                let (Ok(from_server), Ok(to_client)) = (server.try_clone(), client.try_clone()) else { continue };
                let count = count.clone();
                thread::spawn(move || carry(client, server, Some(&count)));
                thread::spawn(move || carry(from_server, to_client, None));
            }
        });
        Ok(counter)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// How many there were since this was asked last.
    pub(crate) fn take(&self) -> u32 {
        self.count.swap(0, Ordering::Relaxed)
    }
}

fn carry(mut from: UnixStream, mut to: UnixStream, count: Option<&AtomicU32>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer) {
        let piece = &buffer[..read];
        let line = piece.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let is_ping = PINGS.iter().any(|ping| line.windows(ping.len()).any(|window| window == *ping));
        if let Some(count) = count
            && METHODS.iter().any(|method| piece.starts_with(method))
            && !is_ping
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if read == 0 || to.write_all(piece).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
