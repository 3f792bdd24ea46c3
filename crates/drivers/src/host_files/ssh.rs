//! Parts of ssh's configuration, a file `clab-<lab>.conf` for each lab, where the host reads such parts. The first line of
//! a file says whose it is; one without is another's and left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use netloom_engine::Keeps;
use netloom_failpoint::point;
use netloom_model::LabName;
use rustix::fs::OFlags;

/// What is to be said, and by whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The instance whose files these are.
    pub(super) instance: &'a str,
    /// The blocks of each lab.
    pub(super) labs: &'a BTreeMap<LabName, &'a str>,
    /// Whose files stay, of others.
    pub(super) keeps: &'a Keeps,
}

/// What a directory came to.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The labs whose files were kept.
    pub(super) kept: BTreeSet<LabName>,
    /// What could not be done, by file.
    pub(super) wrong: Vec<(PathBuf, io::Error)>,
}

/// Makes the files in a directory be these. Without the directory there is nothing to do: this host reads none.
pub(super) fn write(directory: &Path, wanted: Wanted<'_>) -> Written {
    let mut written = Written::default();
    let there = match ours(directory, wanted.instance) {
        Ok(there) => there,
        Err(error) => {
            if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
                written.wrong.push((directory.to_owned(), error));
            }
            return written;
        }
    };
    for (lab, path) in there.labs {
        if wanted.labs.contains_key(&lab) {
            continue;
        }
        if wanted.keeps.has(&lab) {
            written.kept.insert(lab);
        } else if let Err(error) = fs::remove_file(&path) {
            written.wrong.push((path, error));
        }
    }
    // Of an agent that died over them.
    there.unfinished.iter().for_each(|path| drop(fs::remove_file(path)));
    for (lab, text) in wanted.labs {
        let path = directory.join(format!("clab-{lab}.conf"));
        if let Err(error) = put(&path, wanted.instance, text) {
            written.wrong.push((path, error));
        }
    }
    written
}

/// The files of ours in a directory.
#[derive(Debug, Default)]
struct There {
    labs: Vec<(LabName, PathBuf)>,
    unfinished: Vec<PathBuf>,
}

fn ours(directory: &Path, instance: &str) -> io::Result<There> {
    let mut there = There::default();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
        if name.starts_with(".clab-") && name.ends_with(&format!(".{instance}")) {
            there.unfinished.push(path);
            continue;
        }
        let lab = name.strip_prefix("clab-").and_then(|name| name.strip_suffix(".conf")?.parse().ok());
        if let Some(lab) = lab
            && is_ours(&path, instance)
        {
            there.labs.push((lab, path));
        }
    }
    Ok(there)
}

fn mark(instance: &str) -> String {
    format!("# of netloom {instance}; what is changed here is lost\n")
}

fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn is_ours(path: &Path, instance: &str) -> bool {
    let mut first = String::new();
    let read = open(path).and_then(|file| BufReader::new(file.take(256)).read_line(&mut first));
    read.is_ok() && first == mark(instance)
}

fn put(path: &Path, instance: &str, text: &str) -> io::Result<()> {
    let content = mark(instance) + text;
    match open(path) {
        Ok(file) => {
            let mut there = Vec::new();
            file.take(content.len() as u64 + 1).read_to_end(&mut there)?;
            if there == content.as_bytes() {
                return Ok(());
            }
            if !there.starts_with(mark(instance).as_bytes()) {
                return Err(io::Error::other("it is not ours, and left alone"));
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The pattern of names that ssh reads leaves out those with a dot in front.
    let new = path.with_file_name(format!(".{name}.{instance}"));
    let done =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new).and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            file.sync_all()?;
            point!("ssh.before-rename");
            fs::rename(&new, path)
        });
    done.inspect_err(|_| drop(fs::remove_file(&new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: &str = "0123456789ab";

    fn wrote(directory: &Path, labs: &[(&str, &str)], keeps: &Keeps) -> Written {
        let labs = labs.iter().map(|(lab, text)| (lab.parse().unwrap(), *text)).collect();
        write(directory, Wanted { instance: INSTANCE, labs: &labs, keeps })
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(directory).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn none() -> Keeps {
        Keeps::Only(BTreeSet::new())
    }

    #[test]
    fn files_come_change_and_go_and_those_of_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join("clab-theirs.conf"), "Host a\n").unwrap();
        fs::write(path.join(format!(".clab-x.conf.{INSTANCE}")), "half").unwrap();
        assert!(wrote(path, &[("x", "Host a\n"), ("y", "Host b\n")], &none()).wrong.is_empty());
        assert_eq!(names(path), ["clab-theirs.conf", "clab-x.conf", "clab-y.conf"]);
        assert!(wrote(path, &[("x", "Host c\n")], &none()).wrong.is_empty());
        assert_eq!(names(path), ["clab-theirs.conf", "clab-x.conf"]);
        assert_eq!(fs::read_to_string(path.join("clab-x.conf")).unwrap(), mark(INSTANCE) + "Host c\n");
        let refused = wrote(path, &[("theirs", "Host d\n")], &none());
        assert!(refused.wrong[0].1.to_string().contains("not ours"), "{refused:?}");
        assert_eq!(names(path), ["clab-theirs.conf"]);
        assert_eq!(fs::read_to_string(path.join("clab-theirs.conf")).unwrap(), "Host a\n");
    }

    #[test]
    fn a_file_of_a_lab_that_is_there_still_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        wrote(directory.path(), &[("x", "Host a\n")], &none());
        let kept = wrote(directory.path(), &[], &Keeps::AllBut(BTreeSet::new())).kept;
        assert_eq!(kept, BTreeSet::from(["x".parse().unwrap()]));
        assert_eq!(names(directory.path()), ["clab-x.conf"]);
    }

    #[test]
    fn a_host_that_reads_no_such_files_gets_none() {
        let directory = tempfile::tempdir().unwrap();
        let none_there = directory.path().join("ssh_config.d");
        assert!(wrote(&none_there, &[("x", "Host a\n")], &none()).wrong.is_empty());
        assert!(!none_there.exists());
    }
}
