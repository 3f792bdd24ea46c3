//! What a device wants done after its boot. A stand-in plays the device: an image with the commands of one, which write down how
//! they were called.

use std::fs;

use netloom_dockerd_fixture::archive;
use serde_json::json;

use crate::contract::rig::{Rig, container, is_whole};
use crate::contract::steps::{H1, LAB, Node};

const IMAGE: &str = "netloom.test/ceos:1";

/// It is ready after a while, and its command line fails at the first try.
fn device() -> Vec<u8> {
    let noted = b"#!/bin/sh\necho \"iptables $*\" >>/tmp/called\n";
    let cli = b"#!/bin/sh\necho \"FastCli $*\" >>/tmp/called\n[ -e /tmp/tried ] || { touch /tmp/tried; exit 1; }\n";
    let init = b"#!/bin/sh\nsleep 1; echo System ready; exec sleep 1000\n";
    let files: [(&str, &[u8], u32); 3] =
        [("bin/iptables", noted, 0o755), ("bin/FastCli", cli, 0o755), ("sbin/init", init, 0o755)];
    archive(IMAGE, &json!({ "Env": ["PATH=/bin"] }), &files)
}

fn called(rig: &Rig) -> (usize, usize) {
    let (_, said) = rig.agent.exec(LAB, "c1", "cat /tmp/called 2>/dev/null");
    let of = |program: &str| said.lines().filter(|line| line.starts_with(program)).count();
    (of("iptables"), of("FastCli"))
}

fn events(rig: &Rig, text: &str) -> usize {
    rig.netloom(&["events", "--json"]).out.lines().filter(|line| line.contains(text)).count()
}

#[test]
fn what_a_device_wants_after_its_boot_is_done_once_in_each_life_and_nobody_waits_for_it() {
    let Some(rig) = Rig::new() else { return };
    let path = rig.labs.path().join("device.tar");
    fs::write(&path, device()).unwrap();
    rig.docker(&format!("load -q -i {}", path.display()));
    let (agent, device) = (&rig.agent, Node { name: "c1", kind: "ceos", device: "ceos", ..H1 });
    let create = || {
        let mut body = device.to_create();
        (body["image"], body["readiness_probe"]) = (json!(IMAGE), json!("log_pattern"));
        let created = agent.post(&format!("/labs/{LAB}/nodes/c1/create?provider=docker"), &body);
        assert_eq!(created["success"], true, "{created:#}");
        let started = agent.post(&format!("/labs/{LAB}/nodes/c1/start?provider=docker"), &json!({}));
        assert_eq!(started["success"], true, "{started:#}");
    };
    create();
    agent.waits_for(LAB, &device);
    rig.until("it is done", |_| events(&rig, "of its device after that were run") == 1);
    // The second command failed once, and was tried again.
    assert_eq!(called(&rig), (12, 2));
    let (_, said) = agent.exec(LAB, "c1", "cat /tmp/called");
    assert!(said.contains("-D EOS_FORWARD -i eth12 -j DROP") && said.contains("errdisable"), "{said}");

    // Once in a life, also where the agent has another one.
    agent.waits_for(LAB, &device);
    rig.kill_agent();
    rig.start_agent();
    rig.until("it is whole again", |_| is_whole(agent));
    agent.waits_for(LAB, &device);
    agent.waits_for(LAB, &device);
    assert_eq!(called(&rig), (12, 2));
    // But for whom asks for it.
    let ran = agent.call(&format!("/labs/{LAB}/nodes/c1/run-post-boot"));
    assert_eq!((&ran["success"], &ran["kind"]), (&json!(true), &json!("ceos")), "{ran:#}");
    assert_eq!(called(&rig), (24, 3));

    // The next life is another one.
    assert_eq!(agent.reconcile(LAB, &container(LAB, "c1"), "stopped")["action"], "removed");
    create();
    agent.waits_for(LAB, &device);
    rig.until("it is done again", |_| called(&rig) == (12, 2));
    agent.takes_down(LAB, &[]);
}
