//! An answer of the daemon, and the ways to read it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, Stream};
use hyper::body::Incoming;
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::error::ErrorKind;
use crate::link::{Link, poll_body};
use crate::pool::Pool;

/// The most that an answer about one object may have: 8 MiB.
pub(crate) const ONE: usize = 8 << 20;

/// The most that a list may have: 64 MiB.
pub(crate) const LIST: usize = 64 << 20;

/// The most that is read of what is said about a failure.
const WORDS: usize = 64 << 10;

/// An answer whose head has come.
#[derive(Debug)]
pub(crate) struct Reply {
    response: Response<()>,
    body: Incoming,
    /// Gone after the end of the body.
    link: Option<Link>,
    pool: Arc<Pool>,
    /// What was taken and not needed yet.
    back: Bytes,
}

impl Reply {
    pub(crate) fn new(response: Response<Incoming>, link: Link, pool: Arc<Pool>) -> Self {
        let (head, body) = response.into_parts();
        Self { response: Response::from_parts(head, ()), body, link: Some(link), pool, back: Bytes::new() }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next piece of the body.
    pub(crate) fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ErrorKind>>> {
        if !self.back.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.back))));
        }
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        let piece = ready!(poll_body(link, &mut self.body, context));
        match &piece {
            Some(Ok(_)) => {}
            Some(Err(_)) => self.link = None,
            None => self.rest(context),
        }
        Poll::Ready(piece)
    }

    /// Takes back what was not needed of a piece.
    pub(crate) fn give_back(&mut self, piece: Bytes) {
        self.back = piece;
    }

    /// The answer was read to its end: its connection can carry another one.
    fn rest(&mut self, context: &mut Context<'_>) {
        if let Some(mut link) = self.link.take() {
            // It finds out that the message is over.
            link.drive(context);
            self.pool.put(link);
        }
    }

    /// The whole body, unless it is longer than that.
    async fn whole(&mut self, limit: usize) -> Result<Bytes, ErrorKind> {
        let mut whole = BytesMut::new();
        while let Some(piece) = poll_fn(|context| self.poll_piece(context)).await {
            let piece = piece?;
            if whole.len() + piece.len() > limit {
                return Err(ErrorKind::Protocol(format!("it is longer than {limit} bytes")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The value that the body is.
    pub(crate) async fn json<T: DeserializeOwned>(mut self, limit: usize) -> Result<T, ErrorKind> {
        let whole = self.whole(limit).await?;
        serde_json::from_slice(&whole).map_err(|error| ErrorKind::Protocol(format!("{error}: {}", beginning(&whole))))
    }

    /// An answer that has nothing to say but its status.
    pub(crate) async fn done(mut self) -> Result<(), ErrorKind> {
        self.whole(ONE).await.map(drop)
    }

    /// What the daemon says about a failure.
    pub(crate) async fn failure(mut self) -> ErrorKind {
        let status = self.status();
        let words = self.whole(WORDS).await.unwrap_or_default();
        let message = match serde_json::from_slice::<Message>(&words) {
            Ok(Message { message }) if !message.is_empty() => message,
            _ if words.is_empty() => format!("HTTP status {status}, without a word"),
            _ => beginning(&words),
        };
        ErrorKind::from_status(status.as_u16(), message)
    }

    /// The bare connection after an answer that gave it away, and what was read of it already. Cancel-safe: it does not
    /// wait.
    pub(crate) fn into_raw(mut self) -> Result<(UnixStream, Bytes), ErrorKind> {
        let link = self.link.take().ok_or_else(|| ErrorKind::Cut("it ended at once".into()))?;
        let (stream, rest) = link.into_raw();
        let mut read = BytesMut::new();
        // To hyper an answer with status 200 is one whose body lasts until the connection ends, so it may hold a piece.
        while let Some(Some(Ok(frame))) =
            poll_fn(|context| hyper::body::Body::poll_frame(Pin::new(&mut self.body), context)).now_or_never()
        {
            if let Ok(bytes) = frame.into_data() {
                read.extend_from_slice(&bytes);
            }
        }
        read.extend_from_slice(&rest);
        Ok((stream, read.freeze()))
    }
}

impl Stream for Reply {
    type Item = Result<Bytes, ErrorKind>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_piece(context)
    }
}

/// The daemon's words.
#[derive(Deserialize)]
struct Message {
    message: String,
}

/// The beginning of a text that nobody expects, for an error.
pub(crate) fn beginning(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    let end = if bytes.len() > 200 { "…" } else { "" };
    format!("{}{end}", text.trim())
}
