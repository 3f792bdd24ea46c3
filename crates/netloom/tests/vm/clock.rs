//! The clock of the host is set back an hour while an agent works, and forward again.

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::with_agent;

fn lab(name: &str) -> String {
    format!(
        "name: {name}\ntopology:\n  defaults: {{ kind: linux, runtime: namespace }}\n  nodes:\n    a:\n    b:\n  links:\n    \
         - {{ endpoints: [\"a:eth1\", \"b:eth1\"], ipv4: [10.0.0.1/24, 10.0.0.2/24] }}\n"
    )
}

fn set(host: &Sandbox, by: &str) {
    host.sh(&format!("date -s @$(($(date +%s) {by}))")).code(0);
}

fn works(host: &Sandbox) -> bool {
    host.netloom(&["inspect"]).out.contains("x    ready")
        && host.netloom(&["exec", "x/a", "--", "ping", "-c", "1", "-W", "5", "10.0.0.2"]).code == 0
}

/// The process of a node that runs.
fn pid(host: &Sandbox) -> Option<u64> {
    let nodes = host.lab("x")["nodes"].clone();
    let b = nodes.as_array().unwrap().iter().find(|node| node["name"] == "b").unwrap();
    b["pid"].as_u64().filter(|_| b["ready"] == true)
}

fn events(host: &Sandbox) -> Vec<Value> {
    let said = host.netloom(&["events", "--json"]).code(0).out;
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_clock_that_is_set_back_an_hour_and_forward_again_changes_nothing() {
    let host = with_agent();
    let (x, y) = (host.topology("x", &lab("x")), host.topology("y", &lab("y")));
    let before = host.traces();
    host.netloom(&["deploy", "-t", &x]).code(0);
    for by in ["- 3600", "+ 3600"] {
        set(&host, by);
        assert_eq!((host.answers("/livez"), host.answers("/readyz")), (200, 200));
        // What waited for a time of the clock would take an hour.
        host.sh("nsenter --net=$NETLOOM_ROOT/run/netloom/netns/x/a ip link del eth1").code(0);
        host.until("the link is mended", works);
        let was = pid(&host).unwrap();
        host.sh(&format!("kill -KILL {was}")).code(0);
        host.until("the node is back", |host| pid(host).is_some_and(|pid| pid != was) && works(host));
        host.netloom(&["deploy", "-t", &x]).code(0).says("nothing to change");
        host.netloom(&["deploy", "-t", &y]).code(0).says("2 of 2 nodes running, 1 of 1 link up");
        host.netloom(&["destroy", "--name", "y"]).code(0);
        assert_eq!((host.answers("/livez"), host.answers("/readyz")), (200, 200));
    }

    let events = events(&host);
    let in_order = |pair: &[Value]| pair[1]["seq"].as_u64() == pair[0]["seq"].as_u64().map(|seq| seq + 1);
    assert!(events.windows(2).all(in_order), "{events:#?}");
    // In RFC 3339 the order of texts is that of times.
    let turns = events.windows(2).filter(|pair| pair[1]["time"].as_str() < pair[0]["time"].as_str()).count();
    assert_eq!(turns, 1, "the agent saw the clock go back once: {events:#?}");
    host.netloom(&["destroy", "--name", "x"]).code(0);
    before.are_all(&host);
}
