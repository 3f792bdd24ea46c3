//! How nodes end, what is kept of them, and what another life of the agent makes of those that run.

use std::time::Duration;

use netloom_engine::{ErrorClass, Follow, NodeOrder, Runtime};
use netloom_kernel::{Netns, Process, Signal};
use netloom_plan::{NodeFingerprint, NodeState};
use serde_json::json;

use crate::stage::{Stage, agent, context, inits_below, is_running, lab, lab_name, name, one, order, root, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_is_recorded_and_pushed_with_the_last_output() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({ "cmd": ["sh", "-c", "echo first; echo second >&2; exit 7"] }));
    stage.up(&lab, "r1").await.unwrap();
    let fact = stage.until("r1", |fact| fact.state == NodeState::Exited { code: 7 }).await;
    assert_eq!(fact.last_output.as_deref(), Some("first\nsecond"));
    assert_eq!(fact.pid, None);
    assert_eq!(stage.log("r1").await, "first\nsecond\n");
    // Started again at once it is another incarnation, and its log goes on.
    stage.runtime.start(&order(&lab, "r1"), &context()).await.unwrap();
    stage.until("r1", |next| next.state == NodeState::Exited { code: 7 } && next.incarnation != fact.incarnation).await;
    assert_eq!(stage.log("r1").await, "first\nsecond\nfirst\nsecond\n");
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_cannot_run_fails_its_node_with_the_reason() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    for (fields, reason) in [
        (json!({ "cmd": ["no-such-thing"] }), "command `no-such-thing` does not exist in the node"),
        (json!({ "cmd": ["/etc/passwd"] }), "command `/etc/passwd` is not executable"),
        (json!({ "cmd": ["sleep", "1"], "user": "who" }), "user `who` does not exist in the node"),
        (
            json!({ "cmd": ["sleep", "1"], "sysctls": { "net.ipv4.nonsense": "1" } }),
            "sysctl net.ipv4.nonsense cannot be set",
        ),
    ] {
        let lab = one(fields);
        let error = stage.up(&lab, "r1").await.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.class, ErrorClass::Permanent);
        let fact =
            stage.until("r1", |fact| matches!(&fact.state, NodeState::Failed { cause } if cause.contains(reason)));
        fact.await;
        stage.delete("r1").await;
    }
    assert!(inits_below(stage.root.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_bounded_and_loses_only_the_oldest() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({ "cmd": ["sh", "-c", "seq 1 400000; sleep 1000"] }));
    stage.up(&lab, "r1").await.unwrap();
    let mut stream = stage.runtime.logs(&lab_name(), &name("r1"), Follow::Yes).await.unwrap();
    let mut end = Vec::new();
    while !end.ends_with(b"\n400000\n") {
        let chunk = tokio::time::timeout(Duration::from_secs(20), stream.chunks.recv()).await.unwrap().unwrap();
        end.extend_from_slice(&chunk);
        end.drain(..end.len().saturating_sub(100));
    }
    let size = |file: &str| std::fs::metadata(stage.run("r1").join(file)).unwrap().len();
    assert!(size("log") <= 512 * 1024 && size("log.1") <= 512 * 1024);
    let text = stage.log("r1").await;
    assert!(text.len() > 512 * 1024);
    let numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.windows(2).all(|two| two[0] + 1 == two[1]));
    assert_eq!(numbers.last(), Some(&400_000));
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_asks_first_and_the_namespace_stays() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab =
        one(json!({ "cmd": ["sh", "-c", "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done"] }));
    stage.up(&lab, "r1").await.unwrap();
    stage.until("r1", is_running).await;
    let mut stream = stage.runtime.logs(&lab_name(), &name("r1"), Follow::Yes).await.unwrap();
    assert_eq!(stream.chunks.recv().await.unwrap(), "up\n");
    let pin = stage.layout.pin(&lab_name(), &name("r1"));
    let cookie = Netns::open(&pin).unwrap().cookie().unwrap();
    stage.runtime.stop(&lab_name(), &name("r1"), &context()).await.unwrap();
    stage.until("r1", |fact| fact.state == NodeState::Stopped).await;
    assert_eq!(stream.chunks.recv().await.unwrap(), "asked\n");
    assert_eq!(Netns::open(&pin).unwrap().cookie().unwrap(), cookie);
    // Again is no error; a start makes it run in the same namespace, with what it wrote.
    stage.runtime.stop(&lab_name(), &name("r1"), &context()).await.unwrap();
    stage.runtime.start(&order(&lab, "r1"), &context()).await.unwrap();
    stage.until("r1", is_running).await;
    assert_eq!(Netns::open(&pin).unwrap().cookie().unwrap(), cookie);
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orphans_are_buried_and_what_a_node_wrote_outlives_a_restart() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({ "cmd": ["sleep", "1000"] }));
    stage.up(&lab, "r1").await.unwrap();
    stage.sh("r1", "for i in 1 2 3 4 5; do (setsid true &) ; done; echo kept > /etc/kept; echo gone > /tmp/gone").await;
    let buried = async {
        while stage.sh("r1", "ps -eo stat= | grep -c '^Z' || true").await != "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), buried).await.unwrap();
    stage.runtime.stop(&lab_name(), &name("r1"), &context()).await.unwrap();
    stage.runtime.start(&order(&lab, "r1"), &context()).await.unwrap();
    assert_eq!(stage.sh("r1", "cat /etc/kept; ls -A /tmp").await, "kept");
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_agent_adopts_what_runs_and_learns_its_end() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = lab(&[("r1", json!({ "cmd": ["sleep", "1000"] })), ("r2", json!({}))]);
    stage.up(&lab, "r1").await.unwrap();
    stage.up(&lab, "r2").await.unwrap();
    let before = stage.until("r1", is_running).await;

    let (second, inventory) = agent(&stage.layout);
    second.relist().await.unwrap();
    let after = until(&inventory, "r1", is_running).await;
    assert_eq!(
        (after.pid, &after.incarnation, &after.fingerprint),
        (before.pid, &before.incarnation, &before.fingerprint)
    );
    until(&inventory, "r2", is_running).await;
    // Starting what runs changes nothing.
    second.create(&order(&lab, "r1"), &context()).await.unwrap();
    second.start(&order(&lab, "r1"), &context()).await.unwrap();
    assert_eq!(until(&inventory, "r1", is_running).await.pid, before.pid);
    // Killed from outside: both learn it.
    Process::open(before.pid.unwrap()).unwrap().unwrap().signal(Signal::KILL).unwrap();
    until(&inventory, "r1", |fact| fact.state == NodeState::Exited { code: 137 }).await;
    stage.until("r1", |fact| fact.state == NodeState::Exited { code: 137 }).await;
    second.delete(&lab_name(), &name("r1"), &context()).await.unwrap();
    second.delete(&lab_name(), &name("r2"), &context()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_that_outlives_its_node_is_only_for_one_that_was_made_for_the_same() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    let upper = stage.layout.layer(&lab_name(), &name("r1")).join("upper");
    let rebuilt = |rebuild| NodeOrder {
        fingerprint: NodeFingerprint::of(&lab.nodes()[&name("r1")], rebuild, 0),
        rebuild,
        ..order(&lab, "r1")
    };
    // What a reboot leaves, of an older version at that.
    std::fs::create_dir_all(&upper).unwrap();
    std::fs::write(upper.join("written"), "").unwrap();
    let reboot = || std::fs::remove_file(stage.run("r1").join("node.json")).unwrap();
    for (rebuild, kept) in [(0, true), (0, true), (1, false)] {
        stage.runtime.create(&rebuilt(rebuild), &context()).await.unwrap();
        assert_eq!(upper.join("written").exists(), kept, "rebuild {rebuild}");
        reboot();
    }
    // From then on it is the new one's.
    std::fs::write(upper.join("written"), "").unwrap();
    stage.runtime.create(&rebuilt(1), &context()).await.unwrap();
    assert!(upper.join("written").exists());
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_of_a_node_that_an_agent_died_over_ends_when_its_init_has_spoken() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let (status, aside) = (stage.run("r1").join("status.json"), stage.run("r1").join("status.aside"));
    // As it is while its init is at work on its root, and whoever started it is gone.
    std::fs::rename(&status, &aside).unwrap();
    let (second, inventory) = agent(&stage.layout);
    let (order, context) = (order(&lab, "r1"), context());
    let start = second.start(&order, &context);
    tokio::pin!(start);
    let early = tokio::time::timeout(Duration::from_millis(100), &mut start).await;
    assert!(early.is_err(), "it has ended before the node runs: {early:?}");
    std::fs::rename(&aside, &status).unwrap();
    start.await.unwrap();
    until(&inventory, "r1", is_running).await;
    stage.delete("r1").await;
}
