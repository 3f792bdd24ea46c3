//! What nodes run on.

mod copy;
pub mod docker;
mod environment;
mod fault;
mod ip_netns;
mod join;
pub mod namespace;
mod order;
mod pool;
mod program;
mod session;
mod turns;

pub use join::Joiner;

use std::path::Path;
use std::{fs, io};

use netloom_model::LabName;

/// The names in a directory; none if it is not there. Ours are all UTF-8.
pub(crate) fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(directory) {
        Ok(entries) => {
            entries.filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose()).collect()
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The nodes that have something in a directory of labs: `<directory>/<lab>/<node>`. Other names there are nobody's.
pub(crate) fn keys_in(directory: &Path) -> io::Result<Vec<turns::Key>> {
    let mut keys = Vec::new();
    for lab in names_in(directory)?.iter().filter_map(|lab| lab.parse::<LabName>().ok()) {
        let nodes = names_in(&directory.join(lab.as_str()))?;
        keys.extend(nodes.iter().filter_map(|node| Some((lab.clone(), node.parse().ok()?))));
    }
    Ok(keys)
}

/// Removes a file of a node if it is there, and the directory of its lab with the last one.
fn remove_of_lab(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Not empty: there are others.
    let _ = path.parent().map(fs::remove_dir);
    Ok(())
}
