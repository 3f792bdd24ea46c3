//! Requests to the agent without its command line, and without a program of others.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::sandbox::Sandbox;

/// How long the agent may take to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// What the agent answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}:\n{}", self.body))
    }
}

impl Sandbox {
    /// The status of an answer over TCP, on a connection of its own, within five seconds; 0 if there is none.
    pub(crate) fn answers(&self, path: &str) -> u16 {
        let ask = || {
            let stream = TcpStream::connect_timeout(&"127.0.0.1:8001".parse().unwrap(), LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            exchange(stream, &format!("GET {path}"), "", "")
        };
        self.netns().run(ask).unwrap().map_or(0, |answer| answer.status)
    }

    /// What the agent answers on its socket to a request like `GET /labs`.
    #[track_caller]
    pub(crate) fn ask(&self, request: &str) -> Answer {
        self.send(request, "", "")
    }

    /// The same with more lines in the head, each with its end, and a body.
    #[track_caller]
    pub(crate) fn send(&self, request: &str, head: &str, body: &str) -> Answer {
        let stream = UnixStream::connect(self.root.path().join("run/netloom/agent.sock")).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        exchange(stream, request, head, body).unwrap()
    }

    /// What the agent answers over TCP to whoever has this secret, as a controller does.
    #[track_caller]
    pub(crate) fn demand(&self, secret: &str, request: &str, body: &Value) -> Value {
        let (head, body) = (format!("Authorization: Bearer {secret}\r\n"), body.to_string());
        let ask = || {
            let stream = TcpStream::connect_timeout(&"127.0.0.1:8001".parse().unwrap(), LIMIT)?;
            stream.set_read_timeout(Some(LIMIT * 2))?;
            exchange(stream, request, &format!("{head}Content-Type: application/json\r\n"), &body)
        };
        let answer = self.netns().run(ask).unwrap().unwrap();
        assert_eq!(answer.status, 200, "{request}: {}", answer.body);
        answer.json()
    }

    /// The process of the agent.
    #[track_caller]
    pub(crate) fn agent(&self) -> String {
        self.netloom(&["agent", "status", "--json"]).code(0).json()["pid"].to_string()
    }

    /// Kills the agent and waits until it is gone.
    #[track_caller]
    pub(crate) fn kill_agent(&self) {
        self.sh(&format!("kill -KILL {}", self.agent())).code(0);
        self.until("it is gone", |host| host.netloom(&["agent", "status"]).code == 3);
    }
}

/// HTTP/1.0, so that the answer comes in one piece and ends with the connection.
fn exchange(mut stream: impl Read + Write, request: &str, head: &str, body: &str) -> io::Result<Answer> {
    let length = body.len();
    write!(stream, "{request} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n{head}\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(Answer { status, body: body.to_owned() })
}
