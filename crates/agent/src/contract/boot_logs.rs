//! The last lines that each node of a lab has written, for whoever looks into what went wrong with it.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use futures::StreamExt as _;
use netloom_engine::{Engine, Follow};
use netloom_model::{LabName, NodeName};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::answer::{Answer, done};
use super::carry_out::wish;
use super::fields::lab;
use crate::routes::Shared;

/// How many lines of a node are shown.
const LINES: u16 = 200;
/// How much of a node is read for them, in bytes.
const BYTES: usize = 256 * 1024;
/// How long one node is waited for.
const ONE: Duration = Duration::from_secs(10);
/// How long all of a lab are, of the 15 s that a controller waits.
const ALL: Duration = Duration::from_secs(12);
/// How many nodes are read at once.
const AT_ONCE: usize = 8;

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/labs/{lab}/boot-logs", get(boot_logs))
}

async fn boot_logs(State(app): State<Shared>, Path(lab_id): Path<String>) -> Answer {
    let lab_id = lab(&lab_id)?;
    let nodes = wish(&app, &lab_id).map(|wish| wish.lab.nodes().keys().cloned().collect()).unwrap_or_default();
    let logs = lines_of(&app.engine, &lab_id, nodes).await;
    Ok(done(&json!({ "lab_id": lab_id, "boot_logs": logs })))
}

/// The last lines of these nodes; none of one that has none in time.
async fn lines_of(engine: &Engine, lab: &LabName, nodes: Vec<NodeName>) -> BTreeMap<NodeName, Option<String>> {
    let by = Instant::now() + ALL;
    let asked = nodes.into_iter().map(|node| named(engine, lab, node, by));
    futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect().await
}

async fn named(engine: &Engine, lab: &LabName, node: NodeName, by: Instant) -> (NodeName, Option<String>) {
    // Of a large lab the time may be over before the last ones have their turn.
    if Instant::now() >= by {
        return (node, None);
    }
    let lines = timeout_at(by.min(Instant::now() + ONE), last_lines(engine, lab, &node)).await;
    (node, lines.ok().flatten())
}

async fn last_lines(engine: &Engine, lab: &LabName, node: &NodeName) -> Option<String> {
    let (mut logs, _place) = engine.logs(lab, node, Follow::Last(LINES)).await.ok()?;
    let mut text: Vec<u8> = Vec::new();
    while let Some(chunk) = logs.chunks.recv().await {
        text.extend_from_slice(&chunk);
        let old = text.len().saturating_sub(BYTES);
        text.drain(..old);
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    Some(lines[lines.len().saturating_sub(LINES.into())..].join("\n"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use netloom_engine::testing::{FakeStore, Sketch, Trouble, World};
    use netloom_engine::{Controlled, ControlledNode, Layout, channel};
    use netloom_model::Mtu;

    use super::super::carry_out::{Late, carry_out_on};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nodes_that_are_slow_are_shown_and_those_that_hang_keep_nobody_waiting() {
        let root = tempfile::tempdir().unwrap();
        let (reporter, inventory, writer) = channel();
        let (world, store) = (World::new(reporter), FakeStore::default());
        let parts = world.parts(Layout::new(root.path()).unwrap(), &store, inventory, writer);
        let engine = Engine::start(parts).await.unwrap();
        let mut changes = engine.inventory().changes();
        changes.wait_for(|_| engine.inventory().snapshot().is_complete(engine.sources())).await.unwrap();
        let names: Vec<String> = (10..30).map(|number| format!("r{number}")).collect();
        let says: Vec<String> = (0..500).map(|number| format!("echo line {number}")).collect();
        let script = format!("{}; sleep 9", says.join("; "));
        let lab = names.iter().fold(Sketch::new("lab"), |lab, name| lab.node(name).runs(name, &["sh", "-c", &script]));
        let lab = lab.lab();
        let node = |(name, node): (&NodeName, &netloom_model::Node)| {
            let (interfaces, mtu) = (BTreeSet::new(), Mtu::try_from(9000).unwrap());
            ControlledNode { name: name.clone(), node: node.clone(), interfaces, mtu, keep: false }
        };
        let edit = Controlled::Run(lab.nodes().iter().map(node).collect());
        carry_out_on(&engine, lab.name(), edit, Duration::from_secs(60), Late::Ends).await.unwrap();

        world.trouble("logs lab/r10", .., Trouble::Slow(Duration::from_secs(9)));
        for hangs in &names[1..8] {
            world.trouble(&format!("logs lab/{hangs}"), .., Trouble::Hangs);
        }
        let all = async || lines_of(&engine, lab.name(), lab.nodes().keys().cloned().collect()).await;
        let (began, seen) = (Instant::now(), all().await);
        assert!(began.elapsed() <= ALL, "{:?}", began.elapsed());
        assert_eq!(seen.len(), 20);
        let hung: Vec<&str> = seen.iter().filter(|(_, lines)| lines.is_none()).map(|(node, _)| node.as_str()).collect();
        assert_eq!(hung, &names[1..8]);
        for lines in seen.values().flatten() {
            assert_eq!((lines.lines().count(), lines.lines().next()), (200, Some("line 300")));
        }
        world.trouble("logs *", .., Trouble::Hangs);
        let (began, seen) = (Instant::now(), all().await);
        assert_eq!((began.elapsed(), seen.len(), seen.values().flatten().count()), (ALL, 20, 0));
    }
}
