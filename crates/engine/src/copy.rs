//! Copying files to and from nodes: what is asked for, and the streams that carry it.
//!
//! Both streams are tar archives (POSIX ustar with GNU long names) with their end mark, in pieces of any size. What is
//! copied from `/etc/frr` comes as `frr`, `frr/frr.conf`, …; the content of a directory, asked for as `/etc/frr/.`, as
//! `.`, `frr.conf`, …

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::driver::DriverError;

/// What to copy from a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOut {
    /// Where it is in the node; counted from `/`.
    pub path: String,
    /// What becomes of symbolic links.
    pub links: Links,
}

/// What becomes of symbolic links that are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Links {
    /// They stay links; one that is named with a slash at its end is followed.
    Kept,
    /// What they lead to is copied.
    Followed,
}

/// Where to copy something to in a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyIn {
    /// Where it goes in the node; counted from `/`.
    pub path: String,
    /// How it gets its name.
    pub landing: Landing,
    /// Who owns it there.
    pub owner: Owner,
}

/// How something that is copied gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Landing {
    /// As with `cp`: if the path is a directory, into it; else it gets the path's last part as its name, and the rest
    /// of the path must be a directory. The archive holds one thing.
    Named,
    /// The path is a directory; everything in the archive has its own name there.
    Into,
}

/// Who owns what is copied into a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The node's root.
    Root,
    /// Whom the archive says, by number.
    Kept,
}

/// Why something was not copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// What was asked for does not fit what is there (no such file, no such directory); nothing was touched.
    #[error("{0}")]
    Refused(String),
    /// It could not be done, or not to the end.
    #[error(transparent)]
    Failed(#[from] DriverError),
}

/// What comes from a node. Dropping it ends the copying.
#[derive(Debug)]
pub struct Outgoing {
    /// The archive; bounded, so a slow reader slows the node and nothing else. Closed at the end; an error is the last.
    pub pieces: mpsc::Receiver<Result<Bytes, CopyError>>,
}

/// What goes to a node. Dropping it ends the copying, and nothing half done keeps the name that was asked for.
#[derive(Debug)]
pub struct Incoming {
    /// The archive; bounded. It is complete with its end mark: dropped before that it is an error.
    pub pieces: mpsc::Sender<Bytes>,
    /// How it ended; may come before everything was sent.
    pub done: oneshot::Receiver<Result<(), CopyError>>,
}
