//! The console of a node, over a WebSocket: the last lines of its output, then its shell on a terminal.
//!
//! From the client text and binary are what was typed; only a text that is a JSON object with `"type": "resize"` is the new size
//! of its window. To the client binary is the terminal's output, and text is ours: the former output, and why it ends. Each
//! viewer has a shell of its own. One that does not start is replaced by a plain one, but not while the node may still boot.

use std::time::Duration;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use netloom_engine::{ExecInput, ExecRequest, Follow, Refusal, Terminal};
use netloom_model::{ConsoleShell, LabName, NodeName};
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};

use super::carry_out::wish;
use super::readiness::{self, Probe};
use super::{Detail, Shared};
use crate::scrollback;
use crate::serve::App;
use crate::session::{Bounds, Channel, Ended, Heard, MESSAGE, Sink, Source, Speech, hold};

/// The size of a terminal until a client says another.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;
/// What a browser's terminal understands.
const TERM: &str = "TERM=xterm-256color";
/// How long the former output may take; what has come until then is shown.
const SCROLLBACK: Duration = Duration::from_secs(2);
/// How much of it is read, in bytes.
const SCROLLBACK_BYTES: usize = 256 * 1024;
/// A shell that ends sooner with an error, and before anything was typed, did not start.
const EARLY: Duration = Duration::from_secs(3);
/// How long a client may take for the last words and its own close.
const GOODBYE: Duration = Duration::from_secs(2);

/// A viewer has to be there, but need not type: the browser of one whose console is closed opens it again at once.
const BOUNDS: Bounds = Bounds {
    ping: Duration::from_secs(20),
    silence: Duration::from_secs(60),
    send: Duration::from_secs(30),
    input: Duration::from_secs(15),
    idle: Duration::MAX,
};

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/console/{lab}/{node}", get(console))
}

type Upgrade = Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>;

/// `WS /console/{lab}/{node}`: accepted at once, also for a node that is not there; what is wrong is said on the socket.
async fn console(
    State(app): State<Shared>,
    Path((lab, node)): Path<(String, String)>,
    upgrade: Upgrade,
) -> Result<Response, Detail> {
    let upgrade = upgrade.map_err(|rejection| Detail::new(400, format!("{rejection}: this is a WebSocket")))?;
    // The connection's own task ends with the upgrade; this keeps the agent's end waiting for the session.
    let token = app.tasks.token();
    Ok(upgrade.max_message_size(MESSAGE).max_frame_size(MESSAGE).on_upgrade(async move |socket| {
        session(&app, (&lab, &node), socket).await;
        drop(token);
    }))
}

/// How a console ends: what is said at last, and the code of the close (RFC 6455, 7.4.1).
struct Last {
    said: Option<String>,
    code: u16,
}

impl Last {
    fn error(said: impl Into<String>) -> Self {
        Self { said: Some(said.into()), code: close_code::ERROR }
    }

    fn refused(refusal: &Refusal) -> Self {
        let code = if matches!(refusal, Refusal::Busy(_)) { close_code::AGAIN } else { close_code::ERROR };
        Self { said: Some(refusal.to_string()), code }
    }
}

async fn session(app: &App, of: (&str, &str), socket: WebSocket) {
    let (mut sink, mut stream) = socket.split();
    let last = tokio::select! {
        last = converse(app, of, &mut sink, &mut stream) => last,
        () = app.stop.cancelled() => Last { said: Some("the agent is stopping".into()), code: close_code::AWAY },
    };
    let said = last.said.map(|said| text(&format!("\r\n{said}\r\n")));
    let close = Message::Close(Some(CloseFrame { code: last.code, reason: "".into() }));
    let goodbye = async {
        for message in said.into_iter().chain([close]) {
            // A client that has closed takes nothing more.
            if sink.send(message).await.is_err() {
                break;
            }
        }
        // Reading answers its close; and what it still sends is read: closed in its face, the connection would be reset, and the
        // last words with it.
        while let Some(Ok(_)) = stream.next().await {}
    };
    let _ = timeout(GOODBYE, goodbye).await;
}

