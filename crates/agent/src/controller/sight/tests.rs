use netloom_engine::Fact;
use netloom_plan::{AdminState, NodeState};
use serde_json::json;

use super::super::scene::{Fabric, Scene, lab_name};
use super::super::told::EventType;
use super::*;

/// What is told at this look, in a few words.
fn told(sight: &mut Sight, scene: &Scene) -> Vec<String> {
    let told = sight.look(&scene.wishes, &scene.snapshot());
    let word = |message: Message| match message {
        Message::Node(event) => {
            let word = match event.event_type {
                EventType::Started => "started",
                EventType::Stopped => "stopped",
                EventType::Died => "died",
            };
            format!("{} {word} ({})", event.node_name, event.status)
        }
        Message::Carrier(_) => format!("{} {}", message.subject(), message.status()),
    };
    told.into_iter().map(word).collect()
}

/// Nothing was wanted when the agent started, and now the lab runs, which was told.
async fn running(fabric: Fabric) -> (Sight, Scene) {
    let mut sight = Sight::begin(&Wishes::new());
    let scene = Scene::pair(fabric).await;
    assert_eq!(told(&mut sight, &scene), [""; 0]);
    for node in ["r1", "r2"] {
        if fabric == Fabric::Switch {
            scene.cable(node, true).await;
            scene.plugged(node).await;
        }
        scene.port(node, false).await;
        scene.port(node, true).await;
        scene.node(node, NodeState::Running).await;
    }
    assert_eq!(told(&mut sight, &scene), ["r1 started (start)", "r2 started (start)"]);
    (sight, scene)
}

const NOTHING: [&str; 0] = [];

#[tokio::test]
async fn a_node_has_started_when_it_runs_and_its_interfaces_are_there() {
    let mut sight = Sight::begin(&Wishes::new());
    let scene = Scene::pair(Fabric::Switch).await;
    for state in [NodeState::Creating, NodeState::Created, NodeState::Starting, NodeState::Running] {
        scene.node("r1", state).await;
        assert_eq!(told(&mut sight, &scene), NOTHING);
    }
    scene.port("r1", false).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.cable("r1", true).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.plugged("r1").await;
    assert_eq!(told(&mut sight, &scene), ["r1 started (start)"]);
    scene.port("r1", true).await;
    assert_eq!(told(&mut sight, &scene), NOTHING, "an interface that is switched on after it was made is no news");
}

#[tokio::test]
async fn an_event_says_what_the_contract_says() {
    let (mut sight, mut scene) = running(Fabric::Kernel).await;
    scene.spec("r1", |node| drop(node.labels.insert("archetype.node_kind".into(), "frr".into())));
    scene.node("r1", NodeState::Exited { code: 3 }).await;
    let messages = sight.look(&scene.wishes, &scene.snapshot());
    let [Message::Node(event)] = &messages[..] else { panic!("{messages:?}") };
    let mut event = serde_json::to_value(event).unwrap();
    assert!(event["timestamp"].take().as_str().unwrap().ends_with("+00:00"));
    let expected = json!({
        "lab_id": "lab", "node_name": "r1", "container_id": "one", "event_type": "died", "timestamp": null,
        "status": "exited (code 3)",
        "attributes": { "container_name": "clab-lab-r1", "image": "image", "node_kind": "frr", "exit_code": 3 },
    });
    assert_eq!(event, expected);
}

#[tokio::test]
async fn how_a_node_ended_is_told_once() {
    let (mut sight, mut scene) = running(Fabric::Kernel).await;
    scene.node("r1", NodeState::Exited { code: 1 }).await;
    scene.node("r2", NodeState::Exited { code: 0 }).await;
    assert_eq!(told(&mut sight, &scene), ["r1 died (exited (code 1))", "r2 stopped (stop)"]);
    scene.node("r1", NodeState::Exited { code: 1 }).await;
    scene.node_gone("r2").await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    // What a person stops has not died.
    scene.wish(|wish| wish["stopped"] = json!(["r1"]));
    assert_eq!(told(&mut sight, &scene), ["r1 stopped (stop)"]);
    scene.node_gone("r1").await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
}

