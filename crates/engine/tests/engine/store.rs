//! A store that fails or hangs: what runs goes on, what cannot be noted is refused, and both agree afterwards.

use std::time::Duration;

use netloom_engine::testing::{EventsAre, Sketch, Trouble};
use netloom_engine::{OperationState, Place, Refusal, StoreError, What};
use serde_json::json;
use tokio::time::Instant;

use crate::bench::{Bench, config, end, lab_name, pair, pass, until};

/// As long as somebody waits for the store.
fn limit() -> Duration {
    config().store_limit + Duration::from_millis(100)
}

fn no_answer<T: std::fmt::Debug>(answer: &Result<T, Refusal>) {
    assert!(matches!(answer, Err(Refusal::Store(StoreError::NoAnswer { .. }))), "{answer:?}");
    let text = answer.as_ref().unwrap_err().to_string();
    assert!(text.contains("nothing was changed: the store does not answer since 20"), "{text}");
}

fn pair_and_one() -> std::sync::Arc<netloom_model::Lab> {
    Sketch::pair("lab").node("r3").lab()
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_refuses_every_change_in_time_and_says_since_when() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.store.freeze();
    let start = Instant::now();
    no_answer(&bench.begin(&pair_and_one()).await);
    assert!(start.elapsed() <= limit(), "{:?}", start.elapsed());
    let start = Instant::now();
    no_answer(&bench.engine.destroy(&lab_name("lab")).await);
    no_answer(&bench.edit(json!({ "links": { "r1:eth1 r2:eth1": null } })).await);
    no_answer(&bench.begin(&Sketch::new("two").node("r1").lab()).await);
    assert!(start.elapsed() < Duration::from_millis(100), "it is known by now: {:?}", start.elapsed());
    pass(60).await;
    assert_eq!(bench.world.calls(), [""; 0], "nothing is touched");
    let trouble = bench.engine.store_trouble().expect("it shows");
    assert!(trouble.why.contains("does not answer"), "{trouble:?}");
    bench.store.thaw();
    until("it is well again", || bench.engine.store_trouble().is_none()).await;
    assert_eq!(bench.deploy(&pair_and_one()).await.state, OperationState::Succeeded);
    let (events, _) = bench.engine.events().follow(0);
    let notices: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            What::Notice { lab: None, text } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(notices[0].contains("does not answer") && notices[1] == "the store works again", "{notices:?}");
}

#[tokio::test(start_paused = true)]
async fn repairs_go_on_and_no_loop_is_late_while_the_store_hangs() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.store.freeze();
    let engine = bench.engine.clone();
    let asked = netloom_engine::task::spawn("ask", async move { engine.destroy(&lab_name("lab")).await.map(|_| ()) });
    until("the store has it", || bench.store.asked() == 2).await;
    // The actor itself waits for nothing: the link is back before the store has been given up.
    let start = Instant::now();
    bench.world.delete_port(&Place::Node(lab_name("lab"), "r1".parse().unwrap()), "eth1");
    until("the link is back", || !bench.world.links().is_empty()).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(!asked.is_finished());
    bench.world.exit("lab", "r2", 1, "");
    until("the node runs again", || bench.world.nodes()[1] == "lab/r2 running").await;
    no_answer(&asked.await.unwrap());
    let owed = bench.engine.beats().all().into_iter().filter(|(_, at)| at.is_some());
    assert_eq!(owed.collect::<Vec<_>>(), []);
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_was_given_up_is_taken_back_from_the_store() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    let before = bench.store.text("labs/lab");
    bench.store.freeze();
    no_answer(&bench.begin(&pair_and_one()).await);
    no_answer(&bench.begin(&Sketch::new("two").node("r1").lab()).await);
    bench.store.thaw();
    until("it is well again", || bench.engine.store_trouble().is_none()).await;
    until("it is taken back", || bench.store.text("labs/lab") == before).await;
    assert_eq!(bench.store.keys(), ["labs/lab"]);
    // The next engine reads what this one believed.
    let bench = bench.restart().await;
    pass(60).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(bench.world.nodes(), ["lab/r1 running", "lab/r2 running"]);
}

