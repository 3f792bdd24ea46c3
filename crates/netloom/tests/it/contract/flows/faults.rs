//! A Docker that is slow, fails or hangs, and a switch that is gone: answers are as the contract has them, in time, and the agent stays
//! online.

use std::thread;
use std::time::{Duration, Instant};

use netloom_fault_kit::Manner;
use netloom_ovs_fixture::Daemon;
use serde_json::json;

use crate::contract::double::{BEAT, Call};
use crate::contract::rig::{Rig, container, is_whole, text};
use crate::contract::steps::{H1, H2, H3, LAB, OTHER, R1, link, node, recorded_link};
use crate::contract::traffic::Traffic;
use crate::sandbox::NETLOOM;

impl Rig {
    fn docker_is(&self, manner: Manner) {
        self.docker.as_ref().unwrap().behave(manner);
    }

    /// Fails the test unless the agent says at once that it is there.
    #[track_caller]
    fn is_healthy(&self) {
        for path in ["/healthz", "/health"] {
            let asked = Instant::now();
            self.agent.get(path);
            assert!(asked.elapsed() < Duration::from_secs(2), "{path} took {:?}", asked.elapsed());
        }
    }

    /// Asks all that is asked again and again, while Docker is ill and the two nodes of [`LAB`] run.
    #[track_caller]
    fn answers_all(&self) {
        let agent = &self.agent;
        self.is_healthy();
        let status = agent.get(&format!("/labs/{LAB}/status"));
        let all = ["r1", "h1"].iter().all(|name| node(&status, name).is_some());
        assert!(all || status["error"].is_string(), "a short list without a word: {status:#}");
        let ready = agent.get(&format!("/labs/{LAB}/nodes/h1/ready?kind=linux&provider_type=docker"));
        assert_eq!(ready["provider"], "docker");
        assert_eq!(self.ports_of_both().len(), 16, "Open vSwitch is well");
        assert_eq!(agent.vlan(LAB, "h1", "eth1").0, agent.vlan(LAB, "r1", "eth1").0);
        assert_eq!(agent.get("/ovs/status")["initialized"], true);
        for path in ["/capacity", "/images", "/overlay/status", "/locks/status", "/images/active-transfers"] {
            agent.get(path);
        }
        agent.image_exists("library.test/any:1");
        agent.declares_nothing(&[LAB]);
        let (mark, asked) = (self.controller.mark(), Instant::now());
        let beat = self.controller.wait("it beats", mark, Call::is_heartbeat);
        assert!(beat.at - asked < 2 * BEAT, "what it tells of containers is none of a beat's business");
        assert!(!self.controller.since(mark).iter().any(Call::is_register));
    }

    /// The ports of the two nodes that stay.
    #[track_caller]
    fn ports_of_both(&self) -> Vec<(String, String, String, u64)> {
        let mut ports = self.agent.maps_ports(LAB);
        ports.retain(|(node, ..)| ["r1", "h1"].contains(&node.as_str()));
        ports
    }

    fn is_well_again(&self) {
        self.docker_is(Manner::Faithful);
        self.until("Docker is seen again", |_| {
            let status = self.agent.get(&format!("/labs/{LAB}/status"));
            let runs = |name| node(&status, name).is_some_and(|node| node["status"] == "running");
            is_whole(&self.agent) && status["error"].is_null() && runs("r1") && runs("h1")
        });
    }
}

#[test]
fn a_docker_that_is_slow_makes_it_late_and_nothing_else() {
    let Some(rig) = Rig::with_ill_docker() else { return };
    let agent = &rig.agent;
    rig.docker_is(Manner::Late(Duration::from_secs(1)));
    thread::scope(|scope| {
        let deploy = scope.spawn(|| agent.deploys(LAB, &[R1, H1], &[recorded_link()]));
        while !deploy.is_finished() {
            rig.is_healthy();
        }
        deploy.join().unwrap();
    });
    let tag = agent.links(LAB, &recorded_link());
    rig.answers_all();
    agent.stops(LAB, &H1);
    agent.brings_up(LAB, &H1);
    agent.waits_for(LAB, &H1);
    assert_eq!(agent.links(LAB, &recorded_link()), tag);
    agent.takes_down(LAB, &[]);
}

