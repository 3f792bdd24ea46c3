//! What the documentation shows about templates is what comes of it.

use super::templates::Case;

const PAGE: &str = include_str!("../../../../../docs/topology/templates.md");

/// The code blocks of a page: what stands behind the language, and the text.
fn blocks(page: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        found.push((info.split_once(' ').map_or("", |(_, name)| name), text.join("\n") + "\n"));
    }
    found
}

#[test]
fn the_examples_of_the_page_render_to_what_stands_there() {
    let mut case = Case::new("");
    let mut rendered = 0;
    for (name, text) in blocks(PAGE) {
        case = match name {
            "lab.clab.yml" => {
                case.text = text;
                case
            }
            "lab.clab_vars.yml" => case.data(&text),
            "environment" => text.lines().fold(case, |case, line| {
                let (name, value) = line.split_once('=').unwrap();
                case.set(name, value)
            }),
            "rendered" => {
                rendered += 1;
                assert_eq!(case.text(), text);
                assert!(!case.lab().nodes().is_empty());
                Case::new("")
            }
            name => case.file(name.strip_prefix("clab_templates/").unwrap(), text.trim_end()),
        };
    }
    assert!(rendered >= 5, "{rendered}");
}

#[test]
fn the_page_names_every_function() {
    for name in netloom_template::function_names() {
        let (family, short) = name.rsplit_once('.').map_or(("", name), |(family, short)| (family, short));
        assert!(PAGE.contains(&format!("`{family}.`")) || family.is_empty(), "{name}");
        let alias = short.strip_prefix("Cidr").map(|rest| format!("CIDR{rest}"));
        let shown = alias.as_deref().unwrap_or(short);
        assert!(PAGE.contains(&format!("`{shown}`")) || PAGE.contains(&format!("`{shown} ")), "{name}");
    }
}
