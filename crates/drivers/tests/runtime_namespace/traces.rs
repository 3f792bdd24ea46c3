//! What is left of nodes, and what is not theirs.

use std::path::{Path, PathBuf};

use netloom_engine::Runtime;
use netloom_kernel::Netns;
use serde_json::json;

use crate::stage::{Stage, agent, cgroups_of, context, inits_below, is_running, lab, lab_name, name, one, root, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_agents_node_is_neither_seen_nor_removed() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let mark = stage.run("r1").join("node.json");
    let own = std::fs::read_to_string(&mark).unwrap();
    std::fs::write(&mark, own.replace(stage.layout.instance(), "somebodyelse")).unwrap();
    let (other, inventory) = agent(&stage.layout);
    other.relist().await.unwrap();
    assert!(inventory.snapshot().labs.values().all(|lab| lab.nodes.is_empty()));
    let error = other.delete(&lab_name(), &name("r1"), &context()).await.unwrap_err();
    assert!(error.cause.contains("belongs to another agent"), "{error}");
    assert_eq!(inits_below(stage.root.path()).len(), 1);
    std::fs::write(&mark, own).unwrap();
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_after_delete_and_deleting_again_is_fine() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = lab(&[
        ("r1", json!({ "cmd": ["sleep", "1000"], "memory_bytes": 64 << 20, "cpu_millis": 500 })),
        ("r2", json!({})),
    ]);
    stage.runtime.write_names(&lab_name(), Some("127.0.0.1 localhost\n"), &context()).await.unwrap();
    // Two at a time.
    let (first, second) = tokio::join!(stage.up(&lab, "r1"), stage.up(&lab, "r2"));
    first.unwrap();
    second.unwrap();
    stage
        .sh("r1", "mkdir -p /var/deep/er && echo x > /var/deep/er/file && chmod 000 /var/deep && (setsid sleep 1000 &)")
        .await;
    let link = stage.layout.ip_netns().join("clab-lab-r1");
    assert_eq!(std::fs::read_link(&link).unwrap(), stage.layout.pin(&lab_name(), &name("r1")));
    let limited = cgroups_of(&stage.layout).into_iter().map(|group| group.join("lab-lab/node-r1"));
    let limits: Vec<String> = limited
        .flat_map(|group| {
            ["memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max"].map(|file| group.join(file))
        })
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect();
    assert!(limits.iter().any(|limit| limit.trim() == (64 << 20).to_string()), "{limits:?}");
    assert!(limits.iter().any(|limit| limit.trim() == "50000" || limit.trim() == "50000 100000"), "{limits:?}");

    for _ in 0..2 {
        stage.delete("r1").await;
        stage.delete("r2").await;
    }
    stage.runtime.write_names(&lab_name(), None, &context()).await.unwrap();
    let files = walk(stage.root.path());
    let kept = [
        "var",
        "var/lib",
        "var/lib/netloom",
        "var/lib/netloom/layers",
        "run",
        "run/netns",
        "run/netloom",
        "run/netloom/netns",
        "run/netloom/nodes",
        "run/netloom/labs",
    ];
    let left: Vec<&PathBuf> =
        files.iter().filter(|path| !kept.iter().any(|kept| Path::new(kept) == path.as_path())).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(inits_below(stage.root.path()).is_empty());
    assert!(cgroups_of(&stage.layout).is_empty());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let ours = mounts.lines().filter(|line| line.contains(stage.root.path().to_str().unwrap())).count();
    assert_eq!(ours, 1, "only the directory of pins is a mount");
    let snapshot = stage.inventory.snapshot();
    assert!(snapshot.labs.values().all(|lab| lab.nodes.is_empty()));
}

fn walk(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            found.push(entry.path().strip_prefix(root).unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_name_for_ip_netns_is_left_alone_and_said() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    std::fs::create_dir_all(stage.layout.ip_netns()).unwrap();
    let foreign = stage.layout.ip_netns().join("clab-lab-r1");
    std::fs::write(&foreign, "theirs").unwrap();
    stage.up(&lab, "r1").await.unwrap();
    let fact = stage.until("r1", is_running).await;
    assert!(fact.note.unwrap().contains("`ip netns` cannot show it"));
    stage.delete("r1").await;
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "theirs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_that_died_behind_the_mark_leaves_no_directory_for_ever() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    std::fs::create_dir(stage.run("gone")).unwrap();
    let (second, inventory) = agent(&stage.layout);
    assert!(!stage.run("gone").exists());
    second.relist().await.unwrap();
    until(&inventory, "r1", is_running).await;
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_unpinned_without_an_agent_is_pinned_before_anybody_looks() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let pin = stage.layout.pin(&lab_name(), &name("r1"));
    let cookie = Netns::open(&pin).unwrap().cookie().unwrap();
    rustix::mount::unmount(&pin, rustix::mount::UnmountFlags::DETACH).unwrap();
    let _second = agent(&stage.layout);
    assert_eq!(Netns::open(&pin).unwrap().cookie().unwrap(), cookie);
    stage.delete("r1").await;
}
