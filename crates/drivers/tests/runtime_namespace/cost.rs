//! What nodes cost, in time and in memory.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use netloom_engine::{Context, ErrorClass, Follow, Runtime};
use serde_json::json;

use crate::stage::{Stage, context, is_running, lab_name, name, one, order, root};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_init_is_small_and_quick() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let pid = stage.until("r1", is_running).await.pid.unwrap();
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let kib = |field: &str| -> u64 {
        let line = rollup.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    // The program itself is in memory once for all nodes; with a single node it counts as that node's own.
    let private = kib("Anonymous:");
    eprintln!("private memory of an idle init: {private} KiB");
    assert!(private <= 256, "{rollup}");
    let mode = std::fs::metadata(stage.run("r1")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_has_no_time_does_nothing() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    let late = Context { deadline: Instant::now(), ..context() };
    let error = stage.runtime.create(&order(&lab, "r1"), &late).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Deadline);
    let logs = stage.runtime.logs(&lab_name(), &name("r1"), Follow::No).await;
    assert!(logs.unwrap_err().cause.contains("not there"));
}
