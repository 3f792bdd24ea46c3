//! From files to a stream.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use tar::{Builder, EntryType, Header};

use super::{Result, Trouble, ending, plain};

/// The longest that a file may be which does not say its length, as those in /proc do.
const UNSAID: u64 = 1024 * 1024;

/// What becomes of symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are links in the archive too; only one that is named with a slash at its end is followed.
    Kept,
    /// What they lead to is in the archive.
    Followed,
}

/// Writes what is at `source` as an archive with its end mark. What is refused is refused before anything is written.
pub(crate) fn pack(source: &Path, links: Links, to: impl Write) -> Result<()> {
    let (_, content) = ending(source);
    let refused = |error: &io::Error| Trouble::Refused(format!("{}: {}", source.display(), plain(error)));
    let metadata = look(source, links).map_err(|error| refused(&error))?;
    let kind = metadata.file_type();
    if kind.is_socket() || kind.is_block_device() || kind.is_char_device() {
        let what = if kind.is_socket() { "a socket" } else { "a device" };
        return Err(Trouble::Refused(format!("{}: {what} cannot be copied", source.display())));
    }
    // Before the first byte is written: what cannot be read at all is a refusal.
    if kind.is_file() {
        drop(File::open(source).map_err(|error| refused(&error))?);
    } else if kind.is_dir() {
        drop(fs::read_dir(source).map_err(|error| refused(&error))?);
    }
    let name = if content { OsString::from(".") } else { source.file_name().unwrap_or_default().to_owned() };
    let mut packer = Packer { to: Builder::new(BufWriter::with_capacity(64 * 1024, to)), links, known: HashMap::new() };
    packer.tree(source.to_owned(), name.into())?;
    let written = packer.to.into_inner().and_then(|mut rest| rest.flush());
    written.map_err(|error| Trouble::failed("the archive", &error))
}

fn look(path: &Path, links: Links) -> io::Result<Metadata> {
    match links {
        Links::Kept => fs::symlink_metadata(path),
        Links::Followed => fs::metadata(path),
    }
}

struct Packer<W: Write> {
    to: Builder<W>,
    links: Links,
    /// Files that have several names: the one under which they are in the archive.
    known: HashMap<(u64, u64), PathBuf>,
}

/// What is still to be done.
enum Work {
    /// Pack what is here under this name.
    Pack(PathBuf, PathBuf),
    /// A directory is done.
    Leave,
}

impl<W: Write> Packer<W> {
    fn tree(&mut self, path: PathBuf, name: PathBuf) -> Result<()> {
        let mut todo = vec![Work::Pack(path, name)];
        // Those that are just being packed: a followed link that leads to one of them would never end.
        let mut above: Vec<(u64, u64)> = Vec::new();
        while let Some(work) = todo.pop() {
            let Work::Pack(path, name) = work else {
                above.pop();
                continue;
            };
            let failed = |error: &io::Error| Trouble::failed(path.display(), error);
            let metadata = match look(&path, self.links) {
                Ok(metadata) => metadata,
                // It has gone since its directory was read; a link that leads nowhere has not.
                Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => continue,
                Err(error) => return Err(failed(&error)),
            };
            let own = (metadata.dev(), metadata.ino());
            if metadata.is_dir() {
                if above.contains(&own) {
                    let text = format!("{}: a link that leads to a directory that it is in", path.display());
                    return Err(Trouble::Failed(text));
                }
                // With a slash at its end, as other programs have it.
                let written = self.entry(&name.join(""), &metadata, EntryType::Directory, 0, io::empty());
                written.map_err(|error| failed(&error))?;
                above.push(own);
                todo.push(Work::Leave);
                let inside = fs::read_dir(&path).and_then(|all| all.map(|entry| Ok(entry?.file_name())).collect());
                let mut inside: Vec<OsString> = inside.map_err(|error| failed(&error))?;
                // The next one is taken from the end.
                inside.sort_by(|a, b| b.cmp(a));
                let base = if name.as_os_str() == "." { Path::new("") } else { &name };
                todo.extend(inside.into_iter().map(|one| Work::Pack(path.join(&one), base.join(&one))));
            } else {
                self.leaf(&path, &name, &metadata, own).map_err(|error| failed(&error))?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, path: &Path, name: &Path, metadata: &Metadata, own: (u64, u64)) -> io::Result<()> {
        let kind = metadata.file_type();
        if kind.is_symlink() {
            let mut header = header(metadata, EntryType::Symlink, 0);
            return self.to.append_link(&mut header, name, fs::read_link(path)?);
        }
        if kind.is_fifo() {
            return self.entry(name, metadata, EntryType::Fifo, 0, io::empty());
        }
        if !kind.is_file() {
            return Ok(());
        }
        if metadata.nlink() > 1 {
            if let Some(first) = self.known.get(&own) {
                let mut header = header(metadata, EntryType::Link, 0);
                return self.to.append_link(&mut header, name, first);
            }
            self.known.insert(own, name.to_owned());
        }
        // What took its place since must neither be waited for, as a pipe would be, nor be followed.
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, self.links == Links::Kept);
        let mut file = File::from(open(path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it was replaced while it was read"));
        }
        if metadata.len() > 0 {
            let mut content = Whole { rest: metadata.len(), file };
            return self.entry(name, &metadata, EntryType::Regular, metadata.len(), &mut content);
        }
        let mut content = Vec::new();
        (&mut file).take(UNSAID + 1).read_to_end(&mut content)?;
        let length = content.len() as u64;
        if length > UNSAID {
            return Err(io::Error::other("it does not say its length and is long"));
        }
        self.entry(name, &metadata, EntryType::Regular, length, content.as_slice())
    }

    fn entry(&mut self, name: &Path, of: &Metadata, kind: EntryType, size: u64, content: impl Read) -> io::Result<()> {
        self.to.append_data(&mut header(of, kind, size), name, content)
    }
}

fn header(of: &Metadata, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(of.mode() & 0o7777);
    header.set_uid(of.uid().into());
    header.set_gid(of.gid().into());
    // Times before 1970 cannot be said.
    header.set_mtime(of.mtime().try_into().unwrap_or(0));
    header.set_size(size);
    header
}

/// Just as much of a file as was announced, whatever is written to it meanwhile.
struct Whole {
    file: File,
    rest: u64,
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.rest).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            return Err(io::Error::other("it became shorter while it was read"));
        }
        self.rest -= count as u64;
        Ok(count)
    }
}
