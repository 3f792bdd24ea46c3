//! Nodes that wait for each other, and containers, whose links come after their start.

use std::sync::Arc;
use std::time::Duration;

use netloom_engine::testing::{Sketch, Trouble};
use netloom_engine::{Config, Health, NodeView, Operation, OperationState, StepState};
use netloom_model::{Lab, RestartPolicy, RuntimeKind, Stage, StageExec};
use netloom_plan::NodeState;
use serde_json::json;

use crate::bench::{Bench, config, end, lab_name, pass, request, until};

async fn bench() -> Bench {
    Bench::prepared(config(), |world, _| world.add_runtime(RuntimeKind::Docker)).await
}

/// `app` beside `db`, which has a health check.
fn sketch(runtime: RuntimeKind) -> Sketch {
    let node = |sketch: Sketch, name: &str| match runtime {
        RuntimeKind::Namespace => sketch.node(name),
        RuntimeKind::Docker | RuntimeKind::Libvirt => sketch.container(name),
    };
    let both = node(node(Sketch::new("lab"), "app"), "db").checked("db").link("app:eth1", "db:eth1");
    both.execs("app", &["echo", "app"]).execs("db", &["echo", "db"])
}

fn waiting(runtime: RuntimeKind, stage: Stage, of: Stage) -> Arc<Lab> {
    sketch(runtime).waits("app", stage, "db", of).lab()
}

fn view(bench: &Bench, name: &str) -> NodeView {
    let all = bench.engine.view(&lab_name("lab")).unwrap().nodes;
    all.into_iter().find(|node| node.name.as_str() == name).unwrap()
}

/// Begins a deploy and waits until nothing happens any more.
async fn begun(bench: &Bench, lab: &Arc<Lab>) -> Arc<Operation> {
    let deploy = bench.begin(lab).await.unwrap();
    pass(30).await;
    assert!(!deploy.view().state.is_final(), "{:#?}", deploy.view());
    deploy
}

async fn succeeds(operation: &Arc<Operation>) {
    let view = end(operation).await;
    assert_eq!(view.state, OperationState::Succeeded, "{view:#?}");
    assert!(view.steps.iter().all(|step| step.state == StepState::Done), "{view:#?}");
}

const KINDS: [RuntimeKind; 2] = [RuntimeKind::Docker, RuntimeKind::Namespace];

