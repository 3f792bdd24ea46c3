//! The client: versions, deadlines, and the one way in which each call is made.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, StatusCode};
use serde::Serialize;

use crate::body::{ByteStream, Payload};
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::link::{Link, Lost};
use crate::observe::{Observer, Watch};
use crate::pool::Pool;
use crate::reply::Reply;
use crate::target::Target;

/// The oldest version of the API that is spoken: Docker 20.10.
const OLDEST: u16 = 41;

/// The newest version of the API that is spoken: Docker 27.
const NEWEST: u16 = 47;

/// A Docker daemon, as a client sees it.
///
/// A clone is cheap and shares all. It belongs to the tokio runtime that it is first used in. Every call has a
/// deadline, which covers connecting, sending and the whole answer; of a stream it covers the beginning, and its reader
/// decides about the rest. A future that is dropped closes its connection; the daemon may still do what it was asked
/// for. Source: the Docker Engine API, <https://docs.docker.com/reference/api/engine/>.
#[derive(Clone, Debug)]
pub struct Docker {
    pool: Arc<Pool>,
    observer: Arc<dyn Observer>,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Ask {
    method: Method,
    target: Target,
    payload: Payload,
    hijack: bool,
}

impl Ask {
    pub(crate) fn new(method: Method, target: Target) -> Self {
        Self { method, target, payload: Payload::Empty, hijack: false }
    }

    pub(crate) fn get(target: Target) -> Self {
        Self::new(Method::GET, target)
    }

    pub(crate) fn post(target: Target) -> Self {
        Self::new(Method::POST, target)
    }

    pub(crate) fn delete(target: Target) -> Self {
        Self::new(Method::DELETE, target)
    }

    pub(crate) fn json<T: Serialize>(mut self, value: &T) -> std::result::Result<Self, ErrorKind> {
        let text = serde_json::to_vec(value).map_err(|error| ErrorKind::Protocol(error.to_string()))?;
        self.payload = Payload::Json(Bytes::from(text));
        Ok(self)
    }

    pub(crate) fn archive(mut self, bytes: ByteStream) -> Self {
        self.payload = Payload::Stream { content_type: "application/x-tar", bytes };
        self
    }

    /// Asks for the bare connection.
    pub(crate) fn hijack(mut self) -> Self {
        self.hijack = true;
        self
    }

