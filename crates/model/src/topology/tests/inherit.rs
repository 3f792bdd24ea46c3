//! Inheritance: which level a value comes from.

use super::*;
use crate::name::Kind;

#[test]
fn the_kind_comes_from_the_group_before_the_defaults() {
    let text = "
name: t
topology:
  defaults: { kind: linux, runtime: namespace, group: base }
  kinds:
    linux: { group: hosts, labels: { from: kind } }
  groups:
    base: { labels: { from: base } }
    hosts: { labels: { from: hosts } }
    switches: { kind: bridge }
  nodes:
    own: { group: base }
    plain:
    sw: { group: switches }
    free: { group: just-a-label }
";
    let lab = lab(text);
    assert_eq!(node(&lab, "own").labels["from"], "base");
    assert_eq!(node(&lab, "plain").labels["from"], "hosts");
    assert_eq!(node(&lab, "plain").group.as_deref(), Some("hosts"));
    assert_eq!(node(&lab, "sw").kind, Kind::bridge());
    assert_eq!(node(&lab, "free").labels["from"], "kind");
}

#[test]
fn lists_are_joined_from_far_to_near_without_duplicates() {
    let text = "
name: t
topology:
  defaults: { kind: linux, runtime: namespace, exec: [a, b] }
  kinds: { LINUX: { exec: [c, a] } }
  groups: { g: { exec: [d] } }
  nodes: { n: { group: g, exec: [b, e, e] } }
";
    let lab = lab(text);
    assert_eq!(node(&lab, "n").exec.concat(), ["a", "b", "c", "d", "e"]);
}

#[test]
fn the_default_group_gives_the_kind() {
    let text = "
name: t
topology:
  defaults: { group: g }
  groups: { g: { kind: linux, runtime: namespace } }
  nodes: { n: }
";
    assert_eq!(node(&lab(text), "n").kind, Kind::linux());
}

#[test]
fn a_bridge_takes_no_running_fields_from_the_defaults() {
    let text = "
name: t
topology:
  defaults: { kind: linux, image: x, exec: [ls], labels: { a: b }, env: { A: b } }
  nodes: { n: , sw: { kind: bridge } }
";
    let lab = lab(text);
    assert!(node(&lab, "sw").exec.is_empty() && node(&lab, "sw").env.is_empty());
    assert_eq!(node(&lab, "sw").labels["a"], "b");
    assert!(diagnostics(text).is_empty());
}
