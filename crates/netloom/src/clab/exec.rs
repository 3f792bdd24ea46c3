//! What `containerlab exec --format json` prints: what each command came to, by the name of the container.

use std::collections::BTreeMap;

use serde::Serialize;

/// All of it; a list for each container, since there one call can run several commands.
pub(crate) type Executions = BTreeMap<String, Vec<Executed>>;

/// A command that was run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Executed {
    /// Its words.
    pub(crate) cmd: Vec<String>,
    /// Its exit code.
    pub(crate) return_code: i32,
    /// What it wrote; bytes that are no text are replaced.
    pub(crate) stdout: String,
    /// Likewise.
    pub(crate) stderr: String,
}
