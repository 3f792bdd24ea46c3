//! What a database server may say.

use std::collections::BTreeMap;

use netloom_ovsdb::{FrameError, Replica, Scanner, Schema, Updates};
use serde_json::{Value, json};

/// A stream of messages: what is found does not hang on the pieces in which it comes, and is what was there.
///
/// The first byte says how long the pieces are.
pub fn frames(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else { return };
    let piece = usize::from(*first).max(1);
    let (whole, ended) = scanned(std::iter::once(stream));
    assert_eq!(scanned(stream.chunks(piece)), (whole.clone(), ended), "it hangs on the pieces");
    let mut rest = stream;
    for message in &whole {
        rest = rest.trim_ascii_start().strip_prefix(message.as_slice()).expect("a message that is not in the stream");
        assert!(message.starts_with(b"{"), "a message that does not begin as one");
    }
    let message = rest.trim_ascii_start();
    if ended.is_none() {
        assert!(serde_json::from_slice::<Value>(message).is_err(), "a message that was not found");
    }
}

/// All messages, and what ended the stream.
fn scanned<'p>(pieces: impl Iterator<Item = &'p [u8]>) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let mut scanner = Scanner::new(1 << 16);
    let mut messages = Vec::new();
    for piece in pieces {
        scanner.space().extend_from_slice(piece);
        loop {
            match scanner.take() {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

/// Updates, one behind the other: each is taken whole or not at all, and what comes of all is what a server would tell of it
/// at once.
pub fn updates(bytes: &[u8]) {
    let mut replica = replica();
    for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
        let Ok(value) = value else { break };
        let Ok(updates) = Updates::try_from(value) else { continue };
        let before = replica.tables().clone();
        match replica.apply(updates) {
            Ok(changes) => {
                let mut tables = before;
                for change in changes {
                    let rows = tables.get_mut(&change.table).expect("a table that is mirrored");
                    assert_ne!(change.before, change.after, "a change that changes nothing");
                    let old = match change.after {
                        Some(row) => rows.insert(change.uuid, row),
                        None => rows.remove(&change.uuid),
                    };
                    assert_eq!(old, change.before, "a change of what was not there");
                }
                assert_eq!(&tables, replica.tables(), "changes that do not lead where it is");
            }
            Err(_) => assert_eq!(&before, replica.tables(), "half an update"),
        }
    }
    let told = replica.tables().iter().map(|(table, rows)| {
        let rows: BTreeMap<String, Value> =
            rows.iter().map(|(uuid, row)| (uuid.to_string(), json!({"initial": **row}))).collect();
        (table.to_string(), json!(rows))
    });
    let told = Updates::try_from(told.collect::<Value>()).expect("what was read can be written");
    assert_eq!(replica.reset(told), Ok(Vec::new()), "told at once it is something else");
}

fn replica() -> Replica {
    let schema = json!({"name": "D", "tables": {"T": {"columns": {
        "name": {"type": "string"},
        "up": {"type": "boolean"},
        "tag": {"type": {"key": "integer", "min": 0, "max": 1}},
        "ports": {"type": {"key": {"type": "uuid"}, "min": 0, "max": "unlimited"}},
        "trunks": {"type": {"key": "integer", "min": 0, "max": 4096}},
        "ids": {"type": {"key": "string", "value": "string", "min": 0, "max": "unlimited"}},
    }}, "U": {"columns": {"n": {"type": "integer"}}}}});
    let schema = Schema::try_from(schema).expect("a schema");
    let columns = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let wanted = BTreeMap::from([
        ("T".to_owned(), columns(&["name", "up", "tag", "ports", "trunks", "ids"])),
        ("U".to_owned(), columns(&["n"])),
    ]);
    Replica::new(schema.types(&wanted).expect("columns of the schema"))
}
