//! The file of the plugin's socket: taken if nobody answers it, and removed if it is still the one that was taken. Files are
//! touched on a thread of their own.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// How long somebody who answers may take to do so.
const ANSWERS: Duration = Duration::from_secs(1);
/// How long a file may take.
const FILES: Duration = Duration::from_secs(10);

/// A socket that is ours.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: whether the file is still this one.
    file: (u64, u64),
}

impl Socket {
    /// Takes it, unless somebody answers it.
    pub(super) async fn take(path: &Path) -> io::Result<Self> {
        match timeout(ANSWERS, UnixStream::connect(path)).await {
            Ok(Err(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
            Ok(Err(error)) => return Err(error),
            // A silence means that somebody listens.
            Ok(Ok(_)) | Err(_) => return Err(io::Error::other("another process answers it")),
        }
        let at = path.to_owned();
        let (listener, file) = on_thread(move || bind(&at)).await?;
        Ok(Self { listener: UnixListener::from_std(listener)?, path: path.to_owned(), file })
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Removes it, if it is still there.
    pub(super) async fn leave(self) {
        let Self { listener, path, file } = self;
        let removed = on_thread(move || match fs::symlink_metadata(&path) {
            Ok(there) if (there.dev(), there.ino()) == file => fs::remove_file(&path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        });
        if let Err(error) = removed.await {
            tracing::warn!(%error, "the socket of the network plugin cannot be removed");
        }
        // Only now nobody answers, so that none finds a socket without anybody behind it.
        drop(listener);
    }
}

fn bind(path: &Path) -> io::Result<(std::os::unix::net::UnixListener, (u64, u64))> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("it is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    let there = fs::symlink_metadata(path)?;
    Ok((listener, (there.dev(), there.ino())))
}

/// Whether the file is there that says that the plugin is needed.
pub(super) async fn is_noted(note: &Path) -> bool {
    let note = note.to_owned();
    on_thread(move || note.try_exists()).await.unwrap_or(false)
}

/// Makes or removes that file.
pub(super) async fn set_noted(note: &Path, needed: bool) -> io::Result<()> {
    let note = note.to_owned();
    on_thread(move || {
        if needed {
            return fs::write(note, "");
        }
        match fs::remove_file(note) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
    .await
}

/// A few times in the life of a host: not worth a thread that stays.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("network-plugin".into()).spawn(move || {
        let _ = answer.send(work());
    })?;
    let ended = || io::Error::other("the thread ended without an answer");
    timeout(FILES, answered).await.map_err(io::Error::from)?.map_err(|_| ended())?
}
