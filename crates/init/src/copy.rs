//! `copy`: packs files of a node to standard output, or unpacks standard input into it. Runs in the node, started by
//! `exec --program own`, so every path and link means what it means there, and it ends with the node.
//!
//! The node needs no `tar` of its own for it: its `PATH` may lead to none, or to one that does things differently.
//!
//! ```text
//!   copy out [--follow] <path>
//!   copy in [--into] [--keep-owners] <path>
//! ```
//!
//! Exit code: 0 done, 2 refused before anything was touched, 1 failed; why stands on standard error.

use std::io::{self, Read};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::stdio::stdin;

use crate::archive::{Landing, Links, Owner, Trouble, pack, unpack};
use crate::complain;
use crate::signals::Signals;

/// Copies what the arguments say; the exit code.
pub(crate) fn run(arguments: impl Iterator<Item = String>) -> i32 {
    let words: Vec<String> = arguments.collect();
    let Some((path, options)) = words.split_last() else { return crate::usage() };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let path = Path::new(path);
    let copied = match options.as_slice() {
        ["out"] => pack(path, Links::Kept, io::stdout().lock()),
        ["out", "--follow"] => pack(path, Links::Followed, io::stdout().lock()),
        ["in", how @ ..] => {
            let landing = if how.contains(&"--into") { Landing::Into } else { Landing::Named };
            let owner = if how.contains(&"--keep-owners") { Owner::Kept } else { Owner::Of(0, 0) };
            match Signals::catch() {
                Ok(signals) => unpack(Input { signals }, path, landing, owner),
                Err(error) => Err(Trouble::Failed(format!("catching signals: {}", crate::plain(&error)))),
            }
        }
        _ => return crate::usage(),
    };
    match copied {
        Ok(()) => 0,
        Err(Trouble::Refused(why)) => {
            complain(&why);
            2
        }
        Err(Trouble::Failed(why)) => {
            complain(&why);
            1
        }
    }
}

/// Standard input, until a signal comes: then what is half done can still be taken away.
struct Input {
    signals: Signals,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = stdin();
            let mut wanted = [
                PollFd::from_borrowed_fd(std::os::fd::AsFd::as_fd(&self.signals), PollFlags::IN),
                PollFd::from_borrowed_fd(input, PollFlags::IN),
            ];
            let _ = poll(&mut wanted, None);
            let readable = !wanted[1].revents().is_empty();
            if !self.signals.take().is_empty() {
                return Err(io::Error::other("it was ended by a signal"));
            }
            if readable {
                match rustix::io::read(input, &mut *buffer) {
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    other => return Ok(other?),
                }
            }
        }
    }
}
