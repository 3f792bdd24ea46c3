//! A command in a node, over a WebSocket, with its streams apart and its exit code at the end.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use netloom_engine::{ExecInput, ExecRequest};
use netloom_model::{LabName, NodeName};
use tokio::time::timeout;

use super::{Answer, Shared, parse};
use crate::problem::bad_request;
use crate::session::{Bounds, Channel, Ended, Heard, MESSAGE, Sink, Source, Speech, hold};
use crate::wire::{ExecControl, ExecEnd, Problem, STDERR, STDIN, STDOUT};

/// How long a client may take to say what to run.
const FIRST: Duration = Duration::from_secs(10);
/// A client that went away is noticed when it is pinged the second time. Everything else may last: a pipe may stand still for
/// hours, and whoever has it waits for it.
const BOUNDS: Bounds = Bounds {
    ping: Duration::from_secs(5),
    silence: Duration::MAX,
    send: Duration::MAX,
    input: Duration::MAX,
    idle: Duration::MAX,
};

type Upgrade = Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>;

/// `GET /labs/{lab}/nodes/{node}/exec`
pub(super) async fn exec(
    State(app): State<Shared>,
    Path((lab, node)): Path<(String, String)>,
    upgrade: Upgrade,
) -> Answer {
    let (lab, node) = (parse(&lab)?, parse(&node)?);
    let upgrade = upgrade.map_err(|rejection| bad_request(format!("{rejection}: this is a WebSocket")))?;
    // The connection's own task ends with the upgrade; this keeps the agent's end waiting for the session.
    let token = app.tasks.token();
    let session = upgrade.max_message_size(MESSAGE).max_frame_size(MESSAGE).on_upgrade(async move |socket| {
        let stop = app.stop.clone();
        tokio::select! {
            () = session(&app, lab, node, socket) => {}
            () = stop.cancelled() => {}
        }
        drop(token);
    });
    Ok(session)
}

async fn session(app: &Shared, lab: LabName, node: NodeName, socket: WebSocket) {
    let (mut sink, mut stream) = socket.split();
    let started = async {
        let request = first(&mut stream).await?;
        app.engine.exec(&lab, &node, request).await.map_err(Problem::from)
    };
    let (session, _place) = match started.await {
        Ok(started) => started,
        Err(problem) => return end(&mut sink, &ExecEnd::Error(problem)).await,
    };
    match hold(&mut sink, &mut stream, session, &Frames, BOUNDS).await.ended {
        Ended::Exited(code) => end(&mut sink, &ExecEnd::Exit(code)).await,
        Ended::BrokenOff => {
            let why = "the runtime ended the session without an exit code; the node may have gone";
            let problem = Problem::new(502, "driver", "The session broke off", why);
            end(&mut sink, &ExecEnd::Error(problem)).await;
        }
        Ended::Gone | Ended::Deaf | Ended::Idle => {}
    }
}

/// The request is the first message.
async fn first(stream: &mut Source) -> Result<ExecRequest, Problem> {
    let wanted = "the first message must be text: {\"argv\": [..], \"terminal\": \"none\"}";
    loop {
        match timeout(FIRST, stream.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => {
                let request: ExecRequest =
                    serde_json::from_str(&text).map_err(|error| bad_request(format!("{wanted}: {error}")))?;
                return if request.argv.is_empty() {
                    Err(bad_request("`argv` is empty: there is no command to run"))
                } else {
                    Ok(request)
                };
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            _ => return Err(bad_request(wanted)),
        }
    }
}

/// The frames of [`crate::wire`]: a byte for the stream, then what it carries; text for everything else.
struct Frames;

impl Speech for Frames {
    const PIECE: usize = MESSAGE - 1;

    fn hear(&self, message: Message) -> Heard {
        match message {
            Message::Binary(bytes) => match bytes.split_first() {
                Some((&STDIN, [])) => Heard::Input(ExecInput::CloseStdin),
                Some((&STDIN, _)) => Heard::Input(ExecInput::Stdin(bytes.slice(1..))),
                _ => Heard::End,
            },
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(ExecControl::Resize { columns, rows }) => Heard::Input(ExecInput::Resize { columns, rows }),
                Ok(ExecControl::Terminate(true)) => Heard::Input(ExecInput::Terminate),
                Ok(ExecControl::Terminate(false)) => Heard::Nothing,
                Err(_) => Heard::End,
            },
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Heard::Nothing,
        }
    }

    fn say(&self, channel: Channel, piece: Bytes) -> Message {
        let mut frame = BytesMut::with_capacity(piece.len() + 1);
        frame.put_u8(match channel {
            Channel::Stdout => STDOUT,
            Channel::Stderr => STDERR,
        });
        frame.put_slice(&piece);
        Message::Binary(frame.freeze())
    }
}

async fn end(sink: &mut Sink, end: &ExecEnd) {
    let text = serde_json::to_string(end).unwrap_or_default();
    let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    // A client that is gone wants to know neither.
    let _ = sink.send(Message::Text(text.into())).await;
    let _ = sink.send(Message::Close(Some(close))).await;
}
