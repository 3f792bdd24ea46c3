//! Images over HTTP.

use bytes::Bytes;
use hyper::{Method, StatusCode};
use netloom_agent::wire::ImagesLoaded;
use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{ImageView, ImagesRemoved, ImagesView, OperationState};
use netloom_model::RuntimeKind;
use serde_json::json;

use crate::bench::{Bench, within};

async fn bench(there: &[&str], registry: &[&str]) -> Bench {
    let prepare = |world: &netloom_engine::testing::World| {
        world.add_runtime(RuntimeKind::Docker);
        world.set_images(there, registry);
    };
    Bench::on(|_| {}, prepare).await
}

/// Waits until the images are these.
async fn until(bench: &Bench, names: &[&str]) {
    let mut changes = bench.engine.inventory().changes();
    let seen = changes.wait_for(|_| {
        let view = bench.engine.images();
        let all: Vec<&String> = view.images.iter().flat_map(|image| &image.image.references).collect();
        all == names
    });
    within(seen).await.unwrap();
}

#[tokio::test]
async fn images_are_listed_and_found_by_name_or_id() {
    let bench = bench(&["a/frr:1", "web:1"], &[]).await;
    until(&bench, &["a/frr:1", "web:1"]).await;
    let all: ImagesView = bench.get("/images").await.json();
    assert_eq!((all.images.len(), &all.stale), (2, &None));
    let one: ImageView = bench.get("/images/a%2Ffrr:1").await.json();
    let same: ImageView = bench.get("/images/docker.io/a/frr:1").await.json();
    let by_id: ImageView = bench.get(&format!("/images/{}", one.image.id)).await.json();
    assert!(one == same && one == by_id && one.image.references == ["a/frr:1"], "{one:?}");
    bench.get("/images/none").await.problem(404, "no-image");
}

#[tokio::test]
async fn an_image_is_pulled_by_an_operation_that_can_be_cancelled() {
    let bench = bench(&[], &["frr:1"]).await;
    let pull = || Bytes::from(json!({ "image": "frr:1" }).to_string());
    bench.world.trouble("pull frr:1", ..1, Trouble::Hangs);
    let reply = bench.send(Method::POST, "/images/pull", pull()).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED);
    let location = reply.headers["location"].to_str().unwrap().to_owned();
    bench.send(Method::DELETE, &location, "").await;
    assert_eq!(bench.end_of(&reply).await.state, OperationState::Cancelled);
    let view = bench.end_of(&bench.send(Method::POST, "/images/pull", pull()).await).await;
    assert_eq!((view.state, view.lab), (OperationState::Succeeded, None));
    let bad = Bytes::from(json!({ "image": "" }).to_string());
    bench.send(Method::POST, "/images/pull", bad).await.problem(400, "bad-request");
}

#[tokio::test]
async fn images_are_loaded_from_a_body_and_removed_unless_a_lab_needs_them() {
    let bench = bench(&["frr:1"], &[]).await;
    until(&bench, &["frr:1"]).await;
    let loaded: ImagesLoaded = bench.send(Method::POST, "/images/load", "web:1").await.json();
    assert_eq!(loaded.loaded, ["web:1"]);
    until(&bench, &["frr:1", "web:1"]).await;
    bench.send(Method::POST, "/images/load", "").await.problem(422, "archive");
    let lab = Sketch::new("lab").container("a").with("a", |node| node.image = Some("frr:1".into())).lab();
    assert_eq!(bench.deploy(&lab).await.state, OperationState::Succeeded);
    bench.send(Method::DELETE, "/images/frr:1", "").await.problem(409, "image-needed");
    bench.send(Method::POST, "/images/prune?all=perhaps", "").await.problem(400, "bad-request");
    let none: ImagesRemoved = bench.send(Method::POST, "/images/prune", "").await.json();
    assert_eq!(none.removed, [""; 0]);
    let all: ImagesRemoved = bench.send(Method::POST, "/images/prune?all=true", "").await.json();
    assert_eq!((all.removed, all.freed_bytes), (vec!["web:1".to_owned()], Some(1_000_000)));
}

#[tokio::test]
async fn an_agent_without_such_a_runtime_has_no_images() {
    let bench = Bench::new().await;
    let all: ImagesView = bench.get("/images").await.json();
    assert!(all.images.is_empty() && all.stale.is_none());
    bench.send(Method::POST, "/images/load", "web:1").await.problem(501, "no-images");
}
