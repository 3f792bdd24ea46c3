//! Mistakes that people make, one after the other, and what they are told: what is wrong, where, and what to write.

use super::*;

/// A mistake: what it is, the file, and the code, line and words of what is said.
type Mistake = (&'static str, String, Code, u32, &'static [&'static str]);

fn mistakes() -> Vec<Mistake> {
    let links = |links: &str| file("{ a: , b: , c: { runtime: docker, image: x } }", &format!("[{links}]"));
    vec![
        (
            "unknown key",
            file("{ a: { memmory: 1G } }", "[]"),
            Code::UnknownField,
            4,
            &["`memmory`", "did you mean `memory`?"],
        ),
        ("the same node twice", file("{ n1: , n1: }", "[]"), Code::DuplicateKey, 4, &["`n1`", "the first one"]),
        (
            "one end",
            links("{ endpoints: ['a:eth1'] }"),
            Code::EndpointCount,
            5,
            &["two endpoints", "here is 1", "r2:eth1"],
        ),
        (
            "three ends",
            links("{ endpoints: ['a:eth1', 'b:eth1', 'a:eth2'] }"),
            Code::EndpointCount,
            5,
            &["two endpoints", "here is 3"],
        ),
        (
            "no colon",
            links("{ endpoints: ['a', 'b:eth1'] }"),
            Code::EndpointSyntax,
            5,
            &["`a` has no interface", "`node:interface`"],
        ),
        (
            "unknown node",
            file("{ router: , b: }", "[{ endpoints: ['ruoter:eth1', 'b:eth1'] }]"),
            Code::UnknownNode,
            5,
            &["no node `ruoter`", "did you mean `router`?", "`router` is defined here"],
        ),
        (
            "the same end twice",
            links("{ endpoints: ['a:eth1', 'b:eth1'] }, { endpoints: ['a:eth1', 'b:eth2'] }"),
            Code::DuplicateInterface,
            5,
            &["`eth1` of node `a`", "the first link", "the second link"],
        ),
        (
            "the same link twice",
            links("{ endpoints: ['a:eth1', 'b:eth1'] }, { endpoints: ['b:eth1', 'a:eth1'] }"),
            Code::DuplicateInterface,
            5,
            &["the link `b:eth1 a:eth1` is there already", "the first one", "the second one", "remove one"],
        ),
        (
            "the same link to the host twice",
            links(
                "{ endpoints: ['a:eth1', 'host:x'] }, { type: host, endpoint: { node: a, interface: eth1 }, host-interface: x }",
            ),
            Code::DuplicateInterface,
            5,
            &["the link `a:eth1 host:x` is there already"],
        ),
        (
            "a number that begins with 0",
            links("{ endpoints: ['a:eth1', 'b:eth1'], mtu: 01500 }"),
            Code::InvalidValue,
            5,
            &["`01500` is 832", "an octal number", "write `1500` if that is meant, else `832` or `0o1500`"],
        ),
        (
            "another kind under a kind",
            file("{ a: }", "[]\n  kinds: { linux: { kind: frr } }"),
            Code::NoEffect,
            6,
            &["`kind` has no effect here", "of kind `linux` already", "write `kind: frr` at the nodes"],
        ),
        (
            "unknown kind",
            file("{ a: { kind: linus } }", "[]"),
            Code::UnknownKind,
            4,
            &["no kind `linus`", "did you mean `linux`?"],
        ),
        (
            "unknown link type",
            links("{ type: dumy, endpoint: { node: a, interface: x } }"),
            Code::UnknownLinkType,
            5,
            &["no link type `dumy`", "did you mean `dummy`?"],
        ),
        ("no image", file("{ a: { runtime: docker } }", "[]"), Code::Missing, 4, &["`a` has no image", "image: NAME"]),
        (
            "no source of a bind",
            file("{ a: { binds: ['x.cfg:/etc/x'] } }", "[]"),
            Code::BindSource,
            4,
            &["does not exist", "`x.cfg` is `/labs/x.cfg`"],
        ),
        (
            "eth0 of a container",
            links("{ endpoints: ['c:eth0', 'b:eth1'] }"),
            Code::ReservedInterface,
            5,
            &["`eth0` of node `c`", "`eth1`", "network-mode: none"],
        ),
        ("bad node name", file("{ 'n 1': }", "[]"), Code::InvalidName, 4, &["node name `n 1`", "letters, digits"]),
        (
            "three addresses",
            links("{ endpoints: ['a:eth1', 'b:eth1'], ipv4: [10.0.0.1/24, 10.0.0.2/24, 10.0.0.3/24] }"),
            Code::InvalidValue,
            5,
            &["3 addresses", "takes 2"],
        ),
        ("memory in no unit", file("{ a: { memory: 1GGB } }", "[]"), Code::InvalidValue, 4, &["`1GGB`", "`512MB`"]),
        (
            "bad restart policy",
            file("{ a: { restart-policy: allways } }", "[]"),
            Code::InvalidValue,
            4,
            &["`allways`", "did you mean `always`?"],
        ),
        (
            "unknown kind under kinds",
            file("{ a: }", "[]\n  kinds: { linus: {} }"),
            Code::UnknownKind,
            6,
            &["no kind `linus`", "did you mean `linux`?"],
        ),
        (
            "misspelt group",
            file("{ a: { group: leafes } }", "[]\n  groups: { leaves: {} }"),
            Code::UnknownGroup,
            4,
            &["`leafes`", "did you mean `leaves`?", "`leaves` is defined here"],
        ),
        (
            "host link without an end",
            links("{ type: host, host-interface: x }"),
            Code::Missing,
            5,
            &["`endpoint`", "node: r1"],
        ),
        (
            "extended link with one end",
            links("{ type: veth, endpoints: [{ node: a, interface: eth1 }] }"),
            Code::EndpointCount,
            5,
            &["two endpoints, and here is 1"],
        ),
        ("no topology", "name: t\ntopology:\n".to_owned(), Code::Missing, 2, &["nodes"]),
        (
            "empty defaults and no kind",
            "name: t\ntopology:\n  defaults:\n  nodes: { a: }\n".to_owned(),
            Code::Missing,
            4,
            &["`a` has no kind", "kind: linux"],
        ),
    ]
}

#[test]
fn each_mistake_is_said_once_at_its_line_with_what_to_write() {
    for (mistake, text, code, line, words) in mistakes() {
        let found = diagnostics(&text);
        let said = shown(text.as_bytes(), &found);
        let [one] = found.as_slice() else { panic!("{mistake} is not said once:\n{said}") };
        assert_eq!((one.code, one.span.line), (code, line), "{mistake}:\n{said}");
        for word in words {
            assert!(said.contains(word), "{mistake}: {word} is not said:\n{said}");
        }
    }
}

#[test]
fn a_bridge_that_is_not_there_is_no_mistake() {
    let text = file("{ a: , br0: { kind: bridge } }", "[{ endpoints: ['a:eth1', 'br0:a1'] }]");
    assert_eq!(diagnostics(&text), []);
}

#[test]
fn the_same_mistake_in_two_places_is_said_in_both() {
    let text = file("{ a: &a { memmory: 1G }, b: *a, c: { memmory: 1G }, d: { <<: *a } }", "[]");
    let places: Vec<String> = diagnostics(&text).into_iter().map(|d| d.path).collect();
    assert_eq!(places, ["topology.nodes.a.memmory", "topology.nodes.c.memmory"]);
}

#[test]
fn ends_that_two_links_have_already_are_two_mistakes() {
    let links = "[{ endpoints: ['a:eth1', 'b:eth1'] }, { endpoints: ['a:eth2', 'b:eth2'] }, { endpoints: ['a:eth1', 'b:eth2'] }]";
    let paths: Vec<String> = diagnostics(&file("{ a: , b: }", links)).into_iter().map(|d| d.path).collect();
    assert_eq!(paths, ["topology.links[2].endpoints[0]", "topology.links[2].endpoints[1]"]);
}

#[test]
fn a_kind_may_say_its_own_name() {
    let text = file("{ a: }", "[]\n  kinds: { linux: { kind: Linux }, srl: { kind: nokia_srlinux } }");
    assert_eq!(diagnostics(&text), []);
}

#[test]
fn whole_numbers_have_the_bases_of_yaml() {
    let links = "[{ endpoints: ['a:eth1', 'b:eth1'], mtu: 0x5DC }, { type: vxlan, endpoint: { node: a, interface: x }, \
                 remote: 192.0.2.1, vni: 0o17, dst-port: 4_789 }]";
    let text = file("{ a: { startup-delay: 0b11, healthcheck: { retries: 0x10 } }, b: }", links);
    let lab = read_bytes(text.as_bytes()).lab.unwrap();
    assert_eq!(lab.links()[0].mtu.bytes(), 1500);
    let crate::lab::LinkKind::Vxlan(vxlan) = &lab.links()[1].kind else { panic!("{:?}", lab.links()[1]) };
    assert_eq!((vxlan.vni, vxlan.dst_port), (15, 4789));
    let a = node(&lab, "a");
    assert_eq!((a.startup_delay, a.healthcheck.as_ref().unwrap().retries), (3, Some(16)));
}
