//! The output of containers, across their lives.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use netloom_docker::{Frame, Frames, LogOptions};
use netloom_engine::{Follow, LogStream, task};
use tokio::sync::mpsc;

use super::super::fault::Fault;
use super::super::turns::Key;
use super::{PATIENCE, Shared, refused};

/// Pieces that wait for the reader.
const QUEUE: usize = 16;
/// Lines of a node that has ended that are shown with it.
const LAST: u64 = 10;
/// The most that those may be, in bytes.
const LAST_BYTES: usize = 2048;

impl Shared {
    pub(super) async fn open_logs(self: &Arc<Self>, key: Key, follow: Follow) -> Result<LogStream, Fault> {
        let known = self.known(&key).ok_or_else(|| Fault::permanent("it is not there".into()))?;
        let tail = match follow {
            Follow::Last(lines) => Some(u64::from(lines)),
            Follow::No | Follow::Yes => None,
        };
        let options = LogOptions { follow: follow == Follow::Yes, tail, ..LogOptions::default() };
        let frames = self.docker.logs(&known.id, options, Instant::now() + PATIENCE).await.map_err(refused)?;
        let (sender, chunks) = mpsc::channel(QUEUE);
        let name = format!("log of {}/{}", key.0, key.1);
        match follow {
            Follow::No | Follow::Last(_) => drop(task::spawn(name, async move {
                let _ = carry(frames, &sender).await;
            })),
            Follow::Yes => drop(task::spawn(name, follow_on(Arc::clone(self), key, frames, sender))),
        }
        Ok(LogStream { chunks })
    }

    /// The last lines of the output of a container that has ended.
    pub(super) async fn last_output(&self, id: &str, deadline: Instant) -> Option<String> {
        let options = LogOptions { tail: Some(LAST), ..LogOptions::default() };
        let mut frames = self.docker.logs(id, options, deadline).await.ok()?;
        let mut kept = Vec::new();
        let read = async {
            while let Some(Ok(Frame::Stdout(piece) | Frame::Stderr(piece))) = frames.next().await {
                kept.extend_from_slice(&piece);
                let over = kept.len().saturating_sub(LAST_BYTES);
                kept.drain(..over);
            }
        };
        let _ = tokio::time::timeout_at(deadline.into(), read).await;
        // Lines of a terminal end with both.
        let text = String::from_utf8_lossy(&kept).replace("\r\n", "\n");
        let text = text.trim_end();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// Carries output to its reader until it ends. `Err`: nobody reads any more.
async fn carry(mut frames: Frames, to: &mpsc::Sender<Bytes>) -> Result<(), ()> {
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = to.closed() => return Err(()),
        };
        // What went wrong ends the stream as its end does: what comes later is read anew.
        let Some(Ok(Frame::Stdout(piece) | Frame::Stderr(piece))) = frame else { return Ok(()) };
        to.send(piece).await.map_err(drop)?;
    }
}

/// Goes on with each next life of the node.
async fn follow_on(shared: Arc<Shared>, key: Key, mut frames: Frames, to: mpsc::Sender<Bytes>) {
    let mut changes = shared.changed.subscribe();
    loop {
        if carry(frames, &to).await.is_err() {
            return;
        }
        let ended = SystemTime::now();
        frames = loop {
            let Some(known) = shared.known(&key) else { return };
            if known.is_running() {
                let since = ended.duration_since(SystemTime::UNIX_EPOCH).ok();
                let since = since.and_then(|since| i64::try_from(since.as_nanos()).ok());
                let options = LogOptions { follow: true, since, ..LogOptions::default() };
                if let Ok(frames) = shared.docker.logs(&known.id, options, Instant::now() + PATIENCE).await {
                    break frames;
                }
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = to.closed() => return,
            }
        };
    }
}
