//! Values of the wire as text for people.

mod doctor;
mod events;
mod images;
mod kinds;
mod leftovers;
mod operation;
mod progress;
mod rates;
mod saved;
mod status;
mod tables;
mod takeover;

pub(crate) use doctor::findings;
pub(crate) use events::event;
pub(crate) use images::{images, removed};
pub(crate) use kinds::kinds;
pub(crate) use leftovers::leftovers;
pub(crate) use operation::{operation, operations, state};
pub(crate) use progress::{Display, Known, Progress, Verbosity};
pub(crate) use rates::{all_rates, rates};
pub(crate) use saved::saved;
pub(crate) use status::status;
pub(crate) use tables::{lab, labs, stopped};
pub(crate) use takeover::takeover;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};

/// An empty table with headings, two spaces between its columns.
fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(headings.to_vec());
    table
}

/// A table as text, without blanks at the ends of lines.
fn text(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}
