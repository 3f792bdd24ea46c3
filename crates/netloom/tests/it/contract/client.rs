//! The side of the controller that calls the agent: HTTP/1.1 with connections that are kept, as its client library does it,
//! and every answer checked by the schema of its route.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netloom_kernel::Netns;
use serde_json::Value;

use super::schemas::{self, ANSWERS};

/// The agent, as its controller sees it.
#[derive(Debug, Clone)]
pub(crate) struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where the controller is.
    netns: Netns,
    address: SocketAddr,
    secret: String,
    /// Connections that wait for the next call.
    kept: Mutex<Vec<Wire>>,
}

/// What is answered to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; that of 204 is `{}` to the controller.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        if self.status == 204 {
            return Value::Object(serde_json::Map::new());
        }
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{}: {error}: {:?}", self.status, text()))
    }
}

/// A request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// The value of the header `Authorization`.
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) body: Vec<u8>,
}

/// How many connections are kept alive.
const KEPT: usize = 20;

impl Client {
    pub(crate) fn new(netns: Netns, address: SocketAddr, secret: &str) -> Self {
        Self(Arc::new(Inner { netns, address, secret: secret.to_owned(), kept: Mutex::default() }))
    }

    /// Where the agent is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Value {
        self.well("GET", path, None)
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.well("POST", path, Some(body))
    }

    /// A call that has no body.
    #[track_caller]
    pub(crate) fn call(&self, path: &str) -> Value {
        self.well("POST", path, None)
    }

    #[track_caller]
    pub(crate) fn put(&self, path: &str, body: &Value) -> Value {
        self.well("PUT", path, Some(body))
    }

    #[track_caller]
    pub(crate) fn delete(&self, path: &str) -> Value {
        self.well("DELETE", path, None)
    }

    /// An answer that has to be 200.
    #[track_caller]
    fn well(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.send(method, path, body);
        assert_eq!(status, 200, "{method} {path} {body:?} answered {answer:#}");
        answer
    }

    /// An answer of whatever status, checked by the schema of the route.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string().into_bytes());
        let content_type = body.is_some().then_some("application/json");
        self.send_as(method, path, content_type, body.unwrap_or_default())
    }

    /// The same with any body.
    #[track_caller]
    pub(crate) fn send_as(&self, method: &str, path: &str, content_type: Option<&str>, body: Vec<u8>) -> (u16, Value) {
        let route =
            ANSWERS.route(method, path).unwrap_or_else(|| panic!("{method} {path} is no route of the contract"));
        let authorization = Some(format!("Bearer {}", self.0.secret));
        let request = Request { method, path, authorization, content_type, body };
        let answer = self.exchange(&request, limit(method, route));
        let answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let body = answer.json();
        schemas::check(method, route, answer.status, &body);
        (answer.status, body)
    }

    /// A request with just what it says. `limit` is for the way there, and for each piece of the answer.
    pub(crate) fn exchange(&self, request: &Request<'_>, limit: Duration) -> io::Result<Answer> {
        let mut wire = match self.kept() {
            Some(wire) => wire,
            None => self.connect(limit)?,
        };
        wire.stream.set_read_timeout(Some(limit))?;
        wire.stream.set_write_timeout(Some(limit))?;
        wire.write(request, self.0.address)?;
        let (answer, keeps) = wire.answer()?;
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if keeps && kept.len() < KEPT {
            kept.push(wire);
        }
        Ok(answer)
    }

    /// A connection to the agent, for whatever is spoken on it.
    pub(crate) fn stream(&self) -> io::Result<TcpStream> {
        self.0.netns.run(|| TcpStream::connect_timeout(&self.0.address, Duration::from_secs(5)))?
    }

    fn connect(&self, limit: Duration) -> io::Result<Wire> {
        let stream = self.0.netns.run(|| TcpStream::connect_timeout(&self.0.address, limit))??;
        stream.set_nodelay(true)?;
        Ok(Wire { stream, read: Vec::new() })
    }

    /// A connection on which nothing has come since the last answer, not its end either.
    fn kept(&self) -> Option<Wire> {
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| kept.pop()).find(Wire::is_silent)
    }
}

