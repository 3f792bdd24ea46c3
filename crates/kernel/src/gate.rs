//! Lets the reader hold the writer still.
//!
//! A dump during which an interface came or went may lack others, so the kernel marks it and it has to be repeated
//! (NLM_F_DUMP_INTR). While our own writer makes two links a millisecond, no dump of that namespace is ever whole.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Readers that wait or hold; the writer lets them go first, which a bare mutex would not.
    readers: AtomicUsize,
    turn: Mutex<()>,
    left: Condvar,
}

/// The writer stands still as long as this lives.
#[derive(Debug)]
pub(crate) struct Held<'a> {
    gate: &'a Gate,
    turn: Option<MutexGuard<'a, ()>>,
}

impl Gate {
    /// The writer's turn, for one datagram: waits while readers are at it, a dump of one namespace each.
    pub(crate) fn write(&self) -> MutexGuard<'_, ()> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        while self.readers.load(Ordering::Acquire) > 0 {
            turn = self.left.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        turn
    }

    /// The reader's turn: waits for the datagram in hand.
    pub(crate) fn hold(&self) -> Held<'_> {
        self.readers.fetch_add(1, Ordering::AcqRel);
        Held { gate: self, turn: Some(self.turn.lock().unwrap_or_else(PoisonError::into_inner)) }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // Counted down with the turn still held, so that a writer about to wait cannot miss the notice.
        self.gate.readers.fetch_sub(1, Ordering::AcqRel);
        self.turn.take();
        self.gate.left.notify_all();
    }
}
