//! The token that opens the TCP port: made at first start, readable by root and the group `netloom`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode};

/// The group whose members may command the agent. That equals root: a lab may bind any file of the host.
pub(crate) const GROUP: &str = "netloom";

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[error(
    "the token {path} cannot be {verb}: {source}; the state directory must be writable for the agent (another one: \
     NETLOOM_ROOT)"
)]
pub struct TokenError {
    /// The file.
    path: PathBuf,
    /// `read`, `made`.
    verb: &'static str,
    /// What the system said.
    source: io::Error,
}

/// Reads the token or makes one: 64 hexadecimal digits, mode 0640.
pub(crate) fn read_or_make(path: &Path) -> Result<String, TokenError> {
    let failed = |verb| move |source| TokenError { path: path.to_owned(), verb, source };
    match fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read")(error)),
    }
    make(path).map_err(failed("made"))
}

/// Written beside and renamed, so that a crash leaves no half of it.
fn make(path: &Path) -> io::Result<String> {
    let mut bytes = [0_u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    let token = bytes.map(|byte| format!("{byte:02x}")).concat();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(token.as_bytes())?;
    file.write_all(b"\n")?;
    share(&new, 0o640)?;
    file.sync_all()?;
    netloom_failpoint::point!("agent.start.token-written");
    fs::rename(&new, path)?;
    Ok(token)
}

/// Gives a file to the group `netloom`, if there is one, and sets its mode.
pub(crate) fn share(path: &Path, mode: u32) -> io::Result<()> {
    if let Some(group) = group(GROUP) {
        rustix::fs::chown(path, None, Some(group))?;
    }
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}

/// The number of a group from /etc/group; a small host needs no more, and the C library's look-up may ask the
/// network.
fn group(name: &str) -> Option<Gid> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let line = groups.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split(':').nth(1)?.parse().ok().map(Gid::from_raw)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_not_for_everyone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/token");
        let token = read_or_make(&path).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(read_or_make(&path).unwrap(), token);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_state_directory_that_cannot_be_written_is_said_with_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let blocked = directory.path().join("state");
        fs::write(&blocked, "a file where the directory should be").unwrap();
        let error = read_or_make(&blocked.join("token")).unwrap_err().to_string();
        assert!(error.contains("state/token") && error.contains("NETLOOM_ROOT"), "{error}");
    }
}
