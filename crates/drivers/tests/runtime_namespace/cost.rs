//! What nodes cost, in time and in memory.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Instant;

use netloom_engine::{Context, ErrorClass, Follow, Runtime};
use serde_json::{Value, json};

use crate::stage::{Stage, context, inits_below, is_running, lab, lab_name, name, one, order, root};

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

/// Not a test of anything: `cargo test --release -- --ignored --nocapture how_long` says where the time goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_long_a_hundred_nodes_take() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let count: usize = std::env::var("NODES").ok().and_then(|count| count.parse().ok()).unwrap_or(100);
    let cmd = if std::env::var_os("CMD").is_some() { json!({ "cmd": ["sleep", "1000"] }) } else { json!({}) };
    let names: Vec<String> = (0..count).map(|number| format!("n{number}")).collect();
    let nodes: Vec<(&str, Value)> = names.iter().map(|name| (name.as_str(), cmd.clone())).collect();
    let lab = lab(&nodes);
    stage.runtime.write_names(&lab_name(), Some("127.0.0.1 localhost\n"), &context()).await.unwrap();
    for lanes in [1, 2, 4, 16] {
        let mut report = format!("{count} nodes, {lanes} at a time:");
        for step in ["create", "start", "delete"] {
            let began = Instant::now();
            let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let tasks: Vec<_> = (0..lanes)
                .map(|lane| {
                    let (next, lab, names, runtime) = (next.clone(), lab.clone(), names.clone(), stage.runtime.clone());
                    netloom_engine::task::spawn(format!("lane {lane}"), async move {
                        while let Some(node) = names.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                            match step {
                                "create" => runtime.create(&order(&lab, node), &context()).await.unwrap(),
                                "start" => runtime.start(&order(&lab, node), &context()).await.unwrap(),
                                _ => runtime.delete(&lab_name(), &name(node), &context()).await.unwrap(),
                            }
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            let took = began.elapsed();
            write!(report, " {step} {:.0} ms", took.as_secs_f64() * 1000.0).unwrap();
            if step == "start" && lanes == 1 {
                let private = inits_below(stage.root.path()).into_iter().map(private_kib).max().unwrap();
                write!(report, " (at most {private} KiB private an init)").unwrap();
            }
        }
        eprintln!("{report}");
    }
}

fn private_kib(pid: u32) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    private.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}
