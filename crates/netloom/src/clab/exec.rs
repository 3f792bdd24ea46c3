//! What `containerlab exec --format json` prints: what each command came to, by the name of the container.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

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
    /// What it wrote.
    pub(crate) stdout: Stdout,
    /// Likewise; bytes that are no text are replaced.
    pub(crate) stderr: String,
}

/// Standard output of a command: a document of JSON is part of the whole, as there, so that one program reads both.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Stdout {
    /// An object or a list.
    Document(Value),
    /// Anything else; bytes that are no text are replaced.
    Text(String),
}

impl Stdout {
    /// What a command wrote.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match serde_json::from_slice(bytes) {
            Ok(document @ (Value::Object(_) | Value::Array(_))) => Self::Document(document),
            _ => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn documents_are_part_of_the_document_and_all_else_is_text() {
        assert_eq!(json!(Stdout::of(b"{\"a\": [1]}\n")), json!({ "a": [1] }));
        for text in ["3\n", "true", "\"x\"", "{", "", "a\nb"] {
            assert_eq!(json!(Stdout::of(text.as_bytes())), json!(text));
        }
    }
}
