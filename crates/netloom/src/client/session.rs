//! A command that runs in a node: a WebSocket with the bytes of its standard streams.
//!
//! The frames are those of [`netloom_agent::wire`].

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use netloom_agent::wire::{ExecControl, ExecEnd, STDERR, STDIN, STDOUT};
use netloom_engine::{ExecInput, ExecOutput, ExecRequest};
use netloom_model::{LabName, NodeName};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::{Client, LIMIT, failure, segment};
use crate::failure::{Failure, Result};

/// To and from a command that runs.
pub(crate) struct Session {
    /// To it.
    pub(crate) input: SessionInput,
    /// From it.
    pub(crate) output: SessionOutput,
}

/// To a command that runs.
pub(crate) struct SessionInput {
    sink: SplitSink<WebSocketStream<UnixStream>, Message>,
}

/// From a command that runs.
pub(crate) struct SessionOutput {
    stream: SplitStream<WebSocketStream<UnixStream>>,
}

impl Client {
    /// Starts a command in a node.
    pub(crate) async fn exec(&self, lab: &LabName, node: &NodeName, request: &ExecRequest) -> Result<Session> {
        let stream = self.stream().await?;
        let uri = format!("ws://localhost/labs/{}/nodes/{}/exec", segment(lab), segment(node));
        let opened = timeout(LIMIT, tokio_tungstenite::client_async(uri, stream)).await;
        let opened = opened.map_err(|_| self.broken("no answer to the request for a session"))?;
        let (socket, _) = opened.map_err(|error| match error {
            Error::Http(response) => {
                let body = response.body().clone().unwrap_or_default();
                failure(response.status(), &body)
            }
            other => self.broken(&other.to_string()),
        })?;
        let (sink, stream) = socket.split();
        let mut input = SessionInput { sink };
        let request = serde_json::to_string(request).map_err(Failure::failed)?;
        input.text(request).await?;
        Ok(Session { input, output: SessionOutput { stream } })
    }
}

impl SessionInput {
    /// Passes something on to the command.
    pub(crate) async fn send(&mut self, input: ExecInput) -> Result {
        match input {
            ExecInput::Stdin(bytes) => self.stdin(&bytes).await,
            ExecInput::CloseStdin => self.stdin(&[]).await,
            ExecInput::Resize { columns, rows } => self.control(ExecControl::Resize { columns, rows }).await,
            ExecInput::Terminate => self.control(ExecControl::Terminate(true)).await,
        }
    }

    async fn control(&mut self, control: ExecControl) -> Result {
        self.text(serde_json::to_string(&control).map_err(Failure::failed)?).await
    }

    async fn stdin(&mut self, bytes: &[u8]) -> Result {
        let mut frame = BytesMut::with_capacity(bytes.len() + 1);
        frame.put_u8(STDIN);
        frame.put_slice(bytes);
        self.sink.send(Message::Binary(frame.freeze())).await.map_err(|error| lost(&error))
    }

    async fn text(&mut self, text: String) -> Result {
        self.sink.send(Message::Text(text.into())).await.map_err(|error| lost(&error))
    }
}

impl SessionOutput {
    /// The next piece of output, or the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<ExecOutput> {
        while let Some(message) = self.stream.next().await {
            match message.map_err(|error| lost(&error))? {
                Message::Binary(frame) => match frame.split_first() {
                    Some((&STDOUT, _)) => return Ok(ExecOutput::Stdout(rest(&frame))),
                    Some((&STDERR, _)) => return Ok(ExecOutput::Stderr(rest(&frame))),
                    _ => {}
                },
                Message::Text(text) => match serde_json::from_str(&text) {
                    Ok(ExecEnd::Exit(code)) => return Ok(ExecOutput::Exited(code)),
                    Ok(ExecEnd::Error(problem)) => return Err(Failure::failed(problem)),
                    Err(_) => {}
                },
                Message::Close(_) => break,
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
        Err(lost(&Error::Io(io::ErrorKind::UnexpectedEof.into())))
    }
}

fn rest(frame: &Bytes) -> Bytes {
    frame.slice(1..)
}

fn lost(_: &Error) -> Failure {
    Failure::no_agent(
        "the connection to the agent was lost before the command had ended; the command is ended with it \
         (`netloom agent status` says whether an agent runs)",
    )
}
