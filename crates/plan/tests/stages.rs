//! Who waits for whom, as a plan says it.
#![expect(clippy::unwrap_used, reason = "only tests use the helpers here")]

use std::collections::{BTreeMap, BTreeSet};

use insta::assert_snapshot;
use netloom_model::{Lab, NodeName, Stage};
use netloom_plan::{Action, Desired, NodeState, Observed, Plan, apply, plan};
use serde_json::{Map, Value, json};

/// A lab of nodes with these stages and a link for each pair of names.
fn lab(runtime: &str, nodes: &[(&str, Value)], pairs: &[(&str, &str)]) -> Lab {
    let node = |(name, stages): &(&str, Value)| {
        let node = json!({ "kind": "linux", "runtime": runtime, "hostname": name, "exec": [["ip", "route"]], "stages": stages });
        ((*name).to_owned(), node)
    };
    let nodes: Map<String, Value> = nodes.iter().map(node).collect();
    let links: Vec<Value> = pairs
        .iter()
        .enumerate()
        .map(|(n, (a, b))| {
            let end = |of: &str, side: u8| {
                json!({ "at": { "node": of }, "interface": format!("eth{}", n + 1), "mac": format!("02:00:00:00:{n:02x}:{side:02x}") })
            };
            json!({ "a": end(a, 1), "b": end(b, 2) })
        })
        .collect();
    serde_json::from_value(json!({ "name": "lab", "nodes": nodes, "links": links })).unwrap()
}

fn waits(stage: &str, node: &str, of: &str) -> Value {
    json!({ stage: { "wait_for": [{ "node": node, "stage": of }] } })
}

