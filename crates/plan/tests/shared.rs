//! Nodes that share the namespace of another one, as a plan says it.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::{BTreeMap, BTreeSet};

use netloom_model::{Lab, NodeName};
use netloom_plan::{Desired, NodeState, Observed, Plan, apply, plan};
use serde_json::{Value, json};

/// A node with a link of its own, and one that shares its namespace.
fn lab(image: &str, stages: Value) -> Lab {
    let node =
        |name: &str, image: &str| json!({ "kind": "linux", "runtime": "docker", "image": image, "hostname": name });
    let (mut owner, mut shares) = (node("owner", image), node("ashares", "same"));
    owner["stages"] = stages;
    shares["network_mode"] = json!({ "container": "owner" });
    serde_json::from_value(json!({ "name": "lab", "nodes": { "owner": owner, "ashares": shares } })).unwrap()
}

fn with_desired<T>(lab: &Lab, restarts: &[(&str, u64)], work: impl FnOnce(&Desired<'_>) -> T) -> T {
    let (down, stopped, due) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let restarts: BTreeMap<NodeName, u64> = restarts.iter().map(|(name, n)| (name.parse().unwrap(), *n)).collect();
    let desired = Desired {
        lab: Some(lab),
        rebuild: 0,
        down: &down,
        stopped: &stopped,
        restarts: &restarts,
        restart_due: &due,
        prints: None,
        network: None,
    };
    work(&desired)
}

fn way(lab: &Lab, restarts: &[(&str, u64)], observed: &Observed) -> Plan {
    with_desired(lab, restarts, |desired| plan(lab.name(), desired, observed))
}

/// What a plan does to nodes, in its order, carried out.
fn done(lab: &Lab, restarts: &[(&str, u64)], observed: &mut Observed) -> Vec<String> {
    let plan = way(lab, restarts, observed);
    with_desired(lab, restarts, |desired| plan.steps.iter().for_each(|step| apply(&step.action, desired, observed)));
    let again = way(lab, restarts, observed);
    assert!(again.steps.is_empty(), "{again}");
    plan.steps.iter().map(|step| step.id.to_string()).filter(|id| !id.contains("names")).collect()
}

#[test]
fn who_shares_a_namespace_comes_after_whose_it_is() {
    let mut observed = Observed::default();
    let steps = done(&lab("one", json!({})), &[], &mut observed);
    assert_eq!(steps, ["node/owner/create", "node/owner/start", "node/ashares/create", "node/ashares/start"]);
}

#[test]
fn who_has_the_network_of_a_container_outside_has_its_links_there_and_is_started_again_when_it_is_left_behind() {
    let node = |shares: Option<&str>| {
        let mut node = json!({ "kind": "linux", "runtime": "docker", "image": "x", "hostname": "n" });
        if let Some(other) = shares {
            node["network_mode"] = json!({ "container": other });
        }
        node
    };
    let end = |name: &str, interface: &str, mac: u8| json!({ "at": { "node": name }, "interface": interface, "mac": format!("02:00:00:00:00:{mac:02x}") });
    let link = |name: &str, interface: &str, mac: u8| json!({ "a": end("far", interface, mac), "b": end(name, interface, mac + 1) });
    let lab: Lab = serde_json::from_value(json!({ "name": "lab",
        "nodes": { "far": node(None), "one": node(Some("worker")), "two": node(Some("worker")) },
        "links": [link("one", "eth1", 1), link("two", "eth2", 3)] }))
    .unwrap();
    let mut observed = Observed::default();
    let steps = done(&lab, &[], &mut observed);
    assert!(steps.contains(&"link/far:eth1-one:eth1/create".to_owned()), "{steps:?}");
    let said: Vec<String> = way(&lab, &[], &Observed::default()).left_out.iter().map(ToString::to_string).collect();
    let second = "node two has the network of `worker`, as node one has; write the link at one";
    assert_eq!(said, [format!("link far:eth2-two:eth2 is left out: {second}")]);

    observed.nodes.get_mut(&"one".parse().unwrap()).unwrap().left_behind = true;
    let link = |step: &str| format!("link/far:eth1-one:eth1/{step}");
    let expected = ["node/one/stop".to_owned(), link("down-b"), link("up-b"), "node/one/start".to_owned()];
    assert_eq!(done(&lab, &[], &mut observed), expected);
}

#[test]
fn it_is_made_anew_and_started_again_with_it() {
    let mut observed = Observed::default();
    done(&lab("one", json!({})), &[], &mut observed);
    let steps = done(&lab("two", json!({})), &[], &mut observed);
    let expected = [
        "node/ashares/delete",
        "node/owner/delete",
        "node/owner/create",
        "node/owner/start",
        "node/ashares/create",
        "node/ashares/start",
    ];
    assert_eq!(steps, expected);
    let steps = done(&lab("two", json!({})), &[("owner", 1)], &mut observed);
    assert_eq!(steps, ["node/ashares/stop", "node/owner/stop", "node/owner/start", "node/ashares/start"]);
    // One that somebody has removed.
    observed.nodes.remove(&"owner".parse::<NodeName>().unwrap());
    let steps = done(&lab("two", json!({})), &[("owner", 1)], &mut observed);
    let expected =
        ["node/ashares/delete", "node/owner/create", "node/owner/start", "node/ashares/create", "node/ashares/start"];
    assert_eq!(steps, expected);
    assert!(observed.nodes.values().all(|node| node.state == NodeState::Running));
}

#[test]
fn who_shares_processes_goes_with_the_other_too_and_a_circle_of_it_is_no_circle_of_steps() {
    let node =
        |name: &str, image: &str| json!({ "kind": "linux", "runtime": "docker", "image": image, "hostname": name });
    let lab = |image: &str| -> Lab {
        let (mut a, mut b, mut c) = (node("a", "same"), node("b", "same"), node("c", image));
        a["container"] = json!({ "pid_mode": { "container": "b" } });
        b["network_mode"] = json!({ "container": "c" });
        c["container"] = json!({ "pid_mode": { "container": "a" } });
        serde_json::from_value(json!({ "name": "lab", "nodes": { "a": a, "b": b, "c": c } })).unwrap()
    };
    let mut observed = Observed::default();
    assert_eq!(done(&lab("one"), &[], &mut observed).len(), 6);
    assert_eq!(done(&lab("two"), &[], &mut observed).len(), 9, "all three are made anew");
}

#[test]
fn one_that_is_waited_for_by_whom_it_shares_with_waits_for_nobody() {
    let waits = json!({ "create": { "wait_for": [{ "node": "ashares", "stage": "create" }] } });
    let plan = way(&lab("one", waits), &[], &Observed::default());
    assert!(plan.steps.iter().any(|step| step.id.as_str() == "node/ashares/create"), "{plan}");
}

#[test]
fn one_that_is_left_behind_follows_into_the_next_life() {
    let mut observed = Observed::default();
    let lab = lab("one", json!({}));
    done(&lab, &[], &mut observed);
    let in_namespaces = |observed: &Observed, owner: Option<u64>, shares: Option<u64>| {
        let mut observed = observed.clone();
        for (name, namespace) in [("owner", owner), ("ashares", shares)] {
            observed.nodes.get_mut(&name.parse::<NodeName>().unwrap()).unwrap().namespace = namespace;
        }
        observed
    };
    for (owner, shares) in [(Some(1), Some(1)), (None, Some(1)), (Some(1), None)] {
        assert_eq!(way(&lab, &[], &in_namespaces(&observed, owner, shares)).steps, []);
    }
    let steps = done(&lab, &[], &mut in_namespaces(&observed, Some(2), Some(1)));
    assert_eq!(steps, ["node/ashares/stop", "node/ashares/start"]);
}
