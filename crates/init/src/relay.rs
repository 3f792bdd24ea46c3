//! A terminal in the node, carried over two pipes.
//!
//! Standard input is framed, because a pipe cannot say "the window is now this large":
//! one byte of kind, two bytes of length (big-endian), then so many bytes.
//!
//! ```text
//!   0  data      bytes for the terminal
//!   1  resize    columns, rows: two bytes each, big-endian
//!   2  end       nothing more will come: control-D (twice after half a line, which the first one only sends off)
//! ```
//!
//! Standard output is what the terminal shows, as it is. When standard input just ends, or nobody reads standard output,
//! whoever watched is gone, and the command is hung up.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{Winsize, tcsetwinsize};
use signal_hook::consts::SIGHUP;

use crate::exec::{Stopping, ended, is_gone, nobody_reads};
use crate::signals::Signals;
use crate::trouble::Because;

/// Most that waits in either direction, in bytes.
const BUFFER: usize = 64 * 1024;
/// Control-D.
const END_OF_TRANSMISSION: u8 = 4;

/// Makes a terminal: our end and the command's.
pub(crate) fn terminal(columns: u16, rows: u16) -> Result<(OwnedFd, OwnedFd), String> {
    let what = || "making a terminal".to_owned();
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    // Out of the node's own /dev/pts.
    let ours = openpt(flags | OpenptFlags::CLOEXEC).because(what)?;
    unlockpt(&ours).because(what)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags | OpenptFlags::CLOEXEC).because(what)?;
    resize(&ours, columns, rows);
    fcntl_setfl(&ours, OFlags::RDWR | OFlags::NONBLOCK).because(what)?;
    Ok((ours, theirs))
}

fn resize(terminal: &OwnedFd, columns: u16, rows: u16) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    let _ = tcsetwinsize(terminal, size);
}

/// Carries bytes until the command has ended and everything that it wrote is out; its exit code.
pub(crate) fn run(terminal: &OwnedFd, child: Pid, signals: &mut Signals, stopping: &mut Stopping) -> i32 {
    let mut frames = Some(Frames::default());
    let mut typed = Vec::new();
    let mut shown = Vec::new();
    let mut open = true;
    let mut code = None;
    loop {
        code = code.or_else(|| ended(child));
        if code.is_some() && shown.is_empty() {
            // What it wrote before it ended is in the terminal already; a process that it left behind may keep
            // the terminal open for ever and is not waited for.
            if !open || !fill(terminal, &mut shown) || shown.is_empty() {
                return code.unwrap_or_default();
            }
        }
        let mut events = PollFlags::empty();
        events.set(PollFlags::IN, open && shown.len() < BUFFER);
        events.set(PollFlags::OUT, open && !typed.is_empty());
        let (stdin, stdout) = (stdin(), stdout());
        // A descriptor that is not wanted is left out: its hang-up would end every wait at once.
        let mut wanted = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        if !events.is_empty() {
            wanted.push(PollFd::from_borrowed_fd(terminal.as_fd(), events));
        }
        if frames.is_some() && typed.len() < BUFFER {
            wanted.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
        }
        if !stopping.is_abandoned() {
            let mut output = nobody_reads();
            if !shown.is_empty() {
                output = PollFd::from_borrowed_fd(stdout, PollFlags::OUT);
            }
            wanted.push(output);
        }
        let due = stopping.due();
        let _ = poll(&mut wanted, due.as_ref());
        // Of the others none is asked for a hang-up that would mean this: the terminal's is found by reading it.
        let gone = !stopping.is_abandoned() && wanted.last().is_some_and(is_gone);
        drop(wanted);
        signals.take().into_iter().for_each(|signal| stopping.pass_on(signal));
        if gone {
            stopping.abandon(SIGHUP);
        }
        if let Some(reader) = &mut frames
            && typed.len() < BUFFER
            && !reader.read(terminal, &mut typed)
        {
            frames = None;
            stopping.abandon(SIGHUP);
        }
        if frames.as_ref().is_some_and(|frames| frames.ended) {
            frames = None;
        }
        if open {
            empty(terminal, &mut typed);
            open = shown.len() >= BUFFER || fill(terminal, &mut shown);
        }
        if !shown.is_empty() && !flush(&mut shown) {
            // Nobody reads any more.
            shown.clear();
            stopping.abandon(SIGHUP);
        }
    }
}

