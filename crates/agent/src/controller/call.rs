//! One call of the controller: a request, with JSON or without, and its whole answer, within a limit.
//!
//! No task belongs to a call: whoever waits for it drives its connection, and whoever drops it ends it.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::ControllerConfig;
use super::dial::{Dial, Stream};

/// The most that is read of an answer.
const ANSWER_MAX: usize = 256 << 10;
/// What the agent calls itself.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("netloom/", env!("CARGO_PKG_VERSION")));

/// What calls one controller; clones are the same.
#[derive(Clone)]
pub(super) struct Caller {
    dial: Arc<dyn Dial>,
    host: HeaderValue,
    base: Arc<str>,
    bearer: HeaderValue,
}

/// An answer, whatever it says.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    /// Whether it says that it is for people: a page of something between here and the controller.
    is_page: bool,
    body: Bytes,
}

/// Why there is no answer that a controller would give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// There was none.
    #[error("{0}")]
    NoAnswer(String),
    /// There was none in time.
    #[error("no answer within {} s", .0.as_secs())]
    Late(Duration),
    /// It refuses who asks.
    #[error("it refuses the secret ({0})")]
    Forbidden(StatusCode),
    /// It does not know what the request is about.
    #[error("it answers {}", StatusCode::NOT_FOUND)]
    Unknown,
    /// It does not take this request, and would not take it again.
    #[error("it does not take the request: {0}")]
    Refused(String),
    /// It cannot now, or what answered is not a controller.
    #[error("it answers {0}")]
    Unusable(String),
}

impl Failure {
    /// Whether the same request would get the same answer again.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl Caller {
    /// A caller over connections of some kind.
    pub(super) fn new(config: &ControllerConfig, dial: Arc<dyn Dial>) -> Self {
        let host = HeaderValue::from_str(&config.url.authority()).expect("an authority is a header's value");
        Self { dial, host, base: config.url.base().into(), bearer: config.secret.bearer() }
    }

    /// The address at which the controller was reached last.
    pub(super) fn reached(&self) -> Option<IpAddr> {
        self.dial.reached().filter(|address| !address.is_loopback())
    }

    /// Whether the controller has this address now, and it is none of this host's loopback. Never waits.
    pub(super) fn is_at(&self, peer: IpAddr) -> bool {
        self.dial.is_at(peer)
    }

    /// Has the controller's name looked up anew with the next call.
    pub(super) fn look_again(&self) {
        self.dial.look_again();
    }

    /// Posts to a path and reads what the controller says to it, all within `limit`. Dropped, the call ends.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::Refused(error.to_string()))?;
        self.call(Method::POST, path, Bytes::from(body), limit).await
    }

    /// The same of a path that is only read.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, limit: Duration) -> Result<T, Failure> {
        self.call(Method::GET, path, Bytes::new(), limit).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        limit: Duration,
    ) -> Result<T, Failure> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.bearer)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, HeaderValue::from_static("close"))
            .body(Full::new(body));
        let request = request.map_err(|error| Failure::Refused(error.to_string()))?;
        let call = async {
            let stream = self.dial.dial().await.map_err(|error| Failure::NoAnswer(error.to_string()))?;
            exchange(stream, request).await
        };
        tokio::time::timeout(limit, call).await.unwrap_or(Err(Failure::Late(limit)))?.read()
    }
}

async fn exchange(stream: Box<dyn Stream>, request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
    let lost = |error: hyper::Error| Failure::NoAnswer(chain(&error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(lost)?.into_parts();
        let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|error| Failure::NoAnswer(format!("its answer broke off: {}", chain(&*error))))?;
        let is_page = kind.trim_start().to_ascii_lowercase().starts_with("text/html");
        Ok(Reply { status: head.status, is_page, body: body.to_bytes() })
    };
    let mut answer = pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // What the connection had brought before it ended is there.
        _ = connection => answer.await,
    }
}

