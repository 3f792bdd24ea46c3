//! A controller: it asks for interfaces of the host and for the end of its labs, over TCP and with the secret.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::host::exchange;

/// What opens the agent to it.
pub(crate) const SECRET: &str = "hush-hush-hush";
/// Where the agent listens unless it is told otherwise.
const AGENT: &str = "127.0.0.1:8001";
/// How long an answer may take: more than the agent needs for a change and the way back.
const LIMIT: Duration = Duration::from_secs(50);

/// What it asks for.
pub(crate) struct Question {
    pub(crate) path: &'static str,
    pub(crate) body: Value,
}

/// That lab `x` goes.
pub(crate) fn destroy() -> Question {
    Question { path: "/jobs/destroy", body: json!({ "job_id": "destroy-x", "lab_id": "x", "provider": "docker" }) }
}

/// Whether an answer says that it is so.
pub(crate) fn is_done(answer: &Value) -> bool {
    answer["success"] == true || answer["status"] == "completed"
}

/// What the agent answers to this; an error if it ends before that.
pub(crate) fn ask(path: &str, body: &str) -> Result<Value> {
    let stream = TcpStream::connect(AGENT).context("the agent")?;
    stream.set_read_timeout(Some(LIMIT))?;
    let head = format!(
        "POST {path} HTTP/1.0\r\nAuthorization: Bearer {SECRET}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let (status, answer) = exchange(stream, &(head + body))?;
    serde_json::from_str(&answer).with_context(|| format!("{status}: {answer}"))
}
