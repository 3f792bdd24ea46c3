//! One mistake is said once, where it is, and with what to write; what follows from it is not said.

use super::*;

/// All that is said of a text, one line for each: line, code, message, advice.
fn lines(text: &str) -> Vec<String> {
    let line = |d: &Diagnostic| {
        let help = d.help.as_deref().unwrap_or_default();
        format!("{} {} {} ({help})", d.span.line, d.code.as_str(), d.message)
    };
    diagnostics(text).iter().map(line).collect()
}

#[track_caller]
fn says_only(text: &str, words: &[&str]) {
    let lines = lines(text);
    assert_eq!(lines.len(), 1, "{text}\n{lines:#?}");
    for word in words {
        assert!(lines[0].contains(word), "`{word}` in {lines:#?}");
    }
}

#[test]
fn a_misspelt_field_is_not_missed_as_well() {
    for (text, words) in [
        ("nmae: a\ntopology: { nodes: { n: { kind: linux, image: x } } }", "1 unknown-field|`name`"),
        ("name: a\ntopolgy: { nodes: { n: { kind: linux, image: x } } }", "2 unknown-field|`topology`"),
        ("name: a\ntopology: { node: { n: { kind: linux, image: x } } }", "2 unknown-field|`nodes`"),
        (
            "name: a\ntopology:\n  default: { kind: linux, image: x }\n  nodes: { n: , m: }",
            "3 unknown-field|`defaults`",
        ),
        ("name: a\ntopology:\n  defaults: { kid: linux, image: x }\n  nodes: { n: , m: }", "3 unknown-field|`kind`"),
        ("name: a\ntopology:\n  nodes:\n    n:\n      knd: linux\n      image: x", "5 unknown-field|`kind`"),
        ("name: a\ntopology:\n  nodes:\n    n:\n      kind: linux\n      imge: x", "6 unknown-field|`image`"),
        (
            "name: a\ntopology:\n  nodes:\n    n:\n      kind: linux\n      runtme: namespace",
            "6 unknown-field|`runtime`",
        ),
    ] {
        says_only(text, &words.split('|').collect::<Vec<_>>());
    }
    let link = |link: &str| file("{ a: , b: }", &format!("[{link}]"));
    says_only(&link("{ enpoints: ['a:eth1', 'b:eth1'] }"), &["unknown-field", "did you mean `endpoints`?"]);
    says_only(&link("{ endpoint: ['a:eth1', 'b:eth1'] }"), &["unknown-field", "did you mean `endpoints`?"]);
    says_only(
        &link("{ type: dummy, endpont: { node: a, interface: eth1 } }"),
        &["unknown-field", "did you mean `endpoint`?"],
    );
}

#[test]
fn a_missing_space_behind_a_colon_is_said_as_that() {
    says_only(
        "name: a\ntopology:\n  nodes:\n    n:\n      kind:linux\n",
        &["5 wrong-type", "write a space behind the colon: `kind: linux`"],
    );
}

#[test]
fn an_endpoint_with_a_space_behind_its_colon_is_said_as_that() {
    let said = lines(&file("{ a: , b: }", "[{ endpoints: [a: eth1, 'b:eth1'] }]"));
    assert!(said[0].contains("write `\"a:eth1\"`, without a space behind the colon"), "{said:#?}");
}

#[test]
fn what_is_written_as_for_other_tools_is_told_the_form_of_this_one() {
    for (node, help) in [
        ("env: [A=1]", "write one `name: value` per line"),
        ("labels: [a=b]", "write one `name: value` per line"),
        ("sysctls: [net.ipv4.ip_forward=1]", "write one `name: value` per line"),
        ("cmd: [sleep, 1d]", "write one text"),
        ("binds: { /etc: /x }", "each after `- `"),
    ] {
        says_only(&file(&format!("{{ a: {{ {node} }} }}"), "[]"), &["wrong-type", help]);
    }
    let nodes = "name: a\ntopology:\n  nodes:\n    - name: n\n      kind: linux\n";
    says_only(nodes, &["`nodes` must be a map", "without `- `"]);
}

