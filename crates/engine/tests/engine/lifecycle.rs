//! The engine's own life: stop, restart, adoption, sessions.

use std::time::Duration;

use netloom_engine::testing::{EventsAre, FakeStore, Sketch, Trouble};
use netloom_engine::{ExecInput, ExecOutput, ExecRequest, Follow, OperationState, Place, Refusal};
use netloom_plan::NodeState;

use crate::bench::{Bench, config, end, lab_name, pair, pass, until};

#[tokio::test(start_paused = true)]
async fn the_next_engine_adopts_everything_without_a_call() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").execs("r1", &["true"]).bridge("br0").link("r1:eth2", "br0:p1").lab();
    bench.made(&lab).await;
    let before = bench.engine.wishes().get(&lab_name("lab"));
    let bench = bench.restart().await;
    bench.ready().await;
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0], "also no command is run again");
    assert_eq!(bench.engine.wishes().get(&lab_name("lab")), before);
    assert_eq!(bench.deploy(&lab).await.message.as_deref(), Some("nothing to change"));
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
}

#[tokio::test(start_paused = true)]
async fn the_next_engine_goes_on_where_the_last_one_ended() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/r2", .., Trouble::Slow(Duration::from_secs(20)));
    let deploy = bench.begin(&pair()).await.unwrap();
    until("a node starts", || bench.world.calls().contains(&"start lab/r2".to_owned())).await;
    let bench = bench.restart().await;
    assert_eq!(end(&deploy).await.state, OperationState::Superseded);
    until("the lab runs", || bench.world.nodes() == ["lab/r1 running", "lab/r2 running"]).await;
    let bench = bench.restart().await;
    bench.world.trouble("delete lab/*", .., Trouble::Slow(Duration::from_secs(5)));
    bench.ready().await;
    bench.engine.destroy(&lab_name("lab")).await.unwrap();
    let bench = bench.restart().await;
    until("the lab is gone", || bench.world.nodes().is_empty() && bench.store.keys().is_empty()).await;
    assert_eq!(bench.world.names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_finishes_what_is_under_way_and_refuses_the_rest() {
    let bench = Bench::new().await;
    bench.world.trouble("create lab/*", .., Trouble::Slow(Duration::from_secs(3)));
    let deploy = bench.begin(&pair()).await.unwrap();
    pass(1).await;
    bench.engine.stop((tokio::time::Instant::now() + Duration::from_secs(30)).into_std()).await;
    assert_eq!(end(&deploy).await.state, OperationState::Superseded);
    assert_eq!(bench.world.nodes(), ["lab/r1 created", "lab/r2 created"]);
    assert!(matches!(bench.begin(&pair()).await, Err(Refusal::Stopping)));
    let calls = bench.world.calls().len();
    pass(100).await;
    assert_eq!(bench.world.calls().len(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_longer_than_it_may() {
    let bench = Bench::new().await;
    bench.world.trouble("create lab/*", .., Trouble::Hangs);
    bench.begin(&pair()).await.unwrap();
    pass(1).await;
    let start = tokio::time::Instant::now();
    bench.engine.stop((start + Duration::from_secs(5)).into_std()).await;
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lab_without_a_wish_is_shown_and_can_be_destroyed_by_its_marks() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").bridge("br0").link("r1:eth2", "br0:p1").lab()).await;
    // The store is lost.
    let Bench { engine, world, .. } = bench;
    let bench = Bench { engine, world, store: FakeStore::default() }.restart().await;
    bench.ready().await;
    pass(120).await;
    assert_eq!(bench.world.calls(), [""; 0], "nothing is collected that nobody asked to remove");
    assert!(bench.engine.view(&lab_name("lab")).is_some());
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.nodes(), [""; 0]);
    assert_eq!(bench.world.names(), [""; 0]);
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
    assert_eq!(bench.store.keys(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn commands_run_again_only_in_a_new_life_of_the_node() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").runs("r1", &["sleep", "1"]).execs("r1", &["echo", "a"]).execs("r1", &["echo", "b"]);
    bench.made(&lab.lab()).await;
    let bench = bench.restart().await;
    bench.ready().await;
    bench.world.exit("lab", "r1", 0, "");
    until("it runs again", || bench.world.nodes()[0] == "lab/r1 running").await;
    pass(120).await;
    let off_and_on = "set lab/r1:eth1-r2:eth1";
    let calls = [off_and_on, off_and_on, "start lab/r1", "exec lab/r1: echo a", "exec lab/r1: echo b"];
    assert_eq!(bench.world.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_node_is_not_started_again_before_its_end_is_seen_to_be_off() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").runs("r1", &["sleep", "1"]).lab()).await;
    let off_and_on = "set lab/r1:eth1-r2:eth1";
    bench.world.trouble(off_and_on, ..1, Trouble::Slow(Duration::from_millis(500)));
    bench.world.exit("lab", "r1", 0, "");
    until("its end is being switched off", || bench.world.calls() == [off_and_on]).await;
    bench.world.set_events(EventsAre::Lost);
    let end = || bench.world.port(&Place::Node(lab_name("lab"), "r1".parse().unwrap()), "eth1").unwrap();
    until("it is off", || !end().admin_up).await;
    bench.world.set_events(EventsAre::Sent);
    until("it runs again", || bench.world.nodes()[0] == "lab/r1 running").await;
    pass(120).await;
    assert_eq!(bench.world.calls(), [off_and_on, off_and_on, "start lab/r1"]);
    assert!(end().admin_up);
}

#[tokio::test(start_paused = true)]
async fn a_command_in_a_node_answers_with_output_and_code() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let request = ExecRequest::plain(words(&["cat"]));
    let (lab, node) = (lab_name("lab"), "r1".parse().unwrap());
    let (mut session, _permit) = bench.engine.exec(&lab, &node, request.clone()).await.unwrap();
    session.input.send(ExecInput::Stdin("hello".into())).await.unwrap();
    assert_eq!(session.output.recv().await, Some(ExecOutput::Stdout("hello".into())));
    session.input.send(ExecInput::CloseStdin).await.unwrap();
    assert_eq!(session.output.recv().await, Some(ExecOutput::Exited(0)));
    let unknown = bench.engine.exec(&lab, &"r9".parse().unwrap(), request.clone()).await;
    assert!(matches!(unknown, Err(Refusal::NoNode { .. })));
    bench.world.exit("lab", "r1", 1, "bye\n");
    until("it is seen", || {
        let snapshot = bench.engine.inventory().snapshot();
        snapshot.labs[&lab].nodes[&node].state == NodeState::Exited { code: 1 }
    })
    .await;
    assert!(matches!(bench.engine.exec(&lab, &node, request).await, Err(Refusal::NotRunning { .. })));
    let (mut logs, _permit) = bench.engine.logs(&lab, &node, Follow::No).await.unwrap();
    assert_eq!(logs.chunks.recv().await.unwrap(), "bye\n");
    assert_eq!(logs.chunks.recv().await, None);
}

#[tokio::test(start_paused = true)]
async fn sessions_beyond_the_limit_are_refused_at_once() {
    let bench = Bench::with(netloom_engine::Config { sessions: 1, ..config() }).await;
    bench.made(&pair()).await;
    let (lab, node) = (lab_name("lab"), "r1".parse().unwrap());
    let (_logs, permit) = bench.engine.logs(&lab, &node, Follow::Yes).await.unwrap();
    assert!(matches!(bench.engine.logs(&lab, &node, Follow::No).await, Err(Refusal::Busy(_))));
    drop(permit);
    assert!(bench.engine.logs(&lab, &node, Follow::No).await.is_ok());
}
