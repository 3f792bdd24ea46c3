//! What the devices are that a controller runs in containers: what they may do, run, find and keep. Stand-ins play those whose images
//! nobody may hand on.

use std::fs;

use netloom_dockerd_fixture::archive;
use serde_json::{Value, json};

use crate::contract::rig::{Rig, container};
use crate::contract::steps::{H1, LAB, Node};

/// Loads an image without a command of its own, with an init that writes down what it found.
fn load(rig: &Rig, image: &str) {
    let init = b"#!/bin/sh\necho \"$*\" >/tmp/arguments\nls /sys/class/net >/tmp/interfaces\n\
        cat /mnt/flash/startup-config >/tmp/began\necho System ready\nexec sleep 1000\n";
    let path = rig.labs.path().join("device.tar");
    fs::write(&path, archive(image, &json!({ "Env": ["PATH=/bin"] }), &[("sbin/init", init, 0o755)])).unwrap();
    rig.docker(&format!("load -q -i {}", path.display()));
}

#[test]
fn who_is_in_a_plain_node_gives_it_addresses_and_routes() {
    let Some(rig) = Rig::new() else { return };
    rig.agent.deploys(LAB, &[H1], &[]);
    let script =
        "ip address add 10.0.1.2/24 dev eth1 && ip route add 10.0.2.0/24 via 10.0.1.1 && ip link set eth2 down";
    assert_eq!(rig.agent.exec(LAB, "h1", script), (0, String::new()));
    rig.agent.takes_down(LAB, &[]);
}

#[test]
fn an_image_that_says_nothing_of_what_to_run_runs_and_does_nothing() {
    let Some(rig) = Rig::new() else { return };
    load(&rig, "netloom.test/plain:1");
    let mut topology = H1.in_topology();
    topology["image"] = json!("netloom.test/plain:1");
    let body =
        json!({ "job_id": "j", "lab_id": LAB, "provider": "docker", "topology": { "nodes": [topology], "links": [] } });
    let result = rig.agent.post("/jobs/deploy", &body);
    assert_eq!(result["status"], "completed", "{result:#}");
    assert_eq!(rig.agent.exec(LAB, "h1", "cat /proc/1/cmdline | tr '\\0' ' '").1, "sleep infinity ");
    rig.agent.takes_down(LAB, &[]);
}

#[test]
fn a_ceos_finds_its_interfaces_and_a_configuration_and_keeps_what_it_has_saved_until_its_workspace_goes() {
    const IMAGE: &str = "netloom.test/ceos:2";
    let Some(rig) = Rig::new() else { return };
    load(&rig, IMAGE);
    let (agent, device) = (&rig.agent, Node { name: "c1", kind: "ceos", device: "ceos", ..H1 });
    let begins = |startup: Value| {
        let mut body = device.to_create();
        (body["image"], body["display_name"], body["startup_config"]) = (json!(IMAGE), json!("leaf-1"), startup);
        let created = agent.post(&format!("/labs/{LAB}/nodes/c1/create?provider=docker"), &body);
        assert_eq!(created["success"], true, "{created:#}");
        let started = agent.post(&format!("/labs/{LAB}/nodes/c1/start?provider=docker"), &json!({}));
        assert_eq!(started["success"], true, "{started:#}");
        rig.until("it has begun", |_| agent.exec(LAB, "c1", "cat /tmp/began").0 == 0);
        agent.exec(LAB, "c1", "cat /tmp/began").1
    };
    let ends = || assert_eq!(agent.reconcile(LAB, &container(LAB, "c1"), "stopped")["action"], "removed");

    let first = begins(Value::Null);
    assert!(first.starts_with("hostname leaf-1\n") && first.contains("username admin"), "{first}");
    let (_, arguments) = agent.exec(LAB, "c1", "cat /tmp/arguments");
    assert!(arguments.contains("systemd.setenv=EOS_PLATFORM=ceoslab"), "{arguments}");
    let (_, found) = agent.exec(LAB, "c1", "cat /tmp/interfaces");
    let found: Vec<&str> = found.split_whitespace().filter(|name| name.starts_with("eth")).collect();
    assert_eq!(found, ["eth0", "eth1", "eth2", "eth3", "eth4", "eth5", "eth6", "eth7", "eth8"]);
    assert_eq!(agent.exec(LAB, "c1", "echo $CLAB_INTFS").1, "8\n", "those for data");

    // What it saves is there in its next life, unless the controller has something else.
    agent.exec(LAB, "c1", "echo saved >/mnt/flash/startup-config; echo more >/mnt/flash/file");
    ends();
    assert_eq!(begins(Value::Null), "saved\n");
    ends();
    assert_eq!(begins(json!("asked\n")), "asked\n");
    assert_eq!(agent.exec(LAB, "c1", "cat /mnt/flash/file").1, "more\n");

    // It goes with the workspace of its lab, and not before its node.
    let workspace = || agent.delete(&format!("/labs/{LAB}/workspace"));
    assert_eq!(workspace()["success"], true);
    assert_eq!(agent.exec(LAB, "c1", "cat /mnt/flash/file").1, "more\n");
    agent.takes_down(LAB, &[]);
    assert_eq!(workspace(), json!({ "success": true, "deleted": format!("workspaces/{LAB}") }));
    assert_eq!(workspace(), json!({ "success": true, "message": "workspace does not exist" }));
    assert!(begins(Value::Null).starts_with("hostname leaf-1\n"));
    agent.takes_down(LAB, &[]);
    let kept = agent.post("/cleanup-workspaces", &json!({ "valid_lab_ids": [LAB] }));
    assert_eq!(kept, json!({ "success": true, "removed": [], "errors": [] }));
    let removed = agent.post("/cleanup-workspaces", &json!({ "valid_lab_ids": ["another"] }));
    assert_eq!(removed, json!({ "success": true, "removed": [LAB], "errors": [] }));
}
