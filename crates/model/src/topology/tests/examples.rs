//! Files that are right, the format's own examples first.

use super::*;
use crate::lab::{Endpoint, NetworkMode, RestartPolicy, RuntimeKind};
use crate::name::{Kind, Mtu};

#[test]
fn e1_is_a_lab_of_two_containers() {
    let lab = lab(E1);
    assert_eq!(lab.name().as_str(), "campus-min");
    assert_eq!(lab.source(), Some("/labs/lab.clab.yml"));
    let core = node(&lab, "core");
    assert_eq!((core.kind.clone(), core.runtime), (Kind::linux(), Some(RuntimeKind::Docker)));
    assert_eq!(core.image.as_deref(), Some("alpine:3"));
    assert_eq!(core.cmd, ["sleep", "infinity"]);
    assert_eq!(core.exec, [["ip", "address", "add", "10.9.0.1/30", "dev", "eth1"]]);
    assert_eq!(core.hostname, "core");
    assert_eq!(core.restart_policy, RestartPolicy::Always);
    assert_eq!(lab.container_name(&"core".parse().unwrap()), "clab-campus-min-core");
    let [wire, tap] = lab.links() else { panic!() };
    assert_eq!(wire.id().as_str(), "core:eth1-edge:eth1");
    assert_eq!(wire.mtu, Mtu::DEFAULT);
    assert_eq!(wire.a.mac.0[..3], [0xaa, 0xc1, 0xab]);
    assert_eq!(tap.b.as_ref().unwrap().at, Endpoint::Host);
    assert_eq!(tap.mtu.bytes(), 1500);
}

#[test]
fn e2_inherits_by_four_rules() {
    let lab = lab(E2);
    let leaf = node(&lab, "leaf1");
    let env: Vec<(&str, &str)> = leaf.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, [("REGION", "eu"), ("ROLE", "1"), ("TIER", "leaf")]);
    assert_eq!(leaf.exec, [["echo", "defaults"], ["echo", "group"], ["echo", "node"]]);
    assert_eq!(leaf.binds.len(), 1);
    assert_eq!((leaf.binds[0].source.as_str(), leaf.binds[0].target.as_str()), ("/labs/motd-leaf1", "/etc/motd"));
    assert_eq!(leaf.memory_bytes, Some(256_000_000));
    assert_eq!(leaf.cpu_millis, Some(500));
    assert_eq!(leaf.labels["team"], "net");
    assert_eq!(leaf.group.as_deref(), Some("leafs"));
    assert_eq!(node(&lab, "plain1").restart_policy, RestartPolicy::No);
    assert_eq!(node(&lab, "plain1").binds[0].source, "/labs/motd-base");
    assert_eq!(lab.container_name(&"leaf1".parse().unwrap()), "inherit-leaf1");
}

#[test]
fn e10_gives_one_error_for_each_bad_line() {
    let text = r#"name: wrong
topology:
  nodes:
    n1: { kind: linux, image: "alpine:3", memmory: 1G }
  links:
    - endpoints: ["n1:eth1"]
    - endpoints: ["n1", "n2:eth1"]
    - endpoints: ["n1:eth0", "ghost:eth1"]
    - { type: vxlann, endpoint: { node: n1, interface: eth1 } }
"#;
    let found = diagnostics(text);
    let lines: Vec<(u32, Code)> = found.iter().map(|d| (d.span.line, d.code)).collect();
    assert_eq!(
        lines,
        [
            (4, Code::UnknownField),
            (6, Code::EndpointCount),
            (7, Code::EndpointSyntax),
            (7, Code::UnknownNode),
            (8, Code::ReservedInterface),
            (8, Code::UnknownNode),
            (9, Code::UnknownLinkType),
        ]
    );
}

#[test]
fn scalars_keep_their_raw_text() {
    let text = "
name: 007
topology:
  nodes:
    1:
      kind: Linux
      image: 1.10
      restart-policy: no
      env: { A: 1.10, B: no, C: 22:22, D: 0x10, E: , F: ~, G: 'null' }
      labels: { on: yes }
      user: 1000:1000
      sysctls: { net.ipv4.ip_forward: 1 }
      cpu: 1.5
      memory: 1g
      startup-delay: 3
      network-mode: none
  links:
    - endpoints: [1:eth0, host:x1]
";
    let lab = lab(text);
    let one = node(&lab, "1");
    assert_eq!(lab.name().as_str(), "007");
    assert_eq!(one.image.as_deref(), Some("1.10"));
    assert_eq!(one.restart_policy, RestartPolicy::No);
    let env: Vec<&str> = one.env.values().map(String::as_str).collect();
    assert_eq!(env, ["1.10", "no", "22:22", "0x10", "", "", "null"]);
    assert_eq!(one.labels["on"], "yes");
    assert_eq!(one.user.as_deref(), Some("1000:1000"));
    assert_eq!(one.sysctls["net.ipv4.ip_forward"], "1");
    assert_eq!((one.cpu_millis, one.memory_bytes, one.startup_delay), (Some(1500), Some(1_000_000_000), 3));
    assert_eq!(one.network_mode, NetworkMode::None);
}

