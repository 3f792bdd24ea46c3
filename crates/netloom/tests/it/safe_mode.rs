//! An agent that is killed again and again while it works for the same lab begins in safe mode for it.

use std::fs;

use crate::lab::{node, pair};
use crate::sandbox::Sandbox;

/// Waits until the agent has noted that it works for lab `slow` and for no other.
fn works_for_slow(host: &Sandbox) {
    let path = host.root.path().join("var/lib/netloom/starts.jsonl");
    host.until("that it works for the lab is noted", |_| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        text.lines().last() == Some(r#"{"works":["slow"]}"#)
    });
}

#[test]
fn a_lab_that_the_agent_dies_of_is_paused_and_the_other_one_is_served() {
    let Some(host) = Sandbox::with_agent() else { return };
    let before = host.traces();
    let well = host.topology("well", &pair("well", ""));
    host.netloom(&["deploy", "-t", &well]).code(0);
    let text = "name: slow\ntopology: { nodes: { a: { kind: linux, runtime: namespace, startup-delay: 600 } } }\n";
    let slow = host.topology("slow", text);
    host.netloom(&["deploy", "-t", &slow, "--timeout", "1s"]).code(4);
    for life in 1..=4 {
        works_for_slow(&host);
        assert!(!host.netloom(&["inspect"]).code(0).out.contains("paused"), "paused in life {life}");
        host.kill_agent();
        host.netloom(&["agent", "--background"]).code(0);
    }

    let says = "crashed or was killed 4 times in a row";
    host.netloom(&["inspect", "--name", "slow"])
        .code(0)
        .says("paused since")
        .says(says)
        .says("`netloom deploy` goes on");
    host.netloom(&["status"]).code(1).says("lab slow is paused since").says(says);
    host.netloom(&["node", "stop", "slow/a"]).code(2).says("lab `slow` is paused");
    let pid = node(&host.lab("well"), "a")["pid"].clone();
    host.sh(&format!("kill -KILL {pid}")).code(0);
    host.until("the other lab is mended", |host| {
        let now = node(&host.lab("well"), "a");
        now["pid"] != pid && now["state"]["phase"] == "running"
    });

    host.netloom(&["deploy", "-t", &slow, "--timeout", "1s"]).code(4);
    assert!(!host.netloom(&["inspect"]).code(0).out.contains("paused"));
    host.netloom(&["agent", "stop"]).code(0);
    host.netloom(&["agent", "--background"]).code(0);
    works_for_slow(&host);
    host.netloom(&["destroy", "--all"]).code(0);
    host.netloom(&["status"]).code(0);
    before.are_all(&host);
}
