//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result, plain};

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It stays, and that is a failure.
    Kept,
    /// It is replaced in one step; its permissions stay, and a link to a file stays a link.
    Replaced,
}

/// Writes a file.
pub(crate) fn save(text: &str, to: &Path, existing: Existing) -> Result {
    let written = match existing {
        Existing::Kept => create(text, to),
        Existing::Replaced => replace(text, to),
    };
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::input(format_args!("{} is there already; write over it with --force", to.display()))
        }
        _ => Failure::failed(format_args!("{}: {}", to.display(), plain(&error))),
    })
}

/// The directory that a file is or is going to be in, without symbolic links.
pub(crate) fn directory_of(file: &Path) -> Result<PathBuf> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::canonicalize(parent).map_err(|error| Failure::failed(format_args!("{}: {}", file.display(), plain(&error))))
}

fn create(text: &str, to: &Path) -> io::Result<()> {
    let mut file = File::create_new(to)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = fs::remove_file(to);
    })
}

fn replace(text: &str, to: &Path) -> io::Result<()> {
    let no_name = || io::Error::new(io::ErrorKind::InvalidInput, "this is no file name");
    // A link to a file that is there stays a link.
    let target = fs::canonicalize(to).unwrap_or_else(|_| to.to_owned());
    let name = target.file_name().ok_or_else(no_name)?;
    let mut beside = name.to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = target.with_file_name(beside);
    let written = File::create_new(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        if let Ok(there) = fs::metadata(&target) {
            file.set_permissions(there.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&beside, &target)
    });
    written.inspect_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = fs::remove_file(&beside);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_file_that_is_there_stays_unless_it_is_to_be_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.clab.yml");
        save("one", &file, Existing::Kept).unwrap();
        let refused = save("two", &file, Existing::Kept).unwrap_err();
        assert_eq!(refused.exit, Exit::Input);
        assert!(refused.text.unwrap().contains("--force"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");

        let link = directory.path().join("b.clab.yml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        save("three", &link, Existing::Replaced).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "three");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_a_failure_that_names_it() {
        let text = save("x", Path::new("/nowhere/a.clab.yml"), Existing::Replaced).unwrap_err().text.unwrap();
        assert_eq!(text, "/nowhere/a.clab.yml: no such file or directory");
    }
}
