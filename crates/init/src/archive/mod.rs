//! Files as a stream of tar: packed from a file system, unpacked into one, by the rules of `cp -a`.
//!
//! This module is part of two programs, the init (which copies in a node, as the node sees its files) and the command
//! line (which copies on the caller's side), so that both sides of a copy follow the same rules.
//!
//! What is named comes with the last part of its path as its name; what is named with `/.` at the end comes as `.`, its
//! content. Files, directories, symbolic and hard links and named pipes are copied; sockets and devices are left out.
//! Owners are numbers. Extended attributes and holes of sparse files are not kept.

mod pack;
mod unpack;

use std::io;

pub(crate) use pack::{Links, pack};
pub(crate) use unpack::{Landing, Owner, unpack};

/// Why something was not copied, one line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// What was asked for does not fit what is there; nothing was touched.
    Refused(String),
    /// It could not be done, or not to the end.
    Failed(String),
}

impl Trouble {
    fn failed(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::Failed(format!("{what}: {}", plain(error)))
    }
}

type Result<T> = std::result::Result<T, Trouble>;

/// "no such file or directory" without Rust's "(os error 2)".
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// Whether a path says that it is a directory, and that its content is meant: `a/`, `a/.`.
fn ending(path: &std::path::Path) -> (bool, bool) {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_os_str().as_bytes();
    let content = bytes == b"." || bytes.ends_with(b"/.") || path.file_name().is_none();
    (content || bytes.ends_with(b"/"), content)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
