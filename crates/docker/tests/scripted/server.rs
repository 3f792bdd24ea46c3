//! A daemon that plays a script, on threads of its own.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use netloom_docker::{Docker, Endpoint, Observer, Status};
use tempfile::TempDir;

/// Long enough for a loaded machine.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// A daemon that does with its n-th connection what its script says.
pub(crate) struct Server {
    directory: TempDir,
    pub(crate) calls: Arc<Calls>,
}

/// The calls that have ended.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<Vec<(&'static str, Status)>>);

impl Calls {
    pub(crate) fn all(&self) -> Vec<(&'static str, Status)> {
        self.0.lock().unwrap().clone()
    }
}

impl Observer for Calls {
    fn called(&self, operation: &'static str, status: Status, _: Duration) {
        self.0.lock().unwrap().push((operation, status));
    }
}

impl Server {
    /// The script gets each connection and its number, from 0.
    pub(crate) fn start(script: impl Fn(usize, Peer) + Send + Sync + 'static) -> Self {
        let server = Self { directory: TempDir::new().unwrap(), calls: Arc::default() };
        let listener = UnixListener::bind(server.path()).unwrap();
        let script = Arc::new(script);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (script, stream) = (script.clone(), stream.unwrap());
                std::thread::spawn(move || script(number, Peer { stream, read: Vec::new(), version: "1.41" }));
            }
        });
        server
    }

    /// One that answers each request alike.
    pub(crate) fn answering(answer: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Self {
        Self::start(move |_, mut peer| {
            while let Some(asked) = peer.request() {
                peer.say(answer(&asked));
            }
        })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    pub(crate) fn docker(&self) -> Docker {
        Docker::new(Endpoint::Unix(self.path()), self.calls.clone())
    }
}

/// The other side of a connection.
pub(crate) struct Peer {
    pub(crate) stream: UnixStream,
    read: Vec<u8>,
    /// What it says when it is asked for its version.
    pub(crate) version: &'static str,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `GET /v1.41/info`.
    pub(crate) line: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Peer {
    /// The next request that is none for the version; `None` at the end of the connection.
    pub(crate) fn request(&mut self) -> Option<Asked> {
        loop {
            let asked = self.any_request()?;
            if asked.line != "GET /_ping" {
                return Some(asked);
            }
            let version = self.version;
            self.say(format!("HTTP/1.1 200 OK\r\nApi-Version: {version}\r\nContent-Length: 2\r\n\r\nOK"));
        }
    }

    fn any_request(&mut self) -> Option<Asked> {
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head: Vec<u8> = self.read.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let line = head.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned();
        let lower = head.to_lowercase();
        let length = lower.split("content-length: ").nth(1).map(|rest| rest.lines().next().unwrap().parse().unwrap());
        let mut body = Vec::new();
        if let Some(length) = length {
            while self.read.len() < length {
                self.more()?;
            }
            body = self.read.drain(..length).collect();
        } else if lower.contains("transfer-encoding: chunked") {
            body = self.chunks()?;
        }
        Some(Asked { line, head, body: String::from_utf8(body).unwrap() })
    }

    /// A chunked body; `None` if it does not end well.
    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = find(&self.read, b"\r\n") {
                    break at;
                }
                self.more()?;
            };
            let line: Vec<u8> = self.read.drain(..end + 2).collect();
            let length = usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap(), 16).unwrap();
            while self.read.len() < length + 2 {
                self.more()?;
            }
            body.extend(self.read.drain(..length));
            self.read.drain(..2);
            if length == 0 {
                return Some(body);
            }
        }
    }

    /// Reads on; `None` at the end.
    fn more(&mut self) -> Option<()> {
        let mut piece = [0; 4096];
        match self.stream.read(&mut piece) {
            Ok(0) | Err(_) => None,
            Ok(length) => {
                self.read.extend_from_slice(&piece[..length]);
                Some(())
            }
        }
    }

    /// Waits until the other side has said so much, or ended; gives all that it has said.
    pub(crate) fn hear(&mut self, length: usize) -> String {
        while self.read.len() < length && self.more().is_some() {}
        String::from_utf8(std::mem::take(&mut self.read)).unwrap()
    }

    /// Waits for the end of the connection; gives what came before it.
    pub(crate) fn hear_all(&mut self) -> String {
        self.hear(usize::MAX)
    }

    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may have gone.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The next request, answered with this.
    pub(crate) fn answer(&mut self, answer: impl AsRef<[u8]>) -> Option<Asked> {
        let asked = self.request()?;
        self.say(answer);
        Some(asked)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// An answer with a length.
pub(crate) fn whole(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// An answer in chunks.
pub(crate) fn chunked(pieces: &[&str]) -> String {
    let chunks: Vec<String> = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    format!("{CHUNKED}{}0\r\n\r\n", chunks.concat())
}

/// The head of an answer in chunks.
pub(crate) const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An answer without a body.
pub(crate) const DONE: &str = "HTTP/1.1 204 No Content\r\n\r\n";
