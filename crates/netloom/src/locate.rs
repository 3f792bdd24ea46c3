//! Which topology file is meant: a file, the only one of a directory, or what comes in on standard input.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use netloom_model::topology::MAX_BYTES;

use crate::failure::{Failure, Result, plain};

/// How the names of topology files end.
const ENDINGS: [&str; 3] = [".clab.yml", ".clab.yaml", ".clab.gotmpl"];

/// Files that are named in a message; the rest is counted.
const SHOWN: usize = 10;

/// A topology that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The absolute path of its file without symbolic links: the lab's source. `None` for a stream, which is gone
    /// once it was read.
    pub(crate) path: Option<PathBuf>,
    /// How messages name it: its path as the caller knows it, or `<stdin>`.
    pub(crate) shown: PathBuf,
    /// Absolute path of the directory that relative paths in it start from: the file's, or for a stream the current one.
    pub(crate) directory: PathBuf,
    /// Files with data for it, if it is a template; without any, those beside it.
    pub(crate) vars: Vec<PathBuf>,
    /// What is opened to read it.
    opened: Opened,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Opened {
    Path(PathBuf),
    StandardInput,
}

impl Source {
    /// Its content. A stream can be read once.
    pub(crate) fn whole(&self) -> Result<Vec<u8>> {
        // One byte more than is read: the reader says that it is too much.
        let limit = MAX_BYTES as u64 + 1;
        let mut content = Vec::new();
        let read = match &self.opened {
            Opened::Path(path) => File::open(path).and_then(|file| file.take(limit).read_to_end(&mut content)),
            Opened::StandardInput => io::stdin().lock().take(limit).read_to_end(&mut content),
        };
        read.map_err(|error| Failure::unreadable(&self.shown, &error))?;
        Ok(content)
    }
}

/// The file itself, the single topology file of a directory, or standard input for `-`.
pub(crate) fn find(path: &Path) -> Result<Source> {
    if path.as_os_str() == "-" {
        return stream(PathBuf::from("<stdin>"), Opened::StandardInput);
    }
    let kind = fs::metadata(path).map_err(|error| Failure::unreadable(path, &error))?;
    let shown = if kind.is_dir() { single(path)? } else { path.to_owned() };
    if !kind.is_dir() && !kind.is_file() {
        // A pipe, for example of `<(…)`: it has no place that another deploy could find again.
        return stream(shown.clone(), Opened::Path(shown));
    }
    let path = fs::canonicalize(&shown).map_err(|error| Failure::unreadable(&shown, &error))?;
    let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
    Ok(Source { opened: Opened::Path(path.clone()), path: Some(path), shown, directory, vars: Vec::new() })
}

/// The same, with files of data for it.
pub(crate) fn find_with(path: &Path, vars: &[PathBuf]) -> Result<Source> {
    Ok(Source { vars: vars.to_vec(), ..find(path)? })
}

fn stream(shown: PathBuf, opened: Opened) -> Result<Source> {
    let directory = std::env::current_dir()
        .map_err(|error| Failure::input(format_args!("the current directory cannot be used: {}", plain(&error))))?;
    Ok(Source { path: None, shown, directory, vars: Vec::new(), opened })
}

fn single(directory: &Path) -> Result<PathBuf> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).map_err(|error| Failure::unreadable(directory, &error))? {
        let path = entry.map_err(|error| Failure::unreadable(directory, &error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // A hidden file is an editor's, not a person's.
        let visible = !name.starts_with('.');
        if visible && ENDINGS.iter().any(|ending| name.ends_with(ending)) && path.is_file() {
            found.push(path);
        } else if visible && [".yml", ".yaml"].iter().any(|ending| name.ends_with(ending)) && path.is_file() {
            others.push(path);
        }
    }
    found.sort();
    others.sort();
    let directory = directory.display();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let hint = if others.is_empty() { String::new() } else { format!(": {}", listed(&others)) };
            Err(Failure::input(format_args!(
                "there is no *.clab.yml in {directory}; name the topology file itself{hint}"
            )))
        }
        n => {
            let names = listed(&found);
            Err(Failure::input(format_args!("there are {n} topology files in {directory}; name one of them: {names}")))
        }
    }
}

fn listed(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().take(SHOWN).map(|path| path.display().to_string()).collect();
    let more = paths.len().saturating_sub(SHOWN);
    names.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_directory_stands_for_its_single_topology_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let none = find(directory.path()).unwrap_err();
        assert_eq!(none.exit, Exit::Input);
        assert!(none.text.unwrap().contains("there is no *.clab.yml in"));

        for name in ["other.yml", ".clab.yml", ".lab.clab.yml"] {
            fs::write(at(name), "").unwrap();
        }
        let none = find(directory.path()).unwrap_err().text.unwrap();
        let named = format!("name the topology file itself: {}", at("other.yml").display());
        assert!(none.ends_with(&named), "{none}");
        fs::create_dir(at("dir.clab.yml")).unwrap();
        fs::write(at("one.clab.yaml"), "").unwrap();
        assert_eq!(find(directory.path()).unwrap().shown, at("one.clab.yaml"));

        fs::write(at("two.clab.gotmpl"), "").unwrap();
        let two = find(directory.path()).unwrap_err().text.unwrap();
        assert!(two.contains("there are 2 topology files") && two.contains("one.clab.yaml, "), "{two}");
        assert_eq!(find(&at("two.clab.gotmpl")).unwrap().shown, at("two.clab.gotmpl"));
        assert_eq!(find(&at("other.yml")).unwrap().shown, at("other.yml"));
    }

    #[test]
    fn many_files_are_counted_and_not_all_named() {
        let directory = tempfile::tempdir().unwrap();
        for n in 0..30 {
            fs::write(directory.path().join(format!("{n:02}.clab.yml")), "").unwrap();
        }
        let text = find(directory.path()).unwrap_err().text.unwrap();
        assert!(text.contains("there are 30 topology files") && text.ends_with("09.clab.yml and 20 more"), "{text}");
    }

    #[test]
    fn relative_paths_of_a_stream_start_at_the_current_directory() {
        let source = find(Path::new("-")).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!((source.path, source.directory, source.shown), (None, here, PathBuf::from("<stdin>")));
    }

    #[test]
    fn a_file_that_is_linked_to_has_one_path() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a.clab.yml"), directory.path().join("b.yml"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let (a, b) = (find(&file).unwrap(), find(&link).unwrap());
        assert_eq!((a.path, a.directory), (b.path, b.directory));
        assert_eq!(b.shown, link);
    }
}
