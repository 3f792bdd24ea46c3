//! Laws that hold for any input.

use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::prelude::*;

use super::*;

/// Maps of two keys, to be put at each level.
fn maps() -> impl Strategy<Value = Vec<BTreeMap<String, u8>>> {
    prop::collection::vec(prop::collection::btree_map("[abc]", 0_u8..3, 0..3), 4)
}

fn text_of(levels: &[BTreeMap<String, u8>], field: &str) -> String {
    let written: Vec<String> = levels.iter().map(|map| format!("{{ {field}: {map:?} }}").replace('"', "")).collect();
    format!(
        "name: t\ntopology:\n  defaults: {}\n  kinds: {{ linux: {} }}\n  groups: {{ g: {} }}\n  nodes: {{ n: {} }}\n",
        written[0].replacen("{ ", "{ kind: linux, runtime: namespace, group: g, ", 1),
        written[1],
        written[2],
        written[3],
    )
}

/// A lab as a person could write it: a ring with chords.
fn ring() -> impl Strategy<Value = String> {
    (1_usize..12, prop::collection::vec((0_usize..12, 0_usize..12), 0..12)).prop_map(|(nodes, chords)| {
        let mut text = "name: ring\ntopology:\n  defaults: { kind: linux, runtime: namespace }\n  nodes:\n".to_owned();
        for n in 0..nodes {
            let _ = writeln!(text, "    r{n}:");
        }
        text += "  links:\n";
        for (index, (a, b)) in chords.into_iter().enumerate() {
            let (a, b) = (a % nodes, b % nodes);
            let _ = writeln!(text, "    - endpoints: [\"r{a}:a{index}\", \"r{b}:b{index}\"]");
        }
        text
    })
}

/// A place, how many characters go, and what comes instead.
fn mutation() -> impl Strategy<Value = (usize, usize, &'static str)> {
    let put = prop::sample::select(vec![
        "",
        "\t",
        ": ",
        "- ",
        "{",
        "]",
        "\"",
        "&a ",
        "*a",
        "*d",
        "<<: ",
        "<<: *d",
        "~",
        "\n",
        "\n  ",
        "\n---\n",
        "é",
        "!!x ",
        "|\n",
        "? ",
        "%",
        "$X",
        "\u{feff}",
        "\r",
        "-1",
        "[[[",
        ", ",
        "a:eth1",
        "kind: ",
        "endpoint: ",
        "host",
        "'",
    ]);
    (0_usize..2000, 0_usize..30, put)
}

use super::fields::FULL;

const SAMPLE: &str = include_str!("sample.clab.yml");

#[test]
fn an_exported_sample_is_the_same_lab_and_keeps_its_paths() {
    for sample in [SAMPLE, FULL].map(lab) {
        for directory in [None, Some(Path::new("/labs")), Some(Path::new("/labs/other"))] {
            let text = crate::topology::write(&sample, directory);
            assert_eq!(lab(&text.replace(": ./", ": /labs/")), sample, "{text}");
        }
        let json = serde_json::to_string(&sample).unwrap();
        assert_eq!(serde_json::from_str::<Lab>(&json).unwrap(), sample);
    }
}

#[test]
fn the_text_that_is_mutated_is_a_lab() {
    assert_eq!(lab(SAMPLE).links().len(), 4);
}

proptest! {
    #[test]
    fn the_closest_level_that_has_a_key_wins(levels in maps()) {
        for field in ["env", "labels"] {
            let lab = lab(&text_of(&levels, field));
            let wanted: BTreeMap<String, String> =
                levels.iter().flatten().map(|(key, value)| (key.clone(), value.to_string())).collect();
            let n = node(&lab, "n");
            prop_assert_eq!(if field == "env" { &n.env } else { &n.labels }, &wanted);
        }
    }

    #[test]
    fn a_lab_survives_json(text in ring()) {
        let lab = lab(&text);
        let json = serde_json::to_string(&lab).unwrap();
        prop_assert_eq!(serde_json::from_str::<Lab>(&json).unwrap(), lab);
    }

    #[test]
    fn a_lab_that_is_written_reads_as_the_same_lab(text in ring(), words in prop::collection::vec("\\PC{0,12}", 1..4)) {
        let mut parts = lab(&text).into_parts();
        let node = parts.nodes.values_mut().next().unwrap();
        node.cmd.clone_from(&words);
        node.exec = vec![words.clone(), vec!["{{{".to_owned(), "\t\r\n'\"".to_owned(), "$A ${B:-c} $$".to_owned()]];
        node.env = BTreeMap::from([("null".to_owned(), words.concat()), ("A b".to_owned(), "no".to_owned())]);
        node.hostname = "other".to_owned();
        (node.cpu_millis, node.memory_bytes, node.startup_delay) = (Some(1510), Some(64 << 20), 3);
        node.restart_policy = crate::RestartPolicy::No;
        let written = Lab::new(parts).unwrap();
        let text = crate::topology::write(&written, Some(Path::new("/labs")));
        prop_assert_eq!(lab(&text), written, "{}", text);
    }

    #[test]
    fn the_order_of_links_does_not_change_the_lab(text in ring()) {
        let (head, links) = text.split_once("  links:\n").unwrap();
        let mut turned: Vec<&str> = links.lines().collect();
        turned.reverse();
        prop_assert_eq!(lab(&format!("{head}  links:\n{}\n", turned.join("\n"))), lab(&text));
    }

    #[test]
    fn mutated_text_is_answered_and_spans_stay_inside(
        (sample, mutations) in (prop::sample::select(vec![SAMPLE, FULL]), prop::collection::vec(mutation(), 1..4)),
    ) {
        let mut bytes: Vec<char> = sample.chars().collect();
        for (at, cut, put) in mutations {
            let at = at * 3 % bytes.len();
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, put.chars());
        }
        let text: String = bytes.into_iter().collect();
        let outcome = read_bytes(text.as_bytes());
        for diagnostic in &outcome.diagnostics {
            prop_assert!(diagnostic.span.range().end <= text.len() + 1, "{:?}", diagnostic);
            prop_assert!(diagnostic.span.line >= 1 && diagnostic.span.column >= 1, "{:?}", diagnostic);
        }
        let _ = shown(text.as_bytes(), &outcome.diagnostics);
        let _ = render(&outcome.diagnostics, "x", text.as_bytes(), Colour::Always);
        if let Some(lab) = outcome.lab {
            prop_assert!(Lab::new(lab.into_parts()).is_ok());
        }
    }

    #[test]
    fn random_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let outcome = read_bytes(&bytes);
        let _ = shown(&bytes, &outcome.diagnostics);
        prop_assert!(outcome.lab.is_none());
    }
}
