//! How a command ends when it does not end well: an exit code and what to say about it.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// The documented exit codes of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something was tried and failed.
    Failed,
    /// The input is wrong; nothing was touched.
    Input,
    /// No agent can be reached.
    NoAgent,
    /// A deadline passed, or a person cancelled.
    Ended,
    /// The code of a command that ran in a node.
    Command(u8),
}

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Input => 2,
            Self::NoAgent => 3,
            Self::Ended => 4,
            Self::Command(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// Why a command did not do what it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What to say on standard error; nothing when it was said already.
    pub(crate) text: Option<String>,
}

impl Failure {
    /// Something was tried and failed.
    pub(crate) fn failed(text: impl fmt::Display) -> Self {
        Self { exit: Exit::Failed, text: Some(text.to_string()) }
    }

    /// The input is wrong; nothing was touched.
    pub(crate) fn input(text: impl fmt::Display) -> Self {
        Self { exit: Exit::Input, text: Some(text.to_string()) }
    }

    /// No agent can be reached.
    pub(crate) fn no_agent(text: impl fmt::Display) -> Self {
        Self { exit: Exit::NoAgent, text: Some(text.to_string()) }
    }

    /// A deadline passed, or a person cancelled.
    pub(crate) fn ended(text: impl fmt::Display) -> Self {
        Self { exit: Exit::Ended, text: Some(text.to_string()) }
    }

    /// A file that the input names cannot be read.
    pub(crate) fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::input(format_args!("{}: {}", path.display(), plain(error)))
    }

    /// Everything was said already.
    pub(crate) fn said(exit: Exit) -> Self {
        Self { exit, text: None }
    }
}

/// What a command comes to.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// "no such file or directory" without Rust's "(os error 2)".
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
