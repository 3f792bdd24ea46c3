//! Changing a file of the host that others write too: all at once, and never over what somebody else has just written.
//!
//! A new file takes the place of the old one (rename(2)), with its owner, mode and label. Where that cannot be, since the
//! file is a mount (in containers) or its directory cannot be written, it is written in place: first down into a note
//! what it was and what it is to be, then the bytes that differ. If the agent dies in between, [`mend`] finishes that.
//!
//! The file is locked meanwhile (flock(2)). Who does not lock it either is seen by its content, right before the end.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use netloom_failpoint::point;
use rustix::fs::{FlockOperation, XattrFlags, fchown, fgetxattr, flock, fsetxattr};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use serde::{Deserialize, Serialize};

/// How long another writer may keep the file locked.
const LOCKED_FOR: Duration = Duration::from_secs(5);
/// How often another writer may be quicker.
const TRIES: usize = 10;
/// No file of names of a host is larger.
const LARGEST: u64 = 64 << 20;

/// A file that is changed, and where what is under way is noted.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    /// The file.
    pub(super) path: PathBuf,
    /// The note.
    pub(super) note: PathBuf,
    /// Ends the name of the new file, so that of several agents each has its own.
    pub(super) instance: String,
}

/// What was to be written in place.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    path: PathBuf,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// Changes a file; one that is not there stays so. `change` may be asked several times.
pub(super) fn edit<T>(shared: &Shared, change: impl Fn(&[u8]) -> (Vec<u8>, T)) -> io::Result<Option<T>> {
    // What it leads to is written, not what leads there.
    let path = match fs::canonicalize(&shared.path) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let new = beside(&path, &shared.instance);
    for _ in 0..TRIES {
        let file = locked(&path)?;
        if file.metadata()?.len() > LARGEST {
            return Err(io::Error::other("it is larger than 64 MiB"));
        }
        mend(shared, &path, &file)?;
        // Of an agent that died over it.
        let _ = fs::remove_file(&new);
        let before = read(&file)?;
        let (after, answer) = change(&before);
        if after == before {
            return Ok(Some(answer));
        }
        let done = match replace(&path, &new, &file, &before, &after) {
            Err(error) if cannot_be_replaced(&error) => {
                // The lock of those who may not write would be of no use.
                in_place(shared, &path, &before, &after)
            }
            done => done,
        };
        if done? == Done::Yes {
            return Ok(Some(answer));
        }
    }
    Err(io::Error::other("others write it all the time"))
}

/// Whether a change was made, or somebody else was quicker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Yes,
    No,
}

fn beside(path: &Path, instance: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.netloom-{instance}"))
}

/// The file, locked. Where another one takes its name meanwhile, that is it.
fn locked(path: &Path) -> io::Result<File> {
    let deadline = Instant::now() + LOCKED_FOR;
    loop {
        // What is a pipe would be waited for.
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let file = options.open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&file, path)? => return Ok(file),
            // Its writer has just let go of it, so the next one may be free.
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => pause(),
            Err(error) => return Err(error.into()),
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("another program has locked it"));
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kernel tells nobody that a lock is free but who waits without a limit"
)]
fn pause() {
    thread::sleep(Duration::from_millis(10));
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (open, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
}

fn read(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or_default()];
    let mut at = 0;
    while at < bytes.len() {
        match file.read_at(&mut bytes[at..], at as u64)? {
            0 => break,
            count => at += count,
        }
    }
    bytes.truncate(at);
    Ok(bytes)
}

/// A mount; a directory that is read-only or not ours to write; a name that is one of several, which all mean this file.
fn cannot_be_replaced(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::BUSY | Errno::XDEV | Errno::ROFS | Errno::ACCESS | Errno::PERM | Errno::MLINK))
}

fn replace(path: &Path, new: &Path, old: &File, before: &[u8], after: &[u8]) -> io::Result<Done> {
    if old.metadata()?.nlink() > 1 {
        return Err(Errno::MLINK.into());
    }
    let done = fill(new, old, after).and_then(|()| {
        point!("hosts.before-rename");
        if !is_at(old, path)? || read(old)? != before {
            return Ok(Done::No);
        }
        fs::rename(new, path)?;
        Ok(Done::Yes)
    });
    if !matches!(done, Ok(Done::Yes)) {
        let _ = fs::remove_file(new);
    }
    done
}

