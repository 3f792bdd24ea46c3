//! Whether what runs in a node has said that it is ready: its output is followed from the first question on, so that no question
//! waits for it.
//!
//! ```text
//!   GET …/ready ──▶ Seen ◀── task `readiness` ◀── logs of the node (one session for each node that boots)
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use netloom_engine::{Follow, task};
use netloom_model::{LabName, NodeName};
use regex_lite::RegexBuilder;
use tokio::time::timeout;

use crate::serve::App;

/// How long a node's output is followed; a controller has given it up by then.
const FOLLOWED: Duration = Duration::from_secs(900);
/// How much of its output is looked at together, in bytes: 500 lines.
const WINDOW: usize = 64 * 1024;
/// How many nodes are remembered.
const REMEMBERED: usize = 4096;

/// A life of a node, with the pattern that is looked for.
type Key = (LabName, NodeName, String, String);

/// What came of following a node: nothing yet, that it is ready, or that it ended without a word of it.
type Found = Arc<Mutex<Option<bool>>>;

/// What was seen of nodes.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<BTreeMap<Key, Found>>);

/// Whether a node that runs has written what says that it is ready. `Err` if nothing can say so.
pub(super) fn look(app: &Arc<App>, lab: &LabName, node: &NodeName, pattern: &str) -> Result<bool, String> {
    let regex = RegexBuilder::new(pattern).case_insensitive(true).build();
    let regex = regex.map_err(|error| format!("the pattern of its readiness cannot be read: {error}"))?;
    let snapshot = app.engine.inventory().snapshot();
    let life = snapshot.node(lab, node).and_then(|fact| fact.incarnation.clone()).unwrap_or_default();
    let key = (lab.clone(), node.clone(), life, pattern.to_owned());
    let mut seen = app.readiness.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(state) = seen.get(&key) {
        let state = *state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(is_ready) = state {
            if !is_ready {
                // It was followed to the end without a word: it is looked at anew.
                seen.remove(&key);
            }
            return Ok(is_ready);
        }
        return Ok(false);
    }
    while seen.len() >= REMEMBERED {
        seen.pop_first();
    }
    let state = Arc::new(Mutex::new(None));
    seen.insert(key, state.clone());
    drop(seen);
    let (app, lab, node) = (app.clone(), lab.clone(), node.clone());
    task::spawn("readiness", async move {
        let found = timeout(FOLLOWED, follow(&app, &lab, &node, &regex)).await.unwrap_or(false);
        *state.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    });
    Ok(false)
}

async fn follow(app: &App, lab: &LabName, node: &NodeName, regex: &regex_lite::Regex) -> bool {
    let Ok((mut logs, _place)) = app.engine.logs(lab, node, Follow::Yes).await else { return false };
    let mut window = Vec::new();
    loop {
        let chunk = tokio::select! {
            chunk = logs.chunks.recv() => chunk,
            () = app.stop.cancelled() => None,
        };
        let Some(chunk) = chunk else { return false };
        window.extend_from_slice(&chunk);
        if regex.is_match(&String::from_utf8_lossy(&window)) {
            return true;
        }
        let old = window.len().saturating_sub(WINDOW);
        window.drain(..old);
    }
}
