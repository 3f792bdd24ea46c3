//! Labs of controllers as files: what is ports of a switch there is links here.

use serde_json::{Value as Json, json};

use super::*;
use crate::lab::{End, Endpoint, LinkKind, MacvlanMode, derived_mac};

/// A port of an interface of a node, or of what leads out of the host.
fn port(at: &Json, interface: &str, mtu: u32, access: &Json) -> Json {
    let mac = derived_mac(&"t".parse().unwrap(), interface, 0);
    let end = json!({ "at": at, "interface": interface, "mac": mac });
    json!({ "a": end, "mtu": mtu, "kind": { "access-port": access } })
}

fn of_node(node: &str, interface: &str, segment: Option<&str>) -> Json {
    let mut port =
        port(&json!({ "node": node }), interface, 9000, &json!({ "bridge": "arch-ovs", "segment": segment }));
    port["a"]["mac"] = json!(derived_mac(&"t".parse().unwrap(), &format!("{node}:{interface}"), 0));
    port
}

fn tunnel(segment: &str, vni: u32) -> Json {
    let tunnel = json!({ "remote": "192.0.2.7", "vni": vni, "dst_port": 4789, "local": "192.0.2.1" });
    let access = json!({ "bridge": "arch-ovs", "segment": segment, "tunnel": tunnel });
    port(&json!({ "remote": "192.0.2.7" }), &format!("vxlan-0000000{}", vni % 10), 1450, &access)
}

fn external(segment: &str, parent: &str) -> Json {
    let access = json!({ "bridge": "arch-ovs", "segment": segment, "external": parent });
    port(&json!("host"), "ext-00000000", 1500, &access)
}

fn controlled(links: &[Json]) -> Lab {
    let node = |name: &str| {
        json!({ "kind": "linux", "runtime": "docker", "image": "alpine", "hostname": name,
        "labels": { "archetype.lab_id": "t", "own": "label" } })
    };
    let nodes = json!({ "r1": node("r1"), "r2": node("r2"), "r3": node("r3") });
    serde_json::from_value(json!({ "name": "t", "prefix": "__controller", "settings": { "fabric": "ovs" }, "nodes": nodes, "links": links }))
        .unwrap()
}

#[test]
fn ports_of_a_segment_are_a_link_and_what_is_not_linked_is_said() {
    let links = [
        of_node("r1", "eth1", Some("r1:eth1-r2:eth1")),
        of_node("r1", "eth2", Some("a tunnel")),
        of_node("r1", "eth3", None),
        of_node("r1", "eth4", None),
        of_node("r2", "eth1", Some("r1:eth1-r2:eth1")),
        of_node("r2", "eth2", Some("outside")),
        tunnel("a tunnel", 7),
        external("outside", "eno1"),
    ];
    let written = crate::topology::write(&controlled(&links), None);
    insta::assert_snapshot!(written.split_once("  links:\n").unwrap().1, @r#"
    - type: vxlan-stitch
      endpoint: { node: r1, interface: eth2 }
      dst-port: 4789
      remote: "192.0.2.7"
      vni: 7
      mtu: 1450
    - type: macvlan
      endpoint: { node: r2, interface: eth2 }
      host-interface: eno1
      mode: passthru
    - endpoints: ["r1:eth1", "r2:eth1"]
      mtu: 9000
    # not linked, and left out: r1:eth3, r1:eth4
    "#);
    let read = lab(&written);
    assert!(!written.contains("archetype") && !written.contains("prefix"), "it is no controller's: {written}");
    assert_eq!(node(&read, "r1").labels.keys().collect::<Vec<_>>(), ["own"]);
    let kinds: Vec<_> = read.links().iter().map(|link| (link.id().to_string(), &link.kind)).collect();
    let [(pair, LinkKind::Plain), (tunnel, LinkKind::VxlanStitch(to)), (out, LinkKind::Macvlan(on))] = kinds.as_slice()
    else {
        panic!("{kinds:?}")
    };
    assert_eq!([pair, tunnel, out], ["r1:eth1-r2:eth1", "r1:eth2", "r2:eth2"]);
    assert_eq!((to.vni, &*to.remote, on.parent.as_str(), on.mode), (7, "192.0.2.7", "eno1", MacvlanMode::Passthru));
    assert_eq!(read.links().iter().filter(|link| link.b.is_some()).count(), 1);
    assert_eq!(lab(&crate::topology::write(&read, None)), read);
}

#[test]
fn more_than_two_ports_are_joined_by_a_bridge_and_what_no_link_says_is_a_comment() {
    let links = [
        of_node("r1", "eth1", Some("lan")),
        of_node("r2", "eth1", Some("lan")),
        of_node("r3", "eth1", Some("lan")),
        tunnel("lan", 7),
        tunnel("odd\n{{ 1 }} ${X}", 8),
    ];
    let controlled = controlled(&links);
    let written = crate::topology::write(&controlled, None);
    let read = lab(&written);
    assert_eq!(read.nodes().len(), 4, "{written}");
    let far = |end: &End| matches!(&end.at, Endpoint::Bridge(name) if name.as_str().starts_with("br"));
    assert_eq!(read.links().len(), 3);
    assert!(read.links().iter().all(|link| link.b.as_ref().is_some_and(far) && link.mtu.bytes() == 9000), "{written}");
    let comments: Vec<&str> = written.lines().filter_map(|line| line.trim_start().strip_prefix("# ")).collect();
    assert_eq!(
        comments,
        [
            "lan has 3 interfaces",
            "lan leads to the tunnel to 192.0.2.7 (vni 7), which no link of a file says",
            "odd??? 1 }} ??X} leads to the tunnel to 192.0.2.7 (vni 8), which no link of a file says",
        ]
    );
    assert_eq!(crate::topology::write(&controlled, None), written, "the same each time");
}