impl Reply {
    /// What a controller said, if this is what one says.
    fn read<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let status = self.status;
        if self.is_page {
            return Err(Failure::Unusable(format!("{status} with a page for people: it may be something before it")));
        }
        match status {
            _ if status.is_success() => serde_json::from_slice(&self.body)
                .map_err(|error| Failure::Unusable(format!("{status} with what is no answer to this ({error})"))),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::Forbidden(status)),
            StatusCode::NOT_FOUND => Err(Failure::Unknown),
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Err(Failure::Refused(format!("{status}{}", excerpt(&self.body))))
            }
            _ => Err(Failure::Unusable(status.to_string())),
        }
    }
}

/// The beginning of what was said, on one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let line: String = text.chars().filter(|char| !char.is_control()).take(200).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

/// An error and its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use netloom_engine::task;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::super::dial::Tcp;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Calls a server that answers whoever connects with these bytes, and closes.
    async fn call(answer: &'static str, limit: Duration) -> Result<Value, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = task::spawn("server", async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"{\"a\":1}") {
                assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
        });
        let config = ControllerConfig { url: url.parse().unwrap(), secret: "hush".parse().unwrap() };
        let caller = Caller::new(&config, Arc::new(Tcp::to(&config.url).unwrap()));
        let said = caller.post("/x", &json!({ "a": 1 }), limit).await;
        server.abort();
        said
    }

    #[tokio::test]
    async fn what_a_controller_says_is_read_whole() {
        let said = call("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"b\": 2}", LIMIT).await;
        assert_eq!(said, Ok(json!({ "b": 2 })));
        // Without a length the end of the connection is that of the answer.
        assert_eq!(call("HTTP/1.1 200 OK\r\n\r\n{\"b\": 2}", LIMIT).await, Ok(json!({ "b": 2 })));
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_none() {
        for broken in ["HTTP/1.1 200 OK\r\ncontent-length: 80\r\n\r\n{\"b\": 2}", "HTTP/1.1 200", "nonsense\r\n\r\n"] {
            let said = call(broken, LIMIT).await;
            assert!(matches!(said, Err(Failure::NoAnswer(_))), "{said:?}");
        }
    }

    #[tokio::test]
    async fn one_that_says_nothing_is_late() {
        let limit = Duration::from_millis(50);
        assert_eq!(call("", limit).await, Err(Failure::Late(limit)));
    }

    #[tokio::test]
    async fn nobody_there_is_no_answer() {
        let config = ControllerConfig { url: "http://127.0.0.1:1".parse().unwrap(), secret: "hush".parse().unwrap() };
        let caller = Caller::new(&config, Arc::new(Tcp::to(&config.url).unwrap()));
        let said = caller.post::<Value>("/x", &json!({}), LIMIT).await;
        assert!(matches!(said, Err(Failure::NoAnswer(_))), "{said:?}");
    }

    #[tokio::test]
    async fn a_page_is_never_what_a_controller_says() {
        for status in ["200 OK", "404 Not Found", "403 Forbidden", "502 Bad Gateway"] {
            let page =
                format!("HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\n\r\n<h1>Welcome to nginx</h1>");
            let said = call(page.leak(), LIMIT).await;
            assert!(matches!(said, Err(Failure::Unusable(_))), "{said:?}");
        }
        let said = call("HTTP/1.1 200 OK\r\n\r\n<h1>Welcome</h1>", LIMIT).await;
        assert!(matches!(said, Err(Failure::Unusable(_))), "{said:?}");
    }

    #[tokio::test]
    async fn refusals_are_told_apart() {
        let said = |status: &str| {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\r\n{{\"detail\":\"no\"}}");
            call(answer.leak(), LIMIT)
        };
        assert_eq!(said("404 Not Found").await, Err(Failure::Unknown));
        assert_eq!(said("403 Forbidden").await, Err(Failure::Forbidden(StatusCode::FORBIDDEN)));
        let refused = said("422 Unprocessable Entity").await;
        assert!(matches!(&refused, Err(Failure::Refused(why)) if why.contains("\"detail\":\"no\"")), "{refused:?}");
        for status in ["500 Internal Server Error", "503 Service Unavailable", "429 Too Many Requests", "302 Found"] {
            assert!(matches!(said(status).await, Err(Failure::Unusable(_))), "{status}");
        }
    }
}
