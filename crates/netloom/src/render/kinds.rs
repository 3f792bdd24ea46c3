//! Kinds as text.

use netloom_model::Kind;
use netloom_model::topology::KindSpec;

use super::{table, text};

/// Kinds, one line each.
pub(crate) fn kinds<'k>(kinds: impl Iterator<Item = &'k KindSpec>) -> String {
    let mut table = table(&["KIND", "ALSO", "WHAT"]);
    for kind in kinds {
        let aliases: Vec<&str> = kind.aliases.iter().map(Kind::as_str).collect();
        table.add_row(vec![kind.name.to_string(), aliases.join(", "), kind.about().to_owned()]);
    }
    text(table)
}
