//! Configurations that are read from devices. Stand-ins play these: images with a command that shows one.

use serde_json::{Value, json};

use crate::contract::rig::{Rig, container, text};
use crate::contract::steps::{LAB, Node, R1};

/// What runs in a device that says nothing.
const IDLE: &str = "exec sleep 1000";

fn read(rig: &Rig, node: &str) -> Value {
    rig.agent.call(&format!("/labs/{LAB}/nodes/{node}/extract-config"))
}

#[test]
fn a_configuration_is_what_a_device_shows_and_no_warning_beside_it() {
    let Some(rig) = Rig::new() else { return };
    let shows = b"#!/bin/sh\necho '% Can not open vtysh.conf' >&2\necho hostname shown\ncat\n";
    rig.plays(R1, ("netloom.test/frr:1", IDLE), &[("bin/vtysh", shows, 0o755)]);
    let shown = json!({ "success": true, "node_name": "r1", "content": "hostname shown\n", "error": null });
    assert_eq!(read(&rig, "r1"), shown);
    rig.agent.takes_down(LAB, &[]);
}

#[test]
fn a_device_that_shows_nothing_is_named_and_loses_nothing_that_is_kept_for_it() {
    let Some(rig) = Rig::new() else { return };
    let (agent, [late, mute, plain]) = (&rig.agent, ["r1", "r2", "r3"].map(|name| Node { name, ..R1 }));
    let late_shows = b"#!/bin/sh\n[ -e /tmp/booted ] || { touch /tmp/booted; echo '% Authorization denied'; exit; }\n\
        echo hostname late\n";
    let plain_shows = b"#!/bin/sh\necho hostname plain\n";
    rig.plays(late, ("netloom.test/late/frr:1", IDLE), &[("bin/vtysh", late_shows, 0o755)]);
    let kept = agent.put(&format!("/labs/{LAB}/nodes/r2/config"), &json!({ "content": "hostname kept\n" }));
    assert_eq!(kept["success"], true);
    let mute_device = || rig.plays(mute, ("netloom.test/mute/frr:1", IDLE), &[("bin/vtysh", b"#!/bin/sh\n", 0o755)]);
    mute_device();
    rig.plays(plain, ("netloom.test/plain/frr:1", IDLE), &[("bin/vtysh", plain_shows, 0o755)]);

    let all = agent.call(&format!("/labs/{LAB}/extract-configs"));
    let config = |node: &str, content: &str| json!({ "node_name": node, "content": content });
    let shown = json!([config("r1", "hostname late\n"), config("r3", "hostname plain\n")]);
    assert_eq!((&all["success"], &all["extracted_count"], &all["configs"]), (&json!(true), &json!(2), &shown));
    assert!(text(&all, "error").starts_with("node r2: "), "{all:#}");
    let one = read(&rig, "r2");
    assert_eq!((&one["success"], &one["content"]), (&json!(false), &Value::Null), "{one:#}");
    assert!(text(&one, "error").contains("expected"), "{one:#}");
    let stops = |node: &str| assert_eq!(agent.reconcile(LAB, &container(LAB, node), "stopped")["action"], "removed");
    let begins = || agent.exec(LAB, "r2", "cat /etc/frr/frr.conf 2>/dev/null");
    stops("r2");
    mute_device();
    assert_eq!(begins(), (0, "hostname kept\n".to_owned()));

    // Whoever puts one without content wants none.
    let put = agent.put(&format!("/labs/{LAB}/nodes/r2/config"), &json!({ "content": "\n" }));
    assert_eq!(put, json!({ "success": true, "error": null }));
    stops("r2");
    mute_device();
    assert_eq!(begins(), (1, String::new()));
    stops("r2");
    let all = agent.call(&format!("/labs/{LAB}/extract-configs"));
    assert_eq!((&all["extracted_count"], &all["error"]), (&json!(2), &Value::Null), "{all:#}");
    agent.takes_down(LAB, &[]);
}