/// Makes the new file, which nobody sees yet, with all that the old one has beside its content.
fn fill(new: &Path, old: &File, content: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let of = old.metadata()?;
    fchown(&file, Some(Uid::from_raw(of.uid())), Some(Gid::from_raw(of.gid())))?;
    label_as(&file, old);
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(of.mode() & 0o7777))?;
    file.sync_all()
}

/// Where programs may read only files of a label, the new one has it too. Without such labels there is nothing to do.
fn label_as(new: &impl AsFd, old: &impl AsFd) {
    let mut label = [0_u8; 512];
    if let Ok(length) = fgetxattr(old, "security.selinux", &mut label[..]) {
        let _ = fsetxattr(new, "security.selinux", &label[..length], XattrFlags::empty());
    }
}

fn in_place(shared: &Shared, path: &Path, before: &[u8], after: &[u8]) -> io::Result<Done> {
    let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
    let note = Note { path: path.to_owned(), before: before.to_owned(), after: after.to_owned() };
    write_note(&shared.note, &note)?;
    if read(&file)? != before {
        fs::remove_file(&shared.note)?;
        return Ok(Done::No);
    }
    point!("hosts.noted");
    if let Err(error) = overwrite(&file, before, after) {
        // What it had has room.
        overwrite(&file, &[], before)?;
        fs::remove_file(&shared.note)?;
        return Err(error);
    }
    point!("hosts.written");
    fs::remove_file(&shared.note)?;
    Ok(Done::Yes)
}

/// Writes from the first byte that differs to the end.
fn overwrite(file: &File, before: &[u8], after: &[u8]) -> io::Result<()> {
    let same = common(before, after);
    file.write_all_at(&after[same..], same as u64)?;
    file.set_len(after.len() as u64)?;
    file.sync_all()
}

fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn write_note(path: &Path, note: &Note) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(&serde_json::to_vec(note)?)?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// Finishes what was begun in place by an agent that died over it, if nobody has written the file since.
fn mend(shared: &Shared, path: &Path, file: &File) -> io::Result<()> {
    let mut text = Vec::new();
    match File::open(&shared.note) {
        Ok(mut note) => note.read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if let Ok(note) = serde_json::from_slice::<Note>(&text)
        && note.path == path
    {
        let now = read(file)?;
        if is_half_done(&note, &now) {
            overwrite(&fs::OpenOptions::new().write(true).open(path)?, &[], &note.after)?;
        }
    }
    fs::remove_file(&shared.note)
}

/// Whether the file is the new one up to some byte, and the old one from there.
fn is_half_done(note: &Note, now: &[u8]) -> bool {
    let new = common(now, &note.after);
    let rest = note.before.get(new..).unwrap_or_default();
    now != note.before && now != note.after && &now[new..] == rest
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    struct Place {
        directory: tempfile::TempDir,
        shared: Shared,
    }

    fn place(content: &str) -> Place {
        let directory = tempfile::tempdir().unwrap();
        let shared = Shared {
            path: directory.path().join("hosts"),
            note: directory.path().join("note"),
            instance: "one".to_owned(),
        };
        fs::write(&shared.path, content).unwrap();
        Place { directory, shared }
    }

    impl Place {
        fn content(&self) -> String {
            fs::read_to_string(&self.shared.path).unwrap()
        }

        fn add(&self, line: &str) -> io::Result<Option<()>> {
            edit(&self.shared, |before| ([before, line.as_bytes()].concat(), ()))
        }

        fn names(&self) -> Vec<String> {
            let all = fs::read_dir(self.directory.path()).unwrap();
            let mut names: Vec<String> = all.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_through_what_leads_to_it() {
        let place = place("a\n");
        fs::set_permissions(&place.shared.path, Permissions::from_mode(0o640)).unwrap();
        fs::write(place.directory.path().join(".hosts.netloom-one"), "of one that died").unwrap();
        let inode = || fs::metadata(&place.shared.path).unwrap().ino();
        let before = inode();
        place.add("b\n").unwrap();
        assert_eq!((place.content().as_str(), inode() != before), ("a\nb\n", true));
        assert_eq!(fs::metadata(&place.shared.path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(place.names(), ["hosts"]);
        let unchanged = inode();
        edit(&place.shared, |before| (before.to_owned(), ())).unwrap();
        assert_eq!(inode(), unchanged);

        symlink("hosts", place.directory.path().join("link")).unwrap();
        let shared = Shared { path: place.directory.path().join("link"), ..place.shared.clone() };
        edit(&shared, |before| ([before, b"c\n"].concat(), ())).unwrap();
        assert!(shared.path.is_symlink());
        assert_eq!(place.content(), "a\nb\nc\n");
    }

    #[test]
    fn a_file_that_has_another_name_too_is_written_in_place() {
        let place = place("a\n");
        let other = place.directory.path().join("other");
        fs::hard_link(&place.shared.path, &other).unwrap();
        place.add("b\n").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "a\nb\n");
        edit(&place.shared, |_| (b"b\n".to_vec(), ())).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "b\n");
        assert_eq!(place.names(), ["hosts", "other"]);
    }

    #[test]
    fn one_that_is_not_there_is_not_made_and_one_that_is_no_file_is_said() {
        let place = place("");
        fs::remove_file(&place.shared.path).unwrap();
        assert_eq!(place.add("b\n").unwrap(), None);
        assert_eq!(place.names(), [""; 0]);
        fs::create_dir(&place.shared.path).unwrap();
        assert!(place.add("b\n").unwrap_err().to_string().contains("no regular file"));
    }

    #[test]
    fn two_who_write_at_once_lose_nothing() {
        let place = place("");
        thread::scope(|scope| {
            for of in ["one", "two"] {
                let shared = Shared { instance: of.to_owned(), ..place.shared.clone() };
                scope.spawn(move || {
                    for number in 0..50 {
                        let line = format!("{of} {number}\n");
                        edit(&shared, |before| ([before, line.as_bytes()].concat(), ())).unwrap();
                    }
                });
            }
        });
        assert_eq!(place.content().lines().count(), 100);
        assert_eq!(place.names(), ["hosts"]);
    }

    #[test]
    fn what_somebody_writes_without_a_lock_in_between_stays() {
        let place = place("a\n");
        let first = std::cell::Cell::new(true);
        edit(&place.shared, |before| {
            if first.replace(false) {
                fs::write(&place.shared.path, "a\ntheirs\n").unwrap();
            }
            ([before, b"ours\n"].concat(), ())
        })
        .unwrap();
        assert_eq!(place.content(), "a\ntheirs\nours\n");
    }

    #[test]
    fn what_was_half_written_in_place_is_finished_and_what_others_wrote_since_stays() {
        let (before, after) = ("a\nold block\nb\n", "a\nb\n");
        for (old, new) in [(before, after), (after, before)] {
            // Some bytes of the new one over the old one; then the end, not cut off yet.
            for written in 0..=new.len() {
                let mut half = old.as_bytes().to_vec();
                half.resize(half.len().max(written), 0);
                half[..written].copy_from_slice(&new.as_bytes()[..written]);
                let place = place(std::str::from_utf8(&half).unwrap());
                let path = fs::canonicalize(&place.shared.path).unwrap();
                let note = Note { path, before: old.into(), after: new.into() };
                write_note(&place.shared.note, &note).unwrap();
                place.add("more\n").unwrap();
                let whole = [old, new].map(|text| format!("{text}more\n"));
                assert!(whole.contains(&place.content()), "{written}: {:?}", place.content());
                assert_eq!(place.names(), ["hosts"]);
            }
        }
        let place = place("theirs\n");
        let path = fs::canonicalize(&place.shared.path).unwrap();
        let note = Note { path, before: before.into(), after: after.into() };
        write_note(&place.shared.note, &note).unwrap();
        place.add("more\n").unwrap();
        assert_eq!(place.content(), "theirs\nmore\n");
    }
}
