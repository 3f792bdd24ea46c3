//! Labs and operations: accepted, refused, read.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use netloom_agent::wire::{Accepted, Info, Readiness};
use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{Document, LabView, OperationState, OperationView, PortKind};
use netloom_plan::Plan;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::bench::{Bench, within};

#[tokio::test]
async fn a_lab_is_deployed_read_cut_and_destroyed() {
    let bench = Bench::new().await;
    let view = bench.deploy(&Sketch::pair("lab").lab()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");

    let labs: Vec<LabView> = bench.get("/labs").await.json();
    assert_eq!(labs.len(), 1);
    let one = bench.get("/labs/lab").await;
    assert_eq!(one.headers["etag"], "\"1\"");
    let lab: LabView = one.json();
    assert!(lab.nodes.iter().all(|node| node.ready) && lab.links[0].state == "up", "{lab:#?}");

    let cut = json!({ "links": { "r1:eth1 r2:eth1": { "ends": { "r1:eth1": { "state": "down" } } } } });
    let reply = bench.patch("lab", &cut, &[("if-match", "\"1\"")]).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert_eq!(bench.end_of(&reply).await.state, OperationState::Succeeded);
    let lab: LabView = bench.get("/labs/lab").await.json();
    assert_eq!(lab.links[0].state, "down");

    let reply = bench.send(Method::DELETE, "/labs/lab", "").await;
    assert_eq!(bench.end_of(&reply).await.state, OperationState::Succeeded);
    bench.get("/labs/lab").await.problem(404, "no-lab");
    let operations: Vec<OperationView> = bench.get("/operations").await.json();
    assert_eq!(operations.iter().map(|view| view.kind.as_str()).collect::<Vec<_>>(), ["deploy", "edit", "destroy"]);
}

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let bench = Bench::new().await;
    let reply = bench.put_with(&Sketch::pair("lab").lab(), "?dry-run=true", &[]).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(!reply.json::<Plan>().is_empty());
    bench.get("/labs/lab").await.problem(404, "no-lab");
    assert_eq!(bench.store.writes(), 0);
}

#[tokio::test]
async fn an_edit_of_another_generation_is_refused() {
    let bench = Bench::new().await;
    let (pair, edited) = (Sketch::pair("lab").lab(), Sketch::pair("lab").node("r3").lab());
    let reply = bench.put_with(&pair, "", &[("if-none-match", "*")]).await;
    assert_eq!(bench.end_of(&reply).await.state, OperationState::Succeeded);
    let problem = bench.put_with(&edited, "", &[("if-match", "\"7\"")]).await.problem(412, "changed");
    assert_eq!(problem.generation, Some(1));
    bench.put_with(&edited, "", &[("if-none-match", "*")]).await.problem(412, "changed");
    bench.put_with(&edited, "", &[("if-match", "three")]).await.problem(400, "bad-request");
    bench.put_with(&Sketch::pair("other").lab(), "", &[("if-match", "*")]).await.problem(412, "changed");
    for tag in ["\"1\"", "*"] {
        let reply = bench.put_with(&edited, "", &[("if-match", tag)]).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{tag}: {reply:?}");
        bench.end_of(&reply).await;
    }
}

#[tokio::test]
async fn a_patch_needs_a_precondition_and_the_second_of_two_command_lines_is_told() {
    let bench = Bench::new().await;
    bench.deploy(&Sketch::pair("lab").lab()).await;
    let add = |key: &str| json!({ "links": { key: { "mtu": 1400 } } });
    let missing = bench.patch("lab", &add("r1:eth5 r2:eth5"), &[]).await.problem(428, "unconditional");
    assert!(missing.detail.contains("If-Match"), "{missing:?}");

    let desired = bench.get("/labs/lab/desired").await;
    let tag = desired.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(desired.json::<Document>().generation, 1);
    let first = bench.patch("lab", &add("r1:eth5 r2:eth5"), &[("if-match", &tag)]).await;
    assert_eq!(first.status, StatusCode::ACCEPTED);
    let problem = bench.patch("lab", &add("r1:eth6 r2:eth6"), &[("if-match", &tag)]).await.problem(412, "changed");
    assert_eq!(problem.generation, Some(2));
    // Who does not care says so.
    let third = bench.patch("lab", &add("r1:eth7 r2:eth7"), &[("if-match", "*")]).await;
    for reply in [first, third] {
        assert_eq!(bench.end_of(&reply).await.state, OperationState::Succeeded);
    }
    let document: Document = bench.get("/labs/lab/desired").await.json();
    let keys: Vec<&String> = document.links.keys().collect();
    assert_eq!(keys, ["r1:eth1 r2:eth1", "r1:eth5 r2:eth5", "r1:eth7 r2:eth7"]);
}

#[tokio::test]
async fn a_patch_that_does_not_fit_is_a_problem_with_every_reason() {
    let bench = Bench::new().await;
    bench.get("/labs/lab/desired").await.problem(404, "no-lab");
    bench.patch("lab", &json!({}), &[("if-match", "\"1\"")]).await.problem(404, "no-lab");
    bench.deploy(&Sketch::pair("lab").lab()).await;
    let wrong = json!({ "links": { "r1:eth1": {}, "r1:eth5 r9:eth1": { "mtu": 9000 } }, "lnks": {} });
    let problem = bench.patch("lab", &wrong, &[("if-match", "*")]).await.problem(422, "edit");
    assert_eq!(problem.reasons.len(), 1, "{problem:?}");
    bench.world.trouble("delete lab/*", .., Trouble::Slow(Duration::from_secs(600)));
    bench.send(Method::DELETE, "/labs/lab", "").await;
    bench.patch("lab", &json!({}), &[("if-match", "\"1\"")]).await.problem(409, "destroying");
}

