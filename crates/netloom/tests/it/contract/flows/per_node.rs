//! A lab whose nodes have no host yet, which comes up node by node: flow 5.2b. And the calls of a node's life by themselves.

use std::thread;

use serde_json::json;

use crate::contract::rig::{Rig, container, number, text};
use crate::contract::steps::{H1, H2, LAB, Node, OTHER, R1, link, recorded_link};
use crate::docker::host::IMAGE;

#[test]
fn a_lab_that_is_not_placed_comes_up_node_by_node_and_is_linked_three_times() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    let before = rig.leavings();
    assert!(agent.image_exists(IMAGE));
    let failed = agent.deploy(LAB, &[], &[]);
    assert_eq!(text(&failed, "status"), "failed");
    assert_ne!(text(&failed, "error_message"), "");
    assert_eq!(agent.states(LAB), []);

    // It is looked for a host.
    agent.get("/health");
    let capacity = agent.get("/capacity");
    assert!(capacity["error"].is_null() && capacity["memory_total_gb"].as_f64().unwrap() > 0.0, "{capacity:#}");
    assert_eq!(number(&capacity, "containers_running"), 0);
    for each in [R1, H1] {
        let mark = rig.controller.mark();
        agent.brings_up(LAB, &each);
        rig.controller.wait("it is told to run", mark, |call| call.tells(LAB, each.name, "started"));
    }
    let capacity = agent.get("/capacity");
    assert_eq!(
        (number(&capacity, "containers_running"), capacity["allocated_vcpus"].as_f64()),
        (2, Some(2.0)),
        "{capacity:#}"
    );
    let shown = capacity["container_details"].as_array().unwrap();
    let shown = shown.iter().find(|shown| shown["node_name"] == "r1").unwrap();
    assert_eq!(
        (text(shown, "lab_prefix"), text(shown, "status"), &shown["is_system"]),
        (LAB, "running", &json!(false))
    );
    for each in [R1, H1] {
        agent.waits_for(LAB, &each);
    }

    let tag = agent.links(LAB, &recorded_link());
    let ports = rig.ports();
    assert_eq!([agent.links(LAB, &recorded_link()), agent.links(LAB, &recorded_link())], [tag, tag]);
    assert_eq!(rig.ports(), ports);
    agent.declares_nothing(&[LAB]);
    rig.address(&container(LAB, "r1"), "eth1", "10.0.1.1/24");
    rig.address(&container(LAB, "h1"), "eth1", "10.0.1.2/24");
    rig.until("it is reached", |_| rig.reaches(&container(LAB, "h1"), "10.0.1.1", 56));
    agent.takes_down(LAB, &[]);
    assert_eq!(rig.leavings(), before);
}

#[test]
fn calls_that_come_twice_at_once_have_one_effect() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    let both = |call: &(dyn Fn() + Sync)| {
        thread::scope(|scope| {
            for task in [scope.spawn(call), scope.spawn(call)] {
                task.join().unwrap();
            }
        });
    };
    let mark = rig.controller.mark();
    both(&|| {
        let created = agent.create(LAB, &H1);
        assert_eq!(created["success"], true, "{created:#}");
    });
    both(&|| {
        let started = agent.start(LAB, &H1);
        assert_eq!(started["success"], true, "{started:#}");
    });
    both(&|| agent.brings_up(LAB, &H2));
    for each in [H1, H2] {
        agent.waits_for(LAB, &each);
        rig.controller.wait("it is told to run", mark, |call| call.tells(LAB, each.name, "started"));
        assert_eq!(
            rig.docker(&format!("ps --all --quiet --filter name={}", container(LAB, each.name))).lines().count(),
            1
        );
    }
    let ports = rig.ports();
    assert_eq!(ports.len(), 16, "{ports:#?}");
    let runs = agent.status(LAB);

    // The controller does this to a node that runs, and it runs on.
    for each in [H1, H2] {
        agent.brings_up(LAB, &each);
    }
    agent.deploys(LAB, &[H1, H2], &[]);
    assert_eq!(agent.status(LAB), runs, "they are the same containers");
    assert_eq!(rig.ports(), ports);
    let ends = link(("h1", "eth1"), ("h2", "eth1"));
    both(&|| {
        agent.links(LAB, &ends);
    });
    both(&|| agent.takes_down(LAB, &[]));
    assert_eq!(rig.ports(), [""; 0]);
}

