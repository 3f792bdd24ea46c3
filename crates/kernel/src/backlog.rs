//! A bounded queue to one thread that knows how long its oldest work has been waiting.
//!
//! A thread that blocks in the kernel cannot say so itself; the age of what it has not finished does.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::error::SubmitError;

#[derive(Debug)]
pub(crate) struct Queue<T> {
    sender: SyncSender<T>,
    waiting: Arc<Mutex<VecDeque<Instant>>>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), waiting: self.waiting.clone() }
    }
}

#[derive(Debug)]
pub(crate) struct Worker<T> {
    receiver: Receiver<T>,
    waiting: Arc<Mutex<VecDeque<Instant>>>,
}

pub(crate) fn queue<T>(capacity: usize) -> (Queue<T>, Worker<T>) {
    let (sender, receiver) = sync_channel(capacity);
    let waiting = Arc::new(Mutex::new(VecDeque::with_capacity(capacity + 1)));
    (Queue { sender, waiting: waiting.clone() }, Worker { receiver, waiting })
}

impl<T> Queue<T> {
    /// Puts a job in; a full queue answers at once.
    pub(crate) fn push(&self, job: T) -> Result<(), SubmitError> {
        // Held over the send, so that the order of the times is the order of the jobs. Nobody blocks holding it.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.sender.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => SubmitError::Busy,
            TrySendError::Disconnected(_) => SubmitError::Closed,
        })?;
        waiting.push_back(Instant::now());
        Ok(())
    }

    /// When the oldest job that is not finished was put in.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).front().copied()
    }

    /// How many jobs are not finished.
    pub(crate) fn depth(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl<T> Worker<T> {
    /// Works until the last [`Queue`] is dropped.
    pub(crate) fn run(self, mut work: impl FnMut(T)) {
        for job in &self.receiver {
            work(job);
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        }
    }
}
