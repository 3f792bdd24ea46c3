//! Bad input: what is said, and that it is said at the right place.

use super::*;

/// One line per number.
fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(line).collect::<Vec<_>>().concat()
}

#[test]
fn a_big_bad_file_is_explained_at_once() {
    let text = r#"name: wrong
prefix: lab
mgmt: { network: oob }
topology:
  defaults:
    kind: linux
    image: "alpine:3"
    cpu: -1
  groups:
    leafs: { memory: 1GGB }
  nodes:
    n1: { memmory: 1G }
    n2:
      kind: linus
      group: leaf
      startup-delay: soon
      stages: {}
    n 3: {}
    core-router:
      exec:
        - echo "never closed
        - sleep: 1d
      binds: ["./missing:/etc/motd:ro"]
      restart-policy: allways
    br0: { kind: bridge, exec: [ls] }
  links:
    - endpoints: ["n1:eth1"]
    - endpoints: ["n1", "n2:eth1"]
    - endpoints: ["n1:eth0", "core-ruoter:eth1"]
    - { type: vxlann, endpoint: { node: n1, interface: eth1 } }
    - endpoints: ["n1:eth2", "n2:eth2"]
      mtu: 70000
    - endpoints: ["n2:eth2", "host:a-very-long-interface-name"]
    - type: veth
      endpoints:
        - { node: n1, interface: eth3, mac: "01:00:00:00:00:0a", ipv4: 10.0.0.0 }
        - { node: n2, interface: eth3, ipv6: "2001:db8::1/129" }
    - type: macvlan
      endpoint: { node: n1, interface: eth4 }
"#;
    insta::assert_snapshot!(said(text), @r#"
    lab.clab.yml:8:10: error[invalid-value]: `-1` cores are too few; at least 0.01 is possible
       |
     8 |     cpu: -1
       |          ^^
       = at: topology.defaults.cpu
       = help: write how many cores it may use, such as `0.5` or `2`

    lab.clab.yml:10:22: error[invalid-value]: `1GGB` is not an amount of memory
        |
     10 |     leafs: { memory: 1GGB }
        |                      ^^^^
        = at: topology.groups.leafs.memory
        = help: write for example `512MB`, `1G` or `256MiB` (1 KB is 1000 bytes, 1 KiB 1024)

    lab.clab.yml:12:11: error[unknown-field]: node has no field `memmory`
        |
     12 |     n1: { memmory: 1G }
        |           ^^^^^^^
        = at: topology.nodes.n1.memmory
        = help: did you mean `memory`?

    lab.clab.yml:14:13: error[unknown-kind]: there is no kind `linus`
        |
     14 |       kind: linus
        |             ^^^^^
        = at: topology.nodes.n2.kind
        = help: did you mean `linux`? `netloom kinds` lists all; a file in `/etc/netloom/kinds.d`, or in `kinds/` beside the topology, adds one

    lab.clab.yml:15:14: warning[unknown-group]: group `leaf` is not defined
        |
     10 |     leafs: { memory: 1GGB }
        |     ----- `leafs` is defined here
      …
     15 |       group: leaf
        |              ^^^^ taken as a label only
        = at: topology.nodes.n2.group
        = help: did you mean `leafs`?

    lab.clab.yml:16:22: error[invalid-value]: `soon` is not a number of seconds
        |
     16 |       startup-delay: soon
        |                      ^^^^
        = at: topology.nodes.n2.startup-delay
        = help: write a whole number of seconds, such as `5`

    lab.clab.yml:18:5: error[invalid-name]: node name `n 3` contains ` `; letters, digits, `-`, `.` and `_` are possible
        |
     18 |     n 3: {}
        |     ^^^
        = at: topology.nodes."n 3"

    lab.clab.yml:21:11: error[invalid-value]: this command ends inside of a quotation
        |
     21 |         - echo "never closed
        |           ^^^^^^^^^^^^^^^^^^
        = at: topology.nodes.core-router.exec[0]
        = help: close the quote, or escape it: `\'`

    lab.clab.yml:22:11: error[wrong-type]: `exec[1]` must be a text, and this is a map
        |
     22 |         - sleep: 1d
        |           ^^^^^^^^^
        = at: topology.nodes.core-router.exec[1]
        = help: if this is meant as a text, put it in quotes: it contains `: `

    lab.clab.yml:23:15: error[bind-source]: the source of this bind does not exist
        |
     23 |       binds: ["./missing:/etc/motd:ro"]
        |               ^^^^^^^^^^^^^^^^^^^^^^^^
        = at: topology.nodes.core-router.binds
        = help: `./missing` is `/labs/missing`; paths are relative to the topology file

    lab.clab.yml:24:23: warning[invalid-value]: `restart-policy` cannot be `allways`
        |
     24 |       restart-policy: allways
        |                       ^^^^^^^ taken as if it were not there
        = at: topology.nodes.core-router.restart-policy
        = help: did you mean `always`?

    lab.clab.yml:25:33: warning[no-effect]: `exec` has no effect: a node of kind `bridge` runs nothing
        |
     25 |     br0: { kind: bridge, exec: [ls] }
        |                                 ^^
        = at: topology.nodes.br0.exec

    lab.clab.yml:27:18: error[endpoint-count]: a link has two endpoints, and here is 1
        |
     27 |     - endpoints: ["n1:eth1"]
        |                  ^^^^^^^^^^^
        = at: topology.links[0].endpoints
        = help: write for example `endpoints: ["r1:eth1", "r2:eth1"]`

    lab.clab.yml:28:19: error[endpoint-syntax]: endpoint `n1` has no interface
        |
     28 |     - endpoints: ["n1", "n2:eth1"]
        |                   ^^^^
        = at: topology.links[1].endpoints[0]
        = help: write `node:interface`, for example `r1:eth1`

    lab.clab.yml:29:19: error[reserved-interface]: `eth0` of node `n1` is its management interface
        |
     29 |     - endpoints: ["n1:eth0", "core-ruoter:eth1"]
        |                   ^^^^^^^^^
        = at: topology.links[2].endpoints[0]
        = help: use `eth1` or later, or set `network-mode: none` on the node

    lab.clab.yml:29:30: error[unknown-node]: there is no node `core-ruoter`
        |
     19 |     core-router:
        |     ----------- `core-router` is defined here
      …
     29 |     - endpoints: ["n1:eth0", "core-ruoter:eth1"]
        |                              ^^^^^^^^^^^^^^^^^^
        = at: topology.links[2].endpoints[1]
        = help: did you mean `core-router`?

    lab.clab.yml:30:15: error[unknown-link-type]: there is no link type `vxlann`
        |
     30 |     - { type: vxlann, endpoint: { node: n1, interface: eth1 } }
        |               ^^^^^^
        = at: topology.links[3].type
        = help: did you mean `vxlan`?

    lab.clab.yml:32:12: error[invalid-value]: `70000` is not an MTU that a link can have
        |
     32 |       mtu: 70000
        |            ^^^^^
        = at: topology.links[4].mtu
        = help: an MTU is a number of bytes from 68 to 65535

    lab.clab.yml:33:19: error[duplicate-interface]: interface `eth2` of node `n2` has a link already
        |
     31 |     - endpoints: ["n1:eth2", "n2:eth2"]
        |                              --------- the first link
      …
     33 |     - endpoints: ["n2:eth2", "host:a-very-long-interface-name"]
        |                   ^^^^^^^^^ the second link
        = at: topology.links[5].endpoints[0]

    lab.clab.yml:33:30: warning[kernel-name]: the kernel does not take the interface name `a-very-long-interface-name`
        |
     33 |     - endpoints: ["n2:eth2", "host:a-very-long-interface-name"]
        |                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ is `nl7717b0daecb4` in the kernel
        = at: topology.links[5].endpoints[1]
        = help: the name in the file becomes an altname, which `ip` takes as well; up to 15 bytes without `/`, `:` and `%` stay as they are

    lab.clab.yml:36:45: error[invalid-value]: MAC address `01:00:00:00:00:0a` is a multicast address; the first octet of an interface's address must be even
        |
     36 |         - { node: n1, interface: eth3, mac: "01:00:00:00:00:0a", ipv4: 10.0.0.0 }
        |                                             ^^^^^^^^^^^^^^^^^^^
        = at: topology.links[6].endpoints[0].mac

    lab.clab.yml:36:72: error[invalid-value]: IPv4 address `10.0.0.0` has no prefix length; write for example `10.0.0.1/24`
        |
     36 |         - { node: n1, interface: eth3, mac: "01:00:00:00:00:0a", ipv4: 10.0.0.0 }
        |                                                                        ^^^^^^^^
        = at: topology.links[6].endpoints[0].ipv4

    lab.clab.yml:37:46: error[invalid-value]: IPv6 address `2001:db8::1/129` has the prefix length `129`; it must be 0 to 128
        |
     37 |         - { node: n2, interface: eth3, ipv6: "2001:db8::1/129" }
        |                                              ^^^^^^^^^^^^^^^^^
        = at: topology.links[6].endpoints[1].ipv6

    lab.clab.yml:38:7: error[missing]: this link has no `host-interface`
        |
     38 |     - type: macvlan
        |       ^^^^^^^^^^^^^
        = at: topology.links[7]
        = help: add the interface of the host that the macvlan hangs on, such as `host-interface: eno1`

    lab.clab.yml: 20 errors, 4 warnings
    "#);
}

#[test]
fn files_that_hold_nothing_or_no_text_are_said_so() {
    insta::assert_snapshot!(said(""), @r#"
    lab.clab.yml:1:1: error[empty-file]: the file is empty
       = help: a topology needs at least `name` and `topology.nodes`

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(said("# only a comment\n\n"), @r#"
    lab.clab.yml:1:1: error[empty-file]: the file is empty
       |
     1 | # only a comment
       | ^
       = help: a topology needs at least `name` and `topology.nodes`

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(shown(b"\x7fELF\x02\x01\0\0", &read_bytes(b"\x7fELF\x02\x01\0\0").diagnostics), @r#"
    lab.clab.yml:1:7: error[not-text]: the file is not text: a NUL byte at offset 6
       |
     1 | �ELF����
       |       ^

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(shown(b"name: a\nx: \xff", &read_bytes(b"name: a\nx: \xff").diagnostics), @r#"
    lab.clab.yml:2:4: error[not-text]: the file is not UTF-8 text: byte 0xff at offset 11

    lab.clab.yml: 1 error
    "#);
    assert_eq!(
        read_bytes(b"\xff\xfen\0a\0").diagnostics[0].help.as_deref(),
        Some("it looks like UTF-16; save it as UTF-8")
    );
    assert_eq!(only("just text").0, Code::WrongType);
    assert_eq!(only("[]").0, Code::WrongType);
}

#[test]
fn half_written_yaml_points_at_where_it_ends() {
    insta::assert_snapshot!(said("name: t\ntopology:\n  nodes:\n    r1: { kind: linux, image: \"alp"), @r#"
    lab.clab.yml:4:31: error[syntax]: this is not valid YAML: unclosed quote
       |
     4 |     r1: { kind: linux, image: "alp
       |                               ^
       = at: topology.nodes.r1.image

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(said("name: t\ntopology:\n  nodes: { r1: { kind: linux\n"), @r#"
    lab.clab.yml:3:16: error[syntax]: this is not valid YAML: unclosed bracket '{'
       |
     3 |   nodes: { r1: { kind: linux
       |                ^
       = at: topology.nodes.r1

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(said("name: t\ntopology:\n  nodes:\n\tr1: {}\n"), @r#"
    lab.clab.yml:4:2: error[syntax]: this is not valid YAML: tabs disallowed within this context (block indentation)
       |
     4 |  r1: {}
       |  ^
       = at: topology.nodes
       = help: indent with spaces; YAML does not allow tabs there

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(said("name: t\ntopology:\n  nodes: *nowhere\n"), @r#"
    lab.clab.yml:3:10: error[syntax]: there is no anchor `&nowhere` before this alias
       |
     3 |   nodes: *nowhere
       |          ^^^^^^^^

    lab.clab.yml: 1 error
    "#);
    insta::assert_snapshot!(said("name: a: b\n"), @r#"
    lab.clab.yml:1:8: error[syntax]: this is not valid YAML: mapping values are not allowed in this context
       |
     1 | name: a: b
       |        ^
       = help: put a value that contains `: ` in quotes

    lab.clab.yml: 1 error
    "#);
}

#[test]
fn nested_aliases_are_refused_early() {
    let levels = lines(180_000, |n| format!("a{}: &a{} [{}]\n", n + 1, n + 1, vec![format!("*a{n}"); 6].join(", ")));
    let text = format!("a0: &a0 [x, x, x, x, x, x]\n{levels}");
    assert!(text.len() > 10_000_000);
    let begun = std::time::Instant::now();
    assert_eq!(only(&text).0, Code::TooLarge);
    // A chain has no width, only depth: dropping it must not overflow the stack.
    let chain = lines(100_000, |n| format!("- &c{} [*c{n}]\n", n + 1));
    assert_eq!(only(&format!("- &c0 x\n{chain}")).0, Code::TooLarge);
    let merges = lines(20_000, |n| format!("m{n}: {{ <<: *base }}\n"));
    let base = lines(20_000, |n| format!("  k{n}: v\n"));
    assert_eq!(only(&format!("base: &base\n{base}{merges}")).0, Code::TooLarge);
    assert_eq!(only(&"[".repeat(1_000_000)).0, Code::TooLarge);
    assert!(diagnostics("a: &a [*a]").iter().any(|d| d.code == Code::Syntax));
    assert_eq!(only(&"x".repeat(super::super::MAX_BYTES + 1)).0, Code::TooLarge);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn many_nodes_under_a_large_default_are_refused() {
    let exec = lines(20_000, |n| format!("      - echo {n}\n"));
    let nodes = lines(20_000, |n| format!("    n{n}:\n"));
    let text = format!("name: t\ntopology:\n  defaults:\n    exec:\n{exec}  nodes:\n{nodes}");
    assert_eq!(only(&text).0, Code::TooLarge);
}

#[test]
fn names_are_checked() {
    assert_eq!(only("topology: { nodes: { a: { kind: linux, runtime: namespace } } }").0, Code::Missing);
    assert_eq!(only("name:\ntopology: { nodes: { a: { kind: linux, runtime: namespace } } }").0, Code::Missing);
    for name in ["r 1", "r/1", "../etc", "-r", "ü"] {
        let (code, path, _) = only(&file(&format!("{{ {name}: {{}} }}"), "[]"));
        assert_eq!(code, Code::InvalidName, "{name}");
        assert!(path.starts_with("topology.nodes."), "{path}");
    }
    let long = "n".repeat(300);
    let (code, _, what) = only(&file(&format!("{{ {long}: {{}} }}"), "[]"));
    assert_eq!(code, Code::InvalidName);
    assert!(what.contains("has 300 characters; at most 63"), "{what}");
    assert_eq!(only(&file("{ macvlan: {} }", "[]")).0, Code::InvalidName);
    assert_eq!(only(&file("{ a-bridge-of-a-long-name: { kind: bridge } }", "[]")).0, Code::InvalidName);
    assert_eq!(only(&file("{ a: {} }", "[]").replace("name: t", "name: a/b")).0, Code::InvalidName);
    assert_eq!(only(&file("{ a: {} }", "[]").replace("name: t", "name: t\nprefix: a b")).0, Code::InvalidValue);
}

#[test]
fn unknown_keys_and_kinds_are_suggested() {
    let (code, path, what) = only(&file("{ a: { memmory: 1G } }", "[]"));
    assert_eq!((code, path.as_str()), (Code::UnknownField, "topology.nodes.a.memmory"));
    assert_eq!(what, "node has no field `memmory` | did you mean `memory`?");
    let (code, _, what) = only(&file("{ a: { kind: linx } }", "[]"));
    assert_eq!(
        (code, what.as_str()),
        (
            Code::UnknownKind,
            "there is no kind `linx` | did you mean `linux`? `netloom kinds` lists all; a file in `/etc/netloom/kinds.d`, \
         or in `kinds/` beside the topology, adds one"
        )
    );
    let (_, _, what) = only(&file("{ a: { kind: quagga-router } }", "[]"));
    assert!(what.starts_with("there is no kind `quagga-router` | `netloom kinds` lists all"), "{what}");
    assert_eq!(only("name: t\nnodes: { a: {} }").0, Code::UnknownField);
    assert_eq!(only(&file("{ a: {} }", "[]").replace("name: t", "nmae: t\nname: t")).0, Code::UnknownField);
    assert_eq!(
        only(&file("{ a: { group: leaf }, b: { group: spine }, c: { group: leafs } }", "[]\n  groups: { leafs: {} }"))
            .0,
        Code::UnknownGroup
    );
}

#[test]
fn duplicate_keys_are_errors_and_merges_are_not() {
    let (code, path, what) = only(&file("{ a: {}, a: {} }", "[]"));
    assert_eq!(
        (code, path.as_str(), what.as_str()),
        (Code::DuplicateKey, "topology.nodes.a", "`a` is already in this map | ")
    );
    let text = file("{ a: &a { env: { X: 1 }, cpu: 1 }, b: { <<: *a, cpu: 2 } }", "[]");
    let lab = lab(&text);
    assert_eq!(node(&lab, "b").cpu_millis, Some(2000));
    assert_eq!(node(&lab, "b").env["X"], "1");
}

#[test]
fn missing_and_empty_parts_are_errors() {
    for text in [
        "name: t",
        "name: t\ntopology:",
        "name: t\ntopology: {}",
        "name: t\ntopology: { nodes: }",
        "name: t\ntopology: { nodes: {}, links: }",
        "name: t\ntopology: { defaults:, kinds:, groups: }",
    ] {
        assert_eq!(only(text).0, Code::Missing, "{text}");
    }
    for text in [
        "name: t\ntopology: []",
        "name: t\ntopology: { nodes: [a] }",
        "name: [t]\ntopology: { nodes: { a: { kind: linux, runtime: namespace } } }",
    ] {
        assert_eq!(only(text).0, Code::WrongType, "{text}");
    }
    assert_eq!(
        only("name: t\ntopology: { nodes: { a: } }").2,
        "node `a` has no kind | add `kind: linux` to the node or to `topology.defaults`"
    );
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let text = "name: \"a\\e[31mb\"\ntopology: { nodes: { \"\\e]0;x\\a\": { kind: \"\\e[2J\" } } }\n";
    assert!(!said(text).contains(['\u{1b}', '\u{7}']));
    let raw = "name: t\ntopology: { nodes: { a: { kind: l\u{85}\u{9b}2J } } }\n";
    assert!(!said(raw).contains(['\u{9b}', '\u{85}']));
}

#[test]
fn diagnostics_come_in_the_order_of_the_file_and_are_bounded() {
    let nodes = lines(5000, |n| format!("    n{n}: {{ memmory: 1G, image: [] }}\n"));
    let found = diagnostics(&format!(
        "name: t\ntopology:\n  defaults: {{ kind: linux, runtime: namespace }}\n  nodes:\n{nodes}"
    ));
    assert_eq!(found.len(), 1001);
    assert!(found.is_sorted_by_key(|d| d.span.start));
    assert_eq!(found.last().unwrap().message, "9000 more diagnostics are not shown");
}