#[test]
fn who_has_the_name_of_a_container_is_told_and_left_alone() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    let class = |node: &Node| {
        let body = json!({ "node_name": node.name, "node_definition_id": node.definition });
        let answer = agent.post(&format!("/labs/{LAB}/nodes/{}/runtime-conflict?provider=docker", node.name), &body);
        assert_eq!(answer["success"], true, "{answer:#}");
        (text(&answer, "classification").to_owned(), answer["available"].as_bool().unwrap())
    };
    let absent = || ("absent".to_owned(), true);
    assert_eq!(class(&H1), absent());
    agent.brings_up(LAB, &H1);
    assert_eq!(class(&H1), ("expected".to_owned(), true));
    let replaced = Node { definition: "00000000-0000-4000-8000-000000000000", ..H1 };
    assert_eq!(class(&replaced), ("stale_managed".to_owned(), false));
    let refused = agent.create(LAB, &replaced);
    assert!(text(&refused, "error").starts_with("Runtime namespace conflict: "), "{refused:#}");
    assert_eq!(refused["success"], false);
    assert_eq!(agent.states(LAB), [("h1".to_owned(), "running".to_owned())]);

    let foreign = container(LAB, "h2");
    let id = rig.docker(&format!("run --detach --tty --name {foreign} --network none {IMAGE}"));
    assert_eq!(class(&H2), ("foreign".to_owned(), false));
    let refused = agent.create(LAB, &H2);
    assert!(text(&refused, "error").starts_with("Runtime namespace conflict: "), "{refused:#}");
    assert_eq!(agent.states(LAB), [("h1".to_owned(), "running".to_owned())], "it is no node");
    agent.takes_down(LAB, &[]);
    assert_eq!(rig.docker("ps --all --quiet --no-trunc"), id);
}

