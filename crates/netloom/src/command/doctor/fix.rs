//! What `--fix` does: only what nobody can miss. Limits of the host, services and state are left to people.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use crate::failure::plain;

/// Something that is safe to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fix {
    /// A socket that nobody listens on is removed.
    StaleSocket(PathBuf),
    /// Links that lead to namespaces of ours that are gone are removed.
    DanglingLinks(Vec<PathBuf>),
}

impl Fix {
    /// Does it; says what was done, or why not.
    pub(super) fn apply(self) -> Result<String, String> {
        match self {
            Self::StaleSocket(path) => {
                // Somebody may have begun to listen.
                match UnixStream::connect(&path) {
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok("it is gone already".to_owned()),
                    _ => return Err("an agent listens on it by now".to_owned()),
                }
                fs::remove_file(&path).map_err(|error| format!("{}: {}", path.display(), plain(&error)))?;
                Ok(format!("removed {}", path.display()))
            }
            Self::DanglingLinks(links) => {
                let mut removed = 0;
                // One that leads somewhere by now is a node's.
                for link in links.iter().filter(|link| link.is_symlink() && !link.exists()) {
                    fs::remove_file(link).map_err(|error| format!("{}: {}", link.display(), plain(&error)))?;
                    removed += 1;
                }
                Ok(format!("removed {}", crate::render::count(removed, "link")))
            }
        }
    }
}
