//! Images: those of the controller's library, and all others, which are none of its business.

use std::thread;

use netloom_dockerd_fixture::{archive, busybox};
use serde_json::{Value, json};

use crate::contract::client::Client;
use crate::contract::double::encoded;
use crate::contract::rig::{Rig, text};
use crate::contract::steps::{H1, LAB};
use crate::docker::host::IMAGE;

/// One that the controller delivers.
const GIVEN: &str = "library.test/given/busybox:1";

/// Its archive: another image than the one that is there.
fn given() -> Vec<u8> {
    archive(GIVEN, &json!({ "Cmd": ["/bin/sh"], "Env": ["PATH=/bin"] }), &[("etc/given", b"by the library", 0o644)])
}

/// The tags that the agent lists.
fn listed(agent: &Client) -> Vec<String> {
    let images = agent.get("/images");
    let tags = images["images"].as_array().unwrap().iter().flat_map(|image| image["tags"].as_array().unwrap());
    tags.map(|tag| tag.as_str().unwrap().to_owned()).collect()
}

/// The controller's push of an archive.
fn push(agent: &Client, reference: &str, archive: &[u8]) -> Value {
    let boundary = "a0b1c2d3e4f5";
    let mut body = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"image.tar\"\r\n\
         Content-Type: application/x-tar\r\n\r\n"
    )
    .into_bytes();
    body.extend(archive);
    body.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    let path = format!(
        "/images/receive?image_id={}&reference={}&total_bytes={}&job_id=j1&device_id=linux",
        encoded(&format!("docker:{reference}")),
        encoded(reference),
        archive.len()
    );
    let content_type = format!("multipart/form-data; boundary={boundary}");
    let (status, answer) = agent.send_as("POST", &path, Some(&content_type), body);
    assert_eq!(status, 200, "{answer:#}");
    answer
}

#[test]
fn an_image_that_the_library_does_not_know_is_found_but_neither_listed_nor_deleted() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    assert!(agent.image_exists(IMAGE));
    assert_eq!(agent.get(&format!("/images/{IMAGE}"))["exists"], true, "its slashes may come as they are");
    assert!(!agent.image_exists("quay.io/frrouting/frr:latest"));
    assert_eq!(listed(agent), [""; 0]);
    // Not because it is used, either.
    agent.deploys(LAB, &[H1], &[]);
    assert_eq!(listed(agent), [""; 0]);
    agent.takes_down(LAB, &[]);
    let refused = agent.delete(&format!("/images/{}", encoded(IMAGE)));
    assert_ne!(refused["deleted"], true, "{refused:#}");
    assert_ne!(rig.docker(&format!("image ls --quiet {IMAGE}")), "");
    let absent = agent.delete(&format!("/images/{}", encoded("nowhere.invalid/no:1")));
    assert_eq!(absent, json!({ "success": true, "deleted": false }));
    // What the library says of its device makes it none of the library.
    agent.post("/images/backfill-metadata", &json!({ IMAGE: "linux" }));
    agent.delete(&format!("/images/{}", encoded(IMAGE)));
    assert_ne!(rig.docker(&format!("image ls --quiet {IMAGE}")), "");
}

