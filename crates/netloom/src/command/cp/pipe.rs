//! Between a thread that reads or writes files and the task that carries the bytes.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};
use tokio::sync::{mpsc, oneshot};

use crate::failure::{Failure, Result, plain};

/// Pieces that wait.
pub(super) const QUEUE: usize = 8;

/// Why a thread did not come to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Its own trouble.
    Own(Failure),
    /// Nobody wants what it has.
    Unwanted,
}

/// A thread that writes what it is given.
pub(super) fn sink(
    name: &str,
    write: impl FnOnce(Reader) -> Result + Send + 'static,
) -> Result<(mpsc::Sender<Bytes>, oneshot::Receiver<Result>)> {
    let (sender, pieces) = mpsc::channel(QUEUE);
    let (told, done) = oneshot::channel();
    start(name, move || drop(told.send(write(Reader { pieces, piece: Bytes::new() }))))?;
    Ok((sender, done))
}

type Source = (mpsc::Receiver<Bytes>, oneshot::Receiver<std::result::Result<(), Stopped>>);

/// A thread that reads and gives what it has read.
pub(super) fn source(name: &str, read: impl FnOnce(Writer) -> Result + Send + 'static) -> Result<Source> {
    let (sender, pieces) = mpsc::channel(QUEUE);
    let (told, done) = oneshot::channel();
    start(name, move || {
        let result = read(Writer { pieces: sender.clone() }).map_err(|failure| {
            // The other end has gone, so this is not what went wrong.
            if sender.is_closed() { Stopped::Unwanted } else { Stopped::Own(failure) }
        });
        // Before the end is seen it is known how it ended.
        let _ = told.send(result);
        drop(sender);
    })?;
    Ok((pieces, done))
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    thread.map(drop).map_err(|error| Failure::failed(format_args!("cannot start a thread: {}", plain(&error))))
}

/// What arrives, as a file.
pub(super) struct Reader {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// What goes away, as a file.
pub(super) struct Writer {
    pieces: mpsc::Sender<Bytes>,
}

impl Write for Writer {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let sent = self.pieces.blocking_send(Bytes::copy_from_slice(buffer));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
