//! The double by itself.

use super::*;
use crate::sandbox::Sandbox;

/// A controller on a host of its own, and who speaks to it.
fn both(host: &Sandbox) -> (Controller, Client) {
    let controller = Controller::listen(host.netns(), SocketAddr::from(([127, 0, 0, 1], 0)));
    let client = Client::new(host.netns(), controller.address(), SECRET);
    (controller, client)
}

fn tell(client: &Client, path: &str, bearer: Option<&str>, body: &Value) -> (u16, Value) {
    let authorization = bearer.map(|bearer| format!("Bearer {bearer}"));
    let (content_type, body) = (Some("application/json"), body.to_string().into_bytes());
    let request = Request { method: "POST", path, authorization, content_type, body };
    let answer = client.exchange(&request, Duration::from_secs(5)).unwrap();
    (answer.status, answer.json())
}

fn event(kind: &str) -> Value {
    json!({ "agent_id": "a", "lab_id": "l", "node_name": "r1", "container_id": null, "event_type": kind,
        "timestamp": "2026-11-23T20:00:00Z", "status": "start", "attributes": null })
}

#[test]
fn it_notes_what_it_hears_in_order_and_who_waits_for_it_gets_it() {
    let Some(host) = Sandbox::new() else { return };
    let (controller, client) = both(&host);
    let mark = controller.mark();
    let waited = thread::scope(|scope| {
        let waits = scope.spawn(|| controller.wait("it stopped", mark, |call| call.tells("l", "r1", "stopped")));
        for kind in ["started", "stopped"] {
            let (status, answer) = tell(&client, "/events/node", Some(SECRET), &event(kind));
            assert_eq!((status, &answer["success"]), (200, &json!(true)));
        }
        waits.join().unwrap()
    });
    assert_eq!(waited.body["event_type"], "stopped");
    let all = tell(&client, "/events/batch", Some(SECRET), &json!([event("died"), event("started")]));
    assert_eq!(all.0, 200);
    let told: Vec<Value> =
        controller.since(mark).iter().flat_map(|call| call.events().cloned().collect::<Vec<_>>()).collect();
    let told: Vec<&str> = told.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!(told, ["started", "stopped", "died", "started"]);
    assert_eq!(controller.complaints(), [""; 0]);
}

#[test]
fn who_does_not_say_the_secret_or_says_what_no_schema_takes_is_complained_of() {
    let Some(host) = Sandbox::new() else { return };
    let (controller, client) = both(&host);
    let missing = tell(&client, "/agents/register", None, &json!({}));
    assert_eq!(missing, (403, json!({ "detail": "Missing agent authorization" })));
    let wrong = tell(&client, "/events/node", Some("other"), &event("started"));
    assert_eq!(wrong, (403, json!({ "detail": "Invalid agent authorization" })));
    assert_eq!(controller.complaints().len(), 2);
    tell(&client, "/events/node", Some(SECRET), &event("kill"));
    assert!(controller.complaints()[0].contains("/event_type: "));
    let beat = json!({ "agent_id": "a", "status": "online" });
    let unknown = tell(&client, "/agents/a/heartbeat", Some(SECRET), &beat);
    assert_eq!(unknown, (404, json!({ "detail": "Agent not registered" })));
    controller.feel(Mood::Failing);
    assert_eq!(tell(&client, "/agents/a/heartbeat", Some(SECRET), &beat).0, 500);
    assert_eq!(controller.complaints(), [""; 0]);
}

#[test]
fn an_image_of_its_library_is_given_by_an_id_in_one_segment() {
    let Some(host) = Sandbox::new() else { return };
    let (controller, client) = both(&host);
    controller.has_image("docker:x/y:1", vec![0, 7, 255]);
    let path = format!("/images/library/{}/stream", encoded("docker:x/y:1"));
    let authorization = Some(format!("Bearer {SECRET}"));
    let request = Request { method: "GET", path: &path, authorization, ..Request::default() };
    let answer = client.exchange(&request, Duration::from_secs(5)).unwrap();
    assert_eq!((answer.status, answer.body), (200, vec![0, 7, 255]));
}
