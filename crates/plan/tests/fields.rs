//! What a change of each field of a node means: the table of fields, and fingerprints.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::{BTreeMap, BTreeSet};

use insta::assert_snapshot;
use netloom_model::{Access, Bind, Device, Kind, NetworkMode, Node, RestartPolicy, RuntimeKind};
use netloom_plan::{Effect, NODE_FIELDS, NodeFingerprint, effect};
use serde_json::{Value, json};

fn from<T: serde::de::DeserializeOwned>(wire: Value) -> T {
    serde_json::from_value(wire).unwrap()
}

/// What is on objects since before there were restarts must not look changed.
#[test]
fn a_node_that_was_never_restarted_has_the_fingerprint_of_its_fields_alone() {
    let node =
        from::<Node>(json!({ "kind": "linux", "runtime": "namespace", "hostname": "r1", "exec": [["ip", "route"]],
        "cpu_millis": 500 }));
    assert_snapshot!(NodeFingerprint::of(&node, 0, 0), @"09d0bbe2.65cdd5ad.2090446b");
}

#[test]
fn every_field_of_a_node_has_its_effect_in_the_table() {
    let text = |text: &str| Some(text.to_owned());
    let map = || BTreeMap::from([("key".to_owned(), "value".to_owned())]);
    let full = Node {
        kind: Kind::linux(),
        runtime: Some(RuntimeKind::Docker),
        image: text("image"),
        group: text("group"),
        entrypoint: vec!["sh".into()],
        cmd: vec!["-c".into()],
        exec: vec![vec!["true".into()]],
        env: map(),
        binds: vec![Bind { source: "/a".into(), target: "/b".into(), access: Access::ReadOnly }],
        hostname: "r1".into(),
        user: text("root"),
        sysctls: map(),
        labels: map(),
        cpu_millis: Some(500),
        memory_bytes: Some(1 << 20),
        startup_delay: 3,
        restart_policy: RestartPolicy::OnFailure,
        network_mode: NetworkMode::None,
        variant: text("ixr-d3l"),
        position: text("left"),
        container: from(json!({
            "pull_policy": "always",
            "auto_remove": true,
            "volumes": [{ "name": "data", "target": "/data" }],
            "tmpfs": { "/scratch": "size=16m" },
            "devices": ["/dev/kvm"],
            "capabilities": ["NET_ADMIN"],
            "security_options": ["seccomp=unconfined"],
            "privilege": "confined",
            "cgroup_namespace": "host",
            "cgroup_parent": "labs",
            "pid_mode": "host",
            "ports": ["80:80"],
            "cpu_set": "0-1",
            "shm_bytes": 1,
            "dns": { "servers": ["9.9.9.9"] },
        })),
        management: from(json!({ "ipv4": "10.0.0.1", "ipv6": "2001:db8::1", "aliases": ["probe.example"] })),
        config: from(json!({
            "startup": { "text": "a\nb" },
            "enforce_startup": true,
            "suppress_startup": true,
            "license": { "path": "/lic" },
            "credentials": { "username": "admin" },
            "certificate": { "issue": true },
            "vars": { "x": 1 },
            "components": [{ "slot": "A" }],
            "extras": { "mysocket_proxy": "x" },
        })),
        stages: from(json!({ "create": { "wait_for": [{ "node": "r2", "stage": "healthy" }] } })),
        healthcheck: from(json!({ "test": ["NONE"] })),
        link_apply_mode: from(json!("live")),
        device: Device { shell: vec!["vtysh".into()], ..Device::default() }.into(),
    };
    let wire = serde_json::to_value(&full).unwrap();
    let parts = ["config", "container", "management"];
    let mut fields: BTreeSet<String> = BTreeSet::new();
    for (field, value) in wire.as_object().unwrap() {
        if parts.contains(&field.as_str()) {
            fields.extend(value.as_object().unwrap().keys().map(|inner| format!("{field}.{inner}")));
        } else {
            fields.insert(field.clone());
        }
    }
    let table: BTreeSet<String> = NODE_FIELDS.iter().map(|(field, _)| (*field).to_owned()).collect();
    assert_eq!(fields, table);

    for runtime in [RuntimeKind::Docker, RuntimeKind::Namespace] {
        each_field_has_its_effect(&Node { runtime: Some(runtime), ..full.clone() });
    }
    assert_eq!(NodeFingerprint::of(&full, 0, 0).change_to(&NodeFingerprint::of(&full, 0, 0)), None);
    let rebuilt = NodeFingerprint::of(&full, 1, 0);
    assert_eq!(NodeFingerprint::of(&full, 0, 0).change_to(&rebuilt), Some(Effect::Recreate));
    let restarted = NodeFingerprint::of(&full, 0, 1);
    assert_eq!(NodeFingerprint::of(&full, 0, 0).change_to(&restarted), Some(Effect::Restart));
}

