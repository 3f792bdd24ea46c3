//! What goes to and comes from what runs in a node: commands with their input and output, and the output of the node itself.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Whether a stream goes on when its end is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// It ends.
    No,
    /// It waits for more, also across restarts of the node.
    Yes,
    /// It ends, and begins near its end: with at least this many last lines if there are so many and they are not longer than
    /// 64 KiB.
    Last(u16),
}

/// Whether a command gets a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Terminal {
    /// Plain pipes: standard output and standard error apart.
    None,
    /// A pseudo terminal of this size; everything comes as standard output.
    Size {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
}

/// A command to run in a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// The words of the command.
    pub argv: Vec<String>,
    /// Whether it gets a terminal.
    pub terminal: Terminal,
    /// More of its environment, as `NAME=value`; before what the node has of the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
}

impl ExecRequest {
    /// A command without a terminal, in the environment of the node.
    pub fn plain(argv: Vec<String>) -> Self {
        Self { argv, terminal: Terminal::None, env: Vec::new() }
    }
}

/// What goes to a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecInput {
    /// Bytes for its standard input.
    Stdin(Bytes),
    /// Its standard input ends.
    CloseStdin,
    /// The terminal has a new size.
    Resize {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// End it: TERM, then KILL.
    Terminate,
}

/// What comes from a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecOutput {
    /// Bytes of its standard output.
    Stdout(Bytes),
    /// Bytes of its standard error.
    Stderr(Bytes),
    /// It ended; nothing follows. 128 + n after signal n, 125 when it could not be started by us, 126 and 127 as
    /// a shell has them.
    Exited(i32),
}

/// A running command. Dropping it terminates the command.
#[derive(Debug)]
pub struct ExecSession {
    /// To the command; bounded.
    pub input: mpsc::Sender<ExecInput>,
    /// From the command; bounded, so a slow reader slows the command and nothing else.
    pub output: mpsc::Receiver<ExecOutput>,
}

/// The output of a node. Dropping it ends the stream.
#[derive(Debug)]
pub struct LogStream {
    /// Pieces of output as they were written; closed at the end.
    pub chunks: mpsc::Receiver<Bytes>,
}
