//! Links that are wrong, or that are not made yet.

use super::*;
use crate::name::Mtu;

#[test]
fn links_are_checked() {
    let nodes = "{ a: {}, b: {}, c: { runtime: docker, image: x }, br: { kind: bridge } }";
    for (link, code, path) in [
        ("", Code::WrongType, ""),
        ("{}", Code::Missing, ".endpoints"),
        ("{ endpoints: }", Code::EndpointCount, ".endpoints"),
        ("{ endpoints: a }", Code::WrongType, ".endpoints"),
        ("{ endpoints: [] }", Code::EndpointCount, ".endpoints"),
        ("{ endpoints: ['a:eth1'] }", Code::EndpointCount, ".endpoints"),
        ("{ endpoints: ['a:eth1', 'b:eth1', 'a:eth2'] }", Code::EndpointCount, ".endpoints"),
        ("{ endpoints: ['a', 'b:eth1'] }", Code::EndpointSyntax, ".endpoints[0]"),
        ("{ endpoints: ['a:', 'b:eth1'] }", Code::EndpointSyntax, ".endpoints[0]"),
        ("{ endpoints: [':eth1', 'b:eth1'] }", Code::EndpointSyntax, ".endpoints[0]"),
        ("{ endpoints: [' :eth1', 'b:eth1'] }", Code::EndpointSyntax, ".endpoints[0]"),
        ("{ endpoints: ['a:eth1', { node: b, interface: eth1 }] }", Code::WrongType, ".endpoints[1]"),
        ("{ endpoints: ['a:eth1', 'bb:eth1'] }", Code::UnknownNode, ".endpoints[1]"),
        ("{ endpoints: ['a:eth1', 'macvlan:a b'] }", Code::InvalidName, ".endpoints[1]"),
        ("{ endpoints: ['mgmt-net:x', 'macvlan:y'] }", Code::InvalidValue, ".endpoints"),
        ("{ endpoints: ['a:eth1', 'b:eth1'], deploymentstate: 1 }", Code::IgnoredField, ".deploymentstate"),
        ("{ endpoints: ['a:eth1', 'b:eth1'], linktype: veth }", Code::IgnoredField, ".linktype"),
        ("{ endpoints: ['a:e th', 'b:eth1'] }", Code::InvalidName, ".endpoints[0]"),
        ("{ endpoints: ['a:lo', 'b:eth1'] }", Code::ReservedInterface, ".endpoints[0]"),
        ("{ endpoints: ['c:eth0', 'b:eth1'] }", Code::ReservedInterface, ".endpoints[0]"),
        ("{ endpoints: ['a:eth1', 'host:br'] }", Code::DuplicateInterface, ".endpoints[1]"),
        ("{ endpoints: ['a:eth1', 'a:eth1'] }", Code::DuplicateInterface, ".endpoints[1]"),
        ("{ endpoints: ['a:eth1', 'b:eth1'], mtu: -1 }", Code::InvalidValue, ".mtu"),
        ("{ endpoints: ['a:eth1', 'b:eth1'], mtu: 70000 }", Code::InvalidValue, ".mtu"),
        ("{ endpoints: ['a:eth1', 'b:eth1'], mtu: 67 }", Code::InvalidValue, ".mtu"),
        ("{ endpoints: ['a:eth1', 'b:eth1'], ipv4: [1.2.3.4/33] }", Code::InvalidValue, ".ipv4[0]"),
        ("{ endpoints: ['a:eth1', 'b:eth1'], ipv6: ['', '::1'] }", Code::InvalidValue, ".ipv6[1]"),
        ("{ endpoints: ['a:eth1', 'b:eth1'], ipv4: ['', '', ''] }", Code::InvalidValue, ".ipv4"),
        ("{ endpoints: ['a:eth1', 'b:eth1'], endpoint: {} }", Code::UnknownField, ".endpoint"),
        ("{ endpoints: ['a:eth1', 'b:eth1'], vars: [x] }", Code::WrongType, ".vars"),
        ("{ endpoints: ['a:eth1', 'br:p1'], ipv4: ['', 10.0.0.1/8] }", Code::NoEffect, ".endpoints[1]"),
        ("{ type: vxlann, endpoint: {} }", Code::UnknownLinkType, ".type"),
        ("{ type: host, host-interface: x }", Code::Missing, ".endpoint"),
        ("{ type: host, host-interface: x, endpoint: }", Code::Missing, ".endpoint"),
        ("{ type: host, endpoint: { node: a, interface: eth1 } }", Code::Missing, ""),
        ("{ type: dummy }", Code::Missing, ".endpoint"),
        ("{ type: dummy, endpoint: { node: br, interface: x } }", Code::InvalidValue, ".endpoint"),
        ("{ type: dummy, endpoint: { node: a } }", Code::Missing, ".endpoint"),
        ("{ type: dummy, endpoint: { node: a, interface: x, vras: {} } }", Code::UnknownField, ".endpoint.vras"),
        ("{ type: macvlan, endpoint: { node: a, interface: x } }", Code::Missing, ""),
        ("{ type: macvlan, host-interface: eno1 }", Code::Missing, ".endpoint"),
        ("{ type: mgmt-net, host-interface: m }", Code::Missing, ".endpoint"),
        (
            "{ type: macvlan, mode: passthrough, host-interface: eno1, endpoint: { node: a, interface: x } }",
            Code::InvalidValue,
            ".mode",
        ),
        ("{ type: vxlan, vni: 1, endpoint: { node: a, interface: x } }", Code::Missing, ""),
        ("{ type: vxlan, remote: h, endpoint: { node: a, interface: x } }", Code::Missing, ""),
        ("{ type: vxlan, remote: 1.2.3, vni: 1, endpoint: { node: a, interface: x } }", Code::InvalidValue, ".remote"),
        ("{ type: vxlan, remote: h, vni: 16777216, endpoint: { node: a, interface: x } }", Code::InvalidValue, ".vni"),
        (
            "{ type: veth, endpoints: [{ node: mgmt-net, interface: x }, { node: b, interface: eth1 }] }",
            Code::UnknownNode,
            ".endpoints[0].node",
        ),
        ("{ type: dummy, endpoint: 'a:x' }", Code::WrongType, ".endpoint"),
        ("{ type: veth, endpoints: [{ node: a, interface: eth1 }] }", Code::EndpointCount, ".endpoints"),
        ("{ type: veth, endpoints: ['a:eth1', { node: b, interface: eth1 }] }", Code::WrongType, ".endpoints[0]"),
        (
            "{ type: veth, endpoints: [{ node: a, interface: eth1, mac: 'zz' }, { node: b, interface: eth1 }] }",
            Code::InvalidValue,
            ".endpoints[0].mac",
        ),
        (
            "{ type: veth, endpoints: [{ node: a, interface: x, mac: '02:00:00:00:00:01' }, { node: b, interface: x, mac: '02:00:00:00:00:01' }] }",
            Code::DuplicateMac,
            ".endpoints[1].mac",
        ),
        (
            "{ type: veth, ipv4: [10.0.0.1/8], endpoints: [{ node: a, interface: x, ipv4: 10.0.0.2/8 }, { node: b, interface: x }] }",
            Code::InvalidValue,
            ".ipv4",
        ),
    ] {
        let (found, at, what) = only(&file(nodes, &format!("[{}]", if link.is_empty() { "~" } else { link })));
        assert_eq!((found, at.as_str()), (code, format!("topology.links[0]{path}").as_str()), "{link}: {what}");
    }
}

