//! Nodes that are there and cannot be looked at: not to be taken for gone.

use netloom_engine::Runtime;
use netloom_kernel::Netns;
use netloom_plan::NodeState;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::stage::{Stage, agent, context, inits_below, is_running, lab, lab_name, name, one, order, root, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_be_looked_at_is_not_taken_for_gone() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = lab(&[("r1", json!({ "cmd": ["sleep", "1000"] })), ("r2", json!({}))]);
    stage.up(&lab, "r1").await.unwrap();
    stage.up(&lab, "r2").await.unwrap();
    stage.runtime.relist().await.unwrap();
    // What cannot be read, also by root.
    let (record, aside) = (stage.run("r1").join("node.json"), stage.run("r1").join("aside"));
    std::fs::rename(&record, &aside).unwrap();
    std::fs::create_dir(&record).unwrap();
    stage.runtime.stop(&lab_name(), &name("r2"), &context()).await.unwrap();
    stage.runtime.relist().await.unwrap();
    assert!(stage.complaint().await.contains("nodes/lab/r1"));
    stage.until("r1", is_running).await;
    stage.until("r2", |fact| fact.state == NodeState::Stopped).await;
    // Also to an agent that has not seen it before; it sees the rest.
    let (other, inventory) = agent(&stage.layout);
    other.relist().await.unwrap();
    until(&inventory, "r2", |fact| fact.state == NodeState::Stopped).await;
    other.create(&order(&lab, "r1"), &context()).await.unwrap_err();

    std::fs::remove_dir(&record).unwrap();
    std::fs::rename(&aside, &record).unwrap();
    stage.runtime.relist().await.unwrap();
    stage.delete("r1").await;
    stage.delete("r2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_cannot_be_looked_at_is_not_taken_for_gone() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({ "cmd": ["sleep", "1000"] }));
    stage.up(&lab, "r1").await.unwrap();
    stage.runtime.stop(&lab_name(), &name("r1"), &context()).await.unwrap();
    stage.until("r1", |fact| fact.state == NodeState::Stopped).await;
    let pin = stage.layout.pin(&lab_name(), &name("r1"));
    let cookie = Netns::open(&pin).unwrap().cookie().unwrap();
    // What nobody can open, also not root: a link to itself. At no moment is there nothing, which would be a namespace that is gone.
    let (lab_pins, aside) = (pin.parent().unwrap(), stage.layout.pins().join("aside"));
    let exchange = || renameat_with(CWD, lab_pins, CWD, &aside, RenameFlags::EXCHANGE).unwrap();
    std::os::unix::fs::symlink(lab_pins, &aside).unwrap();
    exchange();
    stage.runtime.relist().await.unwrap();
    assert!(stage.complaint().await.contains("nodes/lab/r1"));
    stage.runtime.create(&order(&lab, "r1"), &context()).await.unwrap_err();
    stage.runtime.start(&order(&lab, "r1"), &context()).await.unwrap_err();
    let facts = stage.inventory.snapshot();
    assert_eq!(facts.labs[&lab_name()].nodes[&name("r1")].state, NodeState::Stopped);

    exchange();
    std::fs::remove_file(&aside).unwrap();
    stage.runtime.start(&order(&lab, "r1"), &context()).await.unwrap();
    assert_eq!(Netns::open(&pin).unwrap().cookie().unwrap(), cookie);
    stage.delete("r1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_record_another_version_wrote_is_neither_made_again_nor_removed() {
    if !root() {
        return;
    }
    let stage = Stage::new();
    let lab = one(json!({}));
    stage.up(&lab, "r1").await.unwrap();
    let mark = stage.run("r1").join("node.json");
    let own = std::fs::read(&mark).unwrap();
    // It cannot be read as a spec: the node is seen, only not adopted.
    let mut record: Value = serde_json::from_slice(&own).unwrap();
    record["applied"]["spec"]["newer"] = json!(1);
    std::fs::write(&mark, record.to_string()).unwrap();
    let (other, inventory) = agent(&stage.layout);
    other.relist().await.unwrap();
    until(&inventory, "r1", is_running).await;
    assert_eq!(other.applied(&lab_name()).await.unwrap(), [(name("r1"), None)].into());
    // It cannot be read at all.
    std::fs::write(&mark, r#"{"newer": 1}"#).unwrap();
    for refused in
        [other.create(&order(&lab, "r1"), &context()).await, other.delete(&lab_name(), &name("r1"), &context()).await]
    {
        let error = refused.unwrap_err();
        assert!(error.cause.contains("node.json cannot be understood"), "{error}");
    }
    assert_eq!(inits_below(stage.root.path()).len(), 1);
    assert!(stage.layout.layer(&lab_name(), &name("r1")).join("upper").exists());
    std::fs::write(&mark, own).unwrap();
    stage.delete("r1").await;
}
