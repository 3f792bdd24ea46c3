//! Mermaid's language of flowcharts (mermaid.js.org, "Flowcharts").

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Graph, GraphNode, Shape};

pub(super) fn write(graph: &Graph) -> String {
    let mut out = String::from("flowchart TD\n");
    // Ids of our own: words such as `end` may be names of nodes, and end the drawing.
    let mut ids: BTreeMap<&str, String> = BTreeMap::new();
    for (number, (group, nodes)) in graph.by_group().into_iter().enumerate() {
        let indent = if let Some(group) = group {
            let _ = writeln!(out, "  subgraph g{number}[\"{}\"]", escaped(group));
            "    "
        } else {
            "  "
        };
        // Mermaid has no rows; what is written first stands first.
        let mut nodes = nodes;
        nodes.sort_by_key(|node| (node.level.unwrap_or(i32::MAX), &node.name));
        for node in nodes {
            let id = format!("n{}", ids.len());
            let _ = writeln!(out, "{indent}{id}{}", shape(node));
            ids.insert(&node.name, id);
        }
        if group.is_some() {
            out.push_str("  end\n");
        }
    }
    for (number, ends) in graph.drawn_links().enumerate() {
        let drawn: Vec<(&String, String)> =
            ends.iter().filter_map(|end| Some((ids.get(end.node.as_str())?, escaped(&end.interface)))).collect();
        let _ = match drawn.as_slice() {
            [(a, x), (b, y)] => writeln!(out, "  {a} ---|\"{x} - {y}\"| {b}"),
            // A link that ends in itself: a dot at its end.
            [(a, x)] => writeln!(out, "  {a} ---|\"{x}\"| e{number}(( ))"),
            _ => Ok(()),
        };
    }
    out
}

fn shape(node: &GraphNode) -> String {
    let name = escaped(&node.name);
    match node.shape {
        Shape::Node if node.kind != "linux" => format!("(\"{name}<br/>{}\")", escaped(&node.kind)),
        Shape::Node => format!("(\"{name}\")"),
        Shape::Bridge => format!("{{{{\"{name}\"}}}}"),
        Shape::Host => format!("[[\"{name}\"]]"),
        Shape::Remote => format!("([\"{name}\"])"),
    }
}

/// A text between double quotes. Entities are written `#code;`; tags, Markdown and entities of the text are taken apart.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '&' | '<' | '>' | '`' | '*' | '_' | '\\' | ';' | '|' => {
                let _ = write!(out, "#{};", u32::from(c));
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
