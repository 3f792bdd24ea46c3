//! One connection to the daemon.
//!
//! No task belongs to it: who waits for an answer, or reads one, drives the connection with the same poll. So it ends
//! with the future or the stream that holds it.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::body::Payload;
use crate::error::ErrorKind;

/// The most that one connection holds of what was read and not yet taken, and the longest head of an answer.
const BUFFER: usize = 64 * 1024;

/// How soon to try again where the queue of connections that the daemon has not accepted is full. The kernel tells
/// nobody when there is room in it (unix(7): EAGAIN).
const QUEUE_FULL: Duration = Duration::from_millis(20);

/// A connection that carries one request at a time.
pub(crate) struct Link {
    sender: SendRequest<Payload>,
    /// In a box, as it is large and moves from future to future.
    connection: Box<Connection<TokioIo<UnixStream>, Payload>>,
    ended: bool,
    /// The same socket, to look at it without the runtime, which may not have noticed yet that it was closed.
    socket: OwnedFd,
    /// When it was last in use.
    pub(crate) rested: Instant,
}

/// A request that got no answer.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) kind: ErrorKind,
    /// The request, if nothing of it was sent.
    pub(crate) unsent: Option<Payload>,
    /// Whether the connection ended before the first byte of an answer.
    pub(crate) unanswered: bool,
}

impl Link {
    pub(crate) async fn open(path: &Path) -> Result<Self, ErrorKind> {
        let stream = connect(path).await.map_err(|error| unreachable(path, &error))?;
        let socket = stream.as_fd().try_clone_to_owned().map_err(|error| unreachable(path, &error))?;
        let mut builder = Builder::new();
        builder.max_buf_size(BUFFER);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|error| cut(&error))?;
        Ok(Self { sender, connection: Box::new(connection), ended: false, socket, rested: Instant::now() })
    }

    /// Whether another request can be sent over it, as far as is known.
    pub(crate) async fn is_fit(&mut self) -> bool {
        poll_fn(|context| {
            self.drive(context);
            Poll::Ready(self.is_free() && is_quiet(&self.socket))
        })
        .await
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn exchange(&mut self, request: Request<Payload>) -> Result<Response<Incoming>, Lost> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let answered = poll_fn(|context| {
            if !self.ended && self.connection.poll_without_shutdown(context).is_ready() {
                self.ended = true;
            }
            answer.as_mut().poll(context)
        });
        answered.await.map_err(|mut failed| {
            let unsent = failed.take_message().map(Request::into_body);
            let error = failed.into_error();
            // What was not sent was not done.
            let kind = if unsent.is_some() { hung_up(&error) } else { cut(&error) };
            Lost { kind, unsent, unanswered: !error.is_parse() && !error.is_user() }
        })
    }

    /// Lets the connection do what it can: what it has read goes to the body that is being waited for.
    pub(crate) fn drive(&mut self, context: &mut Context<'_>) {
        if !self.ended && self.connection.poll_without_shutdown(context).is_ready() {
            self.ended = true;
        }
    }

    /// Whether the last answer, and what was sent for it, are over, and the connection goes on.
    pub(crate) fn is_free(&self) -> bool {
        !self.ended && self.sender.is_ready()
    }

    /// The bare connection, after an answer that gave it away, and what was read of it already.
    pub(crate) fn into_raw(self) -> (UnixStream, Bytes) {
        let parts = self.connection.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// Polls a body, and the connection that fills it.
pub(crate) fn poll_body(
    link: &mut Link,
    body: &mut Incoming,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, ErrorKind>>> {
    // The first look takes what is there; the second what the connection has brought, and asks to be woken.
    if let Poll::Ready(piece) = poll_data(body, context) {
        return Poll::Ready(piece);
    }
    link.drive(context);
    poll_data(body, context)
}

fn poll_data(body: &mut Incoming, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, ErrorKind>>> {
    loop {
        match ready!(Pin::new(&mut *body).poll_frame(context)) {
            Some(Ok(frame)) => {
                // Else trailers, which the API has none of.
                if let Ok(bytes) = frame.into_data() {
                    return Poll::Ready(Some(Ok(bytes)));
                }
            }
            Some(Err(error)) => return Poll::Ready(Some(Err(cut(&error)))),
            None => return Poll::Ready(None),
        }
    }
}

/// Whether a connection is open and has nothing to say.
fn is_quiet(socket: &OwnedFd) -> bool {
    recv(socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).err() == Some(Errno::AGAIN)
}

async fn connect(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(QUEUE_FULL).await,
            other => return other,
        }
    }
}

fn unreachable(path: &Path, error: &io::Error) -> ErrorKind {
    let text = error.to_string();
    // Without Rust's "(os error 2)".
    let text = text.split(" (os error").next().unwrap_or_default();
    let advice = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "; is it running?",
        io::ErrorKind::PermissionDenied => "; root or a member of the group `docker` may use it",
        _ => "",
    };
    ErrorKind::Unreachable(io::Error::new(error.kind(), format!("{}: {text}{advice}", path.display())))
}

/// A connection that ended before anything was sent.
fn hung_up(error: &hyper::Error) -> ErrorKind {
    let text = format!("it hung up before it was asked ({})", chain(error));
    ErrorKind::Unreachable(io::Error::new(io::ErrorKind::ConnectionAborted, text))
}

/// A connection that broke, or an answer that is no HTTP.
fn cut(error: &hyper::Error) -> ErrorKind {
    if error.is_parse() { ErrorKind::Protocol(chain(error)) } else { ErrorKind::Cut(chain(error)) }
}

/// An error and its causes.
fn chain(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
