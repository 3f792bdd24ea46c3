//! Nodes that are stopped, started, and die: flow 5.5.

use serde_json::json;

use crate::contract::double::Call;
use crate::contract::rig::{Rig, container, text};
use crate::contract::steps::{H1, H2, H3, LAB, R1, link, node, recorded_link};
use crate::contract::traffic::Traffic;

#[test]
fn a_node_that_is_stopped_and_started_cuts_no_other_link_and_finds_its_own_again() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    agent.deploys(LAB, &[R1, H1, H2, H3], &[]);
    for each in [R1, H1, H2, H3] {
        agent.waits_for(LAB, &each);
    }
    let other = link(("h2", "eth1"), ("h3", "eth1"));
    let third = link(("h2", "eth2"), ("r1", "eth2"));
    let [tag, stays, shared] = [&recorded_link(), &other, &third].map(|ends| agent.links(LAB, ends));
    let [r1, h1, h2, h3] = ["r1", "h1", "h2", "h3"].map(|node| container(LAB, node));
    let addressed = |name: &str, interface: &str, address: &str| rig.address(name, interface, address);
    addressed(&h2, "eth1", "10.0.2.1/24");
    addressed(&h3, "eth1", "10.0.2.2/24");
    addressed(&h1, "eth1", "10.0.1.2/24");
    let traffic = Traffic::start(&rig, &h2, "10.0.2.2");
    let runs = node(&agent.status(LAB), "r1").unwrap()["runtime_id"].clone();

    let mark = rig.controller.mark();
    agent.stops(LAB, &R1);
    let told = rig.controller.wait("it is told to be stopped", mark, |call| call.tells(LAB, "r1", "stopped"));
    assert!(!text(told.events().next().unwrap(), "status").contains("code"), "it did not die: {told:?}");
    assert!(node(&agent.status(LAB), "r1").is_none(), "to stop is to remove");
    assert_eq!(rig.docker(&format!("ps --all --quiet --filter name={r1}")), "");
    assert_eq!(agent.maps_ports(LAB).len(), 24);
    assert_eq!(agent.reconcile(LAB, &r1, "stopped")["action"], "already_stopped");
    let absent = agent.reconcile(LAB, &r1, "running");
    assert_eq!((&absent["success"], &absent["action"]), (&json!(false), &json!("error")), "{absent:#}");
    let refused = agent.post(&format!("/labs/{LAB}/links"), &recorded_link());
    assert!(text(&refused, "error").starts_with("Cannot find OVS port for r1:eth1"), "{refused:#}");
    assert_eq!(agent.reconcile(LAB, &h1, "running")["action"], "already_running");
    assert_eq!(agent.reconcile(LAB, "h1", "running")["action"], "already_running", "a bare name is taken too");

    // What of its links was is found again.
    let mark = rig.controller.mark();
    agent.get("/health");
    agent.brings_up(LAB, &R1);
    rig.controller.wait("it is told to run", mark, |call| call.tells(LAB, "r1", "started"));
    agent.waits_for(LAB, &R1);
    assert_ne!(node(&agent.status(LAB), "r1").unwrap()["runtime_id"], runs);
    assert_eq!([agent.links(LAB, &recorded_link()), agent.links(LAB, &third)], [tag, shared]);
    assert_eq!(agent.links(LAB, &other), stays);
    addressed(&r1, "eth1", "10.0.1.1/24");
    rig.until("it is reached", |_| rig.reaches(&h1, "10.0.1.1", 56));
    traffic.went_on();

    let told = rig.controller.since(mark);
    assert!(!told.iter().any(|call| call.tells(LAB, "h2", "started") || call.tells(LAB, "h1", "stopped")), "{told:#?}");
    agent.takes_down(LAB, &[]);
}

#[test]
fn a_node_that_dies_is_told_with_its_code_and_comes_back_when_it_is_started() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    agent.deploys(LAB, &[H1, H2], &[]);
    let ends = link(("h1", "eth1"), ("h2", "eth1"));
    let tag = agent.links(LAB, &ends);
    let [h1, h2] = ["h1", "h2"].map(|node| container(LAB, node));
    let mark = rig.controller.mark();
    rig.sh(&format!("kill -KILL {}", rig.pid_of(&h1))).code(0);
    let died = rig.controller.wait("its death is told", mark, |call| call.tells(LAB, "h1", "died"));
    let event = died.events().find(|event| event["event_type"] == "died").unwrap().clone();
    assert_eq!(text(&event, "status"), "exited (code 137)", "{event:#}");
    rig.until("it is seen", |_| node(&agent.status(LAB), "h1").is_some_and(|node| node["status"] == "stopped"));
    assert_eq!(node(&agent.status(LAB), "h2").unwrap()["status"], "running");

    // The controller enforces what it wants.
    let mark = rig.controller.mark();
    agent.brings_up(LAB, &H1);
    rig.controller.wait("it is told to run", mark, |call| call.tells(LAB, "h1", "started"));
    agent.waits_for(LAB, &H1);
    assert_eq!(agent.links(LAB, &ends), tag);
    rig.address(&h1, "eth1", "10.0.1.1/24");
    rig.address(&h2, "eth1", "10.0.1.2/24");
    rig.until("it is reached", |_| rig.reaches(&h2, "10.0.1.1", 56));

    // A signal that does not end it is nothing to tell.
    let mark = rig.controller.mark();
    rig.docker(&format!("kill --signal WINCH {h1}"));
    rig.controller.wait("it beats", mark, Call::is_heartbeat);
    assert_eq!(rig.controller.since(mark).iter().flat_map(Call::events).count(), 0);
    agent.takes_down(LAB, &[]);
}
