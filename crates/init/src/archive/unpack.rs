//! From a stream to files.
//!
//! Everything is made below one directory that is held open, part of a path by part, and no part may be a symbolic link:
//! whatever an archive holds and whatever else writes there meanwhile, nothing lands elsewhere.
//!
//! A file is written beside its place and takes it in one step when it is whole; so does a directory that was not there
//! before, with all that is in it. What fails leaves nothing of that behind.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid, chownat,
    fallocate, fchmod, fchown, futimens, linkat, mkdirat, mkfifoat, open, openat, renameat, renameat_with, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::{Result, Trouble, ending, plain};

/// How something that arrives gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// As with `cp`: into the destination if that is a directory, else under the destination's name.
    Named,
    /// The destination is a directory, and everything in the archive has its name there.
    Into,
}

/// Who owns what arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// These; bits that lend the owner's rights stay only on what was theirs before.
    Of(u32, u32),
    /// Whom the archive says, by number.
    Kept,
}

/// Unpacks an archive, up to its end mark. One that ends before is an error.
pub(crate) fn unpack(from: impl Read, to: &Path, landing: Landing, owner: Owner) -> Result<()> {
    let destination = Destination::find(to, landing)?;
    let watch = Rc::new(Watch { ended: Cell::new(false), most: Cell::new(u64::MAX) });
    let mut archive = Archive::new(Watched { from, watch: watch.clone() });
    let mut unpacker = Unpacker { destination, owner, top: None, stage: None, directories: Vec::new(), last: None };
    let read = unpacker.all(&mut archive, &watch);
    let complete = read.and_then(|()| if watch.ended.get() { Err(too_early()) } else { Ok(()) });
    let settled = complete.and_then(|()| unpacker.settle());
    if settled.is_err() {
        unpacker.forget();
    }
    settled
}

/// What is known of a stream while an archive is read from it.
struct Watch {
    /// It is at its end: an archive ends before, with a block of zeros.
    ended: Cell<bool>,
    /// How much may be read now.
    most: Cell<u64>,
}

struct Watched<R> {
    from: R,
    watch: Rc<Watch>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.watch.most.get();
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
        if length == 0 && !buffer.is_empty() {
            return Err(io::Error::other("its names and attributes of one file are longer than 1,048,576 bytes"));
        }
        let count = self.from.read(&mut buffer[..length])?;
        self.watch.ended.set(self.watch.ended.get() || (count == 0 && !buffer.is_empty()));
        self.watch.most.set(most - count as u64);
        Ok(count)
    }
}

/// Where everything goes.
struct Destination {
    /// As it was said.
    path: PathBuf,
    /// The directory that everything is made in.
    base: Rc<OwnedFd>,
    base_path: PathBuf,
    /// The name that the first part of each path gets instead of its own.
    name: Option<OsString>,
    landing: Landing,
    /// What is there under that name may not be replaced by a directory.
    is_file: bool,
    /// It ends with a slash.
    wants_directory: bool,
}

