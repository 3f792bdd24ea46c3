//! A command in a node whose streams go over a WebSocket, whatever is spoken there ([`Speech`]).
//!
//! ```text
//!   client ──▶ reader ──ExecInput──▶ command ──ExecOutput──▶ writer ──▶ client
//! ```
//! Both channels are bounded: a slow client slows the command, a command that does not read slows the client; for how long at
//! most, [`Bounds`] say. Whichever side ends first ends the session, and dropping the session ends the command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use netloom_engine::{ExecInput, ExecOutput, ExecSession};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

/// To the client.
pub(crate) type Sink = SplitSink<WebSocket, Message>;
/// From the client.
pub(crate) type Source = SplitStream<WebSocket>;

/// The largest message of a client, in bytes.
pub(crate) const MESSAGE: usize = 1024 * 1024;

/// What a message of a client means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Something for the command.
    Input(ExecInput),
    /// Nothing: it only shows that the client is there.
    Nothing,
    /// The client goes, or does not speak as it should.
    End,
}

/// Which stream of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channel {
    Stdout,
    Stderr,
}

/// What is spoken on the socket.
pub(crate) trait Speech {
    /// The most of the command's output in one message, in bytes.
    const PIECE: usize;

    /// Understands a message that is no ping, pong or close.
    fn hear(&self, message: Message) -> Heard;

    /// Puts output into a message.
    fn say(&self, channel: Channel, piece: Bytes) -> Message;
}

/// For how long what may last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// How often a client is asked whether it is there.
    pub(crate) ping: Duration,
    /// How long a client may be silent, answers to pings included.
    pub(crate) silence: Duration,
    /// How long a client may take for one message.
    pub(crate) send: Duration,
    /// How long a command may take for one message of input.
    pub(crate) input: Duration,
    /// How long there may be neither input nor output.
    pub(crate) idle: Duration,
}

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The command ended with this code.
    Exited(i32),
    /// The runtime ended it without a code.
    BrokenOff,
    /// The client went, is silent, or is too slow.
    Gone,
    /// The command does not take its input.
    Deaf,
    /// Nothing went either way for too long.
    Idle,
}

/// How a session went.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) ended: Ended,
    /// Whether the client gave the command anything.
    pub(crate) was_used: bool,
}

/// Carries a session to its end.
pub(crate) async fn hold<S: Speech>(
    sink: &mut Sink,
    stream: &mut Source,
    session: ExecSession,
    speech: &S,
    bounds: Bounds,
) -> Held {
    let (used, lately) = (AtomicBool::new(false), AtomicBool::new(false));
    let heard = || {
        used.store(true, Ordering::Relaxed);
        lately.store(true, Ordering::Relaxed);
    };
    let ended = tokio::select! {
        ended = read(stream, session.input, speech, bounds, heard) => ended,
        ended = write(sink, session.output, speech, bounds, &lately) => ended,
    };
    Held { ended, was_used: used.into_inner() }
}

/// From the client to the command, until the client goes away.
async fn read<S: Speech>(
    stream: &mut Source,
    input: mpsc::Sender<ExecInput>,
    speech: &S,
    bounds: Bounds,
    heard: impl Fn(),
) -> Ended {
    let mut input = Some(input);
    while let Ok(Some(Ok(message))) = timeout(bounds.silence, stream.next()).await {
        let given = match message {
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return Ended::Gone,
            message => match speech.hear(message) {
                Heard::Input(given) => given,
                Heard::Nothing => continue,
                Heard::End => return Ended::Gone,
            },
        };
        heard();
        let Some(command) = &input else { continue };
        match timeout(bounds.input, command.send(given)).await {
            Ok(Ok(())) => {}
            // A command that has ended takes nothing any more; its end comes through the writer.
            Ok(Err(_)) => input = None,
            Err(_) => return Ended::Deaf,
        }
    }
    Ended::Gone
}

/// From the command to the client, until the command has ended.
async fn write<S: Speech>(
    sink: &mut Sink,
    mut output: mpsc::Receiver<ExecOutput>,
    speech: &S,
    bounds: Bounds,
    lately: &AtomicBool,
) -> Ended {
    let mut ping = interval_at(Instant::now() + bounds.ping, bounds.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut active = Instant::now();
    loop {
        let (channel, mut piece) = tokio::select! {
            output = output.recv() => match output {
                Some(ExecOutput::Stdout(piece)) => (Channel::Stdout, piece),
                Some(ExecOutput::Stderr(piece)) => (Channel::Stderr, piece),
                Some(ExecOutput::Exited(code)) => return Ended::Exited(code),
                None => return Ended::BrokenOff,
            },
            _ = ping.tick() => {
                if lately.swap(false, Ordering::Relaxed) {
                    active = Instant::now();
                }
                if active.elapsed() > bounds.idle {
                    return Ended::Idle;
                }
                if !send(sink, Message::Ping(Bytes::new()), bounds).await {
                    return Ended::Gone;
                }
                continue;
            }
        };
        active = Instant::now();
        while !piece.is_empty() {
            let part = piece.split_to(piece.len().min(S::PIECE));
            if !send(sink, speech.say(channel, part), bounds).await {
                return Ended::Gone;
            }
        }
    }
}

/// Whether the client took it.
async fn send(sink: &mut Sink, message: Message, bounds: Bounds) -> bool {
    matches!(timeout(bounds.send, sink.send(message)).await, Ok(Ok(())))
}
