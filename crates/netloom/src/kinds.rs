//! Files of kinds on disk: those of this host, then those beside a topology.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use netloom_model::topology::{KindSpec, Kinds};

use crate::failure::{Failure, Result};
use crate::{host_root, locate};

/// The built-in kinds, with `kinds.d` of the host and `kinds/` of this directory over them. The files of a folder are
/// taken by name.
pub(crate) fn read(directory: &Path) -> Result<Kinds> {
    let mut kinds = Kinds::builtin().clone();
    for folder in [Path::new(&host_root()).join("etc/netloom/kinds.d"), directory.join("kinds")] {
        for file in files(&folder).map_err(|error| Failure::unreadable(&folder, &error))? {
            let text = text(&file).map_err(|error| Failure::unreadable(&file, &error))?;
            kinds.extend(&file.display().to_string(), &text).map_err(Failure::input)?;
        }
    }
    Ok(kinds)
}

/// The kinds that a topology can have which is this file, or is in this directory.
pub(crate) fn around(path: &Path) -> Result<Kinds> {
    if path.is_dir() { read(path) } else { read(&locate::find(path)?.directory) }
}

/// The `*.toml` of a folder by name; none of a folder that is not there.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than is read: the reader says that it is too much.
    File::open(file)?.take(KindSpec::MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_beside_a_topology_go_over_the_built_in_kinds_by_name() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read(directory.path()).unwrap().iter().count(), Kinds::builtin().iter().count());
        let folder = directory.path().join("kinds");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("b.toml"), "name = \"acme\"\nabout = \"later\"\n").unwrap();
        fs::write(folder.join("a.toml"), "name = \"acme\"\nabout = \"earlier\"\nshell = \"acmesh\"\n").unwrap();
        fs::write(folder.join("README.md"), "no kind").unwrap();
        let kinds = read(directory.path()).unwrap();
        assert_eq!(kinds.find("acme").unwrap().about(), "later");
        assert!(kinds.find("acme").unwrap().to_toml().contains("acmesh"));

        fs::write(folder.join("c.toml"), "name = \"acme\"\nshel = \"x\"\n").unwrap();
        let said = read(directory.path()).unwrap_err().text.unwrap();
        assert!(said.contains("kinds/c.toml:2: unknown field `shel`"), "{said}");
    }
}
