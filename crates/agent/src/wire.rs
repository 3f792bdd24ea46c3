//! What goes over the wire besides the engine's own views: request bodies, answers, problems.
//!
//! A client needs this module and the views of `netloom-engine`; it needs nothing of the server.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use netloom_engine::{OperationId, OperationView};
use netloom_model::{Lab, NodeName, RuntimeKind};
use serde::{Deserialize, Serialize};

/// The media type of a [`Problem`] (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// The largest body of a request, in bytes.
pub const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// The media type of an archive of files.
pub const ARCHIVE: &str = "application/x-tar";

/// The trailer of `GET /labs/{lab}/nodes/{node}/archive` that says that the archive is not whole, with a [`Problem`] in
/// JSON.
pub const FAILED: &str = "netloom-failed";

/// The longest that `GET /operations/{id}?wait=` waits, in seconds.
pub const WAIT_LIMIT: u64 = 300;

/// The body of `PUT /labs/{lab}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutLab {
    /// The whole lab; its name is the one in the path.
    pub lab: Lab,
    /// Whether everything is removed and made anew.
    #[serde(default)]
    pub rebuild: bool,
    /// Whether limits of the host that it is short of may be raised (sysctls, for the whole host) until the last lab
    /// that needs them is destroyed.
    #[serde(default)]
    pub raise_limits: bool,
    /// Deploy only these nodes and the links between nodes that are there then; the rest stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<BTreeSet<NodeName>>,
}

/// The media type of a merge patch (RFC 7396).
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// The answer to a request that was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The operation that makes it so.
    pub operation: OperationView,
}

/// The body of `POST /images/pull`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullImage {
    /// The image, as `docker pull` takes it.
    pub image: String,
}

/// The answer to `POST /images/load`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagesLoaded {
    /// The references of what was loaded, or ids where there are none.
    pub loaded: Vec<String>,
}

/// The answer to `GET /info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// The version of the agent.
    pub version: String,
    /// The instance id: 12 hex digits.
    pub instance: String,
    /// The directory that all paths are below.
    pub root: PathBuf,
    /// The process id of the agent.
    pub pid: u32,
    /// When the agent was started.
    #[serde(with = "netloom_engine::time")]
    pub started: SystemTime,
    /// How long ago that is, in whole seconds.
    pub uptime_seconds: u64,
    /// What links are made of.
    pub fabric: String,
    /// What nodes can run on.
    pub runtimes: Vec<RuntimeKind>,
    /// The command socket.
    pub socket: PathBuf,
    /// The TCP address that is listened on, if one is.
    pub listen: Option<SocketAddr>,
}

/// The answer to `GET /livez`, `GET /healthz` and `GET /health`: 200 when `status` is `ok`, 503 otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Liveness {
    /// `ok` or `late`.
    pub status: String,
    /// The loops whose oldest unserved work is older than its limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<Late>,
}

/// A loop that does not serve its work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Late {
    /// Its name.
    #[serde(rename = "loop")]
    pub name: String,
    /// The age of its oldest unserved work, in seconds.
    pub seconds: f64,
}

/// A loop or thread that was at the same work for too long; `GET /debug/stalls` lists the last 64.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    /// `main runtime`, `lab NAME`, `thread NAME`, `health`, …
    #[serde(rename = "loop")]
    pub name: String,
    /// Since when it was at that work.
    #[serde(with = "netloom_engine::time")]
    pub since: SystemTime,
    /// For how long, in seconds; time in which the agent itself was stopped or starved does not count.
    pub seconds: f64,
    /// When it got on.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "netloom_engine::time::option")]
    pub ended: Option<SystemTime>,
    /// What was decided.
    pub decision: String,
    /// The operations that were under way.
    pub operations: Vec<OperationId>,
    /// Where its threads were when it was found late.
    pub threads: Vec<ThreadState>,
}

/// A thread as the kernel sees it, from `/proc/self/task/<id>` (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadState {
    /// Its id.
    pub id: i32,
    /// Its name.
    pub name: String,
    /// `R` runs, `S` sleeps, `D` sleeps and takes no signal, …
    pub state: String,
    /// The function of the kernel in which it sleeps, where the kernel says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wchan: Option<String>,
    /// Its system call: number and arguments, `running`, or -1 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscall: Option<String>,
}

/// The answer to `GET /readyz`: 503 when one capability is down, else 200.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    /// The worst of all capabilities.
    pub status: Ready,
    /// Each capability; in full only with `?verbose`, without it those that are not ok.
    pub capabilities: Vec<Capability>,
}

/// How well a capability works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// It works.
    Ok,
    /// Two of its last three looks were bad; what is known of it is shown with its age.
    Degraded,
    /// It has never worked, has not for 30 s, or leaves nothing to be done (a disk that is full).
    Down,
}

impl Ready {
    /// As it is written on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// The name of the capability that is degraded while labs are paused, and that is not there otherwise.
pub const LABS: &str = "labs";
/// The name of the capability that is degraded while the host's own interfaces are not as they are wanted. It is never down: all
/// else works without it.
pub const TRANSPORT: &str = "transport";

/// One capability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capability {
    /// `namespace`, `kernel`, `store`, `agent`, …
    pub name: String,
    /// How well it works.
    pub status: Ready,
    /// Why it is not ok.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it is so.
    #[serde(with = "netloom_engine::time")]
    pub since: SystemTime,
    /// When it last answered whole.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "netloom_engine::time::option")]
    pub last_good: Option<SystemTime>,
    /// How much its threads have not finished; of the store also what it has not taken yet of what holds.
    #[serde(default)]
    pub queue: usize,
}

/// A text message from the client in a session of `GET /labs/{lab}/nodes/{node}/exec`, after the first, which is a
/// [`netloom_engine::ExecRequest`]. Binary messages begin with [`STDIN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ExecControl {
    /// The terminal has a new size.
    Resize {
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// `{"terminate":true}`: end the command, TERM, then KILL.
    Terminate(bool),
}

/// A text message from the server in such a session; it is the last before the close. Binary messages begin with
/// [`STDOUT`] or [`STDERR`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecEnd {
    /// The command ended with this code.
    Exit(i32),
    /// The command was not started.
    Error(Problem),
}

/// First byte of a binary message to the command; nothing after it closes the standard input.
pub const STDIN: u8 = 0;
/// First byte of a binary message with standard output.
pub const STDOUT: u8 = 1;
/// First byte of a binary message with standard error.
pub const STDERR: u8 = 2;

/// Why a request was refused (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What kind of problem it is: `urn:netloom:problem:` and a word, see [`Problem::kind`].
    #[serde(rename = "type")]
    pub uri: String,
    /// The kind in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What went wrong here and what to do, for people; may have several lines.
    pub detail: String,
    /// The single reasons, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The operation that is in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// The generation that the lab has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// After how many seconds to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    const PREFIX: &str = "urn:netloom:problem:";

    /// A problem of a kind, with its status.
    pub fn new(status: u16, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            uri: format!("{}{kind}", Self::PREFIX),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            reasons: Vec::new(),
            operation: None,
            generation: None,
            retry_after: None,
        }
    }

    /// The word that a program decides by: `no-lab`, `in-progress`, `changed`, …
    pub fn kind(&self) -> &str {
        self.uri.strip_prefix(Self::PREFIX).unwrap_or(&self.uri)
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}
