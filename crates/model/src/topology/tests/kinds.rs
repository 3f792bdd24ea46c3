//! Nodes of kinds other than `linux`: what they inherit from their kind, what their interfaces are called, and what of
//! them cannot be made yet.

use super::*;
use crate::lab::Endpoint;
use crate::lab::LinkApplyMode;
use crate::name::{Kind, NodeName};

/// The ends of a lab's links: as the file names them, and the interface in the kernel.
fn ends(lab: &Lab) -> Vec<(String, String)> {
    let ends = lab.links().iter().flat_map(crate::Link::ends);
    ends.map(|end| (end.label(), end.interface.kernel().to_string())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(label, kernel)| ((*label).to_owned(), (*kernel).to_owned())).collect()
}

#[test]
fn e8_reads_vendors_with_their_own_names_of_interfaces() {
    let lab = lab(E8);
    let kinds: Vec<(&str, &str)> = lab.nodes().iter().map(|(name, node)| (name.as_str(), node.kind.as_str())).collect();
    let expected =
        [("crpd", "juniper_crpd"), ("csr", "cisco_csr1000v"), ("eos", "arista_ceos"), ("srl", "nokia_srlinux")];
    assert_eq!(kinds, expected);
    assert_eq!(node(&lab, "srl").image.as_deref(), Some("ghcr.io/nokia/srlinux:25.3"));
    assert!(lab.nodes().values().all(|node| node.runtime == Some(crate::RuntimeKind::Docker)));
    let ids: Vec<String> = lab.links().iter().map(|link| link.id().to_string()).collect();
    assert_eq!(ids, ["crpd:eth1-srl:ethernet-1/2", "csr:Gi2-eos:et2", "eos:eth1-srl:e1-1"]);
    let expected = pairs(&[
        ("srl:ethernet-1/2", "e1-2"),
        ("crpd:eth1", "eth1"),
        ("csr:Gi2", "eth1"),
        ("eos:et2", "eth2"),
        ("srl:e1-1", "e1-1"),
        ("eos:eth1", "eth1"),
    ]);
    assert_eq!(ends(&lab), expected);
    let csr = node(&lab, "csr");
    assert_eq!((csr.env["VCPU"].as_str(), csr.device.needs.kvm, csr.device.needs.interfaces_first), ("2", true, true));
    assert_eq!(node(&lab, "eos").link_apply_mode, Some(LinkApplyMode::Restart));
    assert_eq!(node(&lab, "eos").entrypoint, ["/sbin/init"]);
    assert_eq!(node(&lab, "srl").env["SRLINUX"], "1");

    let wire = serde_json::to_string(&lab).unwrap();
    assert_eq!(serde_json::from_str::<Lab>(&wire).unwrap(), lab);
    let written = crate::topology::write(&lab, None);
    let again = super::lab(&written);
    assert_eq!(ends(&again), ends(&lab));
    assert_eq!(again.nodes(), lab.nodes());
}

#[test]
fn e7_reads_bridges_in_nodes_foreign_containers_and_open_vswitch() {
    let lab = lab(E7);
    let bridge: NodeName = "lan|sw".parse().unwrap();
    assert_eq!(bridge.inner_bridge(), Some(("lan", "sw")));
    assert_eq!((&node(&lab, "lan|sw").kind, node(&lab, "lan|sw").host_bridge(&bridge)), (&Kind::bridge(), None));
    let of_sw = crate::NetworkMode::Container("sw".to_owned());
    assert_eq!((&node(&lab, "lan|sw").network_mode, &node(&lab, "sidecar").network_mode), (&of_sw, &of_sw));
    let foreign = node(&lab, "legacy-db");
    assert_eq!(
        (foreign.runtime, foreign.exec.as_slice()),
        (
            Some(crate::RuntimeKind::Docker),
            [["ip", "link", "set", "eth9", "up"].map(str::to_owned).to_vec()].as_slice()
        )
    );
    assert_eq!(node(&lab, "hv").exec, [["uname", "-r"]]);
    let at = |id: &str| lab.links().iter().find(|link| link.id().as_str() == id).unwrap();
    assert_eq!(at("island:eth0-lan|sw:p1").b.as_ref().unwrap().at, Endpoint::Bridge(bridge));
    assert_eq!(at("lan|sw:p2-legacy-db:eth9").ends().count(), 2);
    assert_eq!(at("island:eth1-ovs0:p3").b.as_ref().unwrap().at, Endpoint::Bridge("ovs0".parse().unwrap()));
    let written = crate::topology::write(&lab, None);
    assert_eq!(diagnostics(&written).len(), diagnostics(E7).len(), "{written}");
    assert_eq!(super::lab(&written).into_parts().nodes, lab.into_parts().nodes);
}

