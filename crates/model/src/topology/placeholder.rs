//! `__clabDir__` and its like: names that stand for places and names of the lab.
//!
//! The lab directory is `clab-<lab>` beside the topology file, that of a node is below it under the node's name.

use std::path::Path as StdPath;

use super::WRITTEN_BY_DEPLOY;
use super::diagnostic::{Code, Path};
use super::reader::{At, Cx};
use crate::name::NodeName;

const LAB_DIR: &str = "__clabDir__";
const NODE_DIR: &str = "__clabNodeDir__";
const LAB_NAME: &str = "__clabLabName__";
const NODE_NAME: &str = "__clabNodeName__";

/// Whether a text holds a placeholder.
pub(super) fn has_placeholder(text: &str) -> bool {
    text.contains("__clab") && [LAB_DIR, NODE_DIR, LAB_NAME, NODE_NAME].iter().any(|name| text.contains(name))
}

/// Whether a path is in the lab's directory. What is there may be made by the deploy, so nobody has to have it before.
pub(super) fn in_lab_directory(path: &str, cx: &Cx<'_>) -> bool {
    cx.lab.as_ref().is_some_and(|lab| StdPath::new(path).starts_with(cx.input.directory.join(format!("clab-{lab}"))))
}

/// Whether a path is that of a file which each deploy writes, and lays out before it makes nodes.
pub(super) fn is_written_by_deploy(path: &str, cx: &Cx<'_>) -> bool {
    let directory = cx.lab.as_ref().map(|lab| cx.input.directory.join(format!("clab-{lab}")));
    directory.is_some_and(|directory| WRITTEN_BY_DEPLOY.iter().any(|name| StdPath::new(path) == directory.join(name)))
}

/// The text with everything that stands in it for something else replaced, for one node. Says it if the lab's name is
/// needed and not known: fields of a node are then read without a lab around them.
pub(super) fn fill(text: At<&str>, node: &NodeName, at: &Path<'_>, cx: &mut Cx<'_>) -> Option<String> {
    let At { value: text, span } = text;
    if !has_placeholder(text) {
        return Some(text.to_owned());
    }
    let text = text.replace(NODE_NAME, node.as_str());
    if !has_placeholder(&text) {
        return Some(text);
    }
    let Some(lab) = cx.lab.as_ref() else {
        let message = "a placeholder for the lab needs the lab's name, which is not known here";
        cx.report.error(Code::Unsupported, span, at, message).help("write the path or the name itself");
        return None;
    };
    let directory = cx.input.directory.join(format!("clab-{lab}"));
    let directory = directory.to_string_lossy();
    let filled = text
        .replace(NODE_DIR, &format!("{directory}/{node}"))
        .replace(LAB_DIR, &directory)
        .replace(LAB_NAME, lab.as_str());
    Some(filled)
}
