//! The management network: what is given, what follows from it, and what cannot be.

use serde_json::json;

use super::*;
use crate::lab::Family;

fn with(mgmt: &str) -> String {
    format!("name: t\nmgmt: {mgmt}\ntopology: {{ nodes: {{ a: {{ kind: linux, image: x, mgmt-ipv4: 10.0.0.9 }} }} }}\n")
}

#[test]
fn one_family_alone_switches_the_other_off() {
    let management = |mgmt: &str| lab(&with(mgmt)).management().clone();
    let both = management("{ network: oob }");
    assert!(both.ipv4 != Family::Off && both.ipv6 != Family::Off);
    assert_eq!(management("{ ipv4-subnet: 10.0.0.0/24 }").ipv6, Family::Off);
    assert_eq!(management("{ ipv6-subnet: '2001:db8::/64' }").ipv4, Family::Off);
    let auto = management("{ ipv4-subnet: auto, ipv6-subnet: AUTO }");
    assert_eq!((auto.ipv4, auto.ipv6), (Family::Auto, Family::Auto));
    assert_eq!(management("{ ipv4-subnet: '', mtu: 0 }").mtu, None);
}

#[test]
fn the_parts_of_a_subnet_are_inside_of_it() {
    let text =
        with("\n  ipv4-subnet: 10.0.0.0/24\n  ipv4-gw: 10.0.1.1\n  ipv4-range: 10.0.0.0/23\n  ipv6-gw: '2001:db8::1'");
    insta::assert_snapshot!(said(&text), @r#"
    lab.clab.yml:4:12: error[invalid-value]: `ipv4-gw` 10.0.1.1 is not in 10.0.0.0/24
       |
     3 |   ipv4-subnet: 10.0.0.0/24
       |                ----------- the subnet
     4 |   ipv4-gw: 10.0.1.1
       |            ^^^^^^^^
       = at: mgmt.ipv4-gw

    lab.clab.yml:5:15: error[invalid-value]: `ipv4-range` 10.0.0.0/23 is not in 10.0.0.0/24
       |
     3 |   ipv4-subnet: 10.0.0.0/24
       |                ----------- the subnet
     …
     5 |   ipv4-range: 10.0.0.0/23
       |               ^^^^^^^^^^^
       = at: mgmt.ipv4-range

    lab.clab.yml:6:12: warning[no-effect]: `ipv6-gw` has no effect: `mgmt` gives a subnet of the other family only
       |
     6 |   ipv6-gw: '2001:db8::1'
       |            ^^^^^^^^^^^^^
       = at: mgmt.ipv6-gw
       = help: add `ipv6-subnet`

    lab.clab.yml: 2 errors, 1 warning
    "#);
    let (code, path, _) = only(&with("{ ipv6-gw: '2001:db8::1' }"));
    assert_eq!((code, path.as_str()), (Code::InvalidValue, "mgmt.ipv6-gw"));
}

#[test]
fn old_and_loose_ways_to_write_a_subnet_are_taken() {
    let text = with("{ ipv4_subnet: 10.0.0.1/24 }");
    let codes: Vec<Code> = diagnostics(&text).iter().map(|found| found.code).collect();
    assert_eq!(codes, [Code::OldName, Code::InvalidValue]);
    assert_eq!(json!(lab(&text).management().ipv4), json!({ "subnet": { "net": "10.0.0.0/24" } }));
}

#[test]
fn the_network_may_be_made_of_macvlans() {
    let text = with("{ driver: MacVLAN, macvlan-parent: eno1, macvlan-aux: 10.0.0.129/25 }");
    assert_eq!(diagnostics(&text), []);
    let driver = json!({ "macvlan": { "parent": "eno1", "host": "10.0.0.129/25" } });
    let managed = lab(&text);
    assert_eq!(json!(managed.management().driver), driver);
    assert_eq!(lab(&crate::topology::write(&managed, None)), managed);
    let (code, path, _) = only(&with("{ macvlan-parent: eno1 }"));
    assert_eq!((code, path.as_str()), (Code::NoEffect, "mgmt.macvlan-parent"));
    assert_eq!(only(&with("{ driver: macvtap }")).0, Code::InvalidValue);
}

#[test]
fn old_names_of_addresses_are_taken() {
    let text = "name: t\ntopology: { nodes: { a: { kind: linux, image: x, mgmt_ipv4: 10.0.0.9 } } }";
    let (code, path, what) = only(text);
    assert_eq!((code, path.as_str()), (Code::OldName, "topology.nodes.a.mgmt_ipv4"), "{what}");
    assert_eq!(node(&lab(text), "a").management.ipv4, Some("10.0.0.9".parse().unwrap()));
    let twice = "name: t\ntopology: { defaults: { kind: linux, image: x }, nodes: { a: { mgmt_ipv4: 10.0.0.9 }, b: { mgmt-ipv4: 10.0.0.9 } } }";
    assert!(diagnostics(twice).iter().any(|found| found.code == Code::DuplicateAddress));
}

#[test]
fn wrong_values_of_the_management_network_are_said() {
    for (mgmt, code, path) in [
        ("{ ipv4-subnet: 10.0.0.0 }", Code::InvalidValue, "mgmt.ipv4-subnet"),
        ("{ ipv4-subnet: 10.0.0.0/33 }", Code::InvalidValue, "mgmt.ipv4-subnet"),
        ("{ ipv6-subnet: 10.0.0.0/24 }", Code::InvalidValue, "mgmt.ipv6-subnet"),
        ("{ ipv4-gw: gateway }", Code::InvalidValue, "mgmt.ipv4-gw"),
        ("{ network: a b }", Code::InvalidValue, "mgmt.network"),
        ("{ bridge: a-name-too-long-for-it }", Code::InvalidValue, "mgmt.bridge"),
        ("{ mtu: 1 }", Code::InvalidValue, "mgmt.mtu"),
        ("{ external-access: maybe }", Code::InvalidValue, "mgmt.external-access"),
        ("{ driver-opts: [a] }", Code::WrongType, "mgmt.driver-opts"),
        ("{ ipv4-subnets: 10.0.0.0/24 }", Code::UnknownField, "mgmt.ipv4-subnets"),
        ("oob", Code::WrongType, "mgmt"),
    ] {
        let (found, at, what) = only(&with(mgmt));
        assert_eq!((found, at.as_str()), (code, path), "{mgmt}: {what}");
    }
}

#[test]
fn addresses_of_nodes_are_free_and_of_the_network() {
    let text = "
name: t
mgmt: { ipv4-subnet: 10.0.0.0/24, ipv4-gw: 10.0.0.1 }
topology:
  defaults: { kind: linux, image: x }
  nodes:
    a: { mgmt-ipv4: 10.0.0.5 }
    b: { mgmt-ipv4: 10.0.0.5 }
    c: { mgmt-ipv4: 10.0.1.5 }
    d: { mgmt-ipv4: 10.0.0.1 }
    e: { mgmt-ipv4: 10.0.0.300 }
    f: { mgmt-ipv6: \"2001:db8::1/64\" }
";
    insta::assert_snapshot!(said(text), @r#"
    lab.clab.yml:8:21: error[duplicate-address]: address `10.0.0.5` is given to two nodes
       |
     7 |     a: { mgmt-ipv4: 10.0.0.5 }
       |                     -------- the first one
     8 |     b: { mgmt-ipv4: 10.0.0.5 }
       |                     ^^^^^^^^ the second one
       = at: topology.nodes.b.mgmt-ipv4

    lab.clab.yml:9:21: error[invalid-value]: `10.0.1.5` is not in the management network 10.0.0.0/24
       |
     9 |     c: { mgmt-ipv4: 10.0.1.5 }
       |                     ^^^^^^^^
       = at: topology.nodes.c.mgmt-ipv4
       = help: choose a free address of the subnet that `mgmt` gives

    lab.clab.yml:10:21: error[invalid-value]: `10.0.0.1` is the gateway of the management network
        |
     10 |     d: { mgmt-ipv4: 10.0.0.1 }
        |                     ^^^^^^^^
        = at: topology.nodes.d.mgmt-ipv4
        = help: choose a free address of the subnet that `mgmt` gives

    lab.clab.yml:11:21: error[invalid-value]: `mgmt-ipv4` cannot be `10.0.0.300`
        |
     11 |     e: { mgmt-ipv4: 10.0.0.300 }
        |                     ^^^^^^^^^^
        = at: topology.nodes.e.mgmt-ipv4
        = help: write an address without a prefix length, such as `172.20.20.11`

    lab.clab.yml:12:21: error[invalid-value]: `mgmt-ipv6` cannot be `2001:db8::1/64`
        |
     12 |     f: { mgmt-ipv6: "2001:db8::1/64" }
        |                     ^^^^^^^^^^^^^^^^
        = at: topology.nodes.f.mgmt-ipv6
        = help: write an address without a prefix length, such as `3fff:172:20:20::11`

    lab.clab.yml: 5 errors
    "#);
    // A network that is there already may have any subnet.
    assert!(diagnostics(&with("{ network: there }")).is_empty());
}

#[test]
fn a_network_that_nobody_is_on_is_said() {
    let text = file("{ a: }", "[]").replace("name: t", "name: t\nmgmt: { network: oob }");
    let (code, path, _) = only(&text);
    assert_eq!((code, path.as_str()), (Code::IgnoredField, "mgmt"));
    assert_eq!(lab(&text).management().network, "oob");
}

#[test]
fn settings_are_checked() {
    let with = |settings: &str| file("{ a: }", "[]").replace("name: t", &format!("name: t\nsettings: {settings}"));
    for (settings, code, path) in [
        ("{ fabric: ovx }", Code::InvalidValue, "settings.fabric"),
        ("{ certificate-authority: { cert: ~/ca.pem } }", Code::Missing, "settings.certificate-authority"),
        ("{ certificate-authority: { key-size: big } }", Code::InvalidValue, "settings.certificate-authority.key-size"),
        (
            "{ certificate-authority: { validity-duration: 1d } }",
            Code::InvalidValue,
            "settings.certificate-authority.validity-duration",
        ),
        (
            "{ certificate-authority: { cert: no.pem, key: ~/keys } }",
            Code::MissingFile,
            "settings.certificate-authority.cert",
        ),
        ("{ authority: {} }", Code::UnknownField, "settings.authority"),
    ] {
        let found = diagnostics(&with(settings));
        assert!(found.iter().any(|found| (found.code, found.path.as_str()) == (code, path)), "{settings}: {found:?}");
    }
    let debug = file("{ a: }", "[]").replace("name: t", "name: t\ndebug: true");
    assert_eq!(only(&debug).0, Code::IgnoredField);
    assert!(lab(&debug).settings().debug);
}