#[test]
fn a_bridge_that_only_its_network_mode_puts_into_a_node_is_in_it() {
    let nodes = |bridges: &str| format!("{{ sw: , n: , {bridges} }}");
    let bridge = "br01: { kind: bridge, network-mode: 'container:sw' }";
    let links = "[{ endpoints: ['n:eth1', 'br01:p1'] }, { endpoints: ['n:eth2', 'host:br01'] }]";
    let text = file(&nodes(bridge), links);
    assert_eq!(diagnostics(&text), []);
    let inner: Vec<String> =
        lab(&text).inner_bridges().map(|of| format!("{} in {}", of.interface().unwrap(), of.node)).collect();
    assert_eq!(inner, ["br01 in sw"]);
    assert_eq!(lab(&text).links()[0].id().as_str(), "br01|sw:p1-n:eth1");
    let written = crate::topology::write(&lab(&text), None);
    assert_eq!(lab(&written).into_parts().nodes, lab(&text).into_parts().nodes);

    let twice = file(&nodes(&format!("{bridge}, 'br01|sw': {{ kind: bridge }}")), "[]");
    let said: Vec<String> = diagnostics(&twice).into_iter().map(|d| format!("{}: {}", d.path, d.message)).collect();
    assert_eq!(said, ["topology.nodes.br01|sw: `br01|sw` is there already"]);
}

#[test]
fn what_cannot_be_made_is_said_where_it_stands() {
    assert_eq!(diagnostics(E7), []);
    let text = file("{ sw: , 'ovs0|sw': { kind: ovs-bridge } }", "[]");
    let said: Vec<String> =
        diagnostics(&text).into_iter().map(|d| format!("{}: {}: {}", d.code, d.path, d.message)).collect();
    assert_eq!(
        said,
        [
            "left-out: topology.nodes.ovs0|sw: `ovs0|sw` and its links are left out: this needs Open vSwitch in a node; its \
            bridges are on the host"
        ]
    );
}

#[test]
fn whoever_shares_a_network_shares_the_names_of_its_interfaces() {
    let errors = |second: &str| {
        let side = "side: { image: x, runtime: docker, network-mode: 'container:sw' }";
        let nodes = format!("{{ sw: , n: , {side}, 'lan|sw': {{ kind: bridge }}, 'dmz|sw': {{ kind: bridge }} }}");
        let text = file(
            &nodes,
            &format!("[{{ endpoints: ['n:eth1', 'lan|sw:p'] }}, {{ endpoints: ['n:eth2', '{second}'] }}]"),
        );
        diagnostics(&text)
            .into_iter()
            .filter(|found| found.severity == Severity::Error)
            .map(|found| found.message)
            .collect::<Vec<_>>()
    };
    for free in ["dmz|sw:q", "lan|sw:q", "sw:q", "side:q"] {
        assert_eq!(errors(free), [""; 0]);
    }
    for second in ["dmz|sw", "lan|sw", "sw", "side"] {
        assert_eq!(errors(&format!("{second}:p")), [format!("interface `p` of node `{second}` has a link already")]);
    }
    for (second, bridge) in [("sw:lan", "lan"), ("side:dmz", "dmz")] {
        let said = format!("`{bridge}` in this node is the bridge `{bridge}|sw`, so no link can have that name there");
        assert_eq!(errors(second), [said]);
    }
}