#[test]
fn a_docker_that_fails_or_hangs_is_said_and_what_runs_runs_on() {
    let Some(rig) = Rig::with_ill_docker() else { return };
    let agent = &rig.agent;
    agent.deploys(LAB, &[R1, H1, H3], &[]);
    let tag = agent.links(LAB, &recorded_link());
    let [r1, h1, h3] = ["r1", "h1", "h3"].map(|node| container(LAB, node));
    rig.address(&r1, "eth1", "10.0.1.1/24");
    rig.address(&h1, "eth1", "10.0.1.2/24");
    let traffic = Traffic::start(&rig, &h1, "10.0.1.1");
    let ports = rig.ports_of_both();

    rig.docker_is(Manner::Failing);
    rig.answers_all();
    let create = agent.create(LAB, &H2);
    assert!(create["success"] == false && !text(&create, "error").is_empty(), "{create:#}");
    let start = agent.start(LAB, &H2);
    assert_eq!(start["success"], false, "{start:#}");
    let failed = agent.deploy(OTHER, &[H2], &[]);
    assert_eq!(text(&failed, "status"), "failed");
    assert_ne!(text(&failed, "error_message"), "");
    let stop = agent.reconcile(LAB, &h3, "stopped");
    let answer = text(&stop, "error").to_lowercase();
    assert!(stop["success"] == false && stop["action"] == "error", "{stop:#}");
    assert!(!answer.contains("not found"), "the controller would look for it elsewhere: {answer}");
    let cleaned = agent.post("/cleanup-lab-orphans", &json!({ "lab_id": OTHER, "keep_node_names": [] }));
    assert_eq!(cleaned["removed_containers"], json!([]));
    rig.is_well_again();
    agent.destroys(OTHER);
    // Whether or not it was done meanwhile, it is done now.
    let stop = agent.reconcile(LAB, &h3, "stopped");
    assert!(["removed", "already_stopped"].contains(&text(&stop, "action")), "{stop:#}");
    assert_eq!(agent.delete(&format!("/labs/{LAB}/nodes/h2"))["success"], true);
    assert_eq!(rig.ports_of_both(), ports);

    for manner in [Manner::Cut, Manner::Corrupt] {
        rig.docker_is(manner);
        rig.answers_all();
        rig.is_well_again();
    }

    rig.docker_is(Manner::Hung);
    thread::scope(|scope| {
        // It is answered in time or when Docker is back, and whole either way.
        let asks = scope.spawn(|| agent.create(LAB, &H2));
        rig.answers_all();
        // Links need no Docker.
        assert_eq!(agent.links(LAB, &recorded_link()), tag);
        agent.links(LAB, &link(("r1", "eth2"), ("h1", "eth2")));
        let asked = Instant::now();
        let status = agent.get(&format!("/labs/{LAB}/status"));
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?} for {status:#}", asked.elapsed());
        rig.docker_is(Manner::Faithful);
        asks.join().unwrap();
    });
    // Until it was looked at again, it is said of a status that it may be old.
    rig.is_well_again();
    agent.brings_up(LAB, &H2);
    assert_eq!(agent.links(LAB, &recorded_link()), tag);
    traffic.went_on();
    agent.takes_down(LAB, &[]);
    assert_eq!(rig.ports(), [""; 0]);
}

#[test]
fn an_agent_that_starts_while_docker_hangs_joins_and_does_not_say_that_nodes_are_gone() {
    let Some(rig) = Rig::with_ill_docker() else { return };
    let agent = &rig.agent;
    agent.deploys(LAB, &[R1, H1], &[]);
    let tag = agent.links(LAB, &recorded_link());
    let ports = rig.ports();
    rig.docker_is(Manner::Hung);
    let mark = rig.controller.mark();
    rig.kill_agent();
    let by = format!("unix://{}", rig.docker.as_ref().unwrap().socket().display());
    let mut start = rig.command(NETLOOM);
    assert!(start.args(["agent", "--background"]).env("DOCKER_HOST", by).status().unwrap().success());
    rig.controller.wait("it registers", mark, Call::is_register);
    rig.controller.wait("it beats", mark, Call::is_heartbeat);
    rig.is_healthy();
    for lab in [LAB, OTHER] {
        let status = agent.get(&format!("/labs/{lab}/status"));
        let all = lab == LAB && status["nodes"].as_array().unwrap().len() == 2;
        assert!(all || status["error"].is_string(), "nobody can know that: {status:#}");
    }
    // All images would be missing for the controller.
    let (status, images) = agent.send("GET", "/images", None);
    assert_eq!((status, images["detail"].is_string()), (503, true), "{images:#}");
    rig.docker_is(Manner::Faithful);
    rig.until("both are seen", |_| {
        let status = agent.get(&format!("/labs/{LAB}/status"));
        status["error"].is_null() && status["nodes"].as_array().unwrap().len() == 2
    });
    assert_eq!(agent.links(LAB, &recorded_link()), tag);
    assert_eq!((rig.ports(), agent.send("GET", "/images", None).0), (ports, 200));
    let told = rig.controller.since(mark);
    let wrong = told.iter().flat_map(Call::events).find(|event| event["event_type"] != "started");
    assert_eq!(wrong, None, "nothing has stopped");
    agent.takes_down(LAB, &[]);
}

#[test]
fn a_switch_that_does_not_answer_is_a_doubt_and_no_word_that_there_are_no_tunnels() {
    let Some(rig) = Rig::new() else { return };
    let doubt = || rig.agent.get("/overlay/status")["error"].clone();
    assert!(doubt().is_null());
    rig.ovs.kill(Daemon::Database);
    rig.until("it is said", |_| doubt().is_string());
    rig.ovs.start_again(Daemon::Database);
    rig.until("it is well again", |_| doubt().is_null());
}