#[tokio::test(start_paused = true)]
async fn a_first_deploy_that_was_given_up_under_way_leaves_no_lab_in_the_store() {
    let bench = Bench::new().await;
    bench.ready().await;
    bench.store.freeze();
    no_answer(&bench.begin(&pair()).await);
    assert!(bench.engine.wishes().all().is_empty());
    bench.store.thaw();
    until("it is well again", || bench.engine.store_trouble().is_none()).await;
    pass(1).await;
    assert_eq!(bench.store.keys(), [""; 0]);
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_change_after_a_given_up_one_is_what_counts() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.store.freeze();
    no_answer(&bench.begin(&pair_and_one()).await);
    bench.store.thaw();
    // At once, before what is owed has been paid.
    let view = bench.deploy(&Sketch::pair("lab").node("r4").lab()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    pass(120).await;
    let stored = bench.store.text("labs/lab").unwrap();
    assert!(stored.contains("\"r4\"") && !stored.contains("\"r3\""), "{stored}");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_works_although_the_store_hangs_and_is_noted_later() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/r1", .., Trouble::Transient("no".into()));
    let deploy = bench.begin(&pair()).await.unwrap();
    pass(1).await;
    bench.store.freeze();
    let cancelled = bench.engine.cancel(deploy.id()).await.unwrap().view();
    assert_eq!(cancelled.state, OperationState::Cancelled);
    assert!(cancelled.message.unwrap().contains("does not answer"));
    bench.world.take_calls();
    pass(60).await;
    assert_eq!(bench.world.calls(), [""; 0], "it is held");
    bench.store.thaw();
    until("it is noted", || bench.store.text("labs/lab").unwrap().contains("was cancelled")).await;
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_was_destroyed_with_a_full_store_does_not_come_back() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").execs("r1", &["true"]).lab()).await;
    bench.store.fail_writes(Some("no space left on device"));
    let view = bench.destroy("lab").await;
    assert_eq!(view.state, OperationState::Failed);
    let text = view.message.unwrap();
    assert!(text.contains("lab lab is gone") && text.contains("as soon as the store can write"), "{text}");
    assert_eq!(bench.world.nodes(), [""; 0]);
    bench.store.fail_writes(None);
    until("it is forgotten", || bench.store.keys().is_empty()).await;
    assert_eq!(bench.engine.store_trouble(), None);
    let bench = bench.restart().await;
    pass(60).await;
    assert_eq!(bench.world.calls(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_lab_deployed_again_before_its_end_was_noted_stays() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.store.fail_writes(Some("no space left on device"));
    bench.destroy("lab").await;
    bench.store.fail_writes(None);
    assert_eq!(bench.deploy(&pair()).await.state, OperationState::Succeeded);
    pass(120).await;
    assert_eq!(bench.store.keys(), ["labs/lab"]);
}

#[tokio::test(start_paused = true)]
async fn commands_run_although_the_store_hangs_and_are_noted_when_it_answers() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/r1", ..1, Trouble::Slow(Duration::from_secs(2)));
    let lab = Sketch::pair("lab").execs("r1", &["echo", "a"]).execs("r1", &["echo", "b"]).lab();
    let deploy = bench.begin(&lab).await.unwrap();
    bench.store.freeze();
    assert_eq!(end(&deploy).await.state, OperationState::Succeeded, "{:#?}", deploy.view());
    assert_eq!(bench.store.keys(), ["labs/lab"]);
    bench.store.thaw();
    until("it is noted", || bench.store.text("done/lab/r1").is_some_and(|text| text.contains(":2"))).await;
    let bench = bench.restart().await;
    pass(60).await;
    assert_eq!(bench.world.calls(), [""; 0], "no command is run again");
}

#[tokio::test(start_paused = true)]
async fn a_store_in_trouble_is_asked_again_although_nothing_is_owed() {
    let bench = Bench::new().await;
    bench.store.fail_writes(Some("read-only file system"));
    assert!(matches!(bench.begin(&pair()).await, Err(Refusal::Store(StoreError::Failed { .. }))));
    let trouble = bench.engine.store_trouble().expect("it shows");
    assert!(trouble.why.contains("read-only"), "{trouble:?}");
    pass(600).await;
    assert!(bench.store.asked() < 30, "with a back-off: {}", bench.store.asked());
    bench.store.fail_writes(None);
    pass(61).await;
    assert_eq!(bench.engine.store_trouble(), None);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_stopped_while_the_store_hangs_ends_in_time() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.world.set_events(EventsAre::Sent);
    bench.store.freeze();
    no_answer(&bench.begin(&pair_and_one()).await);
    let start = Instant::now();
    bench.engine.stop((start + Duration::from_secs(20)).into_std()).await;
    assert!(start.elapsed() <= limit(), "{:?}", start.elapsed());
}
