//! What is planned for nodes that are the host itself.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::Lab;
use netloom_plan::{Desired, Observed, Plan, apply, plan};
use serde_json::json;

/// A router with a link to the host, which has two commands.
fn lab() -> Lab {
    let nodes = json!({
        "r1": { "kind": "linux", "runtime": "namespace", "hostname": "r1" },
        "pc": { "kind": "host", "hostname": "pc", "exec": [["ip", "route"], ["true"]] },
    });
    let links = json!([
        { "a": { "at": { "node": "r1" }, "interface": "eth1", "mac": "02:00:00:00:00:01" },
          "b": { "at": "host", "interface": "up0", "mac": "02:00:00:00:00:02" } },
    ]);
    serde_json::from_value(json!({ "name": "lab", "nodes": nodes, "links": links })).unwrap()
}

fn way(lab: &Lab, observed: &mut Observed) -> Plan {
    let (none, never) = (BTreeSet::new(), BTreeMap::new());
    let down = BTreeSet::new();
    let desired = Desired { lab: Some(lab), down: &down, stopped: &none, restarts: &never, ..Desired::NOTHING };
    let plan = plan(lab.name(), &desired, observed);
    plan.steps.iter().for_each(|step| apply(&step.action, &desired, observed));
    plan
}

#[test]
fn commands_for_the_host_are_run_in_their_order_when_its_links_are_there_and_once() {
    let (lab, mut observed) = (lab(), Observed::default());
    let plan = way(&lab, &mut observed);
    let execs: Vec<_> = plan.steps.iter().filter(|step| step.id.to_string().starts_with("node/pc/")).collect();
    assert_eq!(execs[0].action.to_string(), "exec on the host for pc: ip route");
    let after: Vec<String> = execs[0].after.iter().map(ToString::to_string).collect();
    assert_eq!(after, ["link/host:up0-r1:eth1/create"]);
    assert_eq!(execs[1].after, [execs[0].id.clone()]);
    assert!(way(&lab, &mut observed).is_empty());
    // The host is started again.
    observed.hosts.clear();
    assert_eq!(way(&lab, &mut observed).steps.len(), 2);
}
