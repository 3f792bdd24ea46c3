//! Deploy, edit, destroy: what is asked for happens once, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{Config, DeployRequest, OperationState, Place, Rebuild, Refusal};
use netloom_model::Mtu;
use serde_json::json;

use crate::bench::{Bench, config, end, lab_name, pair, pass, request, until};

#[tokio::test(start_paused = true)]
async fn a_deploy_makes_the_lab_and_says_so() {
    let bench = Bench::new().await;
    let view = bench.deploy(&pair()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert_eq!(view.message.as_deref(), Some("lab lab: 2 nodes, 1 links"));
    assert_eq!(bench.world.nodes(), ["lab/r1 running", "lab/r2 running"]);
    assert_eq!(bench.world.links(), ["lab/r1:eth1-r2:eth1"]);
    let snapshot = bench.engine.inventory().snapshot();
    assert_eq!(snapshot.labs[&lab_name("lab")].nodes.len(), 2);
    assert!(view.steps.iter().all(|step| step.started.is_some() && step.ended.is_some()), "{view:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_deploy_changes_nothing() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").bridge("br0").link("r1:eth2", "br0:p1").execs("r1", &["true"]).lab();
    bench.made(&lab).await;
    let writes = bench.store.writes();
    let before = bench.engine.wishes().get(&lab_name("lab")).unwrap();
    let view = bench.deploy(&lab).await;
    assert_eq!((view.state, view.message.as_deref()), (OperationState::Succeeded, Some("nothing to change")));
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(bench.store.writes(), writes);
    assert_eq!(bench.engine.wishes().get(&lab_name("lab")).unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn an_edited_lab_changes_only_by_the_difference() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let edited = Sketch::pair("lab")
        .with("r1", |node| node.cpu_millis = Some(500))
        .with_link(|link| link.mtu = Mtu::try_from(1500).unwrap());
    bench.deploy(&edited.clone().lab()).await;
    assert_eq!(bench.world.take_calls(), ["update lab/r1", "update lab/r1:eth1-r2:eth1"]);
    let view = bench.deploy(&edited.node("r3").link("r2:eth2", "r3:eth1").lab()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert_eq!(bench.world.take_calls(), ["create lab/r3", "create lab/r2:eth2-r3:eth1", "start lab/r3"]);
    let view = bench.deploy(&Sketch::new("lab").node("r1").lab()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert_eq!(bench.world.nodes(), ["lab/r1 running"]);
    assert_eq!(bench.world.links(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_rebuild_makes_everything_anew_once() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let old = bench.world.incarnation("lab", "r1");
    let again = DeployRequest { rebuild: Rebuild::Yes, ..request(&pair()) };
    let view = end(&bench.engine.deploy(again).await.unwrap()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert_ne!(bench.world.incarnation("lab", "r1"), old);
    bench.world.take_calls();
    assert_eq!(bench.deploy(&pair()).await.message.as_deref(), Some("nothing to change"));
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_same_deploy_twice_at_once_is_one_effect() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/*", .., Trouble::Slow(Duration::from_secs(5)));
    let (one, two) = (bench.begin(&pair()).await.unwrap(), bench.begin(&pair()).await.unwrap());
    assert_eq!(one.id(), two.id());
    assert_eq!(end(&one).await.state, OperationState::Succeeded);
    let starts = bench.world.calls().iter().filter(|call| call.starts_with("start")).count();
    assert_eq!(starts, 2);
}

#[tokio::test(start_paused = true)]
async fn another_deploy_meanwhile_is_refused_and_stores_nothing() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/*", .., Trouble::Slow(Duration::from_secs(5)));
    let one = bench.begin(&pair()).await.unwrap();
    let writes = bench.store.writes();
    let other = bench.begin(&Sketch::pair("lab").node("r3").lab()).await;
    assert!(matches!(&other, Err(Refusal::InProgress { operation, .. }) if operation == one.id()), "{other:?}");
    assert_eq!(bench.store.writes(), writes);
    let rebuild = bench.engine.deploy(DeployRequest { rebuild: Rebuild::Yes, ..request(&pair()) }).await;
    assert!(matches!(rebuild, Err(Refusal::InProgress { .. })));
    assert_eq!(end(&one).await.state, OperationState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn destroy_leaves_nothing_in_the_world_and_in_the_store() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").execs("r1", &["true"]).bridge("br0").link("r1:eth2", "br0:p1");
    bench.made(&lab.link("r2:eth2", "host:up0").lab()).await;
    let view = bench.destroy("lab").await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert_eq!(bench.world.nodes(), [""; 0]);
    assert_eq!(bench.world.links(), [""; 0]);
    assert_eq!(bench.world.names(), [""; 0]);
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
    assert_eq!(bench.store.keys(), [""; 0]);
    assert!(bench.engine.wishes().all().is_empty());
    until("the inventory forgets it", || bench.engine.inventory().snapshot().labs.is_empty()).await;
    assert!(matches!(bench.engine.destroy(&lab_name("lab")).await, Err(Refusal::NoLab(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lab_can_be_deployed_and_destroyed_many_times() {
    let bench = Bench::new().await;
    for _ in 0..20 {
        assert_eq!(bench.deploy(&pair()).await.state, OperationState::Succeeded);
        assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    }
    assert_eq!(bench.store.keys(), [""; 0]);
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
}

#[tokio::test(start_paused = true)]
async fn a_deploy_while_the_lab_is_destroyed_is_refused() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.world.trouble("delete lab/*", .., Trouble::Slow(Duration::from_secs(5)));
    let destroy = bench.engine.destroy(&lab_name("lab")).await.unwrap();
    let again = bench.engine.destroy(&lab_name("lab")).await.unwrap();
    assert_eq!(destroy.id(), again.id());
    let deploy = bench.begin(&pair()).await;
    assert!(matches!(&deploy, Err(Refusal::InProgress { kind, .. }) if kind == "destroy"), "{deploy:?}");
    assert_eq!(end(&destroy).await.state, OperationState::Succeeded);
    assert_eq!(bench.deploy(&pair()).await.state, OperationState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn destroy_takes_the_place_of_a_deploy() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/*", .., Trouble::Slow(Duration::from_secs(5)));
    let deploy = bench.begin(&pair()).await.unwrap();
    until("a node starts", || bench.world.calls().iter().any(|call| call.starts_with("start"))).await;
    let destroy = bench.engine.destroy(&lab_name("lab")).await.unwrap();
    assert_eq!(end(&deploy).await.state, OperationState::Superseded);
    assert_eq!(end(&destroy).await.state, OperationState::Succeeded);
    assert_eq!(bench.world.nodes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_cannot_be_destroyed_or_switched() {
    let bench = Bench::new().await;
    bench.ready().await;
    let lab = lab_name("nothing");
    assert!(matches!(bench.engine.destroy(&lab).await, Err(Refusal::NoLab(_))));
    assert!(matches!(bench.edit_of(&lab, json!({})).await, Err(Refusal::NoLab(_))));
}

#[tokio::test(start_paused = true)]
async fn a_lab_name_belongs_to_one_file() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").from_file("/a/lab.yml").lab()).await;
    let other = bench.begin(&Sketch::new("lab").from_file("/b/lab.yml").lab()).await;
    assert!(matches!(&other, Err(Refusal::OtherSource { theirs, .. }) if theirs == "/a/lab.yml"), "{other:?}");
    bench.destroy("lab").await;
    bench.made(&Sketch::new("lab").from_file("/b/lab.yml").lab()).await;
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_is_not_the_present_one_is_refused() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let at =
        |generation| DeployRequest { generation: Some(generation), ..request(&Sketch::pair("lab").node("r3").lab()) };
    let refused = bench.engine.deploy(at(7)).await;
    assert!(matches!(refused, Err(Refusal::Changed { current: 1, expected: 7, .. })), "{refused:?}");
    assert_eq!(end(&bench.engine.deploy(at(1)).await.unwrap()).await.state, OperationState::Succeeded);
    assert_eq!(bench.engine.wishes().get(&lab_name("lab")).unwrap().generation, 2);
    // A deploy that changes nothing is no new generation.
    bench.deploy(&Sketch::pair("lab").node("r3").lab()).await;
    assert_eq!(bench.engine.wishes().get(&lab_name("lab")).unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn only_the_chosen_nodes_are_deployed() {
    let bench = Bench::new().await;
    let three = Sketch::pair("lab").node("r3").link("r2:eth2", "r3:eth1");
    let only = |names: &[&str]| Some(names.iter().map(|name| name.parse().unwrap()).collect::<BTreeSet<_>>());
    bench.ready().await;
    let first = DeployRequest { only: only(&["r1", "r2"]), ..request(&three.clone().lab()) };
    end(&bench.engine.deploy(first).await.unwrap()).await;
    assert_eq!(bench.world.nodes(), ["lab/r1 running", "lab/r2 running"]);
    assert_eq!(bench.world.links(), ["lab/r1:eth1-r2:eth1"]);
    bench.world.take_calls();
    // r1 changed in the file too, but it was not asked for.
    let changed = three.with("r1", |node| node.cpu_millis = Some(100)).lab();
    let second = DeployRequest { only: only(&["r3"]), ..request(&changed) };
    end(&bench.engine.deploy(second).await.unwrap()).await;
    let calls = bench.world.take_calls();
    assert_eq!(calls, ["create lab/r3", "create lab/r2:eth2-r3:eth1", "start lab/r3"]);
    // One that is not in the file is a mistake, not nothing to do.
    let third = DeployRequest { only: only(&["r4"]), ..request(&changed) };
    let refusal = bench.engine.deploy(third).await.unwrap_err();
    assert!(matches!(&refusal, Refusal::NoNode { node, .. } if node == "r4"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn what_a_router_does_to_its_own_interface_is_left_alone() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let place = Place::Node(lab_name("lab"), "r1".parse().unwrap());
    bench.world.shut_down(&place, "eth1");
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(bench.deploy(&pair()).await.message.as_deref(), Some("nothing to change"));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_touches_nothing() {
    let bench = Bench::new().await;
    bench.ready().await;
    let plan = bench.engine.plan(&request(&pair())).await.unwrap();
    assert_eq!(plan.plan.steps.len(), 6);
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(bench.store.writes(), 0);
    bench.made(&pair()).await;
    assert!(bench.engine.plan(&request(&pair())).await.unwrap().plan.is_empty());
}

#[tokio::test(start_paused = true)]
async fn cancel_holds_the_lab_until_the_next_deploy() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/*", .., Trouble::Slow(Duration::from_secs(5)));
    let deploy = bench.begin(&pair()).await.unwrap();
    until("a node starts", || bench.world.calls().iter().any(|call| call.starts_with("start"))).await;
    let cancelled = bench.engine.cancel(deploy.id()).await.unwrap();
    assert_eq!(end(&cancelled).await.state, OperationState::Cancelled);
    pass(20).await;
    bench.world.take_calls();
    bench.world.exit("lab", "r1", 1, "");
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0], "a lab that is held is left as it is");
    // Also by the next start of the engine.
    let bench = bench.restart().await;
    bench.ready().await;
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    let edit = bench.edit(json!({ "links": { "r1:eth1 r2:eth1": null } })).await;
    assert!(matches!(edit, Err(Refusal::Held { .. })), "{edit:?}");
    bench.made(&pair()).await;
    assert_eq!(bench.world.nodes(), ["lab/r1 running", "lab/r2 running"]);
    // What has ended stays as it ended.
    let ended = bench.engine.journal().all().pop().unwrap();
    bench.engine.cancel(ended.id()).await.unwrap();
    assert_eq!(ended.view().state, OperationState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_operation_and_not_the_wish() {
    let bench = Bench::with(Config { operation_limit: Duration::from_secs(3), ..config() }).await;
    bench.world.trouble("start lab/r1", .., Trouble::Slow(Duration::from_secs(30)));
    let view = bench.deploy(&pair()).await;
    assert_eq!(view.state, OperationState::Deadline);
    until("the lab runs", || bench.world.nodes() == ["lab/r1 running", "lab/r2 running"]).await;
}
