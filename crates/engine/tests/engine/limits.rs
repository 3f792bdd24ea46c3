//! Limits of the host: what is short is refused or said, what is raised for labs goes back after the last of them.

use std::sync::Arc;

use netloom_engine::testing::{FakeLimits, Sketch};
use netloom_engine::{DeployRequest, OperationState, OperationView, RaiseLimits, Refusal};
use netloom_model::Lab;
use netloom_plan::{Limit, Severity};

use crate::bench::{Bench, config, end, request};

const V4: &str = "net.ipv4.neigh.default.gc_thresh3";
const NAMESPACES: &str = "user.max_net_namespaces";

/// A lab whose nodes are all in a row: `count` nodes, one link less.
fn row(name: &str, count: usize) -> Arc<Lab> {
    let nodes = (0..count).fold(Sketch::new(name), |sketch, n| sketch.node(&format!("n{n}")));
    (1..count).fold(nodes, |sketch, n| sketch.link(&format!("n{}:e1", n - 1), &format!("n{n}:e2"))).lab()
}

/// An engine on a host that has 16 IPv4 neighbours (a link needs 4) and 8 network namespaces (a node needs one).
async fn small() -> (Bench, FakeLimits) {
    let bench = Bench::prepared(config(), |world, _| {
        world.limits().has(Limit::NeighboursV4, 16, 0);
        world.limits().has(Limit::NetNamespaces, 8, 0);
    })
    .await;
    let limits = bench.world.limits();
    bench.ready().await;
    (bench, limits)
}

async fn raising(bench: &Bench, lab: &Arc<Lab>) -> Result<OperationView, Refusal> {
    let operation = bench.engine.deploy(DeployRequest { raise_limits: RaiseLimits::Yes, ..request(lab) }).await?;
    Ok(end(&operation).await)
}

#[tokio::test(start_paused = true)]
async fn a_hard_shortage_is_refused_before_anything_is_touched() {
    let (bench, _) = small().await;
    let Err(Refusal::Short(found)) = bench.begin(&row("a", 9)).await else { panic!("it was accepted") };
    assert_eq!(found.iter().map(|s| (s.limit, s.demand)).collect::<Vec<_>>(), [(Limit::NetNamespaces, 9)]);
    assert_eq!((bench.world.calls(), bench.store.keys()), (vec![], vec![]));
    // All labs count, what is there already only once.
    assert_eq!(bench.deploy(&row("a", 4)).await.state, OperationState::Succeeded);
    assert_eq!(bench.deploy(&row("b", 4)).await.state, OperationState::Succeeded);
    assert!(matches!(bench.begin(&row("c", 1)).await, Err(Refusal::Short(_))));
    assert_eq!(bench.destroy("a").await.state, OperationState::Succeeded);
    assert_eq!(bench.deploy(&row("c", 1)).await.state, OperationState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_soft_shortage_is_said_and_a_dry_run_shows_all() {
    let (bench, _) = small().await;
    let view = bench.deploy(&row("a", 6)).await;
    assert_eq!(view.state, OperationState::Succeeded);
    assert_eq!(
        view.shortages.iter().map(|s| (s.limit, s.severity)).collect::<Vec<_>>(),
        [(Limit::NeighboursV4, Severity::Warning)]
    );
    let preview = bench.engine.plan(&request(&row("b", 6))).await.unwrap();
    assert_eq!(
        preview.shortages.iter().map(|s| s.limit).collect::<Vec<_>>(),
        [Limit::NeighboursV4, Limit::NetNamespaces]
    );
    let wire = serde_json::to_value(&preview).unwrap();
    assert_eq!((&wire["lab"], &wire["shortages"][1]["raise"][NAMESPACES]), (&"b".into(), &32.into()));
}

#[tokio::test(start_paused = true)]
async fn what_is_raised_goes_back_after_the_last_lab_that_needs_it() {
    let (bench, limits) = small().await;
    let view = raising(&bench, &row("a", 9)).await.unwrap();
    assert_eq!((view.state, view.shortages), (OperationState::Succeeded, vec![]));
    assert_eq!((limits.value(V4), limits.value(NAMESPACES)), (64, 16));
    assert_eq!(limits.value("net.ipv4.neigh.default.gc_thresh1"), 8);
    // This one did not ask, but would not fit without it.
    assert_eq!(bench.deploy(&row("b", 6)).await.state, OperationState::Succeeded);
    assert_eq!(bench.destroy("a").await.state, OperationState::Succeeded);
    assert_eq!((limits.value(V4), limits.value(NAMESPACES)), (64, 8));
    assert_eq!(bench.destroy("b").await.state, OperationState::Succeeded);
    assert_eq!((limits.value(V4), limits.value("net.ipv4.neigh.default.gc_thresh1")), (16, 2));
    assert_eq!(bench.store.keys(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_somebody_else_has_set_is_left_and_said() {
    let (bench, limits) = small().await;
    raising(&bench, &row("a", 9)).await.unwrap();
    limits.put(NAMESPACES, 12);
    let view = bench.destroy("a").await;
    let message = view.message.unwrap();
    assert!(
        message.contains("user.max_net_namespaces is 12, not 16 as netloom had set it: left as it is"),
        "{message}"
    );
    assert_eq!((limits.value(V4), limits.value(NAMESPACES)), (16, 12));
    assert_eq!(bench.store.keys(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_does_not_let_itself_be_raised_keeps_its_values() {
    let (bench, limits) = small().await;
    limits.refuse(Some("read-only file system"));
    let refused = raising(&bench, &row("a", 9)).await.unwrap_err();
    assert!(refused.to_string().contains("read-only file system"), "{refused}");
    assert_eq!((limits.value(V4), bench.store.keys()), (16, vec![]));
    limits.refuse(None);
    // Nothing was noted that could not be: then nothing is raised either.
    bench.store.fail_writes(Some("no space left"));
    let refused = raising(&bench, &row("a", 9)).await.unwrap_err();
    assert!(refused.to_string().contains("no space left"), "{refused}");
    assert_eq!(limits.value(V4), 16);
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_is_refused_after_all_gives_back_what_was_raised() {
    let (bench, limits) = small().await;
    limits.has(Limit::Descriptors, 10, 5);
    assert!(matches!(raising(&bench, &row("a", 9)).await, Err(Refusal::Short(found)) if found.len() == 1));
    assert_eq!((limits.value(V4), limits.value(NAMESPACES), bench.store.keys()), (16, 8, vec![]));
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_what_no_lab_needs_goes_back_and_after_a_reboot_the_rest_is_raised_again() {
    let (bench, limits) = small().await;
    raising(&bench, &row("a", 9)).await.unwrap();
    // The machine is started anew: its own values are back.
    limits.put(V4, 16);
    limits.put(NAMESPACES, 8);
    let bench = bench.restart().await;
    bench.ready().await;
    crate::bench::until("it is raised again", || limits.value(V4) == 64 && limits.value(NAMESPACES) == 16).await;

    // The process ended between raising the limits and storing the wish.
    let wish = bench.store.take("labs/a");
    assert!(wish.is_some());
    for node in 0..9 {
        bench.world.lose_node("a", &format!("n{node}"));
    }
    let bench = bench.restart().await;
    bench.ready().await;
    crate::bench::until("it is put back", || limits.value(V4) == 16 && limits.value(NAMESPACES) == 8).await;
    crate::bench::until("it is forgotten", || bench.store.keys().iter().all(|key| !key.starts_with("limits/"))).await;
}
