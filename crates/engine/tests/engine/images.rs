//! Images: fetched before anything is made, kept while labs need them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{Delivered, OperationState, Prune, Refusal, StepState};
use netloom_model::{Lab, PullPolicy, RuntimeKind};
use serde_json::json;

use crate::bench::{Bench, config, end, pass, until};

/// A host with these images, and a registry with those.
async fn bench(there: &[&str], registry: &[&str]) -> Bench {
    Bench::prepared(config(), |world, _| {
        world.add_runtime(RuntimeKind::Docker);
        world.set_images(there, registry);
    })
    .await
}

fn sketch(nodes: &[(&str, &str)]) -> Sketch {
    nodes.iter().fold(Sketch::new("lab"), |sketch, (node, image)| {
        sketch.container(node).with(node, |node| node.image = Some((*image).to_owned()))
    })
}

fn lab(nodes: &[(&str, &str)]) -> Arc<Lab> {
    sketch(nodes).lab()
}

fn with_policy(policy: PullPolicy, nodes: &[(&str, &str)]) -> Arc<Lab> {
    let set = |sketch: Sketch, (node, _): &(&str, &str)| sketch.with(node, |node| node.container.pull_policy = policy);
    nodes.iter().fold(sketch(nodes), set).lab()
}

fn pulls(calls: &[String]) -> Vec<&str> {
    calls.iter().filter_map(|call| call.strip_prefix("pull ")).collect()
}

#[tokio::test(start_paused = true)]
async fn missing_images_are_pulled_once_each_before_anything_is_made() {
    let bench = bench(&["here:1"], &["frr", "web"]).await;
    let deploy = bench.deploy(&lab(&[("a", "frr"), ("b", "frr"), ("c", "web"), ("d", "here:1")])).await;
    assert_eq!(deploy.state, OperationState::Succeeded, "{deploy:#?}");
    let calls = bench.world.calls();
    let first_made = calls.iter().position(|call| call.starts_with("create ")).unwrap();
    assert_eq!(pulls(&calls[..first_made]).into_iter().collect::<BTreeSet<_>>(), ["frr", "web"].into());
    assert_eq!(pulls(&calls).len(), 2, "{calls:?}");
    let pulled = deploy.steps.iter().find(|step| step.text == "pull image frr").unwrap();
    assert_eq!(pulled.reason, "a, b are made from it");
    assert_eq!(pulled.progress.as_ref().unwrap().to_string(), "0 of 1 layer, 0.0 of 1.0 MB");
}

