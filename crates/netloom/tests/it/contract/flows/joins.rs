//! An agent joins its controller: flow 5.1.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::contract::client::{Client, Request};
use crate::contract::double::{BEAT, Call, Controller, Mood, SECRET};
use crate::contract::rig::{Machine, Told, text};
use crate::sandbox::Sandbox;

const LIMIT: Duration = Duration::from_secs(5);

/// What is answered to a bare `GET`, and in which body.
fn asks(agent: &Client, path: &str, authorization: Option<&str>) -> (u16, Value) {
    let authorization = authorization.map(str::to_owned);
    let answer = agent.exchange(&Request { method: "GET", path, authorization, ..Request::default() }, LIMIT).unwrap();
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

#[test]
fn an_agent_serves_before_it_joins_takes_the_id_it_is_given_and_registers_again_only_when_it_is_unknown() {
    let Some(mut host) = Machine::new() else { return };
    let address = SocketAddr::from(([127, 0, 0, 1], 8000));
    host.tell(&Told { controller: address, id: "b39a05df", name: "rack1", host: "127.0.0.1" });
    // Its controller is not there yet.
    host.start_agent();
    let early = Client::new(host.netns(), SocketAddr::from(([127, 0, 0, 1], 8001)), SECRET);
    assert_eq!(asks(&early, "/healthz", None), (200, json!({ "status": "ok" })));
    let health = early.get("/health");
    assert_eq!((&health["registered"], text(&health, "agent_id")), (&json!(false), "b39a05df"));

    let controller = Controller::listen(host.netns(), address);
    controller.assign("rack1", "fake0001");
    let agent = controller.agent("fake0001");
    let register = controller.wait("it registers", 0, Call::is_register).body;
    let said = &register["agent"];
    assert_eq!(["agent_id", "name", "address"].map(|field| text(said, field)), ["b39a05df", "rack1", "127.0.0.1:8001"]);
    assert!(said["capabilities"]["providers"].as_array().unwrap().contains(&json!("docker")), "{said:#}");
    let health = agent.get("/health");
    assert_eq!((&health["registered"], text(&health, "agent_id")), (&json!(true), "fake0001"));
    assert_eq!(agent.get("/locks/status")["locks"], json!([]));
    let first = controller.wait("it beats", 0, Call::is_heartbeat);
    assert_eq!(first.path, "/agents/fake0001/heartbeat");

    // Who is let in.
    for (authorization, detail) in [(None, "Missing authorization"), (Some("Bearer other"), "Invalid authorization")] {
        for path in ["/images", "/labs/x/status", "/capacity", "/labs/x/nodes/y/ready"] {
            assert_eq!(asks(&agent, path, authorization), (403, json!({ "detail": detail })), "{path}");
        }
        for path in ["/health", "/healthz"] {
            assert_eq!(asks(&agent, path, authorization).0, 200, "{path}");
        }
    }
    // Prometheus has no secret.
    assert_eq!(asks(&agent, "/metrics", None).0, 200);

    // It only beats on while its controller fails.
    let mark = controller.mark();
    controller.feel(Mood::Failing);
    let one = controller.wait("it beats", mark, Call::is_heartbeat);
    let after = controller.mark();
    let two = controller.wait("it beats again", after, Call::is_heartbeat);
    let between = two.at - one.at;
    assert!(between > BEAT / 2 && between < BEAT * 2, "{between:?}");
    assert!(!controller.since(mark).iter().any(Call::is_register));
    controller.feel(Mood::Well);

    // It registers again when it is told that it is unknown, as the one that it is.
    let mark = controller.mark();
    controller.forget();
    let again = controller.wait("it registers again", mark, Call::is_register).body;
    assert_eq!(again["agent"]["started_at"], said["started_at"]);
    controller.wait("it beats", mark, |call| call.is_heartbeat() && call.body["agent_id"] == "fake0001");

    // Another life has another time of its start.
    let mark = controller.mark();
    host.kill_agent();
    host.start_agent();
    let newer = controller.wait("its next life registers", mark, Call::is_register).body;
    assert!(text(&newer["agent"], "started_at") > text(said, "started_at"), "{newer:#}");
    assert_eq!(text(&newer["agent"], "name"), "rack1");
    controller.wait("it beats", mark, |call| call.path == "/agents/fake0001/heartbeat");
}

#[test]
fn an_agent_without_a_controller_knows_nothing_of_it_and_keeps_its_own_interface() {
    let Some(host) = Sandbox::with_agent() else { return };
    assert_eq!(host.answers("/healthz"), 200);
    assert_eq!(host.ask("GET /labs").status, 200);
}
