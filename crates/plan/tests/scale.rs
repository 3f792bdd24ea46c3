//! Large labs: the time of a plan grows with the size, not with its square.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use netloom_model::Lab;
use netloom_plan::{Desired, Observed, apply, plan};
use serde_json::{Map, Value, json};

/// A ring with addresses.
fn ring(size: usize) -> Lab {
    let mut nodes = Map::new();
    let mut links = Vec::new();
    for n in 0..size {
        nodes.insert(format!("r{n}"), json!({ "kind": "linux", "runtime": "namespace", "hostname": "r" }));
        let end = |node: usize, interface: &str, host: usize| {
            let octets = |high: u8| format!("{high:02x}:00:00:{:02x}:{:02x}:{host:02x}", n >> 8, n & 255);
            let address = format!("10.{}.{}.{host}/30", n >> 8, n & 255);
            json!({ "at": { "node": format!("r{node}") }, "interface": interface, "mac": octets(2), "ipv4": address })
        };
        links.push(json!({ "a": end(n, "eth1", 1), "b": end((n + 1) % size, "eth2", 2), "mtu": 1500 }));
    }
    serde_json::from_value(json!({ "name": "lab", "nodes": Value::Object(nodes), "links": links })).unwrap()
}

#[test]
fn ten_thousand_nodes_are_planned_quickly() {
    let lab = ring(10_000);
    let (down, stopped, due) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let restarts = BTreeMap::new();
    let desired = Desired {
        lab: Some(&lab),
        rebuild: 0,
        down: &down,
        stopped: &stopped,
        restarts: &restarts,
        restart_due: &due,
        prints: None,
    };
    let mut observed = Observed::default();
    let begun = Instant::now();
    let all = plan(lab.name(), &desired, &observed);
    let took = begun.elapsed();
    assert_eq!(all.steps.len(), 30_001);
    // Half a second in a debug build on an idle machine; minutes if something grows with the square.
    assert!(took.as_secs() < 15, "{took:?}");

    for step in all.steps.iter().filter(|step| step.id.as_str() != "names/write") {
        apply(&step.action, &desired, &mut observed);
    }
    let begun = Instant::now();
    assert_eq!(plan(lab.name(), &desired, &observed).steps.len(), 1);
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
}
