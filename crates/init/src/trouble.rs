//! Why something could not be done: words for people, and the number for the agent, which tells by it what may pass.

use std::io;

use crate::{launch, plain, plain_errno};

/// Result of a set-up step.
pub(crate) type Result<T> = std::result::Result<T, Trouble>;

/// What went wrong.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) text: String,
    /// What the kernel said (errno(3)), where it was asked; 0 elsewhere.
    pub(crate) errno: i32,
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self { text, errno: 0 }
    }
}

impl From<&str> for Trouble {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<launch::Failure> for Trouble {
    fn from(failure: launch::Failure) -> Self {
        Self { text: failure.message, errno: failure.errno }
    }
}

/// For what only a person reads.
impl From<Trouble> for String {
    fn from(trouble: Trouble) -> Self {
        trouble.text
    }
}

/// What fails a step, with the reason.
pub(crate) trait Because<T> {
    /// `what` is what was tried, for example "mounting /proc".
    fn because(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Because<T> for rustix::io::Result<T> {
    fn because(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|errno| Trouble {
            text: format!("{}: {}", what(), plain_errno(errno)),
            errno: errno.raw_os_error(),
        })
    }
}

impl<T> Because<T> for io::Result<T> {
    fn because(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Trouble {
            text: format!("{}: {}", what(), plain(&error)),
            errno: error.raw_os_error().unwrap_or_default(),
        })
    }
}
