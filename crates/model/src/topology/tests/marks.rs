//! The marks under a line are under what they mean, however long the line is and whatever is in it.

use proptest::prelude::*;

use super::*;

/// The part of a rendered line that the marks under it are under.
fn marked(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let at = lines.iter().position(|line| line.contains("| ") && line.contains('^')).unwrap();
    let [shown, marks] = [lines[at - 1], lines[at]].map(|line| line.split_once("| ").unwrap().1);
    let before = marks.chars().take_while(|c| *c == ' ').count();
    let length = marks.chars().filter(|c| *c == '^').count();
    shown.chars().skip(before).take(length).collect()
}

proptest! {
    #[test]
    fn marks_are_under_what_they_mean(before in "[aé😀]{0,300}", after in "[aé😀]{0,300}", mark in any::<bool>()) {
        let first = if mark { "\u{feff}" } else { "" };
        let text = format!("{first}{{ x: {before}, nmae: 1, y: {after}, name: t, topology: {{ nodes: {{ a: {{ kind: bridge }} }} }} }}");
        let found: Vec<Diagnostic> = diagnostics(&text).into_iter().filter(|d| d.path == "nmae").collect();
        prop_assert_eq!(found.len(), 1);
        let said = shown(text.as_bytes(), &found);
        prop_assert_eq!(marked(&said), "nmae", "{}", said);
        prop_assert!(said.lines().all(|line| line.chars().count() < 130), "{}", said);
    }
}

#[test]
fn a_file_that_is_one_line_is_shown_around_the_mark() {
    let nodes: Vec<String> = (0..500).map(|n| format!("n{n}: {{ kind: bridge }}")).collect();
    let text = file(&format!("{{ {}, x: {{ kind: linus }} }}", nodes.join(", ")), "[]");
    insta::assert_snapshot!(said(&text), @r#"
    lab.clab.yml:4:11913: error[unknown-kind]: there is no kind `linus`
       |
     4 | … n499: { kind: bridge }, x: { kind: linus } }
       |                                      ^^^^^
       = at: topology.nodes.x.kind
       = help: did you mean `linux`? `netloom kinds` lists all; a file in `/etc/netloom/kinds.d`, or in `kinds/` beside the topology, adds one

    lab.clab.yml: 1 error
    "#);
}