#[tokio::test(start_paused = true)]
async fn a_container_is_started_then_wired_then_configured() {
    let bench = bench().await;
    let deploy = bench.deploy(&sketch(RuntimeKind::Docker).lab()).await;
    assert_eq!(deploy.state, OperationState::Succeeded, "{deploy:#?}");
    let calls = bench.world.take_calls();
    let at = |call: &str| calls.iter().position(|there| there == call).unwrap_or_else(|| panic!("{call}: {calls:?}"));
    let link = at("create lab/app:eth1-db:eth1");
    for node in ["app", "db"] {
        assert!(at(&format!("create lab/{node}")) < at(&format!("start lab/{node}")));
        assert!(at(&format!("start lab/{node}")) < link && link < at(&format!("exec lab/{node}: echo {node}")));
    }
    assert!(!calls.iter().any(|call| call.starts_with("reserve")), "{calls:?}");
    assert_eq!(bench.deploy(&sketch(RuntimeKind::Docker).lab()).await.message.as_deref(), Some("nothing to change"));
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_stopped_before_it_ever_ran_is_wired_when_it_is_started() {
    let bench = bench().await;
    bench.made(&Sketch::new("lab").container("app").lab()).await;
    let docker = json!({ "kind": "linux", "runtime": "docker", "image": "image", "state": "stopped" });
    let patch = json!({ "nodes": { "db": docker }, "links": { "app:eth1 db:eth1": {} } });
    let ended = bench.edited(patch).await;
    assert!(ended.problems.is_empty(), "{ended:#?}");
    pass(120).await;
    assert_eq!(bench.world.take_calls(), ["create lab/db"]);
    bench.edited(json!({ "nodes": { "db": { "state": "running" } } })).await;
    assert_eq!(bench.world.take_calls(), ["start lab/db", "create lab/app:eth1-db:eth1"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_waits_for_each_of_the_five_stages_of_another_one() {
    for runtime in KINDS {
        for of in Stage::ALL {
            let bench = bench().await;
            bench.world.trouble("exec lab/db: echo db", .., Trouble::Slow(Duration::from_secs(5)));
            bench.world.trouble("create lab/app:eth1-db:eth1", .., Trouble::Slow(Duration::from_secs(5)));
            let lab = sketch(runtime).with("db", |node| node.restart_policy = RestartPolicy::No);
            let lab = lab.waits("app", Stage::Configure, "db", of).lab();
            let deploy = bench.begin(&lab).await.unwrap();
            let ran = |call: &str| bench.world.calls().iter().any(|there| there == call);
            if of > Stage::Configure {
                pass(60).await;
                assert!(!ran("exec lab/app: echo app"), "{runtime:?} {of:?}");
                match of {
                    Stage::Healthy => bench.world.set_health("lab", "db", Health::Healthy),
                    _ => bench.world.exit("lab", "db", 0, ""),
                }
            }
            until("it is configured", || ran("exec lab/app: echo app")).await;
            let calls = bench.world.calls();
            let at = |call: &str| calls.iter().position(|there| there == call).unwrap();
            assert!(at("start lab/db") < at("exec lab/app: echo app"), "{calls:?}");
            if of == Stage::Configure {
                assert!(at("exec lab/db: echo db") < at("exec lab/app: echo app"), "{calls:?}");
            }
            // Also when the other one has ended: it has done its work.
            succeeds(&deploy).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_is_made_when_the_other_one_is_healthy_and_its_link_waits_in_its_place() {
    let bench = bench().await;
    let deploy = begun(&bench, &waiting(RuntimeKind::Docker, Stage::Create, Stage::Healthy)).await;
    assert_eq!(bench.world.nodes(), ["lab/app absent", "lab/db running"]);
    assert_eq!(bench.world.links(), ["lab/app:eth1-db:eth1"]);
    bench.world.take_calls();
    bench.world.set_health("lab", "db", Health::Unhealthy);
    pass(30).await;
    assert_eq!(bench.world.calls(), [""; 0]);
    bench.world.set_health("lab", "db", Health::Healthy);
    succeeds(&deploy).await;
    assert_eq!(bench.world.take_calls(), ["create lab/app", "start lab/app", "exec lab/app: echo app"]);
    // Later it waits for nobody.
    bench.world.set_health("lab", "db", Health::Unhealthy);
    bench.world.exit("lab", "app", 1, "");
    until("it runs again", || bench.world.nodes()[0] == "lab/app running").await;
}

#[tokio::test(start_paused = true)]
async fn a_namespace_node_is_started_when_the_other_one_is_healthy() {
    let bench = bench().await;
    let deploy = begun(&bench, &waiting(RuntimeKind::Namespace, Stage::Create, Stage::Healthy)).await;
    assert_eq!(bench.world.nodes(), ["lab/app created", "lab/db running"]);
    assert_eq!(bench.world.links(), ["lab/app:eth1-db:eth1"]);
    bench.world.set_health("lab", "db", Health::Healthy);
    succeeds(&deploy).await;
}

#[tokio::test(start_paused = true)]
async fn a_start_up_delay_counts_after_the_wait() {
    let bench = bench().await;
    let lab = sketch(RuntimeKind::Docker).with("app", |node| node.startup_delay = 7);
    let deploy = begun(&bench, &lab.waits("app", Stage::Create, "db", Stage::Healthy).lab()).await;
    let since = tokio::time::Instant::now();
    bench.world.set_health("lab", "db", Health::Healthy);
    succeeds(&deploy).await;
    assert!(since.elapsed() >= Duration::from_secs(7), "{:?}", since.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_times_out_says_who_waits_for_whom_and_goes_on_when_it_comes_true() {
    for runtime in KINDS {
        let bench = bench().await;
        let deploy = begun(&bench, &waiting(runtime, Stage::Create, Stage::Healthy)).await;
        bench.world.set_health("lab", "db", Health::Unhealthy);
        let view = end(&deploy).await;
        assert_eq!(view.state, OperationState::Failed, "{view:#?}");
        let [problem] = view.problems.as_slice() else { panic!("{view:#?}") };
        let says =
            "app waits until db has left the stage `healthy`: db is running, and its health check says `unhealthy`";
        assert!(problem.contains(says), "{problem}");
        assert_eq!(bench.world.nodes()[1], "lab/db running");
        // The wish stays.
        bench.world.set_health("lab", "db", Health::Healthy);
        until("it runs", || bench.world.nodes()[0] == "lab/app running").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_whose_deadline_passes_in_a_wait_says_who_waits_for_whom() {
    let config = Config { operation_limit: Duration::from_secs(60), ..config() };
    let bench = Bench::prepared(config, |world, _| world.add_runtime(RuntimeKind::Docker)).await;
    let deploy = begun(&bench, &waiting(RuntimeKind::Docker, Stage::CreateLinks, Stage::Exit)).await;
    let view = end(&deploy).await;
    assert_eq!(view.state, OperationState::Deadline, "{view:#?}");
    assert!(
        view.problems.iter().any(|problem| problem.contains("app waits until db has left the stage `exit`")),
        "{view:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancel_ends_a_wait_at_once() {
    for seconds in [0, 30] {
        let bench = bench().await;
        let deploy = bench.begin(&waiting(RuntimeKind::Docker, Stage::Create, Stage::Healthy)).await.unwrap();
        until("it waits", || bench.world.calls().contains(&"exec lab/db: echo db".to_owned())).await;
        pass(seconds).await;
        let since = tokio::time::Instant::now();
        bench.engine.cancel(deploy.id()).await.unwrap();
        assert_eq!(end(&deploy).await.state, OperationState::Cancelled);
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
        bench.world.set_health("lab", "db", Health::Healthy);
        pass(120).await;
        assert_eq!(bench.world.nodes()[0], "lab/app absent", "a lab that is held is left as it is");
        bench.made(&waiting(RuntimeKind::Docker, Stage::Create, Stage::Healthy)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_destroy_does_not_wait_for_a_wait() {
    for seconds in [0, 30] {
        let bench = bench().await;
        let deploy = bench.begin(&waiting(RuntimeKind::Docker, Stage::Create, Stage::Exit)).await.unwrap();
        until("it waits", || bench.world.calls().contains(&"exec lab/db: echo db".to_owned())).await;
        pass(seconds).await;
        let since = tokio::time::Instant::now();
        assert_eq!(bench.destroy("lab").await.state, OperationState::Succeeded);
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
        assert_eq!(end(&deploy).await.state, OperationState::Superseded);
        // The place that was reserved too.
        assert_eq!((bench.world.nodes(), bench.world.links()), (Vec::new(), Vec::new()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_restarted_in_a_wait_completes_it() {
    for runtime in KINDS {
        for stage in [Stage::Create, Stage::CreateLinks, Stage::Configure] {
            let bench = bench().await;
            begun(&bench, &waiting(runtime, stage, Stage::Healthy)).await;
            let bench = bench.restart().await;
            pass(30).await;
            assert!(!bench.world.calls().iter().any(|call| call.contains("app")), "{:?}", bench.world.calls());
            bench.world.set_health("lab", "db", Health::Healthy);
            let configured = || bench.world.calls().contains(&"exec lab/app: echo app".to_owned());
            until("it is configured", configured).await;
            bench.made(&waiting(runtime, stage, Stage::Healthy)).await;
            // What it waited for is over for good.
            bench.world.set_health("lab", "db", Health::Unhealthy);
            let bench = bench.restart().await;
            bench.ready().await;
            pass(30).await;
            assert_eq!(bench.world.calls(), [""; 0], "{runtime:?} {stage:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_waits_is_repaired_and_holds_up_no_other() {
    let bench = bench().await;
    let deploy = begun(&bench, &waiting(RuntimeKind::Docker, Stage::Configure, Stage::Healthy)).await;
    bench.world.take_calls();
    let place = netloom_engine::Place::Node(lab_name("lab"), "app".parse().unwrap());
    bench.world.delete_port(&place, "eth1");
    until("the link is back", || bench.world.links().len() == 1).await;
    let other = bench.deploy(&Sketch::pair("other").lab()).await;
    assert_eq!(other.state, OperationState::Succeeded, "{other:#?}");
    bench.world.set_health("lab", "db", Health::Healthy);
    succeeds(&deploy).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_that_wait_hold_no_places_of_others() {
    let config = Config { nodes_at_once: 2, ..config() };
    let bench = Bench::prepared(config, |world, _| world.add_runtime(RuntimeKind::Docker)).await;
    let mut lab = Sketch::new("lab").container("db").checked("db");
    for n in 0..50 {
        let name = format!("n{n}");
        lab = lab.container(&name).waits(&name, Stage::Create, "db", Stage::Healthy);
    }
    for n in 0..20 {
        lab = lab.container(&format!("free{n}"));
    }
    begun(&bench, &lab.lab()).await;
    let running = || bench.world.nodes().iter().filter(|node| node.ends_with("running")).count();
    assert_eq!(running(), 21);
    bench.world.set_health("lab", "db", Health::Healthy);
    until("all run", || running() == 71).await;
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_when_the_wait_is_taken_out_goes_on() {
    let bench = bench().await;
    let deploy = begun(&bench, &waiting(RuntimeKind::Docker, Stage::Create, Stage::Healthy)).await;
    bench.engine.cancel(deploy.id()).await.unwrap();
    bench.made(&sketch(RuntimeKind::Docker).lab()).await;
    assert_eq!(bench.world.nodes(), ["lab/app running", "lab/db running"]);
    assert_eq!(bench.world.links(), ["lab/app:eth1-db:eth1"]);
}

#[tokio::test(start_paused = true)]
async fn a_node_with_a_health_check_is_ready_when_it_passes() {
    let bench = bench().await;
    bench.made(&sketch(RuntimeKind::Docker).lab()).await;
    let view = |name: &str| view(&bench, name);
    assert!(view("app").ready && !view("db").ready);
    assert_eq!((view("db").state, view("db").health), (NodeState::Running, Some(Health::Starting)));
    bench.world.set_health("lab", "db", Health::Healthy);
    until("it is ready", || view("db").ready).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_is_ready_in_each_of_its_lives_when_its_commands_were_run() {
    for runtime in KINDS {
        let bench = bench().await;
        let lab = sketch(runtime).with("db", |node| node.healthcheck = None);
        bench.world.trouble("exec lab/app: echo app", .., Trouble::Slow(Duration::from_secs(5)));
        let deploy = bench.begin(&lab.clone().lab()).await.unwrap();
        until("it runs and the other one is ready", || view(&bench, "db").ready).await;
        pass(2).await;
        assert!(view(&bench, "app").state == NodeState::Running && !view(&bench, "app").ready, "{runtime:?}");
        succeeds(&deploy).await;
        assert!(view(&bench, "app").ready, "{runtime:?}");

        bench.world.exit("lab", "app", 1, "");
        until("it runs again", || view(&bench, "app").state == NodeState::Running).await;
        pass(2).await;
        assert!(!view(&bench, "app").ready, "{runtime:?}: its commands are for each life");
        until("it is configured again", || view(&bench, "app").ready).await;

        // Commands that are added are for the next life; one that fails was run too.
        let more = lab.execs("app", &["sh", "-c", "exit 1"]).lab();
        let runs = bench.world.incarnation("lab", "app");
        end(&bench.begin(&more).await.unwrap()).await;
        if bench.world.incarnation("lab", "app") == runs {
            assert_eq!(runtime, RuntimeKind::Docker);
            assert!(view(&bench, "app").ready, "{runtime:?}");
            end(&bench.edit(json!({ "nodes": { "app": { "restarts": 1 } } })).await.unwrap()).await;
        }
        assert!(view(&bench, "app").ready, "{runtime:?}: {:#?}", view(&bench, "app"));
    }
}

#[tokio::test(start_paused = true)]
async fn commands_of_stages_are_run_once_and_not_again_when_more_are_added() {
    let bench = bench().await;
    let exec = |word: &str| StageExec {
        command: vec!["echo".to_owned(), word.to_owned()],
        target: netloom_model::ExecTarget::Container,
        phase: netloom_model::ExecPhase::OnEnter,
    };
    let staged = |words: &[&str]| {
        let execs = words.iter().map(|word| exec(word)).collect::<Vec<_>>();
        sketch(RuntimeKind::Docker).with("db", |node| node.stages.entry(Stage::Create).or_default().exec = execs).lab()
    };
    bench.deploy(&staged(&["first"])).await;
    let ran = |calls: Vec<String>| calls.into_iter().filter(|call| call.starts_with("exec lab/db")).collect::<Vec<_>>();
    assert_eq!(ran(bench.world.take_calls()), ["exec lab/db: echo first", "exec lab/db: echo db"]);
    let again = end(&bench.engine.deploy(request(&staged(&["zeroth", "first"]))).await.unwrap()).await;
    assert_eq!(again.state, OperationState::Succeeded);
    assert_eq!(ran(bench.world.take_calls()), [""; 0]);
    bench.edited(json!({ "nodes": { "db": { "restarts": 1 } } })).await;
    let all = ["exec lab/db: echo zeroth", "exec lab/db: echo first", "exec lab/db: echo db"];
    assert_eq!(ran(bench.world.take_calls()), all);
}