#[tokio::test]
async fn a_commanded_stop_is_one_whatever_the_code() {
    let (mut sight, mut scene) = running(Fabric::Kernel).await;
    scene.wish(|wish| wish["stopped"] = json!(["r1"]));
    scene.node("r1", NodeState::Stopping).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.node("r1", NodeState::Exited { code: 137 }).await;
    assert_eq!(told(&mut sight, &scene), ["r1 stopped (stop)"]);
}

#[tokio::test]
async fn another_life_of_a_node_is_another_start() {
    let (mut sight, scene) = running(Fabric::Kernel).await;
    scene.node_in("r1", NodeState::Running, "two").await;
    assert_eq!(told(&mut sight, &scene), ["r1 started (start)"]);
}

#[tokio::test]
async fn nodes_that_are_not_wanted_any_more_have_stopped_when_they_are_gone() {
    let (mut sight, mut scene) = running(Fabric::Kernel).await;
    scene.wish(|wish| wish["phase"] = "destroy".into());
    scene.node_gone("r1").await;
    assert_eq!(told(&mut sight, &scene), ["r1 stopped (stop)"]);
    scene.wishes.clear();
    assert_eq!(told(&mut sight, &scene), NOTHING, "one is still there");
    scene.node_gone("r2").await;
    assert_eq!(told(&mut sight, &scene), ["r2 stopped (stop)"]);
    assert_eq!(told(&mut sight, &scene), NOTHING);
}

#[tokio::test]
async fn a_node_that_an_edit_takes_out_has_stopped_when_it_is_gone() {
    let (mut sight, mut scene) = running(Fabric::Kernel).await;
    scene.wish(|wish| {
        wish["lab"]["nodes"].as_object_mut().unwrap().remove("r2");
        wish["lab"]["links"] = json!([]);
    });
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.node_gone("r2").await;
    assert_eq!(told(&mut sight, &scene), ["r2 stopped (stop)"]);
}

#[tokio::test]
async fn a_lab_that_somebody_else_decides_in_is_told_of_to_nobody() {
    let (mut sight, mut scene) = running(Fabric::Kernel).await;
    scene.wish(|wish| wish["authority"] = "local".into());
    scene.node_gone("r1").await;
    scene.port("r2", false).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
}

#[tokio::test]
async fn what_was_there_when_the_agent_started_is_told_only_when_it_changes() {
    let scene = Scene::unlisted(Fabric::Kernel);
    let mut sight = Sight::begin(&scene.wishes);
    assert_eq!(told(&mut sight, &scene), NOTHING);
    let nodes = [("r1", NodeState::Running), ("r2", NodeState::Exited { code: 1 })];
    let facts = nodes.map(|(node, state)| Fact::Node(scene.node_fact(node, state, "one"))).to_vec();
    scene.list(Source::Runtime(netloom_model::RuntimeKind::Docker), facts).await;
    assert_eq!(told(&mut sight, &scene), NOTHING, "interfaces were not looked at yet");
    let ports = ["r1", "r2"].map(|node| scene.port_fact(node, true, AdminState::Up)).to_vec();
    scene.list(Source::Fabric, ports).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.node("r1", NodeState::Exited { code: 2 }).await;
    scene.node_in("r2", NodeState::Running, "two").await;
    assert_eq!(told(&mut sight, &scene), ["r1 died (exited (code 2))", "r2 started (start)"]);
}

#[tokio::test]
async fn a_node_that_was_on_its_way_when_the_agent_started_has_started_when_it_has() {
    let scene = Scene::pair(Fabric::Kernel).await;
    let mut sight = Sight::begin(&scene.wishes);
    scene.node("r1", NodeState::Starting).await;
    scene.port("r1", true).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.node("r1", NodeState::Running).await;
    assert_eq!(told(&mut sight, &scene), ["r1 started (start)"]);
}

