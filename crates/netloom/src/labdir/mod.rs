//! The directory `clab-<lab>` beside a topology: what other tools read of the lab, and what is saved of its nodes.
//!
//! It belongs to whom this runs for. Everything in it is opened from its own descriptor and without following symbolic links:
//! the directory above may be a user's while this runs as root, and nothing is to be written anywhere else.

mod bound;
mod owner;
mod report;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use netloom_model::LabName;
use rustix::fs::{AtFlags, Mode, OFlags, fchown, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

pub(crate) use bound::lay_out;
pub(crate) use owner::{Owner, name_of};
pub(crate) use report::report;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Everybody that the umask does not exclude.
    All,
    /// Its owner: configurations hold secrets.
    Owner,
}

/// A directory that is open.
pub(crate) struct LabDirectory {
    open: OwnedFd,
    owner: Option<Owner>,
}

/// Where the directory of a lab is that was deployed from this file.
pub(crate) fn beside(source: &Path, lab: &LabName) -> PathBuf {
    source.with_file_name(format!("clab-{lab}"))
}

impl LabDirectory {
    /// Opens a directory, after making it if it is not there. The one above must be there.
    pub(crate) fn make(path: &Path, owner: Option<Owner>) -> io::Result<Self> {
        let (above, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
        let above = rustix::fs::open(above, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { open: made(&above, Path::new(name), owner)?, owner })
    }

    /// The same of a directory in this one.
    pub(crate) fn below(&self, name: &str) -> io::Result<Self> {
        Ok(Self { open: made(&self.open, Path::new(name), self.owner)?, owner: self.owner })
    }

    /// Writes a file whole or not at all; one that is there with this content is left as it is.
    pub(crate) fn write(&self, name: &str, content: &[u8], readers: Readers) -> io::Result<()> {
        if self.has(name, content) {
            return Ok(());
        }
        let mode = match readers {
            Readers::All => Mode::from_raw_mode(0o644),
            Readers::Owner => Mode::from_raw_mode(0o600),
        };
        // Not only the number of the process: another one may have it in another namespace, or have been killed.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let new = format!(".{name}.{}.{now}.new", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.open, &new, flags, mode)?;
        let written = self.fill(File::from(file), content).and_then(|()| {
            renameat(&self.open, &new, &self.open, name)?;
            Ok(())
        });
        written.inspect_err(|_| {
            let _ = unlinkat(&self.open, &new, AtFlags::empty());
        })
    }

    /// Writes into a file that is there, for those who look at that file itself; one with this content is left as it is.
    pub(crate) fn write_into(&self, name: &str, content: &[u8]) -> io::Result<()> {
        if self.has(name, content) {
            return Ok(());
        }
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.open, name, flags, Mode::empty())?);
        // Shortened last: who reads it meanwhile finds more than there will be, and never nothing.
        file.write_all(content)?;
        file.set_len(content.len() as u64)?;
        file.sync_all()
    }

    fn fill(&self, mut file: File, content: &[u8]) -> io::Result<()> {
        give(&file, self.owner)?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn has(&self, name: &str, content: &[u8]) -> bool {
        // A pipe of this name would be waited for without NONBLOCK.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(&self.open, name, flags, Mode::empty()) else { return false };
        let mut there = Vec::new();
        let read = File::from(file).take(content.len() as u64 + 1).read_to_end(&mut there);
        read.is_ok() && there == content
    }
}

/// A directory in another one, that is made if it is not there.
fn made(above: &OwnedFd, name: &Path, owner: Option<Owner>) -> io::Result<OwnedFd> {
    let is_new = match mkdirat(above, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = openat(above, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => io::Error::new(io::ErrorKind::NotADirectory, "this is no directory"),
        other => other.into(),
    })?;
    if is_new {
        give(&open, owner)?;
    }
    Ok(open)
}

fn give(file: &impl std::os::fd::AsFd, owner: Option<Owner>) -> io::Result<()> {
    match owner {
        Some(Owner { user, group }) => Ok(fchown(file, Some(user), Some(group))?),
        None => Ok(()),
    }
}

/// Removes a directory with everything in it; whether it was there. A symbolic link of its name is removed, not followed.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_written_whole_and_those_that_are_right_stay() {
        let labs = tempfile::tempdir().unwrap();
        let path = beside(&labs.path().join("x.clab.yml"), &"x".parse().unwrap());
        assert_eq!(path, labs.path().join("clab-x"));
        let directory = LabDirectory::make(&path, None).unwrap();
        directory.write("data", b"one", Readers::All).unwrap();
        let inode = |name: &str| fs::metadata(path.join(name)).unwrap().ino();
        let before = inode("data");
        LabDirectory::make(&path, None).unwrap().write("data", b"one", Readers::All).unwrap();
        assert_eq!(inode("data"), before);
        directory.write("data", b"on", Readers::All).unwrap();
        assert_eq!(
            (fs::read(path.join("data")).unwrap().as_slice(), inode("data") != before),
            (b"on".as_slice(), true)
        );
        directory.below("r1").unwrap().write("running.cfg", b"secret", Readers::Owner).unwrap();
        assert_eq!(fs::metadata(path.join("r1/running.cfg")).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            (names(&path), names(&path.join("r1"))),
            (vec!["data".into(), "r1".into()], vec!["running.cfg".into()])
        );
        assert!(remove(&path).unwrap() && !remove(&path).unwrap());
    }

    #[test]
    fn nothing_is_written_or_removed_where_a_link_leads() {
        let labs = tempfile::tempdir().unwrap();
        let (other, path) = (labs.path().join("other"), labs.path().join("clab-x"));
        fs::create_dir(&other).unwrap();
        fs::write(other.join("data"), "theirs").unwrap();
        symlink(&other, &path).unwrap();
        let refused = LabDirectory::make(&path, None).err().unwrap();
        assert_eq!(refused.to_string(), "this is no directory");
        remove(&path).unwrap();
        assert!(!path.is_symlink());

        let directory = LabDirectory::make(&path, None).unwrap();
        symlink(other.join("data"), path.join("data")).unwrap();
        symlink(&other, path.join("r1")).unwrap();
        directory.write("data", b"ours", Readers::All).unwrap();
        assert!(directory.below("r1").is_err());
        assert_eq!(fs::read_to_string(other.join("data")).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(path.join("data")).unwrap(), "ours");
        remove(&path).unwrap();
        assert_eq!(names(&other), ["data"]);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_half_done() {
        let labs = tempfile::tempdir().unwrap();
        let path = labs.path().join("clab-x");
        let directory = LabDirectory::make(&path, None).unwrap();
        fs::create_dir(path.join("data")).unwrap();
        directory.write("data", b"x", Readers::All).unwrap_err();
        assert_eq!(names(&path), ["data"]);
        assert!(LabDirectory::make(&labs.path().join("none/clab-x"), None).is_err());
    }
}
