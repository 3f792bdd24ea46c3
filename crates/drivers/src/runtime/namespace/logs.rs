//! The output of a node, read from the files that its init writes.
//!
//! Following needs no timer: the directory is watched (inotify), and a file that was turned over is read to its end
//! before the next one. Reading happens on the pool, a piece at a time.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use netloom_engine::{Follow, LogStream};
use rustix::fs::inotify;
use tokio::sync::mpsc;

use super::super::pool::Pool;
use super::spec::{LOG_FILE, LOG_FILE_BEFORE};

/// Pieces that wait for the reader.
const QUEUE: usize = 16;
/// Size of a piece in bytes.
const PIECE: u64 = 64 * 1024;
/// Longest that one piece may take; a disk that needs longer ends the stream.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens the output of the node with this run directory.
pub(super) fn open(pool: Pool, directory: &Path, follow: Follow) -> io::Result<LogStream> {
    let watch = match follow {
        Follow::No | Follow::Last(_) => None,
        // Before the first look, so that nothing falls between look and watch.
        Follow::Yes => Some(watch(directory)?),
    };
    let (sender, chunks) = mpsc::channel(QUEUE);
    let begin = match follow {
        Follow::Last(_) => Begin::NearEnd,
        Follow::No | Follow::Yes => Begin::AtBeginning,
    };
    let reader = Reader { directory: directory.to_owned(), begin, file: None, started: false };
    netloom_engine::task::spawn(format!("log of {}", directory.display()), run(pool, reader, watch, sender));
    Ok(LogStream { chunks })
}

fn watch(directory: &Path) -> io::Result<OwnedFd> {
    use inotify::{CreateFlags, WatchFlags};
    let descriptor = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let changes = WatchFlags::MODIFY | WatchFlags::MOVED_TO | WatchFlags::CREATE | WatchFlags::DELETE;
    inotify::add_watch(&descriptor, directory, changes | WatchFlags::ONLYDIR)?;
    Ok(descriptor)
}

async fn run(pool: Pool, mut reader: Reader, watch: Option<OwnedFd>, sender: mpsc::Sender<Bytes>) {
    loop {
        let piece = pool.run(Instant::now() + PATIENCE, move || {
            let piece = reader.next();
            (reader, piece)
        });
        let Ok((back, piece)) = piece.await else { return };
        reader = back;
        match (piece, &watch) {
            (Ok(Some(bytes)), _) => {
                if sender.send(bytes).await.is_err() {
                    return;
                }
            }
            (Ok(None), Some(watch)) => {
                let changed = tokio::select! {
                    changed = netloom_kernel::readable(watch) => changed.and_then(|()| forget_events(watch)),
                    () = sender.closed() => return,
                };
                // The mark is among what a deletion of the node takes away. (That the directory itself is gone is told
                // only when nobody holds it any more.)
                if changed.is_err() || !reader.directory.join(super::record::FILE).exists() {
                    return;
                }
            }
            (Ok(None), None) | (Err(_), _) => return,
        }
    }
}

/// That something changed is all that matters.
fn forget_events(watch: &OwnedFd) -> io::Result<()> {
    let mut buffer = [0_u8; 4096];
    loop {
        match rustix::io::read(watch, &mut buffer) {
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(rustix::io::Errno::INTR) | Ok(1..) => {}
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    AtBeginning,
    /// A piece before the end.
    NearEnd,
}

/// Reads the older file, then the newer one, then whatever takes its place.
struct Reader {
    directory: PathBuf,
    begin: Begin,
    file: Option<File>,
    started: bool,
}

impl Reader {
    /// Opens what is read first: the older file from its beginning, or so much of both that it is a piece.
    fn begin(&mut self) -> io::Result<()> {
        self.file = existing(&self.directory.join(LOG_FILE_BEFORE))?;
        if self.begin == Begin::NearEnd {
            let newest = existing(&self.directory.join(LOG_FILE))?;
            let length = newest.as_ref().map_or(Ok(0), |newest| newest.metadata().map(|about| about.len()))?;
            let mut shown = PIECE.saturating_sub(length);
            if shown == 0 || self.file.is_none() {
                (self.file, shown) = (newest, PIECE);
            }
            if let Some(file) = &mut self.file {
                let length = file.metadata()?.len();
                file.seek(SeekFrom::Start(length.saturating_sub(shown)))?;
            }
        }
        Ok(())
    }

    /// The next piece. `None`: there is no more for now.
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !std::mem::replace(&mut self.started, true) {
            self.begin()?;
        }
        loop {
            if let Some(file) = &mut self.file {
                let mut bytes = Vec::new();
                file.take(PIECE).read_to_end(&mut bytes)?;
                if !bytes.is_empty() {
                    return Ok(Some(bytes.into()));
                }
            }
            // At the end of this file: is another one the newest by now? The init writes to the next one only after
            // it has given this one its other name, so nothing more comes into this one; but look once more, since
            // it may have grown before that.
            let Some(newest) = existing(&self.directory.join(LOG_FILE))? else { return Ok(None) };
            let same = match &self.file {
                Some(file) => file.metadata()?.ino() == newest.metadata()?.ino(),
                None => false,
            };
            if same {
                return Ok(None);
            }
            if let Some(mut old) = self.file.replace(newest) {
                let mut bytes = Vec::new();
                old.read_to_end(&mut bytes)?;
                if !bytes.is_empty() {
                    return Ok(Some(bytes.into()));
                }
            }
        }
    }
}

fn existing(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// So many bytes of what is read when it begins near its end.
    fn end_of(before: Option<usize>, newest: Option<usize>) -> (usize, usize) {
        let directory = tempfile::tempdir().unwrap();
        for (name, byte, length) in [(LOG_FILE_BEFORE, b'b', before), (LOG_FILE, b'n', newest)] {
            if let Some(length) = length {
                fs::write(directory.path().join(name), vec![byte; length]).unwrap();
            }
        }
        let directory = directory.path().to_owned();
        let mut reader = Reader { directory, begin: Begin::NearEnd, file: None, started: false };
        let mut read = Vec::new();
        while let Some(piece) = reader.next().unwrap() {
            read.extend_from_slice(&piece);
        }
        let older = read.split(|byte| *byte == b'b').count() - 1;
        (older, read.len() - older)
    }

    #[test]
    fn the_end_of_an_output_is_a_piece_of_its_two_files() {
        let piece = usize::try_from(PIECE).unwrap();
        assert_eq!(end_of(None, None), (0, 0));
        assert_eq!(end_of(None, Some(piece - 1)), (0, piece - 1));
        assert_eq!(end_of(None, Some(piece + 7)), (0, piece));
        assert_eq!(end_of(Some(9 * piece), Some(9 * piece)), (0, piece));
        assert_eq!(end_of(Some(9 * piece), Some(10)), (piece - 10, 10));
        assert_eq!(end_of(Some(10), Some(10)), (10, 10));
        assert_eq!(end_of(Some(9 * piece), None), (piece, 0));
    }
}