/// Each field alone, changed on the wire, has the effect that the table says.
fn each_field_has_its_effect(full: &Node) {
    let wire = serde_json::to_value(full).unwrap();
    for (field, _) in NODE_FIELDS {
        let mut other = wire.clone();
        let mut place = &mut other;
        for step in field.split('.') {
            place = &mut place[step];
        }
        *place = match field {
            "container.pull_policy" => json!("never"),
            "container.volumes" => json!([{ "target": "/other" }]),
            "container.tmpfs" => json!({ "/other": "" }),
            "container.devices" => json!(["/dev/fuse"]),
            "container.capabilities" => json!(["NET_RAW"]),
            "container.security_options" => json!(["apparmor=other"]),
            "container.privilege" => json!("full"),
            "container.cgroup_namespace" => json!("private"),
            "container.pid_mode" => json!("own"),
            "container.ports" => json!(["81:80"]),
            "container.shm_bytes" => json!(2),
            "container.dns" => json!({ "servers": ["1.1.1.1"] }),
            "container.auto_remove" | "config.enforce_startup" | "config.suppress_startup" => json!(false),
            "management.ipv4" => json!("10.0.0.2"),
            "management.ipv6" => json!("2001:db8::2"),
            "config.startup" | "config.license" => json!({ "url": "http://other" }),
            "config.credentials" => json!({ "username": "other" }),
            "config.certificate" => json!({ "issue": false }),
            "config.vars" => json!({ "x": 2 }),
            "config.components" => json!([{ "slot": "B" }]),
            "config.extras" => json!({ "mysocket_proxy": "other" }),
            "stages" => json!({ "create": { "wait_for": [{ "node": "r3", "stage": "healthy" }] } }),
            "healthcheck" => json!({ "test": ["CMD", "true"] }),
            "link_apply_mode" => json!("restart"),
            "kind" => json!("host"),
            "runtime" => json!("libvirt"),
            "network_mode" => json!("default"),
            "restart_policy" => json!("no"),
            "cpu_millis" | "memory_bytes" | "startup_delay" => json!(1),
            "env" | "sysctls" | "labels" => json!({ "key": "other" }),
            "exec" => json!([["false"]]),
            "cmd" | "entrypoint" | "management.aliases" => json!(["other"]),
            "binds" => json!([{ "source": "/c", "target": "/b", "access": "read-only" }]),
            "device" => json!({ "shell": ["other"] }),
            _ => json!("other"),
        };
        let other: Node = serde_json::from_value(other).unwrap();
        let change = NodeFingerprint::of(full, 0, 0).change_to(&NodeFingerprint::of(&other, 0, 0));
        assert_eq!(change, effect(field, full.runtime), "{field}");
    }
}

#[test]
fn a_container_is_made_anew_for_what_docker_cannot_change() {
    let node = |change: Value| {
        let mut wire = json!({ "kind": "linux", "runtime": "docker", "image": "frr", "hostname": "r1" });
        wire.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        from::<Node>(wire)
    };
    let change = |to: Value| {
        let of = |node| NodeFingerprint::of(&node, 0, 0);
        of(node(json!({}))).change_to(&of(node(to)))
    };
    for anew in [
        json!({ "env": { "A": "b" } }),
        json!({ "cmd": ["bash"] }),
        json!({ "image": "frr:10" }),
        json!({ "binds": [{ "source": "/a", "target": "/b", "access": "read-only" }] }),
        json!({ "labels": { "site": "a" } }),
        json!({ "container": { "ports": ["80:80"] } }),
    ] {
        assert_eq!(change(anew.clone()), Some(Effect::Recreate), "{anew}");
    }
    for live in [
        json!({ "cpu_millis": 500 }),
        json!({ "memory_bytes": 1 << 30 }),
        json!({ "container": { "cpu_set": "0" } }),
        json!({ "restart_policy": "no" }),
        json!({ "exec": [["true"]] }),
    ] {
        assert_eq!(change(live.clone()), Some(Effect::Live), "{live}");
    }
}

#[test]
fn fingerprints_survive_being_written_on_objects() {
    let node = NodeFingerprint::of(&from(json!({ "kind": "linux", "hostname": "r1" })), 3, 2);
    assert_eq!(node.to_string().parse(), Ok(node));
    for bad in ["", "a", "a.b", "a.b.c.d"] {
        assert!(bad.parse::<NodeFingerprint>().is_err(), "{bad}");
    }
}
