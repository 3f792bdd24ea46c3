//! What controllers ask about the host.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use netloom_agent::wire::Accepted;
use netloom_engine::testing::{Sketch, Trouble};
use serde_json::{Value, json};

use crate::bench::{Bench, Reply};

const SECRET: (&str, &str) = ("authorization", "Bearer secret");

async fn bench() -> Bench {
    Bench::with(|config| config.secret = Some("secret".into())).await
}

async fn ask(bench: &Bench, method: Method, path: &str, body: &str) -> Reply {
    bench.tcp().await.send(method, path, &[SECRET], Bytes::from(body.to_owned())).await
}

#[tokio::test]
async fn a_lab_is_locked_as_long_as_it_is_deployed() {
    let bench = bench().await;
    let release = async || ask(&bench, Method::POST, "/locks/lab/release", "").await.json::<Value>();
    assert_eq!(release().await, json!({ "status": "not_found", "lab_id": "lab" }));
    bench.world.trouble("start lab/*", .., Trouble::Slow(Duration::from_millis(300)));
    let reply = bench.put(&Sketch::pair("lab").lab()).await;
    let begun: Accepted = reply.json();
    let status: Value = ask(&bench, Method::GET, "/locks/status", "").await.json();
    let lock = &status["locks"][0];
    assert_eq!((&lock["lab_id"], &lock["held"], &lock["is_stuck"]), (&json!("lab"), &json!(true), &json!(false)));
    assert!(lock["owner"].as_str().unwrap().ends_with(&begun.operation.id.0), "{lock}");
    let held = release().await;
    assert_eq!(held["status"], "error");
    assert!(held["error"].as_str().unwrap().contains("deploy"), "{held}");
    bench.end_of(&reply).await;
    let status: Value = ask(&bench, Method::GET, "/locks/status", "").await.json();
    assert_eq!(status["locks"], json!([]));
}

#[tokio::test]
async fn no_controller_puts_code_on_this_host() {
    let bench = bench().await;
    let body = r#"{"job_id": "7", "target_version": "9.9.9", "callback_url": "http://localhost/"}"#;
    let answer: Value = ask(&bench, Method::POST, "/update", body).await.json();
    assert_eq!(answer["accepted"], false);
    assert!(answer["message"].as_str().unwrap().contains("not updated"), "{answer}");
    let unread = ask(&bench, Method::POST, "/update", "{").await;
    assert_eq!(unread.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(unread.json::<Value>()["detail"][0]["type"], "json_invalid");
    let none: Value = ask(&bench, Method::GET, "/callbacks/dead-letters", "").await.json();
    assert_eq!(none, json!({ "dead_letters": [] }));
}