#[test]
fn two_links_on_one_interface_show_both_places() {
    insta::assert_snapshot!(said(&file("{ a: , b: }", "\n    - endpoints: ['a:eth1', 'b:eth1']\n    - endpoints: ['b:eth2', 'a:eth1']")), @r#"
    lab.clab.yml:7:29: error[duplicate-interface]: interface `eth1` of node `a` has a link already
       |
     6 |     - endpoints: ['a:eth1', 'b:eth1']
       |                   -------- the first link
     7 |     - endpoints: ['b:eth2', 'a:eth1']
       |                             ^^^^^^^^ the second link
       = at: topology.links[1].endpoints[1]

    lab.clab.yml: 1 error
    "#);
}

#[test]
fn long_interface_names_become_altnames() {
    let text = file("{ a: , b: }", "[{ endpoints: ['a:ethernet-1/1/c1/1', 'b:eth1'] }]");
    let (code, _, what) = only(&text);
    assert_eq!(code, Code::KernelName);
    assert!(what.contains("ethernet-1/1/c1/1"), "{what}");
    let lab = lab(&text);
    let interface = &lab.links()[0].a.interface;
    assert_eq!(interface.display(), "ethernet-1/1/c1/1");
    assert!(interface.kernel().as_str().starts_with("nl"));
    assert_eq!(lab.links()[0].mtu, Mtu::DEFAULT);
}

#[test]
fn links_that_are_not_made_are_said_where_they_are_written() {
    let text = file(
        "{ a: , b: }",
        "
    - endpoints: ['a:eth1', 'mgmt-net:a-oob']
    - endpoints: ['macvlan:eno1', 'a:eth2']
      ipv4: [10.0.0.1/24, 10.0.0.2/24]
    - { type: vxlan, remote: 192.0.2.7, vni: 7, udp-port: 4789, endpoint: { node: b, interface: eth1 } }
    - { type: veth-stitch, endpoints: [{ node: a, interface: eth3 }, { node: b, interface: eth3 }] }",
    );
    insta::assert_snapshot!(said(&text), @r#"

    lab.clab.yml:7:19: warning[no-effect]: an address at the parent of a macvlan has no effect: it is the host's
       |
     7 |     - endpoints: ['macvlan:eno1', 'a:eth2']
       |                   ^^^^^^^^^^^^^^
       = at: topology.links[1].endpoints[0]

    lab.clab.yml:9:59: warning[old-name]: `udp-port` is an old name of this field
       |
     9 |     - { type: vxlan, remote: 192.0.2.7, vni: 7, udp-port: 4789, endpoint: { node: b, interface: eth1 } }
       |                                                           ^^^^
       = at: topology.links[2].udp-port
       = help: write `dst-port`

    lab.clab.yml: 2 warnings
    "#);
    assert_eq!(lab(&text).links().len(), 4);
}

/// A link between node `a` and the bridges `sw` (of Open vSwitch) and `br` (of the kernel).
fn vlans(bridge: &str, near: &str, far: &str) -> String {
    let nodes = "{ a: {}, sw: { kind: ovs-bridge }, br: { kind: bridge } }";
    let link = format!(
        "{{ type: veth, endpoints: [{{ node: a, interface: eth1, vars: {near} }}, {{ node: {bridge}, interface: p1, vars: {far} }}] }}"
    );
    file(nodes, &format!("[{link}]"))
}

#[test]
fn vlans_at_a_bridge_of_open_vswitch_are_checked_where_they_stand() {
    for (far, key) in [
        ("{ vlan: 4095 }", "vlan"),
        ("{ vlan: '10' }", "vlan"),
        ("{ vlan: }", "vlan"),
        ("{ trunks: 10 }", "trunks"),
        ("{ trunks: [] }", "trunks"),
        ("{ vlan: 10, trunks: [ten] }", "trunks"),
        ("{ tag: 10 }", "tag"),
    ] {
        let (code, at, what) = only(&vlans("sw", "{}", far));
        assert_eq!(code, Code::InvalidValue, "{far}: {what}");
        assert_eq!(at, format!("topology.links[0].endpoints[1].vars.{key}"), "{far}");
    }
    insta::assert_snapshot!(said(&vlans("sw", "{}", "{ vlan: 5000 }")), @r"
    lab.clab.yml:5:118: error[invalid-value]: `vlan` has 5000, and that is no VLAN
       |
     5 | …e: sw, interface: p1, vars: { vlan: 5000 } }] }]
       |                                      ^^^^
       = at: topology.links[0].endpoints[1].vars.vlan
       = help: a VLAN is a number from 1 to 4094, without quotes

    lab.clab.yml: 1 error
    ");
    let misplaced = said(&vlans("sw", "{ vlan: 10 }", "{}"));
    assert!(misplaced.contains("a VLAN at a:eth1 has no effect on the port `sw:p1`"), "{misplaced}");
    assert!(misplaced.contains("`{ node: sw, interface: p1, vars: { vlan: 10 } }`"), "{misplaced}");
}

