//! The terminal of the caller: its size, and raw mode that is always taken back.

use std::io::{IsTerminal, stdin, stdout};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::failure::{Failure, Result};

/// The terminal in raw mode, until this is dropped.
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// Switches the terminal on standard input to raw mode.
    pub(crate) fn enter() -> Result<Self> {
        let failed = |error: rustix::io::Errno| Failure::failed(format_args!("cannot set the terminal up: {error}"));
        let before = tcgetattr(stdin()).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).map_err(failed)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone; then nothing is left to restore.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
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
