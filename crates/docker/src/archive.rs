//! Files of containers, as streams of tar. They can be had of containers that do not run, too.

use std::io;
use std::time::Instant;

use futures::StreamExt;
use hyper::Method;
use serde::Deserialize;

use crate::body::ByteStream;
use crate::docker::{Ask, Docker};
use crate::error::{Error, ErrorKind, Result};
use crate::reply::Reply;
use crate::target::Target;

const STAT: &str = "x-docker-container-path-stat";

/// Bits of [`PathStat::mode`] (Go's `fs.FileMode`).
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const OTHER: u32 = 0x8f28_0000 & !DIRECTORY & !SYMLINK;

/// What is at a path in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathStat {
    /// The last part of the path.
    pub name: String,
    /// In bytes.
    pub size: i64,
    /// As Go has it: permissions in the lowest nine bits, kinds in the highest ones.
    pub mode: u32,
    /// When it was changed, RFC 3339.
    pub mtime: String,
    /// Where a symbolic link leads to.
    pub link_target: String,
}

/// What kind of file is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a socket or a pipe.
    Other,
}

impl PathStat {
    /// What kind of file it is.
    pub fn kind(&self) -> PathKind {
        match self.mode {
            mode if mode & DIRECTORY != 0 => PathKind::Directory,
            mode if mode & SYMLINK != 0 => PathKind::Symlink,
            mode if mode & OTHER != 0 => PathKind::Other,
            _ => PathKind::File,
        }
    }
}

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// Refuse to replace a directory by something else, or the other way round.
    pub keep_kinds: bool,
    /// Keep the owners that the archive has; else all belongs to root.
    pub keep_owners: bool,
}

impl Docker {
    /// What is at a path in a container, without following a symbolic link.
    ///
    /// Source: `HEAD /containers/{id}/archive`.
    pub async fn head_archive(&self, id: &str, path: &str, deadline: Instant) -> Result<PathStat> {
        self.call("look at", &at(id, path), deadline, async {
            let reply = self.ask(Ask::new(Method::HEAD, target(id, path))).await?;
            let stat = stat(&reply)?;
            reply.done().await?;
            Ok(stat)
        })
        .await
    }

    /// What is at a path in a container, and an archive of it, whose only root is the last part of the path.
    ///
    /// The deadline covers the beginning. Source: `GET /containers/{id}/archive`.
    pub async fn get_archive(&self, id: &str, path: &str, deadline: Instant) -> Result<(PathStat, ByteStream)> {
        let object = at(id, path);
        self.call("copy from", &object, deadline, async {
            let reply = self.ask(Ask::get(target(id, path))).await?;
            let stat = stat(&reply)?;
            let object = object.clone();
            let bytes = reply.map(move |piece| {
                let error = |kind| Error { operation: "copy from", object: object.clone(), kind };
                piece.map_err(|kind| io::Error::other(error(kind)))
            });
            Ok((stat, ByteStream::new(bytes)))
        })
        .await
    }

    /// Unpacks an archive, which may be compressed, in a directory of a container; returns when all is there.
    ///
    /// The deadline covers all of it. What was unpacked before an error stays. Source: `PUT /containers/{id}/archive`.
    pub async fn put_archive(
        &self,
        id: &str,
        path: &str,
        body: ByteStream,
        options: PutOptions,
        deadline: Instant,
    ) -> Result<()> {
        let target = target(id, path).flag("noOverwriteDirNonDir", options.keep_kinds);
        let target = target.flag("copyUIDGID", options.keep_owners);
        self.command("copy to", &at(id, path), Ask::new(Method::PUT, target).archive(body), deadline).await
    }
}

fn at(id: &str, path: &str) -> String {
    format!("{id}:{path}")
}

fn target(id: &str, path: &str) -> Target {
    Target::at(["containers", id, "archive"]).query("path", path)
}

fn stat(reply: &Reply) -> std::result::Result<PathStat, ErrorKind> {
    let text = reply.header(STAT).ok_or_else(|| ErrorKind::Protocol(format!("it has no header {STAT}")))?;
    let json = base64(text).ok_or_else(|| ErrorKind::Protocol(format!("header {STAT} is no base64: {text}")))?;
    serde_json::from_slice(&json).map_err(|error| ErrorKind::Protocol(format!("header {STAT}: {error}")))
}

/// Reads base64 (RFC 4648, section 4).
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmE", "fooba")] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64("+/+/").as_deref(), Some([0xfb, 0xff, 0xbf].as_slice()));
        assert_eq!(base64("Zm9v!"), None);
    }

    #[test]
    fn kinds_are_bits_of_go() {
        let kind = |mode| PathStat { mode, ..PathStat::default() }.kind();
        assert_eq!(kind(0o644), PathKind::File);
        assert_eq!(kind(0x8000_01ed), PathKind::Directory);
        assert_eq!(kind(0x0800_01ff), PathKind::Symlink);
        // A terminal: a device, of characters.
        assert_eq!(kind(0x0420_0190), PathKind::Other);
        // Set-user-id changes no kind.
        assert_eq!(kind(0x0080_01ed), PathKind::File);
    }
}
