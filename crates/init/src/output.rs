//! The output of the node's command, kept in two files of bounded size.
//!
//! `log` grows to at most [`LOG_SEGMENT`] bytes, then becomes `log.1` and a new `log` begins; so the last half to
//! whole MiB is kept. Only a line longer than a piece can be cut by that.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat, renameat};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::spec::{LOG_FILE, LOG_FILE_BEFORE, LOG_SEGMENT};

/// Most bytes that are read at once.
const PIECE: usize = 8192;

/// The reading end of the command's output and where it goes.
pub(crate) struct Output {
    pipe: File,
    directory: OwnedFd,
    log: File,
    size: u64,
    /// The last byte was not the end of a line.
    in_line: bool,
}

impl Output {
    /// Makes the pipe and opens the log, going on where an earlier life of the node left it.
    /// Returns the writing end too, for the command.
    pub(crate) fn open(directory: &OwnedFd) -> std::io::Result<(Self, OwnedFd)> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        // Only the reading end: the command expects a pipe that blocks.
        rustix::fs::fcntl_setfl(&read, OFlags::NONBLOCK)?;
        let log = open_log(directory, OFlags::empty())?;
        let size = log.metadata()?.len();
        let directory = fcntl_dupfd_cloexec(directory, 3)?;
        Ok((Self { pipe: read.into(), directory, log, size, in_line: false }, write))
    }

    /// Moves what is waiting to the log. `false`: every writer has closed its end.
    pub(crate) fn drain(&mut self) -> bool {
        let mut buffer = [0_u8; PIECE];
        // Twice what a pipe holds: a command that never stops writing must not keep us from reaping.
        for _ in 0..16 {
            match self.pipe.read(&mut buffer) {
                Ok(0) => return false,
                // A full disk must not stop the node: what does not fit is lost.
                Ok(count) => drop(self.keep(&buffer[..count])),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn keep(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        // The end of a line that began in an earlier piece may go over this, but by no more than a piece.
        let room = (LOG_SEGMENT - PIECE as u64).saturating_sub(self.size);
        let mut rest = bytes;
        if (bytes.len() as u64) > room {
            let fits = usize::try_from(room).unwrap_or(0).min(bytes.len());
            let end_of_line = |byte: &u8| *byte == b'\n';
            let last = bytes[..fits].iter().rposition(end_of_line);
            let cut =
                last.or_else(|| bytes.iter().position(end_of_line).filter(|_| self.in_line)).map_or(0, |at| at + 1);
            self.log.write_all(&bytes[..cut])?;
            renameat(&self.directory, LOG_FILE, &self.directory, LOG_FILE_BEFORE)?;
            self.log = open_log(&self.directory, OFlags::TRUNC)?;
            self.size = 0;
            rest = &bytes[cut..];
        }
        self.log.write_all(rest)?;
        self.size += rest.len() as u64;
        self.in_line = bytes.last() != Some(&b'\n');
        Ok(())
    }
}

impl AsFd for Output {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

fn open_log(directory: &OwnedFd, more: OFlags) -> std::io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
    Ok(openat(directory, LOG_FILE, flags, Mode::from_raw_mode(0o640))?.into())
}
