//! What the server says without being asked, and answers that keep their place in it.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::shared::{Answer, Shared};
use crate::error::Ended;

/// What the server says without being asked, in order.
#[derive(Debug)]
pub struct Events {
    pub(super) queue: mpsc::Receiver<Event>,
    pub(super) shared: Arc<Shared>,
}

/// A notification of the server, such as `update3`, `locked` or `stolen`.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    /// Its name.
    pub method: String,
    /// What comes with it.
    pub params: Value,
}

/// Something that the server said, in its place.
#[derive(Debug)]
pub(crate) enum Event {
    Notification(Notification),
    Answer(Answered),
}

/// An answer to a call that was to keep its place among the notifications.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(super) id: u64,
    pub(super) to: Option<oneshot::Sender<Answer>>,
    pub(super) answer: Answer,
}

impl Answered {
    /// Lets the caller have it; where nobody waits for it, gives the number of the call and the answer.
    pub(crate) fn deliver(self) -> Option<(u64, Answer)> {
        match self.to {
            Some(caller) => {
                let _ = caller.send(self.answer);
                None
            }
            None => Some((self.id, self.answer)),
        }
    }
}

impl Events {
    /// The next notification; `None` when the session has ended ([`super::Connection::ended`] says why). Cancel-safe.
    pub async fn next(&mut self) -> Option<Notification> {
        loop {
            match self.next_event().await? {
                Event::Notification(notification) => return Some(notification),
                Event::Answer(answered) => drop(answered.deliver()),
            }
        }
    }

    /// The next notification, or answer that keeps its place.
    pub(crate) async fn next_event(&mut self) -> Option<Event> {
        self.queue.recv().await
    }

    /// Why the session ended, or that it was given up.
    pub(crate) fn why(&self) -> Arc<Ended> {
        self.shared.ended().unwrap_or_else(|| Arc::new(Ended::Dropped))
    }

    /// Lets go what is left, so that those who wait for answers have them.
    pub(crate) fn settle(&mut self) {
        while let Ok(event) = self.queue.try_recv() {
            if let Event::Answer(answered) = event {
                answered.deliver();
            }
        }
    }
}
