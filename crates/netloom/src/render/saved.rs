//! What became of nodes whose configuration was to be saved.

use super::{table, text};
use crate::command::{Outcome, Saved};

/// A line for each.
pub(crate) fn saved(all: &[Saved]) -> String {
    let mut table = table(&["NODE", "RESULT", ""]);
    for Saved { node, outcome } in all {
        let (word, detail) = match outcome {
            Outcome::Saved { file } => ("saved", file.display().to_string()),
            Outcome::WouldSave { file } => ("would be saved", file.display().to_string()),
            Outcome::Skipped { why } => ("skipped", why.clone()),
            Outcome::Failed { why } => ("failed", why.clone()),
        };
        table.add_row(vec![node.to_string(), word.to_owned(), detail]);
    }
    text(table)
}
