//! The terminal of the caller: its size, and raw mode that is always taken back.

use std::io::{IsTerminal, stdin, stdout};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::failure::{Failure, Result};

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
    use rustix::termios::LocalModes;

    use super::*;

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
