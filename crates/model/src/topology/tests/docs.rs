//! The examples of the documentation are topologies without a mistake, and its tables are complete.

use super::*;

const PAGES: [(&str, &str); 6] = [
    ("topology.md", include_str!("../../../../../docs/topology.md")),
    ("nodes.md", include_str!("../../../../../docs/topology/nodes.md")),
    ("links.md", include_str!("../../../../../docs/topology/links.md")),
    ("stages.md", include_str!("../../../../../docs/topology/stages.md")),
    ("kinds.md", include_str!("../../../../../docs/topology/kinds.md")),
    ("management.md", include_str!("../../../../../docs/topology/management.md")),
];

/// The blocks of a page that are marked as whole topologies.
fn topologies(page: &str) -> Vec<&str> {
    let blocks = page.split("```yaml topology\n").skip(1);
    blocks.map(|rest| rest.split_once("```").map_or(rest, |(block, _)| block)).collect()
}

#[test]
fn examples_of_the_documentation_are_read_without_an_error() {
    let mut count = 0;
    for (name, page) in PAGES {
        for text in topologies(page) {
            count += 1;
            let outcome = read_bytes(text.as_bytes());
            assert!(outcome.lab.is_some(), "{name}:\n{}", shown(text.as_bytes(), &outcome.diagnostics));
            // What is written back is the same lab, placeholders and all.
            let lab = outcome.lab.unwrap();
            assert_eq!(super::lab(&crate::topology::write(&lab, None)), lab, "{name}");
        }
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn the_page_of_nodes_has_a_line_for_each_field() {
    let (_, page) = PAGES[1];
    let missing: Vec<&str> =
        super::super::node::field_names().filter(|field| !page.contains(&format!("`{field}`"))).collect();
    // Old names are on the page of the network; `config` only holds `vars`.
    assert_eq!(missing, ["mgmt_ipv4", "mgmt_ipv6", "config"]);
}
