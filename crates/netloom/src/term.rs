//! The terminal of the caller: its size, raw mode, and a screen to draw on; both are always taken back.

use std::ffi::OsStr;
use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr,
};

use crate::failure::{Failure, Result};

/// What is to be given back. Not in [`Raw`] and [`Screen`], so that a panic finds it too.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The terminal as it was.
struct Before {
    /// The one on standard input, with its modes.
    modes: Option<(OwnedFd, Termios)>,
    /// The one that is drawn on.
    drawn: Option<OwnedFd>,
}

/// Remembers how it was, for [`restore`].
fn remember(before: Before) {
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    // What a panic says would run down the screen like stairs, and a thread's panic drops nothing of ours.
    HOOK.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            next(panic);
        }));
    });
}

/// Gives everything back that was taken.
fn restore() {
    let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
    if let Some(drawn) = &before.drawn {
        leave(drawn);
    }
    if let Some((terminal, modes)) = &before.modes {
        if before.drawn.is_some() {
            // It was typed for the picture, and the shell would run it.
            let _ = tcflush(terminal, QueueSelector::IFlush);
        }
        // Now, and not when all output is out: that would wait for ever on a terminal that was halted (ctrl-S).
        let _ = tcsetattr(terminal, OptionalActions::Now, modes);
    }
}

fn change(terminal: &OwnedFd, before: &Termios, change: impl FnOnce(&mut Termios)) {
    let mut modes = before.clone();
    change(&mut modes);
    // The terminal may be gone; then a signal follows.
    let _ = tcsetattr(terminal, OptionalActions::Now, &modes);
}

/// The terminal in raw mode, until this is dropped.
pub(crate) struct Raw(());

impl Raw {
    /// Switches the terminal on standard input to raw mode.
    pub(crate) fn enter() -> Result<Self> {
        Self::enter_on(stdin())
    }

    fn enter_on(terminal: impl AsFd) -> Result<Self> {
        let terminal = terminal.as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
        let modes = tcgetattr(&terminal).map_err(|errno| failed(&errno.into()))?;
        remember(Before { modes: Some((terminal, modes)), drawn: None });
        let raw = Self(());
        Self::again(&raw);
        Ok(raw)
    }

