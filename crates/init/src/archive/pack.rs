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
/// Files up to this length are read before their length is said: those in /sys are shorter than they say.
const SMALL: u64 = 64 * 1024;
/// Files that could not be packed whole and are named; the others are counted.
const NAMED: usize = 10;

/// What becomes of symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// They are links in the archive too; only one that is named with a slash at its end is followed.
    Kept,
    /// What they lead to is in the archive.
    Followed,
}

/// Writes what is at `source` as an archive with its end mark. What is refused is refused before anything is written.
/// What cannot be read is left out, or filled up with zeros if it was begun; that is an error, after all the rest.
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
    let to = Builder::new(BufWriter::with_capacity(64 * 1024, to));
    let mut packer = Packer { to, links, known: HashMap::new(), missed: Missed::default() };
    let written = packer.tree(source.to_owned(), name.into());
    let Packer { to, missed, .. } = packer;
    let written = written.and_then(|()| to.into_inner()?.flush());
    written.map_err(|error| Trouble::failed("the archive", &error))?;
    missed.told()
}

/// What could not be packed whole.
#[derive(Default)]
struct Missed {
    words: Vec<String>,
    more: usize,
}

impl Missed {
    fn add(&mut self, path: &Path, why: &str) {
        if self.words.len() < NAMED {
            self.words.push(format!("{}: {why}", path.display()));
        } else {
            self.more += 1;
        }
    }

    fn told(self) -> Result<()> {
        let more = (self.more > 0).then(|| format!("and {} more", self.more));
        let words: Vec<String> = self.words.into_iter().chain(more).collect();
        if words.is_empty() { Ok(()) } else { Err(Trouble::Failed(words.join("; "))) }
    }
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
    missed: Missed,
}

/// What a file that is no directory is in the archive.
enum Leaf {
    /// Nothing: it is a socket or a device.
    None,
    Fifo,
    Symlink(PathBuf),
    Small(Metadata, Vec<u8>),
    Large(Metadata, File),
}

/// What is still to be done.
enum Work {
    /// Pack what is here under this name.
    Pack(PathBuf, PathBuf),
    /// A directory is done.
    Leave,
}

impl<W: Write> Packer<W> {
    /// Errors are those of the archive; those of files are remembered.
    fn tree(&mut self, path: PathBuf, name: PathBuf) -> io::Result<()> {
        let mut todo = vec![Work::Pack(path, name)];
        // Those that are just being packed: a followed link that leads to one of them would never end.
        let mut above: Vec<(u64, u64)> = Vec::new();
        while let Some(work) = todo.pop() {
            let Work::Pack(path, name) = work else {
                above.pop();
                continue;
            };
            let metadata = match look(&path, self.links) {
                Ok(metadata) => metadata,
                // It has gone since its directory was read; a link that leads nowhere has not.
                Err(error) if error.kind() == io::ErrorKind::NotFound && path.symlink_metadata().is_err() => continue,
                Err(error) => {
                    self.missed.add(&path, &plain(&error));
                    continue;
                }
            };
            if !metadata.is_dir() {
                self.leaf(&path, &name, &metadata)?;
                continue;
            }
            let own = (metadata.dev(), metadata.ino());
            if above.contains(&own) {
                self.missed.add(&path, "a link that leads to a directory that it is in");
                continue;
            }
            // With a slash at its end, as other programs have it.
            self.entry(&name.join(""), &metadata, EntryType::Directory, 0, io::empty())?;
            above.push(own);
            todo.push(Work::Leave);
            let inside = fs::read_dir(&path).and_then(|all| all.map(|entry| Ok(entry?.file_name())).collect());
            let mut inside: Vec<OsString> = inside.unwrap_or_else(|error| {
                self.missed.add(&path, &plain(&error));
                Vec::new()
            });
            // The next one is taken from the end.
            inside.sort_by(|a, b| b.cmp(a));
            let base = if name.as_os_str() == "." { Path::new("") } else { &name };
            todo.extend(inside.into_iter().map(|one| Work::Pack(path.join(&one), base.join(&one))));
        }
        Ok(())
    }

    fn leaf(&mut self, path: &Path, name: &Path, metadata: &Metadata) -> io::Result<()> {
        let own = (metadata.dev(), metadata.ino());
        let twins = metadata.is_file() && metadata.nlink() > 1;
        if twins && let Some(first) = self.known.get(&own) {
            let mut header = header(metadata, EntryType::Link, 0);
            return self.to.append_link(&mut header, name, first);
        }
        match self.read(path, metadata) {
            Ok(Leaf::None) => return Ok(()),
            Ok(Leaf::Fifo) => self.entry(name, metadata, EntryType::Fifo, 0, io::empty())?,
            Ok(Leaf::Symlink(target)) => {
                let mut header = header(metadata, EntryType::Symlink, 0);
                self.to.append_link(&mut header, name, target)?;
            }
            Ok(Leaf::Small(of, content)) => {
                self.entry(name, &of, EntryType::Regular, content.len() as u64, content.as_slice())?;
            }
            Ok(Leaf::Large(of, file)) => {
                let mut content = Whole { file, rest: of.len(), broken: None };
                self.entry(name, &of, EntryType::Regular, of.len(), &mut content)?;
                if let Some(why) = content.broken {
                    self.missed.add(path, &why);
                }
            }
            Err(error) => {
                self.missed.add(path, &plain(&error));
                return Ok(());
            }
        }
        if twins {
            self.known.insert(own, name.to_owned());
        }
        Ok(())
    }

    fn read(&self, path: &Path, metadata: &Metadata) -> io::Result<Leaf> {
        let kind = metadata.file_type();
        if kind.is_symlink() {
            return fs::read_link(path).map(Leaf::Symlink);
        }
        if kind.is_fifo() {
            return Ok(Leaf::Fifo);
        }
        if !kind.is_file() {
            return Ok(Leaf::None);
        }
        // What took its place since must neither be waited for, as a pipe would be, nor be followed.
        let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        flags.set(OFlags::NOFOLLOW, self.links == Links::Kept);
        let mut file = File::from(open(path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it was replaced while it was read"));
        }
        let said = metadata.len();
        if said > SMALL {
            return Ok(Leaf::Large(metadata, file));
        }
        let most = if said > 0 { said } else { UNSAID + 1 };
        let mut content = Vec::new();
        (&mut file).take(most).read_to_end(&mut content)?;
        if content.len() as u64 > UNSAID {
            return Err(io::Error::other("it does not say its length and is long"));
        }
        Ok(Leaf::Small(metadata, content))
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
    /// Why zeros follow.
    broken: Option<String>,
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.rest).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = &mut buffer[..most];
        if self.broken.is_none() && most > 0 {
            match self.file.read(buffer) {
                Ok(0) => self.broken = Some("it became shorter while it was read".into()),
                Ok(count) => {
                    self.rest -= count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => self.broken = Some(plain(&error)),
            }
        }
        buffer.fill(0);
        self.rest -= most as u64;
        Ok(most)
    }
}
