//! What the host is told of labs: names and addresses of their nodes on the management network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use netloom_engine::testing::Sketch;
use netloom_engine::{Context, OperationState};
use netloom_model::Lab;
use tokio_util::sync::CancellationToken;

use crate::bench::{Bench, config, lab_name, pass, until};

async fn bench() -> Bench {
    Bench::prepared(config(), |world, _| world.add_networks()).await
}

fn lab_of(lab: &str, nodes: &[&str]) -> Arc<Lab> {
    nodes.iter().fold(Sketch::new(lab), |sketch, node| sketch.container(node)).lab()
}

fn hosts(bench: &Bench) -> String {
    bench.world.host_files().labs().into_values().map(|entries| entries.hosts).collect()
}

#[tokio::test(start_paused = true)]
async fn the_host_knows_the_nodes_of_labs_as_long_as_they_are_wanted() {
    let bench = bench().await;
    bench.made(&lab_of("one", &["r1", "r2"])).await;
    let [r1, r2] = ["172.20.20.2\tclab-one-r1\n", "172.20.20.3\tclab-one-r2\n"];
    let [one, two] = [
        format!("{r1}3fff:172:20:20::1\tclab-one-r1\n{r2}3fff:172:20:20::2\tclab-one-r2\n"),
        "172.20.20.4\tclab-two-r1\n3fff:172:20:20::3\tclab-two-r1\n".to_owned(),
    ];
    assert_eq!(hosts(&bench), one);
    bench.made(&lab_of("two", &["r1"])).await;
    assert_eq!(hosts(&bench), format!("{one}{two}"));
    let again = bench.deploy(&lab_of("two", &["r1"])).await;
    assert_eq!(again.message.as_deref(), Some("nothing to change"));
    assert_eq!(bench.destroy("one").await.state, OperationState::Succeeded);
    assert_eq!(hosts(&bench), two);
    // A lab without containers is not reached from the host.
    bench.made(&Sketch::pair("three").lab()).await;
    assert_eq!(hosts(&bench), two);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_takes_out_comes_back() {
    let bench = bench().await;
    bench.made(&lab_of("lab", &["r1"])).await;
    let before = hosts(&bench);
    bench.world.host_files().wipe();
    until("it is written again", || hosts(&bench) == before).await;
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_the_store_lost_keeps_its_entries_until_it_is_gone() {
    let bench = bench().await;
    bench.made(&lab_of("lab", &["r1"])).await;
    let before = hosts(&bench);
    bench.store.take("labs/lab").unwrap();
    let bench = bench.restart().await;
    bench.ready().await;
    pass(300).await;
    assert_eq!(hosts(&bench), before);
    bench.world.lose_node("lab", "r1");
    let context = Context { deadline: Instant::now() + Duration::from_secs(3600), cancel: CancellationToken::new() };
    for runtime in bench.world.runtimes() {
        runtime.write_names(&lab_name("lab"), None, &context).await.unwrap();
    }
    until("nothing of the lab is there", || hosts(&bench).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_written_fail_no_lab() {
    let bench = bench().await;
    bench.world.host_files().make_read_only();
    bench.made(&lab_of("lab", &["r1"])).await;
    let again = bench.deploy(&lab_of("lab", &["r1"])).await;
    assert_eq!(again.message.as_deref(), Some("nothing to change"));
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(bench.store.keys(), [""; 0]);
}