#[tokio::test]
async fn what_a_guest_does_to_its_interface_is_told() {
    let (mut sight, scene) = running(Fabric::Switch).await;
    scene.port("r1", false).await;
    assert_eq!(told(&mut sight, &scene), ["lab/r1/eth1 carrier off"]);
    scene.port("r1", false).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.port("r1", true).await;
    assert_eq!(told(&mut sight, &scene), ["lab/r1/eth1 carrier on"]);
}

#[tokio::test]
async fn what_the_agent_switches_off_is_not_told() {
    let (mut sight, scene) = running(Fabric::Kernel).await;
    scene.port_marked("r1", false, AdminState::Down).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.port("r1", true).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.port("r1", false).await;
    assert_eq!(told(&mut sight, &scene), ["lab/r1/eth1 carrier off"], "this was the guest");
}

#[tokio::test]
async fn a_guest_that_takes_an_interface_without_carrier_out_of_service_starts_no_loop() {
    let (mut sight, scene) = running(Fabric::Switch).await;
    scene.cable("r1", false).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.port("r1", false).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.cable("r1", true).await;
    assert_eq!(told(&mut sight, &scene), NOTHING, "it did so because of us");
    scene.port("r1", true).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.port("r1", false).await;
    assert_eq!(told(&mut sight, &scene), ["lab/r1/eth1 carrier off"]);
    // What was told is taken back also while the far end is off.
    scene.cable("r1", false).await;
    scene.port("r1", true).await;
    assert_eq!(told(&mut sight, &scene), ["lab/r1/eth1 carrier on"]);
}

#[tokio::test]
async fn interfaces_come_and_go_in_silence_but_for_what_has_to_be_taken_back() {
    let (mut sight, scene) = running(Fabric::Kernel).await;
    scene.port_gone("r2").await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.port("r2", true).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.port("r1", false).await;
    assert_eq!(told(&mut sight, &scene), ["lab/r1/eth1 carrier off"]);
    scene.node("r1", NodeState::Exited { code: 1 }).await;
    scene.port_gone("r1").await;
    assert_eq!(told(&mut sight, &scene), ["r1 died (exited (code 1))"]);
    scene.port("r1", true).await;
    scene.node_in("r1", NodeState::Running, "two").await;
    assert_eq!(told(&mut sight, &scene), ["r1 started (start)", "lab/r1/eth1 carrier on"]);
}

#[tokio::test]
async fn an_interface_that_goes_down_with_its_node_is_no_news() {
    let (mut sight, mut scene) = running(Fabric::Kernel).await;
    scene.wish(|wish| wish["stopped"] = json!(["r1"]));
    scene.port("r1", false).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.node("r1", NodeState::Stopped).await;
    assert_eq!(told(&mut sight, &scene), ["r1 stopped (stop)"]);
}

#[tokio::test]
async fn an_interface_that_was_off_when_the_agent_started_is_told_when_it_is_on() {
    let scene = Scene::pair(Fabric::Kernel).await;
    let mut sight = Sight::begin(&scene.wishes);
    scene.node("r1", NodeState::Running).await;
    scene.port("r1", false).await;
    assert_eq!(told(&mut sight, &scene), NOTHING);
    scene.port("r1", true).await;
    assert_eq!(told(&mut sight, &scene), ["lab/r1/eth1 carrier on"]);
}

#[tokio::test]
async fn labs_are_known_until_nobody_wants_them() {
    let (mut sight, mut scene) = running(Fabric::Kernel).await;
    assert!(sight.labs.contains_key(&lab_name()));
    scene.wishes.clear();
    scene.node_gone("r1").await;
    scene.node_gone("r2").await;
    told(&mut sight, &scene);
    assert!(sight.labs.is_empty());
}
