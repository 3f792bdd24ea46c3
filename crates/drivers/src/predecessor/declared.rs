//! The links whose tunnels the agent before this one was told of, from the file that it kept for its own restarts.
//!
//! Nothing else names them: a tunnel is called by a hash. So whatever the file says beside is not believed: a name counts if the
//! hash of it is that of a tunnel which is there.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use netloom_engine::Context;
use netloom_model::{LabName, LinkId};
use serde_json::Value;

/// Its name.
const FILE: &str = "declared_overlay_state.json";
/// More than a thousand tunnels take, by far.
const MOST: u64 = 4 * 1024 * 1024;
/// As deep as nothing that anybody writes.
const DEPTH: usize = 16;

/// Reads it; nothing if it is not there, or is no such file: that tunnels are not known is said of each.
pub(super) async fn read(workspace: PathBuf, context: &Context) -> BTreeSet<(LabName, LinkId)> {
    let (answer, read) = tokio::sync::oneshot::channel();
    // A file of somebody else's, asked for once in the life of a host: not worth a thread that stays.
    let begun = std::thread::Builder::new().name("declared-tunnels".into()).spawn(move || {
        let _ = answer.send(load(&workspace.join(FILE)));
    });
    if begun.is_err() {
        return BTreeSet::new();
    }
    match tokio::time::timeout_at(context.deadline.into(), read).await {
        Ok(Ok(Ok(value))) => named_in(&value),
        Ok(Ok(Err(error))) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the tunnels that the agent before this one was told of cannot be read");
            BTreeSet::new()
        }
        _ => BTreeSet::new(),
    }
}

fn load(path: &Path) -> io::Result<Value> {
    let mut text = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Each pair of a lab and a link that stands anywhere in it.
fn named_in(value: &Value) -> BTreeSet<(LabName, LinkId)> {
    let mut found = BTreeSet::new();
    let mut open = vec![(value, 0)];
    while let Some((value, depth)) = open.pop() {
        if depth > DEPTH {
            continue;
        }
        match value {
            Value::Object(object) => {
                let text = |key: &str| object.get(key).and_then(Value::as_str);
                let lab = text("lab_id").and_then(|lab| lab.parse().ok());
                found.extend(lab.zip(text("link_id").map(LinkId::from_text)));
                open.extend(object.values().map(|value| (value, depth + 1)));
            }
            Value::Array(all) => open.extend(all.iter().map(|value| (value, depth + 1))),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_wherever_the_file_names_them() {
        let file = serde_json::json!({ "saved_at": 1, "tunnels": [
            { "link_id": "h1:eth1-r1:eth1", "lab_id": "lab", "vni": 7 },
            { "link_id": "h2:eth1-r1:eth2", "lab_id": "no name", "vni": 8 },
            { "lab_id": "lab" } ], "more": { "x": { "link_id": "a:eth1-b:eth1", "lab_id": "other" } } });
        let found: Vec<String> = named_in(&file).iter().map(|(lab, link)| format!("{lab} {link}")).collect();
        assert_eq!(found, ["lab h1:eth1-r1:eth1", "other a:eth1-b:eth1"]);
    }
}
