//! Signals as something that `poll` can wait for.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// The signals that are passed on.
pub(crate) const FORWARDED: [i32; 7] = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT, SIGWINCH];

/// Caught signals.
pub(crate) struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

impl Signals {
    /// Catches the forwarded ones and SIGCHLD from now on.
    pub(crate) fn catch() -> std::io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let all = FORWARDED.into_iter().chain([SIGCHLD]);
        Ok(Self { delivery: SignalDelivery::with_pipe(read, write, SignalOnly, all)? })
    }

    /// What came since the last time; never blocks. Of several equal ones one is seen.
    pub(crate) fn take(&mut self) -> Vec<i32> {
        self.delivery.pending().collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}
