//! A lab whose actor panics again and again is paused; all others are served.

use netloom_engine::testing::Sketch;
use netloom_engine::{Config, OperationState, Refusal, Safe, What};
use serde_json::json;

use crate::bench::{Bench, config, lab_name, pair, pass, until};

/// Has the actor of a lab panic so many times, each time when it was begun anew.
async fn panics(bench: &Bench, lab: &str, times: u32) {
    for _ in 0..times {
        bench.engine.panic_in(&lab_name(lab), "on purpose");
        pass(40).await;
    }
}

fn notices(bench: &Bench, of: &str) -> Vec<String> {
    let (events, _) = bench.engine.events().follow(0);
    let text = |event: &std::sync::Arc<netloom_engine::Event>| match &event.what {
        What::Notice { lab, text } if lab.as_ref() == Some(&lab_name(of)) => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

#[tokio::test(start_paused = true)]
async fn a_lab_whose_actor_panics_is_worked_on_by_the_next_one() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    panics(&bench, "lab", 4).await;
    assert_eq!(bench.engine.pauses().of(&lab_name("lab")), None);
    bench.world.lose_node("lab", "r1");
    until("it runs again", || bench.world.nodes() == ["lab/r1 running", "lab/r2 running"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_lab_whose_actor_panics_again_and_again_is_paused_and_the_others_are_served() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.made(&Sketch::new("two").node("a").lab()).await;
    panics(&bench, "lab", 5).await;
    let pause = bench.engine.pauses().of(&lab_name("lab")).expect("it is paused");
    assert!(pause.why.contains("5 times in 10 minutes") && pause.why.contains("on purpose"), "{}", pause.why);
    let said = notices(&bench, "lab");
    assert!(said.last().unwrap().contains("`netloom deploy` goes on with it"), "{said:#?}");

    // Nothing is done for it, and its wish stays.
    bench.world.lose_node("lab", "r1");
    bench.world.lose_node("two", "a");
    until("the other one is mended", || bench.world.nodes().contains(&"two/a running".to_owned())).await;
    pass(300).await;
    assert_eq!(bench.world.nodes(), ["lab/r2 running", "two/a running"]);
    assert!(bench.engine.wishes().get(&lab_name("lab")).is_some());
    let refused = bench.edit(json!({ "nodes": { "r3": { "kind": "linux", "runtime": "namespace" } } })).await;
    assert!(matches!(&refused, Err(Refusal::Paused { .. })), "{refused:?}");

    // Until a person says so.
    assert_eq!(bench.deploy(&pair()).await.state, OperationState::Succeeded);
    assert_eq!(bench.engine.pauses().of(&lab_name("lab")), None);
    assert_eq!(bench.world.nodes(), ["lab/r1 running", "lab/r2 running", "two/a running"]);
    panics(&bench, "lab", 4).await;
    assert_eq!(bench.engine.pauses().of(&lab_name("lab")), None, "what was before the command counts no more");
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_is_paused_can_be_destroyed() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    panics(&bench, "lab", 5).await;
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert_eq!(bench.world.nodes(), [""; 0]);
    assert!(bench.engine.pauses().all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_was_under_way_says_what_became_of_it() {
    let bench = Bench::new().await;
    let operation = bench.begin(&Sketch::pair("lab").execs("r1", &["sleep", "500"]).lab()).await.unwrap();
    assert!(bench.engine.work().labs().contains(&lab_name("lab")));
    bench.engine.panic_in(&lab_name("lab"), "on purpose");
    let view = crate::bench::end(&operation).await;
    assert_eq!(view.state, OperationState::Failed);
    assert!(view.message.unwrap().contains("on purpose"));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_is_known_until_it_is_done() {
    let bench = Bench::new().await;
    let lab = [lab_name("lab")].into();
    assert!(bench.engine.work().labs().is_empty());
    let operation = bench.begin(&Sketch::pair("lab").execs("r1", &["sleep", "5"]).lab()).await.unwrap();
    assert_eq!(bench.engine.work().labs(), lab);
    crate::bench::end(&operation).await;
    until("nothing is under way", || bench.engine.work().labs().is_empty()).await;
    bench.world.lose_node("lab", "r1");
    until("it is mended, without an operation", || bench.engine.work().labs() == lab).await;
    until("nothing is under way", || bench.engine.work().labs().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_in_safe_mode_does_nothing_for_the_labs_at_fault() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.made(&Sketch::new("two").node("a").lab()).await;
    let why = "the agent died of it";
    let some = Safe::Labs([(lab_name("lab"), why.to_owned()), (lab_name("gone"), why.to_owned())].into());
    let bench = bench.restart_with(Config { safe: some, ..config() }).await;
    assert_eq!(bench.engine.pauses().all().keys().collect::<Vec<_>>(), [&lab_name("lab")]);
    bench.world.lose_node("lab", "r1");
    bench.world.lose_node("two", "a");
    until("the other one is mended", || bench.world.nodes().contains(&"two/a running".to_owned())).await;
    pass(300).await;
    assert_eq!(bench.world.nodes(), ["lab/r2 running", "two/a running"]);

    let bench = bench.restart_with(Config { safe: Safe::All(why.to_owned()), ..config() }).await;
    bench.world.lose_node("two", "a");
    pass(300).await;
    assert_eq!(bench.world.nodes(), ["lab/r2 running"]);
    assert_eq!(bench.destroy("two").await.state, OperationState::Succeeded);

    let bench = bench.restart().await;
    until("it is mended", || bench.world.nodes() == ["lab/r1 running", "lab/r2 running"]).await;
}