#[test]
fn vlans_elsewhere_are_data_like_any_other_with_a_word_of_warning_beside_bridges() {
    for (bridge, near, far) in
        [("sw", "{ vlan: 10 }", "{}"), ("br", "{}", "{ vlan: 10 }"), ("br", "{}", "{ trunks: x }")]
    {
        let (code, at, what) = only(&vlans(bridge, near, far));
        assert_eq!((code, at.as_str()), (Code::NoEffect, "topology.links[0]"), "{what}");
    }
    for (bridge, near, far) in [
        ("sw", "{ vlan: 10 }", "{ vlan: 10 }"),
        ("sw", "{ tag: 10 }", "{ cost: 1 }"),
        ("br", "{ vlan: 10 }", "{ tag: 10 }"),
    ] {
        let _ = lab(&vlans(bridge, near, far));
    }
    let between =
        "[{ type: veth, endpoints: [{ node: a, interface: eth1, vars: { vlan: x } }, { node: b, interface: eth1 }] }]";
    let _ = lab(&file("{ a: {}, b: {} }", between));
}

#[test]
fn a_lab_from_elsewhere_is_checked_for_vlans_too() {
    let mut parts = lab(&vlans("sw", "{}", "{ vlan: 10 }")).into_parts();
    let port = parts.links[0].b.as_mut().unwrap();
    port.vars.insert("vlan".to_owned(), serde_json::json!(0));
    let why = Lab::new(parts).unwrap_err().to_string();
    assert!(why.contains("`vlan` has 0") && why.contains("1 to 4094"), "{why}");
}