/// How long the controller waits for the answer of a route.
fn limit(method: &str, route: &str) -> Duration {
    let seconds = match (method, route) {
        (_, "/jobs/deploy" | "/labs/{lab}/nodes/reconcile") => 900,
        (_, "/images/receive") => 600,
        (_, "/jobs/destroy") => 300,
        (_, "/health" | "/healthz" | "/capacity") => 5,
        (_, "/labs/{lab}/boot-logs") => 15,
        (
            _,
            "/labs/{lab}/nodes/{node}/create"
            | "/labs/{lab}/nodes/{node}/start"
            | "/labs/{lab}/extract-configs"
            | "/labs/{lab}/nodes/{node}/extract-config"
            | "/prune-docker"
            | "/cleanup-orphans"
            | "/cleanup-lab-orphans",
        ) => 120,
        (
            _,
            "/labs/{lab}/nodes/{node}/stop"
            | "/overlay/attach-link"
            | "/overlay/detach-link"
            | "/overlay/declare-state"
            | "/ports/declare-state"
            | "/overlay/cleanup"
            | "/overlay/reconcile-ports"
            | "/labs/{lab}/repair-endpoints"
            | "/interfaces/{name}/mtu"
            | "/interfaces/provision"
            | "/cleanup-workspaces"
            | "/runtime-identity/backfill"
            | "/labs/{lab}/nodes/{node}/cli-verify",
        )
        | ("DELETE", "/labs/{lab}/nodes/{node}" | "/containers/{lab}/{name}" | "/images/{reference}") => 60,
        (
            "GET",
            "/labs/{lab}/nodes/{node}/ready"
            | "/labs/{lab}/nodes/{node}/runtime"
            | "/images/{reference}"
            | "/images/active-transfers"
            | "/labs/{lab}/port-state"
            | "/ovs-plugin/labs/{lab}/ports"
            | "/labs/{lab}/interfaces/{node}/{interface}/vlan"
            | "/overlay/status"
            | "/ovs/status"
            | "/ovs/flows"
            | "/locks/status",
        )
        | ("PUT", "/overlay/ports/{port}/vlan")
        | ("POST", "/labs/{lab}/interfaces/{node}/{interface}/carrier") => 10,
        _ => 30,
    };
    Duration::from_secs(seconds)
}

/// A connection, and what was read of the next answer.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    fn is_silent(&self) -> bool {
        let silent = self.stream.set_nonblocking(true).is_ok()
            && self.stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        silent && self.read.is_empty() && self.stream.set_nonblocking(false).is_ok()
    }

    fn write(&mut self, request: &Request<'_>, host: SocketAddr) -> io::Result<()> {
        let Request { method, path, .. } = request;
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\nconnection: keep-alive\r\n");
        head.push_str("user-agent: python-httpx/0.27.2\r\n");
        if let Some(authorization) = &request.authorization {
            let _ = write!(head, "authorization: {authorization}\r\n");
        }
        if let Some(content_type) = request.content_type {
            let _ = write!(head, "content-type: {content_type}\r\n");
        }
        if !request.body.is_empty() || *method != "GET" {
            let _ = write!(head, "content-length: {}\r\n", request.body.len());
        }
        head.push_str("\r\n");
        let mut all = head.into_bytes();
        all.extend(&request.body);
        self.stream.write_all(&all)
    }

    /// The answer, and whether another one may follow on the connection.
    fn answer(&mut self) -> io::Result<(Answer, bool)> {
        let head = self.until(b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let status: u16 =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let field = |name: &str| head.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()));
        let keeps = field("connection") != Some("close") && head.starts_with("http/1.1");
        let length = field("content-length").and_then(|length| length.parse().ok());
        let (body, ends) = match length {
            _ if status == 204 || status == 304 => (Vec::new(), false),
            _ if field("transfer-encoding") == Some("chunked") => (self.chunks()?, false),
            Some(length) => (self.exactly(length)?, false),
            None => {
                self.stream.read_to_end(&mut self.read)?;
                (std::mem::take(&mut self.read), true)
            }
        };
        Ok((Answer { status, body }, keeps && !ends))
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.until(b"\r\n")?;
            let length = String::from_utf8_lossy(&line);
            let length = length.trim().split(';').next().unwrap_or_default();
            let length = usize::from_str_radix(length, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            let chunk = self.exactly(length + 2)?;
            if length == 0 {
                return Ok(body);
            }
            body.extend(&chunk[..length]);
        }
    }

    /// What comes up to this end and with it.
    fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return self.exactly(at + end.len());
            }
            self.more()?;
        }
    }

    fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < length {
            self.more()?;
        }
        Ok(self.read.drain(..length).collect())
    }

    fn more(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.read.extend(&piece[..read]);
                Ok(())
            }
        }
    }
}