/// Reads from the terminal. `false`: the last process that had it open is gone (EIO).
fn fill(terminal: &OwnedFd, shown: &mut Vec<u8>) -> bool {
    let mut buffer = [0_u8; 8192];
    match read(terminal, &mut buffer) {
        Ok(0) => false,
        Ok(count) => {
            shown.extend_from_slice(&buffer[..count]);
            true
        }
        Err(errno) => matches!(errno, Errno::AGAIN | Errno::INTR),
    }
}

/// Writes what was typed to the terminal, as much as it takes.
fn empty(terminal: &OwnedFd, typed: &mut Vec<u8>) {
    if typed.is_empty() {
        return;
    }
    match write(terminal, typed) {
        Ok(count) => drop(typed.drain(..count)),
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(_) => typed.clear(),
    }
}

/// Writes to standard output at most what a pipe surely takes without blocking. `false`: nobody reads it.
fn flush(shown: &mut Vec<u8>) -> bool {
    let out = stdout();
    let mut ready = [PollFd::from_borrowed_fd(out, PollFlags::OUT)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut ready, Some(&now)) == Ok(0) {
        return true;
    }
    // PIPE_BUF: "writable" means that so many bytes fit (pipe(7)).
    match write(out, &shown[..shown.len().min(4096)]) {
        Ok(count) => drop(shown.drain(..count)),
        Err(errno) => return matches!(errno, Errno::AGAIN | Errno::INTR),
    }
    true
}

/// Takes frames out of standard input.
#[derive(Default)]
struct Frames {
    pending: Vec<u8>,
    /// What was typed last ended no line.
    in_line: bool,
    ended: bool,
}

impl Frames {
    /// Reads what is there, if anything is. `false`: standard input ended without saying so.
    fn read(&mut self, terminal: &OwnedFd, typed: &mut Vec<u8>) -> bool {
        let input = stdin();
        let mut ready = [PollFd::from_borrowed_fd(input, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut ready, Some(&now)) != Ok(1) {
            return true;
        }
        let mut buffer = [0_u8; 8192];
        match read(input, &mut buffer) {
            Ok(0) => return false,
            Ok(count) => self.pending.extend_from_slice(&buffer[..count]),
            Err(errno) => return matches!(errno, Errno::AGAIN | Errno::INTR),
        }
        while let Some((kind, payload)) = self.next() {
            match (kind, payload.as_slice()) {
                (0, data) => {
                    typed.extend_from_slice(data);
                    self.in_line = data.last().map_or(self.in_line, |last| !matches!(last, b'\n' | b'\r'));
                }
                (1, &[c1, c2, r1, r2]) => {
                    resize(terminal, u16::from_be_bytes([c1, c2]), u16::from_be_bytes([r1, r2]));
                }
                (2, _) => {
                    typed.push(END_OF_TRANSMISSION);
                    if self.in_line {
                        typed.push(END_OF_TRANSMISSION);
                    }
                    self.ended = true;
                }
                _ => {}
            }
        }
        true
    }

    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let &[kind, high, low] = self.pending.get(..3)?.first_chunk::<3>()?;
        let end = 3 + usize::from(u16::from_be_bytes([high, low]));
        let payload = self.pending.get(3..end)?.to_vec();
        self.pending.drain(..end);
        Some((kind, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_only_when_they_are_whole() {
        let mut frames = Frames { pending: vec![0, 0, 2, b'h'], ..Frames::default() };
        assert_eq!(frames.next(), None);
        frames.pending.extend_from_slice(b"i\x02\x00\x00");
        assert_eq!(frames.next(), Some((0, b"hi".to_vec())));
        assert_eq!(frames.next(), Some((2, vec![])));
        assert_eq!(frames.next(), None);
    }
}
