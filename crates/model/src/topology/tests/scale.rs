//! Large labs: the time grows with the size, not with its square.

use std::fmt::Write;
use std::time::Instant;

use super::*;

fn grid(nodes: usize, links: usize) -> String {
    let mut text = "name: big\ntopology:\n  defaults: { kind: linux, runtime: namespace }\n  nodes:\n".to_owned();
    for n in 0..nodes {
        let _ = writeln!(text, "    r{n}: {{ env: {{ ID: {n} }} }}");
    }
    text += "  links:\n";
    for n in 0..links {
        let (a, b) = (n % nodes, (n * 7 + 1) % nodes);
        let _ = writeln!(text, "    - endpoints: [\"r{a}:a{n}\", \"r{b}:b{n}\"]");
    }
    text
}

#[test]
fn ten_thousand_nodes_and_twenty_thousand_links_are_read_quickly() {
    let text = grid(10_000, 20_000);
    let begun = Instant::now();
    let lab = lab(&text);
    let took = begun.elapsed();
    println!("{} bytes, {} nodes, {} links: {took:?}", text.len(), lab.nodes().len(), lab.links().len());
    assert_eq!((lab.nodes().len(), lab.links().len()), (10_000, 20_000));
    // Measured 0.35 s in a release build; debug builds on a busy machine are far slower, quadratic ones hopeless.
    assert!(took.as_secs() < if cfg!(debug_assertions) { 30 } else { 2 }, "{took:?}");
}

#[test]
fn twenty_thousand_misspelt_links_are_answered_quickly() {
    let text = grid(10_000, 20_000).replace("[\"r", "[\"q");
    let begun = Instant::now();
    assert!(read_bytes(text.as_bytes()).lab.is_none());
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn a_key_that_is_twice_in_a_long_map_is_found_wherever_it_stands() {
    for twice in [0, 15, 16, 17, 40, 98] {
        let mut text = "name: long\ntopology:\n  defaults: { kind: linux, runtime: namespace }\n  nodes:\n".to_owned();
        for n in (0..100).chain([twice]) {
            let _ = writeln!(text, "    r{n}:");
        }
        let [mistake] = &read_bytes(text.as_bytes()).diagnostics[..] else { panic!("one mistake: {twice}") };
        assert_eq!((mistake.code, mistake.span.line), (Code::DuplicateKey, 105), "{mistake:?}");
        assert_eq!(mistake.notes[0].span.line, 5 + twice);
    }
}
