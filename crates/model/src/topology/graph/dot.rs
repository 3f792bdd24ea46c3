//! Graphviz's language (graphviz.org, "DOT Language").

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Graph, GraphNode, Shape};

pub(super) fn write(graph: &Graph) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "graph {} {{", quoted(&graph.name));
    // `newrank`: rows go across groups.
    let _ = writeln!(out, "  graph [label={}, labelloc=t, newrank=true, fontname=\"sans-serif\"]", label(&graph.name));
    out.push_str("  node [fontname=\"sans-serif\"]\n  edge [fontname=\"sans-serif\", fontsize=9]\n");
    for (number, (group, nodes)) in graph.by_group().into_iter().enumerate() {
        let indent = if let Some(group) = group {
            let _ = writeln!(out, "  subgraph \"cluster_{number}\" {{\n    label={}", label(group));
            "    "
        } else {
            "  "
        };
        for node in nodes {
            let _ = writeln!(out, "{indent}{} [{}]", quoted(&node.name), attributes(node));
        }
        if group.is_some() {
            out.push_str("  }\n");
        }
    }
    write_rows(&mut out, graph);
    for (number, ends) in graph.drawn_links().enumerate() {
        match ends.as_slice() {
            [a, b] => {
                let (tail, head) = (label(&a.interface), label(&b.interface));
                let (a, b) = (quoted(&a.node), quoted(&b.node));
                let _ = writeln!(out, "  {a} -- {b} [taillabel={tail}, headlabel={head}]");
            }
            // A link that ends in itself: a dot at its end.
            [a] => {
                let (a, tail) = (quoted(&a.node), label(&a.interface));
                let _ = writeln!(out, "  \"end:{number}\" [shape=point]\n  {a} -- \"end:{number}\" [taillabel={tail}]");
            }
            _ => {}
        }
    }
    out.push_str("}\n");
    out
}

fn attributes(node: &GraphNode) -> String {
    let shape = match node.shape {
        Shape::Node => "shape=box, style=rounded",
        Shape::Bridge => "shape=hexagon",
        Shape::Host => "shape=box3d",
        Shape::Remote => "shape=ellipse, style=dashed",
    };
    let text = match node.shape {
        Shape::Node if node.kind != "linux" => format!("{}\\n{}", escaped(&node.name), escaped(&node.kind)),
        _ => escaped(&node.name),
    };
    let icon = node.icon.as_deref().map(|icon| format!(", class={}", quoted(icon))).unwrap_or_default();
    format!("label=\"{text}\", {shape}{icon}")
}

/// Nodes of one level in one row, and the rows in their order.
fn write_rows(out: &mut String, graph: &Graph) {
    let mut rows: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for node in graph.nodes.iter().filter(|node| !node.hidden) {
        if let Some(level) = node.level {
            rows.entry(level).or_default().push(quoted(&node.name));
        }
    }
    for names in rows.values() {
        let _ = writeln!(out, "  {{ rank=same; {} }}", names.join("; "));
    }
    let first: Vec<&str> = rows.values().filter_map(|names| names.first().map(String::as_str)).collect();
    if first.len() > 1 {
        let _ = writeln!(out, "  {} [style=invis]", first.join(" -- "));
    }
}

/// An id: between double quotes only `"` and `\` mean something.
fn quoted(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A text that is drawn: HTML entities are read in it too.
fn label(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn escaped(text: &str) -> String {
    let quoted = quoted(&text.replace('&', "&amp;"));
    quoted[1..quoted.len() - 1].to_owned()
}
