//! Answers that are lines of JSON for as long as they last.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use serde::de::DeserializeOwned;

use crate::error::ErrorKind;
use crate::reply::beginning;

/// The longest line: 1 MiB.
pub(crate) const LONGEST: usize = 1 << 20;

/// Lines of JSON.
#[derive(Debug)]
pub(crate) struct Lines<S> {
    source: S,
    buffer: BytesMut,
    /// How much of the buffer is known to have no end of a line.
    searched: usize,
    heard: Instant,
    ended: bool,
}

impl<S: Stream<Item = Result<Bytes, ErrorKind>> + Unpin> Lines<S> {
    pub(crate) fn new(source: S) -> Self {
        Self { source, buffer: BytesMut::new(), searched: 0, heard: Instant::now(), ended: false }
    }

    /// When the last byte came, or the stream began.
    pub(crate) fn heard(&self) -> Instant {
        self.heard
    }

    /// The value of the next line; `None` at the end, and after an error. Cancel-safe.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Option<Result<T, ErrorKind>> {
        let line = match poll_fn(|context| self.poll_line(context)).await? {
            Ok(line) => line,
            Err(kind) => return Some(Err(kind)),
        };
        let value = serde_json::from_slice(&line);
        self.ended |= value.is_err();
        Some(value.map_err(|error| ErrorKind::Protocol(format!("{error}: {}", beginning(&line)))))
    }

    fn poll_line(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ErrorKind>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(line) = self.line() {
                if line.trim_ascii().is_empty() {
                    continue;
                }
                return Poll::Ready(Some(Ok(line)));
            }
            let end = if self.buffer.len() > LONGEST {
                Some(Err(ErrorKind::Protocol(format!("a line of it is longer than {LONGEST} bytes"))))
            } else {
                match ready!(Pin::new(&mut self.source).poll_next(context)) {
                    Some(Ok(piece)) => {
                        self.heard = Instant::now();
                        self.buffer.extend_from_slice(&piece);
                        continue;
                    }
                    Some(Err(kind)) => Some(Err(kind)),
                    None if self.buffer.trim_ascii().is_empty() => None,
                    // Some daemons end the last line with the answer.
                    None => Some(Ok(self.buffer.split().freeze())),
                }
            };
            self.ended = true;
            return Poll::Ready(end);
        }
    }

    /// The next whole line of the buffer.
    fn line(&mut self) -> Option<Bytes> {
        let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.searched + end + 1).freeze();
        self.searched = 0;
        Some(line)
    }
}
