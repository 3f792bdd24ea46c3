//! The agent as the command line sees it: HTTP over its unix socket, one connection per request.

mod archive;
mod session;
mod sse;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, IF_MATCH, TE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use netloom_agent::wire::{FAILED, Info, Problem};
use netloom_engine::{Layout, task};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::failure::{Exit, Failure, Result, plain};

pub(crate) use session::{SessionInput, SessionOutput};
pub(crate) use sse::Event;

/// How long the agent may take for the head of an answer. It answers from memory; planning a very large lab takes
/// longest.
const LIMIT: Duration = Duration::from_secs(30);

/// How long an agent that has just started may take until it has seen its host.
const SETTLING: Duration = Duration::from_secs(15);

/// An agent that answers.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    socket: PathBuf,
}

/// Why no agent answers.
#[derive(Debug)]
pub(crate) enum Silence {
    /// There is no socket, or nobody listens on it.
    Nobody,
    /// Something else; says what.
    Other(Failure),
}

impl Client {
    /// Asks the agent who it is. One of another version is said.
    pub(crate) async fn find(layout: &Layout) -> std::result::Result<(Self, Info), Silence> {
        let client = Self { socket: layout.socket() };
        if let Err(error) = UnixStream::connect(&client.socket).await {
            return Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Silence::Nobody,
                io::ErrorKind::PermissionDenied => Silence::Other(Failure::no_agent(format_args!(
                    "the agent's socket {} is not open to you; run this as root (sudo) or as a member of group netloom",
                    client.socket.display()
                ))),
                _ => Silence::Other(client.broken(&plain(&error))),
            });
        }
        match client.get::<Info>("/info").await {
            Ok(info) => Ok((client, info)),
            Err(failure) => Err(client.silence_after(failure).await),
        }
    }

    /// Why an agent that took a connection did not answer: one that was killed in that very moment is nobody, as soon as its
    /// socket refuses.
    async fn silence_after(&self, failure: Failure) -> Silence {
        let refuses =
            |error: io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        for _ in 0..20 {
            if UnixStream::connect(&self.socket).await.is_err_and(refuses) {
                return Silence::Nobody;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Silence::Other(failure)
    }

    /// The agent, or exit code 3 with what to do.
    pub(crate) async fn connect(layout: &Layout) -> Result<Self> {
        match Self::find(layout).await {
            Ok((client, info)) => {
                if let Some(warning) = other_version(&info.version) {
                    crate::output::say(&warning);
                }
                Ok(client)
            }
            Err(Silence::Other(failure)) => Err(failure),
            Err(Silence::Nobody) => Err(Failure::no_agent(format_args!(
                "no agent answers on {}; start one with `netloom agent --background`{}",
                layout.socket().display(),
                if rustix::process::geteuid().is_root() { "" } else { " as root" }
            ))),
        }
    }

    fn broken(&self, cause: &str) -> Failure {
        Failure::no_agent(format_args!(
            "the agent on {} does not answer: {cause}; `netloom agent status` and its log say more",
            self.socket.display()
        ))
    }

    async fn stream(&self) -> Result<UnixStream> {
        let stream = timeout(LIMIT, UnixStream::connect(&self.socket)).await;
        let stream = stream.map_err(|_| self.broken("it does not accept connections"))?;
        stream.map_err(|error| self.broken(&plain(&error)))
    }

    /// Sends one request. The answer is one of success.
    async fn send(&self, method: &Method, path: &str, body: Option<Bytes>) -> Result<Response<Incoming>> {
        let answer = self.send_if(method, path, body, None).await?;
        answer.ok_or_else(|| self.broken("it refuses a precondition that was not set"))
    }

    /// Sends one request, to be done only if the resource is as `tag` says; `None` if it has changed since.
    async fn send_if(
        &self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        tag: Option<&str>,
    ) -> Result<Option<Response<Incoming>>> {
        let settled = Instant::now() + SETTLING;
        loop {
            let response = self.once(method, path, body.clone(), tag).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(Some(response));
            }
            if status == StatusCode::PRECONDITION_FAILED && tag.is_some() {
                return Ok(None);
            }
            let busy = status == StatusCode::SERVICE_UNAVAILABLE && response.headers().contains_key("retry-after");
            let failure = failure(status, &self.whole(response).await?);
            if !busy || Instant::now() > settled {
                return Err(failure);
            }
            // It has just started; it tells nobody when it has seen its host, so it is asked again.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        body: Option<Bytes>,
        tag: Option<&str>,
    ) -> Result<Response<Incoming>> {
        let io = TokioIo::new(self.stream().await?);
        let broken = |error: hyper::Error| self.broken(&error.to_string());
        let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
        task::spawn("connection", connection);
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost").header(ACCEPT, "*/*");
        let request = request.header(TE, "trailers");
        let request = match &body {
            Some(_) => request.header(CONTENT_TYPE, "application/json"),
            None => request,
        };
        let request = match tag {
            Some(tag) => request.header(IF_MATCH, tag),
            None => request,
        };
        let request = request.body(Full::new(body.unwrap_or_default())).map_err(Failure::failed)?;
        match timeout(LIMIT, sender.send_request(request)).await {
            Ok(response) => response.map_err(broken),
            Err(_) => Err(self.broken(&format!("no answer to {method} {path} within {} s", LIMIT.as_secs()))),
        }
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes> {
        let body = timeout(LIMIT, response.into_body().collect()).await;
        let body = body.map_err(|_| self.broken("the answer does not end"))?;
        Ok(body.map_err(|error| self.broken(&error.to_string()))?.to_bytes())
    }

    /// Reads a resource.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(&Method::GET, path, None::<&()>).await
    }

    /// Reads a verdict on the agent's health, which may be a bad one (503).
    pub(crate) async fn health<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let response = self.once(&Method::GET, path, None, None).await?;
        let bytes = self.whole(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::failed(format_args!("the agent's answer to GET {path} is not understood ({error})"))
        })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask<T, B>(&self, method: &Method, path: &str, body: Option<&B>) -> Result<T>
    where
        T: DeserializeOwned,
        B: Serialize + ?Sized,
    {
        let body = body.map(serde_json::to_vec).transpose().map_err(Failure::failed)?.map(Bytes::from);
        let response = self.send(method, path, body).await?;
        let bytes = self.whole(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::failed(format_args!("the agent's answer to {method} {path} is not understood ({error})"))
        })
    }

    /// Patches a resource that has this generation; `None` if it has another one by now.
    pub(crate) async fn patch<T>(&self, path: &str, generation: u64, patch: &serde_json::Value) -> Result<Option<T>>
    where
        T: DeserializeOwned,
    {
        let body = serde_json::to_vec(patch).map_err(Failure::failed)?;
        let tag = format!("\"{generation}\"");
        let Some(response) = self.send_if(&Method::PATCH, path, Some(body.into()), Some(&tag)).await? else {
            return Ok(None);
        };
        let bytes = self.whole(response).await?;
        let read = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::failed(format_args!("the agent's answer to PATCH {path} is not understood ({error})"))
        });
        read.map(Some)
    }

    /// Opens a stream of bytes.
    pub(crate) async fn bytes(&self, path: &str) -> Result<Body> {
        let response = self.send(&Method::GET, path, None).await?;
        Ok(Body { body: response.into_body() })
    }

    /// Opens a stream of events.
    pub(crate) async fn events(&self, path: &str) -> Result<Events> {
        Ok(Events { body: self.bytes(path).await?, parser: sse::Parser::default(), ready: Vec::new().into_iter() })
    }
}

/// A stream of bytes.
#[derive(Debug)]
pub(crate) struct Body {
    body: Incoming,
}

impl Body {
    /// The next piece; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => return Ok(Some(bytes)),
                    // What went wrong after the beginning of the answer.
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        if let Some(problem) = trailers.get(FAILED) {
                            let failure = failure(StatusCode::BAD_GATEWAY, problem.as_bytes());
                            return Err(Failure { exit: Exit::Failed, ..failure });
                        }
                    }
                },
                Some(Err(_)) => {
                    return Err(Failure::no_agent("the connection to the agent was lost; it may have been stopped"));
                }
            }
        }
    }
}

/// A stream of events.
#[derive(Debug)]
pub(crate) struct Events {
    body: Body,
    parser: sse::Parser,
    ready: std::vec::IntoIter<Event>,
}

impl Events {
    /// The next event; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.next() {
                return Ok(Some(event));
            }
            let Some(bytes) = self.body.next().await? else { return Ok(None) };
            self.ready = self.parser.push(&bytes).into_iter();
        }
    }

    /// As [`Self::next`], until a deadline.
    pub(crate) async fn next_until(&mut self, deadline: Option<Instant>) -> Option<Result<Option<Event>>> {
        match deadline {
            None => Some(self.next().await),
            Some(deadline) => timeout_at(deadline, self.next()).await.ok(),
        }
    }
}

/// What to say about an answer that is not one of success.
fn failure(status: StatusCode, body: &[u8]) -> Failure {
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        return Failure::failed(format_args!("the agent answers {status}"));
    };
    let exit = match problem.kind() {
        // The same input may be right in a moment.
        "in-progress" | "busy" | "stopping" | "not-ready" => Exit::Failed,
        _ if status.is_client_error() => Exit::Input,
        _ => Exit::Failed,
    };
    Failure { exit, text: Some(problem.detail) }
}

/// What to say when the agent is of another version than the command line.
pub(crate) fn other_version(agent: &str) -> Option<String> {
    let own = env!("CARGO_PKG_VERSION");
    (agent != own).then(|| {
        format!(
            "warning: this is netloom {own}, the agent is {agent}; restart it (`netloom agent stop`, then `netloom agent \
             --background`): labs run on meanwhile"
        )
    })
}

/// A name as a segment of a path (RFC 3986: what is not unreserved is percent-encoded).
pub(crate) fn segment(name: impl AsRef<str>) -> String {
    use std::fmt::Write;
    name.as_ref().bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_an_exit_code_and_its_detail() {
        let problem = |kind| serde_json::to_vec(&Problem::new(404, kind, "title", "there is no lab `x`")).unwrap();
        assert_eq!(failure(StatusCode::NOT_FOUND, &problem("no-lab")), Failure::input("there is no lab `x`"));
        assert_eq!(failure(StatusCode::CONFLICT, &problem("in-progress")).exit, Exit::Failed);
        assert_eq!(failure(StatusCode::INTERNAL_SERVER_ERROR, b"?").exit, Exit::Failed);
    }

    #[test]
    fn names_are_encoded_in_paths() {
        assert_eq!(segment("br|owner"), "br%7Cowner");
        assert_eq!(segment("r1.x-y_z"), "r1.x-y_z");
    }

    #[test]
    fn only_another_version_is_said() {
        assert_eq!(other_version(env!("CARGO_PKG_VERSION")), None);
        assert!(other_version("99.0.0").is_some());
    }

    /// What is found where somebody takes a connection, closes it, and then goes or stays.
    async fn found(stays: impl Fn() -> bool + Send + 'static) -> Silence {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path()).unwrap();
        std::fs::create_dir_all(layout.run()).unwrap();
        let listener = tokio::net::UnixListener::bind(layout.socket()).unwrap();
        let server = task::spawn("server", async move {
            loop {
                drop(listener.accept().await);
                if !stays() {
                    return;
                }
            }
        });
        let silence = Client::find(&layout).await.unwrap_err();
        server.abort();
        silence
    }

    #[tokio::test]
    async fn an_agent_that_was_killed_when_it_was_asked_is_nobody() {
        assert!(matches!(found(|| false).await, Silence::Nobody));
    }

    #[tokio::test]
    async fn an_agent_that_takes_connections_and_does_not_answer_is_somebody() {
        assert!(matches!(found(|| true).await, Silence::Other(_)));
    }
}
