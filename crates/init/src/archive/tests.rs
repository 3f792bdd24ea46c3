use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::*;

/// A directory of a test's own.
struct Here(PathBuf);

impl Here {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("netloom-archive-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn at(&self, path: &str) -> PathBuf {
        // Not `join`: it forgets what stands behind a slash.
        PathBuf::from(format!("{}/{path}", self.0.display()))
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn packed(&self, path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        pack(&self.at(path), Links::Kept, &mut bytes).unwrap();
        bytes
    }

    fn unpack(&self, bytes: &[u8], to: &str) -> Result<()> {
        unpack(bytes, &self.at(to), Landing::Named, ours())
    }

    fn copy(&self, from: &str, to: &str) -> Result<()> {
        self.unpack(&self.packed(from), to)
    }

    /// Everything below, sorted.
    fn tree(&self, path: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut todo = vec![self.at(path)];
        while let Some(directory) = todo.pop() {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                found.push(entry.path().strip_prefix(self.at(path)).unwrap().to_str().unwrap().to_owned());
                if entry.file_type().unwrap().is_dir() {
                    todo.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ours() -> Owner {
    Owner::Of(rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

fn refused(done: Result<()>) -> String {
    match done {
        Err(Trouble::Refused(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

fn failed(done: Result<()>) -> String {
    match done {
        Err(Trouble::Failed(why)) => why,
        other => panic!("not failed: {other:?}"),
    }
}

/// An archive as somebody else could have made it.
fn archive(make: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    make(&mut builder);
    builder.into_inner().unwrap()
}

fn entry(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, link: &str, content: &str) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    // Past all checks of the library.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    builder.append(&header, content.as_bytes()).unwrap();
}

#[test]
fn a_file_gets_its_name_as_with_cp() {
    let here = Here::new("file");
    here.write("a", "1");
    fs::create_dir(here.at("into")).unwrap();
    here.copy("a", "into").unwrap();
    here.copy("a", "into/b").unwrap();
    here.copy("a", "into/").unwrap();
    assert_eq!((here.read("into/a").as_str(), here.read("into/b").as_str()), ("1", "1"));
    here.write("a", "2");
    here.copy("a", "into/b").unwrap();
    symlink("b", here.at("into/link")).unwrap();
    here.copy("a", "into/link").unwrap();
    assert_eq!(here.read("into/b"), "2");
    assert!(here.at("into/link").is_symlink(), "what a link leads to is replaced");
    assert_eq!(here.tree("into"), ["a", "b", "link"]);

    assert!(refused(here.copy("a", "into/c/")).contains("into/c/: no such directory"));
    assert!(refused(here.copy("a", "missing/c")).contains("missing: no such file or directory"));
    assert!(refused(here.copy("a", "into/b/")).contains("not a directory"));
    symlink("nowhere", here.at("into/dangling")).unwrap();
    assert!(refused(here.copy("a", "into/dangling")).contains("leads nowhere"));
    fs::create_dir(here.at("into/d")).unwrap();
    fs::create_dir(here.at("into/d/a")).unwrap();
    assert!(refused(here.copy("a", "into/d")).contains("it is a directory"));
}

#[test]
fn a_directory_goes_into_one_that_is_there_and_else_gets_its_name() {
    let here = Here::new("directory");
    here.write("a/x", "1");
    here.write("a/sub/y", "2");
    fs::create_dir(here.at("into")).unwrap();
    for to in ["into", "into/new", "into/slash/"] {
        here.copy("a", to).unwrap();
    }
    here.copy("a/.", "into/content").unwrap();
    here.copy("a/.", "into").unwrap();
    let one = ["sub", "sub/y", "x"];
    for copy in ["into/a", "into/new", "into/slash", "into/content"] {
        assert_eq!(here.tree(copy), one, "{copy}");
    }
    assert_eq!((here.read("into/x").as_str(), here.read("into/sub/y").as_str()), ("1", "2"));

    here.write("file", "");
    assert!(refused(here.copy("a", "file")).contains("a directory cannot replace"));
    here.write("into2/a", "");
    assert!(refused(here.copy("a", "into2")).contains("is no directory"));
    assert!(failed(here.copy("into2/.", "into")).contains("into/a: it is a directory"));
    assert_eq!(here.tree("into/a"), one);
}

#[test]
fn modes_times_and_links_are_kept() {
    let here = Here::new("links");
    here.write("a/run", "#!/bin/sh");
    let mode = |path: &str, mode| fs::set_permissions(here.at(path), fs::Permissions::from_mode(mode)).unwrap();
    mode("a/run", 0o6751);
    here.write("a/closed/x", "");
    symlink("/etc/nowhere/at/all", here.at("a/absolute")).unwrap();
    symlink(format!("{}run", "../a/".repeat(40)), here.at("a/long")).unwrap();
    fs::hard_link(here.at("a/run"), here.at("a/twin")).unwrap();
    let name = "n".repeat(200);
    here.write(&format!("a/{name}/{name}"), "deep");
    mode("a/closed", 0o555);
    here.copy("a", "b").unwrap();
    let (old, new) = (fs::metadata(here.at("a/run")).unwrap(), fs::metadata(here.at("b/run")).unwrap());
    assert_eq!((new.mode(), new.mtime(), new.nlink()), (old.mode(), old.mtime(), 2));
    assert_eq!(fs::metadata(here.at("b/twin")).unwrap().ino(), new.ino());
    assert_eq!(fs::metadata(here.at("b/closed")).unwrap().mode() & 0o7777, 0o555);
    for link in ["absolute", "long"] {
        let target = |of: &str| fs::read_link(here.at(&format!("{of}/{link}"))).unwrap();
        assert_eq!(target("a"), target("b"));
    }
    assert_eq!(here.read(&format!("b/{name}/{name}")), "deep");
    // Once more over what is there: a link that is there already stays one.
    here.copy("a/.", "b").unwrap();
    assert_eq!(here.tree("a"), here.tree("b"));

    let mut followed = Vec::new();
    here.write("real/x", "found");
    fs::create_dir(here.at("d")).unwrap();
    symlink("../real", here.at("d/link")).unwrap();
    pack(&here.at("d"), Links::Followed, &mut followed).unwrap();
    here.unpack(&followed, "e").unwrap();
    assert!(here.at("e/link").is_dir() && !here.at("e/link").is_symlink());
    assert_eq!(here.read("e/link/x"), "found");
    symlink("../real", here.at("real/loop")).unwrap();
    assert!(failed(pack(&here.at("d"), Links::Followed, Vec::new())).contains("a link that leads to a directory"));
    mode("a/closed", 0o755);
    mode("b/closed", 0o755);
}

#[test]
fn nothing_leads_out_of_the_destination() {
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    let here = Here::new("escape");
    here.write("secret", "mine");
    fs::create_dir(here.at("into")).unwrap();
    let up = archive(|to| {
        entry(to, Directory, "d", "", "");
        entry(to, Regular, "d/../../secret", "", "theirs");
    });
    assert!(failed(here.unpack(&up, "into")).contains("leads out of it"));
    let through_a_link = archive(|to| {
        entry(to, Directory, "d", "", "");
        entry(to, Symlink, "d/out", "../..", "");
        entry(to, Regular, "d/out/secret", "", "theirs");
    });
    assert!(failed(here.unpack(&through_a_link, "into")).contains("not a directory"));
    let linked = archive(|to| {
        entry(to, Directory, "d", "", "");
        entry(to, Link, "d/s", "secret", "");
    });
    assert!(failed(here.unpack(&linked, "")).contains("more than one thing"));
    let replaced = archive(|to| {
        entry(to, Symlink, "d", "../secret", "");
        entry(to, Regular, "d", "", "theirs");
    });
    here.unpack(&replaced, "into").unwrap();
    assert_eq!(here.read("secret"), "mine");
    let two = archive(|to| {
        entry(to, Directory, "one", "", "");
        entry(to, Regular, "two", "", "");
    });
    assert!(failed(here.unpack(&two, "into")).contains("more than one thing"));
    unpack(two.as_slice(), &here.at("into"), Landing::Into, ours()).unwrap();
    let absolute = archive(|to| entry(to, Regular, "/three", "", ""));
    unpack(absolute.as_slice(), &here.at("into"), Landing::Into, ours()).unwrap();
    assert_eq!(here.tree("into"), ["d", "one", "three", "two"]);
    assert!(refused(unpack(two.as_slice(), &here.at("new"), Landing::Into, ours())).contains("no such file"));
}

#[test]
fn what_does_not_arrive_whole_leaves_nothing() {
    let here = Here::new("whole");
    here.write("a/x", &"long ".repeat(10_000));
    here.write("a/y", "");
    here.write("there/x", "before");
    for (from, to) in [("a", "new"), ("a/x", "new"), ("a/x", "there/x"), ("a/x", "there")] {
        let bytes = here.packed(from);
        // Inside a header, inside a file, before the end mark. (A file that is whole has its place before that.)
        for cut in [100, 1400, bytes.len() - 1024].into_iter().take(if from == "a" { 3 } else { 2 }) {
            failed(here.unpack(&bytes[..cut], to));
            assert!(!here.at("new").exists(), "{from} {cut}");
            assert_eq!((here.tree("there").len(), here.read("there/x").len()), (1, 6), "{from} {to} {cut}");
        }
        assert_eq!(here.tree("").len(), 5, "{:?}", here.tree(""));
    }
    let bytes = here.packed("a");
    here.unpack(&bytes[..bytes.len() - 512], "there").unwrap();
    failed(here.unpack(&[], "new"));
}

#[test]
fn what_an_archive_says_about_a_file_is_bounded() {
    use tar::EntryType::{GNULongLink, GNULongName, Regular, XGlobalHeader, XHeader};
    let here = Here::new("bounded");
    let long = "n".repeat(2 << 20);
    for kind in [GNULongName, GNULongLink, XHeader] {
        let bytes = archive(|to| {
            entry(to, kind, "x", "", &long);
            entry(to, Regular, "x", "", "");
        });
        assert!(failed(here.unpack(&bytes, "x")).contains("longer than 1,048,576 bytes"), "{kind:?}");
    }
    let wordy = archive(|to| {
        entry(to, XGlobalHeader, "x", "", &long);
        entry(to, Regular, "x", "", &long);
    });
    here.unpack(&wordy, "x").unwrap();
    assert_eq!(here.read("x"), long);
}

#[test]
fn what_cannot_be_packed_is_refused_before_a_byte_is_written() {
    let here = Here::new("pack");
    let mut bytes = Vec::new();
    assert!(refused(pack(&here.at("missing"), Links::Kept, &mut bytes)).contains("missing: no such file"));
    assert!(refused(pack(Path::new("/dev/null"), Links::Kept, &mut bytes)).contains("a device cannot be copied"));
    assert!(bytes.is_empty());
    // It says that it is empty.
    pack(Path::new("/proc/version"), Links::Kept, &mut bytes).unwrap();
    here.unpack(&bytes, "version").unwrap();
    assert!(here.read("version").starts_with("Linux version"));
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_goes_on() {
    let here = Here::new("awkward");
    here.write("d/a", "before");
    here.write("d/z", "behind");
    // A process of its own memory: it can be opened, and its beginning cannot be read.
    symlink("/proc/self/mem", here.at("d/m")).unwrap();
    symlink("nowhere", here.at("d/n")).unwrap();
    let mut bytes = Vec::new();
    let why = failed(pack(&here.at("d"), Links::Followed, &mut bytes));
    assert!(why.contains("d/m: input/output error; ") && why.contains("d/n: no such file"), "{why}");
    here.unpack(&bytes, "e").unwrap();
    assert_eq!(here.tree("e"), ["a", "z"]);

    // It says 4096.
    let sys = Path::new("/sys/kernel/mm/transparent_hugepage/enabled");
    let sys = if sys.exists() { sys } else { Path::new("/sys/kernel/uevent_seqnum") };
    bytes.clear();
    pack(sys, Links::Kept, &mut bytes).unwrap();
    here.unpack(&bytes, "sys").unwrap();
    assert_eq!(here.read("sys"), fs::read_to_string(sys).unwrap());
}

/// Cuts a file when the archive has begun.
struct Cutting<'a>(&'a mut Vec<u8>, PathBuf);

impl io::Write for Cutting<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        fs::File::options().write(true).open(&self.1)?.set_len(10)?;
        self.0.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_becomes_shorter_is_filled_up_and_said() {
    let here = Here::new("shorter");
    here.write("d/long", &"1".repeat(1 << 20));
    here.write("d/z", "behind");
    let mut bytes = Vec::new();
    let why = failed(pack(&here.at("d"), Links::Kept, Cutting(&mut bytes, here.at("d/long"))));
    assert!(why.ends_with("d/long: it became shorter while it was read"), "{why}");
    here.unpack(&bytes, "e").unwrap();
    assert_eq!((here.read("e/long").len(), here.read("e/z").as_str()), (1 << 20, "behind"));
}