impl Destination {
    fn find(path: &Path, landing: Landing) -> Result<Self> {
        let (wants_directory, _) = ending(path);
        let said = path.display();
        let refused = |why: &str| Trouble::Refused(format!("{said}: {why}"));
        let (base_path, name, is_file) = match fs::metadata(path) {
            Ok(there) if there.is_dir() => (path.to_owned(), None, false),
            Ok(_) if landing == Landing::Into => return Err(refused("not a directory")),
            Ok(_) => {
                let real = fs::canonicalize(path).map_err(|error| refused(&plain(&error)))?;
                let name = real.file_name().map(OsStr::to_owned);
                (real.parent().unwrap_or(Path::new("/")).to_owned(), name, true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && landing == Landing::Named => {
                let name = path.file_name().map(OsStr::to_owned).ok_or_else(|| refused("no such directory"))?;
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                if fs::symlink_metadata(parent.join(&name)).is_ok() {
                    return Err(refused("a link that leads nowhere"));
                }
                (parent.to_owned(), Some(name), false)
            }
            Err(error) => return Err(refused(&plain(&error))),
        };
        let base = open(&base_path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let base = base.map_err(|errno| {
            let why = plain(&errno.into());
            Trouble::Refused(if name.is_some() {
                format!("{said}: its directory {}: {why}", base_path.display())
            } else {
                format!("{said}: {why}")
            })
        })?;
        Ok(Self { path: path.to_owned(), base: Rc::new(base), base_path, name, landing, is_file, wants_directory })
    }
}

type Parts = Vec<OsString>;

struct Unpacker {
    destination: Destination,
    owner: Owner,
    /// The first part of all paths in the archive; `None` until the first one is known, empty if content is copied.
    top: Option<OsString>,
    /// A new directory as it is called until it is whole, and its name then.
    stage: Option<(OsString, OsString)>,
    /// Those that were made: they get their attributes when nothing more is made in them.
    directories: Vec<(Parts, Attributes)>,
    /// The directory that was used last.
    last: Option<(Parts, Rc<OwnedFd>)>,
}

/// What is set on a file beside its content.
#[derive(Debug, Clone, Copy)]
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
}

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
/// Names that are tried for something that waits for its place.
const TRIES: u32 = 10_000;
/// The most that an archive may say about a file beside its content, since that is held in memory: names of any length,
/// attributes, the holes of a sparse file.
const ABOUT: u64 = 1024 * 1024;

impl Unpacker {
    fn all<R: Read>(&mut self, archive: &mut Archive<R>, watch: &Watch) -> Result<()> {
        let broken = |error: io::Error| {
            if watch.ended.get() { too_early() } else { Trouble::failed("the archive", &error) }
        };
        let mut entries = archive.entries().map_err(broken)?;
        loop {
            watch.most.set(ABOUT);
            let next = entries.next();
            watch.most.set(u64::MAX);
            let Some(entry) = next else { break };
            let mut entry = entry.map_err(broken)?;
            let kind = entry.header().entry_type();
            if kind != EntryType::XGlobalHeader {
                let name = entry.path_bytes().into_owned();
                let parts = parts(&name)?;
                let parts = self.place(parts, Some(kind))?;
                self.entry(&mut entry, kind, &parts).map_err(|trouble| match trouble {
                    Trouble::Failed(why) => Trouble::Failed(format!("{}: {why}", self.shown(&parts).display())),
                    refused @ Trouble::Refused(_) => refused,
                })?;
            }
            // What nobody wanted does not count for the next one.
            io::copy(&mut entry, &mut io::sink()).map_err(broken)?;
        }
        if self.top.is_none() && self.destination.landing == Landing::Named {
            return Err(Trouble::Failed("the archive is empty".into()));
        }
        Ok(())
    }

    /// Where a path of the archive is, counted from the base. `kind`: what is there, unless it is the target of a link.
    fn place(&mut self, mut parts: Parts, kind: Option<EntryType>) -> Result<Parts> {
        if self.destination.landing == Landing::Into {
            return Ok(parts);
        }
        let first = match &self.top {
            None => {
                let top = parts.first().cloned().unwrap_or_default();
                self.begin(&top, parts.len() < 2 && kind != Some(EntryType::Directory))?;
                self.top = Some(top.clone());
                top
            }
            Some(top) => top.clone(),
        };
        if !first.is_empty() {
            if parts.first() != Some(&first) {
                return Err(Trouble::Failed("the archive holds more than one thing".into()));
            }
            parts.remove(0);
        }
        if let Some((stage, _)) = &self.stage {
            parts.insert(0, stage.clone());
        } else if let Some(name) = &self.destination.name {
            parts.insert(0, name.clone());
        } else if !first.is_empty() {
            parts.insert(0, first);
        }
        Ok(parts)
    }

    /// With the first name it is known what is copied, and whether that can be.
    fn begin(&mut self, top: &OsStr, leaf: bool) -> Result<()> {
        let Destination { path, base, base_path, name, is_file, wants_directory, .. } = &self.destination;
        if leaf && name.is_some() && !is_file && *wants_directory {
            return Err(Trouble::Refused(format!("{}: no such directory", path.display())));
        }
        if !leaf && *is_file {
            return Err(Trouble::Refused(format!(
                "{}: a directory cannot replace what is no directory",
                path.display()
            )));
        }
        let name = name.as_deref().unwrap_or(top);
        if name.is_empty() {
            return Ok(());
        }
        let shown = base_path.join(name);
        match statat(base, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if is_directory(&there) == leaf => {
                let why = if leaf { "it is a directory" } else { "it is there and is no directory" };
                Err(Trouble::Refused(format!("{}: {why}", shown.display())))
            }
            Ok(_) => Ok(()),
            Err(Errno::NOENT) if leaf => Ok(()),
            Err(Errno::NOENT) => {
                let made = fresh(|stage| mkdirat(base, stage, Mode::RWXU));
                let (stage, ()) = made.map_err(|errno| Trouble::failed(shown.display(), &errno.into()))?;
                self.stage = Some((stage, name.to_owned()));
                Ok(())
            }
            Err(errno) => Err(Trouble::failed(shown.display(), &errno.into())),
        }
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, kind: EntryType, parts: &[OsString]) -> Result<()> {
        let attributes = self.attributes(entry)?;
        let Some((name, above)) = parts.split_last() else {
            // The directory that content is copied into: it keeps what it has.
            return Ok(());
        };
        let parent = self.directory(above)?;
        match kind {
            EntryType::Directory => self.make_directory(&parent, name, parts, attributes),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => file(&parent, name, entry, attributes),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                put(&parent, name, |new| {
                    symlinkat(OsStr::from_bytes(&target), &parent, new)?;
                    without_following(&parent, new, attributes)
                })
            }
            EntryType::Fifo => put(&parent, name, |new| {
                mkfifoat(&parent, new, Mode::from_raw_mode(attributes.mode))?;
                without_following(&parent, new, attributes)
            }),
            EntryType::Link => {
                let target = parts_of_link(entry)?;
                let target = self.place(target, None)?;
                let (target, above) = target.split_last().ok_or_else(|| Trouble::Failed("a link to nothing".into()))?;
                let from = self.directory(above)?;
                put(&parent, name, |new| linkat(&from, target, &parent, new, AtFlags::empty()))
            }
            EntryType::Char | EntryType::Block => Err(Trouble::Failed("a device cannot be copied".into())),
            other => {
                let byte = char::from(other.as_byte());
                Err(Trouble::Failed(format!("what the archive calls `{byte}` is not understood")))
            }
        }
    }

    fn attributes<R: Read>(&self, entry: &Entry<'_, R>) -> Result<Attributes> {
        let header = entry.header();
        let read = || -> io::Result<_> { Ok((header.mode()?, header.uid()?, header.gid()?, header.mtime()?)) };
        let (mode, uid, gid, mtime) = read().map_err(|error| Trouble::failed("the archive", &error))?;
        let mut mode = mode & 0o7777;
        // A number that is none is nobody.
        let said = (u32::try_from(uid).unwrap_or(65534), u32::try_from(gid).unwrap_or(65534));
        let (uid, gid) = match self.owner {
            Owner::Kept => said,
            Owner::Of(uid, gid) => {
                if uid != said.0 {
                    mode &= !SET_UID;
                }
                if gid != said.1 {
                    mode &= !SET_GID;
                }
                (uid, gid)
            }
        };
        Ok(Attributes { mode, uid, gid, mtime: i64::try_from(mtime).unwrap_or(0) })
    }

    /// Opens a directory below the base; one that an archive does not mention is made.
    fn directory(&mut self, parts: &[OsString]) -> Result<Rc<OwnedFd>> {
        if let Some((last, directory)) = &self.last
            && last == parts
        {
            return Ok(directory.clone());
        }
        let mut directory = self.destination.base.clone();
        for part in parts {
            let next = match step_into(&directory, part, OFlags::PATH) {
                Err(Errno::NOENT) => mkdirat(&directory, part, Mode::from_raw_mode(0o755))
                    .and_then(|()| step_into(&directory, part, OFlags::PATH)),
                other => other,
            };
            let next = next.map_err(|errno| Trouble::failed(part.display(), &errno.into()))?;
            directory = Rc::new(next);
        }
        self.last = Some((parts.to_vec(), directory.clone()));
        Ok(directory)
    }

    fn make_directory(&mut self, parent: &OwnedFd, name: &OsStr, parts: &[OsString], is: Attributes) -> Result<()> {
        let is_stage = parts.len() == 1 && self.stage.as_ref().is_some_and(|(stage, _)| stage == name);
        match mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) if is_stage => {}
            Err(Errno::EXIST) => {
                let there = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map_err(because)?;
                if !is_directory(&there) {
                    return Err(Trouble::Failed("it is there and is no directory".into()));
                }
                return Ok(());
            }
            Err(errno) => return Err(because(errno)),
        }
        self.directories.push((parts.to_vec(), is));
        Ok(())
    }

    /// Everything is there: directories get their attributes, and a new one its name.
    fn settle(&mut self) -> Result<()> {
        // The innermost first: one that may not be written to can still be filled.
        while let Some((parts, attributes)) = self.directories.pop() {
            let set = self.finish_directory(&parts, attributes);
            set.map_err(|errno| Trouble::failed(self.shown(&parts).display(), &errno.into()))?;
        }
        if let Some((stage, name)) = &self.stage {
            let base = &self.destination.base;
            let named = match renameat_with(base, stage, base, name, RenameFlags::NOREPLACE) {
                // A file system that does not know the flag; an empty directory that came meanwhile may be replaced.
                Err(Errno::INVAL) => renameat(base, stage, base, name),
                other => other,
            };
            let shown = self.destination.base_path.join(name);
            named.map_err(|errno| Trouble::failed(shown.display(), &errno.into()))?;
            self.stage = None;
        }
        Ok(())
    }

    fn finish_directory(&self, parts: &[OsString], attributes: Attributes) -> rustix::io::Result<()> {
        let mut directory = self.destination.base.clone();
        for part in parts {
            directory = Rc::new(step_into(&directory, part, OFlags::RDONLY)?);
        }
        attributes.set(&directory)
    }

    /// Takes away a new directory that did not become whole.
    fn forget(&mut self) {
        if let Some((stage, _)) = self.stage.take() {
            let _ = fs::remove_dir_all(self.destination.base_path.join(stage));
        }
    }

    /// A path as a person knows it.
    fn shown(&self, parts: &[OsString]) -> PathBuf {
        let mut path = self.destination.base_path.clone();
        for (at, part) in parts.iter().enumerate() {
            match &self.stage {
                Some((stage, name)) if at == 0 && stage == part => path.push(name),
                _ => path.push(part),
            }
        }
        path
    }
}

