//! The client and servers that play a script.

#![expect(clippy::unwrap_used, reason = "only tests use this")]

mod client;
mod locks;
mod outages;
mod server;

use netloom_ovsdb::{Row, Snapshot, Transaction};

/// The names in the table, in order of their rows.
fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.rows("T").map(|(_, row)| row.string("name").unwrap().to_owned()).collect()
}

fn change() -> Transaction {
    let mut change = Transaction::new();
    change.insert("T", Row::new().with("name", "new"));
    change
}
