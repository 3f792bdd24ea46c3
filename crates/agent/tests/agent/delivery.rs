//! Images that controllers deliver, ask for and remove.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use netloom_agent::ServeConfig;
use netloom_engine::testing::{Sketch, Trouble, World};
use netloom_engine::{Source, task};
use netloom_model::RuntimeKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::bench::{Bench, Reply, within};

const SECRET: (&str, &str) = ("authorization", "Bearer secret");

async fn bench(there: &[&str], change: impl FnOnce(&mut ServeConfig)) -> Bench {
    let prepare = |world: &World| {
        world.add_runtime(RuntimeKind::Docker);
        world.set_images(there, &[]);
    };
    let change = |config: &mut ServeConfig| {
        config.secret = Some("secret".into());
        change(config);
    };
    let bench = Bench::on(change, prepare).await;
    let mut changes = bench.engine.inventory().changes();
    let seen = changes.wait_for(|_| bench.engine.images().images.len() == there.len());
    within(seen).await.unwrap();
    bench
}

async fn ask(bench: &Bench, method: Method, path: &str, body: impl Into<Bytes>) -> Value {
    bench.tcp().await.send(method, path, &[SECRET], body).await.json()
}

async fn get(bench: &Bench, path: &str) -> Value {
    ask(bench, Method::GET, path, "").await
}

/// A form of fields in their order; `file` is the archive, which for the fake runtime is the name of an image.
async fn send(bench: &Bench, query: &str, fields: &[(&str, &str)]) -> Reply {
    let part = |(name, value): &(&str, &str)| {
        let file = if *name == "file" { "; filename=\"image.tar\"" } else { "" };
        format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n{value}\r\n")
    };
    let body = fields.iter().map(part).collect::<String>() + "--cut--\r\n";
    let headers = [SECRET, ("content-type", "multipart/form-data; boundary=cut")];
    bench.tcp().await.send(Method::POST, &format!("/images/receive{query}"), &headers, body).await
}

fn sha256(text: &str) -> String {
    netloom_model::hex(text.as_bytes())
}

#[tokio::test]
async fn a_controller_sees_what_it_delivered_and_may_ask_for_everything() {
    let bench = bench(&["mine:1"], |_| {}).await;
    let query = format!("?reference=frr%3A1&sha256={}&device_id=frr&job_id=j1&total_bytes=5", sha256("frr:1"));
    let answer: Value = send(&bench, &query, &[("file", "frr:1")]).await.json();
    assert_eq!(answer, json!({ "success": true, "error": null, "loaded_images": ["frr:1"] }));
    let all = get(&bench, "/images").await;
    assert_eq!(all["images"].as_array().unwrap().len(), 1, "{all}");
    let image = &all["images"][0];
    assert_eq!(
        (&image["tags"], &image["device_id"], &image["kind"]),
        (&json!(["frr:1"]), &json!("frr"), &json!("docker"))
    );
    assert_eq!((&image["in_use"], &image["size_bytes"]), (&json!(false), &json!(1_000_000)));
    assert_eq!(get(&bench, "/images/pull/j1/progress").await["status"], "completed");

    for reference in ["docker.io%2Flibrary%2Fmine%3A1", "mine:1", "docker.io/library/mine:1"] {
        let found = get(&bench, &format!("/images/{reference}")).await;
        assert_eq!((&found["exists"], &found["image"]["tags"]), (&json!(true), &json!(["mine:1"])), "{reference}");
    }
    assert_eq!(get(&bench, "/images/frr%3A1").await["sha256"], sha256("frr:1"));
    for none in ["/images/other", "/images/%2Fvar%2Flib%2Fa.qcow2", "/images/mine.img"] {
        assert_eq!(get(&bench, none).await, json!({ "exists": false, "image": null, "sha256": null }), "{none}");
    }
}

#[tokio::test]
async fn who_asks_before_images_were_listed_has_the_answer_when_they_are() {
    let prepare = |world: &World| {
        world.add_runtime(RuntimeKind::Docker);
        world.make_unreachable(Source::Images(RuntimeKind::Docker), "it is busy");
        world.set_images(&["mine:1"], &[]);
    };
    let bench = Bench::on(|config| config.secret = Some("secret".into()), prepare).await;
    assert!(bench.engine.images_unlisted().is_some());
    let listed = async {
        // What is said of transfers waits for nothing, and is answered behind the questions.
        get(&bench, "/images/active-transfers").await;
        bench.world.calm();
        bench.world.set_images(&["mine:1"], &[]);
    };
    let (all, one, ()) = tokio::join!(get(&bench, "/images"), get(&bench, "/images/mine%3A1"), listed);
    assert_eq!((&all["images"], &one["exists"]), (&json!([]), &json!(true)), "{all} {one}");
}