    /// Sets it to raw mode again, after somebody else had it.
    pub(crate) fn again(_raw: &Self) {
        if let Some(Before { modes: Some((terminal, before)), .. }) =
            &*BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
        {
            change(terminal, before, Termios::make_raw);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::failed(format_args!("cannot set the terminal up: {error}"))
}

/// The terminal as a screen that is drawn on, until this is dropped. What was on it before is there again then.
pub(crate) struct Screen(());

/// The other screen (xterm's; the usual one stays as it is), no cursor, and long lines are cut instead of wrapped. This is
/// to be written before anything is drawn.
pub(crate) const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// How long a terminal is waited for that takes nothing more.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

impl Screen {
    /// Takes the terminal. `None`: it does not understand what is needed.
    pub(crate) fn enter() -> Result<Option<Self>> {
        if !can_draw(std::env::var_os("TERM").as_deref()) {
            return Ok(None);
        }
        let screen = Self(());
        Self::take(stdin(), stdout())?;
        Ok(Some(screen))
    }

    fn take(input: impl AsFd, output: impl AsFd) -> Result {
        let drawn = output.as_fd().try_clone_to_owned().map_err(|error| failed(&error))?;
        let modes = input.as_fd().try_clone_to_owned().ok().and_then(|terminal| {
            let before = tcgetattr(&terminal).ok()?;
            change(&terminal, &before, |quiet| {
                // ctrl-C and ctrl-Z stay signals; ctrl-S would stop us in the middle of a picture.
                quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
                quiet.input_modes -= InputModes::IXON;
                // Else the kernel throws away what is on its way to the terminal, after it has sent the signal: also how
                // we give the screen back.
                quiet.local_modes |= LocalModes::NOFLSH;
            });
            Some((terminal, before))
        });
        remember(Before { modes, drawn: Some(drawn) });
        Ok(())
    }

    /// What draws a picture in the place of the one before: as many lines as the window has.
    #[expect(clippy::unused_self, reason = "only who has taken the screen may draw on it")]
    pub(crate) fn frame(&self, picture: &str) -> String {
        let (columns, rows) = size();
        frame(picture, columns, rows)
    }

    /// ctrl-Z: the shell gets the terminal as it was, and we take it again when we are to go on.
    #[expect(clippy::unused_self, reason = "only who has taken the screen can give it back")]
    pub(crate) fn suspend(&mut self) -> Result {
        restore();
        // Returns when somebody sends SIGCONT.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        Self::take(stdin(), stdout())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Whether a terminal of this kind (`TERM`) understands more than lines.
fn can_draw(kind: Option<&OsStr>) -> bool {
    kind.is_some_and(|kind| !kind.is_empty() && kind != "dumb")
}

/// It may be gone, or take nothing more: then it is left as it is.
fn leave(terminal: &OwnedFd) {
    let mut ready = [PollFd::new(terminal, PollFlags::OUT)];
    if poll(&mut ready, Some(&PATIENCE)).is_ok_and(|ready| ready > 0) {
        let _ = rustix::io::write(terminal, LEAVE.as_bytes());
    }
}

/// From the upper left corner, each line over the one that was there, nothing below; the last line is never ended, which
/// would move everything up.
fn frame(picture: &str, columns: u16, rows: u16) -> String {
    let (columns, rows) = (usize::from(columns), usize::from(rows));
    let lines: Vec<&str> = picture.lines().collect();
    let hidden = lines.len().saturating_sub(rows);
    let mut shown: Vec<String> =
        lines.iter().take(rows).map(|line| line.chars().take(columns).collect::<String>()).collect();
    if hidden > 0
        && let Some(last) = shown.last_mut()
    {
        *last = format!("… {} more lines", hidden + 1).chars().take(columns).collect();
    }
    // Erased first: behind the last column of a full line it would take the last character.
    let below = if shown.len() < rows { "\r\n\x1b[J" } else { "" };
    format!("\x1b[H\x1b[K{}{below}", shown.join("\r\n\x1b[K"))
}

/// Whether standard input and output are a terminal.
pub(crate) fn is_interactive() -> bool {
    stdin().is_terminal() && stdout().is_terminal()
}

/// Columns and rows of the terminal; 80 by 24 when it does not say.
pub(crate) fn size() -> (u16, u16) {
    let size = tcgetwinsize(stdout()).or_else(|_| tcgetwinsize(stdin()));
    size.ok().filter(|size| size.ws_col > 0 && size.ws_row > 0).map_or((80, 24), |size| (size.ws_col, size.ws_row))
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

    use super::*;

    #[test]
    fn a_picture_is_cut_to_the_window() {
        assert_eq!(frame("one\ntwo\n", 80, 24), "\x1b[H\x1b[Kone\r\n\x1b[Ktwo\r\n\x1b[J");
        assert_eq!(frame("a long line\n2\n3\n4\n", 6, 3), "\x1b[H\x1b[Ka long\r\n\x1b[K2\r\n\x1b[K… 2 mo");
        assert_eq!(frame("", 80, 24), "\x1b[H\x1b[K\r\n\x1b[J");
    }

    #[test]
    fn not_every_terminal_can_be_drawn_on() {
        let drawn = [None, Some(""), Some("dumb"), Some("xterm")].map(|kind| can_draw(kind.map(OsStr::new)));
        assert_eq!(drawn, [false, false, false, true]);
    }

    /// There is one place for what is to be restored.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    fn the_terminal_is_restored_at_the_end_and_by_a_panic_of_any_thread() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        unlockpt(&ours).unwrap();
        let terminal = ioctl_tiocgptpeer(&ours, flags).unwrap();
        let modes = || tcgetattr(&terminal).unwrap().local_modes;
        let before = modes();
        assert!(before.contains(LocalModes::ECHO | LocalModes::ICANON));

        let raw = Raw::enter_on(&terminal).unwrap();
        assert!(!modes().intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
        drop(raw);
        assert_eq!(modes(), before);

        let raw = Raw::enter_on(&terminal).unwrap();
        std::thread::spawn(|| panic!("on purpose")).join().unwrap_err();
        assert_eq!(modes(), before);
        drop(raw);
        assert_eq!(modes(), before);

        // A screen too, and what was typed for it is gone with it.
        let drawing = |end: &dyn Fn(Screen)| {
            Screen::take(&terminal, &terminal).unwrap();
            assert!(!modes().intersects(LocalModes::ECHO | LocalModes::ICANON));
            rustix::io::write(&ours, b"reboot\n").unwrap();
            end(Screen(()));
            assert_eq!(modes(), before);
            let mut readable = [PollFd::new(&terminal, PollFlags::IN)];
            assert_eq!(poll(&mut readable, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0));
            let mut shown = [0; 100];
            let count = rustix::io::read(&ours, &mut shown).unwrap();
            assert_eq!(String::from_utf8_lossy(&shown[..count]), LEAVE);
        };
        drawing(&drop);
        drawing(&|_screen| drop(std::thread::spawn(|| panic!("on purpose")).join().unwrap_err()));
    }

    #[test]
    fn a_terminal_that_takes_nothing_more_is_left() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags).unwrap();
        unlockpt(&ours).unwrap();
        let terminal = ioctl_tiocgptpeer(&ours, flags).unwrap();
        Screen::take(&terminal, &terminal).unwrap();
        rustix::io::ioctl_fionbio(&terminal, true).unwrap();
        while rustix::io::write(&terminal, &[b'x'; 4096]).is_ok() {}
        rustix::io::ioctl_fionbio(&terminal, false).unwrap();
        drop(Screen(()));
    }
}
