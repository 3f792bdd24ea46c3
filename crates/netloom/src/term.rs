//! The terminal of the caller: its size, raw mode, and a screen to draw on; both are always taken back.

use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::failure::{Failure, Result};
use crate::output;

/// The terminal that is raw, and how it was before. Not in [`Raw`], so that a panic finds it too.
static BEFORE: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// The terminal in raw mode, until this is dropped.
pub(crate) struct Raw(());

impl Raw {
    /// Switches the terminal on standard input to raw mode.
    pub(crate) fn enter() -> Result<Self> {
        Self::enter_on(stdin())
    }

    fn enter_on(terminal: impl AsFd) -> Result<Self> {
        let failed = |error: std::io::Error| Failure::failed(format_args!("cannot set the terminal up: {error}"));
        let terminal = terminal.as_fd().try_clone_to_owned().map_err(failed)?;
        let before = tcgetattr(&terminal).map_err(|errno| failed(errno.into()))?;
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some((terminal, before));
        // What a panic says would run down the screen like stairs, and a thread's panic drops nothing of ours.
        HOOK.call_once(|| {
            let next = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                next(panic);
            }));
        });
        let raw = Self(());
        Self::again(&raw);
        Ok(raw)
    }

    /// Sets it to raw mode again, after somebody else had it.
    pub(crate) fn again(_raw: &Self) {
        if let Some((terminal, before)) = &*BEFORE.lock().unwrap_or_else(PoisonError::into_inner) {
            let mut raw = before.clone();
            raw.make_raw();
            // The terminal may be gone; then a signal follows.
            let _ = tcsetattr(terminal, OptionalActions::Now, &raw);
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some((terminal, before)) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Now, and not when all output is out: that would wait for ever on a terminal that was halted (ctrl-S).
        let _ = tcsetattr(terminal, OptionalActions::Now, &before);
    }
}

/// The terminal as a screen that is drawn on, until this is dropped. What was on it before is there again then.
pub(crate) struct Screen {
    /// How standard input was before, if it is a terminal: what is typed is not shown meanwhile.
    before: Option<(OwnedFd, Termios)>,
}

/// The other screen (xterm's; the usual one stays as it is), no cursor, and long lines are cut instead of wrapped.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

impl Screen {
    /// Takes the terminal.
    pub(crate) fn enter() -> Result<Self> {
        let mut screen = Self { before: None };
        screen.take()?;
        Ok(screen)
    }

    fn take(&mut self) -> Result {
        if let Ok(terminal) = stdin().as_fd().try_clone_to_owned()
            && let Ok(before) = tcgetattr(&terminal)
        {
            let mut quiet = before.clone();
            // ctrl-C and ctrl-Z stay signals; ctrl-S would stop us in the middle of a picture.
            quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON;
            quiet.input_modes -= InputModes::IXON;
            // Else the kernel throws away what is on its way to the terminal, after it has sent the signal: also how we
            // give the screen back.
            quiet.local_modes |= LocalModes::NOFLSH;
            let _ = tcsetattr(&terminal, OptionalActions::Now, &quiet);
            self.before = Some((terminal, before));
        }
        output::bytes(&mut stdout().lock(), ENTER.as_bytes())
    }

    fn give_back(&mut self) {
        // It may be gone.
        let _ = output::bytes(&mut stdout().lock(), LEAVE.as_bytes());
        if let Some((terminal, before)) = self.before.take() {
            let _ = tcsetattr(terminal, OptionalActions::Now, &before);
        }
    }

    /// Draws a picture in the place of the one before: as many lines as the window has.
    #[expect(clippy::unused_self, reason = "only who has taken the screen may draw on it")]
    pub(crate) fn show(&self, picture: &str) -> Result {
        let (columns, rows) = size();
        output::bytes(&mut stdout().lock(), frame(picture, columns, rows).as_bytes())
    }

    /// ctrl-Z: the shell gets the terminal as it was, and we take it again when we are to go on.
    pub(crate) fn suspend(&mut self) -> Result {
        self.give_back();
        // Returns when somebody sends SIGCONT.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        self.take()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.give_back();
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
    fn the_terminal_is_restored_at_the_end_and_by_a_panic_of_any_thread() {
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
    }
}