#[test]
fn what_cannot_be_made_is_said_with_success_false_and_readiness_with_what_it_waits_for() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    let create = |more: &dyn Fn(&mut serde_json::Value)| {
        let mut body = H1.to_create();
        more(&mut body);
        agent.post(&format!("/labs/{LAB}/nodes/h1/create?provider=docker"), &body)
    };
    let missing = create(&|body| body["image"] = json!("nowhere.invalid/no:1"));
    assert_eq!(missing["success"], false);
    assert!(text(&missing, "error").starts_with("Docker image not found: "), "{missing:#}");
    assert_eq!(agent.states(LAB), []);
    let started = agent.start(LAB, &H1);
    assert_eq!(started["success"], false, "nothing is there to start: {started:#}");
    let mut topology = H1.in_topology();
    topology["image"] = json!("nowhere.invalid/no:1");
    let body =
        json!({ "job_id": "j", "lab_id": LAB, "provider": "docker", "topology": { "nodes": [topology], "links": [] } });
    let failed = agent.post("/jobs/deploy", &body);
    assert_eq!(text(&failed, "status"), "failed");
    assert!(text(&failed, "error_message").contains("nowhere.invalid/no:1"), "{failed:#}");
    agent.destroys(LAB);
    let (status, _) =
        agent.send("POST", "/jobs/deploy", Some(&json!({ "job_id": "j", "lab_id": LAB, "topology": null })));
    assert_eq!(status, 400);

    let ready = |query: &str| agent.get(&format!("/labs/{LAB}/nodes/h1/ready{query}"));
    let unknown = ready("?kind=linux&provider_type=docker");
    assert_eq!((&unknown["is_ready"], text(&unknown, "message")), (&json!(false), "Container not found"));
    // A log that is waited for.
    let probe = |body: &mut serde_json::Value| {
        body["readiness_probe"] = json!("log_pattern");
        body["readiness_pattern"] = json!("all (is|are) WELL");
        body["readiness_timeout"] = json!(77);
    };
    let created = create(&probe);
    assert_eq!((&created["success"], text(&created, "status")), (&json!(true), "stopped"), "{created:#}");
    assert_eq!(agent.start(LAB, &H1)["success"], true);
    let waits = ready("");
    assert_eq!((&waits["is_ready"], number(&waits, "timeout")), (&json!(false), 77), "{waits:#}");
    assert_eq!(agent.exec(LAB, "h1", "echo All is well >/proc/1/fd/1"), (0, String::new()));
    rig.until("it is ready", |_| ready("?kind=linux&provider_type=docker")["is_ready"] == true);

    assert_eq!(agent.exec(LAB, "h1", "echo out; echo err >&2; exit 3"), (3, "out\nerr\n".to_owned()));
    assert_eq!(agent.exec(LAB, "h1", "cat; echo read"), (0, "read\n".to_owned()), "nothing is typed, and that ends");
    let (status, _) = agent.send("POST", &format!("/labs/{LAB}/nodes/h1/exec"), Some(&json!({})));
    assert!([400, 422].contains(&status), "{status}");
    // A configuration that is put is there at the next create, and is told where a node has none to be read.
    let put = agent.put(&format!("/labs/{LAB}/nodes/h1/config"), &json!({ "content": "hostname h1\n" }));
    assert_eq!(put, json!({ "success": true, "error": null }));
    let taken = agent.call(&format!("/labs/{LAB}/extract-configs"));
    assert_eq!((&taken["success"], &taken["configs"]), (&json!(true), &json!([])), "linux has none");
    let repaired = agent.post(&format!("/labs/{LAB}/repair-endpoints"), &json!({ "nodes": [] }));
    assert_eq!((&repaired["success"], number(&repaired, "total_endpoints_repaired")), (&json!(true), 0));
    assert_eq!(repaired["results"]["h1"].as_array().unwrap().len(), 8, "{repaired:#}");

    // What somebody took away comes back.
    let (tag, port) = agent.vlan(LAB, "h1", "eth3");
    rig.ovs.vsctl(["del-port", "arch-ovs", &port]);
    agent.post(&format!("/labs/{LAB}/repair-endpoints"), &json!({ "nodes": ["h1"] }));
    assert_eq!(agent.vlan(LAB, "h1", "eth3").0, tag);
    agent.takes_down(LAB, &[OTHER]);
}

#[test]
fn a_router_begins_with_the_configuration_of_the_request_or_the_one_that_is_kept() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    let read = || agent.exec(LAB, "r1", "cat /etc/frr/frr.conf");
    let put = agent.put(&format!("/labs/{LAB}/nodes/r1/config"), &json!({ "content": "hostname kept\n" }));
    assert_eq!(put["success"], true);
    agent.brings_up(LAB, &R1);
    assert_eq!(read(), (0, "hostname kept\n".to_owned()));
    // What somebody writes in it is its own until it is made anew.
    agent.exec(LAB, "r1", "echo hostname changed >/etc/frr/frr.conf");
    agent.deploys(LAB, &[R1], &[]);
    assert_eq!(read(), (0, "hostname changed\n".to_owned()));
    agent.stops(LAB, &R1);
    let mut body = R1.to_create();
    body["startup_config"] = json!("hostname asked\n");
    assert_eq!(agent.post(&format!("/labs/{LAB}/nodes/r1/create?provider=docker"), &body)["success"], true);
    agent.start(LAB, &R1);
    assert_eq!(read(), (0, "hostname asked\n".to_owned()));
    agent.takes_down(LAB, &[]);
}