#[test]
fn an_image_that_is_delivered_is_listed_kept_while_it_is_used_and_goes_when_it_is_deleted() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    let pushed = push(agent, GIVEN, &given());
    assert_eq!((&pushed["success"], &pushed["error"]), (&json!(true), &Value::Null), "{pushed:#}");
    assert_eq!(pushed["loaded_images"], json!([GIVEN]));
    assert_eq!(listed(agent), [GIVEN]);
    let shown = &agent.get(&format!("/images/{}", encoded(GIVEN)))["image"];
    assert_eq!(
        (text(shown, "kind"), &shown["device_id"], &shown["in_use"]),
        ("docker", &json!("linux"), &json!(false))
    );
    assert!(text(shown, "id").starts_with("sha256:"));

    let mut body = H1.to_create();
    body["image"] = json!(GIVEN);
    let created = agent.post(&format!("/labs/{LAB}/nodes/h1/create?provider=docker"), &body);
    assert_eq!(created["success"], true, "{created:#}");
    agent.post(&format!("/labs/{LAB}/nodes/h1/start?provider=docker"), &json!({}));
    let list = agent.get("/images");
    assert_eq!((list["images"].as_array().unwrap().len(), &list["images"][0]["in_use"]), (1, &json!(true)), "{list:#}");
    let refused = agent.delete(&format!("/images/{}", encoded(GIVEN)));
    assert_eq!(refused["success"], false, "without force what is used stays: {refused:#}");

    // What was delivered to one life is known to the next.
    rig.kill_agent();
    rig.start_agent();
    assert_eq!(listed(agent), [GIVEN]);
    agent.takes_down(LAB, &[]);
    let deleted = agent.delete(&format!("/images/{}", encoded(GIVEN)));
    assert_eq!(deleted, json!({ "success": true, "deleted": true }));
    assert_eq!(listed(agent), [""; 0]);
    assert!(agent.image_exists(IMAGE), "the other one has the same layers, and stays");

    // Nonsense is said, and leaves nothing.
    let nonsense = push(agent, GIVEN, b"no archive at all");
    assert_eq!((&nonsense["success"], &nonsense["loaded_images"]), (&json!(false), &json!([])), "{nonsense:#}");
    assert_ne!(text(&nonsense, "error"), "");
    assert!(!agent.image_exists(GIVEN));
}

#[test]
fn a_name_that_is_not_of_the_library_is_left_alone_though_the_image_has_another_that_is() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    // The same image as the one that is there.
    assert_eq!(push(agent, GIVEN, &busybox(GIVEN))["success"], true);
    let ids = [IMAGE, GIVEN].map(|name| rig.docker(&format!("image ls --quiet --no-trunc {name}")));
    assert_eq!(ids[0], ids[1]);
    assert_eq!(listed(agent), [GIVEN]);
    assert_eq!(agent.delete(&format!("/images/{}", encoded(GIVEN)))["success"], true);
    assert_eq!((agent.image_exists(GIVEN), agent.image_exists(IMAGE)), (false, true));
}

#[test]
fn an_image_is_pulled_from_the_library_and_its_progress_is_told() {
    let Some(rig) = Rig::new() else { return };
    let agent = &rig.agent;
    let id = format!("docker:{GIVEN}");
    rig.controller.has_image(&id, given());
    let ends = |image: &str, reference: &str| {
        let body = json!({ "image_id": image, "reference": reference, "sha256": null, "device_id": "linux" });
        let begun = agent.post("/images/pull", &body);
        let job = text(&begun, "job_id").to_owned();
        let mut progress = Value::Null;
        rig.until("it has ended", |_| {
            progress = agent.get(&format!("/images/pull/{job}/progress"));
            assert_eq!(text(&progress, "job_id"), job);
            ["completed", "failed", "unknown"].contains(&text(&progress, "status"))
        });
        progress
    };
    let done = ends(&id, GIVEN);
    assert_eq!(
        (text(&done, "status"), &done["progress_percent"], &done["error"]),
        ("completed", &json!(100), &Value::Null)
    );
    assert_eq!(listed(agent), [GIVEN]);
    let missing = ends("docker:nowhere.invalid/no:1", "nowhere.invalid/no:1");
    assert_eq!(text(&missing, "status"), "failed", "{missing:#}");
    assert_ne!(text(&missing, "error"), "");
    assert_eq!(agent.get("/images/pull/never-heard-of/progress")["status"], "unknown");
    assert_eq!(agent.get("/images/active-transfers")["active_jobs"], json!({}));
    // Twice at once.
    thread::scope(|scope| {
        for task in [scope.spawn(|| ends(&id, GIVEN)), scope.spawn(|| ends(&id, GIVEN))] {
            assert_eq!(task.join().unwrap()["status"], "completed");
        }
    });
    assert_eq!(listed(agent), [GIVEN]);
}
