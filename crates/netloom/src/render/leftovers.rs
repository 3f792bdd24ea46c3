//! What labs have left behind, as a table.

use std::fmt::Write;

use netloom_engine::LeftoversView;

use super::{count, table, text};

/// What is left, why it counts as that, and what was not judged.
pub(crate) fn leftovers(view: &LeftoversView) -> String {
    let mut out = String::new();
    if view.leftovers.is_empty() {
        out.push_str("nothing is left behind\n");
    } else {
        let mut rows = table(&["WHAT", "WHERE", "LAB", "WHY"]);
        for left in &view.leftovers {
            let lab = left.lab.as_ref().map(ToString::to_string).unwrap_or_default();
            rows.add_row([left.kind.clone(), left.at.clone(), lab, left.why.clone()]);
        }
        out.push_str(&text(rows));
    }
    let mut labs: Vec<&str> = view
        .leftovers
        .iter()
        .filter(|left| left.kind == "node")
        .filter_map(|left| Some(left.lab.as_ref()?.as_str()))
        .collect();
    labs.dedup();
    for lab in labs {
        let _ = writeln!(out, "note: lab {lab} is unknown to the agent; `netloom adopt {lab}` takes it back instead");
    }
    if view.young > 0 {
        let (are, their) = if view.young == 1 { ("is", "its lab") } else { ("are", "their labs") };
        let more = count(view.young, "more thing");
        let _ = writeln!(
            out,
            "note: {more} {are} too young to count, or something was just done with {their}; `--grace 0s` looks at no age"
        );
    }
    if !view.silent.is_empty() {
        let silent = view.silent.join(", ");
        let _ = writeln!(out, "note: no answer from {silent}: what only they know of is not judged (`netloom status`)");
    }
    out
}

#[cfg(test)]
mod tests {
    use netloom_engine::LeftoverView;

    use super::*;

    #[test]
    fn what_is_left_is_shown_with_where_it_is_and_what_else_can_be_done() {
        let left = |kind: &str, at: &str, lab: Option<&str>, why: &str| LeftoverView {
            kind: kind.into(),
            lab: lab.map(|lab| lab.parse().unwrap()),
            node: None,
            at: at.into(),
            why: why.into(),
            changed: None,
        };
        let view = LeftoversView {
            leftovers: vec![
                left("node", "x/r1", Some("x"), "nobody wants its lab, and nothing of that runs"),
                left("bridge", "br-x", None, "no lab wants it"),
            ],
            young: 2,
            silent: vec!["docker".into()],
            seconds: 0.001,
        };
        insta::assert_snapshot!(leftovers(&view), @r"
        WHAT    WHERE  LAB  WHY
        node    x/r1   x    nobody wants its lab, and nothing of that runs
        bridge  br-x        no lab wants it
        note: lab x is unknown to the agent; `netloom adopt x` takes it back instead
        note: 2 more things are too young to count, or something was just done with their labs; `--grace 0s` looks at no age
        note: no answer from docker: what only they know of is not judged (`netloom status`)
        ");
        let nothing = LeftoversView { leftovers: Vec::new(), young: 0, silent: Vec::new(), seconds: 0.0 };
        assert_eq!(leftovers(&nothing), "nothing is left behind\n");
    }
}
