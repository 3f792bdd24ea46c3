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

/// The names in a directory; none if it is not there. Ours are all UTF-8.
fn names_in(directory: &Path) -> io::Result<Vec<String>> {
    match fs::read_dir(directory) {
        Ok(entries) => {
            entries.filter_map(|entry| entry.map(|e| e.file_name().into_string().ok()).transpose()).collect()
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
