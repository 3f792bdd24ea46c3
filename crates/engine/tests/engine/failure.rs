//! What goes wrong: it is said with its cause, and the rest stands.

use std::time::Duration;

use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{Config, OperationState, OperationView, Place, PortMark, Refusal, StepState, What};
use netloom_model::{Bind, RestartPolicy, RuntimeKind};

use crate::bench::{Bench, config, end, lab_name, pair, pass, request, until};

fn times(bench: &Bench, call: &str) -> usize {
    bench.world.calls().iter().filter(|seen| seen.as_str() == call).count()
}

fn assert_says(view: &OperationView, what: &str) {
    assert!(view.problems.iter().any(|problem| problem.contains(what)), "{what} is not in {:#?}", view.problems);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_start_is_reported_and_the_rest_stands() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/r1", .., Trouble::Permanent("no such command".into()));
    let view = bench.deploy(&Sketch::pair("lab").execs("r1", &["true"]).lab()).await;
    assert_eq!(view.state, OperationState::Failed);
    assert_says(&view, "no such command");
    assert_eq!(view.problems.len(), 1, "{view:#?}");
    assert_eq!(bench.world.nodes(), ["lab/r1 created", "lab/r2 running"]);
    assert_eq!(bench.world.links(), ["lab/r1:eth1-r2:eth1"]);
    let exec = view.steps.iter().find(|step| step.id.to_string() == "node/r1/exec/0").unwrap();
    assert_eq!(exec.state, StepState::Skipped);
    pass(300).await;
    assert_eq!(times(&bench, "start lab/r1"), 1, "what fails for good is not tried again by itself");
    // A deploy is a reason to try again.
    bench.world.calm();
    let view = bench.deploy(&Sketch::pair("lab").execs("r1", &["true"]).lab()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_link_that_cannot_be_made_does_not_stop_the_others() {
    let bench = Bench::new().await;
    bench.world.trouble("create lab/r1:eth1-r2:eth1", .., Trouble::Permanent("no".into()));
    let view = bench.deploy(&Sketch::pair("lab").link("r1:eth2", "r2:eth2").lab()).await;
    assert_eq!(view.state, OperationState::Failed);
    assert_eq!(bench.world.links(), ["lab/r1:eth2-r2:eth2"]);
}

#[tokio::test(start_paused = true)]
async fn what_may_work_later_is_tried_again_with_a_back_off() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/r1", ..3, Trouble::Transient("busy".into()));
    let start = tokio::time::Instant::now();
    let view = bench.deploy(&pair()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert_eq!(view.problems, [""; 0], "what was mended is no problem any more");
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(1 + 2 + 4) && took < Duration::from_secs(12), "{took:?}");
    assert_eq!(times(&bench, "start lab/r1"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_failing_command_is_reported_with_its_output_and_the_lab_stays() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").execs("r1", &["sh", "-c", "echo no route; exit 2"]).execs("r1", &["true"]).lab();
    let view = bench.deploy(&lab).await;
    assert_eq!(view.state, OperationState::Failed);
    assert_eq!(view.problems.len(), 1, "{view:#?}");
    assert_says(&view, "exit code 2");
    assert_says(&view, "no route");
    assert_eq!(bench.world.nodes(), ["lab/r1 running", "lab/r2 running"]);
    assert_eq!(times(&bench, "exec lab/r1: true"), 1, "the commands after it run");
    // Once for each start of the node.
    let again = bench.deploy(&lab).await;
    assert_eq!(again.message.as_deref(), Some("nothing to change"));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_exits_at_once_says_so_with_its_last_output() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").runs("r1", &["sh", "-c", "echo no config; exit 4"]);
    let view = bench.deploy(&lab.with("r1", |node| node.restart_policy = RestartPolicy::No).lab()).await;
    assert_eq!(view.state, OperationState::Failed);
    assert_says(&view, "node r1: exited(4)");
    assert_says(&view, "no config");
    assert_eq!(bench.world.nodes(), ["lab/r1 exited(4)", "lab/r2 running"]);
    pass(200).await;
    assert_eq!(times(&bench, "start lab/r1"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_ends_is_started_again_after_1_2_4_seconds() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").runs("r1", &["sh", "-c", "exit 1"]).lab();
    let view = bench.deploy(&lab).await;
    assert_eq!(view.state, OperationState::Failed);
    assert_says(&view, "it is tried again");
    let mut gaps = Vec::new();
    let mut last = tokio::time::Instant::now();
    for seen in 2..=8 {
        until("it is started again", || times(&bench, "start lab/r1") == seen).await;
        gaps.push(last.elapsed().as_secs_f32().round());
        last = tokio::time::Instant::now();
    }
    assert_eq!(gaps, [1., 2., 4., 8., 16., 32., 60.]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_policy_looks_at_the_exit_code() {
    let bench = Bench::new().await;
    let on_failure = Sketch::pair("lab").runs("r1", &["sleep", "1000"]);
    bench.made(&on_failure.with("r1", |node| node.restart_policy = RestartPolicy::OnFailure).lab()).await;
    bench.world.exit("lab", "r1", 0, "");
    pass(100).await;
    // Its neighbour sees that it is off.
    assert_eq!(bench.world.calls(), ["set lab/r1:eth1-r2:eth1"]);
    bench.destroy("lab").await;
    bench.made(&Sketch::pair("lab").runs("r1", &["sleep", "1000"]).lab()).await;
    bench.world.exit("lab", "r1", 0, "");
    until("it runs again", || bench.world.nodes()[0] == "lab/r1 running").await;
    assert_eq!(bench.world.calls(), ["set lab/r1:eth1-r2:eth1", "set lab/r1:eth1-r2:eth1", "start lab/r1"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_write_refuses_and_touches_nothing() {
    let bench = Bench::new().await;
    bench.store.fail_writes(Some("no space left on device"));
    let refused = bench.begin(&pair()).await;
    assert!(matches!(&refused, Err(Refusal::Store(_))), "{refused:?}");
    assert!(refused.unwrap_err().to_string().contains("no space left"));
    pass(10).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    assert!(bench.engine.wishes().all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn destroy_works_although_the_store_cannot_write() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").bridge("br0").link("r1:eth2", "br0:p1").lab()).await;
    bench.store.fail_writes(Some("no space left on device"));
    let view = bench.destroy("lab").await;
    assert_says(&view, "no space left");
    assert_eq!(bench.world.nodes(), [""; 0]);
    assert_eq!(bench.world.host(), ["lo", "uplink"]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_run_here_is_refused_with_all_reasons() {
    let bench = Bench::new().await;
    let bind =
        || Bind { source: "/missing".into(), target: "/etc/frr".into(), access: netloom_model::Access::default() };
    let lab = Sketch::pair("lab").with("r1", |node| node.binds.push(bind())).with("r2", |node| node.binds.push(bind()));
    let refused = bench.begin(&lab.lab()).await;
    assert!(matches!(&refused, Err(Refusal::Unable(errors)) if errors.len() == 2), "{refused:?}");
    let docker = Sketch::pair("lab").with("r1", |node| node.runtime = Some(RuntimeKind::Docker)).lab();
    let refused = bench.begin(&docker).await;
    assert!(matches!(&refused, Err(Refusal::NoRuntime { .. })), "{refused:?}");
    bench.world.trouble("check runtime", .., Trouble::Permanent("this needs root".into()));
    assert!(matches!(bench.begin(&pair()).await, Err(Refusal::Unable(_))));
    pass(10).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    assert_eq!(bench.store.keys(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_in_one_lab_stops_no_other() {
    let bench = Bench::new().await;
    // More nodes than the runtime takes at once.
    let wide = (0..100).fold(Sketch::new("wide"), |lab, n| lab.node(&format!("n{n}"))).lab();
    for call in ["create wide/*", "start wide/*"] {
        bench.world.trouble(call, .., Trouble::Hangs);
    }
    let stuck = bench.begin(&wide).await.unwrap();
    pass(1).await;
    let start = tokio::time::Instant::now();
    let view = bench.deploy(&pair()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(!stuck.view().state.is_final());
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_hangs_in_every_lab_stops_no_other_runtime() {
    let bench = Bench::prepared(config(), |world, _| world.add_runtime(RuntimeKind::Docker)).await;
    let mut stuck = Vec::new();
    for name in ["first", "second", "third"] {
        bench.world.trouble(&format!("create {name}/*"), .., Trouble::Hangs);
        let containers = (0..100).fold(Sketch::new(name), |lab, n| {
            lab.node(&format!("n{n}")).with(&format!("n{n}"), |node| node.runtime = Some(RuntimeKind::Docker))
        });
        stuck.push(bench.begin(&containers.lab()).await.unwrap());
    }
    pass(1).await;
    let start = tokio::time::Instant::now();
    let view = bench.deploy(&pair()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(stuck.iter().all(|operation| !operation.view().state.is_final()));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_is_given_up() {
    let bench = Bench::new().await;
    bench.world.trouble("check runtime", ..1, Trouble::Hangs);
    let refused = bench.begin(&pair()).await;
    assert!(matches!(&refused, Err(Refusal::Unable(_))), "{refused:?}");
    assert_eq!(bench.deploy(&pair()).await.state, OperationState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_released_at_its_deadline_and_tried_again() {
    let bench = Bench::new().await;
    bench.world.trouble("create lab/r1", ..1, Trouble::Hangs);
    let view = bench.deploy(&pair()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert_eq!(times(&bench, "create lab/r1"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_holds_up_a_destroy_no_longer_than_any_call_may_take() {
    let bench = Bench::new().await;
    let wide = (0..100).fold(Sketch::new("wide"), |lab, n| lab.node(&format!("n{n}"))).lab();
    bench.world.trouble("start wide/*", .., Trouble::Hangs);
    bench.begin(&wide).await.unwrap();
    until("starts hang", || bench.world.calls().iter().any(|call| call.starts_with("start wide/"))).await;
    let start = tokio::time::Instant::now();
    let view = bench.destroy("wide").await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert!(start.elapsed() < config().step_limit + Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_keeps_no_other_from_being_tried_again() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/r1", ..1, Trouble::Hangs);
    bench.world.trouble("start lab/r2", ..3, Trouble::Transient("busy".into()));
    let start = tokio::time::Instant::now();
    let deploy = bench.begin(&pair()).await.unwrap();
    until("r2 runs", || bench.world.nodes().contains(&"lab/r2 running".to_owned())).await;
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(end(&deploy).await.state, OperationState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn nodes_that_fail_one_after_the_other_are_no_tries_in_a_row() {
    let bench = Bench::new().await;
    let names: Vec<String> = (0..8).map(|n| format!("n{n}")).collect();
    let wide = (0..8).zip(&names).fold(Sketch::new("wide"), |lab, (delay, name)| {
        bench.world.trouble(&format!("start wide/{name}"), ..1, Trouble::Transient("busy".into()));
        lab.node(name).with(name, |node| node.startup_delay = delay)
    });
    let view = bench.deploy(&wide.lab()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
}

/// A timer that had passed, and that nobody put away, would keep the lab's task at it: here no time would pass.
#[tokio::test(start_paused = true)]
async fn what_failed_and_is_right_again_by_itself_is_not_tried_again() {
    let bench = Bench::new().await;
    bench.made(&Sketch::pair("lab").bridge("br0").link("r1:eth2", "br0:p1").lab()).await;
    let mut bridge = None;
    bench.world.trouble("*", .., Trouble::Transient("busy".into()));
    bench.world.change_port(&Place::Host, "p1", |port| bridge = port.master.take());
    until("it is tried", || !bench.world.take_calls().is_empty()).await;
    bench.world.change_port(&Place::Host, "p1", |port| port.master = bridge);
    pass(1).await;
    bench.world.take_calls();
    pass(120).await;
    let tried = bench.world.calls();
    assert!(!tried.iter().any(|call| call.contains("p1")), "{tried:?}");
}

#[tokio::test(start_paused = true)]
async fn an_end_of_a_link_that_says_another_configuration_is_changed_again_whichever_it_is() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    for node in ["r1", "r2"] {
        bench.world.take_calls();
        let place = Place::Node(lab_name("lab"), node.parse().unwrap());
        bench.world.change_port(&place, "eth1", |port| {
            let Some(PortMark::Link { fingerprint, .. }) = &mut port.mark else { panic!() };
            fingerprint.config = "another".into();
        });
        until("it is changed", || times(&bench, "update lab/r1:eth1-r2:eth1") == 1).await;
        pass(120).await;
        assert_eq!(bench.world.calls(), ["update lab/r1:eth1-r2:eth1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_driver_fails_its_step_and_is_tried_again() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/r1", ..1, Trouble::Panics);
    bench.world.trouble("create lab/r1:eth1-r2:eth1", ..1, Trouble::Panics);
    bench.world.trouble("ensure bridge/br0", ..1, Trouble::Panics);
    let view = bench.deploy(&Sketch::pair("lab").bridge("br0").link("r2:eth2", "br0:p2").lab()).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert_eq!(bench.world.nodes(), ["lab/r1 running", "lab/r2 running"]);
    for call in ["start lab/r1", "create lab/r1:eth1-r2:eth1", "ensure bridge/br0"] {
        assert_eq!(times(&bench, call), 2, "{call}");
    }
    let (events, _) = bench.engine.events().follow(0);
    let said = |event: &std::sync::Arc<netloom_engine::Event>| match &event.what {
        What::Step { error: Some(error), .. } => error.contains("panicked") && error.contains("please report it"),
        _ => false,
    };
    assert!(events.iter().any(said), "{events:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_is_a_refusal() {
    let bench = Bench::new().await;
    bench.world.trouble("check runtime", ..1, Trouble::Panics);
    let refused = bench.begin(&pair()).await;
    assert!(matches!(&refused, Err(Refusal::Driver(error)) if error.cause.contains("panicked")), "{refused:?}");
    assert_eq!(bench.deploy(&pair()).await.state, OperationState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_panics_is_taken_again() {
    let bench = Bench::new().await;
    bench.made(&pair()).await;
    bench.world.set_events(netloom_engine::testing::EventsAre::Lost);
    bench.world.trouble("relist fabric", ..2, Trouble::Panics);
    let inside = Place::Node(lab_name("lab"), "r1".parse().unwrap());
    bench.world.delete_port(&inside, "eth1");
    pass(70).await;
    assert_eq!(bench.world.links().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_driver_that_blocks_a_thread_does_not_keep_the_lab_from_answering() {
    let bench = Bench::new().await;
    let blocked = Duration::from_secs(2);
    bench.world.trouble("create lab/r1", .., Trouble::Blocks(blocked));
    let deploy = bench.begin(&pair()).await.unwrap();
    until("a thread is blocked", || bench.world.calls().contains(&"create lab/r1".to_owned())).await;
    let start = tokio::time::Instant::now();
    bench.engine.cancel(deploy.id()).await.unwrap();
    assert!(start.elapsed() < blocked / 2, "{:?}", start.elapsed());
    assert_eq!(end(&deploy).await.state, OperationState::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn a_destroy_does_not_wait_for_a_command_that_runs() {
    let bench = Bench::new().await;
    let lab = Sketch::pair("lab").execs("r1", &["sleep", "500"]).lab();
    let deploy = bench.begin(&lab).await.unwrap();
    until("the command runs", || bench.world.calls().contains(&"exec lab/r1: sleep 500".to_owned())).await;
    let start = tokio::time::Instant::now();
    assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(end(&deploy).await.state, OperationState::Superseded);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_always_panics_does_not_spin() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/r1", .., Trouble::Panics);
    end(&bench.begin(&pair()).await.unwrap()).await;
    bench.world.take_calls();
    pass(60).await;
    assert!(times(&bench, "start lab/r1") <= 60, "{}", times(&bench, "start lab/r1"));
    // It still takes orders.
    bench.destroy("lab").await;
    until("the lab is gone", || bench.world.nodes().is_empty() && bench.store.keys().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn a_deploy_before_everything_was_seen_is_refused_and_says_what_is_missing() {
    let source = netloom_engine::Source::Fabric;
    let bench = Bench::prepared(config(), |world, _| world.make_unreachable(source, "no netlink")).await;
    pass(5).await;
    let refused = bench.engine.deploy(request(&pair())).await;
    assert!(matches!(&refused, Err(Refusal::NotReady(why)) if why.contains("no netlink")), "{refused:?}");
    assert_eq!(bench.world.calls(), [""; 0]);
    bench.world.calm();
    assert_eq!(bench.deploy(&pair()).await.state, OperationState::Succeeded);
    assert!(bench.engine.wishes().get(&lab_name("lab")).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_shown_with_the_reason_and_the_next_try_until_it_works() {
    let bench = Bench::new().await;
    bench.world.trouble("start lab/r3", ..4, Trouble::Transient("busy".into()));
    bench.world.trouble("create lab/r1:eth1-r2:eth1", .., Trouble::Permanent("not like that".into()));
    let lab = Sketch::pair("lab").node("r3").lab();
    let deploy = bench.begin(&lab).await.unwrap();
    let troubles = || bench.engine.view(&lab_name("lab")).unwrap().troubles;
    until("both are shown", || troubles().len() == 2).await;
    let [start, link] = &troubles()[..] else { panic!("{:?}", troubles()) };
    assert_eq!(start.step.as_str(), "node/r3/start");
    assert!(start.cause.contains("busy") && start.again.is_some(), "{start:?}");
    assert!(link.cause.contains("not like that") && link.again.is_none(), "{link:?}");
    end(&deploy).await;
    until("what works is no trouble any more", || troubles().len() == 1).await;
    bench.destroy("lab").await;
    bench.world.calm();
    bench.made(&lab).await;
    assert_eq!(troubles(), []);
}

#[tokio::test(start_paused = true)]
async fn an_operation_whose_deadline_passes_says_what_was_failing() {
    let bench = Bench::with(Config { operation_limit: Duration::from_secs(5), ..config() }).await;
    bench.world.trouble("start lab/r1", ..2, Trouble::Transient("busy".into()));
    bench.world.trouble("start lab/r1", 2.., Trouble::Hangs);
    let deploy = bench.begin(&pair()).await.unwrap();
    until("it hangs", || times(&bench, "start lab/r1") == 3).await;
    assert_says(&deploy.view(), "busy");
    let view = end(&deploy).await;
    assert_eq!(view.state, OperationState::Deadline);
    assert_says(&view, "busy");
}