#[tokio::test]
async fn a_controller_removes_only_what_it_delivered_and_nothing_that_is_needed() {
    let bench = bench(&["mine:1"], |_| {}).await;
    send(&bench, "", &[("reference", "frr:1"), ("file", "frr:1")]).await;
    let remove = async |path: &str| ask(&bench, Method::DELETE, path, "").await;
    let refused = remove("/images/mine%3A1").await;
    assert!(refused["success"] == false && refused["error"].as_str().unwrap().contains("not delivered"), "{refused}");
    assert_eq!(bench.world.images(), ["frr:1", "mine:1"]);

    let lab = Sketch::new("lab").container("a").with("a", |node| node.image = Some("frr:1".into())).lab();
    bench.deploy(&lab).await;
    assert_eq!(get(&bench, "/images").await["images"][0]["in_use"], true);
    assert_eq!(remove("/images/frr%3A1").await["success"], false);
    bench.end_of(&bench.send(Method::DELETE, "/labs/lab", "").await).await;
    assert_eq!(remove("/images/frr%3A1").await, json!({ "success": true, "deleted": true }));
    assert_eq!(remove("/images/frr%3A1").await, json!({ "success": true, "deleted": false }));
    assert_eq!((bench.world.images(), bench.store.keys()), (vec!["mine:1".to_owned()], Vec::<String>::new()));
    assert_eq!(get(&bench, "/images").await["images"], json!([]));
}

#[tokio::test]
async fn a_name_that_somebody_gave_to_another_image_is_not_the_controller_s_any_more() {
    let bench = bench(&[], |_| {}).await;
    send(&bench, "", &[("file", "frr:1")]).await;
    bench.world.untag("frr:1");
    bench.send(Method::POST, "/images/load", "frr:1").await;
    let mut changes = bench.engine.inventory().changes();
    within(changes.wait_for(|_| bench.engine.image("frr:1").is_ok())).await.unwrap();
    assert_eq!(get(&bench, "/images").await["images"], json!([]));
    assert_eq!(ask(&bench, Method::DELETE, "/images/frr%3A1", "").await["success"], false);
}

