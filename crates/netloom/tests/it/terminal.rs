//! A terminal with a person at it: what is shown is read, what is typed is written.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{InputModes, LocalModes, OutputModes, Winsize, tcgetattr, tcsetwinsize};

use crate::sandbox::{NETLOOM, PATIENCE, Sandbox};

/// A terminal in which one program runs.
pub(crate) struct Terminal {
    ours: OwnedFd,
    theirs: OwnedFd,
    /// nsenter, whose child is the program.
    pub(crate) program: Child,
    pieces: Receiver<Vec<u8>>,
    /// Everything that was shown and not waited for yet.
    shown: String,
}

type Modes = (InputModes, OutputModes, LocalModes);

impl Terminal {
    /// The program under test on a terminal of 100 columns and 30 rows, which is its controlling one.
    pub(crate) fn with(host: &Sandbox, arguments: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        unlockpt(&ours).unwrap();
        let theirs = ioctl_tiocgptpeer(&ours, flags).unwrap();
        let end = || theirs.try_clone().unwrap();
        let mut command: Command = host.command("setsid");
        command.args(["--ctty", NETLOOM]).args(arguments).env("TERM", "vt220");
        command.stdin(end()).stdout(end()).stderr(end());
        resize(&ours, 100, 30);
        let program = command.spawn().unwrap();
        let (sender, pieces) = sync_channel(4096);
        let mut reader = std::fs::File::from(ours.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Ends with the terminal: EIO when nobody has it open any more.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { ours, theirs, program, pieces, shown: String::new() }
    }

    /// Types.
    pub(crate) fn types(&self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let count = rustix::io::write(&self.ours, rest).unwrap();
            rest = &rest[count..];
        }
    }

    /// Waits until something is shown; what came before it, since the last time.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(text) {
                let rest = self.shown.split_off(at + text.len());
                return std::mem::replace(&mut self.shown, rest);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.pieces.recv_timeout(left) {
                Ok(piece) => self.shown.push_str(&String::from_utf8_lossy(&piece)),
                Err(why) => panic!("never shown: {text:?} ({why})\nbut: {}", self.shown),
            }
        }
    }

    /// Makes the window another size, which tells the program.
    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        resize(&self.ours, columns, rows);
    }

    /// How it treats what goes in and out.
    pub(crate) fn modes(&self) -> Modes {
        let all = tcgetattr(&self.theirs).unwrap();
        (all.input_modes, all.output_modes, all.local_modes)
    }

    /// Waits for the program's end, not for ever: its code, and what was shown last.
    #[track_caller]
    pub(crate) fn ends(mut self) -> (i32, String, Modes) {
        let pidfd = pidfd_open(Pid::from_child(&self.program), PidfdFlags::empty()).unwrap();
        let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
        if poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)).unwrap() == 0 {
            self.shows("an end");
        }
        let code = self.program.wait().unwrap().code().unwrap_or(-1);
        let modes = self.modes();
        // With the last descriptor of the other side the reader's `read` ends.
        drop(self.theirs);
        let mut shown = std::mem::take(&mut self.shown);
        shown.extend(self.pieces.iter().map(|piece| String::from_utf8_lossy(&piece).into_owned()));
        (code, shown, modes)
    }
}

fn resize(ours: &OwnedFd, columns: u16, rows: u16) {
    tcsetwinsize(ours, Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}