#[test]
fn a_bridge_in_a_node_needs_the_node() {
    let errors = |nodes: &str| {
        let found = diagnostics(&file(nodes, "[]"));
        let errors = found.into_iter().filter(|found| found.severity == Severity::Error);
        let said = |d: Diagnostic| format!("{}: {}: {} | {}", d.code, d.path, d.message, d.help.unwrap_or_default());
        errors.map(said).collect::<Vec<_>>()
    };
    let near = errors("{ switch: , 'lan|swich': { kind: bridge } }");
    let said = "unknown-node: topology.nodes.lan|swich: bridge `lan|swich` is in node `swich`, and there is no such node \
                | did you mean `switch`?";
    assert_eq!(near, [said]);
    let none = errors("{ 'lan|elsewhere': { kind: bridge } }");
    assert!(none[0].contains("`ext-container`"), "{none:?}");
    let bridge = errors("{ br0: { kind: bridge }, 'lan|br0': { kind: bridge } }");
    assert!(bridge[0].contains("cannot be in `br0`, a node of kind `bridge`"), "{bridge:?}");

    // The field says the node.
    assert_eq!(errors("{ a: , 'lan|1': { kind: bridge, network-mode: 'container:a' } }"), [""; 0]);
    let other = errors("{ a: , 'lan|a': { kind: bridge, network-mode: 'container:b' } }");
    assert!(other[0].contains("is in node `b`, and there is no such node"), "{other:?}");
    assert_eq!(errors("{ db: { kind: ext-container }, 'lan|db': { kind: bridge } }"), [""; 0]);
}

#[test]
fn only_a_bridge_has_a_name_with_a_bar_and_only_one() {
    let (code, _, what) = only(&file("{ 'a|b': }", "[]"));
    assert_eq!(
        (code, what.as_str()),
        (Code::InvalidName, "a name of the form `bridge|node` is that of a bridge inside of a node | ")
    );
    for (name, why) in [
        ("a|", "node name `a|` names the node ``, which is empty; write `bridge|node`"),
        ("|b", "node name `|b` names the bridge ``, which is empty; write `bridge|node`"),
        ("a|b|c", "node name `a|b|c` names the node `b|c`, which contains `|`"),
        ("a-very-long-bridge|b", "a bridge is named as its node, and interface name `a-very-long-bridge` has 18 bytes"),
    ] {
        let found = diagnostics(&file(&format!("{{ '{name}': {{ kind: bridge }} }}"), "[]"));
        assert!(found.iter().any(|found| found.message.starts_with(why)), "{name}: {found:?}");
    }
}

#[test]
fn two_names_of_one_interface_clash() {
    let text = file(
        "{ r: { kind: vr-csr, image: x }, a: , b: }",
        "[{ endpoints: ['r:eth1', 'a:eth1'] }, { endpoints: ['r:Gi2', 'b:eth1'] }]",
    )
    .replace("runtime: namespace", "")
    .replace("a: , b:", "a: { runtime: namespace }, b: { runtime: namespace }");
    let (code, path, what) = only(&text);
    assert_eq!((code, path.as_str()), (Code::DuplicateInterface, "topology.links[1].endpoints[0]"));
    assert_eq!(what, "interface `Gi2` of node `r` has a link already | ");
}

#[test]
fn a_name_that_the_kind_does_not_have_is_an_error_with_an_example() {
    let said = |kind: &str, interface: &str| {
        let nodes = format!("{{ r: {{ kind: {kind}, image: x }}, a: {{ runtime: namespace }} }}");
        let text = file(&nodes, &format!("[{{ endpoints: ['r:{interface}', 'a:eth1'] }}]"));
        let (code, _, what) = only(&text.replace("kind: linux, runtime: namespace", "kind: linux"));
        format!("{code}: {what}")
    };
    assert_eq!(
        said("csr1000v", "Gi1"),
        "interface-rule: node `r` of kind `cisco_csr1000v` has no interface `Gi1` | write for example eth1, Gi2 or GigabitEthernet2"
    );
    assert_eq!(
        said("srl", "eth1"),
        "interface-rule: node `r` of kind `nokia_srlinux` has no interface `eth1` | write for example e1-1 or ethernet-1/1"
    );
    assert_eq!(
        said("srl", "mgmt0"),
        "reserved-interface: `mgmt0` of node `r` is its management interface | use for example e1-1 or ethernet-1/1, or set `network-mode: none` on the node"
    );
    assert_eq!(
        said("ceos", "eth0"),
        "reserved-interface: `eth0` of node `r` is its management interface | use for example eth1, et1 or Ethernet1/1, or set `network-mode: none` on the node"
    );
}