fn with_desired<T>(lab: &Lab, stopped: &[&str], work: impl FnOnce(&Desired<'_>) -> T) -> T {
    let (down, due) = (BTreeSet::new(), BTreeSet::new());
    let stopped: BTreeSet<NodeName> = stopped.iter().map(|name| name.parse().unwrap()).collect();
    let restarts = BTreeMap::new();
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

fn way(lab: &Lab, observed: &Observed) -> Plan {
    with_desired(lab, &[], |desired| plan(lab.name(), desired, observed))
}

/// Carries out all steps up to one that is not.
fn until(lab: &Lab, step: &str) -> Observed {
    let mut observed = Observed::default();
    let plan = way(lab, &observed);
    assert!(plan.steps.iter().any(|there| there.id.as_str() == step), "{plan}");
    let begun = plan.steps.iter().take_while(|there| there.id.as_str() != step);
    begun.for_each(|step| with_desired(lab, &[], |desired| apply(&step.action, desired, &mut observed)));
    observed
}

fn made(lab: &Lab) -> Observed {
    let mut observed = Observed::default();
    for step in way(lab, &observed).steps {
        with_desired(lab, &[], |desired| apply(&step.action, desired, &mut observed));
    }
    observed
}

/// What a step waits for.
fn after(plan: &Plan, step: &str) -> Vec<String> {
    let step = plan.steps.iter().find(|there| there.id.as_str() == step).unwrap_or_else(|| panic!("{step}: {plan}"));
    step.after.iter().map(ToString::to_string).collect()
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

#[test]
fn a_container_is_made_when_the_other_one_is_healthy_and_its_link_before() {
    let lab = lab("docker", &[("app", waits("create", "db", "healthy")), ("db", json!({}))], &[("app", "db")]);
    assert_snapshot!(way(&lab, &Observed::default()), @r#"
    lab lab: 10 steps
       1. write names of nodes             (the lab's nodes or addresses changed)
       2. reserve place of node app        (its neighbours come before it)
       3. create node db                   (not there)
       4. start node db                    (it is new)
       5. create link app:eth1-db:eth1     (not there)
       6. exec on db: ip route             (once for each start of the node)
       7. wait on app until db is healthy  (a stage waits for it)
       8. create node app                  (not there)
       9. start node app                   (it is new)
      10. exec on app: ip route            (once for each start of the node)
    "#);
    // In the middle of the wait, after a restart of the agent too.
    let waiting = until(&lab, "node/app/create");
    let mut unknown = waiting.clone();
    unknown.nodes.get_mut(&name("db")).unwrap().passed.clear();
    assert_snapshot!(way(&lab, &unknown), @r#"
    lab lab: 4 steps
      1. wait on app until db is healthy  (a stage waits for it)
      2. create node app                  (only its place is reserved)
      3. start node app                   (it is new)
      4. exec on app: ip route            (once for each start of the node)
    "#);
    assert_snapshot!(way(&lab, &waiting), @r#"
    lab lab: 3 steps
      1. create node app        (only its place is reserved)
      2. start node app         (it is new)
      3. exec on app: ip route  (once for each start of the node)
    "#);
}

#[test]
fn a_namespace_node_is_started_when_the_other_one_is_healthy() {
    let lab = lab("namespace", &[("app", waits("create", "db", "healthy")), ("db", json!({}))], &[("app", "db")]);
    assert_snapshot!(way(&lab, &Observed::default()), @r#"
    lab lab: 9 steps
      1. write names of nodes             (the lab's nodes or addresses changed)
      2. create node app                  (not there)
      3. create node db                   (not there)
      4. create link app:eth1-db:eth1     (not there)
      5. start node db                    (its namespace is new)
      6. exec on db: ip route             (once for each start of the node)
      7. wait on app until db is healthy  (a stage waits for it)
      8. start node app                   (its namespace is new)
      9. exec on app: ip route            (once for each start of the node)
    "#);
    // Not when it is started again.
    let mut there = made(&lab);
    assert!(way(&lab, &there).is_empty());
    for node in there.nodes.values_mut() {
        node.state = NodeState::Stopped;
        node.passed.clear();
    }
    let again = way(&lab, &there);
    assert!(again.steps.iter().all(|step| !matches!(step.action, Action::Await { .. })), "{again}");
}

#[test]
fn each_stage_of_another_node_is_left_by_its_steps() {
    for runtime in ["docker", "namespace"] {
        for stage in Stage::ALL {
            let nodes = [("app", waits("configure", "db", stage.as_str())), ("db", json!({})), ("far", json!({}))];
            let plan = way(&lab(runtime, &nodes, &[("db", "far")]), &Observed::default());
            let entered = after(&plan, "node/app/enter/configure");
            let of_db: Vec<&str> = entered.iter().map(String::as_str).filter(|step| step.contains("db")).collect();
            let start = ["node/db/create", "node/db/start"];
            let link = ["link/db:eth1-far:eth1/create", "node/db/create", "node/db/start"];
            match stage {
                Stage::Create => assert_eq!(of_db, start),
                Stage::CreateLinks => assert_eq!(of_db, link),
                Stage::Configure => {
                    assert_eq!(
                        of_db,
                        ["link/db:eth1-far:eth1/create", "node/db/create", "node/db/exec/0", "node/db/start"]
                    );
                }
                Stage::Healthy => assert!(of_db.contains(&"node/app/await/db/healthy"), "{of_db:?}"),
                Stage::Exit => assert_eq!(of_db, ["node/app/await/db/exit"]),
            }
            assert!(after(&plan, "node/app/exec/0").contains(&"node/app/enter/configure".to_owned()));
        }
    }
}

#[test]
fn a_link_is_made_at_the_turn_of_the_first_of_its_nodes() {
    let later = |runtime: &str, other: Value| {
        let nodes = [("app", waits("create-links", "db", "exit")), ("db", json!({})), ("far", other)];
        way(&lab(runtime, &nodes, &[("app", "far")]), &Observed::default())
    };
    for runtime in ["docker", "namespace"] {
        let link = "link/app:eth1-far:eth1/create";
        // The other one waits for nothing.
        let free = after(&later(runtime, json!({})), link);
        assert!(!free.iter().any(|step| step.contains("enter")), "{free:?}");
        // The other one waits for what the plan does; both wait for the world.
        let both = after(&later(runtime, waits("create-links", "db", "create")), link);
        assert!(both.contains(&"node/far/enter/create-links".to_owned()), "{both:?}");
        let world = after(&later(runtime, waits("create-links", "db", "healthy")), link);
        assert!(world.contains(&"node/app/enter/create-links".to_owned()), "{world:?}");
    }
}

#[test]
fn commands_of_stages_are_run_in_the_order_of_the_stages() {
    let exec = |phase: &str, word: &str| json!({ "command": [word], "phase": phase });
    let stages = json!({
        "create": { "exec": [exec("on-enter", "made")] },
        "create-links": { "exec": [exec("on-exit", "wired"), exec("on-enter", "wires")] },
        "configure": { "exec": [exec("on-exit", "done"), exec("on-enter", "begins")] },
        "healthy": { "exec": [exec("on-exit", "well"), { "command": ["elsewhere"], "target": "host" }] },
        "exit": { "exec": [exec("on-exit", "too late")] },
    });
    for runtime in ["docker", "namespace"] {
        let lab = lab(runtime, &[("db", stages.clone()), ("far", json!({}))], &[("db", "far")]);
        let plan = way(&lab, &Observed::default());
        let run = plan.steps.iter().filter_map(|step| match &step.action {
            Action::Exec { node, argv, .. } if node.as_str() == "db" => Some(argv.join(" ")),
            _ => None,
        });
        let all = ["made", "wires", "wired", "begins", "ip route", "done", "elsewhere", "well"];
        assert_eq!(run.collect::<Vec<_>>(), all, "{plan}");
        assert!(after(&plan, "node/db/exec/7").contains(&"node/db/await/db/healthy".to_owned()), "{plan}");
        // `wires` is the last that finds none; a namespace node has its links before it runs.
        let links = after(&plan, "link/db:eth1-far:eth1/create");
        assert_eq!(links.contains(&"node/db/exec/1".to_owned()), runtime == "docker", "{links:?}");
    }
}

#[test]
fn links_do_not_wait_for_commands_that_wait_for_links() {
    let exec = json!([{ "command": ["made"], "phase": "on-exit" }]);
    let stages = json!({
        "create": { "exec": exec },
        "create-links": { "exec": [{ "command": ["wires"] }], "wait_for": [{ "node": "far", "stage": "configure" }] },
    });
    let lab = lab("docker", &[("db", stages), ("far", json!({}))], &[("db", "far")]);
    let links = after(&way(&lab, &Observed::default()), "link/db:eth1-far:eth1/create");
    assert!(links.contains(&"node/db/exec/0".to_owned()), "{links:?}");
    assert!(!links.contains(&"node/db/exec/1".to_owned()), "{links:?}");
}

#[test]
fn nobody_waits_for_a_node_without_end_that_a_person_stopped_after_it_was_configured() {
    let lab = lab("docker", &[("app", waits("create", "db", "configure")), ("db", json!({}))], &[]);
    let first = |observed: &Observed| with_desired(&lab, &["db"], |desired| plan(lab.name(), desired, observed));
    // It has never run: a person has to start it first.
    let created = after(&first(&Observed::default()), "node/app/create");
    assert_eq!(created, ["node/app/await/db/configure"]);
    // It has: `app` is new beside it.
    let mut there = made(&lab);
    there.nodes.remove(&name("app"));
    there.nodes.get_mut(&name("db")).unwrap().state = NodeState::Stopped;
    assert_eq!(after(&first(&there), "node/app/create"), [""; 0]);
}

#[test]
fn what_a_node_has_entered_is_not_waited_for_again() {
    let healthy = || waits("create-links", "db", "healthy");
    let lab = lab("docker", &[("app", healthy()), ("db", json!({})), ("far", healthy())], &[("app", "far")]);
    let mut there = made(&lab);
    assert_eq!(there.nodes[&name("app")].entered, Some(Stage::CreateLinks));
    // Its link is lost when the other one is not healthy any more, and nobody remembers that it was.
    there.links.clear();
    there.nodes.get_mut(&name("db")).unwrap().passed.clear();
    let plan = way(&lab, &there);
    assert_eq!(plan.steps.len(), 1, "{plan}");
}