#[test]
fn links_in_no_form_are_told_the_form() {
    let link = |link: &str| file("{ a: , b: }", &format!("[{link}]"));
    says_only(&link("'a:eth1 b:eth1'"), &["a link is a map", "endpoints: [\"r1:eth1\", \"r2:eth1\"]"]);
    says_only(&link("['a:eth1', 'b:eth1']"), &["a link is a map", "endpoints: [\"r1:eth1\", \"r2:eth1\"]"]);
    says_only(&link("~"), &["this link is empty"]);
    // Whoever writes a type is told the form of links with a type.
    says_only(&link("{ type: veth }"), &["no `endpoints`", "[{ node: r1, interface: eth1 }, { node: r2"]);
    says_only(
        &link("{ type: veth, endpoints: [{ node: a, interface: eth1 }] }"),
        &["two endpoints, and here is 1", "[{ node: r1, interface: eth1 }, { node: r2"],
    );
}

#[test]
fn an_absolute_path_that_leads_nowhere_is_not_explained_with_itself() {
    let said = lines(&file("{ a: { binds: ['/none:/x'], license: /none } }", "[]"));
    assert!(said.iter().all(|line| !line.contains("relative to the topology file")), "{said:#?}");
}

#[test]
fn an_image_of_the_defaults_is_not_said_to_be_unused_by_a_node_that_needs_none() {
    let text = "name: a\ntopology:\n  defaults: { kind: linux, image: x }\n  nodes: { n: { runtime: namespace }, m: }";
    assert_eq!(lines(text), Vec::<String>::new());
    let text = "name: a\ntopology:\n  defaults: { kind: linux }\n  nodes: { n: { runtime: namespace, image: x } }";
    says_only(text, &["this image is not used"]);
}

#[test]
fn an_empty_text_leaves_a_field_to_the_next_level() {
    let text = |fields: &str| {
        format!(
            "name: a\ntopology:\n  defaults: {{ kind: linux, image: x, group: g, cmd: c }}\n  nodes: {{ n: {{ {fields} }} }}\n"
        )
    };
    let plain = lab(&text(""));
    for field in [
        "kind",
        "runtime",
        "image",
        "group",
        "cmd",
        "entrypoint",
        "hostname",
        "user",
        "memory",
        "network-mode",
        "type",
        "image-pull-policy",
        "restart-policy",
        "pid-mode",
        "cgroupns-mode",
        "cpu-set",
        "shm-size",
        "license",
        "startup-config",
        "mgmt-ipv4",
        "mgmt-ipv6",
        "link-apply-mode",
    ] {
        let text = text(&format!("{field}: \"\""));
        assert_eq!(diagnostics(&text), [], "{field}");
        assert_eq!(lab(&text), plain, "{field}");
    }
    for none in ["cpu: 0", "memory: 0"] {
        assert_eq!(lab(&text(none)), plain, "{none}");
    }
    for refused in ["auto-remove: \"\"", "ports: \"\"", "startup-delay: \"\"", "dns: \"\""] {
        assert!(!diagnostics(&text(refused)).is_empty(), "{refused}");
    }
}

#[test]
fn a_link_of_no_type_and_an_mtu_of_nothing_are_the_default() {
    let link = |more: &str| lab(&file("{ a: , b: }", &format!("[{{ endpoints: ['a:eth1', 'b:eth1']{more} }}]")));
    assert_eq!(link(", type: ''"), link(""));
    assert_eq!(link(", mtu: 0"), link(""));
}

