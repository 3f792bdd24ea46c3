//! The smallest controller that an agent stays with: it takes everything, and notes when heartbeats come.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

/// A body is shorter.
const BODY: u64 = 16 << 20;

/// One that listens until it is dropped.
pub(crate) struct Controller {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    beats: Mutex<Vec<Instant>>,
    is_over: AtomicBool,
}

impl Shared {
    fn beats(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Controller {
    pub(crate) fn listen() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, shared) = (listener.local_addr()?, Arc::new(Shared::default()));
        let door = shared.clone();
        let thread = thread::Builder::new().name("controller".into()).spawn(move || {
            for stream in listener.incoming() {
                if door.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), door) = (stream, door.clone()) else { continue };
                // It ends with its connection: the agent keeps a few.
                let serve = move || drop(serve(stream, &door));
                drop(thread::Builder::new().name("controlled".into()).spawn(serve));
            }
        })?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Whether a heartbeat has come.
    pub(crate) fn has_heard(&self) -> bool {
        !self.shared.beats().is_empty()
    }

    /// The longest time without a heartbeat between two moments, as much of it as is between them or has begun before.
    pub(crate) fn longest_silence(&self, from: Instant, to: Instant) -> Duration {
        longest(&self.shared.beats(), from, to)
    }
}

fn longest(beats: &[Instant], from: Instant, to: Instant) -> Duration {
    let mut last = beats.iter().copied().take_while(|beat| *beat <= from).last().unwrap_or(from);
    let mut longest = Duration::ZERO;
    for beat in beats.iter().copied().filter(|beat| *beat > from && *beat <= to).chain([to]) {
        longest = longest.max(beat.saturating_duration_since(last));
        last = beat;
    }
    longest
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // It wakes up for this.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection, until it is closed.
fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0_u64);
        if from.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            let mut field = String::new();
            if from.read_line(&mut field)? == 0 || field == "\r\n" {
                break;
            }
            if let Some(value) = field.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = Vec::new();
        from.by_ref().take(length.min(BODY)).read_to_end(&mut body)?;
        if path.ends_with("/heartbeat") {
            shared.beats().push(Instant::now());
        }
        let answer = answer(&path, &body).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
        to.write_all((head + &answer).as_bytes())?;
    }
}

fn answer(path: &str, body: &[u8]) -> Value {
    if path == "/agents/register" {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        return json!({ "success": true, "message": "Agent registered", "assigned_id": asked["agent"]["agent_id"] });
    }
    json!({ "success": true, "message": "noted", "acknowledged": true, "pending_jobs": [] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_between_beats_or_before_or_after_them() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let silence = |beats: &[u64], from, to| {
            let beats: Vec<Instant> = beats.iter().copied().map(at).collect();
            longest(&beats, at(from), at(to)).as_secs()
        };
        assert_eq!(silence(&[0, 10, 20, 33], 12, 35), 13);
        assert_eq!(silence(&[0, 10], 12, 30), 20);
        assert_eq!(silence(&[0, 10, 20], 12, 20), 10, "what had begun before counts whole");
        assert_eq!(silence(&[], 12, 20), 8);
    }
}
