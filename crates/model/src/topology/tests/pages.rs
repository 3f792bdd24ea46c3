//! What the documentation says of diagnostics is so.

use super::*;

const PAGE: &str = include_str!("../../../../../docs/topology/diagnostics.md");

/// The fenced blocks of a part of a page.
fn blocks(part: &str) -> Vec<Vec<u8>> {
    let blocks = part.split("```").skip(1).step_by(2);
    blocks.map(|block| bytes(block.split_once('\n').map_or("", |(_language, text)| text))).collect()
}

/// The text itself, or what the `printf` of a shell writes.
fn bytes(block: &str) -> Vec<u8> {
    let Some(written) = block.strip_prefix("$ printf '") else { return block.as_bytes().to_vec() };
    let mut rest = written.split_once('\'').unwrap().0;
    let mut out = Vec::new();
    while let Some((before, escape)) = rest.split_once('\\') {
        out.extend(before.as_bytes());
        let octal = escape.chars().take_while(|c| c.is_digit(8)).take(3).count();
        if octal > 0 {
            out.push(u8::from_str_radix(&escape[..octal], 8).unwrap());
            rest = &escape[octal..];
        } else {
            rest = escape.strip_prefix('n').expect("no other escape is used");
            out.push(b'\n');
        }
    }
    out.extend(rest.as_bytes());
    out
}

#[test]
fn every_code_is_documented_with_an_example_that_gives_it() {
    let mut sections: Vec<(&str, &str)> =
        PAGE.split("\n### ").skip(1).map(|section| section.split_once('\n').unwrap()).collect();
    for code in Code::ALL {
        let at = sections.iter().position(|(heading, _)| *heading == code.as_str());
        let (_, text) =
            sections.remove(at.unwrap_or_else(|| panic!("`{code}` is not in docs/topology/diagnostics.md")));
        let examples = blocks(text);
        assert!(!examples.is_empty(), "{code} has no example");
        for example in examples {
            let found = read_bytes(&example).diagnostics;
            let shown = shown(&example, &found);
            assert!(found.iter().any(|d| d.code == *code), "this example does not give {code}:\n{shown}");
            for severity in found.iter().filter(|d| d.code == *code).map(|d| d.severity) {
                let word = severity.as_str();
                assert!(text.to_lowercase().contains(word), "the page does not say that {code} is a {word}");
            }
        }
    }
    assert!(sections.is_empty(), "there are no such codes: {:?}", sections.iter().map(|(heading, _)| heading));
}

#[test]
fn what_other_pages_link_to_is_there() {
    let page = include_str!("../../../../../docs/coming-from-containerlab.md");
    let codes: Vec<&str> = page.split("diagnostics.md#").skip(1).map(|rest| rest.split(')').next().unwrap()).collect();
    assert!(codes.len() > 5);
    for code in codes {
        assert!(Code::ALL.iter().any(|known| known.as_str() == code), "there is no code {code}");
    }
}

#[test]
fn the_example_for_editors_is_what_is_printed() {
    let text = "name: t\ntopology:\n  nodes:\n    n1: { kind: linux, runtime: namespace }\n    core-router:\n      { kind: linux, runtime: namespace }\n  links:\n    - endpoints: [\"n1:eth1\", \"core-ruoter:eth1\"]\n";
    let found = diagnostics(text);
    let json = PAGE.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let documented: serde_json::Value = serde_json::from_str(json).unwrap();
    let files = crate::topology::Files { name: "lab.clab.yml", text: text.as_bytes(), templates: &[] };
    let printed = serde_json::to_value(crate::topology::marked(&found, &files)).unwrap();
    assert_eq!(printed, documented);
    let people = PAGE.split("```text\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(shown(text.as_bytes(), &found), people);
}
