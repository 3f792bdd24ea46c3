//! What the same commands came to in one or all nodes, as one document when all have ended.

use futures::StreamExt;
use netloom_engine::{ExecRequest, LabView, NodeView};
use netloom_model::{LabName, NodeName};

use super::capture::{Captured, capture};
use super::everywhere::AT_ONCE;
use super::labelled::running;
use super::{end, first};
use crate::clab::{Executed, Executions, Stdout};
use crate::client::{Client, segment};
use crate::failure::Result;
use crate::output;

/// Where commands are run.
pub(super) struct At {
    /// The lab.
    pub(super) lab: LabName,
    /// One node of it; otherwise all that run.
    pub(super) node: Option<NodeName>,
    /// Of these, those that have all of them.
    pub(super) labels: Vec<String>,
}

/// Runs commands in one node, or in all that run. The exit code is that of the first node, by name, of which a command
/// failed; a node that could not run one has 125.
pub(super) async fn run(client: &Client, at: At, requests: &[ExecRequest]) -> Result {
    let At { lab, node, labels } = at;
    if let Some(node) = node {
        let mut all = Vec::new();
        for request in requests {
            all.push(executed(request, capture(client, &lab, &node, request).await?));
        }
        return show(&[(container(client, &lab, &node).await?, all)].into());
    }
    let nodes = running(client, &lab, &labels).await?;
    let each = nodes.iter().map(|node| in_one(client, &lab, node, requests));
    show(&futures::stream::iter(each).buffer_unordered(AT_ONCE).collect().await)
}

async fn in_one(client: &Client, lab: &LabName, node: &NodeView, requests: &[ExecRequest]) -> (String, Vec<Executed>) {
    let mut all = Vec::new();
    for request in requests {
        let captured = capture(client, lab, &node.name, request).await.unwrap_or_else(|failure| {
            let why = failure.text.unwrap_or_default();
            output::say(&format!("{}: {why}", node.name));
            Captured { code: 125, out: Vec::new(), err: why.into_bytes() }
        });
        all.push(executed(request, captured));
    }
    (node.container.clone(), all)
}

async fn container(client: &Client, lab: &LabName, node: &NodeName) -> Result<String> {
    let view: LabView = client.get(&format!("/labs/{}", segment(lab))).await?;
    let found = view.nodes.into_iter().find(|seen| seen.name == *node);
    Ok(found.map_or_else(|| node.to_string(), |node| node.container))
}

fn executed(request: &ExecRequest, Captured { code, out, err }: Captured) -> Executed {
    let stderr = String::from_utf8_lossy(&err).into_owned();
    Executed { cmd: request.argv.clone(), return_code: code, stdout: Stdout::of(&out), stderr }
}

/// Prints all of it, by container.
fn show(all: &Executions) -> Result {
    output::json(all)?;
    end(all.values().flatten().map(|executed| executed.return_code).fold(0, first))
}
