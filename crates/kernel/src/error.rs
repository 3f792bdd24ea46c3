//! Errors of the kernel in words: what, where, why.

use std::fmt;
use std::io;

use netloom_backlog::PushError;

/// What a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KernelErrorKind {
    /// Something with that name or address is already there.
    AlreadyExists,
    /// The interface, address or route is not there.
    NotFound,
    /// The dictated ifindex belongs to another interface; try the next one.
    IfindexTaken,
    /// The running kernel cannot do that (a module is missing).
    Unsupported,
    /// A limit of the host is reached.
    NoSpace,
    /// Not allowed; root is needed.
    Permission,
    /// The kernel finds the request wrong.
    Invalid,
    /// In use; it may work later.
    Busy,
    /// Not attempted: the deadline of the batch passed before its turn.
    Deadline,
    /// Another errno.
    Other(i32),
}

/// A request that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    /// What was to be done, for example `create veth`.
    pub operation: &'static str,
    /// On what, for example "`eth1` in `r1`".
    pub object: String,
    /// What kind of failure it is.
    pub kind: KernelErrorKind,
    /// The whole of it in one sentence that a person can read.
    pub message: String,
}

impl KernelError {
    /// Whether what the request is about is not there; a delete is content with that.
    pub fn is_not_found(&self) -> bool {
        self.kind == KernelErrorKind::NotFound
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for KernelError {}

/// Why a whole batch has no results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full; nothing of the batch is done.
    #[error("the queue of the netlink thread is full")]
    Busy,
    /// The thread has ended; nothing of the batch is done.
    #[error("the netlink thread has ended")]
    Closed,
    /// No answer in time. What had begun is completed all the same.
    #[error("no answer from the netlink thread in time")]
    Deadline,
}

impl From<PushError> for SubmitError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full => Self::Busy,
            PushError::Closed => Self::Closed,
        }
    }
}

pub(crate) fn kind(errno: i32) -> KernelErrorKind {
    use KernelErrorKind as K;
    match errno {
        libc::EEXIST => K::AlreadyExists,
        libc::ENODEV | libc::ENOENT | libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENXIO => K::NotFound,
        libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT => K::Unsupported,
        libc::ENOSPC | libc::ENOMEM | libc::ENOBUFS | libc::EMFILE | libc::ENFILE | libc::EXFULL => K::NoSpace,
        libc::EPERM | libc::EACCES => K::Permission,
        libc::EINVAL | libc::ERANGE | libc::EMSGSIZE => K::Invalid,
        libc::EBUSY => K::Busy,
        other => K::Other(other),
    }
}

/// "File exists" for 17: the C library's text without Rust's "(os error 17)".
pub(crate) fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
