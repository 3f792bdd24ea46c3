//! A command in a node, over a WebSocket.
//!
//! ```text
//!   client ──▶ reader ──ExecInput──▶ command ──ExecOutput──▶ writer ──▶ client
//! ```
//! Both channels are bounded: a slow client slows the command, a command that does not read slows the client.
//! Whichever side ends first ends the session, and dropping the session ends the command.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use netloom_engine::{ExecInput, ExecOutput, ExecRequest};
use netloom_model::{LabName, NodeName};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::{Answer, Shared, parse};
use crate::problem::bad_request;
use crate::wire::{ExecControl, ExecEnd, Problem, STDERR, STDIN, STDOUT};

/// How long a client may take to say what to run.
const FIRST: Duration = Duration::from_secs(10);
/// How often a silent client is asked whether it is there; one that went away is noticed at the second time.
const PING: Duration = Duration::from_secs(5);
/// The largest message of a client, in bytes.
const MESSAGE: usize = 1024 * 1024;

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
    match started.await {
        Ok((session, _place)) => {
            let (input, output) = (session.input, session.output);
            tokio::select! {
                () = read(stream, input) => {}
                ended = write(&mut sink, output) => if let Some(ended) = ended {
                    end(&mut sink, &ended).await;
                },
            }
        }
        Err(problem) => end(&mut sink, &ExecEnd::Error(problem)).await,
    }
}

/// The request is the first message.
async fn first(stream: &mut SplitStream<WebSocket>) -> Result<ExecRequest, Problem> {
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

/// From the client to the command, until the client goes away.
async fn read(mut stream: SplitStream<WebSocket>, input: mpsc::Sender<ExecInput>) {
    while let Some(Ok(message)) = stream.next().await {
        let given = match message {
            Message::Binary(bytes) => match bytes.split_first() {
                Some((&STDIN, [])) => ExecInput::CloseStdin,
                Some((&STDIN, _)) => ExecInput::Stdin(bytes.slice(1..)),
                _ => return,
            },
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(ExecControl::Resize { columns, rows }) => ExecInput::Resize { columns, rows },
                Ok(ExecControl::Terminate(true)) => ExecInput::Terminate,
                Ok(ExecControl::Terminate(false)) => continue,
                Err(_) => return,
            },
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return,
        };
        // A command that has ended takes nothing any more; its end comes through the writer.
        if input.send(given).await.is_err() {
            drop(input);
            while let Some(Ok(_)) = stream.next().await {}
            return;
        }
    }
}

/// From the command to the client; how it ended, or `None` when the client is gone.
async fn write(sink: &mut SplitSink<WebSocket, Message>, mut output: mpsc::Receiver<ExecOutput>) -> Option<ExecEnd> {
    let mut ping = interval_at(Instant::now() + PING, PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            output = output.recv() => match output {
                Some(ExecOutput::Stdout(bytes)) => frame(STDOUT, &bytes),
                Some(ExecOutput::Stderr(bytes)) => frame(STDERR, &bytes),
                Some(ExecOutput::Exited(code)) => return Some(ExecEnd::Exit(code)),
                None => return Some(ExecEnd::Error(Problem::new(
                    502,
                    "driver",
                    "The session broke off",
                    "the runtime ended the session without an exit code; the node may have gone",
                ))),
            },
            _ = ping.tick() => Message::Ping(Bytes::new()),
        };
        sink.send(message).await.ok()?;
    }
}

fn frame(channel: u8, bytes: &[u8]) -> Message {
    let mut frame = BytesMut::with_capacity(bytes.len() + 1);
    frame.put_u8(channel);
    frame.put_slice(bytes);
    Message::Binary(frame.freeze())
}

async fn end(sink: &mut SplitSink<WebSocket, Message>, end: &ExecEnd) {
    let text = serde_json::to_string(end).unwrap_or_default();
    let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
    // A client that is gone wants to know neither.
    let _ = sink.send(Message::Text(text.into())).await;
    let _ = sink.send(Message::Close(Some(close))).await;
}
