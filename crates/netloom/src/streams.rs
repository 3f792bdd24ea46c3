//! Standard streams that may block, without that anything else waits for them.
//!
//! Two threads, `stdin` and `output`, may block in the kernel for as long as a pipe is full or nobody types; nothing else
//! does, so that a signal is always heard. Both end with the process.

use std::io::{self, stdin};
use std::os::fd::AsFd;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

use crate::failure::{Failure, Result, plain};
use crate::output;

/// Pieces that wait on the way to or from a thread.
const QUEUE: usize = 8;
/// Size of a piece of standard input in bytes.
const PIECE: usize = 16 * 1024;

/// What is written.
pub(crate) enum Piece {
    /// To standard output.
    Stdout(Bytes),
    /// To standard error.
    Stderr(Bytes),
    /// Everything before this is out.
    Flush(oneshot::Sender<()>),
}

/// The thread that writes.
pub(crate) struct Printer {
    /// Where pieces go; closed when nothing can be written any more.
    pub(crate) pieces: mpsc::Sender<Piece>,
    /// Why it ended.
    failed: Option<oneshot::Receiver<io::Error>>,
}

impl Printer {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Self> {
        let (pieces, mut queue) = mpsc::channel(QUEUE);
        let (failure, failed) = oneshot::channel();
        let write = move || {
            while let Some(piece) = queue.blocking_recv() {
                let written = match piece {
                    Piece::Stdout(bytes) => write_all(io::stdout(), &bytes),
                    Piece::Stderr(bytes) => write_all(io::stderr(), &bytes),
                    Piece::Flush(all_out) => all_out.send(()).map_err(|()| Errno::CANCELED),
                };
                if let Err(errno) = written {
                    let _ = failure.send(errno.into());
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("output".into()).spawn(write);
        thread.map_err(|error| Failure::failed(format_args!("cannot start a thread: {}", plain(&error))))?;
        Ok(Self { pieces, failed: Some(failed) })
    }

    /// Until everything that was given is out.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let (all_out, written) = oneshot::channel();
        let _ = self.pieces.send(Piece::Flush(all_out)).await;
        if written.await.is_ok() { Ok(()) } else { Err(self.failure().await) }
    }

    /// Why nothing can be written any more.
    pub(crate) async fn failure(&mut self) -> io::Error {
        match self.failed.take() {
            Some(failed) => failed.await.unwrap_or_else(|_| io::ErrorKind::Other.into()),
            None => io::ErrorKind::Other.into(),
        }
    }
}

/// Writes all, also where somebody else made the descriptor non-blocking, as shells do with terminals that they share.
fn write_all(to: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::AGAIN) => wait(&to, PollFlags::OUT),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn wait(on: &impl AsFd, what: PollFlags) {
    let _ = poll(&mut [PollFd::new(on, what)], None);
}

/// Standard input, piece by piece, from a thread that may block in `read`; it ends with the process.
pub(crate) fn read_stdin() -> mpsc::Receiver<Bytes> {
    let (sender, pieces) = mpsc::channel(QUEUE);
    let read = move || {
        let mut buffer = vec![0; PIECE];
        loop {
            match rustix::io::read(stdin(), &mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if sender.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait(&stdin(), PollFlags::IN),
                // A terminal that is gone, most likely: a signal says so too.
                Err(_) => return,
            }
        }
    };
    if let Err(error) = std::thread::Builder::new().name("stdin".into()).spawn(read) {
        output::say(&format!("standard input is not passed on: {}", plain(&error)));
    }
    pieces
}
