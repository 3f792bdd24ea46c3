//! The task of a session: reads, writes, probes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, sleep_until};

use super::event::{Answered, Event, Notification};
use super::shared::{PROBE, Shared};
use crate::endpoint::Stream;
use crate::error::Ended;
use crate::frame::Scanner;
use crate::message::{self, Incoming};

pub(super) struct Driver {
    pub(super) reader: ReadHalf<Box<dyn Stream>>,
    pub(super) writer: WriteHalf<Box<dyn Stream>>,
    pub(super) shared: Arc<Shared>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) scanner: Scanner,
    /// How long the server may be silent before it is asked whether it is there.
    pub(super) probe: Duration,
}

/// Ends the session however its task ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Ended::Dropped);
    }
}

/// What the task has in hand.
struct Hand {
    /// What is left of the frame that is being written.
    out: Bytes,
    /// An event for which there is no room; nothing is read until there is.
    held: Option<Event>,
    /// When the server last said something, or was last not listened to.
    heard: Instant,
    probed: bool,
}

impl Driver {
    pub(super) async fn run(mut self) {
        let ending = Ending(self.shared.clone());
        let why = match self.drive().await {
            Ok(never) => match never {},
            Err(why) => why,
        };
        ending.0.end(why);
        // Now whoever reads the events sees their end, and the reason is there.
    }

    async fn drive(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut hand = Hand { out: Bytes::new(), held: None, heard: Instant::now(), probed: false };
        loop {
            if hand.out.is_empty() {
                hand.out = self.shared.next_frame().unwrap_or_default();
            }
            let silence = self.probe * if hand.probed { 2 } else { 1 };
            tokio::select! {
                read = self.reader.read_buf(self.scanner.space()), if hand.held.is_none() => {
                    if read? == 0 {
                        return Err(self.at_the_end());
                    }
                    hand.heard = Instant::now();
                    hand.probed = false;
                    self.take_frames(&mut hand)?;
                }
                written = self.writer.write(&hand.out), if !hand.out.is_empty() => match written? {
                    0 => return Err(Ended::Io(std::io::ErrorKind::WriteZero.into())),
                    length => hand.out.advance(length),
                },
                () = self.shared.woken(), if hand.out.is_empty() => {}
                () = room(&self.events), if hand.held.is_some() => {
                    if let Some(event) = hand.held.take() {
                        self.pass_on(&mut hand, event);
                    }
                    hand.heard = Instant::now();
                    self.take_frames(&mut hand)?;
                }
                () = sleep_until(hand.heard + silence), if hand.held.is_none() => {
                    if hand.probed {
                        return Err(Ended::Silent(silence));
                    }
                    hand.probed = true;
                    // An empty list is always written. Where there is no room for it the server is deaf, and soon silent.
                    self.shared.aside(message::request(Some(PROBE), "echo", &[0; 0]).unwrap_or_default());
                }
            }
        }
    }

    fn at_the_end(&self) -> Ended {
        if self.scanner.is_amid() { Ended::Cut(self.scanner.held()) } else { Ended::Closed }
    }

    /// Takes up all messages that are whole, until there is no room for an event.
    fn take_frames(&mut self, hand: &mut Hand) -> Result<(), Ended> {
        while hand.held.is_none() {
            let Some(frame) = self.scanner.take()? else { break };
            let event = match Incoming::parse(&frame).map_err(Ended::Message)? {
                Incoming::Notification { method, params } => Event::Notification(Notification { method, params }),
                Incoming::Request { id, method, params } => {
                    self.serve(&id, &method, &params)?;
                    continue;
                }
                Incoming::Reply { id, outcome } => match self.shared.answer(&id, outcome) {
                    Some((id, to, answer)) => Event::Answer(Answered { id, to, answer }),
                    None => continue,
                },
            };
            self.pass_on(hand, event);
        }
        Ok(())
    }

    /// Puts an event where it is read, or holds it. Where nobody reads events they are nobody's.
    fn pass_on(&self, hand: &mut Hand, event: Event) {
        match self.events.try_send(event) {
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(event)) => hand.held = Some(event),
        }
    }

    /// Answers the server. All that it asks for is an echo.
    fn serve(&self, id: &Value, method: &str, params: &Value) -> Result<(), Ended> {
        let outcome = if method == "echo" { Ok(params) } else { Err("unknown method") };
        if self.shared.aside(message::reply(id, outcome)) { Ok(()) } else { Err(Ended::Deaf) }
    }
}

/// Waits for room, which nobody else takes, or for the end of who reads. Cancel-safe.
async fn room(events: &mpsc::Sender<Event>) {
    let _ = events.reserve().await;
}
