//! Configurations that are read from devices. Stand-ins play these: images with a command that shows one.

use std::fs;

use netloom_dockerd_fixture::archive;
use serde_json::{Value, json};

use crate::contract::rig::Rig;
use crate::contract::steps::{LAB, Node, R1};

/// Has a node run whose device is played by these programs.
fn plays(rig: &Rig, node: Node, image: &str, programs: &[(&str, &[u8], u32)]) {
    let path = rig.labs.path().join(format!("{}.tar", node.name));
    let config = json!({ "Cmd": ["/bin/sh", "-c", "exec sleep 1000"], "Env": ["PATH=/bin"] });
    fs::write(&path, archive(image, &config, programs)).unwrap();
    rig.docker(&format!("load -q -i {}", path.display()));
    let mut body = node.to_create();
    body["image"] = json!(image);
    for (call, body) in [("create", &body), ("start", &json!({}))] {
        let answer = rig.agent.post(&format!("/labs/{LAB}/nodes/{}/{call}?provider=docker", node.name), body);
        assert_eq!(answer["success"], true, "{answer:#}");
    }
}

fn read(rig: &Rig, node: &str) -> Value {
    rig.agent.call(&format!("/labs/{LAB}/nodes/{node}/extract-config"))
}

#[test]
fn a_configuration_is_what_a_device_shows_and_no_warning_beside_it() {
    let Some(rig) = Rig::new() else { return };
    let shows = b"#!/bin/sh\necho '% Can not open vtysh.conf' >&2\necho hostname shown\ncat\n";
    plays(&rig, R1, "netloom.test/frr:1", &[("bin/vtysh", shows, 0o755)]);
    let shown = json!({ "success": true, "node_name": "r1", "content": "hostname shown\n", "error": null });
    assert_eq!(read(&rig, "r1"), shown);
    rig.agent.takes_down(LAB, &[]);
}