#[test]
fn a_network_that_is_shared_in_a_circle_is_refused_once() {
    let text = |nodes: &str| format!("name: a\ntopology:\n  defaults: {{ kind: linux, image: x }}\n  nodes: {nodes}\n");
    let shares = |other: &str| format!("{{ network-mode: 'container:{other}' }}");
    says_only(&text(&format!("{{ a: {} }}", shares("a"))), &["node `a` shares the network"]);
    let (b, c) = (shares("b"), shares("c"));
    says_only(&text(&format!("{{ a: {b}, b: {c}, c: {b} }}")), &["node `b` shares the network"]);
    assert_eq!(lines(&text(&format!("{{ a: {b}, b: {c}, c: }}"))), Vec::<String>::new());
    assert_eq!(lines(&text(&format!("{{ a: {} }}", shares("elsewhere")))), Vec::<String>::new());
}

#[test]
fn a_management_network_is_not_said_to_be_unused_because_of_a_mistake() {
    let text = |node: &str| format!("name: a\nmgmt: {{ mtu: 1400 }}\ntopology:\n  nodes: {{ n: {node} }}\n");
    says_only(&text("{ kind: linux }"), &["node `n` has no image"]);
    says_only(&text("{ kind: linux, imge: x }"), &["`imge`"]);
    says_only(&text("{ kind: linux, runtime: namespace }"), &["the management network needs"]);
}

#[test]
fn a_gateway_of_a_subnet_that_is_chosen_later_is_said_to_have_no_effect() {
    let text =
        |mgmt: &str| format!("name: a\nmgmt: {{ {mgmt} }}\ntopology:\n  nodes: {{ n: {{ kind: linux, image: x }} }}\n");
    says_only(
        &text("ipv4-subnet: auto, ipv4-gw: 10.0.0.1"),
        &["no-effect", "`ipv4-gw`", "write a network as `ipv4-subnet`"],
    );
    assert_eq!(lab(&text("network: ''")), lab(&text("network: ")));
}

#[test]
fn ports_with_a_space_and_ports_of_bridges_with_one_name_get_their_own_advice() {
    let port = "name: a\ntopology:\n  nodes: { n: { kind: linux, image: x, ports: [80: 80] } }\n";
    says_only(port, &["a port is one text", "without a space behind the colon"]);
    let links = "[{ endpoints: ['a:eth1', 'br:p1'] }, { endpoints: ['a:eth2', 'br:p1'] }]";
    says_only(&file("{ a: , br: { kind: bridge } }", links), &["`p1` of the host", "write for example `br:br-p2`"]);
}

#[test]
fn fields_of_other_places_and_tools_are_told_where_they_belong() {
    for (field, help) in [
        ("wait-for: [b]", "`stages: { create: { wait-for:"),
        ("copy-to-flash: [x]", "`extras: { ceos-copy-to-flash:"),
        ("environment: { A: 1 }", "`env: { NAME: value }`"),
        ("command: x", "write `cmd`"),
        ("links: []", "`topology.links`"),
    ] {
        says_only(&file(&format!("{{ a: {{ {field} }} }}"), "[]"), &["unknown-field", help]);
    }
    let settings = "name: a\ntopology:\n  settings: { }\n  nodes: { a: { kind: linux, image: x } }\n";
    says_only(settings, &["`topology` has no field `settings`", "at the top of the file"]);
}

#[test]
fn a_node_cannot_have_an_address_that_the_management_network_needs_itself() {
    let text = |net: &str, address: &str| {
        format!(
            "name: a\nmgmt: {{ ipv4-subnet: {net} }}\ntopology:\n  nodes: {{ n: {{ kind: linux, image: x, mgmt-ipv4: {address} }} }}\n"
        )
    };
    says_only(&text("10.0.0.0/24", "10.0.0.0"), &["no node can have `10.0.0.0`"]);
    says_only(&text("10.0.0.0/24", "10.0.0.255"), &["no node can have `10.0.0.255`"]);
    assert_eq!(lines(&text("10.0.0.0/23", "10.0.0.255")), Vec::<String>::new());
    assert_eq!(lines(&text("10.0.0.0/31", "10.0.0.0")), Vec::<String>::new());
}