#[tokio::test(start_paused = true)]
async fn two_images_are_pulled_at_a_time_and_for_as_long_as_it_takes() {
    let bench = bench(&[], &["one", "two", "three"]).await;
    bench.world.trouble("pull *", .., Trouble::Slow(Duration::from_secs(200)));
    let deploy = bench.begin(&lab(&[("a", "one"), ("b", "two"), ("c", "three")])).await.unwrap();
    pass(100).await;
    assert_eq!(pulls(&bench.world.calls()).len(), 2);
    let view = end(&deploy).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert!(view.steps.iter().all(|step| step.state == StepState::Done), "{view:#?}");
    assert_eq!(pulls(&bench.world.calls()).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_when_an_image_exists_nowhere_and_all_such_are_named() {
    let bench = bench(&[], &["good"]).await;
    let nodes = [("a", "bad"), ("b", "bad"), ("c", "worse"), ("d", "good")];
    let namespace = sketch(&nodes).node("e").bridge("br0").link("e:eth1", "br0:e1").lab();
    let view = bench.deploy(&namespace).await;
    assert_eq!(view.state, OperationState::Failed, "{view:#?}");
    assert_eq!(view.problems.len(), 2, "{view:#?}");
    for words in ["image bad (nodes a, b)", "image worse (node c)"] {
        let named = |problem: &String| problem.contains(words) && problem.contains("repository does not exist");
        assert!(view.problems.iter().any(named), "{view:#?}");
    }
    pass(300).await;
    assert_eq!(bench.world.nodes(), [""; 0]);
    assert_eq!(pulls(&bench.world.calls()).len(), bench.world.calls().len(), "{:?}", bench.world.calls());
}

#[tokio::test(start_paused = true)]
async fn a_lab_is_made_by_itself_once_its_image_is_there() {
    let bench = bench(&[], &[]).await;
    assert_eq!(bench.deploy(&lab(&[("a", "frr:1")])).await.state, OperationState::Failed);
    let (load, _place) = bench.engine.load_images().await.unwrap();
    load.pieces.send("frr:1".into()).await.unwrap();
    drop(load.pieces);
    assert_eq!(load.done.await.unwrap().unwrap(), ["frr:1"]);
    until("it runs", || bench.world.nodes() == ["lab/a running"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_pull_whose_image_comes_otherwise_is_done() {
    let bench = bench(&[], &["frr:1"]).await;
    bench.world.trouble("pull frr:1", .., Trouble::Hangs);
    let deploy = bench.begin(&lab(&[("a", "frr:1")])).await.unwrap();
    pass(10).await;
    let (load, _place) = bench.engine.load_images().await.unwrap();
    load.pieces.send("frr:1".into()).await.unwrap();
    drop(load.pieces);
    let view = end(&deploy).await;
    assert!(view.state == OperationState::Succeeded && view.problems.is_empty(), "{view:#?}");
    assert!(view.steps.iter().all(|step| step.state == StepState::Done), "{view:#?}");
}

#[tokio::test(start_paused = true)]
async fn all_images_that_may_not_be_pulled_are_refused_in_one_message() {
    let bench = bench(&["here"], &["frr", "web"]).await;
    let nodes = [("a", "frr"), ("b", "frr"), ("c", "web"), ("d", "here")];
    let refused = bench.begin(&with_policy(PullPolicy::Never, &nodes)).await.unwrap_err();
    assert!(matches!(&refused, Refusal::Obstacles(found) if found.len() == 1), "{refused:?}");
    let text = refused.to_string();
    assert!(text.contains("`frr` (nodes a, b), `web` (node c);") && !text.contains("here"), "{text}");
    assert_eq!((bench.world.calls(), bench.store.keys()), (Vec::new(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn images_that_are_always_pulled_are_pulled_for_each_making_and_only_then() {
    let bench = bench(&["frr"], &["frr"]).await;
    let always = with_policy(PullPolicy::Always, &[("a", "frr"), ("b", "frr")]);
    bench.world.trouble("pull frr", .., Trouble::Slow(Duration::from_secs(5)));
    assert_eq!(bench.deploy(&always).await.state, OperationState::Succeeded);
    assert_eq!(pulls(&bench.world.take_calls()), ["frr"]);
    assert_eq!(bench.deploy(&always).await.message.as_deref(), Some("nothing to change"));
    assert_eq!(pulls(&bench.world.take_calls()), [""; 0]);
    bench.world.lose_node("lab", "a");
    until("it is made again", || bench.world.nodes() == ["lab/a running", "lab/b running"]).await;
    assert_eq!(pulls(&bench.world.take_calls()), ["frr"]);
}

#[tokio::test(start_paused = true)]
async fn a_lab_is_worked_on_while_an_image_is_pulled_for_a_node_of_it() {
    let bench = bench(&["frr"], &["slow"]).await;
    bench.made(&sketch(&[("a", "frr"), ("b", "frr")]).link("a:eth1", "b:eth1").lab()).await;
    bench.world.trouble("pull slow", .., Trouble::Slow(Duration::from_secs(300)));
    let slow = json!({ "kind": "linux", "runtime": "docker", "image": "slow" });
    let added = bench.edit(json!({ "nodes": { "c": slow } })).await.unwrap();
    pass(10).await;
    let cut = json!({ "links": { "a:eth1 b:eth1": { "ends": { "a:eth1": { "state": "down" } } } } });
    assert_eq!(bench.edited(cut).await.state, OperationState::Succeeded);
    assert!(!added.view().state.is_final());
    bench.world.lose_node("lab", "b");
    until("it is made again", || bench.world.nodes() == ["lab/a running", "lab/b running"]).await;
    assert_eq!(end(&added).await.state, OperationState::Succeeded);
    assert_eq!(pulls(&bench.world.calls()), ["slow"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_any_more_is_not_pulled_any_more() {
    let bench = bench(&[], &["slow"]).await;
    bench.world.trouble("pull slow", .., Trouble::Hangs);
    let deploy = bench.begin(&lab(&[("a", "slow")])).await.unwrap();
    pass(10).await;
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(end(&deploy).await.state, OperationState::Superseded);
    let deploy = bench.begin(&lab(&[("a", "slow")])).await.unwrap();
    pass(10).await;
    bench.engine.cancel(deploy.id()).await.unwrap();
    assert_eq!(end(&deploy).await.state, OperationState::Cancelled);
    pass(10).await;
    let pulls = bench.engine.bulkheads().into_iter().find(|bulkhead| bulkhead.name() == "pulls").unwrap().used();
    assert_eq!(pulls, 0);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_pulled_by_hand_is_an_operation_that_can_be_joined_and_cancelled() {
    let bench = bench(&[], &["frr"]).await;
    bench.world.trouble("pull frr", ..1, Trouble::Hangs);
    let first = bench.engine.pull_image("frr").unwrap();
    let second = bench.engine.pull_image("frr").unwrap();
    assert_eq!(first.id(), second.id());
    pass(3).await;
    assert!(first.view().steps[0].progress.is_some(), "{:#?}", first.view());
    bench.engine.cancel(first.id()).await.unwrap();
    assert_eq!(end(&first).await.state, OperationState::Cancelled);
    let third = bench.engine.pull_image("frr").unwrap();
    assert_eq!(end(&third).await.state, OperationState::Succeeded);
    assert_eq!(bench.world.images(), ["frr"]);
    let none = end(&bench.engine.pull_image("none").unwrap()).await;
    assert!(none.state == OperationState::Failed && none.problems[0].contains("does not exist"), "{none:#?}");
    assert!(matches!(bench.engine.pull_image("a b"), Err(Refusal::BadReference(_))));
}

#[tokio::test(start_paused = true)]
async fn what_a_lab_needs_is_neither_removed_nor_pruned() {
    let bench = bench(&["frr:1", "web:1", "old:1", "gone:1"], &[]).await;
    bench.made(&lab(&[("a", "frr:1"), ("b", "web:1")])).await;
    bench.world.untag("gone:1");
    pass(1).await;
    let refused = bench.engine.remove_image("frr:1").await.unwrap_err();
    assert!(matches!(&refused, Refusal::ImageNeeded { labs, .. } if labs.len() == 1), "{refused:?}");
    let removed = bench.engine.prune_images(Prune::Untagged).await.unwrap();
    assert_eq!((removed.removed.len(), removed.freed_bytes), (1, Some(1_000_000)), "{removed:?}");
    assert_eq!(bench.world.images(), ["frr:1", "old:1", "web:1"]);
    pass(1).await;
    let removed = bench.engine.prune_images(Prune::All).await.unwrap();
    assert_eq!(removed.removed, ["old:1"]);
    pass(1).await;
    assert!(matches!(bench.engine.remove_image("old:1").await, Err(Refusal::NoImage(_))));
    bench.destroy("lab").await;
    bench.engine.remove_image("docker.io/library/frr:1").await.unwrap_or_else(|refusal| panic!("{refusal}"));
}

#[tokio::test(start_paused = true)]
async fn images_are_listed_from_the_snapshot_with_who_needs_them() {
    let bench = bench(&["frr:1", "web:1"], &[]).await;
    bench.made(&lab(&[("a", "frr:1")])).await;
    let view = bench.engine.images();
    assert!(view.stale.is_none() && view.listed.is_some(), "{view:?}");
    let labs = |name: &str| bench.engine.image(name).unwrap().labs.len();
    assert_eq!((view.images.len(), labs("frr:1"), labs("web:1")), (2, 1, 0));
    bench.world.make_unreachable(netloom_engine::Source::Images(RuntimeKind::Docker), "it hangs");
    pass(61).await;
    let view = bench.engine.images();
    assert_eq!(view.images.len(), 2);
    assert_eq!(view.stale.as_deref(), Some("images of docker: they cannot be looked at: it hangs"));
}

#[tokio::test(start_paused = true)]
async fn what_a_controller_delivered_is_known_after_a_restart_until_it_is_another_image() {
    let bench = bench(&["mine:1", "frr:1"], &[]).await;
    bench.ready().await;
    let id = bench.engine.image("frr:1").unwrap().image.id;
    let delivered = Delivered {
        reference: "docker.io/library/frr:1".into(),
        id,
        device: Some("frr".into()),
        sha256: None,
        at: SystemTime::UNIX_EPOCH,
    };
    bench.engine.note_delivered(&delivered).await.unwrap();
    let bench = bench.restart().await;
    bench.ready().await;
    let names = |bench: &Bench| {
        let images = bench.engine.delivered_images();
        images.into_iter().flat_map(|(image, _)| image.references).collect::<Vec<_>>()
    };
    until("images are listed", || !bench.engine.images().images.is_empty()).await;
    assert_eq!(names(&bench), ["frr:1"]);
    assert_eq!(bench.engine.delivered_images()[0].1, [delivered]);
    assert!(!bench.engine.is_image_in_use(&bench.engine.image("frr:1").unwrap().image));

    // The disk is full: it is the controller's as before.
    bench.store.fail_writes(Some("no space left"));
    assert!(bench.engine.forget_delivered("frr:1").await.is_err());
    assert_eq!(names(&bench), ["frr:1"]);
    bench.store.fail_writes(None);
    bench.engine.forget_delivered("frr:1").await.unwrap();
    assert_eq!((names(&bench), bench.store.keys()), (Vec::<String>::new(), Vec::<String>::new()));
}