async fn converse(app: &App, (lab, node): (&str, &str), sink: &mut Sink, stream: &mut Source) -> Last {
    let (lab, node): (LabName, NodeName) = match (lab.parse(), node.parse()) {
        (Ok(lab), Ok(node)) => (lab, node),
        (Err(invalid), _) | (_, Err(invalid)) => return Last::error(invalid.to_string()),
    };
    // Whoever comes without a key sees nothing of labs that are not the controller's, not even that they are there.
    if wish(app, &lab).is_none() {
        return Last::refused(&Refusal::NoLab(lab));
    }
    match former(app, &lab, &node).await {
        Ok(Some(shown)) => {
            if !matches!(timeout(BOUNDS.send, sink.send(text(&shown))).await, Ok(Ok(()))) {
                return Last { said: None, code: close_code::NORMAL };
            }
        }
        Ok(None) => {}
        Err(refusal) => return Last::refused(&refusal),
    }
    let mut shell = shell_of(app, &lab, &node);
    loop {
        let terminal = Terminal::Size { columns: COLUMNS, rows: ROWS };
        let request = ExecRequest { argv: shell.argv(), terminal, env: vec![TERM.to_owned()] };
        let begun = Instant::now();
        let (session, _place) = match app.engine.exec(&lab, &node, request).await {
            Ok(started) => started,
            Err(refusal) => return Last::refused(&refusal),
        };
        let held = hold(sink, stream, session, &Typed, BOUNDS).await;
        let did_not_start = begun.elapsed() < EARLY && !held.was_used;
        return match held.ended {
            Ended::Exited(code) if code != 0 && did_not_start && !shell.is_plain() => {
                let own = &shell.words()[0];
                if may_boot(app, &lab, &node) {
                    // A plain shell would stay long after the device has booted. The browser comes again in a second.
                    return Last::error(format!("{own} ended with code {code}; {node} may still boot"));
                }
                let said = format!("\r\n\x1b[90m{own} ended with code {code}; this is /bin/sh\x1b[0m\r\n");
                if !matches!(timeout(BOUNDS.send, sink.send(text(&said))).await, Ok(Ok(()))) {
                    return Last { said: None, code: close_code::NORMAL };
                }
                shell = ConsoleShell::plain();
                continue;
            }
            Ended::Exited(code @ 125..=127) if did_not_start => {
                Last::error(format!("no shell could be started in {lab}/{node} (code {code})"))
            }
            Ended::Exited(_) | Ended::Gone | Ended::Idle => Last { said: None, code: close_code::NORMAL },
            Ended::BrokenOff => Last::error(format!("the session broke off; {lab}/{node} may have gone")),
            Ended::Deaf => Last::error("what runs in the console takes no input; the console is closed"),
        };
    }
}

/// The end of a node's output, grey. Only that there is no such node, or no place, is an error: a console works without.
async fn former(app: &App, lab: &LabName, node: &NodeName) -> Result<Option<String>, Refusal> {
    let until = Instant::now() + SCROLLBACK;
    let opened = timeout_at(until, app.engine.logs(lab, node, Follow::Last(scrollback::LINES))).await;
    let (mut logs, _place) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(refusal @ (Refusal::Busy(_) | Refusal::NoLab(_) | Refusal::NoNode { .. } | Refusal::Stopping))) => {
            return Err(refusal);
        }
        Ok(Err(_)) | Err(_) => return Ok(None),
    };
    let mut read = Vec::new();
    while let Ok(Some(chunk)) = timeout_at(until, logs.chunks.recv()).await {
        read.extend_from_slice(&chunk);
        let over = read.len().saturating_sub(SCROLLBACK_BYTES);
        read.drain(..over);
    }
    Ok(scrollback::grey(&read))
}

