//! The format's own examples of links, of the management network and of stages, each to the model it means.

use serde_json::{Value, json};

use super::*;
use crate::lab::{Endpoint, Link, LinkKind};

/// Its variables replaced by what they stand for when nothing is set.
const E5_REPLACED: &str = r#"
name: envlab                # E5
mgmt:
  network: envlab-oob
  ipv4-subnet: 10.77.0.0/24
  ipv4-gw: 10.77.0.1
  ipv4-range: 10.77.0.128/25
  ipv6-subnet: "3fff:77::/64"
  mtu: 1400
  external-access: false
  driver-opts: { com.docker.network.bridge.gateway_mode_ipv4: nat }
topology:
  nodes:
    probe:
      kind: linux
      image: alpine:3
      cmd: sh -c 'echo "hello" ; sleep 1d'
      mgmt-ipv4: 10.77.0.10
      ports: ["127.0.0.1:8080:80/tcp", "5353:53/udp"]
      aliases: [probe.lab.example]
      env-files: [./probe.env]
      user: "1000:1000"
      sysctls: { net.ipv4.ip_forward: 1 }
      tmpfs: { /scratch: "size=16m" }
      volumes: ["probe-data:/var/lib/probe"]
      dns: { servers: [9.9.9.9], search: [lab.example], options: [rotate] }
"#;

fn links(lab: &Lab) -> Vec<(String, Value)> {
    let kind = |link: &Link| (link.id().to_string(), json!(link.kind));
    lab.links().iter().map(kind).collect()
}

#[test]
fn e3_is_a_lab_of_all_types_of_links() {
    let lab = lab(E3);
    let tunnel = json!({ "remote": "192.0.2.7", "vni": 4096, "dst_port": 4789 });
    let stitched = json!({ "remote": "peer-host.example.net", "vni": 4097, "dst_port": 14789, "parent": "eno1" });
    let expected = [
        ("a:eth1-b:eth1", json!("plain")),
        ("a:eth5", json!({ "macvlan": { "parent": "eno1", "mode": "passthru" } })),
        ("a:eth6", json!({ "vxlan": tunnel })),
        ("a:lo9", json!("plain")),
        ("b:eth2-swx:swx-b2", json!("plain")),
        ("b:eth3-host:b-uplink", json!("plain")),
        ("b:eth4-host:b-oob", json!("management-net")),
        ("b:eth6", json!({ "vxlan-stitch": stitched })),
    ];
    assert_eq!(links(&lab), expected.map(|(id, kind)| (id.to_owned(), kind)));
    let by_id = |id: &str| lab.links().iter().find(|link| link.id().as_str() == id).unwrap();
    let wire = by_id("a:eth1-b:eth1");
    assert_eq!((wire.mtu.bytes(), wire.labels["area"].as_str()), (9000, "0"));
    assert_eq!(json!(wire.vars), json!({ "cost": 10 }));
    assert_eq!(wire.a.mac.to_string(), "02:00:00:00:00:0a");
    assert_eq!(json!([wire.a.ipv4, wire.a.ipv6]), json!(["10.0.0.0/31", null]));
    let b = wire.b.as_ref().unwrap();
    assert_eq!(json!([b.ipv4, b.ipv6]), json!(["10.0.0.1/31", "2001:db8::1/127"]));
    assert_eq!(by_id("b:eth2-swx:swx-b2").b.as_ref().unwrap().at, Endpoint::Bridge("swx".parse().unwrap()));
    assert_eq!(by_id("b:eth3-host:b-uplink").b.as_ref().unwrap().at, Endpoint::Host);
    assert!(["a:lo9", "a:eth5", "a:eth6", "b:eth6"].iter().all(|id| by_id(id).b.is_none()));
    assert_eq!(node(&lab, "swx").runtime, None);
    assert_eq!(node(&lab, "swx").image, None);
}

