//! Requests to the agent over its unix socket, one connection each, as its own command line makes them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::host::LIMIT;

/// The agent's socket.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    path: PathBuf,
    /// How long it may be silent.
    limit: Duration,
}

impl Socket {
    /// That of the agent with this root.
    pub(crate) fn below(root: &Path) -> Self {
        Self { path: root.join("run/netloom/agent.sock"), limit: LIMIT }
    }

    /// For who does not wait so long for an answer.
    pub(crate) fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    /// A connection on which a request without a body was made: its answer is to be read.
    pub(crate) fn open(&self, method: &str, path: &str) -> Result<UnixStream> {
        self.send(method, path, "")
    }

    /// Asks, and gives the body of an answer of success.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        self.request("GET", path, None)
    }

    /// Sends a merge patch of a lab, whatever its generation; the operation that carries it out.
    pub(crate) fn patch(&self, lab: &str, patch: &Value) -> Result<String> {
        let accepted = self.request("PATCH", &format!("/labs/{lab}"), Some(patch))?;
        Ok(accepted["operation"]["id"].as_str().context("an operation")?.to_owned())
    }

    /// Waits until an operation has succeeded.
    pub(crate) fn wait(&self, operation: &str) -> Result<()> {
        let view = self.get(&format!("/operations/{operation}?wait=60"))?;
        ensure!(view["state"] == "succeeded", "operation {operation}: {view}");
        Ok(())
    }

    /// The value of a metric that has no labels.
    pub(crate) fn metric(&self, name: &str) -> Result<u64> {
        let text = self.text("GET", "/metrics", None)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.with_context(|| format!("metric {name}"))?.parse().with_context(|| format!("metric {name}"))
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let body = self.text(method, path, body)?;
        // The agent knows how long its answers are, so none comes in chunks.
        serde_json::from_str(&body).with_context(|| format!("{method} {path}: {body}"))
    }

    /// The body of an answer of success.
    fn text(&self, method: &str, path: &str, body: Option<&Value>) -> Result<String> {
        let mut stream = self.send(method, path, &body.map(Value::to_string).unwrap_or_default())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer with a head")?;
        let status = head.split(' ').nth(1).context("a status")?;
        ensure!(status.starts_with('2'), "{method} {path}: {status}: {body}");
        Ok(body.to_owned())
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.path).with_context(|| format!("{}", self.path.display()))?;
        stream.set_read_timeout(Some(self.limit))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nIf-Match: *\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes())?;
        Ok(stream)
    }
}
