//! Network namespaces: made, opened, pinned, entered.
//!
//! A namespace is entered only by threads that were started for it and end afterwards: `setns` and `unshare`
//! change the calling thread for good, and a worker of an async runtime would carry the change to the next task.
//! Everything here blocks for microseconds to a few milliseconds; call it from a thread made for blocking work.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;

use netloom_failpoint::{fallible, point};
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

use crate::socket;

/// A network namespace that is held open; clones are cheap and hold the same one.
///
/// It lives at least as long as any clone does: drop them before expecting that an unpinned namespace is gone.
#[derive(Debug, Clone)]
pub struct Netns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fd: OwnedFd,
    cookie: OnceLock<u64>,
}

impl Netns {
    /// The namespace that the process was started in.
    pub fn host() -> io::Result<Self> {
        // The main thread's: no code of this crate ever moves that one.
        Self::open("/proc/self/ns/net")
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// The namespace that is pinned at a path, or that a `/proc/<pid>/ns/net` names.
    ///
    /// A path that is not a namespace (a pin whose mount is gone) is `InvalidInput`.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        let file = File::open(path)?;
        if rustix::fs::fstatfs(&file)?.f_type != NSFS_MAGIC {
            let why = format!("{} is not a network namespace", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(Self { inner: Arc::new(Inner { fd: file.into(), cookie: OnceLock::new() }) })
    }

    /// As [`Netns::open`]; `None` if nothing is pinned there. An error says nothing about what is there.
    pub fn find(path: impl AsRef<Path>) -> io::Result<Option<Self>> {
        match Self::open(path) {
            Ok(netns) => Ok(Some(netns)),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a new namespace with `lo` up and pins it at `path`, which must not exist.
    ///
    /// Takes about half a millisecond. After a failure nothing is left at `path`.
    pub fn create_pinned(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::create_pinned_with(path, || {})
    }

    /// As [`Netns::create_pinned`]; `settle` runs in the namespace before it is pinned, so that a pin is only ever
    /// seen of a namespace that is settled.
    pub fn create_pinned_with(path: impl AsRef<Path>, settle: impl FnOnce() + Send) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        on_own_thread(move || {
            // SAFETY: only the network namespace of this thread is unshared; it shares no
            // descriptor table or memory state with others through that flag, and it ends after this closure.
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
            let netns = Self::current()?;
            point!("netns.made");
            socket::bring_loopback_up()?;
            settle();
            fallible!("netns.settled")?;
            File::create_new(&path)?;
            point!("netns.file-made");
            // The thread's own proc entry, not the descriptor: /proc/self/fd/N cannot be bind-mounted everywhere.
            if let Err(error) = rustix::mount::mount_bind("/proc/thread-self/ns/net", &path) {
                // Ours a moment ago; what it held was nothing.
                let _ = fs::remove_file(&path);
                return Err(error.into());
            }
            point!("netns.pinned");
            Ok(netns)
        })
    }

    /// Pins it at `path`, where nothing is pinned; the file may be there.
    pub fn pin(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        self.run(|| {
            File::options().create(true).append(true).open(path)?;
            point!("netns.pin.file-there");
            rustix::mount::mount_bind("/proc/thread-self/ns/net", path)?;
            point!("netns.pin.pinned");
            Ok(())
        })?
    }

    /// Pins it at `path` in place of what is pinned there. For a moment nothing is: whoever may open it meanwhile has to
    /// be kept out. A crash in that moment leaves the file without a namespace.
    pub fn repin(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let path = path.as_ref();
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        point!("netns.repin.unpinned");
        self.pin(path)
    }

    /// What identifies the namespace for as long as the machine runs (SO_NETNS_COOKIE, Linux 5.14);
    /// unlike its inode it is never used again.
    pub fn cookie(&self) -> io::Result<u64> {
        if let Some(cookie) = self.inner.cookie.get() {
            return Ok(*cookie);
        }
        let cookie = self.run(socket::netns_cookie)??;
        Ok(*self.inner.cookie.get_or_init(|| cookie))
    }

    /// Runs `work` in the namespace, on a thread of its own, and waits for it.
    ///
    /// Only the network namespace differs: `/proc/sys/net` is that of this namespace, `/sys/class/net` is not.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_own_thread(move || {
            self.enter()?;
            Ok(work())
        })
    }

    /// Moves the calling thread; for threads that set their namespace before each use, or end.
    pub(crate) fn enter(&self) -> io::Result<()> {
        Ok(rustix::thread::move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    pub(crate) fn raw_fd(&self) -> i32 {
        self.inner.fd.as_raw_fd()
    }

    pub(crate) fn same_handle(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// A number that tells handles apart while they live.
    pub(crate) fn handle(&self) -> usize {
        Arc::as_ptr(&self.inner).addr()
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.fd.as_fd()
    }
}

fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::NotFound | Kind::NotADirectory | Kind::InvalidInput)
}

/// `f_type` of files that are namespaces (linux/magic.h).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// Takes a pin away. The namespace itself ends when nothing else holds it (a process, a socket, a [`Netns`]);
/// what it had is torn down by the kernel in the background. No pin there is fine.
pub fn unpin(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // EINVAL: it is there but nothing is mounted on it.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    point!("netns.unmounted");
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes away what is mounted last at a path. One that is in use stays (EBUSY); nothing mounted there is fine.
pub fn unmount(path: impl AsRef<Path>) -> io::Result<()> {
    match rustix::mount::unmount(path.as_ref(), UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes a directory fit for pins: it exists and is a private mount of itself, so that no pin
/// shows up in (or is kept alive by) another mount namespace. Doing it again changes nothing.
pub fn prepare_pin_directory(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    fs::create_dir_all(path)?;
    let path = path.canonicalize()?;
    let private = || rustix::mount::mount_change(&path, MountPropagationFlags::PRIVATE);
    match private() {
        // EINVAL: not a mount point yet.
        Err(rustix::io::Errno::INVAL) => {
            rustix::mount::mount_bind(&path, &path)?;
            point!("netns.directory-mounted");
            Ok(private()?)
        }
        other => Ok(other?),
    }
}

pub(crate) fn on_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("nl-netns".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