#[tokio::test]
async fn an_archive_that_is_another_one_is_not_loaded() {
    let bench = bench(&[], |_| {}).await;
    // What is said of it may come behind it.
    let answer: Value = send(&bench, "", &[("file", "evil:1"), ("sha256", &sha256("frr:1"))]).await.json();
    assert!(answer["success"] == false && answer["error"].as_str().unwrap().contains("SHA-256"), "{answer}");
    assert!(bench.world.images().is_empty());
    let answer: Value = send(&bench, "?reference=%2Fimages%2Fxr.qcow2", &[("file", "xr")]).await.json();
    assert!(answer["error"].as_str().unwrap().contains("virtual machines"), "{answer}");
    let answer: Value = send(&bench, "?reference=frr%3A1", &[("file", "web:1")]).await.json();
    assert!(answer["error"].as_str().unwrap().contains("nothing that is called frr:1"), "{answer}");
    let unread = send(&bench, "", &[("reference", "frr:1")]).await;
    assert_eq!(unread.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(unread.json::<Value>()["detail"][0]["loc"], json!(["body", "file"]));
    let active = get(&bench, "/images/active-transfers").await;
    assert_eq!((&active["active_jobs"], &active["temp_files"]), (&json!({}), &json!([])));
}

#[tokio::test]
async fn a_whole_library_that_is_sent_at_once_is_loaded_and_four_archives_at_a_time() {
    let bench = bench(&[], |_| {}).await;
    bench.world.trouble("load images", .., Trouble::Slow(Duration::from_millis(20)));
    let names: Vec<String> = (0..60).map(|number| format!("image{number}:1")).collect();
    let sends = names.iter().map(async |name| send(&bench, "", &[("file", name)]).await.json::<Value>());
    let sends = futures::future::join_all(sends);
    let sessions = || bench.engine.bulkheads().iter().find(|bulkhead| bulkhead.name() == "sessions").unwrap().used();
    let most = async {
        let mut most = 0;
        while bench.engine.images().images.len() < names.len() {
            most = most.max(sessions());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        most
    };
    let (answers, most) = within(async { tokio::join!(sends, most) }).await;
    for (name, answer) in names.iter().zip(answers) {
        assert_eq!(answer, json!({ "success": true, "error": null, "loaded_images": [name] }));
    }
    assert_eq!(most, 4);
}

#[tokio::test]
async fn devices_are_told_of_what_was_delivered_and_of_nothing_else() {
    let bench = bench(&["mine:1"], |_| {}).await;
    send(&bench, "", &[("file", "frr:1")]).await;
    assert_eq!(get(&bench, "/images").await["images"][0]["device_id"], Value::Null);
    let devices = json!({ "frr:1": "frr", "mine:1": "linux", "none:1": "x" }).to_string();
    let told = async || ask(&bench, Method::POST, "/images/backfill-metadata", devices.clone()).await;
    assert_eq!(told().await, json!({ "updated": 1 }));
    assert_eq!(told().await, json!({ "updated": 0 }));
    let all = get(&bench, "/images").await;
    assert_eq!((all["images"].as_array().unwrap().len(), &all["images"][0]["device_id"]), (1, &json!("frr")));
    let none = ask(&bench, Method::POST, "/images/backfill-checksums", "").await;
    assert_eq!(none, json!({ "updated": 0, "errors": [] }));
}

/// A controller that answers one request so, and gives back the head of it.
async fn controller(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = task::spawn("controller", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    });
    (address, served)
}

async fn pulled(bench: &Bench, body: &Value) -> Value {
    let begun = ask(bench, Method::POST, "/images/pull", body.to_string()).await;
    assert_eq!(begun["status"], "pending", "{begun}");
    let path = format!("/images/pull/{}/progress", begun["job_id"].as_str().unwrap());
    within(async {
        loop {
            let progress = get(bench, &path).await;
            if matches!(progress["status"].as_str(), Some("completed" | "failed")) {
                return progress;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn an_image_of_the_library_is_fetched_with_the_secret_and_checked() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfrr:1";
    let (address, served) = controller(answer).await;
    let bench = bench(&[], |config| config.images_from = Some(format!("http://{address}"))).await;
    let wanted = json!({
        "image_id": "docker:frr/1", "reference": "frr:1", "sha256": sha256("frr:1"), "device_id": "frr"
    });
    let progress = pulled(&bench, &wanted).await;
    assert_eq!((&progress["status"], &progress["progress_percent"]), (&json!("completed"), &json!(100)), "{progress}");
    assert_eq!((&progress["bytes_transferred"], &progress["total_bytes"]), (&json!(5), &json!(5)));
    let head = within(served).await.unwrap().to_lowercase();
    assert!(head.starts_with("get /images/library/docker%3afrr%2f1/stream "), "{head}");
    assert!(head.contains("authorization: bearer secret\r\n"), "{head}");
    assert_eq!(get(&bench, "/images").await["images"][0]["device_id"], "frr");
}

#[tokio::test]
async fn an_image_that_does_not_come_is_a_job_that_failed() {
    let failed = async |answer, why: &str| {
        let (address, _served) = controller(answer).await;
        let bench = bench(&[], |config| config.images_from = Some(format!("http://{address}"))).await;
        let progress =
            pulled(&bench, &json!({ "image_id": "7", "reference": "frr:1", "sha256": sha256("frr:1") })).await;
        assert_eq!(progress["status"], "failed");
        assert!(progress["error"].as_str().unwrap().contains(why), "{progress}");
        assert!(bench.world.images().is_empty());
    };
    failed("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "has no image 7").await;
    failed("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nevil:1", "SHA-256").await;
    failed("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nfrr:1", "broke off").await;
    let bench = bench(&[], |_| {}).await;
    let progress = pulled(&bench, &json!({ "image_id": "7", "reference": "frr:1" })).await;
    assert!(progress["error"].as_str().unwrap().contains("knows no controller"), "{progress}");
    assert_eq!(get(&bench, "/images/pull/none/progress").await["status"], "unknown");
    let unread = bench.tcp().await.send(Method::POST, "/images/pull", &[SECRET], "{}").await;
    assert_eq!(unread.json::<Value>()["detail"][0]["loc"], json!(["body", "image_id"]));
}