fn shell_of(app: &App, lab: &LabName, node: &NodeName) -> ConsoleShell {
    let snapshot = app.engine.inventory().snapshot();
    let fact = snapshot.node(lab, node);
    let wish = app.engine.wishes().get(lab);
    let wanted = wish.as_ref().and_then(|wish| wish.lab.nodes().get(node));
    ConsoleShell::of(wanted, fact.and_then(|fact| fact.image.as_deref()))
}

fn may_boot(app: &App, lab: &LabName, node: &NodeName) -> bool {
    let wish = app.engine.wishes().get(lab);
    let wanted = wish.as_ref().and_then(|wish| wish.lab.nodes().get(node));
    readiness::may_boot(app, lab, node, &Probe::of(wanted, None))
}

fn text(text: &str) -> Message {
    Message::Text(text.into())
}

/// What is typed, and what a terminal shows.
struct Typed;

/// The only text of a client that was not typed.
#[derive(Debug, Deserialize)]
struct Window {
    #[serde(rename = "type")]
    kind: String,
    rows: Option<serde_json::Value>,
    cols: Option<serde_json::Value>,
}

impl Window {
    fn read(text: &str) -> Option<Self> {
        // Nobody types braces around a whole message; whoever pastes them pays a look.
        let window: Self = text.trim_start().starts_with('{').then(|| serde_json::from_str(text).ok())??;
        (window.kind == "resize").then_some(window)
    }
}

/// A size of a terminal; what cannot be one is the usual.
fn size(given: Option<&serde_json::Value>, usual: u16) -> u16 {
    let number = given.and_then(serde_json::Value::as_u64).and_then(|number| u16::try_from(number).ok());
    number.filter(|number| (1..=4096).contains(number)).unwrap_or(usual)
}

impl Speech for Typed {
    /// A controller closes the connection at a message of 1 MiB.
    const PIECE: usize = 64 * 1024;

    fn hear(&self, message: Message) -> Heard {
        let typed = match message {
            Message::Text(text) => match Window::read(&text) {
                Some(Window { rows, cols, .. }) => {
                    let (columns, rows) = (size(cols.as_ref(), COLUMNS), size(rows.as_ref(), ROWS));
                    return Heard::Input(ExecInput::Resize { columns, rows });
                }
                None => Bytes::from(text),
            },
            Message::Binary(bytes) => bytes,
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Heard::Nothing,
        };
        if typed.is_empty() { Heard::Nothing } else { Heard::Input(ExecInput::Stdin(typed)) }
    }

    fn say(&self, _channel: Channel, piece: Bytes) -> Message {
        Message::Binary(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Heard {
        Typed.hear(Message::Text(text.into()))
    }

    fn resized(columns: u16, rows: u16) -> Heard {
        Heard::Input(ExecInput::Resize { columns, rows })
    }

    #[test]
    fn only_an_object_of_type_resize_is_not_typed() {
        assert_eq!(heard(r#"{"type":"resize","rows":40,"cols":100}"#), resized(100, 40));
        assert_eq!(heard(r#" {"type":"resize"}"#), resized(80, 24));
        assert_eq!(heard(r#"{"type":"resize","rows":0,"cols":"wide"}"#), resized(80, 24));
        for typed in ["show ver\r", r#"{"type":"input"}"#, r#""resize""#, "{", "[1]", r#"{"rows":40,"cols":100}"#] {
            assert_eq!(heard(typed), Heard::Input(ExecInput::Stdin(Bytes::from(typed))), "{typed}");
        }
        assert_eq!(heard(""), Heard::Nothing);
        let binary = Typed.hear(Message::Binary(Bytes::from_static(b"{\"type\":\"resize\"}")));
        assert_eq!(binary, Heard::Input(ExecInput::Stdin(Bytes::from_static(b"{\"type\":\"resize\"}"))));
    }
}