#[test]
fn the_file_wins_over_the_kind_and_any_name_of_a_kind_does() {
    let text = r"
name: t
topology:
  kinds:
    SRL: { image: srl, env: { SRLINUX: 2, MORE: x } }
  nodes:
    a: { kind: nokia_srlinux, cmd: sleep 1d, sysctls: { net.ipv4.ip_forward: 0 } }
    b: { kind: Srl, env: { SRLINUX: 3 } }
";
    let lab = lab(text);
    let (a, b) = (node(&lab, "a"), node(&lab, "b"));
    assert_eq!((a.kind.as_str(), a.kind == b.kind), ("nokia_srlinux", true));
    assert_eq!((a.env["SRLINUX"].as_str(), a.env["MORE"].as_str()), ("2", "x"));
    assert_eq!(b.env["SRLINUX"], "3");
    assert_eq!(a.cmd, ["sleep", "1d"]);
    assert_eq!((a.sysctls["net.ipv4.ip_forward"].as_str(), b.sysctls["net.ipv4.ip_forward"].as_str()), ("0", "1"));
}

#[test]
fn a_linux_node_is_on_the_wire_what_it_was_before_kinds_were_files() {
    let lab = lab(&file("{ a: , sw: { kind: bridge } }", "[]"));
    let wire = serde_json::to_value(&lab).unwrap();
    let expected = serde_json::json!({
        "kind": "linux", "runtime": "namespace", "hostname": "a", "startup_delay": 0, "restart_policy": "always",
        "network_mode": "default",
    });
    assert_eq!(wire["nodes"]["a"], expected);
    assert_eq!(wire["nodes"]["sw"]["kind"], "bridge");
}

#[test]
fn a_container_has_ipv6_unless_the_file_says_otherwise() {
    let off = "net.ipv6.conf.all.disable_ipv6";
    let text = format!("{{ a: {{ image: x }}, b: {{ image: x, sysctls: {{ {off}: 1 }} }} }}");
    let lab = lab(&file(&text, "[]").replace("runtime: namespace", ""));
    assert_eq!((node(&lab, "a").sysctls[off].as_str(), node(&lab, "b").sysctls[off].as_str()), ("0", "1"));
}

#[test]
fn a_cluster_in_containers_needs_no_image() {
    let text = file("{ k: { kind: k8s-kind }, k-control-plane: { kind: ext-container } }", "[]");
    let lab = lab(&text.replace("runtime: namespace", ""));
    assert_eq!((node(&lab, "k").runtime, node(&lab, "k").image.as_deref()), (Some(crate::RuntimeKind::Docker), None));
}

#[test]
fn kinds_of_other_files_are_used() {
    let mut kinds = Kinds::builtin().clone();
    let acme = "name = \"acme\"\nabout = \"ACME router\"\nshell = \"acmesh\"\n\n[interfaces]\npattern = \"eth[0-9]\"\n\
        example = \"port1\"\naliases = [{ pattern = \"port(?<port>[0-9]+)\", kernel = \"eth{port}\" }]\n";
    kinds.extend("kinds.d/acme.toml", acme).unwrap();
    let text =
        file("{ r: { kind: acme, image: acme, runtime: docker }, a: }", "[{ endpoints: ['r:port3', 'a:eth1'] }]");
    let host = Paths(BTreeSet::new());
    let input = Input {
        text: text.as_bytes(),
        directory: Path::new("/labs"),
        source: None,
        host: &host,
        kinds: &kinds,
        templates: Templates::default(),
    };
    let lab = read(&input).lab.unwrap();
    assert_eq!(ends(&lab)[0], ("r:port3".to_owned(), "eth3".to_owned()));
    assert_eq!(node(&lab, "r").device.shell, ["acmesh"]);
}

#[test]
fn the_topology_of_the_page_about_kinds_is_one() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/topology/kinds.md")).unwrap();
    let text = page.split("```yaml topology\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(ends(&lab(text)), pairs(&[("srl:ethernet-1/2", "e1-2"), ("csr:Gi2", "eth1")]));
}

#[test]
fn what_a_kind_says_of_its_containers_is_no_fault_of_a_node_in_namespaces() {
    let found = diagnostics(&file("{ r: { kind: srl } }", "[]"));
    assert_eq!(found, []);
    let lab = lab(&file("{ r: { kind: srl, image: x, runtime: docker } }", "[]"));
    assert_eq!(node(&lab, "r").container.capabilities, ["NET_ADMIN", "SYS_ADMIN", "NET_RAW"]);
}
