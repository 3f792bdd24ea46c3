//! Notices a daemon's socket when it appears, so that a host without a daemon costs no timer (inotify of the directory
//! that the socket would be in).

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// Where a socket would appear.
#[derive(Debug)]
pub(super) struct Doorway {
    watch: OwnedFd,
    socket: OsString,
}

impl Doorway {
    /// Watches for this socket from now on. Blocks for as long as its directory takes to be found.
    pub(super) fn of(socket: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::ErrorKind::InvalidFilename.into());
        };
        let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // Attributes too: a daemon gives its socket to a group after it was made.
        let changes = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB;
        inotify::add_watch(&watch, directory, changes | WatchFlags::ONLYDIR)?;
        Ok(Self { watch, socket: name.to_owned() })
    }

    /// Waits until the socket was made, or changed hands, since this was last told. Cancel-safe.
    pub(super) async fn used(&self) -> io::Result<()> {
        loop {
            netloom_kernel::readable(&self.watch).await?;
            if self.is_told()? {
                return Ok(());
            }
        }
    }

    /// Takes all events off, and says whether one of them was about the socket.
    fn is_told(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.watch, &mut buffer);
        let mut told = false;
        loop {
            match events.next() {
                // Without a name it is the directory itself that changed; what was lost may have been anything.
                Ok(event) if event.events().contains(inotify::ReadFlags::QUEUE_OVERFLOW) => told = true,
                Ok(event) => {
                    told |= event.file_name().is_some_and(|name| name.to_bytes() == self.socket.as_encoded_bytes());
                }
                Err(Errno::AGAIN) => return Ok(told),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_socket_that_appears_is_noticed_and_its_neighbours_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let doorway = Doorway::of(&directory.path().join("docker.sock")).unwrap();
        std::fs::write(directory.path().join("docker.pid"), "1").unwrap();
        assert!(!doorway.is_told().unwrap(), "another file is no daemon");
        let _daemon = UnixListener::bind(directory.path().join("docker.sock")).unwrap();
        tokio::time::timeout(LIMIT, doorway.used()).await.expect("it is noticed").unwrap();
        assert!(!doorway.is_told().unwrap(), "once");
    }

    #[test]
    fn a_directory_that_is_not_there_cannot_be_watched() {
        let directory = tempfile::tempdir().unwrap();
        let error = Doorway::of(&directory.path().join("no/docker.sock")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
