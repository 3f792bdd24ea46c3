//! Waiting for descriptors that are not sockets: processes, file notifications.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Returns when something can be read from the descriptor. Needs a runtime with I/O; dropping the future changes
/// nothing.
pub async fn readable(descriptor: &OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed for as long as this future lives, and does not change meanwhile.
    let waiting = unsafe { AsyncFd::register_with_interest(descriptor.as_fd(), Interest::READABLE) }?;
    let _ = waiting.readable().await?;
    Ok(())
}
