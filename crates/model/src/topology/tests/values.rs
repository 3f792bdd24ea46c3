//! Values of nodes that are wrong.

use super::*;

#[test]
fn values_are_checked() {
    for (field, code) in [
        ("cpu: -1", Code::InvalidValue),
        ("cpu: many", Code::InvalidValue),
        ("cpu: .nan", Code::InvalidValue),
        ("cpu: inf", Code::InvalidValue),
        ("memory: 1GGB", Code::InvalidValue),
        ("memory: 1k", Code::InvalidValue),
        ("memory: -1G", Code::InvalidValue),
        ("startup-delay: -1", Code::InvalidValue),
        ("startup-delay: 1.5", Code::InvalidValue),
        ("network-mode: host", Code::IgnoredField),
        ("network-mode: container:b", Code::IgnoredField),
        ("network-mode: 'container:'", Code::InvalidValue),
        ("network-mode: nome", Code::InvalidValue),
        ("runtime: doker", Code::InvalidValue),
        ("image: a b", Code::InvalidValue),
        ("hostname: a b", Code::InvalidValue),
        ("cmd: \"a 'b\"", Code::InvalidValue),
        ("cmd: [a, b]", Code::WrongType),
        ("entrypoint: 'a \"b'", Code::InvalidValue),
        ("exec: ls", Code::WrongType),
        ("exec: [ls, ]", Code::IgnoredField),
        ("exec: [~]", Code::InvalidValue),
        ("exec: ['']", Code::InvalidValue),
        ("env: [A=1]", Code::WrongType),
        ("env: { A=1: 2 }", Code::InvalidValue),
        ("sysctls: { ../../x: 1 }", Code::InvalidValue),
        ("sysctls: { net.ipv4.ip_forward: }", Code::Missing),
        ("labels: { a: [b] }", Code::WrongType),
        ("binds: ['/etc/hosts']", Code::InvalidValue),
        ("binds: ['/etc/hosts:etc']", Code::InvalidValue),
        ("binds: ['/etc/hosts:/']", Code::InvalidValue),
        ("binds: [':/etc']", Code::InvalidValue),
        ("binds: ['/etc/hosts:/a:or']", Code::InvalidValue),
        ("binds: ['/etc/hosts:/a:z']", Code::IgnoredField),
        ("binds: ['~bob/x:/a']", Code::InvalidValue),
        ("binds: ['nothing:/a']", Code::BindSource),
        ("binds: ['__clabNodeDir__/x:/a']", Code::BindSource),
    ] {
        let text = file(&format!("{{ a: {{ {field} }} }}"), "[]");
        if field == "exec: [ls, ]" {
            assert!(diagnostics(&text).is_empty());
            continue;
        }
        let (found, path, _) = only(&text);
        assert_eq!(found, code, "{field}");
        assert!(path.starts_with("topology.nodes.a."), "{field}: {path}");
    }
    let host = "h".repeat(65);
    assert_eq!(only(&file(&format!("{{ a: {{ hostname: {host} }} }}"), "[]")).0, Code::InvalidValue);
    let (_, _, what) = only(&file("{ a: { binds: ['./x/../nothing:/a'] } }", "[]"));
    assert!(what.contains("`/labs/nothing`"), "{what}");
}

#[test]
fn one_mistake_in_defaults_is_said_once() {
    let text = "name: t\ntopology:\n  defaults: { kind: linux, runtime: namespace, cpu: -1, binds: ['no:/a'] }\n  nodes: { a: , b: , c: }\n";
    let codes: Vec<Code> = diagnostics(text).iter().map(|d| d.code).collect();
    assert_eq!(codes, [Code::InvalidValue, Code::BindSource]);
}

#[test]
fn images_and_runtimes_must_fit() {
    let bare = "name: t\ntopology: { nodes: { a: { kind: linux } } }";
    assert_eq!(only(bare).0, Code::Missing);
    assert!(only(bare).2.contains("runtime: namespace"));
    assert_eq!(only("name: t\ntopology: { nodes: { a: { kind: linux, runtime: docker } } }").0, Code::Missing);
    let (code, path, _) = only(&file("{ a: { image: alpine } }", "[]"));
    assert_eq!((code, path.as_str()), (Code::NoEffect, "topology.nodes.a.image"));
    // An image that cannot be read is not a missing one.
    assert_eq!(only("name: t\ntopology: { nodes: { a: { kind: linux, image: [x] } } }").0, Code::WrongType);
}

#[test]
fn a_comment_right_behind_a_bracket_is_one_and_moves_nothing() {
    let text = "name: t\ntopology:\n  nodes:\n    a: {kind: linux, runtime: namespace}#é and ü\n    b: {kind: linux, runtime: namespace}#\n    c: {kind: linux, runtime: namespace, memory: 1GGB}#x\n  links:\n    - endpoints: [\"a:eth1\", \"b:eth1\"]#cable";
    let found = diagnostics(text);
    let [mistake] = &found[..] else { panic!("{found:?}") };
    assert_eq!((mistake.code, mistake.span.line, mistake.span.column), (Code::InvalidValue, 6, 50));
    assert_eq!(&text[mistake.span.range().start..][..4], "1GGB");
    assert_eq!(lab(&text.replace("1GGB", "1GB")).links().len(), 1);
    let many = "    - endpoints: [\"a:eth1\", \"b:eth1\"]#\n".repeat(1000);
    assert_eq!(diagnostics(&format!("name: t\ntopology:\n  links:\n{many}")).last().unwrap().code, Code::Syntax);
}