    fn request(&self, prefix: &str, payload: Payload) -> std::result::Result<Request<Payload>, ErrorKind> {
        let mut request = Request::builder().method(&self.method).uri(format!("{prefix}{}", self.target.as_str()));
        request = request.header(HOST, "docker");
        if let Some(content_type) = payload.content_type() {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if self.hijack {
            request = request.header(CONNECTION, "Upgrade").header(UPGRADE, "tcp");
        }
        request.body(payload).map_err(|error| ErrorKind::Protocol(error.to_string()))
    }

    /// Whether it may be sent again where nobody knows what became of it.
    fn is_repeatable(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}

impl Docker {
    /// A client of the daemon there. It connects when it is first used.
    pub fn new(endpoint: Endpoint, observer: Arc<dyn Observer>) -> Self {
        Self { pool: Arc::new(Pool::new(endpoint)), observer }
    }

    /// Makes a call: counts it, ends it at its deadline, and says what it was about when it fails.
    pub(crate) async fn call<T>(
        &self,
        operation: &'static str,
        object: &str,
        deadline: Instant,
        work: impl Future<Output = std::result::Result<T, ErrorKind>>,
    ) -> Result<T> {
        let watch = Watch::begin(self.observer.clone(), operation);
        let outcome = tokio::time::timeout_at(deadline.into(), work).await.unwrap_or(Err(ErrorKind::Deadline));
        let outcome = outcome.map_err(|kind| Error { operation, object: object.to_owned(), kind });
        watch.end(&outcome);
        outcome
    }

    /// Sends a request in the version that both sides know; what is not an answer of success is an error.
    pub(crate) async fn ask(&self, ask: Ask) -> std::result::Result<Reply, ErrorKind> {
        // In a box: it takes kilobytes, and would take them in the future of each kind of call.
        Box::pin(self.agree_and_ask(ask)).await
    }

    async fn agree_and_ask(&self, ask: Ask) -> std::result::Result<Reply, ErrorKind> {
        let minor = match self.pool.minor() {
            Some(minor) => minor,
            None => self.negotiate().await?,
        };
        let reply = self.exchange(&format!("/v1.{minor}"), ask).await?;
        if reply.status() == StatusCode::BAD_REQUEST {
            let failure = reply.failure().await;
            // Another daemon by now. The next call asks it.
            if failure.to_string().contains("client version") {
                self.pool.forget();
            }
            return Err(failure);
        }
        succeeded(reply).await
    }

    /// The minor version of the API that is spoken.
    pub(crate) async fn negotiate(&self) -> std::result::Result<u16, ErrorKind> {
        let reply = succeeded(self.exchange("", Ask::get(Target::at(["_ping"]))).await?).await?;
        let theirs = reply.header("api-version").map(str::to_owned);
        reply.done().await?;
        let minor = agreed(theirs.as_deref())?;
        self.pool.agree(minor);
        Ok(minor)
    }

    /// Sends a request over a connection at rest or a new one. One that turns out to be closed is replaced once, if the
    /// daemon cannot have done anything, or nothing but read.
    async fn exchange(&self, prefix: &str, mut ask: Ask) -> std::result::Result<Reply, ErrorKind> {
        let mut payload = std::mem::replace(&mut ask.payload, Payload::Empty);
        if let Some(mut link) = self.pool.take().await {
            match link.exchange(ask.request(prefix, payload)?).await {
                Ok(response) => return Ok(Reply::new(response, link, self.pool.clone())),
                Err(Lost { unsent: Some(unsent), .. }) => payload = unsent,
                Err(Lost { unanswered: true, .. }) if ask.is_repeatable() => payload = Payload::Empty,
                Err(lost) => return Err(self.lost(lost.kind)),
            }
            self.pool.forget();
        }
        let mut link = Link::open(self.pool.socket()?).await.map_err(|kind| self.lost(kind))?;
        let response = link.exchange(ask.request(prefix, payload)?).await;
        Ok(Reply::new(response.map_err(|lost| self.lost(lost.kind))?, link, self.pool.clone()))
    }

    fn lost(&self, kind: ErrorKind) -> ErrorKind {
        self.pool.forget();
        kind
    }
}

async fn succeeded(reply: Reply) -> std::result::Result<Reply, ErrorKind> {
    match reply.status() {
        status if status.is_success() => Ok(reply),
        StatusCode::SWITCHING_PROTOCOLS | StatusCode::NOT_MODIFIED => Ok(reply),
        _ => Err(reply.failure().await),
    }
}

/// The minor version that both sides speak.
fn agreed(theirs: Option<&str>) -> std::result::Result<u16, ErrorKind> {
    let text = theirs.unwrap_or_default();
    let minor: Option<u16> = text.strip_prefix("1.").and_then(|minor| minor.parse().ok());
    match minor {
        Some(minor) if minor >= OLDEST => Ok(minor.min(NEWEST)),
        Some(_) => Err(ErrorKind::Protocol(format!(
            "the daemon speaks version {text} of the Docker Engine API; 1.{OLDEST} (Docker 20.10) or later is needed"
        ))),
        None => Err(ErrorKind::Protocol(format!(
            "its header Api-Version is `{text}`; a Docker daemon says 1.{OLDEST} or later"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_newest_that_both_sides_know() {
        assert_eq!(agreed(Some("1.41")).unwrap(), 41);
        assert_eq!(agreed(Some("1.44")).unwrap(), 44);
        assert_eq!(agreed(Some("1.52")).unwrap(), NEWEST);
        let old = agreed(Some("1.40")).unwrap_err().to_string();
        assert!(old.contains("1.41 (Docker 20.10) or later is needed"), "{old}");
        assert!(matches!(agreed(None), Err(ErrorKind::Protocol(_))));
        assert!(matches!(agreed(Some("2.0")), Err(ErrorKind::Protocol(_))));
    }
}