#[test]
fn e4_gives_lists_of_addresses_and_special_ends() {
    let lab = lab(E4);
    let expected = [
        ("a:eth1-b:eth1", json!("plain")),
        ("a:eth2", json!({ "macvlan": { "parent": "eno1", "mode": "bridge" } })),
        ("b:eth2-host:b-oob", json!("management-net")),
        ("b:eth3-host:b-h", json!("plain")),
    ];
    assert_eq!(links(&lab), expected.map(|(id, kind)| (id.to_owned(), kind)));
    let wire = &lab.links()[0];
    let b = wire.b.as_ref().unwrap();
    assert_eq!(json!([wire.a.ipv4, wire.a.ipv6]), json!(["10.1.0.1/24", null]));
    assert_eq!(json!([b.ipv4, b.ipv6]), json!(["10.1.0.2/24", "2001:db8:1::2/64"]));
    assert_eq!(lab.links()[2].kind, LinkKind::ManagementNet);
    assert_eq!(lab.links()[2].a.at, Endpoint::Host);
}

#[test]
fn e5_is_a_node_with_a_management_network() {
    assert_eq!(diagnostics(E5_REPLACED), []);
    let lab = lab(E5_REPLACED);
    let management = json!({
        "network": "envlab-oob",
        "ipv4": { "subnet": { "net": "10.77.0.0/24", "gateway": "10.77.0.1", "range": "10.77.0.128/25" } },
        "ipv6": { "subnet": { "net": "3fff:77::/64" } },
        "mtu": 1400,
        "external_access": false,
        "driver_options": { "com.docker.network.bridge.gateway_mode_ipv4": "nat" },
    });
    assert_eq!(json!(lab.management()), management);
    let probe = json!({
        "kind": "linux", "runtime": "docker", "image": "alpine:3", "hostname": "probe",
        "cmd": ["sh", "-c", "echo \"hello\" ; sleep 1d"],
        "env": { "REGION": "eu", "TARGET": "10.0.0.1" },
        "user": "1000:1000",
        "sysctls": { "net.ipv4.ip_forward": "1", "net.ipv6.conf.all.disable_ipv6": "0" },
        "startup_delay": 0, "restart_policy": "always", "network_mode": "default",
        "container": {
            "ports": ["127.0.0.1:8080:80", "5353:53/udp"],
            "tmpfs": { "/scratch": "size=16m" },
            "volumes": [{ "name": "probe-data", "target": "/var/lib/probe" }],
            "dns": { "servers": ["9.9.9.9"], "search": ["lab.example"], "options": ["rotate"] },
        },
        "management": { "ipv4": "10.77.0.10", "aliases": ["probe.lab.example"] },
    });
    assert_eq!(json!(node(&lab, "probe")), probe);
}

#[test]
fn e6_is_two_nodes_of_which_one_waits() {
    let lab = lab(E6);
    assert_eq!(
        json!(lab.settings()),
        json!({
            "certificate_authority": { "made": { "key_size": 4096, "validity": "720h" } },
        })
    );
    let db = json!({
        "kind": "linux", "runtime": "docker", "image": "alpine:3", "hostname": "db",
        "sysctls": { "net.ipv6.conf.all.disable_ipv6": "0" },
        "startup_delay": 0, "restart_policy": "always", "network_mode": "default",
        "config": { "certificate": { "issue": true, "sans": ["db.lab.example"] } },
        "healthcheck": {
            "test": ["CMD-SHELL", "test -e /tmp/ready"], "interval": 2, "timeout": 1, "retries": 10, "start_period": 1,
        },
    });
    assert_eq!(json!(node(&lab, "db")), db);
    let app = json!({
        "kind": "linux", "runtime": "docker", "image": "alpine:3", "hostname": "app",
        "sysctls": { "net.ipv6.conf.all.disable_ipv6": "0" },
        "startup_delay": 3, "restart_policy": "always", "network_mode": "default",
        "stages": {
            "create": { "wait_for": [{ "node": "db", "stage": "healthy" }] },
            "create-links": {
                "exec": [{ "command": ["logger", "links of app are about to be made"], "target": "host" }],
            },
            "configure": { "exec": [{ "command": ["ip", "route", "show"], "phase": "on-exit" }] },
        },
    });
    assert_eq!(json!(node(&lab, "app")), app);
    assert_eq!(links(&lab), [("app:eth1-db:eth1".to_owned(), json!("plain"))]);
}

#[test]
fn an_exported_example_is_the_same_lab() {
    for example in [E3, E4, E5_REPLACED, E6].map(lab) {
        let text = crate::topology::write(&example, None);
        assert_eq!(lab(&text), example, "{text}");
    }
}