#[test]
fn a_namespace_node_may_have_eth0_and_home_binds() {
    let text = file(
        "{ a: { binds: ['~/keys:/keys', '/etc/hosts:/h/:rw'] }, h: { kind: host }, sw: { kind: bridge } }",
        "[{ endpoints: ['a:eth0', 'h:up0'] }, { endpoints: ['a:eth1', 'sw:p1'] }]",
    );
    let lab = lab(&text);
    let binds: Vec<(&str, &str)> =
        node(&lab, "a").binds.iter().map(|b| (b.source.as_str(), b.target.as_str())).collect();
    assert_eq!(binds, [("/etc/hosts", "/h"), ("/home/ada/keys", "/keys")]);
    assert_eq!(node(&lab, "a").runtime, Some(RuntimeKind::Namespace));
    assert_eq!(lab.links()[0].id().as_str(), "a:eth0-host:up0");
    assert_eq!(node(&lab, "h").kind, Kind::host());
}

#[test]
fn a_byte_order_mark_windows_lines_and_document_marks_are_fine() {
    let text = file("{ a: , b: }", "[{ endpoints: ['a:eth1', 'b:eth1'] }]").replace('\n', "\r\n");
    assert!(read_bytes(format!("\u{feff}{text}").as_bytes()).lab.is_some());
    assert_eq!(diagnostics(&format!("---\n{text}---\n")), []);
    assert!(read_bytes(format!("%YAML 1.1\n---\n{text}...\n").as_bytes()).lab.is_some());
    assert_eq!(only(&format!("{text}---\nname: b\n")).0, Code::Syntax);
    let marked = format!("\u{feff}{}", file("{ a: { memmory: 1 } }", "[]"));
    let found = diagnostics(&marked);
    assert_eq!(&marked[found[0].span.range()], "memmory");
}

#[test]
fn a_lab_of_another_name_has_other_mac_addresses() {
    let text = file("{ a: , b: }", "[{ endpoints: ['a:eth1', 'b:eth1'] }]");
    let host = Paths(BTreeSet::new());
    let input = Input {
        text: text.as_bytes(),
        directory: Path::new("/labs"),
        source: None,
        host: &host,
        kinds: Kinds::builtin(),
        templates: Templates::default(),
    };
    let other = read_as(&input, Some(&"other".parse().unwrap())).lab.unwrap();
    assert_eq!(other.name().as_str(), "other");
    assert_ne!(other.links()[0].a.mac, lab(&text).links()[0].a.mac);
}

#[test]
fn derived_macs_never_meet_given_ones() {
    let wire = "{ endpoints: ['a:eth1', 'b:eth1'] }";
    let taken = lab(&file("{ a: , b: }", &format!("[{wire}]"))).links()[0].a.mac;
    let given = format!("{{ type: dummy, endpoint: {{ node: b, interface: d0, mac: '{taken}' }} }}");
    let lab = lab(&file("{ a: , b: }", &format!("[{wire}, {given}]")));
    let by_id = |id: &str| lab.links().iter().find(|link| link.id().as_str() == id).unwrap();
    assert_eq!(by_id("b:d0").a.mac, taken);
    assert_eq!(by_id("a:eth1-b:eth1").a.mac, crate::derived_mac(lab.name(), "a:eth1", 1));
}

#[test]
fn restricting_keeps_links_with_both_ends_and_the_bridges_of_what_stays() {
    let text = file(
        "{ a: , b: , c: , sw: { kind: bridge }, other: { kind: bridge } }",
        "[{ endpoints: ['a:eth1', 'b:eth1'] }, { endpoints: ['b:eth2', 'c:eth1'] }, { endpoints: ['a:eth2', 'sw:p1'] },
          { endpoints: ['c:eth2', 'other:p2'] }, { endpoints: ['b:eth3', 'host:up'] }, { endpoints: ['c:eth3', 'host:uc'] }]",
    );
    let lab = lab(&text);
    let keep = |names: &[&str]| lab.restrict(&names.iter().map(|name| name.parse().unwrap()).collect());
    let part = keep(&["a", "b"]).unwrap();
    let nodes: Vec<&str> = part.nodes().keys().map(crate::NodeName::as_str).collect();
    let links: Vec<String> = part.links().iter().map(|link| link.id().to_string()).collect();
    assert_eq!(nodes, ["a", "b", "sw"]);
    assert_eq!(links, ["a:eth1-b:eth1", "a:eth2-sw:p1", "b:eth3-host:up"]);
    assert_eq!(Lab::new(part.clone().into_parts()).unwrap(), part);
    let error = keep(&["a", "othr"]).unwrap_err();
    assert_eq!(error.to_string(), "there is no node `othr`; did you mean `other`?");
}

/// The examples of the format whose fields have no effect yet.
#[test]
fn what_cannot_be_done_yet_is_never_called_unknown() {
    for text in [E5, E6, E7, E8] {
        for found in diagnostics(text) {
            let fine = match found.severity {
                Severity::Warning => {
                    const FINE: [Code; 5] =
                        [Code::IgnoredField, Code::Substitution, Code::NoEffect, Code::KernelName, Code::LeftOut];
                    FINE.contains(&found.code)
                }
                // A name that is a variable is no name until variables are replaced.
                Severity::Error => found.code == Code::Unsupported || found.message.contains("`${LAB"),
            };
            assert!(fine, "{found:?}");
        }
    }
}
