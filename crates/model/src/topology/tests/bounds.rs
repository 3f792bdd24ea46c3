//! What a file can make of itself: memory and work follow the size of the file, also where few lines say much.

use super::*;

#[track_caller]
fn is_too_large(text: &str, words: &str) {
    let found = diagnostics(text);
    let too_large = |d: &&Diagnostic| d.code == Code::TooLarge && d.message.contains(words);
    assert!(found.iter().any(|d| too_large(&d)), "{:?}", found.first());
}

/// `count` lines.
fn many(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect()
}

const HEAD: &str = "name: a\ntopology:\n  defaults: { kind: linux, image: x";

#[test]
fn many_nodes_cannot_inherit_a_few_long_texts() {
    let text =
        format!("{HEAD}, cmd: {} }}\n  nodes:\n{}", "y".repeat(100_000), many(2_000, |n| format!("    n{n}:\n")));
    is_too_large(&text, "2000 nodes inherit up to");
}

#[test]
fn many_nodes_cannot_inherit_many_values() {
    let env = many(900, |n| format!("K{n}: 1, "));
    let text = format!("{HEAD}, env: {{ {env} }} }}\n  nodes:\n{}", many(5_000, |n| format!("    n{n}:\n")));
    is_too_large(&text, "5000 nodes inherit up to");
}

#[test]
fn nodes_kinds_and_groups_are_counted() {
    is_too_large(&format!("{HEAD} }}\n  nodes:\n{}", many(100_001, |n| format!("    n{n}:\n"))), "100001 nodes");
    for level in ["kinds", "groups"] {
        let levels = many(10_001, |n| format!("    l{n}:\n"));
        is_too_large(&format!("{HEAD} }}\n  {level}:\n{levels}  nodes: {{ n: }}\n"), "more than 10000");
    }
}

#[test]
fn a_command_that_the_kernel_would_not_start_is_refused() {
    is_too_large(&format!("{HEAD}, cmd: {} }}\n  nodes: {{ n: }}\n", "x ".repeat(1_100_000)), "this command has");
}
