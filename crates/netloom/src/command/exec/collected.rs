//! What the same command came to in one or all nodes, as one document when all have ended.

use futures::StreamExt;
use netloom_engine::{ExecRequest, LabView, NodeView};
use netloom_model::{LabName, NodeName};

use super::capture::{Captured, capture};
use super::end;
use super::everywhere::{AT_ONCE, running};
use crate::clab::{Executed, Executions};
use crate::client::{Client, segment};
use crate::failure::Result;
use crate::output;

/// Runs a command in one node, or in all that run. The exit code is that of the first node, by name, whose command
/// failed; a node that could not run it has 125.
pub(super) async fn run(client: &Client, lab: &LabName, only: Option<&NodeName>, request: &ExecRequest) -> Result {
    if let Some(node) = only {
        let captured = capture(client, lab, node, request).await?;
        let container = container(client, lab, node).await?;
        let code = captured.code;
        show([(container, captured)], request)?;
        return end(code);
    }
    let nodes = running(client, lab).await?;
    let each = nodes.iter().map(|node| in_one(client, lab, node, request));
    let mut all: Vec<(&NodeView, Captured)> = futures::stream::iter(each).buffer_unordered(AT_ONCE).collect().await;
    all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
    let code = all.iter().map(|(_, captured)| captured.code).find(|code| *code != 0).unwrap_or(0);
    show(all.into_iter().map(|(node, captured)| (node.container.clone(), captured)), request)?;
    end(code)
}

async fn in_one<'n>(
    client: &Client,
    lab: &LabName,
    node: &'n NodeView,
    request: &ExecRequest,
) -> (&'n NodeView, Captured) {
    let captured = capture(client, lab, &node.name, request).await.unwrap_or_else(|failure| {
        let why = failure.text.unwrap_or_default();
        output::say(&format!("{}: {why}", node.name));
        Captured { code: 125, out: Vec::new(), err: why.into_bytes() }
    });
    (node, captured)
}

async fn container(client: &Client, lab: &LabName, node: &NodeName) -> Result<String> {
    let view: LabView = client.get(&format!("/labs/{}", segment(lab))).await?;
    let found = view.nodes.into_iter().find(|seen| seen.name == *node);
    Ok(found.map_or_else(|| node.to_string(), |node| node.container))
}

fn show(all: impl IntoIterator<Item = (String, Captured)>, request: &ExecRequest) -> Result {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entry = |(container, Captured { code, out, err }): (String, Captured)| {
        let (stdout, stderr) = (text(&out), text(&err));
        (container, vec![Executed { cmd: request.argv.clone(), return_code: code, stdout, stderr }])
    };
    output::json(&all.into_iter().map(entry).collect::<Executions>())
}