fn too_early() -> Trouble {
    Trouble::Failed("the archive ends too early".into())
}

fn because(errno: Errno) -> Trouble {
    Trouble::Failed(plain(&errno.into()))
}

fn is_directory(there: &Stat) -> bool {
    FileType::from_raw_mode(there.st_mode) == FileType::Directory
}

/// The parts of a path of an archive: `/` in front and `.` do not count, `..` is refused.
fn parts(path: &[u8]) -> Result<Parts> {
    let mut parts = Vec::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(part) => parts.push(part.to_owned()),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                let path = String::from_utf8_lossy(path);
                return Err(Trouble::Failed(format!("the archive holds `{path}`, which leads out of it")));
            }
        }
    }
    Ok(parts)
}

fn parts_of_link<R: Read>(entry: &Entry<'_, R>) -> Result<Parts> {
    parts(&entry.link_name_bytes().unwrap_or_default())
}

fn step_into(directory: &OwnedFd, part: &OsStr, access: OFlags) -> rustix::io::Result<OwnedFd> {
    openat(directory, part, access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Makes something under a name that nothing has yet.
fn fresh<T>(mut make: impl FnMut(&OsStr) -> rustix::io::Result<T>) -> rustix::io::Result<(OsString, T)> {
    let own = std::process::id();
    for number in 0..TRIES {
        let name = OsString::from_vec(format!(".netloom-{own}-{number}").into_bytes());
        match make(&name) {
            Err(Errno::EXIST) => {}
            other => return other.map(|made| (name, made)),
        }
    }
    Err(Errno::EXIST)
}

/// Makes something beside its place and gives it that in one step, in the place of what is there.
fn put(parent: &OwnedFd, name: &OsStr, make: impl Fn(&OsStr) -> rustix::io::Result<()>) -> Result<()> {
    let placed = fresh(|new| {
        make(new).inspect_err(|errno| {
            // A name that somebody else has is not ours to remove.
            if *errno != Errno::EXIST {
                let _ = unlinkat(parent, new, AtFlags::empty());
            }
        })
    });
    let (new, ()) = placed.map_err(because)?;
    let named = renameat(parent, &new, parent, name);
    // After a failure; and a hard link to what is there already stays under both names (rename(2)).
    let _ = unlinkat(parent, &new, AtFlags::empty());
    named.map_err(replaced)
}

fn replaced(errno: Errno) -> Trouble {
    match errno {
        Errno::ISDIR => Trouble::Failed("it is a directory".into()),
        errno => because(errno),
    }
}

fn file<R: Read>(parent: &OwnedFd, name: &OsStr, entry: &mut Entry<'_, R>, is: Attributes) -> Result<()> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let (new, file) = fresh(|new| openat(parent, new, flags, Mode::RUSR | Mode::WUSR)).map_err(because)?;
    let mut file = File::from(file);
    let written = content(entry, &mut file).and_then(|()| is.set(&file).map_err(because)).and_then(|()| {
        match renameat(parent, &new, parent, name) {
            // Something is mounted there, as single files are that a node shares with its host.
            Err(Errno::BUSY) => {
                in_place(parent, name, &mut file).map_err(|error| Trouble::Failed(plain(&error)))?;
                unlinkat(parent, &new, AtFlags::empty()).map_err(because)
            }
            other => other.map_err(replaced),
        }
    });
    if written.is_err() {
        let _ = unlinkat(parent, &new, AtFlags::empty());
    }
    written
}

/// Writes a file that cannot be replaced; it has room for all of it before it is touched.
fn in_place(parent: &OwnedFd, name: &OsStr, new: &mut File) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut there = File::from(openat(parent, name, flags, Mode::empty())?);
    let (before, now) = (there.metadata()?, new.metadata()?);
    if now.len() > 0 {
        match fallocate(&there, FallocateFlags::empty(), 0, now.len()) {
            // Its file system cannot say.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => {
                there.set_len(before.len())?;
                return Err(errno.into());
            }
        }
    }
    new.rewind()?;
    io::copy(new, &mut there)?;
    there.set_len(now.len())?;
    Attributes { mode: now.mode() & 0o7777, uid: now.uid(), gid: now.gid(), mtime: now.mtime() }.set(&there)?;
    Ok(())
}