#[tokio::test]
async fn what_cannot_be_understood_is_a_problem_that_says_why() {
    let bench = Bench::new().await;
    bench.get("/nothing").await.problem(404, "no-route");
    bench.send(Method::POST, "/labs", "").await.problem(405, "no-method");
    bench.get("/labs/lab").await.problem(404, "no-lab");
    bench.get("/labs/no%20name").await.problem(400, "bad-request");
    bench.get("/operations/7").await.problem(404, "no-operation");
    bench.get("/operations/7?wait=soon").await.problem(400, "bad-request");
    bench.get("/events?follow=maybe").await.problem(400, "bad-request");
    bench.get("/labs/lab/nodes/r1/logs").await.problem(404, "no-lab");
    bench.get("/labs/lab/nodes/r1/exec").await.problem(400, "bad-request");

    let broken = bench.send(Method::PUT, "/labs/lab", "{\"lab\": 1").await.problem(400, "bad-request");
    assert!(broken.detail.contains("line 1"), "{broken:?}");
    let unknown = bench.send(Method::PUT, "/labs/lab", "{\"lob\": 1}").await.problem(400, "bad-request");
    assert!(unknown.detail.contains("`lob`"), "{unknown:?}");
    let wire = serde_json::to_vec(&serde_json::json!({ "lab": &*Sketch::pair("one").lab() })).unwrap();
    let other = bench.send(Method::PUT, "/labs/two", wire).await.problem(400, "bad-request");
    assert!(other.detail.contains("`one`") && other.detail.contains("`two`"), "{other:?}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let bench = Bench::new().await;
    let mut stream = tokio::net::UnixStream::connect(bench.layout.socket()).await.unwrap();
    let head = b"PUT /labs/lab HTTP/1.1\r\nhost: localhost\r\ncontent-length: 16777217\r\n\r\n{";
    stream.write_all(head).await.unwrap();
    let mut answer = vec![0; 4096];
    let count = within(stream.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("16 MiB"), "{answer}");
}

#[tokio::test]
async fn refusals_of_the_engine_have_their_status() {
    let bench = Bench::new().await;
    bench.world.add_foreign("up0", PortKind::Other);
    // Seen when the next look is done; the fake tells it by an event.
    let mut changes = bench.engine.inventory().changes();
    let inventory = bench.engine.inventory().clone();
    let seen = move |_: &u64| inventory.snapshot().host_port(&"up0".parse().unwrap()).is_some();
    within(changes.wait_for(seen)).await.unwrap();
    let problem = bench.put(&Sketch::pair("lab").link("r1:eth2", "host:up0").lab()).await.problem(422, "obstacles");
    assert!(problem.reasons[0].contains("up0"), "{problem:?}");

    bench.world.trouble("start lab/*", .., Trouble::Slow(Duration::from_secs(600)));
    let begun: Accepted = bench.put(&Sketch::pair("lab").lab()).await.json();
    let problem = bench.put(&Sketch::pair("lab").node("r3").lab()).await.problem(409, "in-progress");
    assert_eq!(problem.operation.as_ref(), Some(&begun.operation.id));
    let reply = bench.send(Method::DELETE, &format!("/operations/{}", begun.operation.id), Bytes::new()).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    assert_eq!(bench.end_of(&reply).await.state, OperationState::Cancelled);
    bench.get("/labs/lab/nodes/r9/logs").await.problem(404, "no-node");
}

#[tokio::test]
async fn a_store_that_fails_is_said_and_makes_the_agent_unready_until_it_works() {
    let bench = Bench::new().await;
    bench.store.fail_writes(Some("no space left on device"));
    let problem = bench.put(&Sketch::pair("lab").lab()).await.problem(507, "store");
    assert!(problem.detail.contains("no space left"), "{problem:?}");
    let reply = bench.until("/readyz", StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(reply.json::<Readiness>().capabilities[0].name, "store");
    bench.store.fail_writes(None);
    bench.deploy(&Sketch::pair("lab").lab()).await;
    bench.until("/readyz", StatusCode::OK).await;
}

#[tokio::test]
async fn info_and_metrics_tell_of_the_agent() {
    let bench = Bench::new().await;
    let info: Info = bench.get("/info").await.json();
    assert_eq!((info.pid, info.listen), (std::process::id(), Some(bench.tcp)));
    assert_eq!(info.root, bench.layout.root());
    bench.deploy(&Sketch::pair("lab").lab()).await;
    let reply = bench.get("/metrics").await;
    assert!(reply.headers["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = reply.text();
    for line in [
        "netloom_operations{kind=\"deploy\",state=\"succeeded\"} 1",
        "netloom_nodes{state=\"running\"} 2",
        "netloom_links{state=\"up\"} 1",
        "netloom_bulkhead_limit{bulkhead=\"sessions\"} 256",
        "netloom_source_up{source=\"namespace\"} 1",
        "netloom_live 1",
        "netloom_stalled 0",
        "netloom_operation_oldest_seconds 0",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}
