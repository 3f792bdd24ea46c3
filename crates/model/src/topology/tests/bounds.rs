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

/// What is refused is refused while it is read, where it becomes too much.
#[track_caller]
fn is_too_large_at(line: u32, text: &str, words: &str) {
    let found = diagnostics(text);
    let [only] = &found[..] else { panic!("{:?}", found.first()) };
    assert_eq!((only.code, only.span.line), (Code::TooLarge, line), "{only:?}");
    assert!(only.message.contains(words) && only.help.is_some(), "{only:?}");
}

#[test]
fn aliases_and_merges_cannot_copy_a_map_to_many_nodes() {
    let keys = many(500, |n| format!("K{n}: 1, "));
    let nodes = |line: fn(usize) -> String| {
        format!("{HEAD} }}\n  nodes:\n    n: &n {{ env: &e {{ {keys} }} }}\n{}", many(2_500, line))
    };
    // The map itself and its 500 keys are 501 values, so that the 1,997th copy is one too many.
    is_too_large_at(5 + 1_997, &nodes(|n| format!("    n{n}: {{ env: *e }}\n")), "aliases of this file copy");
    let text = nodes(|n| format!("    n{n}: {{ labels: {{ <<: *e }} }}\n"));
    is_too_large(&text, "copy more than 1000000 values");
}

#[test]
fn a_map_of_more_keys_than_any_lab_has_is_refused_where_it_becomes_too_long() {
    let text = format!("{HEAD} }}\n  nodes:\n    n:\n      env:\n{}", many(200_002, |n| format!("        K{n}: 1\n")));
    is_too_large_at(6 + 200_001, &text, "more than 200000 keys");
}

#[test]
fn a_list_of_more_values_than_any_lab_has_is_refused_where_it_becomes_too_long() {
    let text = format!("{HEAD} }}\n  nodes: [\n{}]\n", many(2_010, |_| format!("    {}\n", "1,".repeat(1_000))));
    is_too_large_at(4 + 2_000, &text, "more than 2000000 values");
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