fn content<R: Read>(entry: &mut Entry<'_, R>, file: &mut File) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        let count = match entry.read(&mut buffer) {
            Ok(0) if length < entry.size() => {
                return Err(Trouble::Failed("the archive ends in the middle of it".into()));
            }
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Trouble::Failed(plain(&error))),
        };
        file.write_all(&buffer[..count]).map_err(|error| Trouble::Failed(plain(&error)))?;
        length += count as u64;
    }
}

impl Attributes {
    fn set(self, file: &impl std::os::fd::AsFd) -> rustix::io::Result<()> {
        // The owner first: a change of it takes bits of the mode away.
        may_be_refused(fchown(file, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid))))?;
        fchmod(file, Mode::from_raw_mode(self.mode))?;
        futimens(file, &self.times())
    }

    fn times(self) -> Timestamps {
        let time = Timespec { tv_sec: self.mtime, tv_nsec: 0 };
        Timestamps { last_access: time, last_modification: time }
    }
}

fn without_following(parent: &OwnedFd, name: &OsStr, is: Attributes) -> rustix::io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(is.uid)), Some(Gid::from_raw(is.gid)));
    may_be_refused(chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
    utimensat(parent, name, &is.times(), AtFlags::SYMLINK_NOFOLLOW)
}

/// Only root can give files away; for anybody else they stay their own, as with `cp -a`.
fn may_be_refused(changed: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match changed {
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        other => other,
    }
}
