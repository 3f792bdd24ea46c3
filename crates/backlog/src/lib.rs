//! Bounded queues to named threads that know how long their oldest work has been waiting.
//!
//! A thread that blocks in the kernel cannot say so itself; the age of what it has not finished does. Whoever supervises
//! threads reads a [`Backlog`] of each: it never waits for the thread.
//!
//! ```text
//!   Queue::push ─▶ bounded channel ─▶ Worker::run   one thread, or several that share it
//!        └───────── Backlog ◀────────────┘          what is not finished, since when, by which threads
//! ```

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// As much waits already as may wait.
    #[error("the queue is full")]
    Full,
    /// The thread has ended.
    #[error("the thread has ended")]
    Closed,
}

/// Makes a queue for the threads of this name, in which at most `capacity` jobs wait.
pub fn queue<T>(name: &'static str, capacity: usize) -> (Queue<T>, Worker<T>) {
    let (sender, receiver) = sync_channel(capacity);
    let backlog = Backlog { name, state: Arc::default() };
    let worker = Worker { receiver: Arc::new(Mutex::new(receiver)), backlog: backlog.clone() };
    (Queue { sender, backlog }, worker)
}

/// Where jobs are put in. The threads end with the last clone.
pub struct Queue<T> {
    sender: SyncSender<(u64, T)>,
    backlog: Backlog,
}

impl<T> std::fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queue").field(&self.backlog.name).finish()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), backlog: self.backlog.clone() }
    }
}

impl<T> Queue<T> {
    /// Puts a job in; never waits.
    pub fn push(&self, job: T) -> Result<(), PushError> {
        // Held over the send, so that a job is never finished before it is counted. Nobody blocks holding it.
        let mut state = self.backlog.state();
        let number = state.next;
        self.sender.try_send((number, job)).map_err(|error| match error {
            TrySendError::Full(_) => PushError::Full,
            TrySendError::Disconnected(_) => PushError::Closed,
        })?;
        state.next += 1;
        state.unfinished.insert(number, Instant::now());
        Ok(())
    }

    /// What is not finished.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }
}

/// Where jobs are taken out; a clone for each thread that shares them.
#[derive(Debug)]
pub struct Worker<T> {
    receiver: Arc<Mutex<Receiver<(u64, T)>>>,
    backlog: Backlog,
}

impl<T> Clone for Worker<T> {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone(), backlog: self.backlog.clone() }
    }
}

impl<T> Worker<T> {
    /// Works on the calling thread until the last [`Queue`] is dropped. A job counts as finished when `work` has returned,
    /// or has panicked.
    pub fn run(self, mut work: impl FnMut(T)) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        self.backlog.state().threads.push(thread);
        let _gone = Gone { backlog: &self.backlog, thread };
        while let Some((number, job)) = self.next() {
            let _finished = Finished { backlog: &self.backlog, number };
            work(job);
        }
    }

    /// Waits for a job. The lock is held meanwhile: other threads wait for the lock instead of for the queue.
    fn next(&self) -> Option<(u64, T)> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }
}

/// Counts a job as finished, whatever became of it.
struct Finished<'a> {
    backlog: &'a Backlog,
    number: u64,
}

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.backlog.state().unfinished.remove(&self.number);
    }
}

/// Forgets a thread that ends.
struct Gone<'a> {
    backlog: &'a Backlog,
    thread: i32,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        self.backlog.state().threads.retain(|thread| *thread != self.thread);
    }
}

/// What threads of one name have not finished. Reading it takes nanoseconds, whatever the threads do.
#[derive(Debug, Clone)]
pub struct Backlog {
    name: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// When what is not finished was put in, in that order.
    unfinished: BTreeMap<u64, Instant>,
    threads: Vec<i32>,
}

impl Backlog {
    /// The name of the threads.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// When the oldest job that is not finished was put in.
    pub fn oldest(&self) -> Option<Instant> {
        self.state().unfinished.first_key_value().map(|(_, since)| *since)
    }

    /// The number of the oldest job that is not finished: another one than before means that they get on.
    pub fn at(&self) -> Option<u64> {
        self.state().unfinished.first_key_value().map(|(number, _)| *number)
    }

    /// How many jobs are not finished.
    pub fn depth(&self) -> usize {
        self.state().unfinished.len()
    }

    /// The threads that work on it, by their ids in /proc/self/task.
    pub fn threads(&self) -> Vec<i32> {
        self.state().threads.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;

    use super::*;

    #[test]
    fn what_is_under_way_counts_as_not_finished() {
        let (queue, worker) = queue::<SyncSender<()>>("test", 4);
        let backlog = queue.backlog().clone();
        let (begun, begins) = sync_channel(0);
        let thread = thread::spawn(move || {
            worker.run(|go_on| {
                begun.send(()).unwrap();
                // Blocks until the other side takes it.
                let _ = go_on.send(());
            });
        });
        let (go_on, may_go_on) = sync_channel(0);
        queue.push(go_on).unwrap();
        begins.recv().unwrap();
        assert_eq!((backlog.depth(), backlog.at()), (1, Some(0)));
        assert!(backlog.oldest().is_some());
        assert_eq!(backlog.threads().len(), 1);
        may_go_on.recv().unwrap();
        drop(queue);
        thread.join().unwrap();
        assert_eq!((backlog.depth(), backlog.oldest(), backlog.threads()), (0, None, vec![]));
    }

    #[test]
    fn threads_share_a_queue_and_the_oldest_unfinished_job_counts() {
        let (queue, worker) = queue::<Receiver<()>>("test", 4);
        let (done, ends) = sync_channel(4);
        let threads = [worker.clone(), worker].map(|worker| {
            let done = done.clone();
            thread::spawn(move || {
                worker.run(|may_end| {
                    let _ = may_end.recv();
                    done.send(()).unwrap();
                });
            })
        });
        let (first, may_end) = sync_channel(0);
        queue.push(may_end).unwrap();
        let (second, may_end) = sync_channel(0);
        queue.push(may_end).unwrap();
        drop(second);
        ends.recv().unwrap();
        assert_eq!(queue.backlog().at(), Some(0), "the second one has ended, the first one has not");
        drop(first);
        ends.recv().unwrap();
        drop(queue);
        for thread in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn a_full_queue_answers_at_once_and_counts_nothing() {
        let (queue, worker) = queue("test", 1);
        queue.push(1).unwrap();
        assert_eq!((queue.push(2), queue.backlog().depth()), (Err(PushError::Full), 1));
        drop(worker);
        assert_eq!(queue.push(3), Err(PushError::Closed));
    }

    #[test]
    fn a_job_that_panics_is_finished() {
        let (queue, worker) = queue("test", 1);
        queue.push(()).unwrap();
        let backlog = queue.backlog().clone();
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let ended = catch_unwind(AssertUnwindSafe(|| worker.run(|()| panic!("on purpose"))));
        std::panic::set_hook(quiet);
        assert!(ended.is_err());
        assert_eq!((backlog.depth(), backlog.threads()), (0, vec![]));
    }
}
